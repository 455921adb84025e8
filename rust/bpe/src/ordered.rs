//! Work on several threads, results in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// How many results may wait for an earlier one, for each thread.
const WAITING: usize = 2;

/// Below this many bytes of text for each, threads cost more than they bring.
const WORTH_A_THREAD: u64 = 1 << 20;

/// How many of the threads that may be used so much text is worth; as many as may be where nobody knows how much it is.
pub(crate) fn worth_threads(most: usize, text: Option<u64>) -> usize {
    let worth = text.map_or(u64::MAX, |bytes| bytes.div_ceil(WORTH_A_THREAD).max(1));
    most.clamp(1, usize::try_from(worth).unwrap_or(usize::MAX))
}

/// Takes items from `source`, works on them on several threads, and gives the results to `sink` in the order of the
/// items. The first error in that order ends it all: what comes before it has reached the sink, nothing behind it has.
pub(crate) fn ordered<I: Send, R: Send>(
    threads: usize,
    mut source: impl FnMut() -> Result<Option<I>> + Send,
    work: impl Fn(I) -> Result<R> + Sync,
    mut sink: impl FnMut(Result<R>) -> Result<()> + Send,
) -> Result<()> {
    if threads <= 1 {
        while let Some(item) = source().transpose() {
            sink(item.and_then(&work))?;
        }
        return Ok(());
    }
    let source = Mutex::new(Numbered { next: 0, ended: false, take: source });
    let queue = Queue { state: Mutex::default(), changed: Condvar::new(), most: WAITING * threads };
    let sink = Mutex::new(sink);
    // In a function of its own, or the lock would be held until the item is worked on.
    let next = || lock(&source).next();
    let worker = || {
        let _alarm = Alarm(&queue);
        while let Some((number, item)) = next() {
            if !queue.give(number, item.and_then(&work), &sink) {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        // The system may give fewer threads than asked for; the calling one works, too.
        for _ in 1..threads {
            if std::thread::Builder::new().name("cs336-encode".to_owned()).spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        worker();
    });
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failure.map_or(Ok(()), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of one thread comes out of the scope; until then the others may go on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Numbered<F> {
    next: u64,
    ended: bool,
    take: F,
}

impl<I, F: FnMut() -> Result<Option<I>>> Numbered<F> {
    fn next(&mut self) -> Option<(u64, Result<I>)> {
        if self.ended {
            return None;
        }
        let item = (self.take)().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        self.next += 1;
        item.map(|item| (self.next - 1, item))
    }
}

struct State<R> {
    /// The number of the result that the sink gets next.
    next: u64,
    results: BTreeMap<u64, Result<R>>,
    /// Whether a thread is at the sink.
    giving: bool,
    failure: Option<Error>,
}

impl<R> Default for State<R> {
    fn default() -> Self {
        Self { next: 0, results: BTreeMap::new(), giving: false, failure: None }
    }
}

struct Queue<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
    most: usize,
}

/// Lets nobody wait for a thread that panicked; the panic itself comes out where the threads are joined.
struct Alarm<'q, R>(&'q Queue<R>);

impl<R> Drop for Alarm<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.state).failure = Some(Error::Interrupted);
            self.0.changed.notify_all();
        }
    }
}

impl<R> Queue<R> {
    /// Brings in a result, and gives on what is next. False if there is no sense in going on.
    fn give<S: FnMut(Result<R>) -> Result<()>>(&self, number: u64, result: Result<R>, sink: &Mutex<S>) -> bool {
        let mut state = lock(&self.state);
        state.results.insert(number, result);
        while !state.giving && state.failure.is_none() {
            let next = state.next;
            let Some(result) = state.results.remove(&next) else { break };
            state.giving = true;
            drop(state);
            let given = lock(sink)(result);
            state = lock(&self.state);
            state.giving = false;
            state.next += 1;
            state.failure = given.err();
            self.changed.notify_all();
        }
        // Who brought the next one never waits, so somebody always gets on.
        while state.failure.is_none() && state.results.len() > self.most {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threads: usize, items: u64, bad: u64) -> (Vec<u64>, Result<()>) {
        let mut numbers = 0..items;
        let mut seen = Vec::new();
        let work = |number: u64| {
            if number.is_multiple_of(7) {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            if number >= bad { Err(Error::Invalid(number.to_string())) } else { Ok(number) }
        };
        let sink = |result: Result<u64>| result.map(|number| seen.push(number));
        let outcome = ordered(threads, || Ok(numbers.next()), work, sink);
        (seen, outcome)
    }

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let (seen, outcome) = run(threads, 100, u64::MAX);
            assert!(outcome.is_ok());
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn threads_work_at_the_same_time() {
        let (under_way, changed) = (Mutex::new(0), Condvar::new());
        let mut items = 0..2;
        let work = |item| {
            *lock(&under_way) += 1;
            changed.notify_all();
            let patience = std::time::Duration::from_secs(60);
            let alone = changed.wait_timeout_while(lock(&under_way), patience, |under_way| *under_way < 2);
            assert!(!alone.unwrap().1.timed_out(), "nobody took the other item meanwhile");
            Ok(item)
        };
        ordered(2, || Ok(items.next()), work, |result| result.map(drop)).unwrap();
    }

    #[test]
    fn the_first_error_counts_and_all_before_it_arrive() {
        for threads in [1, 2, 8] {
            let (seen, outcome) = run(threads, 100, 42);
            assert_eq!(outcome.unwrap_err().to_string(), "42");
            assert_eq!(seen, (0..42).collect::<Vec<_>>());
        }
    }
}
