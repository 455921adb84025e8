//! Training as the definition says it: count all pairs, merge the best one everywhere, begin again.

use std::collections::BTreeMap;

/// Learns up to `merges` merges from words with their counts. Returns the pairs of byte strings in order. None of them
/// makes a token of more than `max_length` bytes.
pub fn train(
    words: &[(Vec<u8>, u64)],
    merges: usize,
    min_frequency: u64,
    max_length: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let split = |(word, count): &(Vec<u8>, u64)| (word.iter().map(|&byte| vec![byte]).collect::<Vec<_>>(), *count);
    let mut words: Vec<(Vec<Vec<u8>>, u64)> = words.iter().map(split).collect();
    let mut learned = Vec::new();
    while learned.len() < merges {
        let mut counts: BTreeMap<(Vec<u8>, Vec<u8>), u64> = BTreeMap::new();
        for (tokens, count) in &words {
            for pair in tokens.windows(2).filter(|pair| pair[0].len() + pair[1].len() <= max_length) {
                *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += count;
            }
        }
        // The highest count; among equals the greater pair.
        let best = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        let Some((pair, count)) = best else { break };
        if count < min_frequency {
            break;
        }
        for (tokens, _) in &mut words {
            *tokens = merge(tokens, &pair);
        }
        learned.push(pair);
    }
    learned
}

/// Replaces a pair from left to right.
fn merge(tokens: &[Vec<u8>], pair: &(Vec<u8>, Vec<u8>)) -> Vec<Vec<u8>> {
    let mut merged = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if at + 1 < tokens.len() && tokens[at] == pair.0 && tokens[at + 1] == pair.1 {
            merged.push([pair.0.as_slice(), pair.1.as_slice()].concat());
            at += 2;
        } else {
            merged.push(tokens[at].clone());
            at += 1;
        }
    }
    merged
}
