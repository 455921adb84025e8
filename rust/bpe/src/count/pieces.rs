//! A text that must be read from one end to the other, as a pipe must, in pieces.

use std::io::Read;
use std::path::Path;

use super::Counter;
use crate::input::display;
use crate::pretokenize::Pattern;
use crate::special::SpecialTokens;
use crate::utf8::from_utf8;
use crate::{Error, Result};

/// Reads a text in pieces that can be pre-tokenized apart, each about a block long.
pub struct Pieces<'a, R> {
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
    pub fn new(counter: &Counter<'a>, path: &'a Path, reader: R, block: usize) -> Self {
        let Counter { pattern, special, .. } = *counter;
        let block = block.max(1);
        let pending = Vec::new();
        Self { pattern, special, path, reader, block, pending, offset: 0, search_at: block, ended: false }
    }

    /// For a text of which so many bytes have been read before.
    pub fn starting_at(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
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
        let valid = match from_utf8(&self.pending) {
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
        Error::NotUtf8 { origin: display(self.path), offset: self.offset + at as u64, byte: bytes[at] }
    }
}

impl<R: Read> Iterator for Pieces<'_, R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_piece().transpose()
    }
}
