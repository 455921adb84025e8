//! Counts to merges, incrementally and with as little as possible: a merge touches only the places of its pair, and only
//! pairs frequent enough to be merged soon are followed at all.
//!
//! Both symbols of a pair are known when it first occurs, and it gains no occurrences after the merge that made the newer
//! one: from then on its count only falls. So with any threshold, a pair that is below it when it is first counted can be
//! forgotten as long as the best pair is not below it. Training goes in rounds. Each counts all pairs once, picks a
//! threshold, follows the pairs that reach it, and ends when none does any more.

mod base;
mod corpus;
mod followed;
mod pairs;
mod queue;
mod sweep;
mod symbols;

use std::time::Instant;

use crate::clock::Step;
use crate::count::Words;
use crate::threads::{Pool, on_each, pool};
use crate::{Error, Job, Result, Stage, Vocabulary};
use base::Base;
use corpus::{Corpus, Slot};
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
    /// Pairs that make a longer token, in bytes, are not merged.
    pub max_token_length: Option<usize>,
    /// How many threads share the work, where there is enough of it; 0 counts as 1.
    pub threads: usize,
    /// How many bytes merging may take; without it, as many as there are.
    pub max_memory: Option<u64>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            vocab_size: 256,
            min_frequency: 1,
            special_tokens: 0,
            max_token_length: None,
            threads: 1,
            max_memory: None,
        }
    }
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
pub fn train(words: impl Words, options: &TrainOptions, job: &Job) -> Result<Vec<Pair>> {
    Training { words, base: None, wanted: options.merges()?, options, job }.run()
}

/// Learns `wanted` more merges on top of those of a tokenizer: what training would have gone on with, had it begun with
/// these. Symbols below 256 are bytes, and 256 + i is merge i, the tokenizer's first. Returns the new ones.
pub fn extend(
    words: impl Words,
    base: &Vocabulary,
    wanted: usize,
    options: &TrainOptions,
    job: &Job,
) -> Result<Vec<Pair>> {
    Training { words, base: Some(Base::new(base)?), wanted, options, job }.run()
}

struct Training<'t, W> {
    /// Given up as soon as they are laid out, for their memory is worth having.
    words: W,
    base: Option<Base>,
    wanted: usize,
    options: &'t TrainOptions,
    job: &'t Job,
}

impl<W: Words> Training<'_, W> {
    fn run(self) -> Result<Vec<Pair>> {
        self.job.begin(Stage::Merge, self.wanted as u64);
        let known = self.base.as_ref().map_or(256, |base| 256 + base.merges().len());
        if known + self.wanted <= u16::SYMBOLS { self.merge::<u16>() } else { self.merge::<u32>() }
    }

    fn merge<S: Slot>(self) -> Result<Vec<Pair>> {
        let Self { words, base, wanted, options, job } = self;
        let pool = pool(options.threads, words.distinct() as usize);
        let corpus = job.clock().timed(Step::Corpus, || Corpus::<S>::new(&words, options, pool.as_ref(), job))?;
        drop(words);
        let rounds = || Rounds { corpus, base, wanted, options, pool: pool.as_ref(), job }.run();
        match &pool {
            // One of its own threads shares work faster than an outsider, who sleeps until it is done.
            Some(pool) => pool.install(rounds),
            None => rounds(),
        }
    }
}

/// Words in the form that they are merged in.
struct Rounds<'t, S> {
    corpus: Corpus<S>,
    base: Option<Base>,
    wanted: usize,
    options: &'t TrainOptions,
    pool: Pool<'t>,
    job: &'t Job,
}

impl<S: Slot> Rounds<'_, S> {
    fn run(self) -> Result<Vec<Pair>> {
        let Self { mut corpus, base, wanted, options, pool, job } = self;
        let (clock, floor) = (job.clock(), options.min_frequency.max(1));
        let max_length = options.max_token_length.unwrap_or(usize::MAX);
        let mut symbols = Symbols::bytes();
        let mut followed = match &base {
            None => {
                let first = || Followed::first_round(&corpus, &symbols, max_length, floor, pool, job);
                clock.timed(Step::Sweeps, first)?
            }
            Some(base) => {
                for &pair in base.merges() {
                    symbols.join(pair);
                }
                corpus.rewrite(symbols.len(), |parts| {
                    on_each(pool, parts, |part| part.encode(|word, out| base.symbols_of(word, out, job), job)).map(drop)
                })?;
                Followed::after_merges(&corpus, &symbols, max_length, job)?
            }
        };
        let mut merges = Vec::new();
        loop {
            let begun = Instant::now();
            while merges.len() < wanted {
                job.check()?;
                let Some(pair) = followed.best(&symbols) else { break };
                let merged = symbols.join(pair);
                followed.merge(&mut corpus, &symbols, pair, merged, pool, job)?;
                merges.push(pair);
                job.advance(1);
            }
            clock.add(Step::Merges, begun.elapsed());
            if merges.len() == wanted || followed.is_done(floor) {
                return Ok(merges);
            }
            let pairs = pairs_to_follow(symbols.len() - 256, wanted - merges.len());
            let sweep = || followed.begin_round(&mut corpus, &symbols, pairs, floor, pool, job);
            clock.timed(Step::Sweeps, sweep)?;
        }
    }
}

/// How many pairs a round follows. Few, and it is over soon; many, and most of them are followed in vain.
fn pairs_to_follow(merges: usize, remaining: usize) -> usize {
    (8 * merges).min(2 * remaining).max(1024)
}
