//! A text file to a token file: `.npy` with a JSON sidecar, in bounded memory, on several threads.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::ids::{FileIds, Ids};
use crate::aside::{Aside, keep_both, place};
use crate::count::Counter;
use crate::count::pieces::Pieces;
use crate::count::ranges::{FileRange, ranges};
use crate::formats::token_file::{Dtype, HEADER, describe, header, sidecar};
use crate::input::{self, Input};
use crate::ordered::{ordered, worth_threads};
use crate::special::{Segment, SpecialTokens};
use crate::tokenizer::{Policy, SpecialPolicy, Tokenizer, characters};
use crate::{Error, Job, Result, Stage};

/// About how much text is encoded at a time: it stays in the nearer caches from reading to writing its ids.
const BLOCK: usize = 1 << 18;

/// How to encode a file.
#[derive(Clone, Debug)]
pub struct EncodeFileOptions {
    /// What special text means.
    pub policy: SpecialPolicy,
    /// The integer type; `None`: the smallest that holds every id.
    pub dtype: Option<Dtype>,
    /// How many threads encode.
    pub threads: usize,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeFileStats {
    /// Bytes of text.
    pub bytes: u64,
    /// Token ids.
    pub tokens: u64,
    /// Pieces between special tokens that are not blank.
    pub documents: u64,
    /// The integer type.
    pub dtype: Dtype,
}

impl Tokenizer {
    /// Encodes a UTF-8 file to a token file with its sidecar. Either both are written whole, or neither is there.
    pub fn encode_file(
        &self,
        source: &Path,
        target: &Path,
        options: &EncodeFileOptions,
        job: &Job,
    ) -> Result<EncodeFileStats> {
        let dtype = Dtype::choose(options.dtype, self.vocab_size())?;
        let size = input::size(source)?;
        // Beside the file itself, not beside a link to it: there every name leads.
        let sidecar = sidecar(&place(target).map_err(Error::io("write", target))?);
        input::refuse_overwriting(&[source.to_path_buf()], [target.to_path_buf(), sidecar.clone()])?;
        job.begin(Stage::Encode, size.unwrap_or(0));
        let mut data = Aside::new(target)?;
        let mut side = Aside::new(&sidecar)?;
        let failed = |error| Error::io("write", target)(error);
        data.file().write_all(&[b' '; HEADER]).map_err(failed)?;
        let none = SpecialTokens::new::<&str>(&[])?;
        let policy = self.policy(&options.policy)?;
        let counter = Counter { pattern: self.pattern(), special: policy.finder().unwrap_or(&none), threads: 1, job };
        let work = Work { tokenizer: self, policy: &policy, dtype, counter, buffers: Mutex::default() };
        let mut written = Written { bytes: 0, characters: 0, tokens: 0, documents: 0, is_open: false };
        let mut parts = parts(source, &work.counter)?;
        ordered(
            worth_threads(options.threads, size),
            || parts.next().transpose(),
            |part| work.encode(&part),
            |encoded| {
                let encoded = encoded.map_err(|error| written.moved(error))?;
                data.file().write_all(&encoded.ids.bytes).map_err(failed)?;
                written.add(&encoded);
                job.advance(encoded.progress);
                Ok(())
            },
        )?;
        if written.bytes == 0 {
            return Err(Error::EmptyCorpus { origin: input::display(source) });
        }
        let stats = written.stats(dtype);
        data.file().seek(SeekFrom::Start(0)).map_err(failed)?;
        data.file().write_all(&header(dtype, stats.tokens)).map_err(failed)?;
        let name = source.file_name().map(|name| name.to_string_lossy());
        let inputs = json!([{"name": name, "bytes": stats.bytes}]);
        let info = describe(self, dtype, stats.tokens, stats.documents, inputs);
        side.file().write_all(format!("{info:#}\n").as_bytes()).map_err(Error::io("write", &sidecar))?;
        keep_both(data, side)?;
        Ok(stats)
    }
}

/// What can be encoded by itself.
enum Part<'p> {
    Range(FileRange<'p>),
    Text(String),
}

/// The parts of a file: ranges that threads read by themselves, or texts one after the other where that can't be.
fn parts<'p>(
    source: &'p Path,
    counter: &Counter<'p>,
) -> Result<Box<dyn Iterator<Item = Result<Part<'p>>> + Send + 'p>> {
    // Where a custom pattern cuts shows only from the beginning on.
    let named = counter.pattern.is_named();
    let input = if named { Input::open(source, counter.job)? } else { Input::stream(source, counter.job)? };
    Ok(match input {
        Input::File(file, size) => {
            Box::new(ranges(source, file, size, BLOCK as u64).map(|range| Ok(Part::Range(range))))
        }
        Input::Stream(reader) => Box::new(Pieces::new(counter, source, reader, BLOCK).map(|text| text.map(Part::Text))),
    })
}

/// What the threads share.
struct Work<'w> {
    tokenizer: &'w Tokenizer,
    policy: &'w Policy<'w>,
    dtype: Dtype,
    counter: Counter<'w>,
    /// What ranges are read into, to be used again.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Work<'_> {
    fn encode(&self, part: &Part<'_>) -> Result<Encoded> {
        match part {
            Part::Text(text) => self.encode_text(text, 0),
            Part::Range(range) => {
                let mut buffer = self.lock().pop().unwrap_or_default();
                let encoded = self.encode_text(range.read(&self.counter, &mut buffer)?, range.len());
                self.lock().push(buffer);
                encoded
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode_text(&self, text: &str, progress: u64) -> Result<Encoded> {
        let mut ids = FileIds::new(self.dtype);
        self.tokenizer.encode_with(text.as_bytes(), self.policy, &mut ids, self.counter.job)?;
        let characters = if self.policy.may_refuse() { characters(text.as_bytes()) } else { 0 };
        let documents = Documents::of(text, self.policy.finder());
        Ok(Encoded { ids, bytes: text.len() as u64, characters, documents, progress })
    }
}

/// The ids of a part, and what there is to say about it.
struct Encoded {
    ids: FileIds,
    bytes: u64,
    /// Where somebody may want to know.
    characters: u64,
    documents: Documents,
    progress: u64,
}

/// Which of the texts before, between and behind the special tokens of a part are not blank.
struct Documents {
    first: bool,
    /// How many between two special tokens.
    whole: u64,
    /// Behind the last special token, if there is one.
    last: Option<bool>,
}

impl Documents {
    fn of(text: &str, finder: Option<&SpecialTokens>) -> Self {
        let mut documents = Self { first: false, whole: 0, last: None };
        let Some(finder) = finder else { return Self { first: !text.trim().is_empty(), ..documents } };
        let mut start = 0;
        for segment in finder.segments(text.as_bytes()) {
            match segment {
                Segment::Text(segment) => {
                    let is_some = !text[start..start + segment.len()].trim().is_empty();
                    start += segment.len();
                    *documents.last.as_mut().unwrap_or(&mut documents.first) = is_some;
                }
                Segment::Special(index) => {
                    start += finder.tokens()[index].len();
                    documents.whole += u64::from(documents.last.replace(false) == Some(true));
                }
            }
        }
        documents
    }
}

/// What has been written so far.
struct Written {
    bytes: u64,
    characters: u64,
    tokens: u64,
    documents: u64,
    /// Whether the document under way holds more than white space.
    is_open: bool,
}

impl Written {
    fn add(&mut self, encoded: &Encoded) {
        let Encoded { ids, bytes, characters, documents, .. } = encoded;
        self.tokens += ids.count() as u64;
        self.bytes += bytes;
        self.characters += characters;
        self.is_open |= documents.first;
        if let Some(last) = documents.last {
            self.documents += u64::from(std::mem::replace(&mut self.is_open, last)) + documents.whole;
        }
    }

    fn stats(self, dtype: Dtype) -> EncodeFileStats {
        let documents = self.documents + u64::from(self.is_open);
        EncodeFileStats { bytes: self.bytes, tokens: self.tokens, documents, dtype }
    }

    /// An error with its place in the file instead of in the part.
    fn moved(&self, error: Error) -> Error {
        match error {
            Error::DisallowedSpecial { token, byte_offset, char_offset } => Error::DisallowedSpecial {
                token,
                byte_offset: self.bytes + byte_offset,
                char_offset: self.characters + char_offset,
            },
            other => other,
        }
    }
}
