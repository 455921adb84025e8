//! Counts to merges, incrementally: a merge touches only the words that hold its pair.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::count::WordCounts;
use crate::{Error, Job, Result, Stage};

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
pub fn train(counts: &WordCounts, options: &TrainOptions, job: &Job) -> Result<Vec<Pair>> {
    let wanted = options.merges()?;
    job.begin(Stage::Merge, wanted as u64);
    let mut trainer = Trainer::new(counts, job)?;
    let mut merges = Vec::new();
    while merges.len() < wanted {
        job.check()?;
        let Some(pair) = trainer.best(options.min_frequency.max(1)) else { break };
        trainer.merge(pair, job)?;
        merges.push(pair);
        job.advance(1);
    }
    Ok(merges)
}

/// Where a pair occurs, from left to right. Places that lost the pair since are skipped when it is merged.
#[derive(Debug, Default)]
struct Occurrences {
    count: u64,
    places: Vec<Place>,
}

/// The first symbol of a pair: its slot, and the word that it stands in.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u32,
    word: u32,
}

/// A pair in the queue with the count it had when it was put there.
///
/// Both symbols of a pair are known when it first occurs, and it gains no occurrences after the merge that made the newer
/// one: from then on its count only falls. So an entry whose count is out of date is put back with the right one.
#[derive(Debug)]
struct Candidate {
    count: u64,
    bytes: (Arc<[u8]>, Arc<[u8]>),
    pair: Pair,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.count.cmp(&other.count).then_with(|| self.bytes.cmp(&other.bytes))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Stands between words.
const BORDER: u32 = u32::MAX;
/// A slot inside a symbol, neither its first nor its last.
const INSIDE: u32 = u32::MAX - 1;

/// All words stand one behind the other, a slot for each byte and one for each border. A symbol of n bytes takes n slots
/// and writes its id into the first and the last of them, so both neighbours of a slot are found without any links.
struct Trainer {
    slots: Vec<u32>,
    /// How often each word occurs.
    counts: Vec<u64>,
    pairs: HashMap<Pair, Occurrences, FixedState>,
    queue: BinaryHeap<Candidate>,
    /// The byte string of each symbol.
    bytes: Vec<Arc<[u8]>>,
}

impl Trainer {
    fn new(counts: &WordCounts, job: &Job) -> Result<Self> {
        // Words in order of their bytes: nothing that follows depends on who counted what first.
        let mut words: Vec<(&[u8], u64)> = counts.iter().filter(|(word, _)| word.len() > 1).collect();
        words.sort_unstable();
        let slots = words.iter().map(|(word, _)| word.len() + 1).sum::<usize>() + 1;
        if slots > INSIDE as usize {
            let needed = slots as u64 * size_of::<(u32, Place)>() as u64;
            return Err(Error::OutOfMemory { what: "more than 4 GiB of distinct pre-tokens", needed });
        }
        let mut trainer = Self {
            slots: Vec::with_capacity(slots),
            counts: Vec::with_capacity(words.len()),
            pairs: HashMap::with_hasher(FixedState::default()),
            queue: BinaryHeap::new(),
            bytes: (0..=255u8).map(|byte| Arc::from([byte])).collect(),
        };
        trainer.slots.push(BORDER);
        for (word, count) in words {
            trainer.add_word(word, count, job)?;
        }
        let pairs: Vec<Pair> = trainer.pairs.keys().copied().collect();
        trainer.enqueue(pairs);
        Ok(trainer)
    }

    fn add_word(&mut self, word: &[u8], count: u64, job: &Job) -> Result<()> {
        let index = self.counts.len() as u32;
        self.counts.push(count);
        for (at, pair) in word.windows(2).enumerate() {
            // Also within a word: a single one may be as long as a corpus.
            if at % 65_536 == 0 {
                job.check()?;
            }
            let place = Place { slot: self.slots.len() as u32, word: index };
            self.slots.push(u32::from(pair[0]));
            self.add((u32::from(pair[0]), u32::from(pair[1])), place)?;
        }
        self.slots.extend(word.last().map(|&byte| u32::from(byte)));
        self.slots.push(BORDER);
        Ok(())
    }

    fn enqueue(&mut self, pairs: Vec<Pair>) {
        for pair in pairs {
            if let Some(found) = self.pairs.get(&pair) {
                let bytes = (self.bytes[pair.0 as usize].clone(), self.bytes[pair.1 as usize].clone());
                self.queue.push(Candidate { count: found.count, bytes, pair });
            }
        }
    }

    /// The next pair to merge.
    fn best(&mut self, min_frequency: u64) -> Option<Pair> {
        loop {
            let candidate = self.queue.pop()?;
            let now = self.pairs.get(&candidate.pair).map_or(0, |found| found.count);
            if now < min_frequency {
                continue;
            }
            if now == candidate.count {
                return Some(candidate.pair);
            }
            self.queue.push(Candidate { count: now, ..candidate });
        }
    }

    /// Merges a pair everywhere and brings the counts of its neighbours up to date.
    fn merge(&mut self, pair: Pair, job: &Job) -> Result<()> {
        let merged = self.bytes.len() as u32;
        self.bytes.push([&self.bytes[pair.0 as usize][..], &self.bytes[pair.1 as usize][..]].concat().into());
        let Some(found) = self.pairs.remove(&pair) else { return Ok(()) };
        let mut fresh = Vec::new();
        for (visited, place) in found.places.into_iter().enumerate() {
            if visited % 65_536 == 0 {
                job.check()?;
            }
            self.merge_at(place, pair, merged, &mut fresh)?;
        }
        fresh.sort_unstable();
        fresh.dedup();
        self.enqueue(fresh);
        Ok(())
    }

    fn merge_at(&mut self, place: Place, pair: Pair, merged: u32, fresh: &mut Vec<Pair>) -> Result<()> {
        let first = place.slot as usize;
        let second = first + self.bytes[pair.0 as usize].len();
        if self.slots[first] != pair.0 || self.slots[second] != pair.1 {
            return Ok(());
        }
        let after = second + self.bytes[pair.1 as usize].len();
        let (left, right) = (self.slots[first - 1], self.slots[after]);
        // The two ends that now lie inside; then the new symbol's own, which may be the same slots.
        self.slots[second - 1] = INSIDE;
        self.slots[second] = INSIDE;
        self.slots[first] = merged;
        self.slots[after - 1] = merged;
        if left != BORDER {
            self.subtract((left, pair.0), place.word);
            let slot = (first - self.bytes[left as usize].len()) as u32;
            self.add((left, merged), Place { slot, ..place })?;
            fresh.push((left, merged));
        }
        if right != BORDER {
            self.subtract((pair.1, right), place.word);
            self.add((merged, right), place)?;
            fresh.push((merged, right));
        }
        Ok(())
    }

    fn add(&mut self, pair: Pair, place: Place) -> Result<()> {
        let found = self.pairs.entry(pair).or_default();
        found.count = found.count.checked_add(self.counts[place.word as usize]).ok_or(Error::CountOverflow)?;
        found.places.push(place);
        Ok(())
    }

    /// One occurrence less. The pair that is being merged has left the table already and is none of this.
    fn subtract(&mut self, pair: Pair, word: u32) {
        if let Entry::Occupied(mut entry) = self.pairs.entry(pair) {
            entry.get_mut().count -= self.counts[word as usize];
            if entry.get().count == 0 {
                entry.remove();
            }
        }
    }
}
