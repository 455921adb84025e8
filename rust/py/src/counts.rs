//! Counts files: written, added up, trained from.

use cs336_bpe::count::Counter;
use cs336_bpe::formats::counts::{CountsFile, CountsWriter, Header, merge_files};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special;
use pyo3::prelude::*;

use crate::arguments::{ColumnName, FilePath, PatternText, SpecialTokens};
use crate::corpus::{Corpus, with_documents};
use crate::errors::OrRaise;
use crate::job::watched;
use crate::tokenizer::Tokenizer;
use crate::train::{Choices, Plan, memory_or_default, threads_or_all};

/// Pattern, special tokens, bytes of text, pre-tokens, distinct ones, and the runs that were spilled.
type Written = (String, Vec<String>, u64, u128, u64, usize);

fn written(header: Header, spilled: usize) -> Written {
    let Header { pattern, special_tokens, corpus_bytes, pre_tokens, distinct, .. } = header;
    (pattern, special_tokens, corpus_bytes, pre_tokens, distinct, spilled)
}

/// The bytes of memory that counting and merging take if nobody says how much.
#[pyfunction]
pub fn default_max_memory() -> u64 {
    cs336_bpe::default_max_memory()
}

/// Counts the pre-tokens of a corpus, which is what `train_corpus` takes, and writes a counts file. A part of a corpus may
/// hold no text.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of counting, as Python names them")]
pub fn count_corpus(
    py: Python<'_>,
    paths: Vec<FilePath>,
    documents: Option<&Bound<'_, PyAny>>,
    documents_size: Option<u64>,
    origin: Option<String>,
    input_format: Option<&str>,
    text_column: ColumnName,
    output: FilePath,
    special_tokens: SpecialTokens,
    pattern: PatternText,
    threads: Option<usize>,
    max_memory: Option<u64>,
    may_be_empty: bool,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Written> {
    let pattern = Pattern::new(&pattern.0).or_raise(py)?;
    let special = special::SpecialTokens::new(&special_tokens.0).or_raise(py)?;
    let corpus = Corpus::new(paths, documents_size, origin, input_format, text_column).or_raise(py)?;
    with_documents(py, documents, progress.as_ref(), |job, documents| {
        let writer = CountsWriter::create(&output.0)?;
        let counter = Counter { pattern: &pattern, special: &special, threads: threads_or_all(threads), job };
        let counting = counter.within(memory_or_default(max_memory));
        let counts = corpus.count(counting, documents, may_be_empty)?;
        let spilled = counts.spilled;
        Ok(written(writer.write(&pattern, &special, counts, job)?, spilled))
    })
}

/// Adds counts files up.
#[pyfunction]
pub fn merge_counts(py: Python<'_>, paths: Vec<FilePath>, output: FilePath) -> PyResult<Written> {
    let paths: Vec<_> = paths.into_iter().map(|path| path.0).collect();
    watched(py, None, |job| Ok(written(merge_files(&paths, &output.0, job)?, 0)))
}

/// What the first line of a counts file says.
#[pyfunction]
pub fn read_counts(py: Python<'_>, path: FilePath) -> PyResult<Written> {
    py.detach(|| CountsFile::open(&path.0)).map(|file| written(file.header().clone(), 0)).or_raise(py)
}

/// Trains on a counts file, which says pattern and special tokens.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of training, as Python names them")]
pub fn train_counts(
    py: Python<'_>,
    path: FilePath,
    vocab_size: usize,
    min_frequency: u64,
    max_token_length: Option<usize>,
    extend: Option<&Bound<'_, Tokenizer>>,
    threads: Option<usize>,
    max_memory: Option<u64>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Tokenizer> {
    let choices = Choices { vocab_size, min_frequency, max_token_length, threads, max_memory };
    let base = extend.map(|tokenizer| tokenizer.get().0.clone());
    watched(py, progress.as_ref(), |job| {
        let file = CountsFile::open(&path.0)?;
        let (pattern, special) = (file.pattern().clone(), file.special().clone());
        Plan::new(special, pattern, &choices, base)?.finish(file, job)
    })
}
