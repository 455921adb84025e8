//! Token files from any number of inputs, of which Python reads those that are Parquet.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

use cs336_bpe::formats::token_file::Dtype;
use cs336_bpe::input::{Documents, InputOptions};
use cs336_bpe::tokens::{DocumentSource, Names, NoDocuments, TokenFilesOptions};
use cs336_bpe::{Error, Job};
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use crate::arguments::{ColumnName, FilePath};
use crate::convert::policy;
use crate::corpus::add;
use crate::errors::OrRaise;
use crate::job::{Feed, fed};
use crate::tokenizer::Tokenizer;

/// How many batches may wait to be encoded.
const WAITING: usize = 4;

/// How long to wait where there is nothing to do.
const PAUSE: Duration = Duration::from_millis(1);

/// Tokens, bytes, documents, separators put in; the integer type; the files; tokens of an earlier turn.
type Written = (u64, u64, u64, u64, &'static str, Vec<PathBuf>, u64);

/// Asks Python for the documents of an input. None is the end of one.
struct Asking {
    inputs: SyncSender<usize>,
    documents: Receiver<Option<Documents>>,
}

impl DocumentSource for Asking {
    // Where nobody answers, Python has raised an exception, which is then what the caller gets.
    fn begin(&mut self, index: usize) -> cs336_bpe::Result<()> {
        self.inputs.send(index).map_err(|_| Error::Interrupted)
    }

    fn next(&mut self, _: &Job) -> cs336_bpe::Result<Option<Documents>> {
        self.documents.recv().map_err(|_| Error::Interrupted)
    }
}

/// Answers: `open(index)` iterates over the documents of an input.
fn feed<'f>(open: &Bound<'f, PyAny>, inputs: Receiver<usize>, documents: SyncSender<Option<Documents>>) -> Feed<'f> {
    let open = open.clone();
    let mut iterator: Option<Bound<'f, PyIterator>> = None;
    let mut ready: Option<Option<Documents>> = None;
    Box::new(move |py| {
        let Some(items) = &mut iterator else {
            match inputs.try_recv() {
                Ok(index) => iterator = Some(open.call1((index,))?.try_iter()?),
                Err(TryRecvError::Empty) => py.detach(|| std::thread::sleep(PAUSE)),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
            return Ok(true);
        };
        let message = match ready.take() {
            Some(message) => message,
            None => match items.next() {
                Some(item) => {
                    let mut batch = Documents::default();
                    add(&mut batch, &item?)?;
                    Some(batch)
                }
                None => None,
            },
        };
        let ends = message.is_none();
        match documents.try_send(message) {
            Ok(()) if ends => iterator = None,
            Ok(()) => {}
            Err(TrySendError::Full(back)) => {
                ready = Some(back);
                py.detach(|| std::thread::sleep(PAUSE));
            }
            Err(TrySendError::Disconnected(_)) => return Ok(false),
        }
        Ok(true)
    })
}

/// Refuses sources that stand where token files of this target, with up to so many numbers in their names, may.
#[pyfunction]
pub fn check_token_sources(py: Python<'_>, target: FilePath, numbers: usize, sources: Vec<FilePath>) -> PyResult<()> {
    let sources: Vec<_> = sources.into_iter().map(|source| source.0).collect();
    py.detach(|| Names::new(&target.0, numbers)?.refuse(&sources)).or_raise(py)
}

/// The files that runs with this target have left, of those with up to so many numbers in their names.
#[pyfunction]
pub fn token_files_left(py: Python<'_>, target: FilePath, numbers: usize) -> PyResult<Vec<PathBuf>> {
    py.detach(|| Names::new(&target.0, numbers)?.left()).or_raise(py)
}

/// The name of a shard.
#[pyfunction]
pub fn token_shard(py: Python<'_>, target: FilePath, number: u64) -> PyResult<PathBuf> {
    Names::new(&target.0, 1).map(|names| names.shard(number)).or_raise(py)
}

/// Encodes inputs to token files, or goes on with it. `documents(index)` reads an input that is Parquet.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the options of encoding, as Python names them")]
pub fn encode_inputs(
    py: Python<'_>,
    tokenizer: &Tokenizer,
    paths: Vec<FilePath>,
    documents: Option<&Bound<'_, PyAny>>,
    input_format: Option<&str>,
    text_column: ColumnName,
    target: FilePath,
    special: &Bound<'_, PyAny>,
    separator: Option<&str>,
    wide: Option<bool>,
    shard_tokens: Option<u64>,
    threads: Option<usize>,
    restart: bool,
    record_seconds: f64,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Written> {
    let format = input_format.map(str::parse).transpose().or_raise(py)?;
    let options = TokenFilesOptions {
        input: InputOptions { format, text_column: text_column.0 },
        policy: policy(Some(special))?,
        separator: separator.map(|token| tokenizer.0.separator(token)).transpose().or_raise(py)?,
        dtype: wide.map(|wide| if wide { Dtype::Uint32 } else { Dtype::Uint16 }),
        shard_tokens,
        threads: threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        restart,
        record_every: Duration::from_secs_f64(record_seconds),
    };
    let paths: Vec<_> = paths.into_iter().map(|path| path.0).collect();
    let (tokenizer, target) = (&tokenizer.0, &target.0);
    let stats = match documents {
        None => {
            fed(py, progress.as_ref(), None, |job| tokenizer.encode_inputs(&paths, NoDocuments, target, &options, job))
        }
        Some(open) => {
            let (inputs, asked) = sync_channel(1);
            let (answers, documents) = sync_channel(WAITING);
            let feed = feed(open, asked, answers);
            let asking = Asking { inputs, documents };
            fed(py, progress.as_ref(), Some(feed), |job| tokenizer.encode_inputs(&paths, asking, target, &options, job))
        }
    }?;
    let totals = stats.totals;
    let numbers = (totals.tokens, totals.bytes, totals.documents, totals.separators);
    Ok((numbers.0, numbers.1, numbers.2, numbers.3, stats.dtype.name(), stats.files, stats.resumed_at))
}
