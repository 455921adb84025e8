//! Where text comes from: files, plain or compressed, pipes and standard input; each one text, or a document a line.
//!
//! Compression is told by the first bytes, the format by the name or the caller. Nothing else knows about either.

mod bytes;
mod compressed;
mod documents;
mod lines;

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) use bytes::{read_at, read_between};
pub use documents::Documents;
pub(crate) use lines::{LineBlocks, LineRange, Lines, line_ranges};

use crate::{Error, Job, Result};
use bytes::{Bytes, open_file, standard_input};

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// What a file holds once it is decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One document.
    Text,
    /// A JSON object a line, each with a document in one of its columns.
    JsonLines,
    /// A table. This crate can't read it, but knows one by its name.
    Parquet,
}

impl Format {
    /// The format that a name tells: `.jsonl` and `.ndjson`, with or without `.gz`, `.zst` or `.zstd` behind it, and
    /// `.parquet`. Anything else is a text.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
            Self::JsonLines
        } else if name.ends_with(".parquet") {
            Self::Parquet
        } else {
            Self::Text
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "text" => Ok(Self::Text),
            "jsonl" => Ok(Self::JsonLines),
            "parquet" => Ok(Self::Parquet),
            _ => Err(Error::Invalid(format!("no such input format: {name:?}; give text, jsonl or parquet"))),
        }
    }
}

/// How to read inputs.
#[derive(Clone, Debug)]
pub struct InputOptions {
    /// The format of all of them; `None`: what each one's name says.
    pub format: Option<Format>,
    /// The column of JSON Lines that holds the documents.
    pub text_column: String,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self { format: None, text_column: "text".to_owned() }
    }
}

impl InputOptions {
    /// Whether an input is made of documents, and not a text.
    pub(crate) fn is_documents(&self, path: &Path) -> bool {
        self.format.unwrap_or_else(|| Format::of(path)) != Format::Text
    }

    /// The format of one input; Parquet is an error here.
    pub(crate) fn format_of(&self, path: &Path) -> Result<Format> {
        match self.format.unwrap_or_else(|| Format::of(path)) {
            Format::Parquet => {
                let reason = "it is Parquet, which the core does not read; pass its rows as documents".to_owned();
                Err(Error::Format { path: path.to_path_buf(), format: "text", reason })
            }
            format => Ok(format),
        }
    }
}

/// An input that has been opened.
pub(crate) enum Input<'a> {
    /// A plain file, which threads can read anywhere, and its size.
    File(File, u64),
    /// What can only be read from one end to the other, decompressed. Reading tells the job of progress, and fails once
    /// the job is to stop. [`Error::io`] brings the errors of this crate that it gives back to light.
    Stream(Box<dyn Read + Send + 'a>),
}

impl<'a> Input<'a> {
    /// Opens a path, or standard input by the name of `-`.
    pub fn open(path: &'a Path, job: &'a Job) -> Result<Self> {
        Self::open_as(path, job, true)
    }

    /// The like, as a stream in any case.
    pub fn stream(path: &'a Path, job: &'a Job) -> Result<Self> {
        Self::open_as(path, job, false)
    }

    fn open_as(path: &'a Path, job: &'a Job, anywhere: bool) -> Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        let mut bytes = Bytes::new(file, metadata.is_file(), job);
        let first = bytes.peek().map_err(Error::io("read", path))?;
        match compressed::Kind::of(path, first)? {
            Some(kind) => Ok(Self::Stream(compressed::reader(kind, path, bytes)?)),
            None if anywhere && bytes.is_whole_file() => Ok(Self::File(bytes.into_file(), metadata.len())),
            None => Ok(Self::Stream(Box::new(bytes))),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    if is_standard_input(path) { standard_input() } else { open_file(path) }
}

/// How an input is called in messages.
pub(crate) fn display(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT
}

/// How many bytes inputs take up on the disk, where that is known of all; known before any is read, so that a missing
/// file is an error at once and not after hours. A pipe is left alone: it can be opened only once.
pub(crate) fn total_size<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Option<u64>> {
    let mut total = Some(0);
    let mut standard_inputs = 0;
    for path in paths {
        standard_inputs += usize::from(is_standard_input(path));
        if standard_inputs > 1 {
            return Err(Error::Invalid("standard input (-) can be read only once; give it once".to_owned()));
        }
        total = total.zip(size(path)?).map(|(total, size)| total + size);
    }
    Ok(total)
}

/// How many bytes an input takes up on the disk, where that is known.
pub(crate) fn size(path: &Path) -> Result<Option<u64>> {
    let metadata = if is_standard_input(path) {
        open(path)?.metadata()
    } else {
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_file() || metadata.is_dir() {
            open(path)?;
        }
        Ok(metadata)
    };
    let metadata = metadata.map_err(Error::io("read", path))?;
    Ok(metadata.is_file().then_some(metadata.len()))
}

/// Refuses to write what is a source, by whatever name or link.
pub(crate) fn refuse_overwriting(sources: &[PathBuf], written: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    let sources: HashSet<_> = sources.iter().filter_map(|path| identity(path)).collect();
    match written.into_iter().find(|path| identity(path).is_some_and(|file| sources.contains(&file))) {
        Some(path) => {
            let advice = "which would overwrite the source; give the target another name";
            Err(Error::Invalid(format!("{} would be written, {advice}", path.display())))
        }
        None => Ok(()),
    }
}

/// What is the same for all names of a file that is there.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = if is_standard_input(path) { open(path).ok()?.metadata() } else { path.metadata() }.ok()?;
    Some((found.dev(), found.ino()))
}

/// What is the same for all names of a file that is there, but for hard links.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// A folder is refused when it is opened, not at the first read.
fn refuse_folder(file: &File, path: &Path) -> Result<()> {
    if file.metadata().map_err(Error::io("read", path))?.is_dir() {
        return Err(Error::io("read", path)(ErrorKind::IsADirectory.into()));
    }
    Ok(())
}
