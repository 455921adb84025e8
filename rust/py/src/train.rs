//! Training from inputs and from documents that Python gives.

use std::time::Duration;

use cs336_bpe::clock::{Clock, Step};
use cs336_bpe::count::{Counter, Counting, Counts, Words};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special;
use cs336_bpe::train::{TrainOptions, train};
use cs336_bpe::{Job, Stage, Vocabulary};
use pyo3::prelude::*;

use crate::arguments::{ColumnName, FilePath, PatternText, SpecialTokens};
use crate::corpus::{Corpus, with_documents};
use crate::errors::OrRaise;
use crate::tokenizer::Tokenizer;

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

/// Bytes of text, documents, pre-tokens, distinct ones; stages with seconds and peak memory; steps with seconds;
/// seconds that each thread counted.
pub type Report = (u64, u64, u128, u64, Vec<(&'static str, f64, Option<u64>)>, Vec<(&'static str, f64)>, Vec<f64>);

fn report(counts: &Counts, clock: &Clock) -> Report {
    let name = |stage| match stage {
        Stage::Count => "counting",
        Stage::Merge => "merging",
        Stage::Encode => "encoding",
    };
    let stages = clock.stages();
    let stages = stages.iter().map(|stage| (name(stage.stage), stage.time.as_secs_f64(), stage.peak_memory)).collect();
    let steps = Step::ALL.map(|step| (step.name(), clock.step(step).as_secs_f64())).to_vec();
    let threads = clock.threads().iter().map(Duration::as_secs_f64).collect();
    (clock.text_bytes(), clock.documents(), counts.total(), counts.len(), stages, steps, threads)
}

/// The threads asked for, or one for each core.
pub fn threads_or_all(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The memory allowed, or what the machine has to give.
pub fn memory_or_default(max_memory: Option<u64>) -> u64 {
    max_memory.unwrap_or_else(cs336_bpe::default_max_memory)
}

/// Trains on inputs, each of them a document unless it holds several, and on documents that Python gives: a `str` each,
/// or many in the manner of Arrow, as bytes, borders and progress. `origin` names it all.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of training, as Python names them")]
pub fn train_corpus(
    py: Python<'_>,
    paths: Vec<FilePath>,
    documents: Option<&Bound<'_, PyAny>>,
    documents_size: Option<u64>,
    origin: Option<String>,
    input_format: Option<&str>,
    text_column: ColumnName,
    vocab_size: usize,
    special_tokens: SpecialTokens,
    pattern: PatternText,
    min_frequency: u64,
    threads: Option<usize>,
    max_memory: Option<u64>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<(Tokenizer, Report)> {
    let special = special::SpecialTokens::new(&special_tokens.0).or_raise(py)?;
    let pattern = Pattern::new(&pattern.0).or_raise(py)?;
    let plan = Plan::new(vocab_size, special, pattern, min_frequency, threads, max_memory).or_raise(py)?;
    let corpus = Corpus::new(paths, documents_size, origin, input_format, text_column).or_raise(py)?;
    with_documents(py, documents, progress.as_ref(), |job, documents| {
        let counts = corpus.count(plan.begin(job), documents)?;
        let tokenizer = plan.finish(&counts, job)?;
        Ok((tokenizer, report(&counts, job.clock())))
    })
}

/// The memory that the process has resident now, and the most that it ever had, in bytes.
#[pyfunction]
pub fn memory() -> (Option<u64>, Option<u64>) {
    (cs336_bpe::memory::resident(), cs336_bpe::memory::peak())
}
