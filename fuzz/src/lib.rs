//! What fuzz targets have in common: files for loaders to read, and what holds for any tokenizer that was read.

use std::path::Path;

use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::{SpecialPolicy, Tokenizer, Vocabulary};

/// Files with these contents, in a folder of their own.
pub fn with_files(contents: &[&[u8]], work: impl FnOnce(&[&Path])) {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<_> = (0..contents.len()).map(|number| folder.path().join(number.to_string())).collect();
    for (path, content) in paths.iter().zip(contents) {
        std::fs::write(path, content).expect("a file");
    }
    let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
    work(&paths);
}

/// What was read can be used, and its own file gives it back.
pub fn is_sound(tokenizer: &Tokenizer) {
    let text = "low lower\r\n\n 'Tis 1234\u{3000}\u{1f408}<|endoftext|> x".as_bytes();
    for text in [text, b"\xff\xf0\x9f\x90a"] {
        let mut ids = Vec::new();
        tokenizer.encode(text, &SpecialPolicy::Token, &mut ids).expect("any text can be encoded");
        assert_eq!(tokenizer.decode_bytes(&ids).expect("these are ids"), text);
    }
    with_files(&[b""], |paths| {
        cs336_bpe::formats::native::save(tokenizer, paths[0]).expect("our format holds any tokenizer");
        let again = cs336_bpe::formats::native::load(paths[0]).expect("what was written can be read");
        assert!(again == *tokenizer);
    });
}

/// A tokenizer of few letters, whose tokens are often each other's parts; each pick merges two that are there.
pub fn small_tokenizer(picks: &[(u8, u8)], pattern: &str, special: &[&str]) -> (Tokenizer, Vec<(Vec<u8>, Vec<u8>)>) {
    let mut tokens: Vec<Vec<u8>> = b"ab '\n\xc3\xa9".iter().map(|byte| vec![*byte]).collect();
    let mut merges = Vec::new();
    for &(left, right) in picks.iter().take(60) {
        let pick = |at: u8| tokens[usize::from(at) % tokens.len()].clone();
        let pair = (pick(left), pick(right));
        let new = [&pair.0[..], &pair.1].concat();
        if new.len() <= 40 && !merges.contains(&pair) {
            merges.push(pair);
            if !tokens.contains(&new) {
                tokens.push(new);
            }
        }
    }
    tokens.extend((0..=255).map(|byte| vec![byte]));
    tokens.sort();
    tokens.dedup();
    let special = special.iter().map(|token| (*token).to_owned()).collect();
    let vocabulary = Vocabulary::new((0..).zip(tokens).collect(), merges.clone(), special).expect("it is whole");
    let tokenizer = Tokenizer::new(vocabulary, Pattern::new(pattern).expect("a pattern")).expect("a tokenizer");
    (tokenizer, merges)
}
