//! Distinct pre-tokens with how often each occurs: one flat table, made for counting billions of short words.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use foldhash::fast::FixedState;

use crate::{Error, Result};

/// Words up to this many bytes are their own key.
const INLINE: usize = 15;

/// In place of its length, marks the key of a word that stands in the arena.
const IN_ARENA: u8 = 0xff;

/// How many words are looked up together: while one is compared, the lines of the next ones are on their way.
const BATCH: usize = 64;

/// Hashes differ from process to process, so that nobody can write a text whose words all fall into one place.
static SEED: LazyLock<[u64; 2]> = LazyLock::new(|| [0, 1].map(|_| RandomState::new().build_hasher().finish() | 1));

type Key = [u8; 16];

const FREE: Key = [0; 16];

/// Half a cache line, so that a lookup that finds its word at home costs one line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Entry {
    /// Of a short word its bytes and, as the 16th, its length; of a long one hash, length and a mark. 0: free.
    key: Key,
    count: u64,
    /// Where a long word stands in the arena.
    start: u64,
}

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
}

impl Default for WordCounts {
    fn default() -> Self {
        Self { entries: Vec::new(), len: 0, shift: 64, arena: Vec::new(), seed: *SEED }
    }
}

/// A word on its way into the table.
#[derive(Clone, Copy)]
struct Lookup {
    key: Key,
    hash: u64,
    start: usize,
    end: usize,
}

/// Words of one text, collected to be counted together.
pub(super) struct Batch<'w, 't> {
    words: &'w mut WordCounts,
    text: &'t [u8],
    waiting: [Lookup; BATCH],
    len: usize,
    outcome: Result<()>,
}

impl<'w, 't> Batch<'w, 't> {
    pub fn new(words: &'w mut WordCounts, text: &'t [u8]) -> Self {
        let none = Lookup { key: FREE, hash: 0, start: 0, end: 0 };
        Self { words, text, waiting: [none; BATCH], len: 0, outcome: Ok(()) }
    }

    /// Counts `text[start..end]` once more, soon.
    #[inline]
    pub fn push(&mut self, start: usize, end: usize) {
        let (key, hash) = self.words.key(self.text, start, end);
        self.waiting[self.len] = Lookup { key, hash, start, end };
        self.words.prefetch(hash);
        self.len += 1;
        if self.len == BATCH {
            self.flush();
        }
    }

    #[inline(never)]
    fn flush(&mut self) {
        let waiting = &self.waiting[..std::mem::take(&mut self.len)];
        if self.outcome.is_ok() {
            self.outcome = waiting.iter().try_for_each(|lookup| self.words.count(self.text, lookup, 1));
        }
    }

    /// Counts what is still waiting; the first error there was.
    pub fn finish(mut self) -> Result<()> {
        self.flush();
        self.outcome
    }
}

impl WordCounts {
    /// Counts a word `times` more.
    pub fn add(&mut self, word: &[u8], times: u64) -> Result<()> {
        let (key, hash) = self.key(word, 0, word.len());
        self.count(word, &Lookup { key, hash, start: 0, end: word.len() }, times)
    }

    /// Adds all of another's counts.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.arena.try_reserve(other.arena.len()).map_err(|_| out_of_memory(other.arena.len()))?;
        other.iter().try_for_each(|(word, count)| self.add(word, count))
    }

    /// The words with their counts, in no particular order.
    ///
    /// Block by block from all over the table: in order of the hashes, a smaller table that takes them in would fill up
    /// from one end, and each would have to pass by all before it.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        const BLOCK: usize = 64;
        // Odd, so that each block comes up once; near the golden ratio, so that neighbours come far apart.
        const STRIDE: usize = 0x9e37_79b1;
        let blocks = self.entries.len().div_ceil(BLOCK);
        (0..blocks)
            .map(move |at| (at.wrapping_mul(STRIDE) & (blocks - 1)) * BLOCK)
            .flat_map(|start| &self.entries[start..self.entries.len().min(start + BLOCK)])
            .filter(|entry| entry.key != FREE)
            .map(|entry| (self.word(entry), entry.count))
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

    fn word<'s>(&'s self, entry: &'s Entry) -> &'s [u8] {
        if in_arena(&entry.key) { self.long(entry.start) } else { inline(&entry.key) }
    }

    fn long(&self, start: u64) -> &[u8] {
        let (length, rest) = self.arena[start as usize..].split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("it is 8 bytes"));
        &rest[..length as usize]
    }

    /// Key and hash of `text[start..end]`.
    #[inline]
    fn key(&self, text: &[u8], start: usize, end: usize) -> (Key, u64) {
        let length = end - start;
        if length > INLINE {
            return self.long_key(&text[start..end]);
        }
        let bytes = match text[start..].first_chunk::<16>() {
            Some(bytes) => u128::from_le_bytes(*bytes),
            None => {
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(&text[start..end]);
                u128::from_le_bytes(bytes)
            }
        };
        let key = bytes & ((1 << (8 * length)) - 1) | (length as u128) << 120;
        let product = u128::from(key as u64 ^ self.seed[0]) * u128::from((key >> 64) as u64 ^ self.seed[1]);
        (key.to_le_bytes(), product as u64 ^ (product >> 64) as u64)
    }

    #[cold]
    #[inline(never)]
    fn long_key(&self, word: &[u8]) -> (Key, u64) {
        let hash = FixedState::with_seed(self.seed[0]).hash_one(word);
        let mut key = (u128::from(word.len() as u64) << 64 | u128::from(hash)).to_le_bytes();
        key[INLINE] = IN_ARENA;
        (key, hash)
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(entry) = self.entries.get((hash >> (self.shift & 63)) as usize) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing, and the address is that of an entry anyway.
            unsafe { _mm_prefetch(std::ptr::from_ref(entry).cast(), _MM_HINT_T0) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = hash;
    }

    #[inline]
    fn count(&mut self, text: &[u8], lookup: &Lookup, times: u64) -> Result<()> {
        let mask = self.entries.len().wrapping_sub(1);
        // An empty table has no place to look at.
        let mut at = if self.entries.is_empty() { 0 } else { (lookup.hash >> self.shift) as usize };
        while let Some(entry) = self.entries.get(at) {
            if entry.key == lookup.key
                && (!in_arena(&lookup.key) || self.long(entry.start) == &text[lookup.start..lookup.end])
            {
                let count = &mut self.entries[at].count;
                *count = count.checked_add(times).ok_or(Error::CountOverflow)?;
                return Ok(());
            }
            if entry.key == FREE {
                break;
            }
            at = (at + 1) & mask;
        }
        self.insert(text, lookup, times)
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, text: &[u8], lookup: &Lookup, times: u64) -> Result<()> {
        if self.len + 1 > self.entries.len() / 4 * 3 {
            self.grow()?;
        }
        let mut start = 0;
        if in_arena(&lookup.key) {
            let word = &text[lookup.start..lookup.end];
            start = self.arena.len() as u64;
            self.arena.try_reserve(word.len() + 8).map_err(|_| out_of_memory(self.arena.len() + word.len()))?;
            self.arena.extend_from_slice(&(word.len() as u64).to_le_bytes());
            self.arena.extend_from_slice(word);
        }
        place(&mut self.entries, self.shift, lookup.hash, Entry { key: lookup.key, count: times, start });
        self.len += 1;
        Ok(())
    }

    fn grow(&mut self) -> Result<()> {
        const LEAST: usize = 1 << 8;
        let size = (2 * self.entries.len()).max(LEAST);
        let mut entries = Vec::new();
        entries.try_reserve_exact(size).map_err(|_| out_of_memory(size * size_of::<Entry>()))?;
        entries.resize(size, Entry::default());
        let shift = 64 - size.trailing_zeros();
        for entry in self.entries.iter().filter(|entry| entry.key != FREE) {
            let hash = match in_arena(&entry.key) {
                true => u64::from_le_bytes(*entry.key.first_chunk().expect("a key is longer than a hash")),
                false => self.key(inline(&entry.key), 0, inline(&entry.key).len()).1,
            };
            place(&mut entries, shift, hash, *entry);
        }
        (self.entries, self.shift) = (entries, shift);
        Ok(())
    }
}

fn in_arena(key: &Key) -> bool {
    key[INLINE] == IN_ARENA
}

/// The bytes of a short word.
fn inline(key: &Key) -> &[u8] {
    &key[..usize::from(key[INLINE])]
}

/// Puts an entry that is not there yet into the first free place from its home on.
fn place(entries: &mut [Entry], shift: u32, hash: u64, entry: Entry) {
    let mut at = (hash >> shift) as usize;
    while entries[at].key != FREE {
        at = (at + 1) & (entries.len() - 1);
    }
    entries[at] = entry;
}

fn out_of_memory(needed: usize) -> Error {
    Error::OutOfMemory { what: "the table of distinct pre-tokens", needed: needed as u64 }
}
