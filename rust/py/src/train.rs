//! Training from files and from documents in memory.

use cs336_bpe::count::{Counter, WordCounts};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special;
use cs336_bpe::train::{TrainOptions, train};
use cs336_bpe::{Error, Job, Vocabulary};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{FilePath, PatternText, SpecialTokens};
use crate::convert::string;
use crate::errors::OrRaise;
use crate::job::watched;
use crate::tokenizer::Tokenizer;

/// About how many bytes of documents are counted at a time.
const BATCH: usize = 8 << 20;

struct Plan {
    pattern: Pattern,
    special: special::SpecialTokens,
    options: TrainOptions,
    threads: usize,
}

impl Plan {
    fn new(
        vocab_size: usize,
        special: &[String],
        pattern: &str,
        min_frequency: u64,
        threads: Option<usize>,
    ) -> cs336_bpe::Result<Self> {
        let options = TrainOptions { vocab_size, min_frequency, special_tokens: special.len(), max_memory: None };
        options.merges()?;
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self { pattern: Pattern::new(pattern)?, special: special::SpecialTokens::new(special)?, options, threads })
    }

    fn counter<'a>(&'a self, job: &'a Job) -> Counter<'a> {
        Counter { pattern: &self.pattern, special: &self.special, threads: self.threads, job }
    }

    fn finish(&self, counts: &WordCounts, job: &Job) -> cs336_bpe::Result<Tokenizer> {
        let merges = train(counts, &self.options, job)?;
        let vocabulary = Vocabulary::from_training(self.special.tokens(), &merges)?;
        Ok(Tokenizer(cs336_bpe::Tokenizer::new(vocabulary, self.pattern.clone())?))
    }
}

/// Trains on files, each of them a document.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of training, as Python names them")]
pub fn train_files(
    py: Python<'_>,
    paths: Vec<FilePath>,
    vocab_size: usize,
    special_tokens: SpecialTokens,
    pattern: PatternText,
    min_frequency: u64,
    threads: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Tokenizer> {
    let plan = Plan::new(vocab_size, &special_tokens.0, &pattern.0, min_frequency, threads).or_raise(py)?;
    let paths: Vec<_> = paths.into_iter().map(|path| path.0).collect();
    watched(py, progress.as_ref(), |job| plan.finish(&plan.counter(job).count_files(&paths)?, job))
}

/// Trains on texts, each of them a document.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of training, as Python names them")]
pub fn train_documents(
    py: Python<'_>,
    texts: &Bound<'_, PyAny>,
    vocab_size: usize,
    special_tokens: SpecialTokens,
    pattern: PatternText,
    min_frequency: u64,
    threads: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Tokenizer> {
    let plan = Plan::new(vocab_size, &special_tokens.0, &pattern.0, min_frequency, threads).or_raise(py)?;
    let mut counts = WordCounts::default();
    let mut batch: Vec<String> = Vec::new();
    let mut size = 0;
    for text in texts.try_iter()? {
        let text = text?;
        let text = string(text.cast::<PyString>()?)?.to_owned();
        size += text.len();
        batch.push(text);
        if size >= BATCH {
            watched(py, None, |job| plan.counter(job).count_documents(&batch, &mut counts))?;
            batch.clear();
            size = 0;
        }
    }
    watched(py, None, |job| plan.counter(job).count_documents(&batch, &mut counts))?;
    if counts.is_empty() {
        return Err(Error::EmptyCorpus { origin: "the iterable of texts".to_owned() }).or_raise(py);
    }
    watched(py, progress.as_ref(), |job| plan.finish(&counts, job))
}
