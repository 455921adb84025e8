//! What is written is read back as the same tokenizer; what is broken is refused.

use cs336_bpe::encode::EncodeFileOptions;
use cs336_bpe::formats::token_file::sidecar;
use cs336_bpe::formats::{gpt2, huggingface, native, tiktoken};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::{Error, Job, Result, SpecialPolicy, Tokenizer, Vocabulary};
use proptest::prelude::*;

const END: &str = "<|endoftext|>";

fn tokenizer(special: &[&str], pattern: &str) -> Tokenizer {
    let merges = [(104, 101), (32, 256), (10, 10), (257, 108), (97, 97), (260, 97)];
    let special: Vec<String> = special.iter().map(|s| (*s).to_owned()).collect();
    Tokenizer::new(Vocabulary::from_training(&special, &merges).unwrap(), Pattern::new(pattern).unwrap()).unwrap()
}

#[test]
fn every_format_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let end = [END.to_owned()];
    let it = tokenizer(&[END], "cl100k");
    native::save(&it, &path("t.json")).unwrap();
    assert_eq!(native::load(&path("t.json")).unwrap(), it);
    gpt2::save(&it, &path("v.json"), &path("m.txt")).unwrap();
    let merges = std::fs::read_to_string(path("m.txt")).unwrap();
    std::fs::write(path("m.txt"), merges.replace('\n', "\r\n")).unwrap();
    assert_eq!(gpt2::load(&path("v.json"), &path("m.txt"), &end, it.pattern().clone()).unwrap(), it);
    tiktoken::save(&it, &path("t.tiktoken")).unwrap();
    let special = [(END.to_owned(), 0)];
    assert_eq!(tiktoken::load(&path("t.tiktoken"), &special, it.pattern().clone()).unwrap(), it);
}

#[test]
fn strange_tokenizers_come_back_and_are_not_given_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    for it in [tokenizer(&["he", END], "gpt2"), tokenizer(&[END], r"\w+|\W")] {
        native::save(&it, &path).unwrap();
        assert_eq!(native::load(&path).unwrap(), it);
        assert!(matches!(huggingface::save(&it, &path), Err(Error::Unrepresentable { .. })));
    }
}

/// Special tokens that are spelled like others, or look like tokens that are spelled otherwise.
fn special() -> impl Strategy<Value = Vec<String>> {
    let tokens = [END, "<|end", "he", " he", "h", "\u{120}he", "\u{120}", "é", "Ã©", "▁x", "\n", "ha", "#version"];
    proptest::sample::subsequence(tokens.to_vec(), 0..6)
        .prop_shuffle()
        .prop_map(|list| list.into_iter().map(str::to_owned).collect())
}

/// What came of writing, and how to read it.
type Written<'f> = (Result<()>, &'f dyn Fn() -> Result<Tokenizer>);

/// What can be written is read back as it was.
fn comes_back(it: &Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (file, other) = (path("t.json"), path("m.txt"));
    native::save(it, &file).unwrap();
    assert_eq!(native::load(&file).unwrap(), *it);
    assert_eq!(huggingface::load(&file).unwrap(), *it);
    let names: Vec<String> = it.special_tokens().iter().map(|(token, _)| token.clone()).collect();
    let back: [Written<'_>; 3] = [
        (huggingface::save(it, &file), &|| huggingface::load(&file)),
        (gpt2::save(it, &path("v.json"), &other), &|| {
            gpt2::load(&path("v.json"), &other, &names, it.pattern().clone())
        }),
        (tiktoken::save(it, &path("t")), &|| tiktoken::load(&path("t"), it.special_tokens(), it.pattern().clone())),
    ];
    for (written, read) in back {
        match written {
            Ok(()) => assert_eq!(read().unwrap(), *it),
            Err(error) => assert!(matches!(error, Error::Unrepresentable { .. }), "{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_can_be_written_is_read_back(special in special(), pattern in 0usize..5, whole: bool, extra: bool) {
        let pattern = ["gpt2", "cl100k", "o200k", r"\w+|\W", r"\p{L}+|\S"][pattern];
        let names: Vec<&str> = special.iter().map(String::as_str).collect();
        comes_back(&tokenizer(&names, pattern));
        // Special tokens that are ordinary ones too, tokens that no merge makes, gaps.
        let mut tokens: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect();
        tokens.extend([(300, b"he".to_vec()), (301, b" he".to_vec()), (310, "é".as_bytes().to_vec())]);
        if extra {
            tokens.extend([(320, b"ha".to_vec()), (321, b"hey".to_vec())]);
        }
        let merges = [("h", "e"), (" ", "he")].map(|(left, right)| (left.into(), right.into()));
        let merges = merges.into_iter().chain([(vec![0xc3], vec![0xa9])]).collect();
        let vocabulary = Vocabulary::from_parts(tokens, merges, special, whole).unwrap();
        comes_back(&Tokenizer::new(vocabulary, Pattern::new(pattern).unwrap()).unwrap());
    }

    #[test]
    fn no_damage_is_a_panic(places in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..128), 1..4), cut: prop::sample::Index) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let it = tokenizer(&[END], "gpt2");
        native::save(&it, &path("t.json")).unwrap();
        gpt2::save(&it, &path("v.json"), &path("m.txt")).unwrap();
        tiktoken::save(&it, &path("t")).unwrap();
        for name in ["t.json", "v.json", "m.txt", "t"] {
            let whole = std::fs::read(path(name)).unwrap();
            let mut damaged = whole.clone();
            for (place, byte) in &places {
                let at = place.index(damaged.len());
                damaged[at] = *byte;
            }
            for content in [&damaged[..], &whole[..cut.index(whole.len())]] {
                std::fs::write(path(name), content).unwrap();
                let _ = native::load(&path("t.json"));
                let _ = huggingface::load(&path("t.json"));
                let _ = gpt2::load(&path("v.json"), &path("m.txt"), &[END.to_owned()], it.pattern().clone());
                let _ = tiktoken::load(&path("t"), it.special_tokens(), it.pattern().clone());
            }
            std::fs::write(path(name), whole).unwrap();
        }
    }
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    native::save(&tokenizer(&[END], "gpt2"), &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for broken in
        [&text[..text.len() / 2], "", "{}", &text.replace("\"gpt2\"", "\"o200k\""), &text.replace(": 97,", ": 98,")]
    {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(native::load(&path), Err(Error::Format { .. })));
    }
}

#[test]
fn a_file_is_encoded_as_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    let text = format!("he said aaaa's  \n\nhe é{END}\n").repeat(200_000);
    std::fs::write(&source, &text).unwrap();
    for (pattern, threads) in [("gpt2", 1), ("o200k", 3), (r"\w+|\W", 2)] {
        let it = tokenizer(&[END], pattern);
        let options = EncodeFileOptions { policy: SpecialPolicy::Token, dtype: None, threads };
        let stats = it.encode_file(&source, &target, &options, &Job::default()).unwrap();
        let mut ids = Vec::new();
        it.encode(text.as_bytes(), &SpecialPolicy::Token, &mut ids).unwrap();
        let written = std::fs::read(&target).unwrap();
        let read: Vec<u32> = written[128..].chunks(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
        assert!(read == ids);
        assert_eq!((stats.tokens, stats.documents, stats.bytes), (ids.len() as u64, 200_000, text.len() as u64));
        assert!(sidecar(&target).exists());
    }
}

#[test]
fn documents_longer_than_what_is_read_at_a_time_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    let (long, blank) = ("he said ".repeat(90_000), " \n".repeat(300_000));
    for (text, documents) in [
        (format!("{long}{END}{long}{long}"), 2),
        (format!("{END}{blank}{END}{END}{long}{END}{blank}"), 1),
        (format!("{blank}{long}{blank}{END}he{END}"), 2),
        (blank.clone(), 0),
    ] {
        std::fs::write(&source, &text).unwrap();
        for threads in [1, 3] {
            let options = EncodeFileOptions { policy: SpecialPolicy::Token, dtype: None, threads };
            let it = tokenizer(&[END], "gpt2");
            let stats = it.encode_file(&source, &target, &options, &Job::default()).unwrap();
            assert_eq!((stats.documents, stats.bytes), (documents, text.len() as u64));
        }
    }
}

#[test]
fn an_error_far_into_a_file_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    let it = tokenizer(&[END], "gpt2");
    let before = "hé said ".repeat(150_000);
    for threads in [1, 3] {
        let options = EncodeFileOptions { policy: SpecialPolicy::Error, dtype: None, threads };
        let encode = || it.encode_file(&source, &target, &options, &Job::default()).unwrap_err();
        std::fs::write(&source, format!("{before}{END}{before}{END}")).unwrap();
        let (bytes, characters) = (before.len() as u64, before.chars().count() as u64);
        let error = encode();
        assert!(
            matches!(error, Error::DisallowedSpecial { byte_offset, char_offset, .. } if (byte_offset, char_offset) == (bytes, characters)),
            "{error}"
        );
        std::fs::write(&source, [before.as_bytes(), b"\xff", before.as_bytes(), b"\xff"].concat()).unwrap();
        let error = encode();
        assert!(matches!(error, Error::NotUtf8 { offset, byte: 0xff, .. } if offset == bytes), "{error}");
    }
}

#[test]
fn a_failed_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("a.txt"), folder.path().join("a.npy"));
    let it = tokenizer(&[END], "gpt2");
    let options = EncodeFileOptions { policy: SpecialPolicy::Error, dtype: None, threads: 1 };
    for text in [&b""[..], b"a\xffb", b"a<|endoftext|>", b"\xc3"] {
        std::fs::write(&source, text).unwrap();
        it.encode_file(&source, &target, &options, &Job::default()).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
