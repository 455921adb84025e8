//! What is written is read back as the same tokenizer; what is broken is refused.

use cs336_bpe::encode::{EncodeFileOptions, sidecar};
use cs336_bpe::formats::{gpt2, huggingface, native, tiktoken};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::{Error, Job, SpecialPolicy, Tokenizer, Vocabulary};

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
