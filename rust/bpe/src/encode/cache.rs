//! What a thread remembers of the words it has encoded: exact, bounded, and not shared while it is used.

use std::sync::Mutex;

use super::search::Memo;
use super::words::Batch;
use crate::key::{Key, SEED};
use crate::memory::{Table, prefetch};
use crate::{Error, Result};

/// Cache lines at first, each with two entries of 32 bytes: few, so that they cost nothing and stay near.
const FIRST_LINES: usize = 1 << 13;

/// Cache lines at most for a short text, 16 MB, and for any, 64 MB.
const MOST_LINES: [usize; 2] = [1 << 18, 1 << 20];

/// Bytes of text to a line: with so many lines, hardly any word of a text in many languages has to make room.
const BYTES_PER_LINE: usize = 16;

/// How many times as many there are as soon as there was a word to each of them, for the first time and later. A text that
/// outgrows the first ones is long, and growing costs a look at every entry and as much memory as there will be lines.
const GROWTH: [usize; 2] = [16, 4];

/// Ids that an entry has room for. Those of other words, and the bytes of long ones, stand in an arena.
pub const INLINE_IDS: usize = 4;

/// Bytes of words and of ids in the arena before all of them are forgotten: for a short text, and for any.
const ARENA: [usize; 2] = [12 << 20, 64 << 20];

/// Bytes in the arena to a byte of text: a long word's own, and four for an id of several.
const ARENA_PER_BYTE: usize = 4;

/// Longer words seldom come twice.
pub const LONGEST: usize = 256;

/// Where an entry's number of ids stands in its first id, all of which are less than 2^26; 0 for those in the arena.
const COUNT: u32 = 29;

const WHAT: &str = "the words already encoded";

/// Two entries of four numbers: the key's two, then four ids in two. Zeros are a free entry, for no key is zero.
type Line = [u64; 8];

type Entry = [u64; 4];

const FREE: Entry = [0; 4];

fn entries(line: &mut Line) -> [&mut Entry; 2] {
    let [newer, older] = line.as_chunks_mut().0 else { unreachable!("two times four are eight") };
    [newer, older]
}

/// One thread's memory of words.
#[derive(Debug)]
pub struct Cache {
    lines: Table<Line>,
    /// How many lines there may be.
    most: usize,
    /// How many words were entered since there are so many lines.
    entered: usize,
    /// How many words this call has looked up, and how many of them were not known.
    traffic: Traffic,
    arena: Arena,
    pub memo: Memo,
    /// Room for the ids of one word.
    pub word: Vec<u32>,
}

#[derive(Debug, Default)]
struct Traffic {
    words: usize,
    unknown: usize,
}

/// What an entry has no room for: ids, as four bytes each, and behind them the bytes of a word that is no key.
#[derive(Debug)]
struct Arena {
    bytes: Vec<u8>,
    /// How many bytes there may be.
    most: usize,
    /// How often it was emptied: entries from before are worth nothing.
    age: u32,
}

impl Cache {
    pub fn new() -> Result<Self> {
        let needed = (FIRST_LINES * size_of::<Line>()) as u64;
        let lines = Table::new([0; 8], FIRST_LINES).ok_or(Error::OutOfMemory { what: WHAT, needed })?;
        let arena = Arena { bytes: Vec::new(), most: ARENA[0], age: 0 };
        let (memo, word, traffic) = (Memo::default(), Vec::new(), Traffic::default());
        Ok(Self { lines, most: MOST_LINES[0], entered: 0, traffic, arena, memo, word })
    }

    /// Begins a call; lets the cache grow as much as so many bytes of text are worth.
    pub fn expect(&mut self, bytes: usize) {
        self.traffic = Traffic::default();
        let lines = (bytes / BYTES_PER_LINE).min(MOST_LINES[1]).next_power_of_two();
        self.most = self.most.max(lines);
        self.arena.most = self.arena.most.max(bytes.saturating_mul(ARENA_PER_BYTE).min(ARENA[1]));
    }

    /// So many words are looked up.
    pub fn looked_up(&mut self, words: usize) {
        self.traffic.words += words;
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
        self.at((hash >> self.shift) as usize, key)
    }

    /// [`get`](Self::get) of a word that had to make room in its own line, which is full then.
    fn beside(self, key: Key, hash: u64) -> Option<([u32; INLINE_IDS], usize)> {
        let line = (hash >> self.shift) as usize;
        if self.lines[line].ends_with(&FREE) { None } else { self.at(line ^ 1, key) }
    }

    #[inline(always)]
    fn at(self, line: usize, key: Key) -> Option<([u32; INLINE_IDS], usize)> {
        let line = &self.lines[line];
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
    /// Writes the ids of a word that its line alone doesn't tell; returns how many, if the word is known. From now on its
    /// line tells of it.
    pub fn other(&mut self, key: Key, hash: u64, word: &[u8], ids: &mut [u32]) -> Option<usize> {
        let (few, count) = match self.lines().get(key, hash) {
            Some(known) => known,
            None => {
                let known = self.lines().beside(key, hash)?;
                recall(&mut self.lines, key, hash);
                known
            }
        };
        if count == 0 {
            return self.arena.get(key, few, word, ids);
        }
        ids.get_mut(..INLINE_IDS)?.copy_from_slice(&few);
        Some(count)
    }

    /// Remembers the ids of a word that has no entry.
    pub fn remember(&mut self, key: Key, hash: u64, word: &[u8], ids: &[u32]) -> Result<()> {
        self.traffic.unknown += 1;
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
        let lines = self.lines.len();
        if self.entered > lines && lines < self.most {
            let growth = GROWTH[usize::from(lines > FIRST_LINES)];
            let next = self.worth().min(growth * lines);
            if next > lines {
                self.grow(next);
            }
        }
        Ok(())
    }

    /// How many lines may bring anything. Words that hardly ever come again, as those of random letters, only cost the
    /// pages that they are written to.
    fn worth(&self) -> usize {
        let recur = 2 * self.traffic.unknown <= self.traffic.words;
        if recur { self.most } else { MOST_LINES[0] }
    }

    /// Makes room for more words, unless there is no memory for it.
    #[cold]
    fn grow(&mut self, lines: usize) {
        self.entered = 0;
        let Some(mut lines) = Table::new([0; 8], lines) else { return };
        for entry in self.lines.as_flattened().as_chunks::<4>().0 {
            let key = Key { low: entry[0], high: entry[1] };
            if key != Key::default() {
                self.entered += 1;
                enter(&mut lines, key.hash_of_word(*SEED), *entry);
            }
        }
        self.lines = lines;
    }
}

/// Puts an entry into its line: where one of the same word stands, else in the place of the one that came first, which
/// moves to the line beside if there is room.
fn enter(lines: &mut [Line], hash: u64, entry: Entry) {
    let at = (hash >> shift(lines.len())) as usize;
    let same = |other: &&mut Entry| other[..2] == entry[..2];
    let free = |other: &&mut Entry| **other == FREE;
    let line = &mut lines[at];
    if let Some(place) = entries(line).into_iter().find(same) {
        *place = entry;
        return;
    }
    if let Some(place) = entries(line).into_iter().find(free) {
        *place = entry;
        return;
    }
    let [newer, older] = entries(line);
    let oldest = std::mem::replace(older, std::mem::replace(newer, entry));
    let beside = &mut lines[at ^ 1];
    if let Some(place) = entries(beside).into_iter().find(same) {
        *place = FREE;
    }
    if let Some(place) = entries(beside).into_iter().find(free) {
        *place = oldest;
    }
}

/// Puts a word that stands beside into its own line, where it is found at once, and what came there first in its place:
/// frequent words end up where they belong, and the others make room.
fn recall(lines: &mut [Line], key: Key, hash: u64) {
    let at = (hash >> shift(lines.len())) as usize;
    let same = |other: &mut Entry| other[..2] == [key.low, key.high];
    let Some(place) = entries(&mut lines[at ^ 1]).into_iter().position(same) else { return };
    let [newer, older] = entries(&mut lines[at]);
    let oldest = std::mem::replace(older, *newer);
    let recalled = std::mem::replace(entries(&mut lines[at ^ 1])[place], oldest);
    *entries(&mut lines[at])[0] = recalled;
}

impl Arena {
    /// Number and place of the ids, and the arena's age.
    fn add(&mut self, word: &[u8], ids: &[u32]) -> Result<[u32; INLINE_IDS]> {
        if self.bytes.len() + size_of_val(ids) + word.len() > self.most {
            self.bytes.clear();
            self.age = self.age.wrapping_add(1);
        }
        // All at once: what is not written to takes no memory, and what seldom moves leaves few holes.
        if self.bytes.capacity() < self.most {
            let more = self.most - self.bytes.len();
            super::reserve(&mut self.bytes, more, WHAT)?;
        }
        let place = self.bytes.len();
        self.bytes.resize(place + size_of_val(ids), 0);
        self.bytes[place..].as_chunks_mut().0.iter_mut().zip(ids).for_each(|(four, id)| *four = id.to_le_bytes());
        self.bytes.extend_from_slice(word);
        Ok([ids.len() as u32, place as u32, self.age, 0])
    }

    fn get(&self, key: Key, [count, place, age, _]: [u32; INLINE_IDS], word: &[u8], ids: &mut [u32]) -> Option<usize> {
        if age != self.age {
            return None;
        }
        let count = count as usize;
        let (known, bytes) = self.bytes[place as usize..].split_at_checked(size_of::<u32>() * count)?;
        if key.is_elsewhere() && !bytes.starts_with(word) {
            return None;
        }
        for (id, four) in ids.get_mut(..count)?.iter_mut().zip(known.as_chunks().0) {
            *id = u32::from_le_bytes(*four);
        }
        Some(count)
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
    /// Lends a cache that nobody uses, for so many bytes of text. Nothing waits: not even a child for a lock that its parent held when it forked.
    pub fn with<R>(&self, bytes: usize, f: impl FnOnce(&mut Lent) -> Result<R>) -> Result<R> {
        let Some(mut slot) = self.0.iter().find_map(|slot| slot.try_lock().ok()) else { return f(&mut Lent::new()?) };
        let lent = match &mut *slot {
            Some(lent) => lent,
            empty => empty.insert(Box::new(Lent::new()?)),
        };
        lent.cache.expect(bytes);
        f(lent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the cache should say of the word: ids that follow from it alone.
    fn ids(word: &[u8]) -> Vec<u32> {
        word.iter().map(|&byte| u32::from(byte) + 1000 * word.len() as u32).collect()
    }

    fn known(cache: &mut Cache, word: &[u8]) -> Option<Vec<u32>> {
        let (key, hash) = Key::of(word, 0, word.len(), *SEED);
        let mut ids = vec![0; LONGEST];
        let count = cache.other(key, hash, word, &mut ids)?;
        let (four, few) = cache.lines().get(key, hash).unwrap();
        assert_eq!(four[..few], ids[..few]);
        Some(ids[..count].to_vec())
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
            assert_eq!(known(&mut cache, &word), None);
            let (key, hash) = Key::of(&word, 0, word.len(), *SEED);
            cache.remember(key, hash, &word, &ids(&word)).unwrap();
            assert_eq!(known(&mut cache, &word), Some(ids(&word)));
        }
        let known = (0..words).map(spelled).filter_map(|word| known(&mut cache, &word).map(|found| (word, found)));
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
    fn what_was_forgotten_is_learnt_anew() {
        let (mut cache, _) = entered(1_200_000);
        let words = (0..3000).map(|number| format!("{number:020}").into_bytes());
        let forgotten: Vec<_> = words.filter(|word| known(&mut cache, word).is_none()).collect();
        assert!(forgotten.len() > 1000, "{}", forgotten.len());
        for word in forgotten {
            let (key, hash) = Key::of(&word, 0, word.len(), *SEED);
            cache.remember(key, hash, &word, &ids(&word)).unwrap();
            assert_eq!(known(&mut cache, &word), Some(ids(&word)));
        }
    }

    #[test]
    fn it_outgrows_what_is_near_only_for_words_that_come_again() {
        for (times, most) in [(1, MOST_LINES[0]), (3, MOST_LINES[1])] {
            let mut cache = Cache::new().unwrap();
            cache.expect(1 << 30);
            for number in 0..2_500_000 {
                let word = format!("{number:x}").into_bytes();
                let (key, hash) = Key::of(&word, 0, word.len(), *SEED);
                cache.looked_up(times);
                cache.remember(key, hash, &word, &ids(&word)[..1]).unwrap();
            }
            assert_eq!(cache.lines.len(), most);
        }
    }

    #[test]
    fn it_stays_bounded_and_never_says_a_wrong_thing() {
        let (cache, right) = entered(1_200_000);
        assert_eq!(cache.lines.len(), MOST_LINES[0]);
        assert!(cache.arena.bytes.capacity() <= ARENA[0]);
        assert!(right > 1000, "{right}");
    }
}
