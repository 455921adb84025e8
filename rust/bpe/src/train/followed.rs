//! The pairs that a round follows: their counts, where they occur, and which is the best.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Pair;
use super::corpus::{Corpus, Slot, Window};
use super::pairs::{Occurrences, Sketch};
use super::queue::{Candidate, Queue};
use super::sweep::{self, FirstSweep, Found, Info, reserve};
use super::symbols::Symbols;
use crate::threads::{Pool, on_each};
use crate::{Job, Result};

/// How many places ahead memory is asked for.
const AHEAD: usize = 16;

/// Of how many neighbours on each side the pairs are looked up together.
const NEAR: usize = 96;

/// Places merged between two checks of whether to stop.
const CHECK: usize = 1 << 16;

/// No place in `places`.
const NOWHERE: usize = usize::MAX;

/// Pairs followed in the first round at most.
const FIRST_PAIRS: usize = 1024;

/// Of how many slots one may be a place of a pair that is followed, in the first round and in later ones, so that places, of
/// 4 bytes each, take little more memory than slots. More in later ones make rounds fewer, but most pairs are followed in
/// vain then.
const FIRST_PLACES: usize = 2;
const PLACES: usize = 4;

/// Of how many slots one may become a place of a new pair before the round ends.
const NEW_PLACES: usize = 4;

/// So many are no matter, but for tests.
const LEAST_NEW_PLACES: usize = if cfg!(test) { 1 } else { 1 << 16 };

/// What one merge makes of the pairs with one neighbour.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    met: Occurrences,
    /// Where the next place of the new pair goes; [`NOWHERE`] if the pair is not followed.
    cursor: usize,
}

/// A pair at so many places is worth being merged by several threads, and in tests at fewer.
const SHARED: usize = if cfg!(test) { 8 } else { 1 << 14 };

/// The neighbours on one side of the symbol that is being made.
#[derive(Default)]
struct Side {
    /// By the neighbour's symbol.
    tallies: Vec<Tally>,
    /// Symbols with a tally.
    touched: Vec<u32>,
    /// Every neighbour met, with the slot of the new symbol.
    met: Vec<(u32, u32)>,
}

impl Side {
    /// Makes room for so many symbols.
    fn grow(&mut self, symbols: usize) {
        self.tallies.resize(symbols, Tally::default());
    }

    #[inline]
    fn meet(&mut self, symbol: u32, slot: u32, weight: u64) {
        let tally = &mut self.tallies[symbol as usize];
        if tally.met.places == 0 {
            self.touched.push(symbol);
        }
        tally.met.places += 1;
        tally.met.count += weight;
        self.met.push((symbol, slot));
    }

    /// Adds another's tallies; the list of those met stays its own.
    fn absorb(&mut self, other: &Self) {
        for &symbol in &other.touched {
            let (tally, more) = (&mut self.tallies[symbol as usize], other.tallies[symbol as usize].met);
            if tally.met.places == 0 {
                self.touched.push(symbol);
            }
            tally.met.places += more.places;
            tally.met.count += more.count;
        }
    }

    fn clear(&mut self) {
        for &symbol in &self.touched {
            self.tallies[symbol as usize] = Tally::default();
        }
        self.touched.clear();
        self.met.clear();
    }
}

/// The neighbours that a thread met. The lengths of its lists change with every place, so that no two threads' may share a
/// cache line, nor the pair of lines that some processors fetch together.
#[derive(Default)]
#[repr(align(128))]
struct Sides {
    left: Side,
    right: Side,
    merges: usize,
}

impl Sides {
    /// Merges a pair at places of a window.
    fn merge_in<S: Slot>(
        &mut self,
        mut window: Window<'_, S>,
        places: &[AtomicU32],
        pair: Pair,
        merged: u32,
        job: &Job,
    ) -> Result<()> {
        self.left.grow(merged as usize + 1);
        self.right.grow(merged as usize + 1);
        self.merges = 0;
        places.iter().take(AHEAD).for_each(|place| window.prefetch(place.load(Relaxed)));
        for (at, place) in places.iter().enumerate() {
            if at % CHECK == 0 {
                job.check()?;
            }
            if let Some(ahead) = places.get(at + AHEAD) {
                window.prefetch(ahead.load(Relaxed));
            }
            let slot = place.load(Relaxed);
            let Some(around) = window.merge_at(slot, pair, merged) else { continue };
            self.merges += 1;
            let weight = window.weight(slot);
            if let Some(left) = around.left {
                self.left.meet(left, slot, weight);
            }
            if let Some(right) = around.right {
                self.right.meet(right, slot, weight);
            }
        }
        Ok(())
    }
}

/// The pairs followed, and what is known of all others.
pub struct Followed {
    threshold: u64,
    /// How many symbols there were when the round began.
    symbols_before: usize,
    /// The round ends with more places than this.
    most_places: usize,
    /// Longer ones are never merged.
    max_length: usize,
    sketch: Sketch,
    found: Found,
    queue: Queue,
    /// One for each segment, and for all together the first.
    sides: Vec<Sides>,
}

impl Followed {
    /// Begins the first round, with a threshold of at least `floor`.
    pub fn first_round<S: Slot>(
        corpus: &Corpus<S>,
        symbols: &Symbols,
        max_length: usize,
        floor: u64,
        pool: Pool<'_>,
        job: &Job,
    ) -> Result<Self> {
        let sweep = FirstSweep::new(corpus, pool, job)?;
        let sketch = sweep.sketch(corpus.len());
        let threshold = sweep.threshold(FIRST_PAIRS, corpus.len() / FIRST_PLACES).max(floor);
        let found = sweep.find(corpus, threshold, max_length, more_places(corpus), pool, job)?;
        let mut followed = Self { threshold, ..Self::new(sketch, corpus, symbols, max_length) };
        followed.found = found;
        followed.follow_all(corpus, symbols);
        Ok(followed)
    }

    /// Before a first round of symbols that are no bytes any more.
    pub fn after_merges<S: Slot>(corpus: &Corpus<S>, symbols: &Symbols, max_length: usize, job: &Job) -> Result<Self> {
        let mut sketch = Sketch::new(corpus.len());
        for segment in 0..corpus.segments() {
            corpus.for_each_pair(segment, job, |is_pair, pair, _, weight| {
                if is_pair {
                    sketch.begin(pair, Occurrences { count: weight, places: 1 });
                }
                Ok(())
            })?;
        }
        Ok(Self::new(sketch, corpus, symbols, max_length))
    }

    fn new<S: Slot>(sketch: Sketch, corpus: &Corpus<S>, symbols: &Symbols, max_length: usize) -> Self {
        let sides = (0..corpus.segments()).map(|_| Sides::default()).collect();
        let (found, queue) = (Found::default(), Queue::default());
        Self {
            threshold: u64::MAX,
            symbols_before: symbols.len(),
            most_places: usize::MAX,
            max_length,
            sketch,
            found,
            queue,
            sides,
        }
    }

    /// Begins another round: follows about `wanted` of the most frequent pairs, with a threshold of at least `floor`
    /// that is below the one before, or below the best pair's count if the round before ended early.
    pub fn begin_round<S: Slot>(
        &mut self,
        corpus: &mut Corpus<S>,
        symbols: &Symbols,
        wanted: usize,
        floor: u64,
        pool: Pool<'_>,
        job: &Job,
    ) -> Result<()> {
        let beyond = if self.is_crowded() { self.found.greatest_count() + 1 } else { self.threshold };
        let fruitful = symbols.len() > std::mem::replace(&mut self.symbols_before, symbols.len());
        self.threshold = self.next_threshold(beyond, fruitful, wanted, corpus.len() / PLACES).max(floor);
        let Self { found, sketch, threshold, max_length, .. } = self;
        let is_short = |pair| symbols.length(pair) <= *max_length;
        let more = more_places(corpus);
        sweep::find(found, corpus, symbols.len(), (sketch, *threshold), more, is_short, pool, job)?;
        self.follow_all(corpus, symbols);
        Ok(())
    }

    /// A threshold below `beyond`, which no pair reaches any more.
    ///
    /// Half of that keeps the rounds few. Where the pairs that may reach the half stand at more than `places` places it is
    /// to be more, unless the sketch, which takes several rare pairs for a frequent one, made the last round fruitless.
    fn next_threshold(&self, beyond: u64, fruitful: bool, wanted: usize, places: usize) -> u64 {
        let few = self.sketch.threshold(wanted, places);
        let half = beyond / 2;
        let most = if fruitful && self.sketch.places(half) > places { beyond - 1 } else { half };
        few.min(most)
    }

    fn follow_all<S: Slot>(&mut self, corpus: &Corpus<S>, symbols: &Symbols) {
        self.most_places = self.found.places.len() + more_places(corpus);
        self.queue.clear();
        for (index, info) in (0..).zip(&self.found.infos) {
            self.queue.push(Candidate::new(info.count, info.pair, index, symbols), symbols);
        }
    }

    /// Whether no pair is left, where none below `floor` counts.
    pub fn is_done(&self, floor: u64) -> bool {
        self.threshold == floor && !self.is_crowded()
    }

    /// Whether the round is to end because of the places there are, even if pairs reach the threshold.
    fn is_crowded(&self) -> bool {
        self.found.places.len() > self.most_places
    }

    /// The pair to merge next, none if the round is over.
    pub fn best(&mut self, symbols: &Symbols) -> Option<Pair> {
        if self.is_crowded() {
            return None;
        }
        loop {
            let first = self.queue.first()?;
            let now = self.found.infos[first.index as usize].count;
            if now == first.count {
                return Some(first.pair);
            }
            if now < self.threshold {
                self.queue.pop(symbols);
            } else {
                self.queue.lower_first(now, symbols);
            }
        }
    }

    /// Merges the best pair everywhere and brings the counts of its neighbours up to date.
    pub fn merge<S: Slot>(
        &mut self,
        corpus: &mut Corpus<S>,
        symbols: &Symbols,
        pair: Pair,
        merged: u32,
        pool: Pool<'_>,
        job: &Job,
    ) -> Result<()> {
        let Some(at) = self.queue.first().map(|first| first.index as usize) else { return Ok(()) };
        self.queue.pop(symbols);
        let Info { start, len, count, .. } = self.found.infos[at];
        self.found.infos[at].count = 0;
        if let Some(next) = self.queue.first() {
            self.found.prefetch_places(next.index);
        }
        corpus.begin_merge(pair, merged);
        let places = &self.found.places[start..start + len];
        let met = if len < SHARED || pool.is_none() {
            self.sides[0].merge_in(corpus.whole(), places, pair, merged, job)?;
            1
        } else {
            let mut rest = places;
            let parts = self.sides.iter_mut().zip(corpus.windows()).map(|(sides, window)| {
                let len = rest.partition_point(|place| (place.load(Relaxed) as usize) < window.end());
                let (own, others) = rest.split_at(len);
                rest = others;
                (sides, window, own)
            });
            let merge = |(sides, window, own): (&mut Sides, _, _)| sides.merge_in(window, own, pair, merged, job);
            on_each(pool, parts.collect(), merge)?.len()
        };
        let merges = self.sides[..met].iter().map(|sides| sides.merges).sum();
        self.bring_together(met);
        // Where a pair overlaps itself, some of its places are never merged, and stay in the sketch's upper bound.
        self.sketch.subtract(pair, Occurrences { count, places: merges });
        self.prefetch_neighbours(pair, merged);
        self.lose_neighbours(pair, merged);
        self.gain_neighbours(corpus, met, merged, symbols)?;
        for sides in &mut self.sides[..met] {
            sides.left.clear();
            sides.right.clear();
        }
        Ok(())
    }

    /// Adds up in the first sides what the first so many have met.
    fn bring_together(&mut self, met: usize) {
        let (sum, others) = self.sides[..met].split_first_mut().expect("there is at least one");
        for sides in others {
            sum.left.absorb(&sides.left);
            sum.right.absorb(&sides.right);
        }
    }

    /// Asks for the lines that the first neighbours' old and new pairs will need, more than the nearest cache can wait for
    /// at once but not more than it holds.
    fn prefetch_neighbours(&self, pair: Pair, merged: u32) {
        let Self { sides, found, sketch, .. } = self;
        let ask = |old: Pair, new: Pair| {
            sketch.prefetch(old);
            found.index.prefetch(old);
            sketch.prefetch(new);
        };
        sides[0].left.touched.iter().take(NEAR).for_each(|&symbol| ask((symbol, pair.0), (symbol, merged)));
        sides[0].right.touched.iter().take(NEAR).for_each(|&symbol| ask((pair.1, symbol), (merged, symbol)));
    }

    /// Takes off what the pairs that the two parts made with their neighbours have lost.
    fn lose_neighbours(&mut self, pair: Pair, merged: u32) {
        let Self { sides, found, sketch, .. } = self;
        let Sides { left, right, .. } = &mut sides[0];
        let mut lose = |other: Pair, less: Occurrences| {
            // The pair that is being merged has nothing left to lose.
            if other == pair {
                return;
            }
            sketch.subtract(other, less);
            if let Some(at) = found.index.find(other) {
                found.infos[at as usize].count -= less.count;
            }
        };
        for &symbol in left.touched.iter().filter(|&&symbol| symbol != merged) {
            lose((symbol, pair.0), left.tallies[symbol as usize].met);
        }
        for &symbol in &right.touched {
            lose((pair.1, symbol), right.tallies[symbol as usize].met);
        }
        // Where the pair follows itself, the new symbol met the left part first and then lost it to the next merge.
        let lost = left.tallies[merged as usize].met;
        // Its place stays: there is room for it in the list of those met.
        right.tallies[pair.0 as usize].met.count -= lost.count;
    }

    /// Follows those new pairs that reach the threshold.
    fn gain_neighbours<S: Slot>(
        &mut self,
        corpus: &Corpus<S>,
        met: usize,
        merged: u32,
        symbols: &Symbols,
    ) -> Result<()> {
        for at in 0..self.sides[0].left.touched.len() {
            let symbol = self.sides[0].left.touched[at];
            let cursor = self.follow((symbol, merged), self.sides[0].left.tallies[symbol as usize], symbols)?;
            self.sides[0].left.tallies[symbol as usize].cursor = cursor;
        }
        for at in 0..self.sides[0].right.touched.len() {
            let symbol = self.sides[0].right.touched[at];
            let cursor = self.follow((merged, symbol), self.sides[0].right.tallies[symbol as usize], symbols)?;
            self.sides[0].right.tallies[symbol as usize].cursor = cursor;
        }
        for part in 0..met {
            self.write_places(corpus, part);
        }
        Ok(())
    }

    /// Writes where the new pairs are that a thread met; in the threads' order, so that places go from left to right.
    fn write_places<S: Slot>(&mut self, corpus: &Corpus<S>, part: usize) {
        let Self { sides, found, .. } = self;
        let (left, right) = (std::mem::take(&mut sides[part].left.met), std::mem::take(&mut sides[part].right.met));
        for &(symbol, slot) in &left {
            let cursor = &mut sides[0].left.tallies[symbol as usize].cursor;
            if *cursor != NOWHERE {
                *found.places[*cursor].get_mut() = slot - corpus.span(symbol);
                *cursor += 1;
            }
        }
        for &(symbol, slot) in &right {
            let cursor = &mut sides[0].right.tallies[symbol as usize].cursor;
            if *cursor != NOWHERE {
                *found.places[*cursor].get_mut() = slot;
                *cursor += 1;
            }
        }
        (sides[part].left.met, sides[part].right.met) = (left, right);
    }

    /// Follows a new pair if it reaches the threshold; where its places go.
    fn follow(&mut self, pair: Pair, tally: Tally, symbols: &Symbols) -> Result<usize> {
        self.sketch.add(pair, tally.met);
        if tally.met.count < self.threshold || symbols.length(pair) > self.max_length {
            return Ok(NOWHERE);
        }
        let Found { index, infos, places } = &mut self.found;
        let at = infos.len() as u32;
        let (start, len) = (places.len(), tally.met.places);
        reserve(places, len)?;
        places.resize_with(start + len, AtomicU32::default);
        index.find_or_insert(pair, at);
        infos.push(Info { pair, count: tally.met.count, start, len });
        self.queue.push(Candidate::new(tally.met.count, pair, at, symbols), symbols);
        Ok(start)
    }
}

/// How many places of new pairs end a round.
fn more_places<S: Slot>(corpus: &Corpus<S>) -> usize {
    (corpus.len() / NEW_PLACES).max(LEAST_NEW_PLACES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{TrainOptions, train};
    use super::*;
    use crate::count::WordCounts;
    use crate::reference;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn neither_threads_nor_rounds_that_end_early_change_anything(
            threads in 1usize..5,
            words in prop::collection::vec(("[ab]{1,40}|[abcdefg]{1,12}", 1u64..9), 1..40),
        ) {
            let mut counts = WordCounts::default();
            let mut plain = std::collections::BTreeMap::<Vec<u8>, u64>::new();
            for (word, count) in &words {
                counts.add(word.as_bytes(), *count).unwrap();
                *plain.entry(word.clone().into_bytes()).or_default() += count;
            }
            let options = TrainOptions { vocab_size: 256 + 60, threads, ..TrainOptions::default() };
            let mut symbols = Symbols::bytes();
            let merges: Vec<_> = train(counts, &options, &Job::default())
                .unwrap()
                .into_iter()
                .map(|pair| {
                    let parts = (symbols.of(pair.0).to_vec(), symbols.of(pair.1).to_vec());
                    symbols.join(pair);
                    parts
                })
                .collect();
            let plain: Vec<_> = plain.into_iter().collect();
            prop_assert_eq!(merges, reference::train(&plain, 60, 1, usize::MAX));
        }
    }
}
