//! Encoding as the definition says it: of all adjacent pairs that may merge, the one of lowest rank, its leftmost
//! occurrence first, until none is left.

/// Encodes one pre-token. `rank` tells the rank of a pair of adjacent tokens, or that it does not merge.
pub fn encode_word(word: &[u8], rank: impl Fn(&[u8], &[u8]) -> Option<u32>) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = word.iter().map(|&byte| vec![byte]).collect();
    loop {
        let ranked = tokens.windows(2).enumerate();
        let best = ranked.filter_map(|(at, pair)| Some((rank(&pair[0], &pair[1])?, at))).min();
        let Some((_, at)) = best else { return tokens };
        let right = tokens.remove(at + 1);
        tokens[at].extend(right);
    }
}
