//! Counts that do not fit into memory: sorted runs in temporary files.
//!
//! The files have no name: the system gives their space back when nobody holds them any more, however the process ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::merge::{Sorted, merge};
use super::records::{Flaw, RecordReader, RecordWriter, Sums};
use super::{WordCounts, Words};
use crate::input::read_at;
use crate::{Error, Job, Result};

/// How many runs are merged at a time; more of them in passes, so that their buffers stay small.
const FAN_IN: usize = 128;

/// How much is read or written at a time.
const BUFFER: usize = 1 << 16;

/// Words in order, somewhere in a temporary file.
#[derive(Clone, Debug)]
pub struct Run {
    file: Arc<File>,
    start: u64,
    sums: Sums,
}

impl Run {
    /// What its records add up to.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// Calls `f` on its records as they are, in blocks.
    pub fn for_each_block(&self, job: &Job, mut f: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut reader = BufReader::with_capacity(BUFFER, self.part());
        loop {
            job.check()?;
            let block = reader.fill_buf().map_err(failed)?;
            let size = block.len();
            if size == 0 {
                return Ok(());
            }
            f(block)?;
            reader.consume(size);
        }
    }

    fn part(&self) -> Part {
        Part { file: self.file.clone(), at: self.start, end: self.start + self.sums.bytes }
    }

    fn open(&self) -> RunReader {
        RunReader(RecordReader::new(BufReader::with_capacity(BUFFER, self.part()), self.sums.words))
    }
}

impl Words for Run {
    fn distinct(&self) -> u64 {
        self.sums.words
    }

    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut reader = self.open();
        while reader.advance()? {
            f(reader.word(), reader.count())?;
        }
        Ok(())
    }
}

/// Part of a file. Several can be read at a time.
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = read_at(&self.file, &mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

struct RunReader(RecordReader<BufReader<Part>>);

impl Sorted for RunReader {
    fn advance(&mut self) -> Result<bool> {
        self.0.advance().map_err(|flaw| match flaw {
            Flaw::Io(error) => failed(error),
            Flaw::Damage(reason) => failed(io::Error::new(io::ErrorKind::InvalidData, reason)),
        })
    }

    fn word(&self) -> &[u8] {
        self.0.word()
    }

    fn count(&self) -> u64 {
        self.0.count()
    }
}

/// A temporary file that runs are written to, one behind the other.
#[derive(Default)]
pub struct Scratch {
    file: Option<Arc<File>>,
    end: u64,
}

impl Scratch {
    /// Writes a run of the words that `fill` gives, in order.
    pub fn write(&mut self, fill: impl FnOnce(&mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()>) -> Result<Run> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(Arc::new(tempfile::tempfile().map_err(failed)?)).clone(),
        };
        (&*file).seek(SeekFrom::Start(self.end)).map_err(failed)?;
        let mut writer = RecordWriter::new(BufWriter::with_capacity(BUFFER, &*file));
        fill(&mut |word, count| writer.push(word, count).map_err(failed))?;
        let (_, sums) = writer.finish().map_err(failed)?;
        let start = self.end;
        self.end += sums.bytes;
        Ok(Run { file, start, sums })
    }
}

/// The runs of one thread, and where it writes more.
#[derive(Default)]
pub struct Spill {
    scratch: Scratch,
    runs: Vec<Run>,
}

impl Spill {
    /// Moves all words of a table to a run.
    pub fn write(&mut self, words: &mut WordCounts, job: &Job) -> Result<()> {
        if !words.is_empty() {
            self.runs.push(self.scratch.write(|push| words.drain_sorted(job, push))?);
        }
        Ok(())
    }

    /// Takes over another's runs.
    pub fn take(&mut self, other: Self) {
        self.runs.extend(other.runs);
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn into_runs(self) -> Vec<Run> {
        self.runs
    }
}

/// Merges runs into one.
pub fn merge_runs(mut runs: Vec<Run>, job: &Job) -> Result<Run> {
    while runs.len() != 1 {
        let mut scratch = Scratch::default();
        runs = merge_groups(&runs, |runs| {
            let sources: Vec<_> = runs.iter().map(Run::open).collect();
            scratch.write(|push| merge(sources, job, push))
        })?;
    }
    runs.pop().ok_or_else(|| Error::Invalid("there are no runs to merge".to_owned()))
}

/// What `merge` makes of each few of the sources; at least one.
pub fn merge_groups<S>(sources: &[S], mut merge: impl FnMut(&[S]) -> Result<Run>) -> Result<Vec<Run>> {
    if sources.is_empty() {
        return Ok(vec![merge(sources)?]);
    }
    sources.chunks(FAN_IN).map(merge).collect()
}

fn failed(source: io::Error) -> Error {
    Error::Temporary { folder: std::env::temp_dir(), source }
}
