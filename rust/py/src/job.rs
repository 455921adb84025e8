//! Long calls: a thread works, the calling one listens for Ctrl-C and tells how far it is.

use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use cs336_bpe::{Job, Stage};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::OrRaise;

/// How often the calling thread looks up.
const TICK: Duration = Duration::from_millis(50);

/// Runs `work` without the GIL. Ctrl-C, and an exception of `progress(stage, done, total)`, stop it and are raised.
pub fn watched<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Job) -> cs336_bpe::Result<T> + Send,
) -> PyResult<T> {
    fed(py, progress, None, work)
}

/// What the calling thread does for the work, bit by bit and with the GIL: `Ok(false)` when there is no more to do, and
/// after that, or an error, it is dropped.
pub type Feed<'f> = Box<dyn FnMut(Python<'_>) -> PyResult<bool> + 'f>;

/// [`watched`] with something to do for the calling thread.
pub fn fed<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    mut feed: Option<Feed<'_>>,
    work: impl FnOnce(&Job) -> cs336_bpe::Result<T> + Send,
) -> PyResult<T> {
    let job = Job::default();
    let work = Mutex::new(Some(work));
    let run = || work.lock().ok().and_then(|mut slot| slot.take()).map(|work| work(&job));
    let (done, mut finished) = sync_channel::<()>(1);
    let outcome = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().spawn_scoped(scope, || {
            let result = run();
            drop(done);
            result
        });
        let Ok(worker) = worker else {
            let alone = "the system gives no thread, and the texts need two; let it have more threads";
            return if feed.is_some() { Err(PyRuntimeError::new_err(alone)) } else { Ok(None) };
        };
        let mut stopped = Ok(());
        // Nothing is ever sent: the channel closes when the work is done, also by a panic.
        let finished = &mut finished;
        let mut wait = |time| {
            let finished = &mut *finished;
            py.detach(move || finished.recv_timeout(time)) == Err(RecvTimeoutError::Timeout)
        };
        let mut looked = Instant::now();
        while wait(if feed.is_some() { Duration::ZERO } else { TICK }) {
            if stopped.is_ok() {
                stopped = feed.as_mut().map_or(Ok(false), |feed| feed(py)).map(|more| {
                    if !more {
                        feed = None;
                    }
                });
            }
            if stopped.is_ok() && (feed.is_none() || looked.elapsed() >= TICK) {
                looked = Instant::now();
                job.clock().sample();
                stopped = py.check_signals().and_then(|()| report(&job, progress));
            }
            if stopped.is_err() {
                feed = None;
                job.cancel();
            }
        }
        let result = py.detach(|| worker.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        stopped.and(Ok(result))
    })?;
    // Where the system gives no thread, the calling one does the work.
    let result = match outcome {
        Some(result) => result,
        None => py.detach(run).unwrap_or(Err(cs336_bpe::Error::Interrupted)),
    };
    let value = result.or_raise(py)?;
    report(&job, progress)?;
    Ok(value)
}

fn report(job: &Job, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(progress) = progress else { return Ok(()) };
    let now = job.progress();
    let stage = match now.stage {
        Stage::Count => "count",
        Stage::Merge => "merge",
        Stage::Encode => "encode",
    };
    progress.call1((stage, now.done, (now.total > 0).then_some(now.total))).map(drop)
}
