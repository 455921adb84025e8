//! Types of arguments, for what PyO3's own conversions would refuse in words that help nobody.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::convert::utf8;
use crate::errors::named;

/// Python's number for "invalid argument", the same on every system it runs on.
const EINVAL: i32 = 22;

/// A special token.
pub struct SpecialToken(pub String);

impl<'py> FromPyObject<'_, 'py> for SpecialToken {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let Ok(token) = value.cast::<PyString>() else {
            let kind = value.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a special token must be str, not {kind}")));
        };
        utf8(&token, "SpecialTokenError", || format!("special token {token:?}")).map(|token| Self(token.to_owned()))
    }
}

/// Special tokens in the order given.
pub struct SpecialTokens(pub Vec<String>);

impl<'py> FromPyObject<'_, 'py> for SpecialTokens {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.cast::<PyString>().is_ok() {
            return Err(PyTypeError::new_err("special_tokens must be a list of str, not a single str"));
        }
        value.try_iter()?.map(|token| Ok(token?.extract::<SpecialToken>()?.0)).collect::<PyResult<_>>().map(Self)
    }
}

/// A pattern's name, or a regular expression.
pub struct PatternText(pub String);

impl Default for PatternText {
    fn default() -> Self {
        Self("gpt2".to_owned())
    }
}

impl<'py> FromPyObject<'_, 'py> for PatternText {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let pattern = value.cast::<PyString>()?;
        utf8(&pattern, "PatternError", || format!("pattern {pattern:?}")).map(|pattern| Self(pattern.to_owned()))
    }
}

/// The name of a column of texts.
pub struct ColumnName(pub String);

impl<'py> FromPyObject<'_, 'py> for ColumnName {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let name = value.cast::<PyString>()?;
        utf8(&name, "FormatError", || format!("column {name:?}")).map(|name| Self(name.to_owned()))
    }
}

/// The path of a file. What no file can be called is the `OSError` that Python code gives, see `cs336.files`.
pub struct FilePath(pub PathBuf);

impl<'py> FromPyObject<'_, 'py> for FilePath {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        let impossible =
            || PyOSError::new_err((EINVAL, "no file can have this name; check the path", value.to_owned().unbind()));
        match value.extract::<PathBuf>() {
            Ok(path) if path.as_os_str().as_encoded_bytes().contains(&0) => Err(impossible()),
            Ok(path) => Ok(Self(path)),
            Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(py) => Err(impossible()),
            Err(error) => Err(error),
        }
    }
}

/// An id of a vocabulary.
pub struct VocabularyId(pub u32);

impl<'py> FromPyObject<'_, 'py> for VocabularyId {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let advice = "number the tokens from 0";
        whole(value, "an id of a vocabulary", "VocabularyError", |id| {
            format!("invalid vocabulary: the id {id} is out of range; {advice}")
        })
        .map(Self)
    }
}

/// An id to decode.
pub struct TokenId(pub u32);

impl<'py> FromPyObject<'_, 'py> for TokenId {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let advice = "use the tokenizer that the ids come from";
        whole(value, "a token id", "TokenIdError", |id| format!("token id {id} is not in the vocabulary; {advice}"))
            .map(Self)
    }
}

/// The most there may be of something.
pub struct Limit(pub usize);

impl<'py> FromPyObject<'_, 'py> for Limit {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        whole(value, "a limit", "ConfigError", |limit| format!("limit must be from 0 to 2^64 - 1, but is {limit}"))
            .map(Self)
    }
}

/// How many threads may work; more than 1,024 would only exhaust the machine.
pub struct Threads(pub usize);

impl<'py> FromPyObject<'_, 'py> for Threads {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let refusal = |given: &Bound<'py, PyAny>| format!("threads must be from 1 to 1,024, not {given}");
        match whole(value, "threads", "ConfigError", refusal)? {
            threads @ 1..=1024 => Ok(Self(threads)),
            _ => Err(named(value.py(), "ConfigError", refusal(&value))),
        }
    }
}

/// A whole number. What does not fit is an exception of `cs336.errors` with the message that `refusal` gives.
fn whole<'a, 'py, T>(
    value: Borrowed<'a, 'py, PyAny>,
    what: &str,
    class: &str,
    refusal: impl FnOnce(&Bound<'py, PyAny>) -> String,
) -> PyResult<T>
where
    T: FromPyObject<'a, 'py, Error = PyErr>,
{
    let py = value.py();
    value.extract::<T>().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            let kind = value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
            return PyTypeError::new_err(format!("{what} must be int, not {kind}"));
        }
        named(py, class, refusal(&value))
    })
}
