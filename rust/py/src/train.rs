//! Training from inputs and from documents that Python gives.

use std::collections::BTreeSet;
use std::time::Duration;

use cs336_bpe::clock::{Clock, Step};
use cs336_bpe::count::{Counter, Counting, Words};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special;
use cs336_bpe::train::{TrainOptions, extend, train};
use cs336_bpe::{Error, Job, Stage, Vocabulary};
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
    /// What training goes on from; pattern and special tokens are its own then.
    base: Option<cs336_bpe::Tokenizer>,
    max_memory: u64,
}

/// What can be chosen whatever the words come from.
pub struct Choices {
    pub vocab_size: usize,
    pub min_frequency: u64,
    pub max_token_length: Option<usize>,
    pub threads: Option<usize>,
    pub max_memory: Option<u64>,
}

impl Plan {
    /// Fails where the vocabulary has no room for what must be in it.
    pub fn new(
        special: special::SpecialTokens,
        pattern: Pattern,
        choices: &Choices,
        base: Option<cs336_bpe::Tokenizer>,
    ) -> cs336_bpe::Result<Self> {
        let max_memory = memory_or_default(choices.max_memory);
        let options = TrainOptions {
            vocab_size: choices.vocab_size,
            min_frequency: choices.min_frequency,
            special_tokens: special.tokens().len(),
            max_token_length: choices.max_token_length,
            threads: threads_or_all(choices.threads),
            max_memory: Some(max_memory),
        };
        options.merges()?;
        let plan = Self { pattern, special, options, base, max_memory };
        plan.check_base()?;
        plan.more()?;
        Ok(plan)
    }

    /// Fails where the words are cut otherwise than the tokenizer cuts them.
    fn check_base(&self) -> cs336_bpe::Result<()> {
        let Some(base) = &self.base else { return Ok(()) };
        let special = |tokens: &[String]| tokens.iter().cloned().collect::<BTreeSet<_>>();
        let own: Vec<String> = base.special_tokens().iter().map(|(token, _)| token.clone()).collect();
        if self.pattern.spec() == base.pattern().spec() && special(self.special.tokens()) == special(&own) {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "training goes on from a tokenizer with pattern {:?} and special tokens {own:?}, and with no others; \
             count again with these",
            base.pattern().spec()
        )))
    }

    /// How many tokens are to come on top of those there are.
    fn more(&self) -> cs336_bpe::Result<usize> {
        let (wanted, there) = (self.options.vocab_size, self.base.as_ref().map_or(0, cs336_bpe::Tokenizer::vocab_size));
        wanted.checked_sub(there).ok_or_else(|| {
            Error::Invalid(format!(
                "vocab_size {wanted} is below the {there} of the tokenizer that training goes on from; ask for more"
            ))
        })
    }

    fn begin<'a>(&'a self, job: &'a Job) -> Counting<'a> {
        Counter { pattern: &self.pattern, special: &self.special, threads: self.options.threads, job }
            .within(self.max_memory)
    }

    /// Learns the merges.
    pub fn finish(&self, counts: impl Words, job: &Job) -> cs336_bpe::Result<Tokenizer> {
        let vocabulary = match &self.base {
            None => Vocabulary::from_training(self.special.tokens(), &train(counts, &self.options, job)?)?,
            Some(base) => {
                let base = base.vocabulary();
                base.extended(&extend(counts, base, self.more()?, &self.options, job)?)?
            }
        };
        Ok(Tokenizer(cs336_bpe::Tokenizer::of_training(vocabulary, self.pattern.clone())?))
    }
}

/// Bytes of text, documents, pre-tokens, distinct ones; stages with seconds and peak memory; steps with seconds;
/// seconds that each thread counted.
pub type Report = (u64, u64, u128, u64, Vec<(&'static str, f64, Option<u64>)>, Vec<(&'static str, f64)>, Vec<f64>);

fn report(pre_tokens: u128, distinct: u64, clock: &Clock) -> Report {
    let name = |stage| match stage {
        Stage::Count => "counting",
        Stage::Merge => "merging",
        Stage::Encode => "encoding",
    };
    let stages = clock.stages();
    let stages = stages.iter().map(|stage| (name(stage.stage), stage.time.as_secs_f64(), stage.peak_memory)).collect();
    let steps = Step::ALL.map(|step| (step.name(), clock.step(step).as_secs_f64())).to_vec();
    let threads = clock.threads().iter().map(Duration::as_secs_f64).collect();
    (clock.text_bytes(), clock.documents(), pre_tokens, distinct, stages, steps, threads)
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
    max_token_length: Option<usize>,
    extend: Option<&Bound<'_, Tokenizer>>,
    threads: Option<usize>,
    max_memory: Option<u64>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<(Tokenizer, Report)> {
    let special = special::SpecialTokens::new(&special_tokens.0).or_raise(py)?;
    let pattern = Pattern::new(&pattern.0).or_raise(py)?;
    let choices = Choices { vocab_size, min_frequency, max_token_length, threads, max_memory };
    let base = extend.map(|tokenizer| tokenizer.get().0.clone());
    let plan = Plan::new(special, pattern, &choices, base).or_raise(py)?;
    let corpus = Corpus::new(paths, documents_size, origin, input_format, text_column).or_raise(py)?;
    with_documents(py, documents, progress.as_ref(), |job, documents| {
        let counts = corpus.count(plan.begin(job), documents, false)?;
        let (total, distinct) = (counts.total(), counts.len());
        let tokenizer = plan.finish(counts, job)?;
        Ok((tokenizer, report(total, distinct, job.clock())))
    })
}

/// The memory that the process has resident now, and the most that it ever had, in bytes.
#[pyfunction]
pub fn memory() -> (Option<u64>, Option<u64>) {
    (cs336_bpe::memory::resident(), cs336_bpe::memory::peak())
}
