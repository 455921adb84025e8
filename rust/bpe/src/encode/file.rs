//! A text file to a token file: `.npy` with a JSON sidecar, in bounded memory, on several threads.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::ids::{FileIds, Ids};
use super::reserve;
use crate::aside::{Aside, keep_both};
use crate::formats::token_file::{Dtype, HEADER, describe, header, sidecar};
use crate::special::{Segment, SpecialTokens};
use crate::tokenizer::{Policy, SpecialPolicy, Tokenizer, characters, pool};
use crate::utf8::from_utf8;
use crate::{Error, Job, Result, Stage};

/// Text given to one thread at a time, in bytes.
const BLOCK: usize = 1 << 20;

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
        for written in [target, &sidecar(target)] {
            if same_file(source, written) {
                let path = written.display();
                let advice = "which would overwrite the source; give the target another name";
                return Err(Error::Invalid(format!("{path} would be written, {advice}")));
            }
        }
        let input = File::open(source).map_err(Error::io("read", source))?;
        let size = input.metadata().map_err(Error::io("read", source))?.len();
        job.begin(Stage::Encode, size);
        let mut data = Aside::new(target)?;
        let mut side = Aside::new(&sidecar(target))?;
        let mut writer = BufWriter::with_capacity(1 << 20, data.file());
        let failed = |error| Error::io("write", target)(error);
        writer.write_all(&[b' '; HEADER]).map_err(failed)?;
        // More threads than blocks would only cost; of a pipe the size is not known.
        let blocks = if size > 0 { size.div_ceil(BLOCK as u64) } else { u64::MAX };
        let threads = options.threads.clamp(1, usize::try_from(blocks).unwrap_or(usize::MAX));
        let mut blocks = Blocks {
            tokenizer: self,
            policy: self.policy(&options.policy)?,
            pool: if threads > 1 { Some(pool(threads)?) } else { None },
            threads,
            source,
            input,
            buffer: Vec::new(),
            characters: 0,
            written: false,
            stats: EncodeFileStats { bytes: 0, tokens: 0, documents: 0, dtype },
        };
        blocks.run(&mut writer, target, job)?;
        let stats = blocks.stats;
        writer.seek(SeekFrom::Start(0)).map_err(failed)?;
        writer.write_all(&header(dtype, stats.tokens)).map_err(failed)?;
        writer.flush().map_err(failed)?;
        drop(writer);
        let name = source.file_name().map(|name| name.to_string_lossy());
        let inputs = json!([{"name": name, "bytes": stats.bytes}]);
        let info = describe(self, dtype, stats.tokens, stats.documents, inputs);
        side.file().write_all(format!("{info:#}\n").as_bytes()).map_err(Error::io("write", sidecar(target)))?;
        keep_both(data, side)?;
        Ok(stats)
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Reads, cuts where nothing changes, encodes the parts side by side, writes them in order.
struct Blocks<'t> {
    tokenizer: &'t Tokenizer,
    policy: Policy<'t>,
    pool: Option<rayon::ThreadPool>,
    threads: usize,
    source: &'t Path,
    input: File,
    buffer: Vec<u8>,
    characters: u64,
    /// Whether the document under way holds more than white space.
    written: bool,
    stats: EncodeFileStats,
}

impl Blocks<'_> {
    fn run(&mut self, writer: &mut impl Write, target: &Path, job: &Job) -> Result<()> {
        let mut wanted = BLOCK * self.threads;
        loop {
            job.check()?;
            let more = wanted.saturating_sub(self.buffer.len());
            reserve(&mut self.buffer, more, "a stretch of text that can't be cut")?;
            let read = (&mut self.input).take(more as u64).read_to_end(&mut self.buffer);
            let last = read.map_err(Error::io("read", self.source))? < more;
            let taken = self.block(last, writer, target, job)?;
            job.advance(taken as u64);
            if last {
                break;
            }
            // Where no cut was found the stretch is looked at again only when it has doubled.
            wanted = (2 * self.buffer.len()).max(BLOCK * self.threads);
        }
        self.stats.documents += u64::from(self.written);
        if self.stats.bytes == 0 {
            return Err(Error::EmptyCorpus { origin: self.source.display().to_string() });
        }
        Ok(())
    }

    /// Encodes what is sure of the buffer and forgets it; returns how much that was.
    fn block(&mut self, last: bool, writer: &mut impl Write, target: &Path, job: &Job) -> Result<usize> {
        let buffer = std::mem::take(&mut self.buffer);
        let text = match from_utf8(&buffer) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && !last => {
                std::str::from_utf8(&buffer[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(error) => {
                let (origin, at) = (self.source.display().to_string(), error.valid_up_to());
                return Err(Error::NotUtf8 { origin, offset: self.stats.bytes + at as u64, byte: buffer[at] });
            }
        };
        let mut cuts = vec![0];
        let step = text.len().div_ceil(self.threads).max(1);
        for part in 1..=self.threads {
            let from = *cuts.last().unwrap_or(&0);
            let cut = if last && part == self.threads { text.len() } else { self.cut(text, from, part * step) };
            if cut > from {
                cuts.push(cut);
            }
        }
        let parts: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let dtype = self.stats.dtype;
        let encode = |part: &&str| {
            let mut ids = FileIds::new(dtype);
            ids.expect(part.len())?;
            self.tokenizer.encode_with(part.as_bytes(), &self.policy, &mut ids, job)?;
            Ok(ids)
        };
        let encoded: Vec<Result<FileIds>> = match &self.pool {
            Some(pool) => pool.install(|| parts.par_iter().map(encode).collect()),
            None => parts.iter().map(encode).collect(),
        };
        for (part, ids) in parts.iter().zip(encoded) {
            let ids = ids.map_err(|error| self.moved(error))?;
            self.stats.tokens += ids.count() as u64;
            self.finish_part(part, &ids.bytes, writer).map_err(Error::io("write", target))?;
        }
        let taken = *cuts.last().unwrap_or(&0);
        self.buffer = buffer;
        self.buffer.drain(..taken);
        Ok(taken)
    }

    /// The greatest place up to `limit` where cutting changes nothing, `from` if there is none.
    fn cut(&self, text: &str, from: usize, limit: usize) -> usize {
        let longest = self.policy.finder().map_or(0, SpecialTokens::longest);
        // What stands at the end may go on.
        let mut limit = limit.min(text.len().saturating_sub(longest.max(1)));
        if self.tokenizer.pattern().is_named() {
            while limit > from {
                let cut = from + self.tokenizer.pattern().last_split(&text[from..], limit - from);
                if cut <= from || !self.policy.finder().is_some_and(|finder| finder.straddles(text.as_bytes(), cut)) {
                    return cut;
                }
                limit = cut - 1;
            }
            return from;
        }
        // Any other pattern may look anywhere but across a special token.
        let mut cut = from;
        let Some(finder) = self.policy.finder() else { return from };
        while let Some((_, _, end)) = finder.find(text.as_bytes(), cut).filter(|found| found.2 <= limit) {
            cut = end;
        }
        cut
    }

    /// An error with its place in the file instead of in the part.
    fn moved(&self, error: Error) -> Error {
        match error {
            Error::DisallowedSpecial { token, byte_offset, char_offset } => Error::DisallowedSpecial {
                token,
                byte_offset: self.stats.bytes + byte_offset,
                char_offset: self.characters + char_offset,
            },
            other => other,
        }
    }

    fn finish_part(&mut self, part: &str, bytes: &[u8], writer: &mut impl Write) -> std::io::Result<()> {
        writer.write_all(bytes)?;
        self.stats.bytes += part.len() as u64;
        if self.policy.may_refuse() {
            self.characters += characters(part.as_bytes());
        }
        self.count_documents(part);
        Ok(())
    }

    fn count_documents(&mut self, part: &str) {
        let not_blank = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| !text.trim().is_empty());
        let Some(finder) = self.policy.finder() else {
            self.written |= not_blank(part.as_bytes());
            return;
        };
        for segment in finder.segments(part.as_bytes()) {
            match segment {
                Segment::Text(text) => self.written = self.written || not_blank(text),
                Segment::Special(_) => {
                    self.stats.documents += u64::from(std::mem::take(&mut self.written));
                }
            }
        }
    }
}
