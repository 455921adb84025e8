//! Sequences of words in order, merged into one.

use std::cmp::Ordering;

use crate::error::add_counts;
use crate::{Job, Result};

/// Words merged between two checks of whether to stop.
const CHECK: u64 = 1 << 12;

/// Words with counts, each greater than the one before.
pub trait Sorted {
    /// Goes to the next word; false when there are no more.
    fn advance(&mut self) -> Result<bool>;
    /// The word.
    fn word(&self) -> &[u8];
    /// Its count.
    fn count(&self) -> u64;
}

/// Calls `f` on each word of any source once, in order, with the sum of its counts.
pub fn merge<S: Sorted>(sources: Vec<S>, job: &Job, mut f: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    let mut heap = Heap::new(sources)?;
    let mut word = Vec::new();
    let mut merged = 0;
    while let Some(source) = heap.first() {
        word.clear();
        word.extend_from_slice(source.word());
        let mut count = source.count();
        heap.advance()?;
        while let Some(source) = heap.first().filter(|source| source.word() == word) {
            count = add_counts(count, source.count())?;
            heap.advance()?;
        }
        f(&word, count)?;
        merged += 1;
        if merged % CHECK == 0 {
            job.check()?;
        }
    }
    Ok(())
}

/// The sources that have a word, the one with the least first: a binary heap.
struct Heap<S> {
    sources: Vec<S>,
    /// The beginning of a source's word, which mostly tells two apart, and the source's index.
    places: Vec<(u128, usize)>,
}

impl<S: Sorted> Heap<S> {
    fn new(mut sources: Vec<S>) -> Result<Self> {
        let mut places = Vec::new();
        for (index, source) in sources.iter_mut().enumerate() {
            if source.advance()? {
                places.push((beginning(source.word()), index));
            }
        }
        places.sort_unstable_by(|one, other| compare(&sources, one, other));
        Ok(Self { sources, places })
    }

    /// The source with the least word.
    fn first(&self) -> Option<&S> {
        self.places.first().map(|&(_, index)| &self.sources[index])
    }

    /// Goes to the next word of the first source.
    fn advance(&mut self) -> Result<()> {
        let source = &mut self.sources[self.places[0].1];
        if source.advance()? {
            self.places[0].0 = beginning(source.word());
        } else {
            self.places.swap_remove(0);
        }
        self.sink();
        Ok(())
    }

    /// Moves the first source down to where it belongs.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.places.len() && compare(&self.sources, &self.places[child], &self.places[least]).is_lt()
                {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.places.swap(at, least);
            at = least;
        }
    }
}

fn compare<S: Sorted>(sources: &[S], one: &(u128, usize), other: &(u128, usize)) -> Ordering {
    one.0.cmp(&other.0).then_with(|| sources[one.1].word().cmp(sources[other.1].word()))
}

/// The first 16 bytes of a word, in an order that never contradicts that of the words.
fn beginning(word: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = word.len().min(16);
    bytes[..length].copy_from_slice(&word[..length]);
    u128::from_be_bytes(bytes)
}
