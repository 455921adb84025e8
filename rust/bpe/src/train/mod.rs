//! Counts to merges, incrementally and with as little as possible: a merge touches only the places of its pair, and only
//! pairs frequent enough to be merged soon are followed at all.
//!
//! Both symbols of a pair are known when it first occurs, and it gains no occurrences after the merge that made the newer
//! one: from then on its count only falls. So with any threshold, a pair that is below it when it is first counted can be
//! forgotten as long as the best pair is not below it. Training goes in rounds. Each counts all pairs once, picks a
//! threshold, follows the pairs that reach it, and ends when none does any more.

mod corpus;
mod followed;
mod queue;
mod symbols;

use std::time::Instant;

use crate::clock::Step;
use crate::count::Words;
use crate::{Error, Job, Result, Stage};
use corpus::Corpus;
use followed::Followed;
use symbols::Symbols;

/// A pair of adjacent symbols: 0 to 255 are the bytes, 256 + i is merge i.
pub type Pair = (u32, u32);

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct TrainOptions {
    /// Size of the vocabulary: special tokens, the 256 bytes and the merges.
    pub vocab_size: usize,
    /// Pairs that occur less often are not merged. 0 counts as 1.
    pub min_frequency: u64,
    /// How many special tokens the vocabulary holds.
    pub special_tokens: usize,
    /// How many bytes merging may take; without it, as many as there are.
    pub max_memory: Option<u64>,
}

impl TrainOptions {
    /// How many merges fit, or [`Error::VocabSize`].
    pub fn merges(&self) -> Result<usize> {
        let minimum = 256 + self.special_tokens;
        self.vocab_size.checked_sub(minimum).ok_or(Error::VocabSize {
            asked: self.vocab_size as u64,
            special: self.special_tokens as u64,
            minimum: minimum as u64,
        })
    }
}

/// Learns merges from pre-token counts.
///
/// Each round merges the pair with the highest count; among equals the greater pair of byte strings, compared as
/// `(bytes, bytes)`. Ends when the vocabulary is full, when no pair is left, or when none reaches `min_frequency`.
pub fn train(counts: &impl Words, options: &TrainOptions, job: &Job) -> Result<Vec<Pair>> {
    let wanted = options.merges()?;
    job.begin(Stage::Merge, wanted as u64);
    let clock = job.clock();
    let mut corpus = clock.timed(Step::Corpus, || Corpus::new(counts, job))?;
    let mut symbols = Symbols::bytes();
    let mut merges = Vec::new();
    let floor = options.min_frequency.max(1);
    let mut followed = clock.timed(Step::FirstPairs, || Followed::new(&mut corpus, &symbols, job))?;
    let begun = Instant::now();
    while merges.len() < wanted && followed.threshold() > floor {
        followed.begin_round(&mut corpus, &symbols, pairs_to_follow(merges.len()), floor, job)?;
        while merges.len() < wanted {
            job.check()?;
            let Some(pair) = followed.best(&symbols) else { break };
            let merged = symbols.join(pair);
            followed.merge(&mut corpus, &symbols, pair, merged, job)?;
            merges.push(pair);
            job.advance(1);
        }
    }
    clock.add(Step::Merges, begun.elapsed());
    Ok(merges)
}

/// How many pairs a round follows. Few, and it is over soon; many, and most of them are followed in vain.
fn pairs_to_follow(merges: usize) -> usize {
    (2 * merges).max(1024)
}
