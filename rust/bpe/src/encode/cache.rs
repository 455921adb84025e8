//! What a thread remembers of the words it has encoded: exact, bounded, and not shared while it is used.

use std::sync::Mutex;

use super::search::Memo;
use super::words::Batch;
use crate::key::{Key, SEED};
use crate::memory::{Table, prefetch};
use crate::{Error, Result};

/// Cache lines at first, each with two entries of 32 bytes: few, so that they cost nothing and stay near.
const FIRST_LINES: usize = 1 << 13;

/// Cache lines at most: 16 MB.
const MOST_LINES: usize = 1 << 18;

/// How many times as many there are each time that half of the entries are taken.
const GROWTH: usize = 4;

/// Ids that an entry has room for. Those of other words, and the bytes of long ones, stand in arenas.
pub const INLINE_IDS: usize = 4;

/// Bytes of words and of ids in the arenas, before all of them are forgotten.
const ARENA: usize = 12 << 20;

/// Longer words seldom come twice.
const LONGEST: usize = 256;

/// Where an entry's number of ids stands in its first id, all of which are less than 2^26; 0 for those in the arena.
const COUNT: u32 = 29;

const WHAT: &str = "the words already encoded";

/// Two entries of four numbers: the key's two, then four ids in two. Zeros are a free entry, for no key is zero.
type Line = [u64; 8];

/// One thread's memory of words.
#[derive(Debug)]
pub struct Cache {
    lines: Table<Line>,
    /// How many words were entered since there are so many lines.
    entered: usize,
    arena: Arena,
    pub memo: Memo,
    /// Room for the ids of one word.
    pub word: Vec<u32>,
}

/// What an entry has no room for.
#[derive(Debug, Default)]
struct Arena {
    bytes: Vec<u8>,
    ids: Vec<u32>,
    /// How often it was emptied: entries from before are worth nothing.
    age: u32,
}

impl Cache {
    pub fn new() -> Result<Self> {
        let needed = (FIRST_LINES * size_of::<Line>()) as u64;
        let lines = Table::new([0; 8], FIRST_LINES).ok_or(Error::OutOfMemory { what: WHAT, needed })?;
        Ok(Self { lines, entered: 0, arena: Arena::default(), memo: Memo::default(), word: Vec::new() })
    }

    /// The lines, found once for many lookups.
    #[inline(always)]
    pub fn lines(&self) -> Lines<'_> {
        Lines { lines: &self.lines, shift: shift(self.lines.len()) }
    }
}

/// What a hash is shifted by to give one of so many lines.
#[inline(always)]
fn shift(lines: usize) -> u32 {
    64 - lines.trailing_zeros()
}

/// What [`Cache::lines`] gives.
#[derive(Clone, Copy)]
pub struct Lines<'c> {
    lines: &'c [Line],
    shift: u32,
}

impl Lines<'_> {
    /// Asks for the memory that [`get`](Self::get) will read.
    #[inline(always)]
    pub fn prefetch(self, hash: u64) {
        prefetch(&self.lines[(hash >> self.shift) as usize]);
    }

    /// Four ids, of which the first so many are the word's; none are where they stand in the arena.
    #[inline(always)]
    pub fn get(self, key: Key, hash: u64) -> Option<([u32; INLINE_IDS], usize)> {
        let line = &self.lines[(hash >> self.shift) as usize];
        let differs = |at: usize| (line[at] ^ key.low) | (line[at + 1] ^ key.high) != 0;
        // In which of the two it stands is no branch: nobody could predict it.
        let at = 4 * usize::from(!differs(4));
        if differs(at) {
            return None;
        }
        let (low, high) = (line[at + 2], line[at + 3]);
        let first = low as u32;
        let ids = [first & ((1 << COUNT) - 1), (low >> 32) as u32, high as u32, (high >> 32) as u32];
        Some((ids, (first >> COUNT) as usize))
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl Cache {
    /// The ids of a word that has an entry without room for them.
    pub fn many(&self, key: Key, hash: u64, word: &[u8]) -> Option<&[u32]> {
        let (place, 0) = self.lines().get(key, hash)? else { return None };
        self.arena.get(key, place, word)
    }

    /// Remembers the ids of a word that has no entry. Of the two that share a line, the one that came first goes.
    pub fn remember(&mut self, key: Key, hash: u64, word: &[u8], ids: &[u32]) -> Result<()> {
        let mut four = [0; INLINE_IDS];
        if (1..=INLINE_IDS).contains(&ids.len()) && !key.is_elsewhere() {
            four[..ids.len()].copy_from_slice(ids);
            four[0] |= (ids.len() as u32) << COUNT;
        } else if word.len() <= LONGEST {
            // A short word is its own key.
            four = self.arena.add(if key.is_elsewhere() { word } else { &[] }, ids)?;
        } else {
            return Ok(());
        }
        let entry = [key.low, key.high, pair(four[0], four[1]), pair(four[2], four[3])];
        enter(&mut self.lines, hash, entry);
        self.entered += 1;
        if self.entered > self.lines.len() && self.lines.len() < MOST_LINES {
            self.grow();
        }
        Ok(())
    }

    /// Makes room for more words, unless there is no memory for it.
    #[cold]
    fn grow(&mut self) {
        self.entered = 0;
        let Some(mut lines) = Table::new([0; 8], (GROWTH * self.lines.len()).min(MOST_LINES)) else { return };
        for line in self.lines.iter() {
            let (newer, older) = line.split_at(4);
            for entry in [older, newer] {
                let key = Key { low: entry[0], high: entry[1] };
                if key != Key::default() {
                    self.entered += 1;
                    enter(&mut lines, key.hash_of_word(*SEED), [entry[0], entry[1], entry[2], entry[3]]);
                }
            }
        }
        self.lines = lines;
    }
}

/// Puts an entry first in its line.
fn enter(lines: &mut [Line], hash: u64, entry: [u64; 4]) {
    let shift = shift(lines.len());
    let line = &mut lines[(hash >> shift) as usize];
    line.copy_within(0..4, 4);
    line[..4].copy_from_slice(&entry);
}

impl Arena {
    /// Number and place of the ids, place of the bytes, and the arena's age.
    fn add(&mut self, word: &[u8], ids: &[u32]) -> Result<[u32; INLINE_IDS]> {
        let taken = self.bytes.len() + word.len() + size_of_val(&self.ids[..]) + size_of_val(ids);
        if taken > ARENA {
            self.bytes.clear();
            self.ids.clear();
            self.age = self.age.wrapping_add(1);
        }
        // All at once: what is not written to takes no memory, and what never moves leaves no holes.
        if self.bytes.capacity() == 0 {
            super::reserve(&mut self.bytes, ARENA, WHAT)?;
            super::reserve(&mut self.ids, ARENA / size_of::<u32>(), WHAT)?;
        }
        let (bytes_at, ids_at) = (self.bytes.len() as u32, self.ids.len() as u32);
        self.bytes.extend_from_slice(word);
        self.ids.extend_from_slice(ids);
        Ok([ids.len() as u32, ids_at, bytes_at, self.age])
    }

    fn get(&self, key: Key, [count, ids, bytes, age]: [u32; INLINE_IDS], word: &[u8]) -> Option<&[u32]> {
        let (ids, bytes) = (ids as usize, bytes as usize);
        if age != self.age || key.is_elsewhere() && self.bytes[bytes..bytes + word.len()] != *word {
            return None;
        }
        Some(&self.ids[ids..ids + count as usize])
    }
}

/// A cache, and the words on their way through it.
#[derive(Debug)]
pub struct Lent {
    cache: Cache,
    batch: Batch,
}

impl Lent {
    fn new() -> Result<Self> {
        Ok(Self { cache: Cache::new()?, batch: Batch::default() })
    }

    pub fn parts(&mut self) -> (&mut Cache, &mut Batch) {
        (&mut self.cache, &mut self.batch)
    }
}

/// The caches of a tokenizer: as many as calls ever ran at once, up to a limit.
#[derive(Debug)]
pub struct Caches(Box<[Mutex<Option<Box<Lent>>>]>);

/// A call beyond so many at once makes a cache of its own, which it forgets.
const MOST: usize = 256;

impl Default for Caches {
    fn default() -> Self {
        Self((0..MOST).map(|_| Mutex::new(None)).collect())
    }
}

impl Caches {
    /// Lends a cache that nobody uses. Nothing waits: not even a child for a lock that its parent held when it forked.
    pub fn with<R>(&self, f: impl FnOnce(&mut Lent) -> Result<R>) -> Result<R> {
        let Some(mut slot) = self.0.iter().find_map(|slot| slot.try_lock().ok()) else { return f(&mut Lent::new()?) };
        match &mut *slot {
            Some(lent) => f(lent),
            empty => f(empty.insert(Box::new(Lent::new()?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the cache should say of the word: ids that follow from it alone.
    fn ids(word: &[u8]) -> Vec<u32> {
        word.iter().map(|&byte| u32::from(byte) + 1000 * word.len() as u32).collect()
    }

    fn known(cache: &Cache, word: &[u8]) -> Option<Vec<u32>> {
        let (key, hash) = Key::of(word, 0, word.len(), *SEED);
        match cache.lines().get(key, hash)? {
            (_, 0) => cache.many(key, hash, word).map(<[u32]>::to_vec),
            (four, count) => Some(four[..count].to_vec()),
        }
    }

    /// Enters numbers spelled out, some as they are and some too long to be their own key; counts those that are known
    /// when all are entered.
    fn entered(words: usize) -> (Cache, usize) {
        let mut cache = Cache::new().unwrap();
        let spelled = |number: usize| match number % 3 {
            0 => format!("{number:x}").into_bytes(),
            _ => format!("{number:020}").into_bytes(),
        };
        for word in (0..words).map(spelled) {
            assert_eq!(known(&cache, &word), None);
            let (key, hash) = Key::of(&word, 0, word.len(), *SEED);
            cache.remember(key, hash, &word, &ids(&word)).unwrap();
            assert_eq!(known(&cache, &word), Some(ids(&word)));
        }
        let known = (0..words).map(spelled).filter_map(|word| known(&cache, &word).map(|found| (word, found)));
        let right = known.inspect(|(word, found)| assert_eq!(found, &ids(word))).count();
        (cache, right)
    }

    #[test]
    fn it_grows_and_keeps_what_it_knows() {
        let (cache, right) = entered(20_000);
        assert!(cache.lines.len() > FIRST_LINES && right > 15_000, "{right}");
        assert_eq!(entered(100).0.lines.len(), FIRST_LINES);
    }

    #[test]
    fn it_stays_bounded_and_never_says_a_wrong_thing() {
        let (cache, right) = entered(1_200_000);
        assert_eq!(cache.lines.len(), MOST_LINES);
        assert!(cache.arena.bytes.len() + 4 * cache.arena.ids.len() <= ARENA);
        assert!(right > 1000, "{right}");
    }
}
