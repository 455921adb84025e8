//! The inputs of token files, one after the other, in parts that can be encoded apart.

use std::io::Read;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
use crate::count::Counter;
use crate::count::pieces::Pieces;
use crate::input::{Documents, Format, Input, InputOptions, LineBlocks, Lines, display};
use crate::{Error, Job, Result};

/// About how many bytes of an input make a part.
const BLOCK: usize = 1 << 20;

/// Reads inputs that this crate can't.
pub trait DocumentSource: Send {
    /// Begins with the input of this index.
    fn begin(&mut self, index: usize) -> Result<()>;
    /// The next documents of that input; none at its end.
    fn next(&mut self, job: &Job) -> Result<Option<Documents>>;
}

/// Where all inputs are read by this crate.
pub struct NoDocuments;

impl DocumentSource for NoDocuments {
    fn begin(&mut self, index: usize) -> Result<()> {
        Err(Error::Invalid(format!("input {} is Parquet, which the core does not read", index + 1)))
    }

    fn next(&mut self, _: &Job) -> Result<Option<Documents>> {
        Ok(None)
    }
}

/// A place between two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The index of the input.
    pub source: usize,
    /// Bytes of its text before the place.
    pub bytes: u64,
    /// The like in characters, where somebody wants to know.
    pub characters: u64,
    /// Documents of it before the place.
    pub rows: u64,
    /// The hash of the text before the place.
    pub sha256: String,
}

/// What can be encoded by itself.
pub enum Part<'a> {
    /// Some of a text, and whether it is the last of it.
    Text(String, bool),
    /// Lines with documents.
    Lines(Lines<'a, 'static>),
    /// Documents that come from elsewhere.
    Documents(Documents),
    /// The end of an input.
    End,
}

type Stream<'a> = Box<dyn Read + Send + 'a>;

enum Open<'a> {
    Text(Box<Peekable<Pieces<'a, Stream<'a>>>>),
    Lines(LineBlocks<'a, Stream<'a>>),
    Documents,
}

/// Reads inputs from a place on.
pub struct Sources<'a, D> {
    paths: &'a [PathBuf],
    options: &'a InputOptions,
    counter: Counter<'a>,
    documents: D,
    next: usize,
    open: Option<Open<'a>>,
}

impl<'a, D: DocumentSource> Sources<'a, D> {
    /// Also gives the hash of what stands before the place, in its input. [`Error::Invalid`] if that has changed.
    pub fn new(
        paths: &'a [PathBuf],
        options: &'a InputOptions,
        counter: Counter<'a>,
        documents: D,
        place: &Position,
    ) -> Result<(Self, Sha256)> {
        let mut sources = Self { paths, options, counter, documents, next: place.source, open: None };
        let mut seen = Seen::default();
        if place.bytes > 0 || place.rows > 0 {
            let path = &paths[place.source];
            sources.open = Some(sources.reopen(path, place, &mut seen)?);
            if (seen.bytes, seen.rows) != (place.bytes, place.rows) || hex(&seen.hash) != place.sha256 {
                let name = display(path);
                let message = format!("{name} is not any more what was encoded of it before; begin anew, with restart");
                return Err(Error::Invalid(message));
            }
        }
        Ok((sources, seen.hash))
    }

    /// The next part.
    pub fn next_part(&mut self) -> Result<Option<Part<'a>>> {
        self.counter.job.check()?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.paths.get(self.next) {
                Some(path) => self.start(path)?,
                None => return Ok(None),
            },
        };
        let part = match &mut open {
            Open::Text(pieces) => pieces.next().transpose()?.map(|piece| Part::Text(piece, pieces.peek().is_none())),
            Open::Lines(blocks) => blocks.next().transpose()?.map(Part::Lines),
            Open::Documents => self.next_documents()?.map(Part::Documents),
        };
        match part {
            Some(_) => self.open = Some(open),
            None => self.next += 1,
        }
        Ok(Some(part.unwrap_or(Part::End)))
    }

    /// Opens an input at its beginning.
    fn start(&mut self, path: &'a Path) -> Result<Open<'a>> {
        match self.options.format.unwrap_or_else(|| Format::of(path)) {
            Format::Text => Ok(self.text(path, stream(path, self.counter.job)?, 0)),
            Format::JsonLines => Ok(Open::Lines(LineBlocks::new(path, stream(path, self.counter.job)?, BLOCK))),
            Format::Parquet => self.documents.begin(self.next).map(|()| Open::Documents),
        }
    }

    fn text(&self, path: &'a Path, reader: Stream<'a>, offset: u64) -> Open<'a> {
        let pieces = Pieces::new(&self.counter, path, reader, BLOCK).starting_at(offset);
        Open::Text(Box::new(pieces.peekable()))
    }

    /// Opens an input at a place in it; what stands before is read again.
    fn reopen(&mut self, path: &'a Path, place: &Position, seen: &mut Seen) -> Result<Open<'a>> {
        let job = self.counter.job;
        if self.options.format.unwrap_or_else(|| Format::of(path)) == Format::Text {
            let mut reader = stream(path, job)?;
            std::io::copy(&mut reader.by_ref().take(place.bytes), seen).map_err(Error::io("read", path))?;
            return Ok(self.text(path, reader, place.bytes));
        }
        let mut open = self.start(path)?;
        while seen.rows < place.rows {
            job.check()?;
            match &mut open {
                Open::Lines(blocks) => match blocks.next().transpose()? {
                    Some(lines) => lines.for_each_document(&self.options.text_column, |text| seen.row(text))?,
                    None => break,
                },
                _ => match self.next_documents()? {
                    Some(documents) => documents.iter().try_for_each(|text| seen.row(text))?,
                    None => break,
                },
            }
        }
        Ok(open)
    }

    fn next_documents(&mut self) -> Result<Option<Documents>> {
        let job = self.counter.job;
        Ok(self.documents.next(job)?.inspect(|documents| job.advance(documents.progress)))
    }
}

/// What was read again.
#[derive(Default)]
struct Seen {
    hash: Sha256,
    bytes: u64,
    rows: u64,
}

impl Seen {
    fn row(&mut self, text: &str) -> Result<()> {
        self.rows += 1;
        self.bytes += text.len() as u64;
        self.hash.update(text);
        Ok(())
    }
}

impl std::io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn stream<'a>(path: &'a Path, job: &'a Job) -> Result<Stream<'a>> {
    match Input::stream(path, job)? {
        Input::Stream(reader) => Ok(reader),
        Input::File(..) => unreachable!("a stream was asked for"),
    }
}
