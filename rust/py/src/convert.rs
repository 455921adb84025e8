//! Python values to the core's and back, without copies where there need be none.

use std::borrow::Cow;

use cs336_bpe::{Error, SpecialPolicy};
use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::arguments::{SpecialTokens, VocabularyId};
use crate::errors::{OrRaise, named};

/// After so many objects that are made for Python, Ctrl-C is looked for: a few milliseconds.
pub const CHECK: usize = 1 << 16;

/// The UTF-8 of a `str`, or the bytes of a `bytes`; where Python keeps them, unless the text is long.
pub fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = value.cast::<PyString>() {
        return match is_long_and_wide(text)? {
            true => long_utf8(text).map(Cow::Owned),
            false => Ok(Cow::Borrowed(string(text)?.as_bytes())),
        };
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    Err(PyTypeError::new_err(format!("a text must be str or bytes, not {}", value.get_type().name()?)))
}

/// Whether a `str` is long and not all ASCII. Python converts such a one to UTF-8 character by character, at less speed
/// than we encode; but most pieces of it are ASCII, and those it only copies.
pub fn is_long_and_wide(text: &Bound<'_, PyString>) -> PyResult<bool> {
    const LONG: usize = 1 << 13;
    Ok(text.len()? >= LONG && !text.call_method0(intern!(text.py(), "isascii"))?.is_truthy()?)
}

fn long_utf8(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    make_room(text.py(), &mut bytes, text.len()?)?;
    for_each_piece(text, |piece| {
        make_room(text.py(), &mut bytes, piece.len())?;
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

fn make_room(py: Python<'_>, bytes: &mut Vec<u8>, more: usize) -> PyResult<()> {
    let needed = (bytes.len() + more) as u64;
    let missing = Error::OutOfMemory { what: "the UTF-8 of a text", needed };
    bytes.try_reserve(more).map_err(|_| missing).or_raise(py)
}

/// Calls `f` with the UTF-8 of a text, a piece that fits into the nearest caches at a time.
pub fn for_each_piece(text: &Bound<'_, PyString>, mut f: impl FnMut(&[u8]) -> PyResult<()>) -> PyResult<()> {
    const CHARACTERS: usize = 1 << 12;
    const ENOUGH: usize = 1 << 18;
    let (py, mut bytes) = (text.py(), Vec::new());
    for start in (0..text.len()?).step_by(CHARACTERS) {
        let (start, end) = (start as pyo3::ffi::Py_ssize_t, (start + CHARACTERS) as pyo3::ffi::Py_ssize_t);
        // SAFETY: the result is a new reference or null with an exception set, which `from_owned_ptr_or_err` tells apart.
        let part =
            unsafe { Bound::from_owned_ptr_or_err(py, pyo3::ffi::PyUnicode_Substring(text.as_ptr(), start, end))? };
        // Where this fails, the whole text says where.
        let part = part.cast::<PyString>()?.to_str().or_else(|error| string(text).and(Err(error)))?;
        make_room(py, &mut bytes, part.len())?;
        bytes.extend_from_slice(part.as_bytes());
        if bytes.len() >= ENOUGH {
            f(&bytes)?;
            bytes.clear();
        }
    }
    f(&bytes)
}

/// The UTF-8 of a text.
pub fn string<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    utf8(text, "TextEncodingError", || "the text".to_owned())
}

/// The UTF-8 of a `str`; of a lone surrogate, which has none, an exception of `cs336.errors` about `what` it stands in.
pub fn utf8<'a>(text: &'a Bound<'_, PyString>, class: &str, what: impl FnOnce() -> String) -> PyResult<&'a str> {
    let py = text.py();
    text.to_str().map_err(|error| {
        if error.is_instance_of::<PyUnicodeEncodeError>(py) {
            let reason = format!("{} has no UTF-8 form: {}", what(), error.value(py));
            return named(py, class, format!("{reason}; replace lone surrogates first"));
        }
        error
    })
}

/// What `special=` says.
pub fn policy(value: Option<&Bound<'_, PyAny>>) -> PyResult<SpecialPolicy> {
    let Some(value) = value else { return Ok(SpecialPolicy::Token) };
    if let Ok(word) = value.cast::<PyString>() {
        return match string(word)? {
            "token" => Ok(SpecialPolicy::Token),
            "text" => Ok(SpecialPolicy::Text),
            "error" => Ok(SpecialPolicy::Error),
            other => {
                let message =
                    format!("special must be \"token\", \"text\", \"error\" or a set of special tokens, not {other:?}");
                Err(named(value.py(), "ConfigError", message))
            }
        };
    }
    Ok(SpecialPolicy::Allowed(value.extract::<SpecialTokens>()?.0))
}

/// Python's ints for ids: made when one of a group is first needed, then shared by all lists.
static INTS: [PyOnceLock<Vec<Py<PyAny>>>; 256] = [const { PyOnceLock::new() }; 256];

/// Ids of one group.
const GROUP: u32 = 1 << 10;

fn new_int(py: Python<'_>, id: u32) -> PyResult<Py<PyAny>> {
    // SAFETY: the result is a new reference or null with an exception set, which `from_owned_ptr_or_err` tells apart.
    unsafe { Bound::from_owned_ptr_or_err(py, pyo3::ffi::PyLong_FromUnsignedLong(id.into())) }.map(Bound::unbind)
}

/// The int of an id. Each list would otherwise hold ints of its own, four times as large as its references to them.
#[inline]
fn int(py: Python<'_>, id: u32) -> PyResult<Py<PyAny>> {
    let Some(group) = INTS.get((id / GROUP) as usize) else { return new_int(py, id) };
    let first = id / GROUP * GROUP;
    let ints =
        group.get_or_try_init(py, || (first..first + GROUP).map(|id| new_int(py, id)).collect::<PyResult<_>>())?;
    Ok(ints[(id % GROUP) as usize].clone_ref(py))
}

/// A list of Python's ints. Written against the C interface because `PyList::new` panics where memory ends, and this
/// must be a `MemoryError`.
pub fn id_list<'py>(py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
    let length = ids.len() as pyo3::ffi::Py_ssize_t;
    // SAFETY: `PyList_New` gives a new reference or null with an exception set, which `from_owned_ptr_or_err` tells apart.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, pyo3::ffi::PyList_New(length))? };
    for (group, ids) in ids.chunks(CHECK).enumerate() {
        py.check_signals()?;
        for (at, &id) in (group * CHECK..).zip(ids) {
            let int = int(py, id)?.into_ptr();
            // SAFETY: `at` is inside the list, and `PyList_SetItem` takes over the reference to the int.
            unsafe { pyo3::ffi::PyList_SetItem(list.as_ptr(), at as pyo3::ffi::Py_ssize_t, int) };
        }
    }
    Ok(list.cast_into::<PyList>()?)
}

/// An entry of a vocabulary.
pub fn id_and_token(id: &Bound<'_, PyAny>, token: &Bound<'_, PyAny>) -> PyResult<(u32, Vec<u8>)> {
    let number = id.extract::<VocabularyId>()?.0;
    let Ok(bytes) = token.cast::<PyBytes>() else {
        let kind = token.get_type().name()?;
        return Err(PyTypeError::new_err(format!("the token of id {number} must be bytes, not {kind}")));
    };
    Ok((number, bytes.as_bytes().to_vec()))
}

/// The ids of a list in which all are ints that fit; `None` of any other, which takes longer to tell what is wrong.
fn plain_ids(list: &Bound<'_, PyList>) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    ids.try_reserve_exact(list.len()).ok()?;
    for item in list {
        // SAFETY: `item` is a reference to an object. The function gives -1 with an exception set where this is no int.
        let id = unsafe { pyo3::ffi::PyLong_AsLong(item.as_ptr()) };
        if id < 0 {
            drop(PyErr::take(list.py()));
        }
        ids.push(u32::try_from(id).ok()?);
    }
    Some(ids)
}

/// Ids from a list of ints or anything else that gives ints. What can't be an id says so.
pub fn ids(value: &Bound<'_, PyAny>, vocab_size: usize) -> PyResult<Vec<u32>> {
    let py = value.py();
    if let Some(ids) = value.cast::<PyList>().ok().and_then(plain_ids) {
        return Ok(ids);
    }
    let mut ids = Vec::new();
    for (position, item) in value.try_iter()?.enumerate() {
        let item = item?;
        match item.extract::<u32>() {
            Ok(id) => {
                ids.try_reserve(1).map_err(|_| pyo3::exceptions::PyMemoryError::new_err("no memory for the ids"))?;
                ids.push(id);
            }
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                let kind = item.get_type().name()?;
                return Err(PyTypeError::new_err(format!("token id at position {position} must be int, not {kind}")));
            }
            Err(_) => {
                let message = format!(
                    "token id {item} at position {position} is not in the vocabulary (ids are 0 to {}); \
                     use the tokenizer that the ids come from",
                    vocab_size.saturating_sub(1)
                );
                return Err(named(py, "TokenIdError", message));
            }
        }
    }
    Ok(ids)
}
