//! Many texts at once, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Ids;
use crate::tokenizer::{Policy, SpecialPolicy, Tokenizer};
use crate::{Error, Job, Result};

/// Bytes of text that a thread takes at a time.
const PART: usize = 1 << 18;

/// Below this many bytes, starting threads costs more than they bring.
const WORTH_THREADS: usize = 1 << 17;

/// The ids of texts one behind the other, and where each text's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchIds<T> {
    /// All ids.
    pub ids: Vec<T>,
    /// The end of each text's ids.
    pub ends: Vec<usize>,
}

impl Tokenizer {
    /// Encodes texts on up to `threads` threads, which live for this call; few or short ones on the caller's.
    pub fn encode_batch<T: Copy + Send>(
        &self,
        texts: &[&[u8]],
        policy: &SpecialPolicy,
        threads: usize,
        job: &Job,
    ) -> Result<BatchIds<T>>
    where
        Vec<T>: Ids,
    {
        let policy = self.policy(policy)?;
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        if threads <= 1 || bytes < WORTH_THREADS {
            return self.encode_part(0, texts, bytes, &policy, job);
        }
        let parts = cut(texts, (bytes / threads / 4).clamp(1, PART));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut encoded = Vec::new();
            loop {
                let at = next.fetch_add(1, Relaxed);
                let Some(&(first, part)) = parts.get(at) else { return encoded };
                encoded.push((at, self.encode_part(first, part, bytes / threads, &policy, job)));
            }
        };
        let mut encoded = std::thread::scope(|scope| {
            // Where the system gives no more threads, those that there are do the work.
            let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let others: Vec<_> = (1..threads.min(parts.len())).map_while(start).collect();
            let mut encoded = work();
            for other in others {
                encoded.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            encoded
        });
        encoded.sort_unstable_by_key(|(at, _)| *at);
        join(encoded.into_iter().map(|(_, part)| part), texts.len())
    }

    /// Encodes some of the texts, from the one with number `first` on; of them all this thread will get `share` bytes.
    fn encode_part<T>(
        &self,
        first: usize,
        texts: &[&[u8]],
        share: usize,
        policy: &Policy<'_>,
        job: &Job,
    ) -> Result<BatchIds<T>>
    where
        Vec<T>: Ids,
    {
        let (mut ids, mut ends) = (Vec::new(), Vec::with_capacity(texts.len()));
        ids.expect(texts.iter().map(|text| text.len()).sum())?;
        self.with_words(share, &mut ids, job, |words| {
            for (number, text) in (first..).zip(texts) {
                self.whole(text, policy, words).map_err(|error| placed(error, number))?;
                ends.push(words.count());
            }
            Ok(())
        })?;
        Ok(BatchIds { ids, ends })
    }
}

/// An error with the number of its text, from 0 on.
fn placed(error: Error, number: usize) -> Error {
    match error {
        Error::DisallowedSpecial { .. } => Error::In { origin: format!("texts[{number}]"), source: Box::new(error) },
        other => other,
    }
}

/// Texts in groups of about so many bytes, each with the number of its first one.
fn cut<'s, 't>(mut texts: &'s [&'t [u8]], bytes: usize) -> Vec<(usize, &'s [&'t [u8]])> {
    let (mut parts, mut first) = (Vec::new(), 0);
    while !texts.is_empty() {
        let mut sum = 0;
        let more = texts.iter().take_while(|text| {
            let goes_on = sum < bytes;
            sum += text.len();
            goes_on
        });
        let (part, rest) = texts.split_at(more.count());
        parts.push((first, part));
        first += part.len();
        texts = rest;
    }
    parts
}

fn join<T: Copy>(parts: impl Iterator<Item = Result<BatchIds<T>>>, texts: usize) -> Result<BatchIds<T>> {
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let mut all = BatchIds { ids: Vec::new(), ends: Vec::with_capacity(texts) };
    super::reserve(&mut all.ids, parts.iter().map(|part| part.ids.len()).sum(), "the token ids")?;
    for part in parts {
        all.ends.extend(part.ends.iter().map(|end| all.ids.len() + end));
        all.ids.extend_from_slice(&part.ids);
    }
    Ok(all)
}
