//! The tokenizer and its two streams.

use std::borrow::Cow;
use std::sync::Mutex;

use cs336_bpe::decode::Unknown;
use cs336_bpe::encode::{BatchIds, Ids};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::vocab::Merge;
use cs336_bpe::{Error, Job, SpecialPolicy, Vocabulary};
use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::arguments::{Limit, PatternText, SpecialTokens, Threads, TokenId};
use crate::convert::{CHECK, for_each_piece, id_and_token, id_list, ids, is_long_and_wide, policy, text};
use crate::errors::OrRaise;
use crate::job::watched;

/// Texts up to this many bytes are encoded with the GIL held: releasing it would cost more.
const SMALL: usize = 1 << 12;

/// For texts of more bytes Ctrl-C need not wait for the end.
const LARGE: usize = 1 << 20;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// Ordinary tokens, merges by id, special tokens, whether tokens stay whole, and the pattern.
type Parts<'py> = (Vec<(u32, Bound<'py, PyBytes>)>, Vec<(u32, u32, u32)>, Vec<(String, u32)>, bool, String);

/// The ids of several texts one behind the other, and where each text's begin.
type IdsAndOffsets<'py> = (Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>);
/// Ids, and the bytes that each stands for.
type IdsAndSpans<'py> = (Bound<'py, PyList>, Bound<'py, PyList>);

/// Encodes and decodes; never changes.
#[pyclass(subclass, frozen, module = "cs336._bpe")]
pub struct Tokenizer(pub cs336_bpe::Tokenizer);

pub fn build(vocabulary: cs336_bpe::Result<Vocabulary>, pattern: &str) -> cs336_bpe::Result<Tokenizer> {
    Ok(Tokenizer(cs336_bpe::Tokenizer::new(vocabulary?, Pattern::new(pattern)?)?))
}

/// The text of a pattern's regular expression.
#[pyfunction]
pub fn pattern_regex(py: Python<'_>, pattern: PatternText) -> PyResult<String> {
    Pattern::new(&pattern.0).map(|pattern| pattern.regex().to_owned()).or_raise(py)
}

/// A tokenizer from what `Tokenizer.parts` gives.
#[pyfunction]
pub fn from_parts(
    py: Python<'_>,
    ordinary: Vec<(u32, Vec<u8>)>,
    merges: Vec<(u32, u32, u32)>,
    special: Vec<(String, u32)>,
    whole_tokens: bool,
    pattern: &str,
) -> PyResult<Tokenizer> {
    let merges = merges.into_iter().map(|(left, right, new)| Merge { left, right, new }).collect();
    py.detach(|| build(Vocabulary::assemble(ordinary, merges, special, whole_tokens), pattern)).or_raise(py)
}

/// Works on so many bytes of text without the GIL. Where that may take long, Ctrl-C stops it.
pub fn stoppable<T: Send>(
    py: Python<'_>,
    bytes: usize,
    work: impl FnOnce(&Job) -> cs336_bpe::Result<T> + Send,
) -> PyResult<T> {
    if bytes > LARGE { watched(py, None, work) } else { py.detach(|| work(&Job::default())).or_raise(py) }
}

impl Tokenizer {
    fn encoded<T>(&self, value: &Bound<'_, PyAny>, special: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<T>>
    where
        Vec<T>: Ids,
    {
        let (py, policy) = (value.py(), policy(special)?);
        let mut out = Vec::new();
        if let Ok(text) = value.cast::<PyString>()
            && is_long_and_wide(text)?
        {
            self.encode_pieces(text, &policy, &mut out)?;
            return Ok(out);
        }
        let bytes = text(value)?;
        let mut encode = |job: &Job| self.0.encode_while(&bytes, &policy, &mut out, job);
        if bytes.len() <= SMALL {
            encode(&Job::default()).or_raise(py)?;
        } else {
            stoppable(py, bytes.len(), encode)?;
        }
        Ok(out)
    }

    /// Encodes a text whose UTF-8 has to be made: piece by piece, so that it never stands in memory as a whole.
    fn encode_pieces(&self, text: &Bound<'_, PyString>, policy: &SpecialPolicy, out: &mut impl Ids) -> PyResult<()> {
        /// Bytes to a character at most in a text of which we guess the size.
        const WIDTH: usize = 2;
        let (py, length) = (text.py(), WIDTH * text.len()?);
        out.expect(length).or_raise(py)?;
        let mut stream = self.0.stream(policy).or_raise(py)?.with_length(length);
        for_each_piece(text, |piece| {
            py.check_signals()?;
            stoppable(py, stream.waiting() + piece.len(), |job| stream.push(piece, out, job))
        })?;
        stoppable(py, stream.waiting(), |job| stream.finish(out, job))
    }

    fn batch<T: Copy + Send>(
        &self,
        texts: &Bound<'_, PyAny>,
        special: Option<&Bound<'_, PyAny>>,
        threads: Option<Threads>,
    ) -> PyResult<BatchIds<T>>
    where
        Vec<T>: Ids,
    {
        let (py, policy) = (texts.py(), policy(special)?);
        if texts.cast::<PyString>().is_ok() || texts.cast::<PyBytes>().is_ok() {
            let message = format!("texts must be a list of texts, not a single {}", texts.get_type().name()?);
            return Err(PyTypeError::new_err(message));
        }
        let items: Vec<Bound<'_, PyAny>> = texts.try_iter()?.collect::<PyResult<_>>()?;
        let utf8 = |(number, item)| text(item).map_err(|error| in_text(py, &error, number));
        let utf8: Vec<Cow<'_, [u8]>> = items.iter().enumerate().map(utf8).collect::<PyResult<_>>()?;
        let slices: Vec<&[u8]> = utf8.iter().map(|text| &**text).collect();
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if bytes <= SMALL {
            return self.0.encode_batch(&slices, &policy, 1, &Job::default()).or_raise(py);
        }
        let threads =
            threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |threads| threads.0);
        stoppable(py, bytes, |job| self.0.encode_batch(&slices, &policy, threads, job))
    }

    /// The ids of many texts and where each begins.
    fn batch_arrays<'py, T: Element + Copy + Send>(
        &self,
        texts: &Bound<'py, PyAny>,
        special: Option<&Bound<'py, PyAny>>,
        threads: Option<Threads>,
    ) -> PyResult<IdsAndOffsets<'py>>
    where
        Vec<T>: Ids,
    {
        let batch = self.batch::<T>(texts, special, threads)?;
        let offsets: Vec<i64> = std::iter::once(0).chain(batch.ends.iter().map(|&end| end as i64)).collect();
        Ok((array(texts.py(), batch.ids).into_any(), array(texts.py(), offsets)))
    }

    /// The bytes that ids of one type stand for.
    fn bytes_of<'py, I>(&self, py: Python<'py>, ids: &[I]) -> PyResult<Bound<'py, PyBytes>>
    where
        I: Copy + Into<u32>,
    {
        let length = self.0.decoded_length(ids).or_raise(py)?;
        PyBytes::new_with(py, length, |target| self.0.decode_into(ids, target).or_raise(py))
    }
}

/// An exception with the number of its text among many.
fn in_text(py: Python<'_>, error: &PyErr, number: usize) -> PyErr {
    let message = format!("texts[{number}]: {}", error.value(py));
    error.get_type(py).call1((message,)).map_or_else(|other| other, PyErr::from_value)
}

/// An array of ids. Few are copied, for handing their memory over would cost more.
fn array<T: Element + Copy>(py: Python<'_>, mut ids: Vec<T>) -> Bound<'_, PyArray1<T>> {
    const FEW: usize = 1 << 10;
    if ids.len() <= FEW {
        return PyArray1::from_slice(py, &ids);
    }
    ids.shrink_to_fit();
    ids.into_pyarray(py)
}

#[pymethods]
impl Tokenizer {
    /// From a vocabulary and merges; or the same tokenizer again, as an object of a subclass.
    #[new]
    #[pyo3(signature = (vocab, merges=None, special_tokens=None, *, pattern=PatternText::default()))]
    #[pyo3(text_signature = "(vocab, merges=None, special_tokens=None, *, pattern='gpt2')")]
    fn new(
        vocab: &Bound<'_, PyAny>,
        merges: Option<Pairs>,
        special_tokens: Option<SpecialTokens>,
        pattern: PatternText,
    ) -> PyResult<Self> {
        if let Ok(same) = vocab.cast::<Tokenizer>() {
            return Ok(Self(same.get().0.clone()));
        }
        let special = special_tokens.map_or_else(Vec::new, |tokens| tokens.0);
        let Ok(dict) = vocab.cast::<PyDict>() else {
            let kind = vocab.get_type().name()?;
            return Err(PyTypeError::new_err(format!("vocab must be a dict from ids to bytes, not {kind}")));
        };
        let tokens = dict.iter().map(|(id, token)| id_and_token(&id, &token)).collect::<PyResult<_>>()?;
        let py = vocab.py();
        py.detach(|| build(Vocabulary::new(tokens, merges.unwrap_or_default(), special), &pattern.0)).or_raise(py)
    }

    /// The ids of a text.
    #[pyo3(signature = (text, *, special=None))]
    fn encode<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        special: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        id_list(text.py(), &self.encoded::<u32>(text, special)?)
    }

    /// The ids of a text as an array of the smallest type that holds all ids, uint16 or uint32.
    #[pyo3(signature = (text, *, special=None))]
    fn encode_array<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        special: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = text.py();
        Ok(match self.0.vocab_size() <= 1 << 16 {
            true => array(py, self.encoded::<u16>(text, special)?).into_any(),
            false => array(py, self.encoded::<u32>(text, special)?).into_any(),
        })
    }

    /// The ids of each of many texts.
    #[pyo3(signature = (texts, *, special=None, threads=None))]
    fn encode_batch<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        special: Option<&Bound<'py, PyAny>>,
        threads: Option<Threads>,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        let BatchIds { ids, ends } = self.batch::<u32>(texts, special, threads)?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| id_list(texts.py(), &ids[start..end])).collect()
    }

    /// The ids of many texts one behind the other, as [`encode_array`](Self::encode_array) gives them, and where each
    /// begins.
    #[pyo3(signature = (texts, *, special=None, threads=None))]
    fn encode_batch_array<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        special: Option<&Bound<'py, PyAny>>,
        threads: Option<Threads>,
    ) -> PyResult<IdsAndOffsets<'py>> {
        match self.0.vocab_size() <= 1 << 16 {
            true => self.batch_arrays::<u16>(texts, special, threads),
            false => self.batch_arrays::<u32>(texts, special, threads),
        }
    }

    /// How many ids a text has; above a limit, `limit + 1`.
    #[pyo3(signature = (text, limit=None, *, special=None))]
    fn count(
        &self,
        text: &Bound<'_, PyAny>,
        limit: Option<Limit>,
        special: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let (py, bytes, policy) = (text.py(), crate::convert::text(text)?, policy(special)?);
        stoppable(py, bytes.len(), |job| self.0.count(&bytes, &policy, limit.map(|limit| limit.0), job))
    }

    /// The ids of a text, and the bytes `(start, end)` that each stands for.
    #[pyo3(signature = (text, *, special=None))]
    fn encode_with_offsets<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        special: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<IdsAndSpans<'py>> {
        let py = text.py();
        let ids: Vec<u32> = self.encoded(text, special)?;
        let spans = PyList::empty(py);
        let mut start = 0;
        for (at, &id) in ids.iter().enumerate() {
            if at % CHECK == 0 {
                py.check_signals()?;
            }
            let end = start + self.0.id_to_token(id).map_or(0, <[u8]>::len);
            spans.append((start, end))?;
            start = end;
        }
        Ok((id_list(py, &ids)?, spans))
    }

    /// An encoder of one text that comes in pieces.
    #[pyo3(signature = (*, special=None))]
    fn encode_stream(&self, py: Python<'_>, special: Option<&Bound<'_, PyAny>>) -> PyResult<StreamEncoder> {
        Ok(StreamEncoder(Mutex::new(Some(self.0.stream(&policy(special)?).or_raise(py)?))))
    }

    /// The bytes of ids.
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = ids.py();
        if ids.cast::<PyList>().is_err() {
            if let Ok(array) = ids.extract::<PyReadonlyArray1<'_, u32>>() {
                return match array.as_slice() {
                    Ok(ids) => self.bytes_of(py, ids),
                    Err(_) => self.bytes_of(py, &array.as_array().to_vec()),
                };
            }
            if let Ok(array) = ids.extract::<PyReadonlyArray1<'_, u16>>() {
                return match array.as_slice() {
                    Ok(ids) => self.bytes_of(py, ids),
                    Err(_) => self.bytes_of(py, &array.as_array().to_vec()),
                };
            }
        }
        self.bytes_of(py, &crate::convert::ids(ids, self.0.vocab_size())?)
    }

    /// A decoder of ids that come one by one. `unknown`: "error", "skip" or "replace".
    #[pyo3(signature = (*, unknown="error"))]
    fn decode_stream(&self, unknown: &str) -> PyResult<DecodeStream> {
        let unknown = match unknown {
            "error" => Unknown::Error,
            "skip" => Unknown::Skip,
            "replace" => Unknown::Replace,
            _ => {
                let message = format!("unknown must be \"error\", \"skip\" or \"replace\", not {unknown:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        Ok(DecodeStream(Mutex::new(Some(self.0.decode_stream().with_unknown(unknown)))))
    }

    /// The id of a token, `None` if there is none.
    fn token_to_id(&self, token: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        Ok(self.0.token_to_id(&text(token)?))
    }

    /// The bytes of a token.
    fn id_to_token<'py>(&self, py: Python<'py>, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let list = PyList::new(py, [id])?;
        let id = ids(list.as_any(), self.0.vocab_size())?[0];
        let unknown = || Error::UnknownId { id: id.into(), position: 0, vocab_size: self.0.vocab_size() as u64 };
        Ok(PyBytes::new(py, self.0.id_to_token(id).ok_or_else(unknown).or_raise(py)?))
    }

    /// Tokens by id, special ones too.
    #[getter]
    fn vocab<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let vocab = PyDict::new(py);
        for (id, token) in self.0.vocabulary().tokens() {
            vocab.set_item(id, PyBytes::new(py, token))?;
        }
        Ok(vocab)
    }

    /// Pairs of tokens in the order in which they merge.
    #[getter]
    fn merges<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let token = |id: u32| PyBytes::new(py, self.0.id_to_token(id).unwrap_or_default());
        PyList::new(py, self.0.vocabulary().merges().iter().map(|merge| (token(merge.left), token(merge.right))))
    }

    /// The greatest id + 1.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    /// Special tokens with their ids.
    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tokens = PyDict::new(py);
        for (token, id) in self.0.special_tokens() {
            tokens.set_item(token, id)?;
        }
        Ok(tokens)
    }

    /// The pattern's name, or the regular expression as given.
    #[getter]
    fn pattern(&self) -> &str {
        self.0.pattern().spec()
    }

    /// SHA-256 of vocabulary and pattern, in hexadecimal.
    #[getter]
    fn hash(&self) -> String {
        self.0.hash_hex()
    }

    /// What [`from_parts`] takes.
    fn parts<'py>(&self, py: Python<'py>) -> Parts<'py> {
        let vocabulary = self.0.vocabulary();
        let ordinary = vocabulary.tokens().filter(|(id, _)| vocabulary.is_ordinary(*id));
        let ordinary = ordinary.map(|(id, token)| (id, PyBytes::new(py, token))).collect();
        let merges = vocabulary.merges().iter().map(|merge| (merge.left, merge.right, merge.new)).collect();
        let special = self.0.special_tokens().to_vec();
        (ordinary, merges, special, vocabulary.whole_tokens(), self.pattern().to_owned())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Tokenizer>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let hash = self.0.hash();
        u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
    }
}

/// Encodes one text that comes in pieces, cut anywhere.
#[pyclass(frozen, module = "cs336._bpe")]
pub struct StreamEncoder(Mutex<Option<cs336_bpe::encode::StreamEncoder>>);

impl StreamEncoder {
    fn pushed(&self, piece: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let (py, bytes) = (piece.py(), text(piece)?);
        let waiting = py.detach(|| Some(self.0.lock().ok()?.as_ref()?.waiting())).ok_or_else(over)?;
        stoppable(py, waiting + bytes.len(), |job| {
            let mut out = Vec::new();
            match self.0.lock().as_deref_mut() {
                Ok(Some(stream)) => stream.push(&bytes, &mut out, job)?,
                _ => return Err(Error::Invalid(OVER.to_owned())),
            }
            Ok(out)
        })
    }

    fn finished(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        let stream = py.detach(|| self.0.lock().ok()?.take()).ok_or_else(over)?;
        stoppable(py, stream.waiting(), |job| {
            let mut out = Vec::new();
            stream.finish(&mut out, job)?;
            Ok(out)
        })
    }
}

const OVER: &str = "this stream has ended; begin a new one";

fn over() -> PyErr {
    PyValueError::new_err(OVER)
}

#[pymethods]
impl StreamEncoder {
    /// Takes the next piece; the ids that are sure by now.
    fn push<'py>(&self, piece: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        id_list(piece.py(), &self.pushed(piece)?)
    }

    /// Ends the text; the rest of the ids.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        id_list(py, &self.finished(py)?)
    }
}

/// Decodes ids one by one to whole characters.
#[pyclass(frozen, module = "cs336._bpe")]
pub struct DecodeStream(Mutex<Option<cs336_bpe::decode::DecodeStream>>);

#[pymethods]
impl DecodeStream {
    /// The characters that this id completes.
    fn push(&self, id: &Bound<'_, PyAny>) -> PyResult<String> {
        let py = id.py();
        // What is no id of any tokenizer is none of this one; where that is an error, it is the one there is.
        let known = match id.extract::<TokenId>() {
            Err(error) if !error.is_instance_of::<PyValueError>(py) => return Err(error),
            known => known.map(|known| known.0),
        };
        let number = known.as_ref().copied().unwrap_or(u32::MAX);
        // Nothing of Python runs under the lock: two threads could wait for each other.
        let pushed = self.0.lock().ok().and_then(|mut slot| Some(slot.as_mut()?.push(number)));
        match (pushed.ok_or_else(over)?, known) {
            (pushed, Ok(_)) => pushed.or_raise(py),
            (pushed, Err(error)) => pushed.map_err(|_| error),
        }
    }

    /// What is left of a character that never became whole.
    fn finish(&self) -> PyResult<String> {
        let stream = self.0.lock().ok().and_then(|mut slot| slot.take());
        stream.map(cs336_bpe::decode::DecodeStream::finish).ok_or_else(over)
    }
}
