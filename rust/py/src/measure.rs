//! What of a text fits, and where its tokens stand in characters.

use cs336_bpe::truncate::character_spans as spans_in_characters;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::convert::{policy, text};
use crate::tokenizer::{Tokenizer, stoppable};

/// The beginning of a text that `limit` ids can hold, as a `str` or `bytes` as the text is.
#[pyfunction]
pub fn truncate<'py>(
    tokenizer: &Tokenizer,
    value: &Bound<'py, PyAny>,
    limit: usize,
    special: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, bytes, policy) = (value.py(), text(value)?, policy(Some(special))?);
    let end = stoppable(py, bytes.len(), |job| tokenizer.0.truncate(&bytes, limit, &policy, job))?;
    if end == bytes.len() {
        return Ok(value.clone());
    }
    match std::str::from_utf8(&bytes[..end]) {
        Ok(kept) if value.is_instance_of::<PyString>() => Ok(PyString::new(py, kept).into_any()),
        _ => Ok(PyBytes::new(py, &bytes[..end]).into_any()),
    }
}

/// Spans of bytes, in order, as spans of characters.
#[pyfunction]
pub fn character_spans(value: &Bound<'_, PyAny>, spans: Vec<(usize, usize)>) -> PyResult<Vec<(usize, usize)>> {
    let bytes = text(value)?;
    if spans.last().is_some_and(|last| last.1 > bytes.len()) {
        return Err(PyTypeError::new_err("the spans are not those of this text"));
    }
    Ok(spans_in_characters(&bytes, &spans))
}
