//! Files as a corpus: any number of them, pipes among them, and errors that stay short.

use std::io::Write;
use std::path::PathBuf;

use cs336_bpe::count::{Counter, WordCounts};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special::SpecialTokens;
use cs336_bpe::{Error, Job, Result};

fn count(paths: &[PathBuf], threads: usize) -> Result<WordCounts> {
    let pattern = Pattern::new("gpt2")?;
    let special = SpecialTokens::new(&["<|endoftext|>"])?;
    Counter { pattern: &pattern, special: &special, threads, job: &Job::default() }.count_files(paths)
}

fn file_of(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn count_of(counts: &WordCounts, wanted: &str) -> u64 {
    counts.iter().find(|(word, _)| *word == wanted.as_bytes()).map_or(0, |(_, count)| count)
}

/// More files than a process may usually hold open at a time (1024).
#[test]
fn there_may_be_more_files_than_descriptors() {
    let file = file_of("low");
    let paths = vec![file.path().to_path_buf(); 3_000];
    for threads in [1, 4] {
        let counts = count(&paths, threads).unwrap();
        // Each file is a document: "low" never meets the next "low".
        assert_eq!((counts.len(), count_of(&counts, "low")), (1, 3_000));
    }
}

/// A pipe can be opened only once, so looking at it beforehand must not open it.
#[cfg(unix)]
#[test]
fn a_pipe_is_read_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let target = pipe.clone();
    let writer = std::thread::spawn(move || std::fs::write(target, "low low"));
    let counts = count(&[pipe], 2).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!((count_of(&counts, "low"), count_of(&counts, " low")), (1, 1));
}

#[test]
fn a_missing_file_is_found_before_any_is_read() {
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), b"\xff").unwrap();
    let paths = [broken.path().to_path_buf(), PathBuf::from("no/such/file")];
    assert!(matches!(count(&paths, 2), Err(Error::Io { .. })));
}

#[test]
fn many_empty_files_are_named_in_one_short_line() {
    let file = file_of("<|endoftext|>");
    let error = count(&vec![file.path().to_path_buf(); 50], 2).unwrap_err();
    assert!(matches!(error, Error::EmptyCorpus { .. }));
    assert!(error.to_string().contains("47 more"), "{error}");
    assert!(matches!(count(&[], 1), Err(Error::EmptyCorpus { .. })));
}

/// Threads that would find nothing to do are never started.
#[test]
fn there_are_no_more_threads_than_tasks() {
    let files = [file_of("low"), file_of("lower"), file_of("lowest")];
    let paths: Vec<_> = files.iter().map(|file| file.path().to_path_buf()).collect();
    let (pattern, special) = (Pattern::new("gpt2").unwrap(), SpecialTokens::new::<&str>(&[]).unwrap());
    for (threads, most) in [(0, 1), (1, 1), (2, 2), (1_000, 3)] {
        let job = Job::default();
        let counter = Counter { pattern: &pattern, special: &special, threads, job: &job };
        assert_eq!(counter.count_files(&paths).unwrap().len(), 3);
        let started = job.clock().threads().len();
        assert!((1..=most).contains(&started), "{started} of {threads} threads");
    }
}
