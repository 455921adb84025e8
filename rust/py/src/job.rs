//! Long calls: a thread works, the calling one listens for Ctrl-C and tells how far it is.

use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use cs336_bpe::{Job, Stage};
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
    watched_on(py, &Job::default(), progress, work)
}

/// [`watched`], for one part of a job that has several.
pub fn watched_on<'j, T: Send>(
    py: Python<'_>,
    job: &'j Job,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&'j Job) -> cs336_bpe::Result<T> + Send,
) -> PyResult<T> {
    let work = Mutex::new(Some(work));
    let run = || work.lock().ok().and_then(|mut slot| slot.take()).map(|work| work(job));
    let (done, mut finished) = sync_channel::<()>(1);
    let outcome = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().spawn_scoped(scope, || {
            let result = run();
            drop(done);
            result
        });
        let Ok(worker) = worker else { return Ok(None) };
        let mut stopped = Ok(());
        // Nothing is ever sent: the channel closes when the work is done, also by a panic.
        let finished = &mut finished;
        let mut wait = || {
            let finished = &mut *finished;
            py.detach(move || finished.recv_timeout(TICK)) == Err(RecvTimeoutError::Timeout)
        };
        while wait() {
            if stopped.is_ok() {
                stopped = py.check_signals().and_then(|()| report(job, progress));
                if stopped.is_err() {
                    job.cancel();
                }
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
    report(job, progress)?;
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
