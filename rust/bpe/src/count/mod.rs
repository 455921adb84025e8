//! Files and documents to pre-token counts, in parallel, reading in blocks.

mod counting;
pub(crate) mod merge;
pub(crate) mod pieces;
pub(crate) mod ranges;
pub(crate) mod records;
pub(crate) mod runs;
mod words;

use std::borrow::Cow;
use std::iter::Enumerate;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

pub(crate) use counting::Kept;
pub use counting::{Counting, Counts};
pub use words::WordCounts;

use crate::clock::Step;
use crate::input::{self, Documents, Format, Input, InputOptions, LineBlocks, LineRange, Lines, line_ranges};
use crate::pretokenize::Pattern;
use crate::special::{Segment, SpecialTokens};
use crate::threads::pool;
use crate::{Error, Job, Result, Stage};
use pieces::Pieces;
use ranges::{FileRange, ranges};
use words::Tally;

/// Distinct words with their counts, wherever they are kept.
pub trait Words: Sync {
    /// How many.
    fn distinct(&self) -> u64;

    /// Calls `f` on each word once, in any order, until it fails. Every call gives the same words.
    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()>;

    /// [`for_each`](Self::for_each) for one of so many parts, which threads may go through at the same time. Where words can
    /// only be read one after the other, they are all in the first.
    fn for_each_of(&self, part: usize, parts: usize, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let _ = parts;
        if part == 0 { self.for_each(f) } else { Ok(()) }
    }
}

impl<W: Words + ?Sized> Words for &W {
    fn distinct(&self) -> u64 {
        (**self).distinct()
    }

    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        (**self).for_each(f)
    }

    fn for_each_of(&self, part: usize, parts: usize, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        (**self).for_each_of(part, parts, f)
    }
}

impl Words for WordCounts {
    fn distinct(&self) -> u64 {
        self.len() as u64
    }

    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        self.for_each_of(0, 1, f)
    }

    fn for_each_of(&self, part: usize, parts: usize, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        self.in_place(part, parts).try_for_each(|(word, count)| f(word, count))
    }
}

/// How much of a file one task reads and counts: it should not have left the nearer caches when it is counted.
const BLOCK: usize = 1 << 16;

/// How to count.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    /// How text is cut into pre-tokens.
    pub pattern: &'a Pattern,
    /// What splits the text first and does not count.
    pub special: &'a SpecialTokens,
    /// How many threads share the work at most; 0 counts as 1.
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
        let tallies = Tallies::new(None, self.job);
        self.add_inputs(&Inputs { paths, ..Inputs::default() }, [], block, &tallies)?;
        self.combine(tallies).map(Tally::into_words)
    }

    /// Counts the pre-tokens of texts in memory, each of them a document, on top of what `counts` holds.
    pub fn count_documents<S: AsRef<str> + Sync>(&self, documents: &[S], counts: &mut WordCounts) -> Result<()> {
        let tallies = Tallies::new(None, self.job);
        self.add_documents(documents, &tallies)?;
        counts.merge(&self.combine(tallies)?.into_words(), self.job)
    }

    /// Counts inputs, and documents that come from elsewhere, in the tallies.
    fn add_inputs<D>(&self, inputs: &Inputs<'_>, documents: D, block: usize, tallies: &Tallies<'a>) -> Result<()>
    where
        D: IntoIterator<Item = Documents, IntoIter: Send>,
    {
        let size = input::total_size(inputs.paths.iter().map(PathBuf::as_path))?;
        let total = size.zip(inputs.documents_size).map(|(files, documents)| files + documents);
        self.job.begin(Stage::Count, total.unwrap_or(0));
        // Opened one after the other: there may be more files than a process may hold open.
        let tasks = inputs.paths.iter().flat_map(|path| {
            let (tasks, failure) = match self.tasks(path, inputs.options, block) {
                Ok(tasks) => (Some(tasks), None),
                Err(error) => (None, Some(Err(error))),
            };
            tasks.into_iter().flatten().chain(failure)
        });
        let documents = documents.into_iter().map(|batch| Ok(Task::Documents(batch)));
        self.count(tasks.chain(documents), &inputs.options.text_column, tallies)?;
        if tallies.are_empty() {
            return Err(Error::EmptyCorpus { origin: name_all(inputs.paths) });
        }
        Ok(())
    }

    /// Counts texts in memory in the tallies.
    fn add_documents<S: AsRef<str> + Sync>(&self, documents: &[S], tallies: &Tallies<'a>) -> Result<()> {
        let tasks = documents.iter().map(|document| Ok(Task::Text(document.as_ref().into())));
        self.count(tasks, "", tallies)
    }

    /// The tasks of an input: ranges that can be read in any order, or blocks one after the other where that can't be.
    fn tasks<'p>(
        &'p self,
        path: &'p Path,
        options: &InputOptions,
        block: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<Task<'p>>> + Send + 'p>> {
        let lines = options.format_of(path)? == Format::JsonLines;
        if !lines {
            self.job.clock().add_text(0, 1);
        }
        // Where a custom pattern cuts shows only from the beginning on.
        let in_any_order = lines || self.pattern.is_named();
        let input = if in_any_order { Input::open(path, self.job)? } else { Input::stream(path, self.job)? };
        Ok(match input {
            Input::File(file, size) if lines => {
                Box::new(line_ranges(path, file, size, block as u64).map(|range| Ok(Task::LineRange(range))))
            }
            Input::File(file, size) => {
                Box::new(ranges(path, file, size, block as u64).map(|range| Ok(Task::Range(range))))
            }
            Input::Stream(reader) if lines => {
                Box::new(LineBlocks::new(path, reader, block).map(|lines| Ok(Task::Lines(lines?))))
            }
            Input::Stream(reader) => {
                Box::new(Pieces::new(self, path, reader, block).map(|piece| Ok(Task::Text(piece?.into()))))
            }
        })
    }

    /// Does all tasks on as many threads as are allowed and needed. They live as long as the call, so that a fork never
    /// meets half of them.
    fn count<'t>(
        &self,
        tasks: impl Iterator<Item = Result<Task<'t>>> + Send,
        column: &str,
        tallies: &Tallies<'a>,
    ) -> Result<()> {
        let (tasks, failure) = (Mutex::new(tasks.enumerate()), Mutex::new(None));
        let work = Work { counter: self, tasks, column, tallies, failed: AtomicBool::new(false), failure };
        thread::scope(|scope| work.share(scope, self.threads.saturating_sub(1)));
        let failure = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Brings tallies together.
    fn combine(&self, tallies: Tallies<'a>) -> Result<Tally<'a>> {
        let tallies = tallies.into_vec();
        let words = if tallies.len() > 1 { tallies.iter().map(Tally::len).sum() } else { 0 };
        let pool = pool(self.threads, words);
        self.job.clock().timed(Step::AddTables, || Tally::join(tallies, pool.as_ref(), self.job))
    }

    /// How long it counted.
    fn do_task(&self, task: &Task<'_>, buffer: &mut Vec<u8>, tally: &mut Tally<'_>, column: &str) -> Result<Duration> {
        let clock = self.job.clock();
        let block = clock.timed(Step::Read, || task.read(self, buffer))?;
        let begun = Instant::now();
        let (mut bytes, mut documents) = (0, 0);
        let mut count = |text: &str| {
            bytes += text.len() as u64;
            documents += 1;
            self.count_text(text, tally)
        };
        match block {
            // The file it is of is the document.
            Block::Text(text) => {
                count(text)?;
                documents = 0;
            }
            Block::Lines(lines) => lines.for_each_document(column, count)?,
            Block::Documents(texts) => texts.iter().try_for_each(count)?,
        }
        let busy = begun.elapsed();
        clock.add(Step::Count, busy);
        clock.add_text(bytes, documents);
        self.job.advance(task.progress());
        Ok(busy)
    }

    fn count_text(&self, text: &str, tally: &mut Tally<'_>) -> Result<()> {
        let bytes = text.as_bytes();
        let (mut start, mut checked) = (0, 0);
        for segment in self.special.segments(bytes) {
            match segment {
                Segment::Text(segment) => {
                    let end = start + segment.len();
                    if self.pattern.is_named() {
                        self.count_segment(text, start, end, tally)?;
                    } else {
                        self.count_spans(text, start, end, tally)?;
                    }
                    start = end;
                }
                Segment::Special(index) => start += self.special.tokens()[index].len(),
            }
            if start - checked >= BLOCK {
                checked = start;
                self.job.check()?;
            }
        }
        tally.end_text(bytes)
    }

    /// Counts what stands between special tokens. A long document, as a line of JSON may be, is cut where that changes
    /// nothing, so that the wish to stop is heard in time.
    fn count_segment(&self, text: &str, mut start: usize, end: usize, tally: &mut Tally<'_>) -> Result<()> {
        let mut length = BLOCK;
        while end - start > length {
            let cut = start + self.pattern.last_split(&text[start..end], length);
            if cut == start {
                length *= 2;
                continue;
            }
            self.count_spans(text, start, cut, tally)?;
            self.job.check()?;
            (start, length) = (cut, BLOCK);
        }
        self.count_spans(text, start, end, tally)
    }

    fn count_spans(&self, text: &str, start: usize, end: usize, tally: &mut Tally<'_>) -> Result<()> {
        let count = |from, ends: &[usize]| tally.push(text.as_bytes(), start, from, ends);
        self.pattern.for_each_spans(&text[start..end], self.job, count)
    }
}

/// What the threads share. Each takes the next task when it is done with one, and has a tally of its own, so that memory
/// does not grow with the length of a file.
struct Work<'w, 'a, I> {
    counter: &'w Counter<'a>,
    tasks: Mutex<Enumerate<I>>,
    column: &'w str,
    tallies: &'w Tallies<'a>,
    failed: AtomicBool,
    /// Of several errors the one of the earliest task: threads don't decide which is told.
    failure: Mutex<Option<(usize, Error)>>,
}

impl<'t, I: Iterator<Item = Result<Task<'t>>> + Send> Work<'_, '_, I> {
    /// Does tasks until there are none. The thread that finds one to begin with starts another thread, if `more` may be
    /// started: so there are never more than there are tasks, whose number nobody knows beforehand, and one.
    fn share<'s>(&'s self, scope: &'s Scope<'s, '_>, more: usize) {
        let Some(first) = self.next() else { return };
        if let Some(more) = more.checked_sub(1) {
            // Where the system gives no thread, those that there are do the work.
            drop(thread::Builder::new().spawn_scoped(scope, move || self.share(scope, more)));
        }
        let (mut tally, mut buffer, mut busy) = (self.tallies.take(), Vec::new(), Duration::ZERO);
        let mut next = Some(first);
        while let Some((number, task)) = next {
            let checked = self.counter.job.check().and(task);
            match checked.and_then(|task| self.counter.do_task(&task, &mut buffer, &mut tally, self.column)) {
                Ok(time) => busy += time,
                Err(error) => self.fail(number, error),
            }
            next = self.next();
        }
        self.counter.job.clock().add_thread(busy);
        self.tallies.put(tally);
    }

    /// The next task with its number; none after a failure, for then the result is an error.
    fn next(&self) -> Option<(usize, I::Item)> {
        if self.failed.load(Relaxed) {
            return None;
        }
        let mut tasks = lock(&self.tasks);
        self.counter.job.clock().timed(Step::Read, || tasks.next())
    }

    fn fail(&self, number: usize, error: Error) {
        self.failed.store(true, Relaxed);
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|(earliest, _)| number < *earliest) {
            *failure = Some((number, error));
        }
    }
}

/// The tallies of threads, made when they are needed.
struct Tallies<'j> {
    idle: Mutex<Vec<Tally<'j>>>,
    /// How many bytes each may take before it spills; as many as there are where there is no limit.
    room: Option<usize>,
    job: &'j Job,
}

impl<'j> Tallies<'j> {
    fn new(room: Option<usize>, job: &'j Job) -> Self {
        Self { idle: Mutex::default(), room, job }
    }

    fn take(&self) -> Tally<'j> {
        let idle = lock(&self.idle).pop();
        idle.unwrap_or_else(|| match self.room {
            Some(room) => Tally::within(room, self.job),
            None => Tally::new(self.job),
        })
    }

    fn put(&self, tally: Tally<'j>) {
        lock(&self.idle).push(tally);
    }

    fn are_empty(&self) -> bool {
        lock(&self.idle).iter().all(Tally::is_empty)
    }

    fn into_vec(self) -> Vec<Tally<'j>> {
        self.idle.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to count.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Files, each of them a document unless it holds several; `-` is standard input.
    pub paths: &'a [PathBuf],
    /// How to read them.
    pub options: &'a InputOptions,
    /// What the documents that come from elsewhere amount to in the progress of counting, if that is known.
    pub documents_size: Option<u64>,
}

impl Default for Inputs<'_> {
    fn default() -> Self {
        static OPTIONS: LazyLock<InputOptions> = LazyLock::new(InputOptions::default);
        Self { paths: &[], options: &OPTIONS, documents_size: Some(0) }
    }
}

/// A part of the work that one thread does.
enum Task<'t> {
    Text(Cow<'t, str>),
    Range(FileRange<'t>),
    Lines(Lines<'t, 'static>),
    LineRange(LineRange<'t>),
    Documents(Documents),
}

/// The text of a task.
enum Block<'b> {
    Text(&'b str),
    Lines(Lines<'b, 'b>),
    Documents(&'b Documents),
}

impl Task<'_> {
    /// Reads what is not read yet.
    fn read<'b>(&'b self, counter: &Counter<'_>, buffer: &'b mut Vec<u8>) -> Result<Block<'b>> {
        Ok(match self {
            Self::Text(text) => Block::Text(text),
            Self::Range(range) => Block::Text(range.read(counter, buffer)?),
            Self::Lines(lines) => Block::Lines(lines.borrowed()),
            Self::LineRange(range) => Block::Lines(range.read(buffer)?),
            Self::Documents(documents) => Block::Documents(documents),
        })
    }

    /// How much progress it makes once it is done. What is read one after the other makes it when it is read.
    fn progress(&self) -> u64 {
        match self {
            Self::Text(_) | Self::Lines(_) => 0,
            Self::Range(range) => range.len(),
            Self::LineRange(range) => range.len(),
            Self::Documents(documents) => documents.progress,
        }
    }
}

/// The first few paths, and how many more there are.
pub(crate) fn name_all(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = paths.iter().take(SHOWN).map(|path| input::display(path)).collect();
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
    fn a_text_under_a_custom_pattern_can_be_stopped_after_any_match() {
        let job = Job::default();
        job.cancel();
        for text in ["low lower", "low<e>low", "low"] {
            with_counter(r"\w+|\s+", &job, |counter| {
                assert!(matches!(counter.count_text(text, &mut Tally::new(&job)), Err(Error::Interrupted)));
            });
        }
    }

    #[test]
    fn a_long_document_can_be_stopped_in_the_middle() {
        let job = Job::default();
        job.cancel();
        for text in ["low lower ".repeat(BLOCK / 3), "low<e>".repeat(BLOCK / 3)] {
            with_counter("gpt2", &job, |counter| {
                assert!(matches!(counter.count_text(&text, &mut Tally::new(&job)), Err(Error::Interrupted)));
            });
        }
    }
}
