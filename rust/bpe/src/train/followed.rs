//! The pairs that a round follows: their counts, where they occur, and which is the best.

use super::Pair;
use super::corpus::{BORDER, Corpus, Place};
use super::queue::{Candidate, Queue};
use super::symbols::Symbols;
use crate::memory::prefer_huge_pages;
use crate::{Error, Job, Result};

/// How many places ahead memory is asked for.
const AHEAD: usize = 16;

/// Places merged between two checks of whether to stop.
const CHECK: usize = 1 << 16;

/// No place in `places`.
const NOWHERE: usize = usize::MAX;

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
    /// Where the next place of the new pair goes; [`NOWHERE`] if the pair is not followed.
    cursor: usize,
}

/// The neighbours on one side of the symbol that is being made.
struct Side {
    /// By the neighbour's symbol.
    tallies: Vec<Tally>,
    /// Symbols with a tally.
    touched: Vec<u32>,
    /// Every neighbour met, with the place of the new symbol.
    met: Vec<(u32, Place)>,
}

impl Side {
    fn new(symbols: &Symbols) -> Self {
        Self { tallies: vec![Tally::default(); symbols.len()], touched: Vec::new(), met: Vec::new() }
    }

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

/// The pairs followed, and what is known of all others.
pub struct Followed {
    threshold: u64,
    sketch: Sketch,
    index: PairIndex,
    infos: Vec<Info>,
    places: Vec<Place>,
    queue: Queue,
    left: Side,
    right: Side,
    /// Pairs met at the start of a round, by their number in `infos`.
    met: Vec<(u32, Place)>,
}

impl Followed {
    /// Counts all pairs; none is followed yet.
    pub fn new(corpus: &mut Corpus, symbols: &Symbols, job: &Job) -> Result<Self> {
        Ok(Self {
            threshold: u64::MAX,
            sketch: Sketch::new(corpus, symbols, job)?,
            index: PairIndex::default(),
            infos: Vec::new(),
            places: Vec::new(),
            queue: Queue::default(),
            left: Side::new(symbols),
            right: Side::new(symbols),
            met: Vec::new(),
        })
    }

    /// Begins a round: follows about `wanted` of the most frequent pairs, with a threshold of at least `floor` that is
    /// below the one before.
    pub fn begin_round(
        &mut self,
        corpus: &mut Corpus,
        symbols: &Symbols,
        wanted: usize,
        floor: u64,
        job: &Job,
    ) -> Result<()> {
        // What no pair reaches any more is no use; halving keeps the rounds few.
        self.threshold = self.sketch.threshold(wanted).min(self.threshold / 2).max(floor);
        self.index.clear();
        self.infos.clear();
        self.queue.clear();
        self.meet_all(corpus, symbols, job)?;
        self.place_all()?;
        for (index, info) in (0..).zip(&self.infos) {
            if info.count >= self.threshold {
                self.queue.push(Candidate::new(info.count, info.pair, index, symbols), symbols);
            }
        }
        Ok(())
    }

    /// Pairs below this are not followed.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Counts exactly those pairs that may reach the threshold.
    fn meet_all(&mut self, corpus: &mut Corpus, symbols: &Symbols, job: &Job) -> Result<()> {
        let Self { sketch, index, infos, met, .. } = self;
        let may_reach = sketch.reaching(self.threshold);
        met.clear();
        corpus.compact(symbols.len(), job, |pair, place, weight| {
            if !may_reach.contains(pair) {
                return Ok(());
            }
            let at = index.find_or_insert(pair, infos.len() as u32);
            if at as usize == infos.len() {
                infos.push(Info { pair, count: 0, start: 0, len: 0 });
            }
            let info = &mut infos[at as usize];
            info.count = info.count.checked_add(weight).ok_or(Error::CountOverflow)?;
            info.len += 1;
            if met.len() == met.capacity() {
                let needed = (2 * met.len() * size_of::<(u32, Place)>()) as u64;
                met.try_reserve(met.len() + 1024)
                    .map_err(|_| Error::OutOfMemory { what: "the places of pairs", needed })?;
                prefer_huge_pages(met);
            }
            met.push((at, place));
            Ok(())
        })
    }

    /// Writes down where the pairs that do reach it occur.
    fn place_all(&mut self) -> Result<()> {
        let mut cursors = Vec::with_capacity(self.infos.len());
        let mut total = 0;
        for info in &mut self.infos {
            info.start = total;
            let is_followed = info.count >= self.threshold;
            cursors.push(if is_followed { total } else { NOWHERE });
            total += if is_followed { info.len } else { 0 };
        }
        self.places.clear();
        self.grow_places(total)?;
        for &(at, place) in &self.met {
            let cursor = &mut cursors[at as usize];
            if *cursor != NOWHERE {
                self.places[*cursor] = place;
                *cursor += 1;
            }
        }
        Ok(())
    }

    fn grow_places(&mut self, more: usize) -> Result<()> {
        let needed = ((self.places.len() + more) * size_of::<Place>()) as u64;
        self.places.try_reserve(more).map_err(|_| Error::OutOfMemory { what: "the places of pairs", needed })?;
        if self.places.is_empty() {
            prefer_huge_pages(&mut self.places);
        }
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
        let Info { start, len, count, .. } = self.infos[at];
        self.infos[at].count = 0;
        self.sketch.subtract(pair, count);
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
                self.left.meet(around.left, place, weight);
            }
            if around.right != BORDER {
                self.right.meet(around.right, place, weight);
            }
        }
        self.lose_neighbours(pair, merged);
        self.gain_neighbours(corpus, merged, symbols)?;
        self.left.clear();
        self.right.clear();
        Ok(())
    }

    /// Takes off what the pairs that the two parts made with their neighbours have lost.
    fn lose_neighbours(&mut self, pair: Pair, merged: u32) {
        let Self { left, right, index, infos, sketch, .. } = self;
        let mut lose = |other: Pair, weight: u64| {
            // The pair that is being merged has nothing left to lose.
            if other == pair {
                return;
            }
            sketch.subtract(other, weight);
            if let Some(at) = index.find(other) {
                infos[at as usize].count -= weight;
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
    fn gain_neighbours(&mut self, corpus: &Corpus, merged: u32, symbols: &Symbols) -> Result<()> {
        for at in 0..self.left.touched.len() {
            let symbol = self.left.touched[at];
            let cursor = self.follow((symbol, merged), self.left.tallies[symbol as usize], symbols)?;
            self.left.tallies[symbol as usize].cursor = cursor;
        }
        for at in 0..self.right.touched.len() {
            let symbol = self.right.touched[at];
            let cursor = self.follow((merged, symbol), self.right.tallies[symbol as usize], symbols)?;
            self.right.tallies[symbol as usize].cursor = cursor;
        }
        let Self { left, right, places, .. } = self;
        for &(symbol, place) in &left.met {
            let cursor = &mut left.tallies[symbol as usize].cursor;
            if *cursor != NOWHERE {
                places[*cursor] = Place { slot: place.slot - corpus.span(symbol), ..place };
                *cursor += 1;
            }
        }
        for &(symbol, place) in &right.met {
            let cursor = &mut right.tallies[symbol as usize].cursor;
            if *cursor != NOWHERE {
                places[*cursor] = place;
                *cursor += 1;
            }
        }
        Ok(())
    }

    /// Follows a new pair if it reaches the threshold; where its places go.
    fn follow(&mut self, pair: Pair, tally: Tally, symbols: &Symbols) -> Result<usize> {
        self.sketch.add(pair, tally.weight);
        if tally.weight < self.threshold {
            return Ok(NOWHERE);
        }
        let at = self.infos.len() as u32;
        let (start, len) = (self.places.len(), tally.places as usize);
        self.grow_places(len)?;
        self.index.find_or_insert(pair, at);
        self.infos.push(Info { pair, count: tally.weight, start, len });
        self.queue.push(Candidate::new(tally.weight, pair, at, symbols), symbols);
        Ok(start)
    }
}

/// Upper bounds of the counts of all pairs in little memory: pairs that fall into one bucket share a sum.
struct Sketch {
    sums: Vec<u64>,
    shift: u32,
    /// Whether all counts together fit 64 bits. If not, the sums say nothing.
    is_sound: bool,
}

impl Sketch {
    fn new(corpus: &mut Corpus, symbols: &Symbols, job: &Job) -> Result<Self> {
        let bits = (corpus.len() / 8 + 1).ilog2().clamp(12, 18);
        let mut sketch = Self { sums: vec![0; 1 << bits], shift: 64 - bits, is_sound: true };
        let mut total = 0u64;
        corpus.compact(symbols.len(), job, |pair, _, weight| {
            sketch.add(pair, weight);
            let (sum, overflow) = total.overflowing_add(weight);
            total = sum;
            sketch.is_sound &= !overflow;
            Ok(())
        })?;
        Ok(sketch)
    }

    #[inline]
    fn add(&mut self, pair: Pair, weight: u64) {
        let sum = &mut self.sums[(hash(pair) >> self.shift) as usize];
        *sum = sum.wrapping_add(weight);
    }

    #[inline]
    fn subtract(&mut self, pair: Pair, weight: u64) {
        let sum = &mut self.sums[(hash(pair) >> self.shift) as usize];
        *sum = sum.wrapping_sub(weight);
    }

    /// What about `wanted` of the pairs reach.
    fn threshold(&self, wanted: usize) -> u64 {
        let mut sums: Vec<u64> = self.sums.iter().copied().filter(|&sum| sum > 0).collect();
        if sums.len() <= wanted || !self.is_sound {
            return 0;
        }
        *sums.select_nth_unstable_by(wanted, |one, other| other.cmp(one)).1
    }

    /// The pairs that may reach a threshold.
    fn reaching(&self, threshold: u64) -> PairFilter {
        let mut bits = vec![0; self.sums.len() / 64];
        for (at, &sum) in self.sums.iter().enumerate() {
            bits[at / 64] |= u64::from(sum >= threshold || !self.is_sound) << (at % 64);
        }
        PairFilter { bits, shift: self.shift }
    }
}

/// A set of pairs, with others that fall into the same bucket: small enough for the nearest cache.
struct PairFilter {
    bits: Vec<u64>,
    shift: u32,
}

impl PairFilter {
    #[inline]
    fn contains(&self, pair: Pair) -> bool {
        let at = (hash(pair) >> self.shift) as usize;
        self.bits[at / 64] >> (at % 64) & 1 != 0
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
    fn clear(&mut self) {
        self.slots.clear();
        self.len = 0;
    }

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
