//! All distinct words as symbols, one behind the other.

use super::Pair;
use crate::count::Words;
use crate::memory::prefer_huge_pages;
use crate::{Error, Job, Result};

/// Stands between words.
pub const BORDER: u32 = u32::MAX;
/// A slot inside a symbol, neither its first nor its last.
const INSIDE: u32 = u32::MAX - 1;

/// Slots looked at between two checks of whether to stop.
const CHECK: usize = 1 << 20;

/// The first slot of a symbol, and the word that it stands in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub slot: u32,
    pub word: u32,
}

/// The neighbours of a symbol just merged, [`BORDER`] where there is none.
pub struct Around {
    pub left: u32,
    pub right: u32,
}

/// Words stand one behind the other with a border before, between and behind them. At the start of a round each symbol
/// takes one slot. One that is merged in the round takes the slots of its two parts and writes its id into the first and
/// the last of them: so both neighbours of any slot are found without links.
pub struct Corpus {
    slots: Vec<u32>,
    /// How often each word occurs.
    weights: Vec<u64>,
    /// How many slots each symbol takes in this round.
    spans: Vec<u32>,
}

impl Corpus {
    /// The words of more than one byte.
    pub fn new(counts: &impl Words, job: &Job) -> Result<Self> {
        let (mut number, mut slots) = (0, 1);
        for_each_word(counts, |word, _| {
            number += 1;
            slots += word.len() + 1;
            Ok(())
        })?;
        if slots > INSIDE as usize {
            let needed = (slots * size_of::<u32>()) as u64;
            return Err(Error::OutOfMemory { what: "more than 4 GiB of distinct pre-tokens", needed });
        }
        let mut corpus = Self { slots: Vec::new(), weights: Vec::new(), spans: vec![1; 256] };
        let full = |_| Error::OutOfMemory { what: "the words", needed: (slots * 4 + number * 8) as u64 };
        corpus.slots.try_reserve_exact(slots).map_err(full)?;
        corpus.weights.try_reserve_exact(number).map_err(full)?;
        prefer_huge_pages(&mut corpus.slots);
        corpus.slots.push(BORDER);
        for_each_word(counts, |word, count| {
            for part in word.chunks(CHECK) {
                job.check()?;
                corpus.slots.extend(part.iter().map(|&byte| u32::from(byte)));
            }
            corpus.slots.push(BORDER);
            corpus.weights.push(count);
            Ok(())
        })?;
        Ok(corpus)
    }

    /// Begins a round: each of `symbols` takes one slot again, and words of a single symbol, which can't be merged any
    /// more, are gone. Calls `f` on each pair there is, with its place and the weight of its word, from the first to the
    /// last.
    pub fn compact(
        &mut self,
        symbols: usize,
        job: &Job,
        mut f: impl FnMut(Pair, Place, u64) -> Result<()>,
    ) -> Result<()> {
        let (mut kept, mut words, mut at) = (1, 0, 1);
        let mut visited = 0;
        for word in 0..self.weights.len() {
            let start = kept;
            let mut symbol = self.slots[at];
            while symbol != BORDER {
                self.slots[kept] = symbol;
                kept += 1;
                at += self.spans[symbol as usize] as usize;
                symbol = self.slots[at];
            }
            at += 1;
            if kept - start == 1 {
                kept = start;
                continue;
            }
            self.slots[kept] = BORDER;
            let weight = self.weights[word];
            self.weights[words] = weight;
            for (slot, pair) in (start as u32..).zip(self.slots[start..kept].windows(2)) {
                f((pair[0], pair[1]), Place { slot, word: words as u32 }, weight)?;
                visited += 1;
                if visited % CHECK == 0 {
                    job.check()?;
                }
            }
            kept += 1;
            words += 1;
        }
        self.slots.truncate(kept);
        self.weights.truncate(words);
        self.spans.clear();
        self.spans.resize(symbols, 1);
        Ok(())
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Makes room for the symbol that a pair merges into.
    pub fn begin_merge(&mut self, pair: Pair, merged: u32) {
        debug_assert_eq!(self.spans.len(), merged as usize);
        self.spans.push(self.spans[pair.0 as usize] + self.spans[pair.1 as usize]);
    }

    /// How many slots a symbol takes.
    pub fn span(&self, symbol: u32) -> u32 {
        self.spans[symbol as usize]
    }

    /// How often a word occurs.
    #[inline]
    pub fn weight(&self, word: u32) -> u64 {
        self.weights[word as usize]
    }

    /// Asks for the lines that merging at a place will need.
    #[inline]
    pub fn prefetch(&self, place: Place) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let slot = &self.slots[place.slot as usize];
            let weight = &self.weights[place.word as usize];
            // SAFETY: a prefetch reads nothing, and the addresses are those of a slot and of a weight anyway.
            unsafe {
                _mm_prefetch(std::ptr::from_ref(slot).cast(), _MM_HINT_T0);
                _mm_prefetch(std::ptr::from_ref(weight).cast(), _MM_HINT_T0);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = place;
    }

    /// Merges a pair at a place, if it still stands there.
    #[inline]
    pub fn merge_at(&mut self, place: Place, pair: Pair, merged: u32) -> Option<Around> {
        let first = place.slot as usize;
        if self.slots[first] != pair.0 {
            return None;
        }
        let second = first + self.spans[pair.0 as usize] as usize;
        if self.slots[second] != pair.1 {
            return None;
        }
        let after = second + self.spans[pair.1 as usize] as usize;
        let (left, right) = (self.slots[first - 1], self.slots[after]);
        // The two ends that now lie inside; then the new symbol's own, which may be the same slots.
        self.slots[second - 1] = INSIDE;
        self.slots[second] = INSIDE;
        self.slots[first] = merged;
        self.slots[after - 1] = merged;
        Some(Around { left, right })
    }
}

/// Calls `f` on the words of more than one byte: in others there is nothing to merge.
fn for_each_word(counts: &impl Words, mut f: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    counts.for_each(&mut |word, count| if word.len() > 1 { f(word, count) } else { Ok(()) })
}
