//! What a corpus is made of: inputs that the core reads, and documents that Python gives.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use cs336_bpe::count::{Counting, Counts, Inputs};
use cs336_bpe::input::{Documents, Format, InputOptions};
use cs336_bpe::{Error, Job};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};

use crate::arguments::{ColumnName, FilePath};
use crate::convert::string;
use crate::errors::OrRaise;
use crate::job::{Feed, fed};

/// About how many bytes of documents a thread counts at a time.
const BATCH: usize = 1 << 20;

/// How many batches may wait for a thread.
const WAITING: usize = 4;

/// How long to wait when so many do.
const PAUSE: Duration = Duration::from_millis(1);

/// Inputs, and what there is to say of the documents that Python gives.
pub struct Corpus {
    paths: Vec<PathBuf>,
    options: InputOptions,
    documents_size: Option<u64>,
    origin: Option<String>,
}

impl Corpus {
    /// `origin` names it all, where the paths don't.
    pub fn new(
        paths: Vec<FilePath>,
        documents_size: Option<u64>,
        origin: Option<String>,
        input_format: Option<&str>,
        text_column: ColumnName,
    ) -> cs336_bpe::Result<Self> {
        let options = InputOptions { format: input_format.map(str::parse).transpose()?, text_column: text_column.0 };
        let paths = paths.into_iter().map(|path| path.0).collect();
        Ok(Self { paths, options, documents_size, origin })
    }

    /// The counts of all of it.
    pub fn count(
        &self,
        mut counting: Counting<'_>,
        documents: Receiver<Documents>,
        may_be_empty: bool,
    ) -> cs336_bpe::Result<Counts> {
        let inputs = Inputs { paths: &self.paths, options: &self.options, documents_size: self.documents_size };
        match (counting.add_inputs(&inputs, documents), &self.origin) {
            (Err(Error::EmptyCorpus { .. }), _) if may_be_empty => {}
            (Err(Error::EmptyCorpus { .. }), Some(origin)) => {
                return Err(Error::EmptyCorpus { origin: origin.clone() });
            }
            (added, _) => added?,
        }
        counting.finish()
    }
}

/// Runs `work` with the documents that an iterable gives: a `str` each, or many in the manner of Arrow, as bytes, borders
/// and progress.
pub fn with_documents<T: Send>(
    py: Python<'_>,
    documents: Option<&Bound<'_, PyAny>>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Job, Receiver<Documents>) -> cs336_bpe::Result<T> + Send,
) -> PyResult<T> {
    let (sender, receiver) = sync_channel(WAITING);
    let feed = documents.map(|documents| feed(documents.try_iter()?, sender)).transpose()?;
    fed(py, progress, feed, |job| work(job, receiver))
}

/// How an input of this name is read: "text", "jsonl" or "parquet".
#[pyfunction]
pub fn input_format(path: FilePath) -> &'static str {
    match Format::of(&path.0) {
        Format::Text => "text",
        Format::JsonLines => "jsonl",
        Format::Parquet => "parquet",
    }
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
pub fn add(batch: &mut Documents, item: &Bound<'_, PyAny>) -> PyResult<()> {
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
