//! JSON Lines: blocks of whole lines, which threads parse by themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{display, read_between};
use crate::{Error, Result};

/// How far behind its end a range first looks for the end of its last line.
const AHEAD: u64 = 4096;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Some whole lines of a file.
pub struct Lines<'p, 'b> {
    path: &'p Path,
    bytes: Cow<'b, [u8]>,
    /// Where they begin in the file.
    offset: u64,
    /// How many lines stand before them, where that is known without reading these.
    before: LinesBefore<'b>,
}

#[derive(Clone, Copy)]
enum LinesBefore<'b> {
    Known(u64),
    In(&'b File),
}

impl<'p> Lines<'p, '_> {
    /// The same lines, without copying them.
    pub fn borrowed(&self) -> Lines<'p, '_> {
        Lines { path: self.path, bytes: Cow::Borrowed(&self.bytes), offset: self.offset, before: self.before }
    }

    /// Calls `f` on the document of each line. A blank line, and one whose column is null, has none.
    pub fn for_each_document(&self, column: &str, mut f: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let text = std::str::from_utf8(&self.bytes).map_err(|error| {
            let at = error.valid_up_to();
            Error::NotUtf8 { origin: display(self.path), offset: self.offset + at as u64, byte: self.bytes[at] }
        })?;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let json = if self.offset + start as u64 == 0 { line.trim_start_matches(BYTE_ORDER_MARK) } else { line };
            if !json.trim_ascii().is_empty() {
                let document = document(json, column).map_err(|reason| self.error(start, reason))?;
                document.as_deref().map_or(Ok(()), &mut f)?;
            }
            start += line.len();
        }
        Ok(())
    }

    #[cold]
    fn error(&self, start: usize, reason: String) -> Error {
        let before = match self.before {
            LinesBefore::Known(lines) => Ok(lines),
            LinesBefore::In(file) => newlines(self.path, file, self.offset),
        };
        match before {
            Ok(before) => {
                let line = before + memchr::memchr_iter(b'\n', &self.bytes[..start]).count() as u64 + 1;
                let reason = format!("line {line}: {reason}");
                Error::Format { path: display(self.path).into(), format: "JSON Lines", reason }
            }
            Err(error) => error,
        }
    }
}

/// How many lines end in the first bytes of a file.
fn newlines(path: &Path, file: &File, end: u64) -> Result<u64> {
    const BLOCK: u64 = 1 << 20;
    let mut buffer = Vec::new();
    let mut lines = 0;
    for start in (0..end).step_by(BLOCK as usize) {
        let filled = read_between((path, file), &mut buffer, 0, start, end.min(start + BLOCK))?;
        lines += memchr::memchr_iter(b'\n', &buffer[..filled]).count() as u64;
    }
    Ok(lines)
}

/// A range of a file. It holds the lines that begin in it.
pub struct LineRange<'p> {
    path: &'p Path,
    file: Arc<File>,
    start: u64,
    end: u64,
    size: u64,
}

/// All ranges of a file.
pub fn line_ranges(path: &Path, file: File, size: u64, block: u64) -> impl Iterator<Item = LineRange<'_>> {
    let file = Arc::new(file);
    let block = block.max(1);
    (0..size.div_ceil(block)).map(move |index| LineRange {
        path,
        file: file.clone(),
        start: index * block,
        end: size.min((index + 1) * block),
        size,
    })
}

impl<'p> LineRange<'p> {
    /// How many bytes of the file it stands for.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Reads its lines into the buffer.
    pub fn read<'b>(&'b self, buffer: &'b mut Vec<u8>) -> Result<Lines<'p, 'b>> {
        // The byte before says whether a line begins at the start.
        let base = self.start.saturating_sub(1);
        let (mut ahead, mut filled, mut searched) = (AHEAD, 0, 0);
        let after_newline = |bytes: &[u8], from: usize| memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at + 1);
        loop {
            let until = self.size.min(self.end + ahead);
            filled = read_between((self.path, &self.file), buffer, filled, base, until)?;
            let last = filled.min((self.end - base) as usize);
            let first = if self.start == 0 { Some(0) } else { after_newline(&buffer[..last], 0) };
            let Some(first) = first else { return Ok(self.lines(&[], self.start)) };
            // The newline may be the range's last byte: a line that begins at the end is the next range's.
            let from = searched.max(last.saturating_sub(1));
            searched = filled;
            // A file that has become shorter ends where it ends.
            let whole = until == self.size || base + (filled as u64) < until;
            match after_newline(&buffer[..filled], from).or(whole.then_some(filled)) {
                Some(end) => return Ok(self.lines(&buffer[first..end], base + first as u64)),
                None => ahead = (ahead * 2).max(self.len()),
            }
        }
    }

    fn lines<'b>(&'b self, bytes: &'b [u8], offset: u64) -> Lines<'p, 'b> {
        Lines { path: self.path, bytes: bytes.into(), offset, before: LinesBefore::In(&self.file) }
    }
}

/// Reads blocks of whole lines one after the other.
pub struct LineBlocks<'p, R> {
    path: &'p Path,
    reader: R,
    block: usize,
    /// What is read and not given out yet: the beginning of a line.
    pending: Vec<u8>,
    offset: u64,
    lines: u64,
    ended: bool,
}

impl<'p, R: Read> LineBlocks<'p, R> {
    pub fn new(path: &'p Path, reader: R, block: usize) -> Self {
        Self { path, reader, block: block.max(1), pending: Vec::new(), offset: 0, lines: 0, ended: false }
    }

    fn next_block(&mut self) -> Result<Option<Lines<'p, 'static>>> {
        let mut searched = 0;
        let end = loop {
            if self.ended {
                break self.pending.len();
            }
            if let Some(at) = memchr::memrchr(b'\n', &self.pending[searched..]) {
                break searched + at + 1;
            }
            searched = self.pending.len();
            self.fill()?;
        };
        if end == 0 {
            return Ok(None);
        }
        let rest = self.pending.split_off(end);
        let bytes = std::mem::replace(&mut self.pending, rest);
        let (offset, lines) = (self.offset, self.lines);
        self.offset += end as u64;
        self.lines += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        Ok(Some(Lines { path: self.path, bytes: bytes.into(), offset, before: LinesBefore::Known(lines) }))
    }

    fn fill(&mut self) -> Result<()> {
        // At least as much as there is: what has no newline is then moved about twice.
        let wanted = self.block.max(self.pending.len());
        let needed = wanted as u64;
        self.pending.try_reserve(wanted).map_err(|_| Error::OutOfMemory { what: "reading a line", needed })?;
        let read = self.reader.by_ref().take(needed).read_to_end(&mut self.pending);
        self.ended = read.map_err(Error::io("read", self.path))? < wanted;
        Ok(())
    }
}

impl<'p, R: Read> Iterator for LineBlocks<'p, R> {
    type Item = Result<Lines<'p, 'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_block().transpose()
    }
}

/// The document of a line: the string in its column, or none where that is null. Else what is wrong.
fn document<'l>(line: &'l str, column: &str) -> Result<Option<Cow<'l, str>>, String> {
    let mut json = serde_json::Deserializer::from_str(line);
    let found = Row { column }.deserialize(&mut json).and_then(|found| json.end().map(|()| found));
    match found {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(missing(line, column)),
        Err(error) => {
            // The place it tells is that in the line, in bytes; the line's own number is 1.
            let message = error.to_string();
            let reason = message.rsplit_once(" at line ").map_or(&message[..], |(reason, _)| reason);
            Err(format!("{reason}, at byte {} of the line", error.column()))
        }
    }
}

#[cold]
fn missing(line: &str, column: &str) -> String {
    let row: BTreeMap<String, IgnoredAny> = serde_json::from_str(line).unwrap_or_default();
    let names: Vec<String> = row.keys().map(|name| format!("{name:?}")).collect();
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("there is no column {column:?}; the columns are: {there}")
}

/// A line's object, of which one column is looked at. Of a column that stands twice, the last counts, as in Python.
struct Row<'c> {
    column: &'c str,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = Option<Option<Cow<'de, str>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Option<Option<Cow<'de, str>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = row.next_key_seed(Text { what: "a name" })? {
            if name.as_deref() == Some(self.column) {
                found = Some(row.next_value_seed(Text { what: "a string in the text column" })?);
            } else {
                row.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A string, borrowed where nothing in it is escaped; or null.
struct Text {
    what: &'static str,
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
