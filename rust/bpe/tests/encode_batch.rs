//! Many texts and many words: what is remembered, and who encodes it, makes no difference.

use cs336_bpe::encode::BatchIds;
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::{Error, Job, SpecialPolicy, Tokenizer, Vocabulary};

/// Merges of the letters that the words below are made of.
fn tokenizer() -> Tokenizer {
    let b = |letter: char| letter as u32;
    let merges = [(b('a'), b('b')), (b(' '), b('a')), (256, b('c')), (256, 256), (b('c'), b('c')), (257, b('c'))];
    let vocabulary = Vocabulary::from_training(&["<e>".to_owned()], &merges).unwrap();
    Tokenizer::new(vocabulary, Pattern::new("gpt2").unwrap()).unwrap()
}

/// A word of the letters a to d, another one for each number below 4 to the power of `length`.
fn word(mut number: usize, length: usize) -> String {
    let mut word = String::from(" ");
    for _ in 0..length {
        word.push(char::from(b'a' + (number % 4) as u8));
        number /= 4;
    }
    word
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text.as_bytes(), &SpecialPolicy::Token, &mut ids).unwrap();
    ids
}

#[test]
fn more_words_than_are_remembered() {
    // Short ones, ones whose ids take more room than an entry has, and long ones, more than the arenas hold.
    for (lengths, count) in [([9, 9, 9], 200_000), ([12, 14, 15], 200_000), ([40, 90, 200], 60_000)] {
        let text: String = (0..count).map(|number| word(number, lengths[number % 3])).collect();
        let tokenizer = tokenizer();
        let ids = encode(&tokenizer, &text);
        assert!(tokenizer.decode_bytes(&ids).unwrap() == text.as_bytes());
        assert!(encode(&tokenizer, &text) == ids);
        // The words in another order, so that others are remembered.
        let backwards: Vec<u32> =
            (0..count).rev().flat_map(|number| encode(&tokenizer, &word(number, lengths[number % 3]))).collect();
        assert_eq!(backwards.len(), ids.len());
    }
}

#[test]
fn a_batch_equals_its_texts_one_by_one() {
    let tokenizer = tokenizer();
    let texts: Vec<String> = (0..3000).map(|number| word(number, number % 300) + "<e>").collect();
    let slices: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let mut expected = BatchIds { ids: Vec::new(), ends: Vec::new() };
    for text in &texts {
        expected.ids.extend(encode(&tokenizer, text));
        expected.ends.push(expected.ids.len());
    }
    let job = Job::default();
    for threads in [1, 2, 7] {
        let batch: BatchIds<u32> = tokenizer.encode_batch(&slices, &SpecialPolicy::Token, threads, &job).unwrap();
        assert_eq!(batch, expected);
        let narrow: BatchIds<u16> = tokenizer.encode_batch(&slices, &SpecialPolicy::Token, threads, &job).unwrap();
        assert!(narrow.ids.iter().map(|&id| u32::from(id)).eq(expected.ids.iter().copied()));
        assert_eq!(tokenizer.decode_bytes(&narrow.ids).unwrap(), texts.concat().as_bytes());
    }
    let empty: BatchIds<u32> = tokenizer.encode_batch(&[], &SpecialPolicy::Token, 2, &job).unwrap();
    assert_eq!(empty, BatchIds::default());
}

#[test]
fn an_error_in_a_batch_names_the_text() {
    let (tokenizer, job) = (tokenizer(), Job::default());
    let mut texts: Vec<String> = (0..3000).map(|number| word(number, number % 300)).collect();
    texts[2500].push_str("<e>");
    let slices: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    for threads in [1, 2, 7] {
        let refused: Result<BatchIds<u32>, _> = tokenizer.encode_batch(&slices, &SpecialPolicy::Error, threads, &job);
        let Err(Error::In { origin, source }) = refused else { panic!("{refused:?}") };
        assert_eq!(origin, "texts[2500]");
        assert!(matches!(*source, Error::DisallowedSpecial { .. }));
    }
}

#[test]
fn one_tokenizer_serves_many_threads() {
    let tokenizer = tokenizer();
    let text: String = (0..20_000).map(|number| word(number, 9)).collect();
    let expected = encode(&tokenizer, &text);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(encode(&tokenizer, &text) == expected));
        }
    });
}

#[test]
fn one_long_word_can_be_stopped() {
    let job = Job::default();
    job.cancel();
    let text = "ab".repeat(100_000);
    let mut ids: Vec<u32> = Vec::new();
    let stopped = tokenizer().encode_while(text.as_bytes(), &SpecialPolicy::Token, &mut ids, &job);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(ids.is_empty());
}
