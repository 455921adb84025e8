//! Counts files: the distinct pre-tokens of a corpus with how often each occurs.
//!
//! A line of JSON that says what was counted and how; the words in order, as `count::records` writes them; and the SHA-256
//! of all that. Equal counts are equal bytes, so files counted apart and merged are the file counted at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Take, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{bad, in_file};
use crate::aside::Aside;
use crate::count::merge::{Sorted, merge};
use crate::count::records::{Flaw, RecordReader, RecordWriter};
use crate::count::runs::{Scratch, merge_groups, merge_runs};
use crate::count::{Counts, Kept, Words};
use crate::error::add_counts;
use crate::pretokenize::Pattern;
use crate::special::SpecialTokens;
use crate::{Error, Job, Result};

const FORMAT: &str = "counts";

/// How a file begins, whatever its version.
const MAGIC: &[u8] = br#"{"format":"cs336-counts","version":"#;

const VERSION: u64 = 1;

/// The longest first line, so that a file without line ends is not read whole.
const LONGEST_HEADER: u64 = 16 << 20;

/// How many bytes the checksum takes.
const DIGEST: u64 = 32;

/// How much is read or written at a time.
const BUFFER: usize = 1 << 16;

/// What the first line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    format: String,
    version: u64,
    /// The pattern's name or regular expression.
    pub pattern: String,
    /// The special tokens, in the order given.
    pub special_tokens: Vec<String>,
    /// How many bytes of text were counted.
    pub corpus_bytes: u64,
    /// How many pre-tokens there were.
    pub pre_tokens: u128,
    /// How many different ones.
    pub distinct: u64,
}

impl Header {
    fn new(pattern: &str, special_tokens: &[String], counts: &Counts) -> Self {
        Self {
            format: "cs336-counts".to_owned(),
            version: VERSION,
            pattern: pattern.to_owned(),
            special_tokens: special_tokens.to_vec(),
            corpus_bytes: counts.corpus_bytes,
            pre_tokens: counts.total(),
            distinct: counts.len(),
        }
    }

    fn line(&self) -> Result<Vec<u8>> {
        let failed = |error| Error::Invalid(format!("cannot write JSON: {error}"));
        let mut line = serde_json::to_vec(self).map_err(failed)?;
        line.push(b'\n');
        if line.len() as u64 > LONGEST_HEADER {
            return Err(Error::Invalid("pattern and special tokens take more than 16 MiB; give fewer".to_owned()));
        }
        Ok(line)
    }
}

/// A counts file that was opened; it is read, and checked, each time that its words are asked for.
#[derive(Clone, Debug)]
pub struct CountsFile {
    path: PathBuf,
    line: Vec<u8>,
    header: Header,
    pattern: Pattern,
    special: SpecialTokens,
}

impl CountsFile {
    /// Reads the first line.
    pub fn open(path: &Path) -> Result<Self> {
        let (line, _) = read_line(path)?;
        let refuse = |error: serde_json::Error| bad(path, FORMAT, format!("its first line: {error}"));
        let header: Header = serde_json::from_slice(&line).map_err(refuse)?;
        let pattern = Pattern::new(&header.pattern).map_err(in_file(path, FORMAT))?;
        let special = SpecialTokens::new(&header.special_tokens).map_err(in_file(path, FORMAT))?;
        Ok(Self { path: path.to_path_buf(), line, header, pattern, special })
    }

    /// What its first line says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How its text was cut.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What split its text first and did not count.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    fn words(&self) -> Result<FileReader<'_>> {
        let (line, rest) = read_line(&self.path)?;
        if line != self.line {
            return Err(bad(&self.path, FORMAT, "it was changed while it was read"));
        }
        let mut sha = Sha256::new();
        sha.update(&line);
        let input = BufReader::with_capacity(BUFFER, Hashed { inner: rest, sha });
        Ok(FileReader { file: self, records: RecordReader::new(input, self.header.distinct), checked: false })
    }

    /// In what it was counted otherwise than another.
    fn difference(&self, other: &Self) -> Option<String> {
        let (one, other) = (&self.header, &other.header);
        if one.pattern != other.pattern {
            return Some(format!("the pattern of one is {:?}, of the other {:?}", one.pattern, other.pattern));
        }
        (one.special_tokens != other.special_tokens).then(|| {
            format!("the special tokens of one are {:?}, of the other {:?}", one.special_tokens, other.special_tokens)
        })
    }
}

impl Words for CountsFile {
    fn distinct(&self) -> u64 {
        self.header.distinct
    }

    fn for_each(&self, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut words = self.words()?;
        while words.advance()? {
            f(words.word(), words.count())?;
        }
        Ok(())
    }
}

/// The first line of a file, and what stands between it and the checksum.
fn read_line(path: &Path) -> Result<(Vec<u8>, Take<BufReader<File>>)> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    if metadata.is_dir() {
        return Err(Error::io("read", path)(io::ErrorKind::IsADirectory.into()));
    }
    let mut file = BufReader::with_capacity(BUFFER, file);
    let mut line = Vec::new();
    let mut read = |limit, until| {
        file.by_ref().take(limit).read_until(until, &mut line).map_err(Error::io("read", path)).map(|_| line.clone())
    };
    let refuse = |reason: &str| Err(bad(path, FORMAT, reason));
    if read(MAGIC.len() as u64, b'\n')? != MAGIC {
        return refuse("it does not begin as one does; `cs336 tokenizer count` writes them");
    }
    let version = read(20, b',')?;
    let version = String::from_utf8_lossy(&version[MAGIC.len()..]).trim_end_matches(',').parse::<u64>();
    match version {
        Ok(VERSION) => {}
        Ok(version) if version > VERSION => {
            return refuse(&format!("version {version} is newer than this program; update cs336"));
        }
        _ => return refuse("its first line gives no version"),
    }
    let line = read(LONGEST_HEADER, b'\n')?;
    if line.last() != Some(&b'\n') {
        return refuse("its first line does not end; it was cut short");
    }
    let Some(rest) = metadata.len().checked_sub(line.len() as u64 + DIGEST) else {
        return refuse("it ends before its checksum; it was cut short");
    };
    Ok((line, file.take(rest)))
}

/// Hashes what goes through.
struct Hashed<T> {
    inner: T,
    sha: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha.update(&buffer[..read]);
        Ok(read)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.sha.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads the words of a file from the first to the last, then checks what can only be checked at the end.
struct FileReader<'f> {
    file: &'f CountsFile,
    records: RecordReader<BufReader<Hashed<Take<BufReader<File>>>>>,
    checked: bool,
}

impl FileReader<'_> {
    fn check(&mut self) -> Result<()> {
        let (path, header) = (&self.file.path, &self.file.header);
        let refuse = |reason: &str| Err(bad(path, FORMAT, reason));
        let sums = self.records.sums();
        let input = self.records.input();
        if !input.fill_buf().map_err(Error::io("read", path))?.is_empty() {
            let end = self.file.line.len() as u64 + sums.bytes;
            return refuse(&format!("at byte {end}: more follows after its {} words", header.distinct));
        }
        let Hashed { inner, sha } = input.get_mut();
        let mut digest = Vec::new();
        inner.get_mut().take(DIGEST).read_to_end(&mut digest).map_err(Error::io("read", path))?;
        if digest != sha.finalize_reset()[..] {
            return refuse("its content does not match its checksum; it was changed or damaged, so count again");
        }
        if sums.total != header.pre_tokens {
            let (total, said) = (sums.total, header.pre_tokens);
            return refuse(&format!("its counts add up to {total}, not to {said} as its first line says"));
        }
        Ok(())
    }
}

impl Sorted for FileReader<'_> {
    fn advance(&mut self) -> Result<bool> {
        let path = &self.file.path;
        match self.records.advance() {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(Flaw::Io(error)) => return Err(Error::io("read", path)(error)),
            Err(Flaw::Damage(reason)) => {
                let sums = self.records.sums();
                let (byte, word) = (self.file.line.len() as u64 + sums.bytes, sums.words + 1);
                return Err(bad(path, FORMAT, format!("at byte {byte}, in word {word}: {reason}")));
            }
        }
        if !self.checked {
            self.check()?;
            self.checked = true;
        }
        Ok(false)
    }

    fn word(&self) -> &[u8] {
        self.records.word()
    }

    fn count(&self) -> u64 {
        self.records.count()
    }
}

/// A counts file to be. Until it is written, nothing stands under its name but what stood there before.
pub struct CountsWriter {
    path: PathBuf,
    aside: Aside,
}

impl CountsWriter {
    /// Finds out whether the file can be written, which is better known before the counting than after it.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), aside: Aside::new(path)? })
    }

    /// Writes the file; what its first line says.
    pub fn write(mut self, pattern: &Pattern, special: &SpecialTokens, counts: Counts, job: &Job) -> Result<Header> {
        let header = Header::new(pattern.spec(), special.tokens(), &counts);
        let path = &self.path;
        let failed = |error| Error::io("write", path)(error);
        let hashed = Hashed { inner: self.aside.file(), sha: Sha256::new() };
        let mut output = BufWriter::with_capacity(BUFFER, hashed);
        output.write_all(&header.line()?).map_err(failed)?;
        match counts.kept {
            Kept::InMemory(mut words) => {
                let mut records = RecordWriter::new(&mut output);
                words.drain_sorted(job, &mut |word, count| records.push(word, count).map_err(failed))?;
            }
            Kept::OnDisk(run) => run.for_each_block(job, |block| output.write_all(block).map_err(failed))?,
        }
        output.flush().map_err(failed)?;
        let Hashed { inner, sha } = output.into_inner().map_err(|error| failed(error.into_error()))?;
        inner.write_all(&sha.finalize()).map_err(failed)?;
        self.aside.sync()?;
        self.aside.keep()?;
        Ok(header)
    }
}

/// Adds counts files up: the bytes are those of a file counted at once.
pub fn merge_files(paths: &[PathBuf], target: &Path, job: &Job) -> Result<Header> {
    let files: Vec<CountsFile> = paths.iter().map(|path| CountsFile::open(path)).collect::<Result<_>>()?;
    let Some((first, others)) = files.split_first() else {
        return Err(Error::Invalid("give at least one counts file to merge".to_owned()));
    };
    let mut corpus_bytes = first.header.corpus_bytes;
    for other in others {
        if let Some(difference) = first.difference(other) {
            return Err(Error::CountsDiffer { one: first.path.clone(), other: other.path.clone(), difference });
        }
        corpus_bytes = add_counts(corpus_bytes, other.header.corpus_bytes)?;
    }
    let writer = CountsWriter::create(target)?;
    let mut scratch = Scratch::default();
    let runs = merge_groups(&files, |files| {
        let sources = files.iter().map(CountsFile::words).collect::<Result<Vec<_>>>()?;
        scratch.write(|push| merge(sources, job, push))
    })?;
    let kept = Kept::OnDisk(merge_runs(runs, job)?);
    writer.write(&first.pattern, &first.special, Counts { kept, corpus_bytes, spilled: 0 }, job)
}
