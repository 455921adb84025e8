//! No pair of files makes the loader panic, and what it takes is sound.
#![no_main]

use cs336_bpe::formats::gpt2;
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe_fuzz::{is_sound, with_files};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|contents: (&[u8], &[u8])| with_files(&[contents.0, contents.1], |paths| {
    let special = ["<|endoftext|>".to_owned()];
    if let Ok(tokenizer) = gpt2::load(paths[0], paths[1], &special, Pattern::new("gpt2").expect("a pattern")) {
        is_sound(&tokenizer);
    }
}));
