//! What a thread remembers of the words it has encoded: exact, bounded, and not shared while it is used.

use std::sync::Mutex;

use super::search::Memo;
use super::words::Batch;
use crate::key::{INLINE, Key, SEED};
use crate::memory::{Table, prefetch};
use crate::vocab::Vocabulary;
use crate::{Error, Result};

/// Cache lines, each with two entries of 32 bytes.
const LINES: usize = 1 << 17;

/// Ids that an entry has room for. Those of other words, and the bytes of long ones, stand in arenas.
pub const INLINE_IDS: usize = 4;

/// Bytes and ids in the arenas, before all of them are forgotten.
const ARENA: usize = 1 << 22;

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
    arena: Arena,
    /// Words that were not there.
    misses: usize,
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
        let needed = (LINES * size_of::<Line>()) as u64;
        let missing = Error::OutOfMemory { what: WHAT, needed };
        let lines = Table::new([0; 8], LINES).ok_or(missing)?;
        Ok(Self { lines, arena: Arena::default(), misses: 0, memo: Memo::default(), word: Vec::new() })
    }

    /// The lines, found once for many lookups.
    #[inline(always)]
    pub fn lines(&self) -> Lines<'_> {
        Lines(self.lines.first_chunk().expect("the table was made that long"))
    }
}

/// What [`Cache::lines`] gives.
#[derive(Clone, Copy)]
pub struct Lines<'c>(&'c [Line; LINES]);

impl Lines<'_> {
    /// Asks for the memory that [`get`](Self::get) will read.
    #[inline(always)]
    pub fn prefetch(self, hash: u64) {
        prefetch(&self.0[home(hash)]);
    }

    /// Four ids, of which the first so many are the word's; none are where they stand in the arena.
    #[inline(always)]
    pub fn get(self, key: Key, hash: u64) -> Option<([u32; INLINE_IDS], usize)> {
        let line = &self.0[home(hash)];
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

#[inline]
fn home(hash: u64) -> usize {
    (hash >> (64 - LINES.trailing_zeros())) as usize
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
            four = self.arena.add(word, ids)?;
        } else {
            return Ok(());
        }
        let line = &mut self.lines[home(hash)];
        line.copy_within(0..4, 4);
        line[..4].copy_from_slice(&[key.low, key.high, pair(four[0], four[1]), pair(four[2], four[3])]);
        Ok(())
    }
}

/// After so many misses the vocabulary's own words are worth entering: not for a few short texts.
const WORTH_SEEDING: usize = 1 << 12;

impl Cache {
    /// Counts a miss. Of those that prove a text long, one enters the tokens that are words, the first ones last, so that
    /// they stay where there is no room for all.
    pub fn missed(&mut self, vocabulary: &Vocabulary, is_word: impl Fn(u32) -> bool) -> Result<()> {
        self.misses += 1;
        if self.misses != WORTH_SEEDING {
            return Ok(());
        }
        for id in (0..vocabulary.size() as u32).rev().filter(|&id| is_word(id)) {
            let Some(token) = vocabulary.token(id).filter(|token| token.len() <= INLINE) else { continue };
            let (key, hash) = Key::of(token, 0, token.len(), *SEED);
            if self.lines().get(key, hash).is_none() {
                self.remember(key, hash, token, &[id])?;
            }
        }
        Ok(())
    }
}

impl Arena {
    /// Number and place of the ids, place of the bytes, and the arena's age.
    fn add(&mut self, word: &[u8], ids: &[u32]) -> Result<[u32; INLINE_IDS]> {
        if self.bytes.len() + 4 * self.ids.len() > ARENA {
            self.bytes.clear();
            self.ids.clear();
            self.age = self.age.wrapping_add(1);
        }
        super::reserve(&mut self.bytes, word.len(), WHAT)?;
        super::reserve(&mut self.ids, ids.len(), WHAT)?;
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
