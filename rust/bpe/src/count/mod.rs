//! Files and documents to pre-token counts, in parallel, reading in blocks.

mod counting;
pub(crate) mod merge;
mod pieces;
mod ranges;
pub(crate) mod records;
pub(crate) mod runs;
mod words;

use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) use counting::Kept;
pub use counting::{Counting, Counts};
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

/// How much text a custom pattern cuts between two checks of whether to stop.
const CHECK: usize = 1 << 16;

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

impl<'a> Counter<'a> {
    /// Begins to count in at most so many bytes of memory, and a few MB for each thread.
    pub fn within(self, max_memory: u64) -> Counting<'a> {
        Counting::new(self, max_memory)
    }

    /// Counts the pre-tokens of files, each of them a document.
    ///
    /// Fails with [`Error::Io`], with [`Error::NotUtf8`], and with [`Error::EmptyCorpus`] where no file holds any text.
    pub fn count_files(&self, paths: &[PathBuf]) -> Result<WordCounts> {
        self.count_files_in_blocks(paths, BLOCK)
    }

    /// [`count_files`](Self::count_files), reading `block` bytes at a time. The counts do not depend on it.
    pub fn count_files_in_blocks(&self, paths: &[PathBuf], block: usize) -> Result<WordCounts> {
        let mut tallies = self.tallies();
        self.add_files(paths, block, &mut tallies)?;
        self.combine(tallies).map(Tally::into_words)
    }

    /// Counts the pre-tokens of texts in memory, each of them a document, on top of what `counts` holds.
    pub fn count_documents<S: AsRef<str> + Sync>(&self, documents: &[S], counts: &mut WordCounts) -> Result<()> {
        let mut tallies = self.tallies();
        self.add_documents(documents, &mut tallies)?;
        counts.merge(&self.combine(tallies)?.into_words())
    }

    /// A tally for each thread, in as much memory as there is.
    fn tallies(&self) -> Vec<Tally<'a>> {
        (0..self.threads.max(1)).map(|_| Tally::new(self.job)).collect()
    }

    /// Counts files in the tallies; how many bytes of text there were.
    fn add_files(&self, paths: &[PathBuf], block: usize, tallies: &mut [Tally<'a>]) -> Result<u64> {
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
        let bytes = self.count(tasks, tallies)?;
        if tallies.iter().all(Tally::is_empty) {
            return Err(Error::EmptyCorpus { origin: name_all(paths) });
        }
        Ok(bytes)
    }

    /// Counts texts in the tallies; how many bytes there were.
    fn add_documents<S: AsRef<str> + Sync>(&self, documents: &[S], tallies: &mut [Tally<'a>]) -> Result<u64> {
        let tasks = documents.iter().flat_map(|document| self.parts(document.as_ref()));
        self.count(tasks.map(|part| Ok(Task::Text(part?.into()))), tallies)
    }

    /// A text in parts of about a block each that can be counted apart; whole under a custom pattern.
    fn parts<'t>(&self, text: &'t str) -> impl Iterator<Item = Result<&'t str>> + use<'_, 'a, 't> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let cut = if self.pattern.is_named() { self.cut(rest) } else { Ok(rest.len()) };
            let (part, after) = rest.split_at(*cut.as_ref().unwrap_or(&rest.len()));
            rest = after;
            Some(cut.map(|_| part))
        })
    }

    /// The first place from a block on where a text can be cut.
    fn cut(&self, text: &str) -> Result<usize> {
        let bytes = text.as_bytes();
        for start in (BLOCK..bytes.len()).step_by(BLOCK) {
            self.job.check()?;
            let mut places = start..bytes.len().min(start + BLOCK);
            let is_cut = |at: &usize| self.pattern.splits_at(bytes, *at) && !self.special.straddles(bytes, *at);
            if let Some(cut) = places.find(is_cut) {
                return Ok(cut);
            }
        }
        Ok(bytes.len())
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

    /// Every thread takes the next task when it is done with one, and has a tally of its own. So memory does not grow with
    /// the length of a file. How many bytes of text there were.
    fn count<'t>(
        &self,
        tasks: impl Iterator<Item = Result<Task<'t>>> + Send,
        tallies: &mut [Tally<'a>],
    ) -> Result<u64> {
        let tasks = Mutex::new(tasks.enumerate());
        let failed = AtomicBool::new(false);
        let bytes = AtomicU64::new(0);
        let work = |tally: &mut Tally<'a>| {
            let outcome = self.work(&tasks, &failed, &bytes, tally);
            // The others need not begin anything more when the result is an error.
            failed.fetch_or(outcome.is_err(), Relaxed);
            outcome
        };
        let outcomes = match self.pool() {
            Some(pool) => {
                let tallies: Vec<_> = tallies.iter_mut().map(Mutex::new).collect();
                pool.broadcast(|thread| {
                    work(&mut tallies[thread.index()].lock().unwrap_or_else(PoisonError::into_inner))
                })
            }
            None => vec![work(&mut tallies[0])],
        };
        // Of several errors the one of the earliest task: threads don't decide which is told.
        match outcomes.into_iter().filter_map(Result::err).min_by_key(|(task, _)| *task) {
            Some((_, error)) => Err(error),
            None => Ok(bytes.into_inner()),
        }
    }

    /// Brings tallies together.
    fn combine(&self, tallies: Vec<Tally<'a>>) -> Result<Tally<'a>> {
        match self.pool() {
            Some(pool) => pool.install(|| combine(tallies, self.job)),
            None => combine(tallies, self.job),
        }
    }

    /// Does tasks until there are none; an error comes with the number of its task.
    fn work<'t>(
        &self,
        tasks: &Mutex<impl Iterator<Item = (usize, Result<Task<'t>>)>>,
        failed: &AtomicBool,
        bytes: &AtomicU64,
        tally: &mut Tally<'_>,
    ) -> Result<(), (usize, Error)> {
        let mut buffer = Vec::new();
        while !failed.load(Relaxed) {
            let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, task)) = next else { break };
            let done = self.job.check().and(task).and_then(|task| self.do_task(&task, &mut buffer, tally));
            bytes.fetch_add(done.map_err(|error| (number, error))?, Relaxed);
        }
        Ok(())
    }

    /// How many bytes of text there were.
    fn do_task(&self, task: &Task<'_>, buffer: &mut Vec<u8>, tally: &mut Tally<'_>) -> Result<u64> {
        let (text, size) = match task {
            Task::Text(text) => (&text[..], text.len() as u64),
            Task::Range(range) => (range.read(self, buffer)?, range.len()),
        };
        self.count_text(text, tally)?;
        self.job.advance(size);
        Ok(size)
    }

    fn count_text(&self, text: &str, tally: &mut Tally<'_>) -> Result<()> {
        let bytes = text.as_bytes();
        let (mut start, mut checked) = (0, 0);
        for segment in self.special.segments(bytes) {
            match segment {
                Segment::Text(segment) => {
                    let end = start + segment.len();
                    let part = &text[start..end];
                    match self.pattern.custom() {
                        None => {
                            self.pattern.for_each_span(part, |from, to| tally.push(bytes, start + from, start + to))?
                        }
                        // It is slower, and the text may be a whole file.
                        Some(custom) => custom.for_each_span(part, |from, to| {
                            tally.push(bytes, start + from, start + to);
                            if start + to - checked >= CHECK {
                                checked = start + to;
                                self.job.check()?;
                            }
                            Ok(())
                        })?,
                    }
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

/// Brings tallies together in a tree, so that many threads share the work; in the calling thread if it is of no pool.
fn combine<'j>(mut tallies: Vec<Tally<'j>>, job: &'j Job) -> Result<Tally<'j>> {
    if tallies.len() <= 1 {
        let mut tally = tallies.pop().unwrap_or_else(|| Tally::new(job));
        return tally.settle().map(|()| tally);
    }
    let half = tallies.split_off(tallies.len() / 2);
    let (one, other) = if rayon::current_thread_index().is_some() {
        rayon::join(|| combine(tallies, job), || combine(half, job))
    } else {
        (combine(tallies, job), combine(half, job))
    };
    let mut one = one?;
    one.absorb(other?)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_counter(spec: &str, job: &Job, test: impl FnOnce(&Counter<'_>)) {
        let pattern = Pattern::new(spec).unwrap();
        let special = SpecialTokens::new(&["<e>", "low <e> low"]).unwrap();
        test(&Counter { pattern: &pattern, special: &special, threads: 1, job });
    }

    #[test]
    fn a_long_text_under_a_custom_pattern_can_be_stopped_in_the_middle() {
        let job = Job::default();
        job.cancel();
        for text in ["low lower ".repeat(CHECK), "low<e>".repeat(CHECK), "low".repeat(CHECK)] {
            with_counter(r"\w+|\s+", &job, |counter| {
                assert!(matches!(counter.count_text(&text, &mut Tally::new(&job)), Err(Error::Interrupted)));
            });
        }
    }

    #[test]
    fn a_long_document_is_counted_in_parts_that_fit_together() {
        let job = Job::default();
        let text = "low <e> low\u{e9} ".repeat(BLOCK / 5) + &"x".repeat(3 * BLOCK);
        with_counter("gpt2", &job, |counter| {
            let parts: Vec<&str> = counter.parts(&text).map(Result::unwrap).collect();
            assert!(parts.len() > 2 && parts.concat() == text);
            for part in &parts[..parts.len() - 1] {
                assert!(part.len() < BLOCK + 100 && part.ends_with("low\u{e9}"), "{:?}", &part[part.len() - 20..]);
            }
            job.cancel();
            assert!(matches!(counter.parts(&text).next(), Some(Err(Error::Interrupted))));
        });
    }
}
