//! Corpora for the benches, made from a seed, and what several benches need of the core.

use cs336_bpe::count::{Counter, Counts, WordCounts};
use cs336_bpe::pretokenize::Pattern;
use cs336_bpe::special::SpecialTokens;
use cs336_bpe::train::{TrainOptions, train};
use cs336_bpe::{Job, Result, Tokenizer, Vocabulary};

/// What stands between two documents of a corpus.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough to make text.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.unit() * limit as f64) as usize
    }

    fn choose(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }
}

/// The words there are. A corpus of any size that fits in memory keeps meeting new ones.
const WORDS: f64 = 1e8;

const ONSETS: [&str; 24] = [
    "b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "ch", "sh", "th", "st", "tr", "pl", "gr",
    "br", "v", "k",
];
const VOWELS: [&str; 10] = ["a", "e", "i", "o", "u", "ea", "oo", "ai", "ou", "é"];
const CODAS: [&str; 10] = ["", "", "", "n", "r", "s", "t", "l", "ng", "nd"];

/// Text of at least `bytes` bytes: sentences and documents of words in the proportions of Zipf's law (a word of rank r has
/// a probability proportional to 1/r), so that the vocabulary grows with the text as that of natural language does.
/// The same seed gives the same text, and a longer one begins as a shorter one does.
pub fn corpus(seed: u64, bytes: usize) -> String {
    let mut random = Random(seed);
    let mut text = String::with_capacity(bytes + 4096);
    while text.len() < bytes {
        for _ in 0..3 + random.below(20) {
            sentence(&mut random, &mut text);
        }
        text.push('\n');
        text.push_str(END_OF_TEXT);
        text.push('\n');
    }
    text
}

fn sentence(random: &mut Random, text: &mut String) {
    let words = 3 + random.below(18);
    for at in 0..words {
        let start = text.len();
        match random.below(50) {
            0 => text.push_str(&random.below(3000).to_string()),
            _ => spell(random.unit(), text),
        }
        if at == 0 && text.as_bytes()[start].is_ascii_lowercase() {
            text[start..=start].make_ascii_uppercase();
        }
        text.push_str(match random.below(40) {
            0 => "'s ",
            1..4 => ", ",
            _ if at + 1 == words => "",
            _ => " ",
        });
    }
    text.push_str(random.choose(&[". ", ". ", ". ", "! ", "? ", ".\n", ".\n\n"]));
}

/// Writes the word that stands at `place`, from 0 to 1, when all words are laid out by probability. Frequent words are
/// short.
fn spell(place: f64, text: &mut String) {
    let rank = WORDS.powf(place);
    let mut random = Random(rank as u64);
    for _ in 0..1 + (rank.log10() / 2.0) as usize {
        text.push_str(random.choose(&ONSETS));
        text.push_str(random.choose(&VOWELS));
        text.push_str(random.choose(&CODAS));
    }
}

/// The pre-tokens of a text, counted on `threads` threads.
pub fn count(text: &str, pattern: &str, threads: usize) -> Result<WordCounts> {
    let pattern = Pattern::new(pattern)?;
    let special = SpecialTokens::new(&[END_OF_TEXT])?;
    let mut counts = WordCounts::default();
    Counter { pattern: &pattern, special: &special, threads, job: &Job::default() }
        .count_documents(&[text], &mut counts)?;
    Ok(counts)
}

/// The pre-tokens of a text, counted on one thread in so many bytes of memory. What does not fit goes to temporary files.
pub fn count_within(text: &str, pattern: &str, max_memory: u64) -> Result<Counts> {
    let pattern = Pattern::new(pattern)?;
    let special = SpecialTokens::new(&[END_OF_TEXT])?;
    let job = Job::default();
    let mut counting = Counter { pattern: &pattern, special: &special, threads: 1, job: &job }.within(max_memory);
    counting.add_documents(&[text])?;
    counting.finish()
}

/// The merges that a vocabulary of `vocab_size` entries, one of them special, is made of.
pub fn merges(counts: &WordCounts, vocab_size: usize) -> Result<Vec<(u32, u32)>> {
    train(counts, &TrainOptions { vocab_size, special_tokens: 1, ..TrainOptions::default() }, &Job::default())
}

/// A tokenizer trained on a text, with [`END_OF_TEXT`] as its special token.
pub fn tokenizer(text: &str, pattern: &str, vocab_size: usize) -> Result<Tokenizer> {
    let merges = merges(&count(text, pattern, 1)?, vocab_size)?;
    Tokenizer::new(Vocabulary::from_training(&[END_OF_TEXT.to_owned()], &merges)?, Pattern::new(pattern)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use cs336_bpe::count::Words;
    use cs336_bpe::{SpecialPolicy, reference};

    #[test]
    fn a_seed_gives_one_text_and_a_longer_one_begins_as_a_shorter_one() {
        let short = corpus(1, 10_000);
        assert!(short.len() >= 10_000);
        assert!(corpus(1, 50_000).starts_with(&short));
        assert!(!corpus(2, 50_000).starts_with(&short));
    }

    #[test]
    fn the_vocabulary_grows_with_the_text() {
        let distinct = |bytes| count(&corpus(1, bytes), "gpt2", 1).unwrap().len() as f64;
        let growth = distinct(1 << 20) / distinct(1 << 17);
        // Eight times the text: more new words, but not eight times as many.
        assert!((2.0..8.0).contains(&growth), "{growth}");
    }

    #[test]
    fn what_spills_is_counted_as_what_fits() {
        let text = corpus(1, 500_000);
        let all = |words: &dyn Words| {
            let mut all = BTreeMap::new();
            let mut keep = |word: &[u8], count| {
                all.insert(word.to_vec(), count);
                Ok(())
            };
            words.for_each(&mut keep).unwrap();
            all
        };
        let spilled = count_within(&text, "gpt2", 1 << 18).unwrap();
        assert!(spilled.spilled > 1);
        assert_eq!(all(&spilled), all(&count(&text, "gpt2", 1).unwrap()));
    }

    #[test]
    fn what_is_measured_is_right() {
        let text = corpus(1, 20_000);
        let counts = count(&text, "gpt2", 2).unwrap();
        let words: Vec<_> = counts.iter().map(|(word, count)| (word.to_vec(), count)).collect();
        let mut symbols: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        for ((left, right), expected) in
            merges(&counts, 400).unwrap().into_iter().zip(reference::train(&words, 400 - 257, 1, usize::MAX))
        {
            assert_eq!((&symbols[left as usize], &symbols[right as usize]), (&expected.0, &expected.1));
            symbols.push([expected.0, expected.1].concat());
        }
        let tokenizer = tokenizer(&text, "gpt2", 400).unwrap();
        let mut ids = Vec::new();
        tokenizer.encode(text.as_bytes(), &SpecialPolicy::Token, &mut ids).unwrap();
        assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), text.as_bytes());
    }
}
