//! Distinct pre-tokens with how often each occurs: one flat table, made for counting billions of short words.

mod join;
mod sorted;
mod tally;

pub(super) use tally::Tally;

use crate::error::add_counts;
use crate::key::{INLINE, Key, SEED};
use crate::memory::{prefer_huge_pages, prefetch};
use crate::{Error, Job, Result};

impl Entry {
    #[inline]
    fn key(&self) -> Key {
        Key::from_bytes(&self.key)
    }

    fn is_free(&self) -> bool {
        self.key() == Key::default()
    }
}

/// Half a cache line, so that a lookup that finds its word at home costs one line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Entry {
    /// Of a short word its bytes and, as the 16th, its length; of a long one hash, length and a mark. 0: free.
    key: [u8; 16],
    count: u64,
    /// Where a long word stands in the arena.
    start: u64,
}

/// Bytes before a word in the arena that hold its length.
const LENGTH: usize = 8;

/// Distinct words with their counts.
///
/// Open addressing with linear probing, at most 3/4 full. The home of a word is the top bits of its hash, so a table
/// that has doubled keeps its order.
#[derive(Clone, Debug)]
pub struct WordCounts {
    entries: Vec<Entry>,
    len: usize,
    /// The home of a hash is `hash >> shift`.
    shift: u32,
    /// Long words one behind the other, before each its length in 8 bytes.
    arena: Vec<u8>,
    seed: [u64; 2],
    /// How many bytes it may take, the old and the new place of what grows counted both. One word always fits.
    room: usize,
}

impl Default for WordCounts {
    fn default() -> Self {
        Self { entries: Vec::new(), len: 0, shift: 64, arena: Vec::new(), seed: *SEED, room: usize::MAX }
    }
}

/// A word on its way into the table.
#[derive(Clone, Copy, Default)]
struct Lookup {
    key: Key,
    hash: u64,
    start: usize,
}

impl Lookup {
    fn word<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        &text[self.start..self.start + self.key.length()]
    }
}

impl WordCounts {
    /// Counts a word `times` more.
    pub fn add(&mut self, word: &[u8], times: u64) -> Result<()> {
        let (key, hash) = self.key(word, 0, word.len());
        self.count(word, &Lookup { key, hash, start: 0 }, times).map(drop)
    }

    /// Adds all of another's counts.
    pub fn merge(&mut self, other: &Self, job: &Job) -> Result<()> {
        const CHECK: usize = 1 << 16;
        self.arena.try_reserve(other.arena.len()).map_err(|_| out_of_memory(other.arena.len()))?;
        other.iter().enumerate().try_for_each(|(at, (word, count))| {
            if at % CHECK == 0 {
                job.check()?;
            }
            self.add(word, count)
        })
    }

    /// The words with their counts, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.blocks().flat_map(|block| self.words_of(block))
    }

    /// All entries, block by block from all over the table: in order of the hashes, a smaller table that takes them in
    /// would fill up from one end, and each would have to pass by all before it.
    fn blocks(&self) -> impl Iterator<Item = &[Entry]> {
        const BLOCK: usize = 64;
        // Odd, so that each block comes up once; near the golden ratio, so that neighbours come far apart.
        const STRIDE: usize = 0x9e37_79b1;
        let blocks = self.entries.len().div_ceil(BLOCK);
        (0..blocks)
            .map(move |at| (at.wrapping_mul(STRIDE) & (blocks - 1)) * BLOCK)
            .map(|start| &self.entries[start..self.entries.len().min(start + BLOCK)])
    }

    /// The words with their counts in one of so many parts of the table, from one end to the other: faster, but in order of
    /// the hashes.
    pub(super) fn in_place(&self, part: usize, parts: usize) -> impl Iterator<Item = (&[u8], u64)> {
        let places = self.entries.len();
        self.words_of(&self.entries[part * places / parts..(part + 1) * places / parts])
    }

    fn words_of<'s>(&'s self, entries: &'s [Entry]) -> impl Iterator<Item = (&'s [u8], u64)> {
        let entries = self.with_long_words(entries).filter(|entry| !entry.is_free());
        entries.map(|entry| (self.word(entry), entry.count))
    }

    /// Entries, with the lines of their long words asked for in time: these stand in the order of the text, so that no cache
    /// has them.
    fn with_long_words<'s>(&'s self, entries: &'s [Entry]) -> impl Iterator<Item = &'s Entry> {
        const AHEAD: usize = 32;
        let ask = |at: usize| {
            // Others than long ones begin at 0.
            if let Some(byte) = entries.get(at + AHEAD).and_then(|entry| self.arena.get(entry.start as usize)) {
                prefetch(byte);
            }
        };
        entries.iter().enumerate().inspect(move |(at, _)| ask(*at)).map(|(_, entry)| entry)
    }

    /// Number of distinct words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum of all counts.
    pub fn total(&self) -> u128 {
        self.entries.iter().map(|entry| u128::from(entry.count)).sum()
    }

    /// How many bytes it takes.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.arena.capacity()
    }

    /// Whether it may take so many bytes more.
    fn check_room(&self, more: usize) -> Result<()> {
        let needed = self.memory().saturating_add(more);
        if needed <= self.room || self.is_empty() { Ok(()) } else { Err(out_of_memory(needed)) }
    }

    fn word<'s>(&'s self, entry: &'s Entry) -> &'s [u8] {
        if entry.key().is_elsewhere() { self.long(entry.start) } else { inline(&entry.key) }
    }

    fn long(&self, start: u64) -> &[u8] {
        long_at(&self.arena, start as usize)
    }

    /// Key and hash of `text[start..end]`.
    #[inline]
    fn key(&self, text: &[u8], start: usize, end: usize) -> (Key, u64) {
        Key::of(text, start, end, self.seed)
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        if let Some(entry) = self.entries.get((hash >> (self.shift & 63)) as usize) {
            prefetch(entry);
        }
    }

    /// Counts a word `times` more; how often it was counted in all.
    #[inline]
    fn count(&mut self, text: &[u8], lookup: &Lookup, times: u64) -> Result<u64> {
        let mask = self.entries.len().wrapping_sub(1);
        let mut at = (lookup.hash >> (self.shift & 63)) as usize;
        // An empty table has no place to look at.
        while let Some(entry) = self.entries.get(at) {
            if entry.key() == lookup.key && (!lookup.key.is_elsewhere() || self.long(entry.start) == lookup.word(text))
            {
                let count = &mut self.entries[at].count;
                *count = add_counts(*count, times)?;
                return Ok(*count);
            }
            if entry.is_free() {
                break;
            }
            at = (at + 1) & mask;
        }
        self.insert(text, lookup, times).map(|()| times)
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, text: &[u8], lookup: &Lookup, times: u64) -> Result<()> {
        if self.len + 1 > self.entries.len() / 4 * 3 {
            self.grow()?;
        }
        let mut start = 0;
        if lookup.key.is_elsewhere() {
            let word = lookup.word(text);
            self.reserve_in_arena(word.len() + LENGTH)?;
            start = push_long(&mut self.arena, word) as u64;
        }
        place(&mut self.entries, self.shift, lookup.hash, Entry { key: lookup.key.to_bytes(), count: times, start });
        self.len += 1;
        Ok(())
    }

    fn reserve_in_arena(&mut self, more: usize) -> Result<()> {
        let needed = self.arena.len() + more;
        if needed > self.arena.capacity() {
            let size = needed.max(2 * self.arena.capacity());
            self.check_room(size)?;
            self.arena.try_reserve_exact(size - self.arena.len()).map_err(|_| out_of_memory(size))?;
        }
        Ok(())
    }

    fn grow(&mut self) -> Result<()> {
        const LEAST: usize = 1 << 8;
        let size = (2 * self.entries.len()).max(LEAST);
        self.check_room(size * size_of::<Entry>())?;
        let mut entries = Self::free(size)?;
        let shift = 64 - size.trailing_zeros();
        for entry in self.entries.iter().filter(|entry| !entry.is_free()) {
            place(&mut entries, shift, entry.key().hash_of_word(self.seed), *entry);
        }
        (self.entries, self.shift) = (entries, shift);
        Ok(())
    }

    /// So many free places.
    fn free(places: usize) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(places).map_err(|_| out_of_memory(places * size_of::<Entry>()))?;
        prefer_huge_pages(&mut entries);
        entries.resize(places, Entry::default());
        Ok(entries)
    }
}

/// Appends a long word to an arena; where it begins.
fn push_long(arena: &mut Vec<u8>, word: &[u8]) -> usize {
    let start = arena.len();
    arena.extend_from_slice(&(word.len() as u64).to_le_bytes());
    arena.extend_from_slice(word);
    start
}

/// The long word that begins somewhere in an arena.
fn long_at(arena: &[u8], start: usize) -> &[u8] {
    let (length, rest) = arena[start..].split_at(LENGTH);
    let length = u64::from_le_bytes(length.try_into().expect("it is as long"));
    &rest[..length as usize]
}

/// The bytes of a short word.
fn inline(key: &[u8; 16]) -> &[u8] {
    &key[..usize::from(key[INLINE])]
}

/// Puts an entry that is not there yet into the first free place from its home on.
fn place(entries: &mut [Entry], shift: u32, hash: u64, entry: Entry) {
    let mut at = (hash >> shift) as usize;
    while !entries[at].is_free() {
        at = (at + 1) & (entries.len() - 1);
    }
    entries[at] = entry;
}

fn out_of_memory(needed: usize) -> Error {
    Error::OutOfMemory { what: "the table of distinct pre-tokens", needed: needed as u64 }
}
