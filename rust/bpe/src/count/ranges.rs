//! A file in ranges that threads read by themselves, each from a place where the text can be cut to another.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::Counter;
use crate::input::{display, read_between};
use crate::utf8::from_utf8;
use crate::{Error, Result};

/// How far behind its end a range first looks for a place to cut.
const AHEAD: u64 = 4096;

/// How many bytes are searched for a cut before it is asked whether to stop.
const STRETCH: usize = 1 << 20;

/// A range of a file. It holds the text from the first cut at or after `start` to the first at or after `end`, so that
/// neighbours meet without knowing of each other.
pub struct FileRange<'p> {
    path: &'p Path,
    file: Arc<File>,
    start: u64,
    end: u64,
    size: u64,
}

/// All ranges of a file.
pub fn ranges(path: &Path, file: File, size: u64, block: u64) -> impl Iterator<Item = FileRange<'_>> {
    let file = Arc::new(file);
    let block = block.max(1);
    (0..size.div_ceil(block)).map(move |index| FileRange {
        path,
        file: file.clone(),
        start: index * block,
        end: size.min((index + 1) * block),
        size,
    })
}

/// The first place in `from..to` where the text can be cut.
fn first_cut(counter: &Counter<'_>, bytes: &[u8], from: usize, to: usize) -> Result<Option<usize>> {
    for stretch in (from..to).step_by(STRETCH) {
        counter.job.check()?;
        let can_cut = |&at: &usize| counter.pattern.splits_at(bytes, at) && !counter.special.straddles(bytes, at);
        if let Some(cut) = (stretch..to.min(stretch + STRETCH)).find(can_cut) {
            return Ok(Some(cut));
        }
    }
    Ok(None)
}

impl FileRange<'_> {
    /// How many bytes of the file it stands for.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// The range's text, which is in the buffer after the call; [`Error::NotUtf8`] if it is none.
    pub fn read<'b>(&self, counter: &Counter<'_>, buffer: &'b mut Vec<u8>) -> Result<&'b str> {
        // What decides about a cut stands around it: a character, or a special token that goes across.
        let context = counter.special.longest().max(4) as u64;
        let base = self.start.saturating_sub(context);
        let mut ahead = AHEAD.max(2 * context);
        let mut filled = 0;
        // From where on a cut that ends the range is looked for.
        let mut ends_from = (self.end - base) as usize;
        loop {
            let until = self.size.min(self.end + ahead);
            filled = read_between((self.path, &self.file), buffer, filled, base, until)?;
            let bytes = &buffer[..filled];
            // A file that has become shorter ends where it ends.
            let whole = until == self.size || base + (filled as u64) < until;
            let known = if whole { filled } else { filled - context as usize };
            let last = filled.min((self.end - base) as usize);
            let start = (self.start - base) as usize;
            let first = if self.start == 0 { Some(0) } else { first_cut(counter, bytes, start, last)? };
            let Some(first) = first else { return Ok("") };
            let end = if self.end == self.size { None } else { first_cut(counter, bytes, ends_from, known)? };
            if let Some(end) = end.or(whole.then_some(filled)) {
                return self.text(&buffer[first..end], base + first as u64);
            }
            ends_from = known.max(ends_from);
            // Doubling keeps the number of reads small where there is no place to cut.
            ahead = (ahead * 2).max(self.len());
        }
    }

    fn text<'b>(&self, bytes: &'b [u8], start: u64) -> Result<&'b str> {
        from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            Error::NotUtf8 { origin: display(self.path), offset: start + at as u64, byte: bytes[at] }
        })
    }
}
