//! The words of a table in order.

use std::cmp::Ordering;

use super::{Entry, INLINE, WordCounts};
use crate::{Job, Result};

impl WordCounts {
    /// Calls `f` on all words in order, and is empty then, with its place kept for others.
    pub(crate) fn drain_sorted(&mut self, job: &Job, f: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        // Without its entries it is a valid table, if `f` fails: an empty one.
        let mut entries = std::mem::take(&mut self.entries);
        self.len = 0;
        let size = entries.len();
        entries.retain(|entry| !entry.is_free());
        for entry in &mut entries {
            if entry.key().is_elsewhere() {
                entry.key[..INLINE].copy_from_slice(&self.long(entry.start)[..INLINE]);
            }
        }
        self.sort(&mut entries, job)?;
        entries.iter().try_for_each(|entry| f(self.word(entry), entry.count))?;
        entries.clear();
        entries.resize(size, Entry::default());
        self.entries = entries;
        self.arena.clear();
        // One very long word need not take the room of all that follow.
        if self.arena.capacity() > self.room / 2 {
            self.arena = Vec::new();
        }
        Ok(())
    }

    /// Sorts entries by their words; the keys of long ones begin as these do.
    fn sort(&self, entries: &mut [Entry], job: &Job) -> Result<()> {
        /// What is sorted between two checks of whether to stop.
        const CHECK: usize = 1 << 18;
        job.check()?;
        if entries.len() <= CHECK {
            entries.sort_unstable_by(|one, other| self.compare(one, other));
            return Ok(());
        }
        let (less, _, greater) =
            entries.select_nth_unstable_by(entries.len() / 2, |one, other| self.compare(one, other));
        self.sort(less, job)?;
        self.sort(greater, job)
    }

    /// Free bytes of a key are 0, and its last one is the word's length or, greater than any, the mark of a long one. So
    /// keys are in the order of their words, but for two long ones.
    #[inline]
    fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        u128::from_be_bytes(one.key).cmp(&u128::from_be_bytes(other.key)).then_with(|| {
            if one.key().is_elsewhere() { self.long(one.start).cmp(self.long(other.start)) } else { Ordering::Equal }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words in the order of their bytes, with every length around that of a key, and zeros, which fill keys up.
    #[test]
    fn a_drained_table_gives_its_words_in_order_and_takes_others_in_their_place() {
        let mut expected: Vec<Vec<u8>> =
            (0..20).flat_map(|length| [0, b'a', 0xff].map(|byte| vec![byte; length])).collect();
        expected.extend((0..20).map(|length| [vec![b'a'; length], vec![0]].concat()));
        expected.retain(|word| !word.is_empty());
        expected.sort();
        expected.dedup();
        let mut table = WordCounts::default();
        let mut memory = None;
        for _ in 0..3 {
            expected.iter().rev().for_each(|word| table.add(word, word.len() as u64).unwrap());
            let mut drained = Vec::new();
            table
                .drain_sorted(&Job::default(), &mut |word, count| {
                    assert_eq!(word.len() as u64, count);
                    drained.push(word.to_vec());
                    Ok(())
                })
                .unwrap();
            assert_eq!(drained, expected);
            assert!(table.is_empty());
            assert_eq!(*memory.get_or_insert(table.memory()), table.memory());
        }
    }
}
