//! Encoding in pieces equals encoding whole; decoding gives the text back.

use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::{Error, Job, SpecialPolicy, Tokenizer, Vocabulary};
use proptest::prelude::*;

/// Merges of a few symbols that words of the test alphabet are full of.
fn tokenizer(pattern: &str, special: &[&str]) -> Tokenizer {
    let b = |c: char| c as u32;
    let merges = [
        (b('a'), b('a')),
        (b(' '), b('a')),
        (256, 256),
        (b('b'), b('a')),
        (b('\''), b('s')),
        (257, 259),
        (b(' '), b(' ')),
        (256, b('b')),
        (b('\n'), b('\n')),
        (0xc3, 0xa9),
    ];
    let special: Vec<String> = special.iter().map(|s| (*s).to_owned()).collect();
    Tokenizer::new(Vocabulary::from_training(&special, &merges).unwrap(), Pattern::new(pattern).unwrap()).unwrap()
}

fn encode(tokenizer: &Tokenizer, text: &[u8], policy: &SpecialPolicy) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, policy, &mut ids).unwrap();
    ids
}

fn in_pieces(tokenizer: &Tokenizer, text: &[u8], size: usize, policy: &SpecialPolicy) -> Vec<u32> {
    let (mut stream, mut ids) = (tokenizer.stream(policy).unwrap(), Vec::new());
    for piece in text.chunks(size) {
        stream.push(piece, &mut ids, &Job::default()).unwrap();
    }
    stream.finish(&mut ids, &Job::default()).unwrap();
    ids
}

fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"a",
        b"b",
        b"aa",
        b" ",
        b"  ",
        b"\n",
        b"\r\n",
        b"'s",
        b"'",
        b"1",
        b"<e>",
        b"<e><e>",
        b"<e",
        b"\xc3\xa9",
        b"\xc3",
        b"\xff",
        b"\xe2\x82",
        b"\xf0\x9f\x98\x80",
        b"!",
        b"\xe3\x80\x80",
        b"\xcc\x81",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..400).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_equal_the_whole(text in nasty(), size in 1usize..40, pattern in 0usize..4) {
        let pattern = ["gpt2", "cl100k", "o200k", r"\w+|\s+"][pattern];
        let tokenizer = tokenizer(pattern, &["<e>", "<e><e>", "aa!"]);
        for policy in [SpecialPolicy::Token, SpecialPolicy::Text] {
            let whole = encode(&tokenizer, &text, &policy);
            prop_assert_eq!(&tokenizer.decode_bytes(&whole).unwrap(), &text);
            prop_assert_eq!(&whole, &in_pieces(&tokenizer, &text, size, &policy));
            prop_assert_eq!(whole.len(), tokenizer.count(&text, &policy, None, &Job::default()).unwrap());
        }
    }

    #[test]
    fn decoding_one_by_one_equals_replacing_errors(text in nasty()) {
        let tokenizer = tokenizer("gpt2", &["<e>"]);
        let mut stream = tokenizer.decode_stream();
        let mut decoded = String::new();
        for id in encode(&tokenizer, &text, &SpecialPolicy::Text) {
            decoded += &stream.push(id).unwrap();
        }
        decoded += &stream.finish();
        prop_assert_eq!(decoded, String::from_utf8_lossy(&text));
    }
}

#[test]
fn ten_million_letters_in_single_bytes() {
    let tokenizer = tokenizer("gpt2", &["<e>"]);
    let text = vec![b'a'; 10_000_000];
    let ids = in_pieces(&tokenizer, &text, 1, &SpecialPolicy::Token);
    assert_eq!(ids.len(), 2_500_000);
    assert_eq!(ids, encode(&tokenizer, &text, &SpecialPolicy::Token));
}

#[test]
fn refused_special_text_says_where_it_stands() {
    let tokenizer = tokenizer("gpt2", &["<e>", "<e><e>"]);
    let text = "é é <e> <e><e>".as_bytes();
    let place = |policy: SpecialPolicy| {
        let mut ids = vec![7];
        let whole = tokenizer.encode(text, &policy, &mut ids).unwrap_err();
        assert_eq!(ids, [7]);
        let mut stream = tokenizer.stream(&policy).unwrap();
        let pushed: Result<(), Error> =
            text.iter().try_for_each(|byte| stream.push(&[*byte], &mut ids, &Job::default()));
        let streamed = pushed.and_then(|()| stream.finish(&mut ids, &Job::default())).unwrap_err();
        assert_eq!(whole.to_string(), streamed.to_string());
        match whole {
            Error::DisallowedSpecial { token, byte_offset, char_offset } => (token, byte_offset, char_offset),
            other => panic!("{other}"),
        }
    };
    assert_eq!(place(SpecialPolicy::Error), ("<e>".to_owned(), 6, 4));
    assert_eq!(place(SpecialPolicy::Allowed(vec!["<e>".to_owned()])), ("<e><e>".to_owned(), 10, 8));
    let unknown = SpecialPolicy::Allowed(vec!["<x>".to_owned()]);
    assert!(matches!(tokenizer.encode(text, &unknown, &mut Vec::new()), Err(Error::SpecialToken { .. })));
}

#[test]
fn counting_stops_early() {
    let tokenizer = tokenizer("gpt2", &[]);
    assert_eq!(tokenizer.count(&b"b ".repeat(100_000), &SpecialPolicy::Text, Some(10), &Job::default()).unwrap(), 11);
    assert_eq!(tokenizer.count(b"b b", &SpecialPolicy::Text, Some(10), &Job::default()).unwrap(), 3);
}

#[test]
fn unknown_ids_are_named() {
    let tokenizer = tokenizer("gpt2", &[]);
    let error = tokenizer.decode_bytes(&[0u32, 999]).unwrap_err();
    assert!(matches!(error, Error::UnknownId { id: 999, position: 1, .. }));
    assert!(matches!(tokenizer.decode_stream().push(999), Err(Error::UnknownId { id: 999, position: 0, .. })));
}

#[test]
fn offsets_are_spans_of_bytes() {
    let tokenizer = tokenizer("gpt2", &["<e>"]);
    let (ids, spans) = tokenizer.encode_with_offsets("é a<e>".as_bytes(), &SpecialPolicy::Token).unwrap();
    assert_eq!(spans, [(0, 2), (2, 4), (4, 7)]);
    assert_eq!(ids.len(), 3);
}
