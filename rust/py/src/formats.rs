//! Files of tokenizers, and files of tokens.

use cs336_bpe::Vocabulary;
use cs336_bpe::encode::EncodeFileOptions;
use cs336_bpe::formats::token_file::Dtype;
use cs336_bpe::formats::{gpt2, huggingface, native, tiktoken};
use cs336_bpe::pretokenize::Pattern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::{FilePath, PatternText, SpecialToken, SpecialTokens, TokenId, VocabularyId};
use crate::convert::policy;
use crate::errors::OrRaise;
use crate::job::watched;
use crate::tokenizer::{Tokenizer, build};

/// Reads our own `tokenizer.json`.
#[pyfunction]
pub fn load_native(py: Python<'_>, path: FilePath) -> PyResult<Tokenizer> {
    py.detach(|| native::load(&path.0)).map(Tokenizer).or_raise(py)
}

/// Writes our own `tokenizer.json`.
#[pyfunction]
pub fn save_native(py: Python<'_>, tokenizer: &Tokenizer, path: FilePath) -> PyResult<()> {
    py.detach(|| native::save(&tokenizer.0, &path.0)).or_raise(py)
}

/// Reads GPT-2's pair of files.
#[pyfunction]
pub fn load_gpt2(
    py: Python<'_>,
    vocab: FilePath,
    merges: FilePath,
    special: SpecialTokens,
    pattern: PatternText,
) -> PyResult<Tokenizer> {
    py.detach(|| gpt2::load(&vocab.0, &merges.0, &special.0, Pattern::new(&pattern.0)?)).map(Tokenizer).or_raise(py)
}

/// Writes GPT-2's pair of files.
#[pyfunction]
pub fn save_gpt2(py: Python<'_>, tokenizer: &Tokenizer, vocab: FilePath, merges: FilePath) -> PyResult<()> {
    py.detach(|| gpt2::save(&tokenizer.0, &vocab.0, &merges.0)).or_raise(py)
}

/// Reads a rank file of tiktoken.
#[pyfunction]
pub fn load_tiktoken(
    py: Python<'_>,
    path: FilePath,
    special: Vec<(SpecialToken, VocabularyId)>,
    pattern: PatternText,
) -> PyResult<Tokenizer> {
    let special: Vec<_> = special.into_iter().map(|(token, id)| (token.0, id.0)).collect();
    py.detach(|| tiktoken::load(&path.0, &special, Pattern::new(&pattern.0)?)).map(Tokenizer).or_raise(py)
}

/// From ranks, as a `tiktoken.Encoding` has them.
#[pyfunction]
pub fn from_ranks(
    py: Python<'_>,
    ranks: Vec<(u32, Vec<u8>)>,
    special: Vec<(SpecialToken, TokenId)>,
    pattern: PatternText,
) -> PyResult<Tokenizer> {
    let special: Vec<_> = special.into_iter().map(|(token, id)| (token.0, id.0)).collect();
    py.detach(|| build(Vocabulary::from_ranks(ranks, special), &pattern.0)).or_raise(py)
}

/// The ranks that say the same as a tokenizer's merges.
#[pyfunction]
pub fn ranks_of<'py>(py: Python<'py>, tokenizer: &Tokenizer) -> PyResult<Vec<(Bound<'py, PyBytes>, u32)>> {
    let ranks = py.detach(|| tiktoken::ranks(&tokenizer.0)).or_raise(py)?;
    Ok(ranks.iter().map(|(id, token)| (PyBytes::new(py, token), *id)).collect())
}

/// Writes a rank file of tiktoken.
#[pyfunction]
pub fn save_tiktoken(py: Python<'_>, tokenizer: &Tokenizer, path: FilePath) -> PyResult<()> {
    py.detach(|| tiktoken::save(&tokenizer.0, &path.0)).or_raise(py)
}

/// Reads a `tokenizer.json` of Hugging Face.
#[pyfunction]
pub fn load_huggingface(py: Python<'_>, path: FilePath) -> PyResult<Tokenizer> {
    py.detach(|| huggingface::load(&path.0)).map(Tokenizer).or_raise(py)
}

/// Writes a `tokenizer.json` for Hugging Face.
#[pyfunction]
pub fn save_huggingface(py: Python<'_>, tokenizer: &Tokenizer, path: FilePath) -> PyResult<()> {
    py.detach(|| huggingface::save(&tokenizer.0, &path.0)).or_raise(py)
}

/// Encodes a text file to a token file: the numbers of tokens, bytes and documents, and the integer type.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of encoding, as Python names them")]
pub fn encode_file(
    py: Python<'_>,
    tokenizer: &Tokenizer,
    source: FilePath,
    target: FilePath,
    special: &Bound<'_, PyAny>,
    wide: Option<bool>,
    threads: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<(u64, u64, u64, &'static str)> {
    let options = EncodeFileOptions {
        policy: policy(Some(special))?,
        dtype: wide.map(|wide| if wide { Dtype::Uint32 } else { Dtype::Uint16 }),
        threads: threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
    };
    let stats = watched(py, progress.as_ref(), |job| tokenizer.0.encode_file(&source.0, &target.0, &options, job))?;
    Ok((stats.tokens, stats.bytes, stats.documents, stats.dtype.name()))
}
