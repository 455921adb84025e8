//! Files and documents to pre-token counts, in parallel, reading in blocks.

mod pieces;
mod ranges;
mod words;

use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

pub use words::WordCounts;

use crate::pretokenize::Pattern;
use crate::special::{Segment, SpecialTokens};
use crate::{Error, Job, Result, Stage};
use pieces::Pieces;
use ranges::{FileRange, ranges};
use words::Tally;

/// Distinct words with their counts, wherever they are kept.
pub trait Words {
    /// Calls `f` on each word once, in any order, until it fails. Every call gives the same words.
    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()>;
}

impl Words for WordCounts {
    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(|(word, count)| f(word, count))
    }
}

/// How much of a file one task reads and counts.
const BLOCK: usize = 1 << 20;

/// How to count.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    /// How text is cut into pre-tokens.
    pub pattern: &'a Pattern,
    /// What splits the text first and does not count.
    pub special: &'a SpecialTokens,
    /// How many threads share the work; at least one.
    pub threads: usize,
    /// Where progress goes and the wish to stop comes from.
    pub job: &'a Job,
}

impl Counter<'_> {
    /// Counts the pre-tokens of files, each of them a document.
    ///
    /// Fails with [`Error::Io`], with [`Error::NotUtf8`], and with [`Error::EmptyCorpus`] where no file holds any text.
    pub fn count_files(&self, paths: &[PathBuf]) -> Result<WordCounts> {
        self.count_files_in_blocks(paths, BLOCK)
    }

    /// [`count_files`](Self::count_files), reading `block` bytes at a time. The counts do not depend on it.
    pub fn count_files_in_blocks(&self, paths: &[PathBuf], block: usize) -> Result<WordCounts> {
        let sizes: Result<Vec<u64>> = paths.iter().map(|path| readable_size(path)).collect();
        self.job.begin(Stage::Count, sizes?.iter().sum());
        // Opened one after the other: there may be more files than a process may hold open.
        let tasks = paths.iter().flat_map(|path| {
            let (tasks, failure) = match self.tasks(path, block) {
                Ok(tasks) => (Some(tasks), None),
                Err(error) => (None, Some(Err(error))),
            };
            tasks.into_iter().flatten().chain(failure)
        });
        let counts = self.count(tasks)?;
        if counts.is_empty() {
            return Err(Error::EmptyCorpus { origin: name_all(paths) });
        }
        Ok(counts)
    }

    /// Counts the pre-tokens of texts in memory, each of them a document, on top of what `counts` holds.
    pub fn count_documents<S: AsRef<str> + Sync>(&self, documents: &[S], counts: &mut WordCounts) -> Result<()> {
        let tasks = documents.iter().map(|document| Ok(Task::Text(document.as_ref().into())));
        counts.merge(&self.count(tasks)?)
    }

    /// The tasks of a file: ranges that can be read in any order, or pieces where that can't be.
    fn tasks<'p>(&'p self, path: &'p Path, block: usize) -> Result<impl Iterator<Item = Result<Task<'p>>>> {
        let file = open(path)?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        let (mut in_ranges, mut in_pieces) = (None, None);
        if metadata.is_file() && self.pattern.is_named() {
            in_ranges = Some(ranges(path, file, metadata.len(), block as u64).map(|range| Ok(Task::Range(range))));
        } else {
            in_pieces = Some(Pieces::new(self, path, file, block).map(|piece| Ok(Task::Text(piece?.into()))));
        }
        Ok(in_ranges.into_iter().flatten().chain(in_pieces.into_iter().flatten()))
    }

    /// Every thread takes the next task when it is done with one, and has a table of its own to the end. So memory does
    /// not grow with the length of a file.
    fn count<'t>(&self, tasks: impl Iterator<Item = Result<Task<'t>>> + Send) -> Result<WordCounts> {
        let tasks = Mutex::new(tasks.enumerate());
        let failed = AtomicBool::new(false);
        let work = || {
            let mut tally = Tally::new();
            let outcome = self.work(&tasks, &failed, &mut tally);
            // The others need not begin anything more when the result is an error.
            failed.fetch_or(outcome.is_err(), Relaxed);
            outcome.map(|()| tally)
        };
        let (tallies, pool) = match self.pool() {
            Some(pool) => (pool.broadcast(|_| work()), Some(pool)),
            None => (vec![work()], None),
        };
        let (tallies, failures): (Vec<_>, Vec<_>) = tallies.into_iter().partition(Result::is_ok);
        // Of several errors the one of the earliest task: threads don't decide which is told.
        if let Some((_, error)) = failures.into_iter().filter_map(Result::err).min_by_key(|(task, _)| *task) {
            return Err(error);
        }
        let tallies = tallies.into_iter().flatten().collect();
        match pool {
            Some(pool) => pool.install(|| merge_all(tallies)),
            None => merge_all(tallies),
        }
    }

    /// Does tasks until there are none; an error comes with the number of its task.
    fn work<'t>(
        &self,
        tasks: &Mutex<impl Iterator<Item = (usize, Result<Task<'t>>)>>,
        failed: &AtomicBool,
        tally: &mut Tally,
    ) -> Result<(), (usize, Error)> {
        let mut buffer = Vec::new();
        while !failed.load(Relaxed) {
            let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, task)) = next else { break };
            let done = self.job.check().and(task).and_then(|task| self.do_task(&task, &mut buffer, tally));
            done.map_err(|error| (number, error))?;
        }
        Ok(())
    }

    fn do_task(&self, task: &Task<'_>, buffer: &mut Vec<u8>, tally: &mut Tally) -> Result<()> {
        let (text, size) = match task {
            Task::Text(text) => (&text[..], text.len() as u64),
            Task::Range(range) => (range.read(self, buffer)?, range.len()),
        };
        self.count_text(text, tally)?;
        self.job.advance(size);
        Ok(())
    }

    fn count_text(&self, text: &str, tally: &mut Tally) -> Result<()> {
        let bytes = text.as_bytes();
        let mut start = 0;
        for segment in self.special.segments(bytes) {
            match segment {
                Segment::Text(segment) => {
                    let end = start + segment.len();
                    self.pattern.for_each_span(&text[start..end], |from, to| {
                        tally.push(bytes, start + from, start + to);
                    })?;
                    start = end;
                }
                Segment::Special(index) => start += self.special.tokens()[index].len(),
            }
        }
        tally.end_text(bytes)
    }

    /// A pool that lives as long as the call, so that a fork never meets half a pool. None where the calling thread is
    /// to do the work: one thread is asked for, or the system gives none.
    fn pool(&self) -> Option<ThreadPool> {
        if self.threads <= 1 {
            return None;
        }
        ThreadPoolBuilder::new().num_threads(self.threads).build().ok()
    }
}

/// Some text to count.
enum Task<'t> {
    Text(Cow<'t, str>),
    Range(FileRange<'t>),
}

/// Merges tables in a tree, so that many threads share the work.
fn merge_all(mut tallies: Vec<Tally>) -> Result<WordCounts> {
    if tallies.len() <= 1 {
        return tallies.pop().map_or_else(|| Ok(WordCounts::default()), Tally::finish);
    }
    let half = tallies.split_off(tallies.len() / 2);
    let (one, other) = rayon::join(|| merge_all(tallies), || merge_all(half));
    let (mut one, mut other) = (one?, other?);
    if one.len() < other.len() {
        std::mem::swap(&mut one, &mut other);
    }
    one.merge(&other)?;
    Ok(one)
}

/// Opens a file for reading; a folder is refused here, not at the first read.
fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    if file.metadata().map_err(Error::io("read", path))?.is_dir() {
        return Err(Error::io("read", path)(ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// How long a file is, known before any is read, so that a missing one is an error at once and not after hours. What is
/// no regular file, as a pipe, has no length, and is left alone: it can be opened only once.
fn readable_size(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.is_file() || metadata.is_dir() {
        open(path)?;
    }
    Ok(metadata.len())
}

/// The first few paths, and how many more there are.
fn name_all(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    match paths.len() {
        0 => return "an empty list of files".to_owned(),
        all if all > SHOWN => names.push(format!("and {} more", all - SHOWN)),
        _ => {}
    }
    names.join(", ")
}
