//! No rank file makes the loader panic, and what it takes is sound. What follows the 256 bytes is the fuzzer's.
#![no_main]

use std::sync::LazyLock;

use cs336_bpe::formats::tiktoken;
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe_fuzz::{is_sound, small_tokenizer, with_files};
use libfuzzer_sys::fuzz_target;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    with_files(&[b""], |paths| {
        tiktoken::save(&small_tokenizer(&[], "gpt2", &[]).0, paths[0]).expect("bytes are ranks");
        bytes = std::fs::read(paths[0]).expect("a file");
    });
    bytes
});

fuzz_target!(|content: &[u8]| for content in [content, &[&BYTES[..], content].concat()] {
    with_files(&[content], |paths| {
        let pattern = Pattern::new("cl100k").expect("a pattern");
        if let Ok(tokenizer) = tiktoken::load(paths[0], &[], pattern) {
            is_sound(&tokenizer);
        }
    });
});
