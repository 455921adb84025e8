//! The ids of any pre-token under any vocabulary are those of the slow, obvious version.
#![no_main]

use std::collections::HashMap;

use cs336_bpe::SpecialPolicy;
use cs336_bpe::reference::encode_word;
use cs336_bpe_fuzz::small_tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(u8, u8)>, String)| {
    let (picks, text) = input;
    let (tokenizer, merges) = small_tokenizer(&picks, r"[\s\S]+", &[]);
    let ranks: HashMap<_, _> = merges.into_iter().zip(0u32..).collect();
    let rank = |left: &[u8], right: &[u8]| ranks.get(&(left.to_vec(), right.to_vec())).copied();
    let mut ids = Vec::new();
    tokenizer.encode(text.as_bytes(), &SpecialPolicy::Token, &mut ids).expect("any text can be encoded");
    let tokens: Vec<&[u8]> = ids.iter().filter_map(|id| tokenizer.id_to_token(*id)).collect();
    assert_eq!(tokens, encode_word(text.as_bytes(), rank));
});
