//! Whatever is in a file, compressed or not, lines or text: encoding it gives its ids or an error, and leaves nothing.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use cs336_bpe::input::InputOptions;
use cs336_bpe::tokens::{NoDocuments, TokenFilesOptions};
use cs336_bpe::{Job, SpecialPolicy, Tokenizer};
use cs336_bpe_fuzz::{small_tokenizer, with_files};
use libfuzzer_sys::fuzz_target;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| small_tokenizer(&[(0, 1), (7, 2)], "gpt2", &["<a>"]).0);

fuzz_target!(|input: (&[u8], bool, u8)| with_files(&[input.0], |paths| {
    let format = if input.1 { "jsonl" } else { "text" };
    let options = TokenFilesOptions {
        input: InputOptions { format: Some(format.parse().expect("a format")), ..InputOptions::default() },
        policy: SpecialPolicy::Token,
        separator: Some(TOKENIZER.separator("<a>").expect("it is special")),
        dtype: None,
        shard_tokens: (input.2 > 0).then_some(input.2.into()),
        threads: 1,
        restart: false,
        record_every: Duration::ZERO,
    };
    let (source, folder) = (PathBuf::from(paths[0]), paths[0].parent().expect("a folder"));
    let written = TOKENIZER.encode_inputs(&[source], NoDocuments, &folder.join("o.npy"), &options, &Job::default());
    let files = std::fs::read_dir(folder).expect("a folder").count();
    match written {
        Ok(stats) => assert_eq!(files, 1 + 2 * stats.files.len()),
        Err(_) => assert!(files >= 1),
    }
    if let (Ok(text), false) = (std::str::from_utf8(input.0), input.1)
        && !text.is_empty()
        && !text.starts_with("\x1f\u{8b}")
    {
        let mut ids = Vec::new();
        TOKENIZER.encode(input.0, &SpecialPolicy::Token, &mut ids).expect("any text can be encoded");
        let stats = TOKENIZER
            .encode_inputs(&[paths[0].into()], NoDocuments, &folder.join("p.npy"), &options, &Job::default())
            .expect("a text can be encoded");
        assert_eq!(stats.totals.tokens, ids.len() as u64 + stats.totals.separators);
    }
}));
