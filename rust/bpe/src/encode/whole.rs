//! Which tokens come out where a pre-token is spelled like them.

use super::PairTable;
use super::pairs::NO_RANK;
use crate::vocab::Vocabulary;

/// When a token is made: 0 for a byte, else one more than the rank of its merge.
type Time = u32;

/// How each token is made, where that says when: every token by one merge at most, and after its parts.
#[derive(Debug)]
pub struct Derivations {
    /// Time, left and right part by id. Of what no merge makes the time is [`NEVER`].
    steps: Vec<(Time, u32, u32)>,
}

const NEVER: Time = Time::MAX;

impl Derivations {
    /// `None` if some token can be made in two ways, or before its parts, as in lists of merges that no training made; or
    /// if ids are so far apart that a table of them would waste memory.
    pub fn new(vocabulary: &Vocabulary) -> Option<Self> {
        const SPARSE: usize = 16;
        if vocabulary.size() > SPARSE * (256 + vocabulary.merges().len()) {
            return None;
        }
        let mut steps = vec![(NEVER, 0, 0); vocabulary.size()];
        for byte in 0..=255u8 {
            steps[vocabulary.ordinary_id(&[byte])? as usize].0 = 0;
        }
        for (time, merge) in (1..).zip(vocabulary.merges()) {
            if steps[merge.left as usize].0 == NEVER || steps[merge.right as usize].0 == NEVER {
                return None;
            }
            let step = &mut steps[merge.new as usize];
            if step.0 != NEVER {
                return None;
            }
            *step = (time, merge.left, merge.right);
        }
        Some(Self { steps })
    }

    /// For each id two sets of 64 bits: of tokens with which a merge may run across the token's end, and of those as which
    /// it may be run into at its beginning. Where the first of one token and the second of the next have nothing in
    /// common, nothing ever runs across the border between them.
    pub fn signatures(&self, vocabulary: &Vocabulary) -> Vec<(u64, u64)> {
        let bit = |id: u32| 1u64 << (id.wrapping_mul(0x9e37_79b9) >> 26);
        let mut signatures: Vec<(u64, u64)> = (0..vocabulary.size() as u32).map(|id| (0, bit(id))).collect();
        for merge in vocabulary.merges() {
            signatures[merge.left as usize].0 |= bit(merge.right);
        }
        for merge in vocabulary.merges() {
            let (tail, head) = (signatures[merge.right as usize].0, signatures[merge.left as usize].1);
            let new = &mut signatures[merge.new as usize];
            *new = (new.0 | tail, new.1 | head);
        }
        signatures
    }

    /// For each id whether merging the token's bytes by themselves gives the token back.
    pub fn whole(&self, vocabulary: &Vocabulary, pairs: &PairTable) -> Vec<bool> {
        let mut whole: Vec<bool> = self.steps.iter().map(|step| step.0 == 0).collect();
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
            let (left_made, _, left_tail) = self.steps[left as usize];
            let (right_made, right_head, _) = self.steps[right as usize];
            if left_made == 0 && right_made == 0 {
                return true;
            }
            if left_made > right_made {
                (left, left_ends) = (left_tail, left_made);
            } else {
                (right, right_ends) = (right_head, right_made);
            }
            let rank = pairs.get(left, right).0;
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
        let found = Derivations::new(vocabulary).map(|it| it.whole(vocabulary, &encoder.merger.pairs));
        (found, encoder.merged_whole(vocabulary).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

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
