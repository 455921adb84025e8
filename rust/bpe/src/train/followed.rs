//! The pairs that a round follows: their counts, where they occur, and which is the best.

use std::ops::RangeInclusive;

use super::Pair;
use super::corpus::{BORDER, Corpus, Place};
use super::queue::{Candidate, Queue};
use super::symbols::Symbols;
use crate::{Error, Job, Result};

/// How many places ahead memory is asked for.
const AHEAD: usize = 16;

/// Places merged between two checks of whether to stop.
const CHECK: usize = 1 << 16;

/// A pair whose count reached the threshold when it was first counted.
#[derive(Clone, Copy, Debug)]
struct Info {
    pair: Pair,
    count: u64,
    /// Its places in `places`, from left to right. Some may have lost the pair since.
    start: usize,
    len: usize,
}

/// What one merge makes of the pairs with one neighbour.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    weight: u64,
    places: u32,
    /// Where the next place of the new pair goes; none where the pair is not followed.
    cursor: Option<usize>,
}

/// The neighbours on one side of the symbol that is being made.
#[derive(Default)]
struct Side {
    /// By the neighbour's symbol.
    tallies: Vec<Tally>,
    /// Symbols with a tally.
    touched: Vec<u32>,
    /// Every neighbour met, with the first slot of the pair that it now makes.
    met: Vec<(u32, Place)>,
}

impl Side {
    #[inline]
    fn meet(&mut self, symbol: u32, place: Place, weight: u64) {
        let tally = &mut self.tallies[symbol as usize];
        if tally.places == 0 {
            self.touched.push(symbol);
        }
        tally.places += 1;
        tally.weight += weight;
        self.met.push((symbol, place));
    }

    fn clear(&mut self) {
        for &symbol in &self.touched {
            self.tallies[symbol as usize] = Tally::default();
        }
        self.touched.clear();
        self.met.clear();
    }
}

/// The pairs followed in this round.
pub struct Followed {
    threshold: u64,
    index: PairIndex,
    infos: Vec<Info>,
    places: Vec<Place>,
    queue: Queue,
    left: Side,
    right: Side,
}

impl Followed {
    /// Begins a round: follows about `wanted` of the most frequent pairs, with a threshold among those given.
    pub fn new(
        corpus: &mut Corpus,
        symbols: &Symbols,
        wanted: usize,
        thresholds: RangeInclusive<u64>,
        job: &Job,
    ) -> Result<Self> {
        corpus.compact(symbols.len());
        let sketch = Sketch::of(corpus, job)?;
        let mut followed = Self {
            threshold: sketch.threshold(wanted).clamp(*thresholds.start(), *thresholds.end()),
            index: PairIndex::default(),
            infos: Vec::new(),
            places: Vec::new(),
            queue: Queue::default(),
            left: Side::default(),
            right: Side::default(),
        };
        followed.left.tallies.resize(symbols.len(), Tally::default());
        followed.right.tallies.resize(symbols.len(), Tally::default());
        followed.count(corpus, &sketch, job)?;
        followed.find_places(corpus, &sketch, job)?;
        for (index, info) in (0..).zip(&followed.infos) {
            if info.count >= followed.threshold {
                followed.queue.push(Candidate::new(info.count, info.pair, index, symbols), symbols);
            }
        }
        Ok(followed)
    }

    /// Pairs below this are not followed.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Counts exactly those pairs that may reach the threshold.
    fn count(&mut self, corpus: &Corpus, sketch: &Sketch, job: &Job) -> Result<()> {
        corpus.for_each_pair(job, |pair, _, weight| {
            if sketch.bound(pair) < self.threshold {
                return Ok(());
            }
            let at = self.index.find_or_insert(pair, self.infos.len() as u32) as usize;
            if at == self.infos.len() {
                self.infos.push(Info { pair, count: 0, start: 0, len: 0 });
            }
            let info = &mut self.infos[at];
            info.count = info.count.checked_add(weight).ok_or(Error::CountOverflow)?;
            info.len += 1;
            Ok(())
        })
    }

    /// Writes down where the pairs that do reach it occur.
    fn find_places(&mut self, corpus: &Corpus, sketch: &Sketch, job: &Job) -> Result<()> {
        let mut total = 0;
        for info in &mut self.infos {
            info.start = total;
            if info.count >= self.threshold {
                total += info.len;
            }
        }
        self.grow_places(total)?;
        let mut cursors: Vec<usize> = self.infos.iter().map(|info| info.start).collect();
        corpus.for_each_pair(job, |pair, place, _| {
            if sketch.bound(pair) >= self.threshold
                && let Some(at) = self.index.find(pair)
                && self.infos[at as usize].count >= self.threshold
            {
                let cursor = &mut cursors[at as usize];
                self.places[*cursor] = place;
                *cursor += 1;
            }
            Ok(())
        })
    }

    fn grow_places(&mut self, more: usize) -> Result<()> {
        let needed = ((self.places.len() + more) * size_of::<Place>()) as u64;
        self.places.try_reserve(more).map_err(|_| Error::OutOfMemory { what: "the places of pairs", needed })?;
        self.places.resize(self.places.len() + more, Place::default());
        Ok(())
    }

    /// The pair to merge next, none if no pair reaches the threshold any more.
    pub fn best(&mut self, symbols: &Symbols) -> Option<Pair> {
        loop {
            let first = self.queue.first()?;
            let now = self.infos[first.index as usize].count;
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
    pub fn merge(&mut self, corpus: &mut Corpus, symbols: &Symbols, pair: Pair, merged: u32, job: &Job) -> Result<()> {
        let Some(at) = self.queue.first().map(|first| first.index as usize) else { return Ok(()) };
        self.queue.pop(symbols);
        self.infos[at].count = 0;
        let Info { start, len, .. } = self.infos[at];
        self.left.tallies.push(Tally::default());
        self.right.tallies.push(Tally::default());
        corpus.begin_merge(pair, merged);
        for (visited, at) in (start..start + len).enumerate() {
            if visited % CHECK == 0 {
                job.check()?;
            }
            if at + AHEAD < start + len {
                corpus.prefetch(self.places[at + AHEAD]);
            }
            let place = self.places[at];
            let Some(around) = corpus.merge_at(place, pair, merged) else { continue };
            let weight = corpus.weight(place.word);
            if around.left != BORDER {
                self.left.meet(around.left, Place { slot: around.left_slot, ..place }, weight);
            }
            if around.right != BORDER {
                self.right.meet(around.right, place, weight);
            }
        }
        self.lose_neighbours(pair, merged);
        self.gain_neighbours(merged, symbols)?;
        self.left.clear();
        self.right.clear();
        Ok(())
    }

    /// Takes off what the pairs that the two parts made with their neighbours have lost.
    fn lose_neighbours(&mut self, pair: Pair, merged: u32) {
        let Self { left, right, index, infos, .. } = self;
        let mut lose = |pair: Pair, weight: u64| {
            if let Some(at) = index.find(pair) {
                // The pair that is being merged has nothing left to lose.
                let info = &mut infos[at as usize];
                info.count = info.count.saturating_sub(weight);
            }
        };
        for &symbol in left.touched.iter().filter(|&&symbol| symbol != merged) {
            lose((symbol, pair.0), left.tallies[symbol as usize].weight);
        }
        for &symbol in &right.touched {
            lose((pair.1, symbol), right.tallies[symbol as usize].weight);
        }
        // Where the pair follows itself, the new symbol met the left part first and then lost it to the next merge.
        let lost = left.tallies[merged as usize].weight;
        right.tallies[pair.0 as usize].weight -= lost;
    }

    /// Follows those new pairs that reach the threshold.
    fn gain_neighbours(&mut self, merged: u32, symbols: &Symbols) -> Result<()> {
        let mut left = std::mem::take(&mut self.left);
        let mut right = std::mem::take(&mut self.right);
        for &symbol in &left.touched {
            let tally = &mut left.tallies[symbol as usize];
            tally.cursor = self.follow((symbol, merged), tally, symbols)?;
        }
        for &symbol in &right.touched {
            let tally = &mut right.tallies[symbol as usize];
            tally.cursor = self.follow((merged, symbol), tally, symbols)?;
        }
        for side in [&mut left, &mut right] {
            for &(symbol, place) in &side.met {
                if let Some(cursor) = &mut side.tallies[symbol as usize].cursor {
                    self.places[*cursor] = place;
                    *cursor += 1;
                }
            }
        }
        (self.left, self.right) = (left, right);
        Ok(())
    }

    /// Follows a new pair if it reaches the threshold; where its places go.
    fn follow(&mut self, pair: Pair, tally: &Tally, symbols: &Symbols) -> Result<Option<usize>> {
        if tally.weight < self.threshold {
            return Ok(None);
        }
        let at = self.infos.len() as u32;
        let (start, len) = (self.places.len(), tally.places as usize);
        self.grow_places(len)?;
        self.index.find_or_insert(pair, at);
        self.infos.push(Info { pair, count: tally.weight, start, len });
        self.queue.push(Candidate::new(tally.weight, pair, at, symbols), symbols);
        Ok(Some(start))
    }
}

/// Upper bounds of the counts of all pairs in little memory: pairs that fall into one bucket share a sum.
struct Sketch {
    sums: Vec<u64>,
    shift: u32,
}

impl Sketch {
    fn of(corpus: &Corpus, job: &Job) -> Result<Self> {
        let bits = (corpus.len() / 8 + 1).ilog2().clamp(12, 18);
        let mut sketch = Self { sums: vec![0; 1 << bits], shift: 64 - bits };
        corpus.for_each_pair(job, |pair, _, weight| {
            let sum = &mut sketch.sums[(hash(pair) >> sketch.shift) as usize];
            *sum = sum.saturating_add(weight);
            Ok(())
        })?;
        Ok(sketch)
    }

    #[inline]
    fn bound(&self, pair: Pair) -> u64 {
        self.sums[(hash(pair) >> self.shift) as usize]
    }

    /// What about `wanted` of the pairs reach.
    fn threshold(&self, wanted: usize) -> u64 {
        let mut sums: Vec<u64> = self.sums.iter().copied().filter(|&sum| sum > 0).collect();
        if sums.len() <= wanted {
            return 0;
        }
        *sums.select_nth_unstable_by(wanted, |one, other| other.cmp(one)).1
    }
}

/// Fibonacci hashing; the fold brings the left symbol's bits down before the product carries them up.
#[inline]
fn hash(pair: Pair) -> u64 {
    let key = u64::from(pair.0) << 32 | u64::from(pair.1);
    (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// From a pair to its number: open addressing, at most half full.
#[derive(Default)]
struct PairIndex {
    /// Numbers are kept one greater, so that 0 is free.
    slots: Vec<(Pair, u32)>,
    len: usize,
}

impl PairIndex {
    #[inline]
    fn find(&self, pair: Pair) -> Option<u32> {
        let at = self.slot_of(pair)?;
        self.slots[at].1.checked_sub(1)
    }

    /// The number of a pair, which becomes `new` if it has none yet.
    #[inline]
    fn find_or_insert(&mut self, pair: Pair, new: u32) -> u32 {
        if 2 * (self.len + 1) > self.slots.len() {
            self.grow();
        }
        let at = self.slot_of(pair).expect("there are slots");
        let slot = &mut self.slots[at];
        if slot.1 == 0 {
            *slot = (pair, new + 1);
            self.len += 1;
        }
        slot.1 - 1
    }

    /// The slot that holds a pair, or where it would go.
    #[inline]
    fn slot_of(&self, pair: Pair) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = (hash(pair) >> 32) as usize & mask;
        while self.slots[at].1 != 0 && self.slots[at].0 != pair {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    #[cold]
    fn grow(&mut self) {
        let size = (2 * self.slots.len()).max(1 << 12);
        let old = std::mem::replace(&mut self.slots, vec![((0, 0), 0); size]);
        for slot in old.into_iter().filter(|slot| slot.1 != 0) {
            let at = self.slot_of(slot.0).expect("there are slots");
            self.slots[at] = slot;
        }
    }
}
