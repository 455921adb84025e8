//! Threads that share work. They live as long as the work, so that a fork never meets half a pool.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Result;

/// Who does the work: some threads, or the calling one.
pub(crate) type Pool<'p> = Option<&'p ThreadPool>;

/// So many distinct words are worth a thread, but for tests.
const WORDS: usize = if cfg!(test) { 2 } else { 1 << 14 };

/// As many threads as so many words are worth, but no more than `threads`. None where one is enough or the system gives no
/// more: then the calling one does the work.
pub(crate) fn pool(threads: usize, words: usize) -> Option<ThreadPool> {
    let threads = threads.min(words / WORDS);
    if threads > 1 { ThreadPoolBuilder::new().num_threads(threads).build().ok() } else { None }
}

/// Does something with each part; the results come in the parts' order.
pub(crate) fn on_each<P: Send, T: Send>(
    pool: Pool<'_>,
    parts: Vec<P>,
    f: impl Fn(P) -> Result<T> + Send + Sync,
) -> Result<Vec<T>> {
    match pool {
        Some(pool) => pool.install(|| parts.into_par_iter().map(f).collect()),
        None => parts.into_iter().map(f).collect(),
    }
}
