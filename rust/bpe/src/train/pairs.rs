//! Tables of pairs: an index from a pair to its number, and upper bounds of all pairs' counts.

use std::cmp::Reverse;

use super::Pair;
use crate::memory::prefetch;

/// Fibonacci hashing; the fold brings the left symbol's bits down before the product carries them up.
#[inline]
fn hash(pair: Pair) -> u64 {
    let key = u64::from(pair.0) << 32 | u64::from(pair.1);
    (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// From a pair to its number: open addressing, at most half full.
#[derive(Default)]
pub struct PairIndex {
    /// Numbers are kept one greater, so that 0 is free.
    slots: Vec<(Pair, u32)>,
    len: usize,
}

impl PairIndex {
    #[inline]
    pub fn find(&self, pair: Pair) -> Option<u32> {
        let at = self.slot_of(pair)?;
        self.slots[at].1.checked_sub(1)
    }

    /// The number of a pair, which becomes `new` if it has none yet.
    #[inline]
    pub fn find_or_insert(&mut self, pair: Pair, new: u32) -> u32 {
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

    /// Asks for the line that looking a pair up will need.
    #[inline]
    pub fn prefetch(&self, pair: Pair) {
        if let Some(slot) = self.slots.get(self.home(pair)) {
            prefetch(slot);
        }
    }

    /// Forgets all pairs, but keeps the room.
    pub fn clear(&mut self) {
        self.slots.fill(((0, 0), 0));
        self.len = 0;
    }

    /// Where a pair is looked for first.
    #[inline]
    fn home(&self, pair: Pair) -> usize {
        (hash(pair) >> 32) as usize & self.slots.len().wrapping_sub(1)
    }

    /// The slot that holds a pair, or where it would go.
    #[inline]
    fn slot_of(&self, pair: Pair) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = self.home(pair);
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

/// How often something occurs, and at how many places in distinct words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occurrences {
    pub count: u64,
    pub places: usize,
}

/// Upper bounds of the occurrences of all pairs in little memory: pairs that fall into one bucket share a sum.
pub struct Sketch {
    sums: Vec<Occurrences>,
    shift: u32,
    /// All counts together, none once they have left 64 bits: then the sums say nothing.
    total: Option<u64>,
}

impl Sketch {
    /// For a corpus of so many slots.
    pub fn new(slots: usize) -> Self {
        let bits = (slots / 8 + 1).ilog2().clamp(12, 18);
        Self { sums: vec![Occurrences::default(); 1 << bits], shift: 64 - bits, total: Some(0) }
    }

    /// Adds a pair before anything is merged.
    pub fn begin(&mut self, pair: Pair, pairs: Occurrences) {
        self.add(pair, pairs);
        self.total = self.total.and_then(|total| total.checked_add(pairs.count));
    }

    #[inline]
    pub fn add(&mut self, pair: Pair, more: Occurrences) {
        let sum = &mut self.sums[(hash(pair) >> self.shift) as usize];
        sum.count = sum.count.wrapping_add(more.count);
        sum.places += more.places;
    }

    #[inline]
    pub fn subtract(&mut self, pair: Pair, less: Occurrences) {
        let sum = &mut self.sums[(hash(pair) >> self.shift) as usize];
        sum.count = sum.count.wrapping_sub(less.count);
        sum.places -= less.places;
    }

    /// Asks for the line of a pair's bucket.
    #[inline]
    pub fn prefetch(&self, pair: Pair) {
        prefetch(&self.sums[(hash(pair) >> self.shift) as usize]);
    }

    /// The count that at most `wanted` pairs exceed which together stand at no more than `places` places.
    pub fn threshold(&self, wanted: usize, places: usize) -> u64 {
        match self.total {
            Some(_) => threshold(self.sums.iter().filter(|sum| sum.count > 0).copied().collect(), wanted, places),
            None => 0,
        }
    }

    /// At how many places those pairs stand that may reach a threshold.
    pub fn places(&self, threshold: u64) -> usize {
        match self.total {
            Some(_) => self.sums.iter().filter(|sum| sum.count >= threshold).map(|sum| sum.places).sum(),
            None => usize::MAX,
        }
    }

    /// The buckets of pairs that may reach a threshold.
    pub fn reaching(&self, threshold: u64) -> Buckets {
        let mut buckets = Buckets {
            bits: vec![0; self.sums.len() / 64],
            before: Vec::with_capacity(self.sums.len() / 64),
            most: Vec::new(),
            shift: self.shift,
        };
        for (bits, sums) in buckets.bits.iter_mut().zip(self.sums.as_chunks::<64>().0) {
            buckets.before.push(buckets.most.len() as u32);
            for (bit, sum) in sums.iter().enumerate() {
                if sum.places > 0 && (sum.count >= threshold || self.total.is_none()) {
                    *bits |= 1 << bit;
                    buckets.most.push(sum.places);
                }
            }
        }
        buckets
    }
}

/// The count that at most `wanted` of these exceed which together stand at no more than `places` places.
pub fn threshold(mut all: Vec<Occurrences>, wanted: usize, places: usize) -> u64 {
    // Only the first ones need to be in order.
    if all.len() > wanted {
        all.select_nth_unstable_by_key(wanted, |one| Reverse(one.count));
        all.truncate(wanted + 1);
    }
    all.sort_unstable_by_key(|one| Reverse(one.count));
    let mut used = 0;
    let beyond = all.iter().enumerate().find(|(number, one)| {
        used += one.places;
        *number >= wanted || used > places
    });
    beyond.map_or(0, |(_, one)| one.count)
}

/// Some of the sketch's buckets.
pub struct Buckets {
    /// A bit each, for it decides about every pair, and so fits the nearest cache.
    bits: Vec<u64>,
    /// How many of them there are before each 64.
    before: Vec<u32>,
    /// At how many places the pairs of each stand at most.
    most: Vec<usize>,
    shift: u32,
}

impl Buckets {
    /// At how many places the pairs of each stand at most, by its number.
    pub fn most(&self) -> &[usize] {
        &self.most
    }

    /// The bucket of a pair.
    #[inline]
    pub fn of(&self, pair: Pair) -> u32 {
        (hash(pair) >> self.shift) as u32
    }

    #[inline]
    pub fn contains(&self, bucket: u32) -> bool {
        self.bits[bucket as usize / 64] >> (bucket % 64) & 1 != 0
    }

    /// The number of a bucket that is one of them.
    #[inline]
    pub fn number(&self, bucket: u32) -> u32 {
        let at = bucket as usize / 64;
        self.before[at] + (self.bits[at] & !(u64::MAX << (bucket % 64))).count_ones()
    }
}
