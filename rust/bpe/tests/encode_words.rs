//! One pre-token equals the oracle, whatever the vocabulary: short ones, long ones, and those that are tokens.

use std::collections::{BTreeMap, BTreeSet};

use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::reference::{encode_word, train};
use cs336_bpe::{SpecialPolicy, Tokenizer, Vocabulary};
use proptest::prelude::*;

type Pair = (Vec<u8>, Vec<u8>);

/// Words of a small alphabet, in which all kinds of overlaps and ties occur.
fn word(letters: u8, length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec((0..letters).prop_map(|letter| b'a' + letter), length)
}

/// Merges learned from random words.
fn trained() -> impl Strategy<Value = (u8, Vec<Pair>)> {
    (1u8..=4).prop_flat_map(|letters| {
        let words = proptest::collection::vec((word(letters, 1..40), 1u64..5), 1..12);
        (words, 0usize..40).prop_map(move |(words, merges)| (letters, train(&words, merges, 1, usize::MAX)))
    })
}

/// Any merges that make a vocabulary: parts may rank below the whole, a token may be made in several ways.
fn untrained() -> impl Strategy<Value = (u8, Vec<Pair>)> {
    (1u8..=4).prop_flat_map(|letters| {
        let picks = proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40);
        picks.prop_flat_map(move |picks| {
            let mut tokens: Vec<Vec<u8>> = (0..letters).map(|letter| vec![b'a' + letter]).collect();
            let mut pairs: BTreeSet<Pair> = BTreeSet::new();
            for (left, right) in picks {
                let (left, right) = (left.get(&tokens).clone(), right.get(&tokens).clone());
                let new = [&left[..], &right].concat();
                if new.len() <= 60 && pairs.insert((left, right)) && !tokens.contains(&new) {
                    tokens.push(new);
                }
            }
            (Just(letters), Just(pairs.into_iter().collect::<Vec<_>>()).prop_shuffle())
        })
    })
}

/// A tokenizer that takes every text for one pre-token. Ids are in no order and have gaps.
fn tokenizer(merges: &[Pair], step: u32, whole_tokens: bool) -> Tokenizer {
    let mut tokens: BTreeSet<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    tokens.extend(merges.iter().map(|(left, right)| [&left[..], right].concat()));
    // Multiples of a number modulo a prime differ.
    let tokens = (0..).zip(tokens).map(|(at, token)| (at * step % 1009, token)).collect();
    let vocabulary = Vocabulary::from_parts(tokens, merges.to_vec(), vec![], whole_tokens).unwrap();
    Tokenizer::new(vocabulary, Pattern::new(r"[\s\S]+").unwrap()).unwrap()
}

fn equals_the_oracle(merges: &[Pair], words: &[Vec<u8>], step: u32, whole_tokens: bool) {
    let tokenizer = tokenizer(merges, step, whole_tokens);
    let ranks: BTreeMap<(&[u8], &[u8]), u32> =
        (0..).zip(merges).map(|(rank, (l, r))| ((&l[..], &r[..]), rank)).collect();
    let rank = |left: &[u8], right: &[u8]| ranks.get(&(left, right)).copied();
    for word in words {
        let mut ids = Vec::new();
        tokenizer.encode(word, &SpecialPolicy::Token, &mut ids).unwrap();
        let tokens: Vec<&[u8]> = ids.iter().map(|id| tokenizer.id_to_token(*id).unwrap()).collect();
        if whole_tokens && tokenizer.token_to_id(word).is_some() {
            assert_eq!(tokens, [&word[..]]);
        } else {
            assert_eq!(tokens, encode_word(word, rank), "{}", String::from_utf8_lossy(word));
        }
        assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), *word);
    }
    // Those words that are tokens are the ones that an encoder could look up instead.
    for (_, token) in tokenizer.vocabulary().tokens().filter(|(_, token)| token.len() > 1) {
        let mut ids = Vec::new();
        tokenizer.encode(token, &SpecialPolicy::Token, &mut ids).unwrap();
        let whole = whole_tokens || encode_word(token, rank).len() == 1;
        assert_eq!(ids.len() == 1, whole, "{}", String::from_utf8_lossy(token));
    }
}

/// Words for the scan of short ones and for the heap of long ones.
fn words(letters: u8) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let lengths = prop_oneof![0usize..10, 40usize..60, 0usize..200];
    proptest::collection::vec(lengths.prop_flat_map(move |length| word(letters, length)), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn trained_vocabularies(
        (merges, words) in trained().prop_flat_map(|(letters, merges)| (Just(merges), words(letters))),
        step in 1u32..500,
    ) {
        equals_the_oracle(&merges, &words, step, false);
    }

    #[test]
    fn untrained_vocabularies(
        (merges, words) in untrained().prop_flat_map(|(letters, merges)| (Just(merges), words(letters))),
        step in 1u32..500,
        whole_tokens: bool,
    ) {
        equals_the_oracle(&merges, &words, step, whole_tokens);
    }
}
