//! Training from files and from documents in memory.

use cs336_bpe::count::{Counter, Counting, Words};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special;
use cs336_bpe::train::{TrainOptions, train};
use cs336_bpe::{Error, Job, Vocabulary};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{FilePath, PatternText, SpecialTokens};
use crate::convert::string;
use crate::errors::OrRaise;
use crate::job::{watched, watched_on};
use crate::tokenizer::Tokenizer;

/// About how many bytes of documents are counted at a time.
const BATCH: usize = 8 << 20;

/// How to train.
pub struct Plan {
    pattern: Pattern,
    special: special::SpecialTokens,
    options: TrainOptions,
    threads: usize,
    max_memory: u64,
}

impl Plan {
    /// Fails where the vocabulary has no room for what must be in it.
    pub fn new(
        vocab_size: usize,
        special: special::SpecialTokens,
        pattern: Pattern,
        min_frequency: u64,
        threads: Option<usize>,
        max_memory: Option<u64>,
    ) -> cs336_bpe::Result<Self> {
        let max_memory = memory_or_default(max_memory);
        let special_tokens = special.tokens().len();
        let options = TrainOptions { vocab_size, min_frequency, special_tokens, max_memory: Some(max_memory) };
        options.merges()?;
        Ok(Self { pattern, special, options, threads: threads_or_all(threads), max_memory })
    }

    fn begin<'a>(&'a self, job: &'a Job) -> Counting<'a> {
        Counter { pattern: &self.pattern, special: &self.special, threads: self.threads, job }.within(self.max_memory)
    }

    /// Learns the merges.
    pub fn finish(&self, counts: &impl Words, job: &Job) -> cs336_bpe::Result<Tokenizer> {
        let merges = train(counts, &self.options, job)?;
        let vocabulary = Vocabulary::from_training(self.special.tokens(), &merges)?;
        Ok(Tokenizer(cs336_bpe::Tokenizer::new(vocabulary, self.pattern.clone())?))
    }
}

/// The threads asked for, or one for each core.
pub fn threads_or_all(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The memory allowed, or what the machine has to give.
pub fn memory_or_default(max_memory: Option<u64>) -> u64 {
    max_memory.unwrap_or_else(cs336_bpe::default_max_memory)
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
    max_memory: Option<u64>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Tokenizer> {
    let special = special::SpecialTokens::new(&special_tokens.0).or_raise(py)?;
    let pattern = Pattern::new(&pattern.0).or_raise(py)?;
    let plan = Plan::new(vocab_size, special, pattern, min_frequency, threads, max_memory).or_raise(py)?;
    let paths: Vec<_> = paths.into_iter().map(|path| path.0).collect();
    watched(py, progress.as_ref(), |job| {
        let mut counting = plan.begin(job);
        counting.add_files(&paths)?;
        plan.finish(&counting.finish()?, job)
    })
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
    max_memory: Option<u64>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Tokenizer> {
    let special = special::SpecialTokens::new(&special_tokens.0).or_raise(py)?;
    let pattern = Pattern::new(&pattern.0).or_raise(py)?;
    let plan = Plan::new(vocab_size, special, pattern, min_frequency, threads, max_memory).or_raise(py)?;
    let job = Job::default();
    let mut counting = plan.begin(&job);
    let mut batch: Vec<String> = Vec::new();
    let mut size = 0;
    for text in texts.try_iter()? {
        let text = text?;
        let text = string(text.cast::<PyString>()?)?.to_owned();
        size += text.len();
        batch.push(text);
        if size >= BATCH {
            watched_on(py, &job, None, |_| counting.add_documents(&batch))?;
            batch.clear();
            size = 0;
        }
    }
    watched_on(py, &job, None, |_| counting.add_documents(&batch))?;
    watched_on(py, &job, progress.as_ref(), |job| {
        let counts = counting.finish()?;
        if counts.is_empty() {
            return Err(Error::EmptyCorpus { origin: "the iterable of texts".to_owned() });
        }
        plan.finish(&counts, job)
    })
}
