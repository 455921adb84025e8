//! The same documents give the same counts through every kind of input; what is damaged is an error that says where.

use std::io::Write;
use std::path::{Path, PathBuf};

use cs336_bpe::count::{Counter, Inputs, Words};
use cs336_bpe::input::{Documents, Format, InputOptions};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special::SpecialTokens;
use cs336_bpe::{Error, Job, Result};

const DOCUMENTS: [&str; 6] =
    ["the ab", "cd tail\n", "Ein M\u{e4}dchen <|e|> sah\r\n\r\n ein \"Haus\"\\", "\u{1f408} \u{0}\t", "", "   x  's"];

fn count_with(
    paths: &[PathBuf],
    options: &InputOptions,
    pattern: &str,
    threads: usize,
    block: usize,
) -> Result<Counts> {
    let (pattern, special) = (Pattern::new(pattern)?, SpecialTokens::new(&["<|e|>"])?);
    let job = Job::default();
    let counter = Counter { pattern: &pattern, special: &special, threads, job: &job };
    let inputs = Inputs { paths, options, ..Inputs::default() };
    let mut counting = counter.within(u64::MAX);
    counting.add_inputs_in_blocks(&inputs, [], block)?;
    sorted(&counting.finish()?)
}

type Counts = Vec<(String, u64)>;

fn sorted(counts: &impl Words) -> Result<Counts> {
    let mut all = Counts::new();
    counts.for_each(&mut |word, count| {
        all.push((String::from_utf8_lossy(word).into(), count));
        Ok(())
    })?;
    all.sort();
    Ok(all)
}

fn count(path: &Path) -> Result<Counts> {
    count_with(&[path.to_path_buf()], &InputOptions::default(), "gpt2", 2, 1 << 20)
}

/// The message of the error that a file of these bytes gives.
fn refused(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), name, bytes);
    let Err(error) = count(&path) else { panic!("{name} was read") };
    assert!(matches!(error, Error::Format { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(name) && message.contains("; "), "{message}");
    message
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the command `zstd` writes it; without, no damage to what does not compress would show.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// In two members or frames, cut in the middle.
fn twice(compress: fn(&[u8]) -> Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    [compress(one), compress(other)].concat()
}

fn json_lines(newline: &str) -> Vec<u8> {
    let line =
        |text: &&str| format!("{{\"n\": {{\"text\": [1, \"x\"]}}, \"text\": {}}}{newline}", serde_json::json!(text));
    DOCUMENTS.iter().map(line).collect::<String>().into_bytes()
}

fn expected() -> Counts {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = DOCUMENTS
        .iter()
        .enumerate()
        .map(|(at, text)| write(folder.path(), &format!("{at}.txt"), text.as_bytes()))
        .collect();
    let counts = count_with(&files, &InputOptions::default(), "gpt2", 1, 1 << 20).unwrap();
    assert!(counts.contains(&("cd".to_owned(), 1)));
    let reversed: Vec<PathBuf> = files.iter().rev().cloned().collect();
    assert_eq!(count_with(&reversed, &InputOptions::default(), "gpt2", 2, 3).unwrap(), counts);
    counts
}

#[test]
fn every_kind_of_json_lines_gives_the_counts_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let expected = expected();
    let unix = json_lines("\n");
    let blank = [b"\xef\xbb\xbf\n  \r\n".as_slice(), &json_lines("\r\n\n \t\n")].concat();
    let ragged = &unix[..unix.len() - 1];
    let files = [
        ("plain.jsonl", unix.clone()),
        ("windows.jsonl", json_lines("\r\n")),
        ("blank.ndjson", blank.clone()),
        ("ragged.jsonl", ragged.to_vec()),
        ("mark.jsonl", [b"\xef\xbb\xbf".as_slice(), &unix].concat()),
        ("packed.JSONL.GZ", twice(gzip, &unix)),
        ("blank.jsonl.gz", gzip(&blank)),
        ("packed.jsonl.zst", twice(zstd, ragged)),
    ];
    for (name, bytes) in files {
        let path = [write(folder.path(), name, &bytes)];
        for (threads, block) in [(1, 1 << 20), (2, 1), (4, 7), (2, 100)] {
            let counts = count_with(&path, &InputOptions::default(), "gpt2", threads, block).unwrap();
            assert_eq!(counts, expected, "{name}, {threads} threads, blocks of {block}");
        }
    }
}

#[test]
fn compressed_text_gives_the_counts_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let text = DOCUMENTS.concat().repeat(50);
    let plain = write(folder.path(), "text.txt", text.as_bytes());
    // A frame to be skipped: a magic number, a length, as many bytes.
    let skipped = [b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc".as_slice(), &zstd(text.as_bytes())].concat();
    let between = [zstd(&text.as_bytes()[..99]), skipped[..11].to_vec(), zstd(&text.as_bytes()[99..])].concat();
    let padded = [twice(gzip, text.as_bytes()), vec![0; 1000]].concat();
    let files = [
        ("text.txt.gz", gzip(text.as_bytes())),
        ("named-for-nothing", twice(gzip, text.as_bytes())),
        ("padded.gz", padded),
        ("empty-member.gz", [gzip(b""), gzip(text.as_bytes()), gzip(b"")].concat()),
        ("text.zst", zstd(text.as_bytes())),
        ("also-for-nothing.txt", twice(zstd, text.as_bytes())),
        ("skipped.zst", skipped),
        ("between.zst", between),
    ];
    for pattern in ["gpt2", r"\w+|\s+"] {
        for (name, bytes) in &files {
            let path = [write(folder.path(), name, bytes)];
            for (threads, block) in [(1, 1 << 20), (2, 1), (4, 64)] {
                let options = InputOptions::default();
                let expected = count_with(std::slice::from_ref(&plain), &options, pattern, 1, 1 << 20).unwrap();
                assert_eq!(count_with(&path, &options, pattern, threads, block).unwrap(), expected, "{name}");
            }
        }
    }
}

/// Longer than what is counted at a time, and in places not to be cut.
#[test]
fn a_long_line_gives_the_counts_of_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..120_000).map(|number| format!("w{}  it's \u{e4}{number}\n", number % 777)).collect();
    let text = [&text[..], &text].join("<|e|>");
    let solid = "x".repeat(5 << 18);
    for text in [text.clone(), solid.clone(), [&solid[..], &text, &solid].concat()] {
        let plain = write(folder.path(), "t.txt", text.as_bytes());
        let line = write(folder.path(), "t.jsonl", serde_json::json!({ "text": text }).to_string().as_bytes());
        for pattern in ["gpt2", "o200k", r"\w+|\s+"] {
            let counts =
                |path: &Path| count_with(&[path.to_path_buf()], &InputOptions::default(), pattern, 2, 1 << 20).unwrap();
            assert!(counts(&plain) == counts(&line), "{pattern}");
        }
    }
}

/// "ab" and "cd" beside each other must not become "abcd".
#[test]
fn documents_never_run_into_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let lines = b"{\"text\": \"ab\"}\n{\"text\": \"cd\"}";
    let files = [
        vec![write(folder.path(), "1.txt", b"ab"), write(folder.path(), "2.txt", b"cd")],
        vec![write(folder.path(), "1.gz", &gzip(b"ab")), write(folder.path(), "2.zst", &zstd(b"cd"))],
        vec![write(folder.path(), "1.jsonl", lines)],
        vec![write(folder.path(), "1.jsonl.gz", &gzip(lines))],
    ];
    for paths in files {
        for pattern in ["gpt2", "[a-z]+"] {
            let counts = count_with(&paths, &InputOptions::default(), pattern, 2, 1 << 20).unwrap();
            assert_eq!(counts, [("ab".to_owned(), 1), ("cd".to_owned(), 1)], "{paths:?}");
        }
    }
    let mut documents = Documents::default();
    ["ab", "", "cd"].iter().for_each(|text| documents.push(text));
    documents.append(&documents.clone());
    assert_eq!(documents.iter().collect::<Vec<_>>(), ["ab", "", "cd", "ab", "", "cd"]);
    assert!(Documents::new(b"abcd".to_vec(), vec![2, 4], "").is_ok());
    for (bytes, ends) in [("\u{e4}b", vec![1, 3]), ("ab", vec![1]), ("ab", vec![2, 1, 2])] {
        assert!(matches!(Documents::new(bytes.into(), ends, ""), Err(Error::Invalid(_))));
    }
}

#[test]
fn a_compressed_file_that_is_damaged_or_cut_short_says_where() {
    // Noise, for damage in what compresses well may fall between the lines.
    let mut state = 1u64;
    let noise: String = (0..50_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 33) as u8 % 26)
        })
        .collect();
    for (name, compressed) in [("t.gz", gzip(noise.as_bytes())), ("t.zst", zstd(noise.as_bytes()))] {
        let half = compressed.len() / 2;
        let short = refused(name, &compressed[..half]);
        assert!(short.contains(&format!("cut short: it ends after {half} bytes")), "{short}");
        let mut damaged = compressed.clone();
        damaged[half..half + 50].fill(0x55);
        assert!(refused(name, &damaged).contains("damaged near byte "));
        let behind = [compressed.clone(), b"garbage behind it".to_vec()].concat();
        let place = format!("damaged near byte {}", compressed.len());
        assert!(refused(name, &behind).contains(&place), "{}", refused(name, &behind));
        assert!(refused(name, b"plain text").contains("does not begin as its name says"));
        assert!(refused(name, b"").contains("does not begin as its name says"));
    }
    let mut checksum = gzip(b"some text");
    let at = checksum.len() - 8;
    checksum[at] ^= 1;
    assert!(refused("sum.gz", &checksum).contains("damaged"));
}

#[test]
fn an_empty_compressed_file_holds_no_text() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.gz", gzip(b"")), ("a.zst", zstd(b"")), ("a.jsonl", vec![]), ("b.jsonl", b"\n\n".to_vec())]
    {
        let error = count(&write(folder.path(), name, &bytes)).unwrap_err();
        assert!(matches!(error, Error::EmptyCorpus { .. }), "{error}");
        assert!(error.to_string().contains(name));
    }
}

#[test]
fn a_bad_line_is_named_by_its_number() {
    let good = "{\"text\": \"some text\"}\n".repeat(1000);
    let bad = [
        ("{\"text\": \"x\"", "EOF while parsing an object"),
        ("{\"text\": \"x\"} {}", "trailing characters"),
        ("[\"text\"]", "expected an object"),
        ("{\"text\": 5}", "expected a string in the text column"),
        ("{\"text\": \"\\ud800\"}", "hex escape"),
        ("{\"id\": 1, \"body\": {\"text\": 2}}", "no column \"text\"; the columns are: \"body\", \"id\""),
        ("{}", "the columns are: none"),
        ("nonsense", "expected ident"),
    ];
    for (line, reason) in bad {
        let text = format!("{good}\n{line}\n{good}nonsense");
        for (name, bytes) in [("t.jsonl", text.as_bytes().to_vec()), ("t.jsonl.gz", gzip(text.as_bytes()))] {
            let folder = tempfile::tempdir().unwrap();
            let path = [write(folder.path(), name, &bytes)];
            for (threads, block) in [(1, 1 << 20), (2, 333), (4, 5)] {
                let error = count_with(&path, &InputOptions::default(), "gpt2", threads, block).unwrap_err();
                let message = error.to_string();
                assert!(message.contains(&format!("{name}: not a valid JSON Lines file: line 1002: ")), "{message}");
                assert!(message.contains(reason), "{message}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let broken = write(folder.path(), "t.jsonl", b"{\"text\": \"ab\"}\n{\"text\": \"\xff\"}\n");
    assert!(matches!(count(&broken), Err(Error::NotUtf8 { offset: 25, byte: 0xff, .. })));
}

#[test]
fn a_null_is_no_document_and_the_last_of_two_columns_counts() {
    let folder = tempfile::tempdir().unwrap();
    let lines =
        b"{\"body\": null, \"text\": 1}\n{\"body\": \"no\", \"body\": \"yes\"}\n{\"b\\u006fdy\": \"t\\u00f6o\"}";
    let path = [write(folder.path(), "t.jsonl", lines)];
    let options = InputOptions { text_column: "body".to_owned(), ..InputOptions::default() };
    let counts = count_with(&path, &options, "gpt2", 2, 10).unwrap();
    assert_eq!(counts, [("t\u{f6}o".to_owned(), 1), ("yes".to_owned(), 1)]);
}

#[test]
fn the_caller_may_say_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = [write(folder.path(), "t.jsonl", b"{\"text\":\"ab\"}")];
    let as_text = InputOptions { format: Some(Format::Text), ..InputOptions::default() };
    let counts = count_with(&path, &as_text, "gpt2", 1, 10).unwrap();
    assert!(counts.contains(&("{\"".to_owned(), 1)), "{counts:?}");
    let path = [write(folder.path(), "t.txt", b"{\"text\":\"ab\"}")];
    let as_lines = InputOptions { format: Some(Format::JsonLines), ..InputOptions::default() };
    assert_eq!(count_with(&path, &as_lines, "gpt2", 1, 10).unwrap(), [("ab".to_owned(), 1)]);
}

#[test]
fn standard_input_is_read_once() {
    let paths = vec![PathBuf::from("-"); 2];
    let error = count_with(&paths, &InputOptions::default(), "gpt2", 1, 10).unwrap_err();
    assert!(error.to_string().contains("only once; give it once"), "{error}");
}

/// Nobody writes to the pipe, so nothing but the wish to stop ends this.
#[cfg(target_os = "linux")]
#[test]
fn waiting_for_a_pipe_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (pattern, special) = (Pattern::new("gpt2").unwrap(), SpecialTokens::new::<&str>(&[]).unwrap());
    let job = Job::default();
    let counter = Counter { pattern: &pattern, special: &special, threads: 2, job: &job };
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| counter.count_files(&[pipe]));
        std::thread::sleep(std::time::Duration::from_millis(100));
        job.cancel();
        assert!(matches!(counting.join().unwrap(), Err(Error::Interrupted)));
    });
}

#[test]
fn progress_goes_by_the_bytes_on_the_disk_and_the_clock_tells_those_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let text = "some text ".repeat(10_000);
    let lines = format!("{{\"text\": \"{}\"}}\n", "some text").repeat(1000);
    let files = [
        ("t.txt", text.clone().into_bytes(), text.len(), 1),
        ("t.txt.gz", gzip(text.as_bytes()), text.len(), 1),
        ("t.jsonl", lines.clone().into_bytes(), 9000, 1000),
        ("t.jsonl.zst", zstd(lines.as_bytes()), 9000, 1000),
    ];
    for (name, bytes, text_bytes, documents) in files {
        let path = [write(folder.path(), name, &bytes)];
        let (pattern, special) = (Pattern::new("gpt2").unwrap(), SpecialTokens::new::<&str>(&[]).unwrap());
        let job = Job::default();
        let counter = Counter { pattern: &pattern, special: &special, threads: 2, job: &job };
        counter.count_files_in_blocks(&path, 1000).unwrap();
        let progress = job.progress();
        assert_eq!((progress.done, progress.total), (bytes.len() as u64, bytes.len() as u64), "{name}");
        assert_eq!((job.clock().text_bytes(), job.clock().documents()), (text_bytes as u64, documents), "{name}");
    }
}
