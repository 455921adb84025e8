//! Where a job's time and memory go: by stage, and in more detail by step. A few clock readings a megabyte.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Stage;
use crate::memory;

/// Parts of stages. Where threads share one, its time is the sum of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Step {
    /// Reading and decompressing.
    Read,
    /// Cutting into pre-tokens and counting these, and parsing JSON.
    Count,
    /// Adding up the tables of the threads.
    AddTables,
    /// Laying out the distinct pre-tokens for merging.
    Corpus,
    /// The first count of all pairs.
    Sweeps,
    /// The merges.
    Merges,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Read, Self::Count, Self::AddTables, Self::Corpus, Self::Sweeps, Self::Merges];

    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Count => "counting",
            Self::AddTables => "adding up tables",
            Self::Corpus => "laying out the corpus",
            Self::Sweeps => "finding pairs",
            Self::Merges => "merges",
        }
    }
}

/// A stage that is over, or under way.
#[derive(Clone, Copy, Debug)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// How long it took.
    pub time: Duration,
    /// The most memory the process had resident, in bytes; `None` where the system does not tell.
    pub peak_memory: Option<u64>,
}

#[derive(Debug)]
struct Running {
    stage: Stage,
    since: Instant,
    /// The process's peak before the stage.
    before: Option<u64>,
    /// The most that was seen since.
    seen: Option<u64>,
}

impl Running {
    /// The system keeps only the peak of the process's whole life. If the stage raised it, that is exact; else the
    /// stage's own lies below, and what was seen of it has to do.
    fn time(&self) -> StageTime {
        let now = memory::peak();
        let peak_memory = if now > self.before { now } else { self.seen.max(memory::resident()) };
        StageTime { stage: self.stage, time: self.since.elapsed(), peak_memory }
    }
}

/// What a job has to tell when it is done.
#[derive(Debug, Default)]
pub struct Clock {
    over: Mutex<Vec<StageTime>>,
    running: Mutex<Option<Running>>,
    steps: [AtomicU64; Step::ALL.len()],
    threads: Mutex<Vec<Duration>>,
    text_bytes: AtomicU64,
    documents: AtomicU64,
}

impl Clock {
    pub(crate) fn begin(&self, stage: Stage) {
        let (before, seen) = (memory::peak(), memory::resident());
        let next = Running { stage, since: Instant::now(), before, seen };
        if let Some(last) = lock(&self.running).replace(next) {
            lock(&self.over).push(last.time());
        }
    }

    /// Looks at the memory in use; to be called now and then while a job runs.
    pub fn sample(&self) {
        if let Some(running) = &mut *lock(&self.running) {
            running.seen = running.seen.max(memory::resident());
        }
    }

    /// Does a part of a step.
    pub(crate) fn timed<T>(&self, step: Step, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let value = work();
        self.add(step, begun.elapsed());
        value
    }

    pub(crate) fn add(&self, step: Step, time: Duration) {
        self.steps[step as usize].fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// Notes how long one of the threads that share the counting was busy with it.
    pub(crate) fn add_thread(&self, busy: Duration) {
        lock(&self.threads).push(busy);
    }

    /// Notes text that was counted.
    pub(crate) fn add_text(&self, bytes: u64, documents: u64) {
        self.text_bytes.fetch_add(bytes, Relaxed);
        self.documents.fetch_add(documents, Relaxed);
    }

    /// The stages so far, the one under way too.
    pub fn stages(&self) -> Vec<StageTime> {
        let mut stages = lock(&self.over).clone();
        stages.extend(lock(&self.running).as_ref().map(Running::time));
        stages
    }

    /// How long a step took so far.
    pub fn step(&self, step: Step) -> Duration {
        Duration::from_nanos(self.steps[step as usize].load(Relaxed))
    }

    /// How long each of the threads that shared the counting was busy with it.
    pub fn threads(&self) -> Vec<Duration> {
        lock(&self.threads).clone()
    }

    /// How many bytes of text were counted, decompressed.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes.load(Relaxed)
    }

    /// How many files, lines and items were counted as documents.
    pub fn documents(&self) -> u64 {
        self.documents.load(Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
