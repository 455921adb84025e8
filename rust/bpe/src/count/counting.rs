//! Counts under way, in as much memory as they may take, and what comes of them.

use std::path::PathBuf;

use super::runs::{Run, merge_runs};
use super::{BLOCK, Counter, Inputs, Tallies, WordCounts, Words};
use crate::Result;
use crate::input::Documents;

/// What a thread takes beside its table: what it reads and the words at hand.
const BESIDE: u64 = 2 << 20;

/// The least a thread's table takes.
const LEAST: u64 = 16 << 10;

/// Counts of any number of files and documents. They stay in memory as long as they fit; the rest goes to sorted runs in
/// temporary files, which are merged at the end.
pub struct Counting<'a> {
    counter: Counter<'a>,
    tallies: Tallies<'a>,
    /// How much text the job had counted before.
    before: u64,
}

impl<'a> Counting<'a> {
    pub(super) fn new(counter: Counter<'a>, max_memory: u64) -> Self {
        let threads = counter.threads.max(1) as u64;
        let tables = max_memory.saturating_sub(threads * BESIDE).max(max_memory / 2);
        let room = usize::try_from((tables / threads).max(LEAST)).unwrap_or(usize::MAX);
        Self { counter, tallies: Tallies::new(Some(room), counter.job), before: counter.job.clock().text_bytes() }
    }

    /// Adds the pre-tokens of files, each of them a document.
    ///
    /// Fails as [`add_inputs`](Self::add_inputs) does.
    pub fn add_files(&mut self, paths: &[PathBuf]) -> Result<()> {
        self.add_files_in_blocks(paths, BLOCK)
    }

    /// [`add_files`](Self::add_files), reading `block` bytes at a time. The counts do not depend on it.
    pub fn add_files_in_blocks(&mut self, paths: &[PathBuf], block: usize) -> Result<()> {
        self.add_inputs_in_blocks(&Inputs { paths, ..Inputs::default() }, [], block)
    }

    /// Adds the pre-tokens of inputs, and of documents that come from elsewhere.
    ///
    /// Fails with [`Io`](crate::Error::Io), [`NotUtf8`](crate::Error::NotUtf8) and [`Format`](crate::Error::Format) where an
    /// input is not what it should be, with [`Temporary`](crate::Error::Temporary) where a run can't be written, and with
    /// [`EmptyCorpus`](crate::Error::EmptyCorpus) where there is no text at all.
    pub fn add_inputs<D>(&mut self, inputs: &Inputs<'_>, documents: D) -> Result<()>
    where
        D: IntoIterator<Item = Documents, IntoIter: Send>,
    {
        self.add_inputs_in_blocks(inputs, documents, BLOCK)
    }

    /// [`add_inputs`](Self::add_inputs), reading `block` bytes at a time. The counts do not depend on it.
    pub fn add_inputs_in_blocks<D>(&mut self, inputs: &Inputs<'_>, documents: D, block: usize) -> Result<()>
    where
        D: IntoIterator<Item = Documents, IntoIter: Send>,
    {
        self.counter.add_inputs(inputs, documents, block, &self.tallies)
    }

    /// Adds the pre-tokens of texts in memory, each of them a document.
    pub fn add_documents<S: AsRef<str> + Sync>(&mut self, documents: &[S]) -> Result<()> {
        self.counter.add_documents(documents, &self.tallies)
    }

    /// The counts.
    pub fn finish(self) -> Result<Counts> {
        let Self { counter, tallies, before } = self;
        // Where one thread has counted everything there is nothing to bring together, and nobody else asks.
        counter.job.check()?;
        let mut tally = counter.combine(tallies)?;
        let runs = tally.runs()?;
        let spilled = runs.len();
        let kept = if runs.is_empty() {
            Kept::InMemory(tally.into_words())
        } else {
            drop(tally);
            Kept::OnDisk(merge_runs(runs, counter.job)?)
        };
        Ok(Counts { kept, corpus_bytes: counter.job.clock().text_bytes() - before, spilled })
    }
}

/// Distinct words with their counts, in memory or, where they are too many, in a temporary file.
#[derive(Debug)]
pub struct Counts {
    pub(crate) kept: Kept,
    /// How many bytes of text were counted.
    pub corpus_bytes: u64,
    /// How many runs were written because memory did not do.
    pub spilled: usize,
}

#[derive(Debug)]
pub(crate) enum Kept {
    InMemory(WordCounts),
    OnDisk(Run),
}

impl Counts {
    /// Counts that are in memory already, of a corpus of so many bytes.
    pub fn new(words: WordCounts, corpus_bytes: u64) -> Self {
        Self { kept: Kept::InMemory(words), corpus_bytes, spilled: 0 }
    }

    /// Number of distinct words.
    pub fn len(&self) -> u64 {
        match &self.kept {
            Kept::InMemory(words) => words.len() as u64,
            Kept::OnDisk(run) => run.sums().words,
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of all counts.
    pub fn total(&self) -> u128 {
        match &self.kept {
            Kept::InMemory(words) => words.total(),
            Kept::OnDisk(run) => run.sums().total,
        }
    }

    /// How many bytes of memory they take.
    pub fn memory(&self) -> u64 {
        match &self.kept {
            Kept::InMemory(words) => words.memory() as u64,
            Kept::OnDisk(_) => 0,
        }
    }
}

impl Words for Counts {
    fn distinct(&self) -> u64 {
        self.len()
    }

    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        self.for_each_of(0, 1, f)
    }

    fn for_each_of(&self, part: usize, parts: usize, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        match &self.kept {
            Kept::InMemory(words) => words.for_each_of(part, parts, f),
            Kept::OnDisk(run) => run.for_each_of(part, parts, f),
        }
    }
}
