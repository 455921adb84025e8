//! What a long job and its caller share: how far it is, and whether to stop.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::clock::Clock;
use crate::{Error, Result};

/// The stages of long jobs, for progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Reading and counting pre-tokens; unit: bytes.
    Count = 0,
    /// Merging pairs; unit: merges.
    Merge = 1,
    /// Encoding text to ids; unit: bytes.
    Encode = 2,
}

/// How far a job is. `total` is 0 where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The stage under way.
    pub stage: Stage,
    /// Units done in this stage.
    pub done: u64,
    /// Units in all, 0 if unknown.
    pub total: u64,
}

/// Shared between the threads that work and the one that watches.
#[derive(Debug, Default)]
pub struct Job {
    stage: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
    clock: Clock,
}

impl Job {
    /// Enters a stage of `total` units (0: unknown).
    pub fn begin(&self, stage: Stage, total: u64) {
        self.clock.begin(stage);
        self.done.store(0, Relaxed);
        self.total.store(total, Relaxed);
        self.stage.store(stage as u8, Relaxed);
    }

    /// Counts units as done.
    pub fn advance(&self, units: u64) {
        self.done.fetch_add(units, Relaxed);
    }

    /// Fails with [`Error::Interrupted`] once the caller has asked to stop. Call it every few milliseconds of work.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Asks the job to stop at its next [`check`](Self::check).
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Where the time goes, and how much there was to do.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where the job stands now.
    pub fn progress(&self) -> Progress {
        let stage = match self.stage.load(Relaxed) {
            0 => Stage::Count,
            1 => Stage::Merge,
            _ => Stage::Encode,
        };
        Progress { stage, done: self.done.load(Relaxed), total: self.total.load(Relaxed) }
    }
}
