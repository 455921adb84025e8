//! One pre-token to ids by merging: the adjacent pair of lowest rank, the leftmost first, until none is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::{NO_RANK, PairTable};
use super::reserve;
use crate::{Error, Job, Result};

/// Up to this many bytes, a linear scan for each merge beats a heap.
const SHORT: usize = 48;

/// After so many merges of a long word, the caller is asked whether to stop: a few milliseconds.
const CHECK: usize = 1 << 14;

/// Marks a node of the long merge that its left neighbour has swallowed, and the end of the list.
const NONE: u32 = u32::MAX;

/// The ids of the bytes, and the pairs that merge.
#[derive(Debug)]
pub(crate) struct Merger {
    pub bytes: [u32; 256],
    pub pairs: PairTable,
}

impl Merger {
    /// Appends the ids of one pre-token.
    pub fn merge(&self, word: &[u8], out: &mut Vec<u32>, job: &Job) -> Result<()> {
        if word.len() <= SHORT { self.merge_short(word, out) } else { self.merge_long(word, out, job) }
    }

    /// Keeps the ranks of all pairs in an array and scans it for the lowest.
    fn merge_short(&self, word: &[u8], out: &mut Vec<u32>) -> Result<()> {
        let mut ids = [0; SHORT];
        let mut ranks = [NO_RANK; SHORT];
        let mut len = word.len();
        for (id, &byte) in ids.iter_mut().zip(word) {
            *id = self.bytes[usize::from(byte)];
        }
        for i in 1..len {
            ranks[i - 1] = self.pairs.get(ids[i - 1], ids[i]).0;
        }
        while len > 1 {
            let (mut at, mut lowest) = (0, NO_RANK);
            for (i, &rank) in ranks[..len - 1].iter().enumerate() {
                if rank < lowest {
                    (at, lowest) = (i, rank);
                }
            }
            if lowest == NO_RANK {
                break;
            }
            ids[at] = self.pairs.get(ids[at], ids[at + 1]).1;
            ids.copy_within(at + 2..len, at + 1);
            ranks.copy_within(at + 1..len, at);
            len -= 1;
            ranks[len - 1] = NO_RANK;
            if at + 1 < len {
                ranks[at] = self.pairs.get(ids[at], ids[at + 1]).0;
            }
            if at > 0 {
                ranks[at - 1] = self.pairs.get(ids[at - 1], ids[at]).0;
            }
        }
        reserve(out, len, "the token ids")?;
        out.extend_from_slice(&ids[..len]);
        Ok(())
    }

    /// A linked list of tokens and a heap of pairs by (rank, place): O(n log n) for any word. Takes up to 28 bytes of
    /// memory for each byte of the word. An entry of the heap may be out of date; it counts only if the pair that now
    /// stands at its place has its rank.
    fn merge_long(&self, word: &[u8], out: &mut Vec<u32>, job: &Job) -> Result<()> {
        const WHAT: &str = "merging a long pre-token";
        let count = word.len();
        let needed = count as u64 * 28;
        if count >= NONE as usize {
            return Err(Error::OutOfMemory { what: WHAT, needed });
        }
        let (mut ids, mut next, mut previous) = (Vec::new(), Vec::new(), Vec::new());
        reserve(&mut ids, count, WHAT)?;
        reserve(&mut next, count, WHAT)?;
        reserve(&mut previous, count, WHAT)?;
        let mut entries = Vec::new();
        reserve(&mut entries, count, WHAT)?;
        ids.extend(word.iter().map(|&byte| self.bytes[usize::from(byte)]));
        next.extend((1..count as u32).chain([NONE]));
        previous.extend([NONE].into_iter().chain(0..count as u32 - 1));
        let entry = |rank: u32, at: u32| Reverse(u64::from(rank) << 32 | u64::from(at));
        for (at, pair) in (0..).zip(ids.windows(2)) {
            let rank = self.pairs.get(pair[0], pair[1]).0;
            if rank != NO_RANK {
                entries.push(entry(rank, at));
            }
        }
        job.check()?;
        let mut heap = BinaryHeap::from(entries);
        let mut taken = 0usize;
        while let Some(Reverse(lowest)) = heap.pop() {
            taken += 1;
            if taken.is_multiple_of(CHECK) {
                job.check()?;
            }
            let (rank, at) = ((lowest >> 32) as u32, lowest as u32);
            let right = next[at as usize];
            if ids[at as usize] == NONE || right == NONE {
                continue;
            }
            let (now, new) = self.pairs.get(ids[at as usize], ids[right as usize]);
            if now != rank {
                continue;
            }
            ids[at as usize] = new;
            ids[right as usize] = NONE;
            let after = next[right as usize];
            next[at as usize] = after;
            heap.try_reserve(2).map_err(|_| Error::OutOfMemory { what: WHAT, needed })?;
            if after != NONE {
                previous[after as usize] = at;
                let rank = self.pairs.get(new, ids[after as usize]).0;
                if rank != NO_RANK {
                    heap.push(entry(rank, at));
                }
            }
            let before = previous[at as usize];
            if before != NONE {
                let rank = self.pairs.get(ids[before as usize], new).0;
                if rank != NO_RANK {
                    heap.push(entry(rank, before));
                }
            }
        }
        ids.retain(|&id| id != NONE);
        reserve(out, ids.len(), "the token ids")?;
        out.extend_from_slice(&ids);
        Ok(())
    }
}
