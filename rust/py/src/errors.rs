//! The core's errors as Python exceptions, mapped once.

use std::io::{
    self,
    ErrorKind::{AlreadyExists, IsADirectory},
};
use std::path::Path;

use cs336_bpe::{Error, TEMPORARY_ADVICE, advice};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError};
use pyo3::prelude::*;

/// Python's numbers for "is a directory" and "file exists", the same on every system it runs on.
const EISDIR: i32 = 21;
const EEXIST: i32 = 17;

/// The exception of `cs336.errors` that stands for a core error; the system's own errors become `OSError`, whose
/// constructor picks the subclass by number.
pub fn to_py(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    // What is wrong tells the class, and the whole message where.
    let mut what = &error;
    while let Error::In { source, .. } = what {
        what = source;
    }
    let class = match what {
        Error::Io { source, path, action } => {
            return os_error(source, path, &format!("cannot {action}"), advice(source.kind()), message);
        }
        Error::Temporary { source, folder } => {
            return os_error(source, folder, "cannot keep counts in a temporary file", TEMPORARY_ADVICE, message);
        }
        Error::CountsDiffer { .. } => "CountsMismatchError",
        Error::NotUtf8 { .. } => "TextEncodingError",
        Error::EmptyCorpus { .. } => "CorpusError",
        Error::Pattern { .. } => "PatternError",
        Error::SpecialToken { .. } => "SpecialTokenError",
        Error::DisallowedSpecial { .. } => "DisallowedSpecialTokenError",
        Error::Format { .. } | Error::Record { .. } => "FormatError",
        Error::Unrepresentable { .. } | Error::Unsupported { .. } => "UnrepresentableError",
        Error::UnknownId { .. } => "TokenIdError",
        Error::OutOfMemory { .. } => "MemoryLimitError",
        Error::VocabSize { .. } | Error::Vocabulary(_) => "VocabularyError",
        Error::Invalid(_) => "ConfigError",
        Error::Interrupted => return PyKeyboardInterrupt::new_err(message),
        Error::CountOverflow => "CountOverflowError",
        _ => return pyo3::exceptions::PyValueError::new_err(message),
    };
    named(py, class, message)
}

/// The system's refusal, with its number, which picks the subclass.
fn os_error(source: &io::Error, path: &Path, what: &str, advice: &str, message: String) -> PyErr {
    // What was found without asking the system may have a kind only.
    let number = source.raw_os_error().or(match source.kind() {
        IsADirectory => Some(EISDIR),
        AlreadyExists => Some(EEXIST),
        _ => None,
    });
    let Some(number) = number else { return io::Error::new(source.kind(), message).into() };
    let reason = source.to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    PyOSError::new_err((number, format!("{what}: {reason}; {advice}"), path.as_os_str().to_owned()))
}

/// An exception of `cs336.errors` by its name.
pub fn named(py: Python<'_>, class: &str, message: String) -> PyErr {
    let built = py.import("cs336.errors").and_then(|module| module.getattr(class)).and_then(|c| c.call1((message,)));
    match built {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// `result.or_raise(py)?`
pub trait OrRaise<T> {
    /// The value, or the error as a Python exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for cs336_bpe::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_py(py, error))
    }
}
