//! One pre-token to ids without merging: a search for the one way to write it that merging would leave.
//!
//! A sequence of tokens is what merging makes of a text if each of its tokens, and each two that stand side by side, are
//! what merging makes of their own bytes: the first merge to run across a border would run across it there, too. So of the
//! text up to any place there is one such sequence. The search takes the longest token that goes with the one before,
//! and goes back where none does. A place from which it went back can't be reached in another way, so that it is never
//! visited twice, and the time is linear.

use super::derivations::Derivations;
use super::pairs::{NO_RANK, PairTable};
use super::trie::{NONE, Trie};
use crate::vocab::Vocabulary;
use crate::{Job, Result};

/// After so many tokens the caller is asked whether to stop: less than a millisecond.
const CHECK: usize = 1 << 12;

/// What the search needs of a vocabulary in which every token is made in one way, after its parts.
#[derive(Debug)]
pub struct Search {
    trie: Trie,
    derivations: Derivations,
}

/// Room for a search, and what earlier ones found out.
#[derive(Debug)]
pub struct Memo {
    /// Pairs of tokens and whether they may stand side by side, each where its hash says: `left`, `right`, and two bits.
    pairs: Box<[u64]>,
    /// Bits of the places where a search failed.
    failed: Vec<u64>,
}

/// Entries of a memo: 256 kB, which leaves room beside it in the second cache.
const PAIRS: usize = 1 << 15;

impl Default for Memo {
    fn default() -> Self {
        Self { pairs: vec![0; PAIRS].into(), failed: Vec::new() }
    }
}

impl Search {
    /// `whole` says by id which tokens are what merging makes of their bytes. `None` if the trie would be too large.
    pub fn new(vocabulary: &Vocabulary, mut derivations: Derivations, whole: &[bool]) -> Result<Option<Self>> {
        let words = vocabulary.tokens().filter(|(id, _)| whole[*id as usize]);
        let mut by_beginning: Vec<_> = words.map(|(id, token)| (beginning(token), token, id)).collect();
        by_beginning.sort_unstable();
        let sorted: Vec<(&[u8], u32)> = by_beginning.into_iter().map(|(_, token, id)| (token, id)).collect();
        let set_shorter = |(token, id): &(&[u8], u32), shorter| derivations.set_shorter(*id, token.len(), shorter);
        let trie = Trie::new(&sorted, set_shorter)?;
        Ok(trie.map(|trie| Self { trie, derivations }))
    }

    /// Appends the ids of a word; false, and nothing appended, where no way was found, which does not happen.
    pub fn encode(
        &self,
        pairs: &PairTable,
        memo: &mut Memo,
        word: &[u8],
        out: &mut Vec<u32>,
        job: &Job,
    ) -> Result<bool> {
        let start = out.len();
        // Places up to the 64th need no memory of their own.
        let mut failed = 0u64;
        memo.failed.clear();
        let mut at = 0;
        let (mut candidate, mut length) = self.trie.longest(word, |id| self.derivations.prefetch(id));
        let mut steps = 0usize;
        while at < word.len() {
            steps += 1;
            if steps.is_multiple_of(CHECK) {
                job.check()?;
            }
            let last = if out.len() > start { out.last().copied() } else { None };
            if candidate == NONE {
                match at {
                    0..64 => failed |= 1 << at,
                    _ => memo.fail(at, word.len())?,
                }
                let Some(last) = last else { return Ok(false) };
                out.pop();
                let (length, shorter) = self.derivations.shorter(last);
                at -= length;
                candidate = shorter;
            } else {
                let end = at + length;
                let open = if end < 64 { failed >> end & 1 == 0 } else { !memo.has_failed(end) };
                if open && last.is_none_or(|last| self.go_together(pairs, memo, (last, candidate), &word[at - 1..])) {
                    super::reserve(out, 1, "the token ids")?;
                    out.push(candidate);
                    at = end;
                    // Its length comes from the walk: so the next walk need not wait for the table.
                    (candidate, length) = self.trie.longest(&word[at..], |id| self.derivations.prefetch(id));
                    continue;
                }
                candidate = self.derivations.shorter(candidate).1;
            }
            length = if candidate == NONE { 0 } else { self.derivations.shorter(candidate).0 };
        }
        Ok(true)
    }

    /// Whether merging leaves two tokens as they are that stand side by side; `border` begins with the last byte of the one
    /// and the first of the other.
    #[inline]
    fn go_together(&self, pairs: &PairTable, memo: &mut Memo, (left, right): (u32, u32), border: &[u8]) -> bool {
        if let Some(told) = self.derivations.glance(left, right, border[0], border[1]) {
            return told;
        }
        // Ids are less than 2^26.
        let key = u64::from(left) << 28 | u64::from(right) << 2 | 1;
        let entry =
            &mut memo.pairs[(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PAIRS.trailing_zeros())) as usize];
        if *entry & !2 == key {
            return *entry & 2 != 0;
        }
        let together = pairs.rank(left, right) == NO_RANK && self.derivations.meet(pairs, left, right);
        *entry = key | u64::from(together) << 1;
        together
    }
}

impl Memo {
    #[cold]
    fn fail(&mut self, at: usize, length: usize) -> Result<()> {
        if self.failed.is_empty() {
            super::reserve(&mut self.failed, length / 64 + 1, "a long pre-token")?;
            self.failed.resize(length / 64 + 1, 0);
        }
        self.failed[at / 64] |= 1 << (at % 64);
        Ok(())
    }

    #[inline]
    fn has_failed(&self, at: usize) -> bool {
        self.failed.get(at / 64).is_some_and(|bits| bits >> (at % 64) & 1 != 0)
    }
}

/// The first eight bytes as a number that compares as they do, and shorter tokens as if zeros followed.
fn beginning(token: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = token.len().min(8);
    bytes[..length].copy_from_slice(&token[..length]);
    u64::from_be_bytes(bytes)
}
