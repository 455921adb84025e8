//! Bytes in pieces, cut anywhere, give the ids of the whole; counting, truncating and decoding agree with them.
#![no_main]

use cs336_bpe::{Job, SpecialPolicy};
use cs336_bpe_fuzz::small_tokenizer;
use libfuzzer_sys::fuzz_target;

const PATTERNS: [&str; 4] = ["gpt2", "cl100k", "o200k", r"\w+|\s"];

fuzz_target!(|input: (Vec<(u8, u8)>, u8, Vec<Vec<u8>>, u8)| {
    let (picks, pattern, mut pieces, limit) = input;
    let pattern = PATTERNS[usize::from(pattern) % PATTERNS.len()];
    let (tokenizer, _) = small_tokenizer(&picks, pattern, &["<a>", "<a><a>", "a b"]);
    // Long enough for the stream to give ids before its end.
    pieces.extend(pieces.clone().into_iter().cycle().take(if pieces.is_empty() { 0 } else { 100 }));
    let (policy, job) = (SpecialPolicy::Token, Job::default());
    let whole = pieces.concat();
    let mut expected = Vec::new();
    tokenizer.encode(&whole, &policy, &mut expected).expect("any bytes can be encoded");
    assert_eq!(tokenizer.decode_bytes(&expected).expect("these are ids"), whole);
    let mut ids: Vec<u32> = Vec::new();
    let mut stream = tokenizer.stream(&policy).expect("a stream");
    for piece in &pieces {
        stream.push(piece, &mut ids, &job).expect("any piece can be encoded");
    }
    stream.finish(&mut ids, &job).expect("any end can be encoded");
    assert_eq!(ids, expected);
    let limit = usize::from(limit);
    let counted = tokenizer.count(&whole, &policy, Some(limit), &job).expect("a count");
    assert_eq!(counted, expected.len().min(limit + 1));
    let kept = tokenizer.truncate(&whole, limit, &policy, &job).expect("a beginning");
    assert!(tokenizer.count(&whole[..kept], &policy, None, &job).expect("a count") <= limit);
    let mut stream = tokenizer.decode_stream();
    let mut text: String = expected.iter().map(|id| stream.push(*id).expect("these are ids")).collect();
    text.push_str(&stream.finish());
    assert_eq!(text, String::from_utf8_lossy(&whole));
});
