//! Training from inputs and from documents that Python gives.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use cs336_bpe::clock::{Clock, Step};
use cs336_bpe::count::{Counter, Inputs, WordCounts};
use cs336_bpe::input::{Documents, Format, InputOptions};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special::SpecialTokens;
use cs336_bpe::train::{TrainOptions, train};
use cs336_bpe::{Error, Job, Stage, Vocabulary};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};

use crate::convert::string;
use crate::errors::OrRaise;
use crate::job::{Feed, fed};
use crate::tokenizer::Tokenizer;

/// About how many bytes of documents a thread counts at a time.
const BATCH: usize = 1 << 20;

/// How many batches may wait for a thread.
const WAITING: usize = 4;

/// How long to wait when so many do.
const PAUSE: Duration = Duration::from_millis(1);

struct Plan {
    pattern: Pattern,
    special: SpecialTokens,
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
        let options = TrainOptions { vocab_size, min_frequency, special_tokens: special.len() };
        options.merges()?;
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self { pattern: Pattern::new(pattern)?, special: SpecialTokens::new(special)?, options, threads })
    }

    fn counter<'a>(&'a self, job: &'a Job) -> Counter<'a> {
        Counter { pattern: &self.pattern, special: &self.special, threads: self.threads, job }
    }

    fn finish(&self, counts: &WordCounts, job: &Job) -> cs336_bpe::Result<(Tokenizer, Report)> {
        let merges = train(counts, &self.options, job)?;
        let vocabulary = Vocabulary::from_training(self.special.tokens(), &merges)?;
        let tokenizer = Tokenizer(cs336_bpe::Tokenizer::new(vocabulary, self.pattern.clone())?);
        Ok((tokenizer, report(counts, job.clock())))
    }
}

/// Bytes of text, documents, pre-tokens, distinct ones; stages with seconds and peak memory; steps with seconds;
/// seconds that each thread counted.
pub type Report = (u64, u64, u128, usize, Vec<(&'static str, f64, Option<u64>)>, Vec<(&'static str, f64)>, Vec<f64>);

fn report(counts: &WordCounts, clock: &Clock) -> Report {
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

/// How an input of this name is read: "text", "jsonl" or "parquet".
#[pyfunction]
pub fn input_format(path: PathBuf) -> &'static str {
    match Format::of(&path) {
        Format::Text => "text",
        Format::JsonLines => "jsonl",
        Format::Parquet => "parquet",
    }
}

/// Trains on inputs, each of them a document unless it holds several, and on documents that Python gives: a `str` each,
/// or many in the manner of Arrow, as bytes, borders and progress. `origin` names it all.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of training, as Python names them")]
pub fn train_corpus(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    documents: Option<&Bound<'_, PyAny>>,
    documents_size: Option<u64>,
    origin: Option<String>,
    input_format: Option<&str>,
    text_column: String,
    vocab_size: usize,
    special_tokens: Vec<String>,
    pattern: &str,
    min_frequency: u64,
    threads: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<(Tokenizer, Report)> {
    let plan = Plan::new(vocab_size, &special_tokens, pattern, min_frequency, threads).or_raise(py)?;
    let options = InputOptions { format: input_format.map(str::parse).transpose().or_raise(py)?, text_column };
    let (sender, receiver) = sync_channel(WAITING);
    let feed = documents.map(|documents| feed(documents.try_iter()?, sender)).transpose()?;
    fed(py, progress.as_ref(), feed, |job| {
        let inputs = Inputs { paths: &paths, options: &options, documents_size };
        let counts = plan.counter(job).count_inputs(&inputs, receiver);
        let counts = counts.map_err(|error| match (error, origin) {
            (Error::EmptyCorpus { .. }, Some(origin)) => Error::EmptyCorpus { origin },
            (error, _) => error,
        })?;
        plan.finish(&counts, job)
    })
}

/// Takes documents from Python, and sends them on in batches.
fn feed<'f>(mut documents: Bound<'f, PyIterator>, sender: SyncSender<Documents>) -> PyResult<Feed<'f>> {
    let mut batch = Documents::default();
    let mut ended = false;
    Ok(Box::new(move |py| {
        while !ended && batch.text_len() < BATCH {
            match documents.next() {
                Some(item) => add(&mut batch, &item?)?,
                None => ended = true,
            }
        }
        match sender.try_send(std::mem::take(&mut batch)) {
            Ok(()) => return Ok(!ended),
            Err(TrySendError::Full(back)) => batch = back,
            // Nobody counts any more; why, the work will tell.
            Err(TrySendError::Disconnected(_)) => return Ok(false),
        }
        py.detach(|| std::thread::sleep(PAUSE));
        Ok(true)
    }))
}

/// Adds what an iterable of documents gave.
fn add(batch: &mut Documents, item: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = item.py();
    if let Ok(text) = item.cast::<PyString>() {
        let text = string(text)?;
        batch.push(text);
        batch.progress += text.len() as u64;
        return Ok(());
    }
    let Ok((bytes, borders, progress)) = item.extract::<(PyBuffer<u8>, PyBuffer<i64>, u64)>() else {
        return Err(PyTypeError::new_err(format!("a text must be str, not {}", item.get_type().name()?)));
    };
    let (bytes, borders) = (bytes.to_vec(py)?, borders.to_vec(py)?);
    let base = borders.first().copied().unwrap_or(0);
    let ends = borders.iter().skip(1).map(|&end| (end - base) as usize).collect();
    batch.append(&Documents::new(bytes, ends, "a batch of documents").or_raise(py)?);
    batch.progress += progress;
    Ok(())
}

/// The memory that the process has resident now, and the most that it ever had, in bytes.
#[pyfunction]
pub fn memory() -> (Option<u64>, Option<u64>) {
    (cs336_bpe::memory::resident(), cs336_bpe::memory::peak())
}
