//! Tables brought together, range by range of the hashes, so that many threads share the work.

use std::collections::HashSet;

use super::{Entry, LENGTH, WordCounts, long_at, out_of_memory, push_long};
use crate::error::add_counts;
use crate::threads::{Pool, on_each};
use crate::{Job, Result};

/// How many places of the table that takes the others in are filled at a time: they stay in a near cache meanwhile.
const RANGE: usize = if cfg!(test) { 8 } else { 1 << 13 };

/// So many words are looked at, at least, to learn how many distinct ones there are.
const SAMPLE: usize = if cfg!(test) { 16 } else { 1 << 12 };

/// What became of the words of a range.
struct Taken {
    /// New long words.
    arena: Vec<u8>,
    /// Where they stand among the range's entries.
    long: Vec<usize>,
    /// How many words are new.
    words: usize,
    /// What found no place before the range's end, with the number of its table.
    left: Vec<(usize, Entry)>,
}

impl WordCounts {
    /// The table that takes in all others, which may take so many bytes together with them: the largest, if there is room
    /// enough in it, or a new one.
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) where they have to stay apart.
    pub(super) fn for_all(tables: &mut Vec<Self>, room: usize) -> Result<Self> {
        let places = (estimate(tables) / 3 * 4 + 4).next_power_of_two();
        let arenas: usize = tables.iter().map(|table| table.arena.len()).sum();
        let memory = tables.iter().map(Self::memory).sum::<usize>() + arenas;
        let largest = (0..tables.len()).max_by_key(|&at| tables[at].entries.len());
        if let Some(largest) = largest.filter(|&at| tables[at].entries.len() >= places) {
            if memory > room {
                return Err(out_of_memory(memory));
            }
            return Ok(tables.swap_remove(largest));
        }
        let needed = memory + places * size_of::<Entry>();
        if needed > room { Err(out_of_memory(needed)) } else { Self::with_places(places) }
    }

    /// Adds all counts of others, whatever room it may take.
    pub(super) fn take_in(&mut self, others: &[Self], pool: Pool<'_>, job: &Job) -> Result<()> {
        self.room = usize::MAX;
        let (arena, shift, before) = (&self.arena, self.shift, self.arena.len());
        let ranges = self.entries.len().div_ceil(RANGE);
        let parts = self.entries.chunks_mut(RANGE).enumerate().collect();
        let taken = on_each(pool, parts, |(number, entries)| {
            job.check()?;
            let range = Range { number, of: ranges, first: number * RANGE, shift, entries, arena };
            range.take_in(others)
        })?;
        self.len += taken.iter().map(|taken| taken.words).sum::<usize>();
        let more = taken.iter().map(|taken| taken.arena.len()).sum();
        self.arena.try_reserve_exact(more).map_err(|_| out_of_memory(before + more))?;
        for (entries, taken) in self.entries.chunks_mut(RANGE).zip(&taken) {
            let moved = self.arena.len() - before;
            taken.long.iter().for_each(|&at| entries[at].start += moved as u64);
            self.arena.extend_from_slice(&taken.arena);
        }
        // There are more words than the sample promised.
        if self.len > self.entries.len() / 4 * 3 {
            self.grow()?;
        }
        let mut left = taken.iter().flat_map(|taken| &taken.left);
        left.try_for_each(|(table, entry)| self.add(others[*table].word(entry), entry.count))
    }

    fn with_places(places: usize) -> Result<Self> {
        let mut table = Self::default();
        (table.entries, table.shift) = (Self::free(places)?, 64 - places.trailing_zeros());
        Ok(table)
    }

    /// The entries whose hashes fall into a range. They stand from its first place on, or right behind its last one; among
    /// them are some of the range before.
    fn in_range(&self, number: usize, ranges: usize) -> impl Iterator<Item = &Entry> {
        let places = self.entries.len();
        let (start, end) = (number * places / ranges, ((number + 1) * places).div_ceil(ranges));
        let behind = self.entries[end..].iter().chain(&self.entries[..start]).take_while(|entry| !entry.is_free());
        let all = self.with_long_words(&self.entries[start..end]).chain(behind);
        all.filter(move |entry| {
            let hash = entry.key().hash_of_word(self.seed);
            !entry.is_free() && (u128::from(hash) * ranges as u128) >> 64 == number as u128
        })
    }
}

/// How many distinct words there are in all tables, rarely less.
fn estimate(tables: &[WordCounts]) -> usize {
    let words: usize = tables.iter().map(|table| table.len).sum();
    // Words fall into ranges by their hashes, so that those of any range are drawn by lot.
    let ranges = (words / SAMPLE).max(1);
    let sample = tables.iter().flat_map(|table| table.in_range(0, ranges).map(|entry| table.word(entry)));
    let distinct = sample.collect::<HashSet<_>>().len();
    if ranges == 1 { distinct } else { distinct * ranges / 16 * 17 }
}

/// A range of the table that takes the others in.
struct Range<'t> {
    number: usize,
    of: usize,
    /// Where it begins in the table.
    first: usize,
    shift: u32,
    entries: &'t mut [Entry],
    /// The table's, in which long words stand that were there before. New ones stand behind them.
    arena: &'t [u8],
}

impl Range<'_> {
    fn take_in(mut self, others: &[WordCounts]) -> Result<Taken> {
        let mut taken = Taken { arena: Vec::new(), long: Vec::new(), words: 0, left: Vec::new() };
        for (table, other) in others.iter().enumerate() {
            for entry in other.in_range(self.number, self.of) {
                if !self.add(other, entry, &mut taken)? {
                    taken.left.push((table, *entry));
                }
            }
        }
        Ok(taken)
    }

    /// Adds an entry of another table, unless there is no place for it before the range ends.
    fn add(&mut self, other: &WordCounts, entry: &Entry, taken: &mut Taken) -> Result<bool> {
        let key = entry.key();
        let home = (key.hash_of_word(other.seed) >> self.shift) as usize - self.first;
        for at in home..self.entries.len() {
            let own = self.entries[at];
            if own.is_free() {
                self.entries[at] = Entry { start: self.take_word(other, entry, at, taken)?, ..*entry };
                return Ok(true);
            }
            if own.key() == key && (!key.is_elsewhere() || self.long(own.start, taken) == other.long(entry.start)) {
                self.entries[at].count = add_counts(own.count, entry.count)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where a new word begins that goes to a place, if it is long.
    fn take_word(&self, other: &WordCounts, entry: &Entry, at: usize, taken: &mut Taken) -> Result<u64> {
        taken.words += 1;
        if !entry.key().is_elsewhere() {
            return Ok(0);
        }
        taken.long.push(at);
        let word = other.long(entry.start);
        taken.arena.try_reserve(word.len() + LENGTH).map_err(|_| out_of_memory(taken.arena.len() + word.len()))?;
        Ok((self.arena.len() + push_long(&mut taken.arena, word)) as u64)
    }

    fn long<'s>(&'s self, start: u64, taken: &'s Taken) -> &'s [u8] {
        match (start as usize).checked_sub(self.arena.len()) {
            None => long_at(self.arena, start as usize),
            Some(start) => long_at(&taken.arena, start),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::threads::pool;

    fn table_of(words: &[(String, u64)]) -> WordCounts {
        let mut table = WordCounts::default();
        words.iter().for_each(|(word, count)| table.add(word.as_bytes(), *count).unwrap());
        table
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn all_words_of_all_tables_are_in_the_one(
            parts in prop::collection::vec(
                prop::collection::vec(("[ab]{1,7}|[ab]{14,20}|[a-z]{3}", 1u64..9), 0..300), 1..5),
            threads in 1usize..4,
        ) {
            let mut expected = BTreeMap::<Vec<u8>, u64>::new();
            for (word, count) in parts.iter().flatten() {
                *expected.entry(word.clone().into_bytes()).or_default() += count;
            }
            let mut tables: Vec<_> = parts.iter().map(|words| table_of(words)).collect();
            let mut all = WordCounts::for_all(&mut tables, usize::MAX).unwrap();
            let pool = pool(threads, usize::MAX);
            all.take_in(&tables, pool.as_ref(), &Job::default()).unwrap();
            prop_assert_eq!(all.len(), expected.len());
            let found: BTreeMap<_, _> = all.iter().map(|(word, count)| (word.to_vec(), count)).collect();
            prop_assert_eq!(&found, &expected);
            // It is a table like any other: what is counted again is found.
            for (word, count) in &expected {
                all.add(word, *count).unwrap();
            }
            prop_assert_eq!(all.len(), expected.len());
            prop_assert_eq!(all.total(), 2 * expected.values().map(|&count| u128::from(count)).sum::<u128>());
        }
    }

    #[test]
    fn a_table_that_was_expected_to_be_smaller_takes_all_in_too() {
        let words: Vec<_> = (0..3000).map(|number| (format!("a word of its own, number {number}"), 1)).collect();
        let tables: Vec<_> = words.chunks(700).map(table_of).collect();
        let mut all = WordCounts::with_places(1 << 10).unwrap();
        all.take_in(&tables, None, &Job::default()).unwrap();
        assert_eq!(all.len(), words.len());
        assert!(words.iter().all(|(word, _)| all.add(word.as_bytes(), 1).is_ok()));
        assert_eq!((all.len(), all.total()), (words.len(), 2 * words.len() as u128));
    }

    #[test]
    fn tables_stay_apart_where_there_is_no_room_for_all() {
        let words: Vec<_> = (0..200).map(|number| (number.to_string(), 1)).collect();
        let mut tables: Vec<_> = words.chunks(100).map(table_of).collect();
        let memory = tables.iter().map(WordCounts::memory).sum::<usize>();
        assert!(WordCounts::for_all(&mut tables, memory - 1).is_err());
        assert_eq!(tables.iter().map(WordCounts::len).sum::<usize>(), 200);
    }
}
