//! How tokens are made of one another, and what follows from that: which come out where a pre-token is spelled like them,
//! and which may stand side by side.

use super::PairTable;
use super::pairs::NO_RANK;
use super::trie::NONE;
use crate::memory::{Table, prefetch};
use crate::vocab::Vocabulary;
use crate::{Error, Result};

/// When a token is made: 0 for a byte, else one more than the rank of its merge.
type Time = u32;

const NEVER: Time = Time::MAX;

/// A time for which two bytes are enough: nearly all that bytes merge at. What comes later, or never, counts as [`LATE`].
type ShortTime = u16;

const LATE: ShortTime = ShortTime::MAX;

fn short(time: Time) -> ShortTime {
    ShortTime::try_from(time).unwrap_or(LATE)
}

/// How a token is made, where that says when: by one merge at most, and after its parts. And what else is asked of a token
/// that may stand beside another: all of it in one cache line, for most are not near when they are looked at.
///
/// What merges across a border is one of the left token's tails - itself, what it ends with, and so on to its last byte -
/// with one of the right token's heads, before either becomes part of something greater on its own side.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Derivation {
    /// Time, left and right part. Of what no merge makes the time is [`NEVER`].
    made: Time,
    left: u32,
    right: u32,
    /// When the first byte becomes part of something greater, and when the last does.
    first_ends: ShortTime,
    last_ends: ShortTime,
    /// The token's heads, and what merges with one of them before that ends.
    heads: Set,
    before: Set,
    /// Its tails, and what one of them merges with before that ends.
    tails: Set,
    after: Set,
    /// Its length in bytes, and the longest other token that it begins with.
    length: u32,
    shorter: u32,
}

/// Tokens, of which several may have one bit: what is in two sets leaves a bit in both.
type Set = u64;

fn only(id: u32) -> Set {
    1 << (id.wrapping_mul(0x9e37_79b9) >> 26)
}

const UNKNOWN: Derivation = Derivation {
    made: NEVER,
    left: 0,
    right: 0,
    first_ends: LATE,
    last_ends: LATE,
    heads: 0,
    before: 0,
    tails: 0,
    after: 0,
    length: 0,
    shorter: NONE,
};

/// The derivation of every token.
#[derive(Debug)]
pub struct Derivations {
    by_id: Table<Derivation>,
    /// When two bytes merge.
    bytes: Table<[ShortTime; 256]>,
}

impl Derivations {
    /// `None` if some token can be made in two ways, or before its parts, as in lists of merges that no training made; or
    /// if ids are so far apart that a table of them would waste memory.
    pub fn new(vocabulary: &Vocabulary) -> Result<Option<Self>> {
        const SPARSE: usize = 16;
        if vocabulary.size() > SPARSE * (256 + vocabulary.merges().len()) {
            return Ok(None);
        }
        let needed = (vocabulary.size() * size_of::<Derivation>()) as u64;
        let missing = || Error::OutOfMemory { what: "the table of tokens", needed };
        let mut by_id = Table::new(UNKNOWN, vocabulary.size()).ok_or_else(missing)?;
        let mut bytes = Table::new([LATE; 256], 256).ok_or_else(missing)?;
        for id in (0..=255u8).filter_map(|byte| vocabulary.ordinary_id(&[byte])) {
            by_id[id as usize] = Derivation { made: 0, heads: only(id), tails: only(id), ..UNKNOWN };
        }
        for (time, merge) in (1..).zip(vocabulary.merges()) {
            let made = |id: u32| by_id[id as usize].made;
            if made(merge.left) == NEVER || made(merge.right) == NEVER || made(merge.new) != NEVER {
                return Ok(None);
            }
            if let (Some(&[left]), Some(&[right])) = (vocabulary.token(merge.left), vocabulary.token(merge.right)) {
                bytes[usize::from(left)][usize::from(right)] = short(time);
            }
            // Of merges at one time the leftmost goes first: one across the left border before this one, and this one
            // before one across the right border. They are the same merge only where both parts are.
            by_id[merge.right as usize].before |= only(merge.left);
            let (left, right) = (by_id[merge.left as usize], by_id[merge.right as usize]);
            by_id[merge.new as usize] = Derivation {
                made: time,
                left: merge.left,
                right: merge.right,
                first_ends: if left.made == 0 { short(time) } else { left.first_ends },
                last_ends: if right.made == 0 { short(time) } else { right.last_ends },
                // What a part's own sets hold so far is of merges that come before this one.
                heads: left.heads | only(merge.new),
                before: left.before,
                tails: right.tails | only(merge.new),
                after: right.after,
                ..UNKNOWN
            };
            by_id[merge.left as usize].after |= only(merge.right);
        }
        Ok(Some(Self { by_id, bytes }))
    }

    /// Sets what [`shorter`](Self::shorter) gives.
    pub fn set_shorter(&mut self, id: u32, length: usize, shorter: u32) {
        let token = &mut self.by_id[id as usize];
        (token.length, token.shorter) = (length as u32, shorter);
    }

    /// A token's length, and the longest other one that it begins with.
    #[inline]
    pub fn shorter(&self, id: u32) -> (usize, u32) {
        let token = &self.by_id[id as usize];
        (token.length as usize, token.shorter)
    }

    /// Asks for the memory that [`glance`](Self::glance) will read.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        prefetch(&self.by_id[id as usize]);
    }

    /// Whether two tokens still come out of their bytes when these stand side by side, as far as one look at both tells;
    /// `last` and `first` are the bytes at the border.
    #[inline]
    pub fn glance(&self, left: u32, right: u32, last: u8, first: u8) -> Option<bool> {
        let (left, right) = (&self.by_id[left as usize], &self.by_id[right as usize]);
        if left.after & right.heads == 0 || left.tails & right.before == 0 {
            return Some(true);
        }
        // What `meet` looks at last, and most borders fall by.
        let merge = self.bytes[usize::from(last)][usize::from(first)];
        (merge < left.last_ends && merge <= right.first_ends).then_some(false)
    }

    /// For each id whether merging the token's bytes by themselves gives the token back.
    pub fn whole(&self, vocabulary: &Vocabulary, pairs: &PairTable) -> Vec<bool> {
        let mut whole: Vec<bool> = self.by_id.iter().map(|it| it.made == 0).collect();
        for merge in vocabulary.merges() {
            let parts = whole[merge.left as usize] && whole[merge.right as usize];
            whole[merge.new as usize] = parts && self.meet(pairs, merge.left, merge.right);
        }
        whole
    }

    /// Whether two tokens still come out of their bytes when these stand side by side, until the two merge.
    ///
    /// Merges happen in order of time, equal ones from left to right, and each side's only depend on its own bytes until
    /// one runs across the border. So we go back in time through the tokens that touch the border, `left` and `right`,
    /// and look whether they would have merged before the next thing that happened to either.
    pub fn meet(&self, pairs: &PairTable, mut left: u32, mut right: u32) -> bool {
        // When `left` and `right` become part of a greater token on their own side.
        let (mut left_ends, mut right_ends) = (NEVER, NEVER);
        loop {
            let Derivation { made: left_made, right: left_tail, .. } = self.by_id[left as usize];
            let Derivation { made: right_made, left: right_head, .. } = self.by_id[right as usize];
            if left_made == 0 && right_made == 0 {
                return true;
            }
            if left_made > right_made {
                (left, left_ends) = (left_tail, left_made);
            } else {
                (right, right_ends) = (right_head, right_made);
            }
            let rank = pairs.rank(left, right);
            // What stands further left goes first where both happen at one time: the left side's step, then this one.
            if rank != NO_RANK && rank + 1 < left_ends && rank < right_ends {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Job;
    use crate::encode::Encoder;

    type Pair = (Vec<u8>, Vec<u8>);

    /// Merges of random tokens, each after those that make its parts; some tokens may be made in two ways.
    fn merges() -> impl Strategy<Value = Vec<Pair>> {
        let picks = proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..30);
        (1u8..=3, picks).prop_map(|(letters, picks)| {
            let mut tokens: Vec<Vec<u8>> = (0..letters).map(|letter| vec![b'a' + letter]).collect();
            let mut pairs = Vec::new();
            for (left, right) in picks {
                let pair = (left.get(&tokens).clone(), right.get(&tokens).clone());
                let new = [&pair.0[..], &pair.1].concat();
                if !pairs.contains(&pair) && new.len() <= 60 {
                    pairs.push(pair);
                    tokens.push(new);
                }
            }
            pairs
        })
    }

    fn vocabulary(merges: Vec<Pair>) -> Vocabulary {
        let mut tokens: BTreeSet<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.extend(merges.iter().map(|(left, right)| [&left[..], right].concat()));
        Vocabulary::new((0..).zip(tokens).collect(), merges, vec![]).unwrap()
    }

    /// Whether merging was spared, and what it would have found.
    fn both(vocabulary: &Vocabulary) -> (Option<Vec<bool>>, Vec<bool>) {
        let encoder = Encoder::new(vocabulary).unwrap();
        let found = Derivations::new(vocabulary).unwrap().map(|it| it.whole(vocabulary, &encoder.merger.pairs));
        (found, encoder.merged_whole(vocabulary).unwrap())
    }

    /// Of each two tokens that merging makes of their own bytes: whether it makes both of these side by side, whether they
    /// meet, and what a glance tells.
    fn borders(vocabulary: &Vocabulary) -> Vec<(bool, bool, Option<bool>)> {
        let encoder = Encoder::new(vocabulary).unwrap();
        let derivations = Derivations::new(vocabulary).unwrap().unwrap();
        let whole = encoder.merged_whole(vocabulary).unwrap();
        // The letters of `merges` and what is made of them: other bytes merge with nothing.
        let tokens = vocabulary.tokens().filter(|(id, token)| whole[*id as usize] && token[0].is_ascii_lowercase());
        let tokens: Vec<_> = tokens.collect();
        let border = |(left, before): (u32, &[u8]), (right, after): (u32, &[u8])| {
            let (mut ids, pairs) = (Vec::new(), &encoder.merger.pairs);
            encoder.merger.merge(&[before, after].concat(), &mut ids, &Job::default()).unwrap();
            let meet = pairs.rank(left, right) == NO_RANK && derivations.meet(pairs, left, right);
            (ids == [left, right], meet, derivations.glance(left, right, before[before.len() - 1], after[0]))
        };
        tokens.iter().flat_map(|left| tokens.iter().map(|right| border(*left, *right))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn borders_hold_where_merging_leaves_them(mut merges in merges()) {
            let mut made = BTreeSet::new();
            merges.retain(|(left, right)| made.insert([&left[..], right].concat()));
            for (merged, meet, glance) in borders(&vocabulary(merges)) {
                prop_assert_eq!(meet, merged);
                prop_assert_eq!(glance.unwrap_or(merged), merged);
            }
        }

        #[test]
        fn what_derivations_say_is_what_merging_does(merges in merges(), first: prop::sample::Index) {
            let mut made = BTreeSet::new();
            let once = merges.iter().all(|(left, right)| made.insert([&left[..], right].concat()));
            let (found, merged) = both(&vocabulary(merges.clone()));
            prop_assert_eq!(found.is_some(), once);
            if let Some(found) = found {
                prop_assert_eq!(found, merged);
            }
            // A merge moved to the front ranks before those that make its parts.
            if once && !merges.is_empty() {
                let mut moved = merges.clone();
                let first = moved.remove(first.index(moved.len()));
                let bytes = first.0.len() == 1 && first.1.len() == 1;
                moved.insert(0, first);
                let (found, merged) = both(&vocabulary(moved));
                prop_assert_eq!(found.is_some(), bytes);
                if let Some(found) = found {
                    prop_assert_eq!(found, merged);
                }
            }
        }
    }
}
