//! The trainer equals the oracle, whatever the threads, blocks and order of files.

use std::io::Write;
use std::path::{Path, PathBuf};

use cs336_bpe::count::{Counter, WordCounts};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special::SpecialTokens;
use cs336_bpe::train::{Pair, TrainOptions, extend, train};
use cs336_bpe::{Error, Job, Vocabulary, reference};
use proptest::prelude::*;

fn counts_of(words: &[(Vec<u8>, u64)]) -> WordCounts {
    let mut counts = WordCounts::default();
    words.iter().for_each(|(word, count)| counts.add(word, *count).unwrap());
    counts
}

fn options(merges: usize, min_frequency: u64) -> TrainOptions {
    TrainOptions { vocab_size: 256 + merges, min_frequency, ..TrainOptions::default() }
}

fn as_bytes(merges: &[Pair]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut symbols: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let mut pairs = Vec::new();
    for &(left, right) in merges {
        let pair = (symbols[left as usize].clone(), symbols[right as usize].clone());
        symbols.push([pair.0.as_slice(), pair.1.as_slice()].concat());
        pairs.push(pair);
    }
    pairs
}

fn merges_of(words: &[(Vec<u8>, u64)], merges: usize, min_frequency: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    as_bytes(&train(counts_of(words), &options(merges, min_frequency), &Job::default()).unwrap())
}

fn distinct(counts: &WordCounts) -> Vec<(Vec<u8>, u64)> {
    let mut words: Vec<_> = counts.iter().map(|(word, count)| (word.to_vec(), count)).collect();
    words.sort();
    words
}

fn count_file(path: &Path, spec: &str, special: &SpecialTokens, threads: usize, block: usize) -> WordCounts {
    let pattern = Pattern::new(spec).unwrap();
    let counter = Counter { pattern: &pattern, special, threads, job: &Job::default() };
    counter.count_files_in_blocks(&[path.to_path_buf()], block).unwrap()
}

fn file_of(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

#[test]
fn the_example_of_sennrich_et_al() {
    let words = [("low", 5), ("lower", 2), ("widest", 3), ("newest", 6)].map(|(w, n)| (w.as_bytes().to_vec(), n));
    let learned = merges_of(&words, 12, 1);
    let readable: Vec<String> =
        learned.iter().map(|(a, b)| String::from_utf8([a.as_slice(), b" ", b].concat()).unwrap()).collect();
    let expected =
        ["s t", "e st", "o w", "l ow", "w est", "n e", "ne west", "w i", "wi d", "wid est", "low e", "lowe r"];
    assert_eq!(readable, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_trainer_equals_the_oracle(
        words in prop::collection::btree_map(prop::collection::vec(0u8..3, 1..12), 1u64..4, 1..14),
        min_frequency in 1u64..4,
    ) {
        let words: Vec<_> = words.into_iter().collect();
        prop_assert_eq!(merges_of(&words, 40, min_frequency), reference::train(&words, 40, min_frequency, usize::MAX));
    }

    #[test]
    fn no_token_is_longer_than_allowed(
        words in prop::collection::btree_map(prop::collection::vec(0u8..3, 1..12), 1u64..4, 1..14),
        max_length in 1usize..5,
    ) {
        let words: Vec<_> = words.into_iter().collect();
        let options = TrainOptions { max_token_length: Some(max_length), ..options(40, 1) };
        let merges = as_bytes(&train(counts_of(&words), &options, &Job::default()).unwrap());
        prop_assert_eq!(merges, reference::train(&words, 40, 1, max_length));
    }

    #[test]
    fn going_on_from_a_tokenizer_is_as_if_it_had_never_stopped(
        words in prop::collection::btree_map(prop::collection::vec(0u8..3, 1..12), 1u64..4, 1..14),
        first in 0usize..12,
        min_frequency in 1u64..4,
    ) {
        let words: Vec<_> = words.into_iter().collect();
        let counts = counts_of(&words);
        let all = train(&counts, &options(40, min_frequency), &Job::default()).unwrap();
        let special = ["<e>".to_owned()];
        let base = Vocabulary::from_training(&special, &all[..first.min(all.len())]).unwrap();
        let wanted = 40 - base.merges().len();
        let more = extend(&counts, &base, wanted, &options(40, min_frequency), &Job::default()).unwrap();
        prop_assert_eq!(&more, &all[base.merges().len()..]);
        let (grown, whole) = (base.extended(&more).unwrap(), Vocabulary::from_training(&special, &all).unwrap());
        prop_assert_eq!(grown.hash("gpt2"), whole.hash("gpt2"));
    }

    #[test]
    fn blocks_and_threads_change_no_count(
        atoms in prop::collection::vec(prop::sample::select(
            &["a", "b ", " ", "\n", "é", "漢。", "<e>", "<e", "x y", "'s", "1", "\t", "👩", "!"][..]), 1..40),
        block in 1usize..12,
        threads in 1usize..4,
    ) {
        let text = atoms.concat();
        let file = file_of(text.as_bytes());
        let special = SpecialTokens::new(&["<e>", "<e><e>", "x y"]).unwrap();
        for spec in ["gpt2", "cl100k", "o200k", r"\w+|\s"] {
            let pattern = Pattern::new(spec).unwrap();
            let mut whole = WordCounts::default();
            let counter = Counter { pattern: &pattern, special: &special, threads: 1, job: &Job::default() };
            counter.count_documents(&[&text], &mut whole).unwrap();
            if whole.is_empty() {
                continue;
            }
            let in_blocks = count_file(file.path(), spec, &special, threads, block);
            prop_assert_eq!(distinct(&in_blocks), distinct(&whole), "{}", spec);
        }
    }
}

#[test]
fn the_order_of_files_changes_no_merge() {
    let files = [file_of(b"low lower lowest"), file_of(b"new newer newest"), file_of(b"wide wider widest")];
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path().to_path_buf()).collect();
    let reversed: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    let pattern = Pattern::new("gpt2").unwrap();
    let special = SpecialTokens::new::<&str>(&[]).unwrap();
    let merges = |paths: &[PathBuf]| {
        let counter = Counter { pattern: &pattern, special: &special, threads: 2, job: &Job::default() };
        train(counter.count_files(paths).unwrap(), &options(30, 1), &Job::default()).unwrap()
    };
    assert_eq!(merges(&paths), merges(&reversed));
}

/// Words of a few syllables: so many that several threads share them.
fn many_words() -> WordCounts {
    let mut counts = WordCounts::default();
    let mut state = 7u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..120_000 {
        let syllables = 2 + random(4);
        let word: Vec<u8> =
            (0..syllables).flat_map(|_| [b'a' + random(20) as u8, b"aeiou"[random(5) as usize]]).collect();
        // Now and then a count that is no small one.
        let count = if random(50) == 0 { 1 + random(1 << 40) } else { 1 + random(20) };
        counts.add(&word, count).unwrap();
    }
    counts
}

#[test]
fn threads_change_no_merge() {
    let counts = many_words();
    let merges = |threads, vocab_size| {
        let options = TrainOptions { threads, vocab_size, ..TrainOptions::default() };
        train(&counts, &options, &Job::default()).unwrap()
    };
    let alone = merges(1, 5_000);
    assert_eq!(alone.len(), 5_000 - 256);
    assert_eq!(merges(2, 5_000), alone);
    assert_eq!(merges(4, 5_000), alone);
    // So large a vocabulary needs wider slots.
    assert_eq!(merges(3, 70_000)[..alone.len()], alone);
}

#[test]
fn threads_change_nothing_of_going_on() {
    let counts = many_words();
    let options = |threads| TrainOptions { threads, vocab_size: 3_000, ..TrainOptions::default() };
    let all = train(&counts, &options(1), &Job::default()).unwrap();
    let base = Vocabulary::from_training(&[], &all[..1_000]).unwrap();
    let more = extend(&counts, &base, all.len() - 1_000, &options(3), &Job::default()).unwrap();
    assert_eq!(more, all[1_000..]);
}

#[test]
fn a_limit_of_memory_is_told_before_merging() {
    let options = TrainOptions { max_memory: Some(1_000), ..options(10, 1) };
    let error = train(counts_of(&[(vec![b'a'; 1_000], 1)]), &options, &Job::default()).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { needed: 8_016, .. }), "{error}");
}

#[test]
fn real_text_in_many_languages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for name in ["stories-valid.txt", "multilingual.txt", "code.txt"] {
        let Ok(text) = std::fs::read(folder.join(name)) else { continue };
        let text = String::from_utf8_lossy(&text[..60_000]).into_owned();
        let special = SpecialTokens::new(&["<|endoftext|>"]).unwrap();
        let counts = count_file(file_of(text.as_bytes()).path(), "gpt2", &special, 2, 10_000);
        let words = distinct(&counts);
        assert_eq!(merges_of(&words, 150, 1), reference::train(&words, 150, 1, usize::MAX), "{name}");
    }
}

#[test]
fn counts_past_32_and_53_bits_are_right() {
    let words = [(b"ab".to_vec(), 1u64 << 33), (b"bc".to_vec(), (1 << 60) + 1), (b"cd".to_vec(), 1 << 60)];
    let pair = |a: &[u8], b: &[u8]| (a.to_vec(), b.to_vec());
    assert_eq!(merges_of(&words, 3, 1), [pair(b"b", b"c"), pair(b"c", b"d"), pair(b"a", b"b")]);
    let too_many = counts_of(&[(b"ab".to_vec(), u64::MAX), (b"cab".to_vec(), 1)]);
    assert!(matches!(train(&too_many, &options(1, 1), &Job::default()), Err(Error::CountOverflow)));
}

/// One word may be as long as a corpus.
const LENGTH: u32 = 10_000_000;

#[test]
fn one_long_word_of_equal_letters() {
    // Doubled as long as it goes; then what is left over, one piece for each further bit of the length.
    let expected = LENGTH.ilog2() + LENGTH.count_ones() - 1;
    assert_eq!(merges_of(&[(vec![b'a'; LENGTH as usize], 1)], 100, 1).len(), expected as usize);
}

#[test]
fn one_long_word_of_random_bytes() {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..LENGTH).map(|_| random()).collect();
    assert_eq!(merges_of(&[(noise, 1)], 1_000, 1).len(), 1_000);
}

#[test]
fn what_is_no_text_is_an_error() {
    let pattern = Pattern::new("gpt2").unwrap();
    let special = SpecialTokens::new::<&str>(&[]).unwrap();
    let counter = Counter { pattern: &pattern, special: &special, threads: 1, job: &Job::default() };
    let count = |path: &Path| counter.count_files(&[path.to_path_buf()]).unwrap_err();
    assert!(matches!(count(file_of(b"").path()), Error::EmptyCorpus { .. }));
    assert!(matches!(count(Path::new("no/such/file")), Error::Io { .. }));
    assert!(matches!(count(&std::env::temp_dir()), Error::Io { .. }));
    let broken = file_of(b"abc \xff def");
    assert!(matches!(count(broken.path()), Error::NotUtf8 { offset: 4, byte: 0xff, .. }));
    let cut_short = file_of("abc é".as_bytes().split_last().unwrap().1);
    assert!(matches!(count(cut_short.path()), Error::NotUtf8 { offset: 4, .. }));
}

#[test]
fn a_vocabulary_without_room_for_the_bytes_is_refused() {
    let options = TrainOptions { special_tokens: 1, ..TrainOptions::default() };
    let error = train(WordCounts::default(), &options, &Job::default()).unwrap_err();
    assert!(matches!(error, Error::VocabSize { asked: 256, special: 1, minimum: 257 }));
    assert!(error.to_string().contains("256 bytes and 1 special token need at least 257"), "{error}");
}

#[test]
fn a_cancelled_job_stops() {
    let job = Job::default();
    job.cancel();
    assert!(matches!(train(counts_of(&[(b"ab".to_vec(), 1)]), &options(1, 1), &job), Err(Error::Interrupted)));
}
