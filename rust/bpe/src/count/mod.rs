//! Files and documents to pre-token counts, in parallel, reading in blocks.

mod words;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

pub use words::WordCounts;

use crate::pretokenize::Pattern;
use crate::special::{Segment, SpecialTokens};
use crate::{Error, Job, Result, Stage};
use words::Batch;

/// How much of a file one task reads and counts.
const BLOCK: usize = 4 << 20;

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
        let mut counts = WordCounts::default();
        // Opened one after the other: there may be more files than a process may hold open.
        let pieces = paths.iter().flat_map(|path| {
            let (pieces, failure) = match open(path) {
                Ok(file) => (Some(Pieces::new(self, path, file, block)), None),
                Err(error) => (None, Some(Err(error))),
            };
            pieces.into_iter().flatten().chain(failure)
        });
        self.count_pieces(pieces, &mut counts)?;
        if counts.is_empty() {
            return Err(Error::EmptyCorpus { origin: name_all(paths) });
        }
        Ok(counts)
    }

    /// Counts the pre-tokens of texts in memory, each of them a document, on top of what `counts` holds.
    pub fn count_documents<S: AsRef<str> + Sync>(&self, documents: &[S], counts: &mut WordCounts) -> Result<()> {
        self.count_pieces(documents.iter().map(|document| Ok(document.as_ref())), counts)
    }

    /// Every thread takes the next piece when it is done with one, and has a table of its own to the end. One piece a
    /// thread is in memory at a time, so memory does not grow with the length of a file.
    fn count_pieces<S: AsRef<str>>(
        &self,
        pieces: impl Iterator<Item = Result<S>> + Send,
        counts: &mut WordCounts,
    ) -> Result<()> {
        let pieces = Mutex::new(pieces);
        let failed = AtomicBool::new(false);
        let work = || {
            let mut table = WordCounts::default();
            let outcome = self.count_while_there_are(&pieces, &failed, &mut table);
            // The others need not go on when the result is an error.
            failed.fetch_or(outcome.is_err(), Relaxed);
            outcome.map(|()| table)
        };
        let tables = match self.pool() {
            Some(pool) => pool.broadcast(|_| work()),
            None => vec![work()],
        };
        let tables: Vec<WordCounts> = tables.into_iter().collect::<Result<_>>()?;
        tables.iter().try_for_each(|table| counts.merge(table))
    }

    fn count_while_there_are<S: AsRef<str>>(
        &self,
        pieces: &Mutex<impl Iterator<Item = Result<S>>>,
        failed: &AtomicBool,
        table: &mut WordCounts,
    ) -> Result<()> {
        while !failed.load(Relaxed) {
            self.job.check()?;
            let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(piece) = next.transpose()? else { break };
            self.count_piece(piece.as_ref(), table)?;
            self.job.advance(piece.as_ref().len() as u64);
        }
        Ok(())
    }

    fn count_piece(&self, piece: &str, table: &mut WordCounts) -> Result<()> {
        let mut batch = Batch::new(table, piece.as_bytes());
        let mut start = 0;
        for segment in self.special.segments(piece.as_bytes()) {
            match segment {
                Segment::Text(text) => {
                    let end = start + text.len();
                    self.pattern.for_each_span(&piece[start..end], |from, to| batch.push(start + from, start + to))?;
                    start = end;
                }
                Segment::Special(index) => start += self.special.tokens()[index].len(),
            }
        }
        batch.finish()
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

/// Reads a text in pieces that can be pre-tokenized apart, each about a block long.
struct Pieces<'a, R> {
    pattern: &'a Pattern,
    special: &'a SpecialTokens,
    path: &'a Path,
    reader: R,
    block: usize,
    pending: Vec<u8>,
    /// Where `pending` begins in the file.
    offset: u64,
    /// `pending` is searched for a cut again when it has grown to this.
    search_at: usize,
    ended: bool,
}

impl<'a, R: Read> Pieces<'a, R> {
    fn new(counter: &Counter<'a>, path: &'a Path, reader: R, block: usize) -> Self {
        let Counter { pattern, special, .. } = *counter;
        let block = block.max(1);
        let pending = Vec::new();
        Self { pattern, special, path, reader, block, pending, offset: 0, search_at: block, ended: false }
    }

    fn next_piece(&mut self) -> Result<Option<String>> {
        loop {
            while self.pending.len() < self.search_at && !self.ended {
                self.fill()?;
            }
            if self.ended {
                let rest = std::mem::take(&mut self.pending);
                return if rest.is_empty() { Ok(None) } else { self.checked(rest).map(Some) };
            }
            let cut = self.cut()?;
            if cut > 0 {
                let rest = self.pending.split_off(cut);
                let piece = std::mem::replace(&mut self.pending, rest);
                self.search_at = self.pending.len() + self.block;
                return self.checked(piece).map(Some);
            }
            // Doubling keeps the searches of a text without any place to cut linear in its length.
            self.search_at = self.pending.len() * 2;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let before = self.pending.len();
        let wanted = (self.search_at - before).max(1);
        let needed = wanted as u64;
        self.pending.try_reserve(wanted).map_err(|_| Error::OutOfMemory { what: "reading a text", needed })?;
        let read = self.reader.by_ref().take(needed).read_to_end(&mut self.pending);
        read.map_err(Error::io("read", self.path))?;
        self.ended = self.pending.len() < before + wanted;
        Ok(())
    }

    /// The last place in `pending` where it can be cut: where the pattern can begin anew, outside of any special token
    /// that may stand there in whole or in part; or right after a special token.
    fn cut(&self) -> Result<usize> {
        let valid = match std::str::from_utf8(&self.pending) {
            Ok(text) => text,
            // A character at the end may not be there in whole yet.
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&self.pending[..error.valid_up_to()]).expect("it is valid up to there")
            }
            Err(error) => return Err(self.not_utf8(&self.pending, error)),
        };
        // A special token that begins in the last bytes may end beyond them.
        let settled = valid.floor_char_boundary((valid.len() + 1).saturating_sub(self.special.longest().max(2)));
        let mut limit = settled;
        loop {
            let cut = self.pattern.last_split(valid, limit);
            if cut == 0 {
                return Ok(self.after_last_special(settled));
            }
            if !self.special.straddles(&self.pending, cut) {
                return Ok(cut);
            }
            limit = valid.floor_char_boundary(cut - 1);
        }
    }

    fn after_last_special(&self, settled: usize) -> usize {
        let mut after = 0;
        while let Some((_, _, end)) = self.special.find(&self.pending, after) {
            // A longer token could begin where this one does, and end beyond what has been read.
            if end > settled {
                break;
            }
            after = end;
        }
        after
    }

    fn checked(&mut self, piece: Vec<u8>) -> Result<String> {
        let length = piece.len() as u64;
        let text = String::from_utf8(piece).map_err(|error| {
            let reason = error.utf8_error();
            self.not_utf8(error.as_bytes(), reason)
        })?;
        self.offset += length;
        Ok(text)
    }

    fn not_utf8(&self, bytes: &[u8], error: std::str::Utf8Error) -> Error {
        let at = error.valid_up_to();
        let origin = self.path.display().to_string();
        Error::NotUtf8 { origin, offset: self.offset + at as u64, byte: bytes[at] }
    }
}

impl<R: Read> Iterator for Pieces<'_, R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_piece().transpose()
    }
}
