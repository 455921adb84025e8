//! The one error type of the crate. Every message says what is wrong, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in training, encoding, decoding, reading and writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file.
    #[error("cannot {action} {}: {source}; {}", path.display(), advice(source.kind()))]
    Io {
        /// What was tried, as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The operating system refused a temporary file.
    #[error("cannot keep counts in a temporary file in {}: {source}; {TEMPORARY_ADVICE}", folder.display())]
    Temporary {
        /// The folder for temporary files.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Counts files that can't be added up.
    #[error(
        "{} and {} were not counted alike: {difference}; count both with the same pattern and special tokens",
        one.display(),
        other.display()
    )]
    CountsDiffer {
        /// The first file.
        one: PathBuf,
        /// The one that differs from it.
        other: PathBuf,
        /// In what.
        difference: String,
    },
    /// A text file is not UTF-8.
    #[error(
        "{origin} is not UTF-8: invalid byte 0x{byte:02x} at byte offset {offset}; convert the text to UTF-8 first"
    )]
    NotUtf8 {
        /// The file, or a description of the input.
        origin: String,
        /// Where the invalid byte stands.
        offset: u64,
        /// The invalid byte.
        byte: u8,
    },
    /// There is no text at all to work on.
    #[error("{origin} holds no text; give at least one document")]
    EmptyCorpus {
        /// The file, or a description of the input.
        origin: String,
    },
    /// A pre-tokenization pattern that cannot be honoured.
    #[error("pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it, where, and what to do.
        reason: String,
    },
    /// A special token that cannot be one.
    #[error("special token {token:?}: {reason}")]
    SpecialToken {
        /// The token as given.
        token: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Special text in an input that allows none.
    #[error(
        "the text contains the special token {token:?} at character {char_offset} (byte {byte_offset}); \
         allow it with special=\"token\", or take it as plain text with special=\"text\""
    )]
    DisallowedSpecial {
        /// The token found.
        token: String,
        /// Where it starts, in bytes.
        byte_offset: u64,
        /// Where it starts, in characters.
        char_offset: u64,
    },
    /// What is wrong with one of many inputs.
    #[error("{origin}: {source}")]
    In {
        /// The input.
        origin: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A vocabulary size that cannot hold the alphabet and the special tokens.
    #[error("vocab_size {asked} is too small: 256 bytes and {} need at least {minimum}", special_tokens(*special))]
    VocabSize {
        /// The size asked for.
        asked: u64,
        /// How many special tokens there are.
        special: u64,
        /// The least size possible.
        minimum: u64,
    },
    /// A vocabulary and merges that do not make a tokenizer.
    #[error("invalid vocabulary: {0}")]
    Vocabulary(String),
    /// A file that is not what its format says.
    #[error("{}: not a valid {format} file: {reason}; give another file, or write it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The name of the format.
        format: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// What a run that was stopped has left to go on from is damaged.
    #[error("{}: no whole record of a run that was stopped: {reason}; begin anew, with restart", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// What a format cannot express exactly is refused, never approximated.
    #[error(
        "cannot write this tokenizer as {format}: {reason}; write a tokenizer.json of cs336's own, which holds any"
    )]
    Unrepresentable {
        /// The name of the format.
        format: &'static str,
        /// What it cannot hold.
        reason: String,
    },
    /// What a file asks for and this crate can't do exactly is refused, never approximated.
    #[error("cannot read {} exactly: its {key}: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key that asks for it.
        key: &'static str,
        /// What it asks for.
        reason: String,
    },
    /// An id that is no token.
    #[error(
        "token id {id} at position {position} is not in the vocabulary (ids are below {vocab_size}); \
         use the tokenizer that the ids come from"
    )]
    UnknownId {
        /// The id.
        id: u64,
        /// Its index in the sequence.
        position: usize,
        /// The greatest id + 1.
        vocab_size: u64,
    },
    /// A count went past 64 bits.
    #[error("the count of a pre-token, a pair or a corpus's bytes is greater than 2^64 - 1; give less text at a time")]
    CountOverflow,
    /// An allocation failed, or a stated limit would be passed.
    #[error("not enough memory: {what} needs {needed} bytes; {MEMORY_ADVICE}")]
    OutOfMemory {
        /// What the memory is for.
        what: &'static str,
        /// How much it would take.
        needed: u64,
    },
    /// The caller asked the job to stop.
    #[error("interrupted")]
    Interrupted,
    /// An option outside what it may be.
    #[error("{0}")]
    Invalid(String),
}

fn special_tokens(count: u64) -> String {
    format!("{count} special token{}", if count == 1 { "" } else { "s" })
}

/// What to do where the operating system refuses a temporary file.
pub const TEMPORARY_ADVICE: &str = "free some space there, set TMPDIR to a folder with more, or raise max_memory";

/// What to do where memory, or what may be taken of it, does not do.
const MEMORY_ADVICE: &str = "raise max_memory where that is the limit, free some memory, or give less text at a time";

/// What to do where the operating system refuses a file.
pub fn advice(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::*;
    match kind {
        NotFound => "check the path",
        NotADirectory => "a part of the path is a file; check the path",
        IsADirectory => "name a file, not a folder",
        AlreadyExists => "name a file to write",
        PermissionDenied => "change its permissions, or choose another place",
        ReadOnlyFilesystem => "choose a place that can be written to",
        StorageFull | QuotaExceeded => "free some space, or choose another disk",
        FileTooLarge => "raise the limit (ulimit -f), or choose another disk",
        _ => "check the disk and the path",
    }
}

impl Error {
    /// Wraps an I/O error with what was tried and where: `.map_err(Error::io("read", path))`. An error of this crate
    /// that came through a reader, as a damaged gzip file's does, comes out as it was.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| source.downcast().unwrap_or_else(|source| Error::Io { action, path, source })
    }
}

/// The sum of two counts. [`Error::CountOverflow`] is not made before there is one: it costs more than an addition.
#[inline]
pub(crate) fn add_counts(count: u64, more: u64) -> Result<u64> {
    match count.checked_add(more) {
        Some(sum) => Ok(sum),
        None => Err(Error::CountOverflow),
    }
}
