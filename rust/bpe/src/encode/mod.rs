//! Pre-tokens to ids: merge the adjacent pair of lowest rank, the leftmost first, until none is left.

mod file;
mod pairs;
mod stream;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use hashbrown::HashTable;

pub use file::{Dtype, EncodeFileOptions, EncodeFileStats, sidecar};
pub(crate) use pairs::PairTable;
pub use stream::StreamEncoder;

use crate::vocab::Vocabulary;
use crate::{Error, Result};
use pairs::NO_RANK;

/// Up to this many bytes, a linear scan for each merge beats a heap.
const SHORT: usize = 48;

/// Marks a node of the long merge that its left neighbour has swallowed, and the end of the list.
const NONE: u32 = u32::MAX;

/// What encoding needs of a vocabulary.
#[derive(Debug)]
pub(crate) struct Encoder {
    bytes: [u32; 256],
    pairs: PairTable,
    /// Tokens that a pre-token spelled like them becomes, by hash of their bytes.
    whole: HashTable<u32>,
    longest: usize,
}

fn hash_of(bytes: &[u8]) -> u64 {
    foldhash::fast::FixedState::default().hash_one(bytes)
}

/// Makes room for `more` ids, or says that there is none.
pub(crate) fn reserve<T>(out: &mut Vec<T>, more: usize, what: &'static str) -> Result<()> {
    let needed = out.len().saturating_add(more).saturating_mul(size_of::<T>()) as u64;
    out.try_reserve(more).map_err(|_| Error::OutOfMemory { what, needed })
}

impl Encoder {
    pub fn new(vocabulary: &Vocabulary) -> Result<Self> {
        let mut bytes = [0; 256];
        for byte in 0..=255u8 {
            let missing = || Error::Vocabulary(format!("the byte 0x{byte:02x} has no token"));
            bytes[usize::from(byte)] = vocabulary.ordinary_id(&[byte]).ok_or_else(missing)?;
        }
        let mut pairs = PairTable::with_capacity(vocabulary.merges().len())?;
        for (rank, merge) in (0..).zip(vocabulary.merges()) {
            pairs.insert(merge.left, merge.right, rank, merge.new);
        }
        let mut encoder = Self { bytes, pairs, whole: HashTable::new(), longest: 0 };
        encoder.find_whole_tokens(vocabulary)?;
        Ok(encoder)
    }

    /// Fills `whole`. A token that its own bytes don't merge into never comes out of a pre-token spelled like it, unless
    /// the vocabulary says so.
    fn find_whole_tokens(&mut self, vocabulary: &Vocabulary) -> Result<()> {
        let mut ids = Vec::new();
        let token_of = |id: u32| vocabulary.token(id).unwrap_or_default();
        for (id, token) in vocabulary.tokens().filter(|(id, _)| vocabulary.is_ordinary(*id)) {
            ids.clear();
            if !vocabulary.whole_tokens() {
                self.merge(token, &mut ids)?;
                if ids != [id] {
                    continue;
                }
            }
            self.longest = self.longest.max(token.len());
            self.whole.insert_unique(hash_of(token), id, |&other| hash_of(token_of(other)));
        }
        Ok(())
    }

    /// Appends the ids of one pre-token.
    #[inline]
    pub fn word(&self, vocabulary: &Vocabulary, word: &[u8], out: &mut Vec<u32>) -> Result<()> {
        if word.len() <= self.longest {
            let found = self.whole.find(hash_of(word), |&id| vocabulary.token(id) == Some(word));
            if let Some(&id) = found {
                reserve(out, 1, "the token ids")?;
                out.push(id);
                return Ok(());
            }
        }
        self.merge(word, out)
    }

    fn merge(&self, word: &[u8], out: &mut Vec<u32>) -> Result<()> {
        if word.len() <= SHORT { self.merge_short(word, out) } else { self.merge_long(word, out) }
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
    fn merge_long(&self, word: &[u8], out: &mut Vec<u32>) -> Result<()> {
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
        let mut heap = BinaryHeap::from(entries);
        while let Some(Reverse(lowest)) = heap.pop() {
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
