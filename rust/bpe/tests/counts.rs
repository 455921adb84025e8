//! Counts are the same however little memory there is, and however many parts they were counted in.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use cs336_bpe::count::{Counter, Counts, WordCounts, Words};
use cs336_bpe::formats::counts::{CountsFile, CountsWriter, merge_files};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special::SpecialTokens;
use cs336_bpe::train::{TrainOptions, train};
use cs336_bpe::{Error, Job, Result};
use proptest::prelude::*;

const END: &str = "<|endoftext|>";

/// Words of which most are rare, some frequent and some long; the same for the same seed.
fn text(seed: u64, words: usize) -> String {
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut text = String::new();
    for _ in 0..words {
        let common = random(1 << 40);
        match random(8) {
            0 => write!(text, " the").unwrap(),
            1 => write!(text, " averylongwordthatisnotinlined{}", common % 2_000).unwrap(),
            2 => write!(text, "\n{END}").unwrap(),
            _ => write!(text, " {}", spelled(common % 3_000)).unwrap(),
        }
    }
    text
}

fn spelled(mut number: u64) -> String {
    let mut word = String::new();
    while number > 0 {
        word.push((b'a' + (number % 26) as u8) as char);
        number /= 26;
    }
    word
}

fn in_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

struct How<'a> {
    pattern: &'a str,
    threads: usize,
    max_memory: u64,
    block: usize,
}

const WHOLE: How<'_> = How { pattern: "gpt2", threads: 1, max_memory: u64::MAX, block: 1 << 20 };

fn count(paths: &[PathBuf], how: &How<'_>) -> Counts {
    let (pattern, special) = (Pattern::new(how.pattern).unwrap(), SpecialTokens::new(&[END]).unwrap());
    let job = Job::default();
    let counter = Counter { pattern: &pattern, special: &special, threads: how.threads, job: &job };
    let mut counting = counter.within(how.max_memory);
    counting.add_files_in_blocks(paths, how.block).unwrap();
    counting.finish().unwrap()
}

fn all(counts: &impl Words) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut words = Vec::new();
    counts.for_each(&mut |word, count| {
        words.push((word.to_vec(), count));
        Ok(())
    })?;
    Ok(words)
}

fn sorted(counts: &impl Words) -> Vec<(Vec<u8>, u64)> {
    let mut words = all(counts).unwrap();
    words.sort();
    words
}

fn merges(counts: &impl Words) -> Vec<(u32, u32)> {
    let options = TrainOptions { vocab_size: 600, min_frequency: 1, special_tokens: 0, max_memory: None };
    train(counts, &options, &Job::default()).unwrap()
}

fn write(counts: Counts, path: &Path) -> Result<()> {
    let special = SpecialTokens::new(&[END])?;
    CountsWriter::create(path)?.write(&Pattern::new("gpt2")?, &special, counts, &Job::default()).map(drop)
}

#[test]
fn little_memory_changes_no_count_and_no_merge() {
    let file = in_file(&text(1, 60_000));
    let paths = [file.path().to_path_buf()];
    for pattern in ["gpt2", r"\S+"] {
        let whole = count(&paths, &How { pattern, ..WHOLE });
        assert_eq!(whole.spilled, 0);
        let (words, learned) = (sorted(&whole), merges(&whole));
        for threads in [1, 2, 4] {
            for max_memory in [0, 100_000, 400_000, 1 << 30] {
                let counts = count(&paths, &How { pattern, threads, max_memory, block: 20_000 });
                assert_eq!(counts.spilled > 0, max_memory < 1 << 30, "{threads} threads, {max_memory} bytes");
                assert_eq!(sorted(&counts), words, "{threads} threads, {max_memory} bytes");
                // As often as one likes, and in the sums too.
                assert_eq!(merges(&counts), learned);
                let sums = |counts: &Counts| (counts.len(), counts.total(), counts.corpus_bytes);
                assert_eq!(sums(&counts), sums(&whole));
            }
        }
    }
}

/// So many runs that they are merged in passes, and words longer than all the memory there is.
#[test]
fn many_runs_and_words_longer_than_the_limit() {
    let long = "x".repeat(1_000_000);
    let file = in_file(&format!("{}{long}{long} {}", text(1, 200_000), text(2, 200_000)));
    let paths = [file.path().to_path_buf()];
    let counts = count(&paths, &How { threads: 2, max_memory: 0, ..WHOLE });
    assert!(counts.spilled > 200, "{}", counts.spilled);
    assert_eq!(sorted(&counts), sorted(&count(&paths, &WHOLE)));
}

/// Tables that fit by themselves and not together spill while they are brought together.
#[test]
fn tables_that_do_not_fit_together() {
    let file = in_file(&text(1, 100_000));
    let paths = [file.path().to_path_buf()];
    let words = sorted(&count(&paths, &WHOLE));
    let spilled: Vec<usize> = (17..23)
        .map(|bits| {
            let counts = count(&paths, &How { threads: 4, max_memory: 1 << bits, block: 10_000, ..WHOLE });
            assert_eq!(sorted(&counts), words, "2^{bits} bytes");
            counts.spilled
        })
        .collect();
    // Each limit is met in its own way: many runs, a run for each table, one run of what was merged, none.
    assert!(spilled.is_sorted_by(|more, less| more >= less) && spilled[0] > 4 && spilled[5] == 0, "{spilled:?}");
}

#[test]
fn documents_in_batches_are_counted_as_one_corpus() {
    let pattern = Pattern::new("gpt2").unwrap();
    let special = SpecialTokens::new(&[END]).unwrap();
    let job = Job::default();
    let documents: Vec<String> = (0..20).map(|seed| text(seed, 3_000)).collect();
    let counting = |threads, max_memory, batch: usize| {
        let counter = Counter { pattern: &pattern, special: &special, threads, job: &job };
        let mut counting = counter.within(max_memory);
        documents.chunks(batch).for_each(|documents| counting.add_documents(documents).unwrap());
        counting.finish().unwrap()
    };
    let whole = counting(1, u64::MAX, 20);
    assert_eq!(whole.corpus_bytes, documents.iter().map(|document| document.len() as u64).sum::<u64>());
    for (threads, max_memory) in [(1, u64::MAX), (2, u64::MAX), (2, 100_000), (4, 0)] {
        assert_eq!(sorted(&counting(threads, max_memory, 3)), sorted(&whole));
    }
    // One document of several blocks is shared among threads, at places where it may be cut.
    let together = documents.concat().repeat(4);
    let file = in_file(&together);
    let mut counting = Counter { pattern: &pattern, special: &special, threads: 3, job: &job }.within(u64::MAX);
    counting.add_documents(&[&together]).unwrap();
    assert_eq!(sorted(&counting.finish().unwrap()), sorted(&count(&[file.path().to_path_buf()], &WHOLE)));
}

#[test]
fn parts_merged_are_the_bytes_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let texts: Vec<PathBuf> = (0..5)
        .map(|seed| {
            let path = at(&format!("{seed}.txt"));
            std::fs::write(&path, text(seed, 5_000)).unwrap();
            path
        })
        .collect();
    write(count(&texts, &WHOLE), &at("whole.counts")).unwrap();
    let whole = std::fs::read(at("whole.counts")).unwrap();
    let limits = [u64::MAX, 0, 100_000, 400_000, u64::MAX];
    let parts: Vec<PathBuf> = (0..5)
        .map(|part| {
            let path = at(&format!("{part}.counts"));
            let how = How { threads: part % 3 + 1, max_memory: limits[part], block: 3_000, ..WHOLE };
            write(count(&texts[part..=part], &how), &path).unwrap();
            path
        })
        .collect();
    let merged = |parts: &[PathBuf]| {
        let header = merge_files(parts, &at("merged.counts"), &Job::default()).unwrap();
        (header, std::fs::read(at("merged.counts")).unwrap())
    };
    assert!(merged(&parts).1 == whole);
    let reversed: Vec<PathBuf> = parts.iter().rev().cloned().collect();
    assert!(merged(&reversed).1 == whole);
    merged(&parts[..3]);
    std::fs::rename(at("merged.counts"), at("first.counts")).unwrap();
    assert!(merged(&[at("first.counts"), parts[3].clone(), parts[4].clone()]).1 == whole);
    // A file by itself is checked and stays as it is.
    assert!(merged(&[at("whole.counts")]).1 == whole);
    let file = CountsFile::open(&at("whole.counts")).unwrap();
    let counts = count(&texts, &WHOLE);
    assert_eq!(sorted(&file), sorted(&counts));
    assert_eq!(merges(&file), merges(&counts));
    let header = file.header();
    assert_eq!((header.distinct, header.pre_tokens), (counts.len(), counts.total()));
    assert_eq!(header.corpus_bytes, texts.iter().map(|path| path.metadata().unwrap().len()).sum::<u64>());
    // More files than are open at a time.
    let (header, _) = merged(&vec![parts[0].clone(); 300]);
    assert_eq!(header.pre_tokens, 300 * CountsFile::open(&parts[0]).unwrap().header().pre_tokens);
}

fn weights(words: &[(&str, u64)]) -> Counts {
    let mut counts = WordCounts::default();
    words.iter().for_each(|(word, count)| counts.add(word.as_bytes(), *count).unwrap());
    Counts::new(counts, 0)
}

#[test]
fn counts_past_32_and_53_bits_add_up_and_past_64_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let large = [("ab", (1 << 53) + 1), ("cd", (1 << 32) + 1), ("ef", u64::MAX)];
    write(weights(&large), &at("one")).unwrap();
    write(weights(&large[..2]), &at("other")).unwrap();
    merge_files(&[at("one"), at("other")], &at("both"), &Job::default()).unwrap();
    let both = CountsFile::open(&at("both")).unwrap();
    let expected = [("ab", (1 << 54) + 2), ("cd", (1 << 33) + 2), ("ef", u64::MAX)];
    assert_eq!(sorted(&both), expected.map(|(word, count)| (word.as_bytes().to_vec(), count)));
    assert_eq!(both.header().pre_tokens, u128::from(u64::MAX) + (1 << 54) + (1 << 33) + 4);
    let error = merge_files(&[at("one"), at("both")], &at("more"), &Job::default()).unwrap_err();
    assert!(matches!(error, Error::CountOverflow), "{error}");
    assert!(!at("more").exists());
}

#[test]
fn files_that_were_counted_otherwise_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pattern: &str, special: &[&str]| {
        let path = folder.path().join(name);
        let (pattern, special) = (Pattern::new(pattern).unwrap(), SpecialTokens::new(special).unwrap());
        let writer = CountsWriter::create(&path).unwrap();
        writer.write(&pattern, &special, weights(&[("ab", 1)]), &Job::default()).unwrap();
        path
    };
    let one = write("one", "gpt2", &["<e>", "<f>"]);
    let refused = |other: PathBuf| {
        let target = folder.path().join("target");
        let error = merge_files(&[one.clone(), other], &target, &Job::default()).unwrap_err();
        assert!(matches!(error, Error::CountsDiffer { .. }) && !target.exists());
        error.to_string()
    };
    let message = refused(write("other", "cl100k", &["<e>", "<f>"]));
    assert!(message.contains("one and ") && message.contains("other were not counted alike"), "{message}");
    assert!(message.contains(r#"the pattern of one is "gpt2", of the other "cl100k""#), "{message}");
    // Their order decides about their ids.
    let message = refused(write("other", "gpt2", &["<f>", "<e>"]));
    assert!(message.contains("special tokens"), "{message}");
}

/// A file and what reading all of it gives.
fn read(path: &Path) -> Result<Vec<(Vec<u8>, u64)>> {
    all(&CountsFile::open(path)?)
}

fn a_file(folder: &Path) -> Vec<u8> {
    let path = folder.join("good");
    write(weights(&[("a", 1), ("ab", 300), ("abc", 7), ("b\n", 1 << 40), ("zebra", 3)]), &path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_damaged_file_is_refused_wherever_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let good = a_file(folder.path());
    let path = folder.path().join("bad");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).expect_err(what);
        assert!(matches!(error, Error::Format { format: "counts", .. }), "{what}: {error}");
        let target = folder.path().join("target");
        merge_files(&[folder.path().join("good"), path.clone()], &target, &Job::default()).expect_err(what);
        assert!(!target.exists(), "{what}");
        error.to_string()
    };
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            refused(&bytes, &format!("bit {bit} of byte {at}"));
        }
        refused(&good[..at], &format!("cut at {at}"));
    }
    refused(&[&good[..], b"x"].concat(), "longer");
    let with = |from: &str, to: &str| {
        let line = good.iter().position(|byte| *byte == b'\n').unwrap();
        let head = std::str::from_utf8(&good[..line]).unwrap().replace(from, to);
        [head.as_bytes(), &good[line..]].concat()
    };
    let told = |from, to, reason: &str| {
        let message = refused(&with(from, to), reason);
        assert!(message.contains(reason), "{message}");
    };
    told(r#""version":1"#, r#""version":2"#, "version 2 is newer than this program");
    told(r#""distinct":5"#, r#""distinct":4"#, "more follows after its 4 words");
    told(r#""distinct":5"#, r#""distinct":6"#, "in word 6: it ends in the middle");
    told(r#""pre_tokens":1"#, r#""pre_tokens":2"#, "does not match its checksum");
    told(r#""gpt2""#, r#""gpt9""#, "names no known pattern");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "something was left behind");
}

proptest! {
    #[test]
    fn bytes_that_are_no_file_are_refused(at: prop::sample::Index, bytes: Vec<u8>, removed in 0usize..20) {
        let folder = tempfile::tempdir().unwrap();
        let good = a_file(folder.path());
        let start = at.index(good.len());
        let end = good.len().min(start + removed);
        let bad = [&good[..start], &bytes, &good[end..]].concat();
        let path = folder.path().join("bad");
        std::fs::write(&path, &bad).unwrap();
        match read(&path) {
            Ok(_) => prop_assert_eq!(bad, good),
            Err(error) => prop_assert!(matches!(error, Error::Format { .. }), "{}", error),
        }
    }
}

#[test]
fn a_stopped_job_leaves_nothing_behind() {
    let file = in_file(&text(1, 60_000));
    let paths = [file.path().to_path_buf()];
    let (pattern, special) = (Pattern::new("gpt2").unwrap(), SpecialTokens::new(&[END]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    for max_memory in [u64::MAX, 0] {
        let job = Job::default();
        let mut counting = Counter { pattern: &pattern, special: &special, threads: 2, job: &job }.within(max_memory);
        counting.add_files(&paths).unwrap();
        let counts = counting.finish().unwrap();
        job.cancel();
        let writer = CountsWriter::create(&folder.path().join("counts")).unwrap();
        assert!(matches!(writer.write(&pattern, &special, counts, &job), Err(Error::Interrupted)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    // Bringing tables or runs together stops, too.
    for max_memory in [u64::MAX, 0] {
        let job = Job::default();
        let mut counting = Counter { pattern: &pattern, special: &special, threads: 2, job: &job }.within(max_memory);
        counting.add_documents(&[text(1, 100_000), text(2, 100_000)]).unwrap();
        job.cancel();
        assert!(matches!(counting.finish(), Err(Error::Interrupted)));
    }
}
