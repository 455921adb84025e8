//! No file makes the loader panic, and what it takes is sound.
#![no_main]

use cs336_bpe::formats::native;
use cs336_bpe_fuzz::{is_sound, with_files};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| with_files(&[content], |paths| {
    if let Ok(tokenizer) = native::load(paths[0]) {
        is_sound(&tokenizer);
    }
}));
