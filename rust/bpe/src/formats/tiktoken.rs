//! tiktoken's rank files: a line a token, its bytes in base64, a space, its rank, which is its id. Pattern and special
//! tokens stand elsewhere, so both are arguments.

use std::path::Path;

use super::{bad, in_file, read_text};
use crate::pretokenize::Pattern;
use crate::{Error, Result, Tokenizer, Vocabulary, aside};

const FORMAT: &str = "tiktoken rank";
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES: [Option<u8>; 256] = values();

const fn values() -> [Option<u8>; 256] {
    let mut values = [None; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = Some(value as u8);
        value += 1;
    }
    values
}

/// Reads a rank file.
pub fn load(path: &Path, special: &[(String, u32)], pattern: Pattern) -> Result<Tokenizer> {
    let text = read_text(path, FORMAT)?;
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        let parsed = line.split_once(' ').and_then(|(token, rank)| Some((rank.parse().ok()?, from_base64(token)?)));
        let reason = || bad(path, FORMAT, format!("line {number} is not base64, a space and a rank: {line:?}"));
        tokens.push(parsed.ok_or_else(reason)?);
    }
    let vocabulary = Vocabulary::from_ranks(tokens, special.to_vec()).map_err(in_file(path, FORMAT))?;
    Tokenizer::new(vocabulary, pattern)
}

/// Writes a rank file, if ranks say the same as this tokenizer's merges.
pub fn save(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    let lines: String = ranks(tokenizer)?.iter().map(|(id, token)| format!("{} {id}\n", to_base64(token))).collect();
    aside::write(path, lines.as_bytes())
}

/// The ordinary tokens with their ids as ranks, if these say the same as this tokenizer's merges.
pub fn ranks(tokenizer: &Tokenizer) -> Result<Vec<(u32, Vec<u8>)>> {
    let vocabulary = tokenizer.vocabulary();
    let tokens: Vec<(u32, Vec<u8>)> = vocabulary
        .tokens()
        .filter(|(id, _)| vocabulary.is_ordinary(*id))
        .map(|(id, token)| (id, token.to_vec()))
        .collect();
    let ranked = Vocabulary::from_ranks(tokens.clone(), vocabulary.special().to_vec())?;
    if ranked.merges() != vocabulary.merges() || ranked.whole_tokens() != vocabulary.whole_tokens() {
        let reason = "ids as ranks would merge otherwise than its merges do".to_owned();
        return Err(Error::Unrepresentable { format: "tiktoken ranks", reason });
    }
    Ok(tokens)
}

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]);
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.as_bytes().chunks(4) {
        let mut bits = 0;
        for i in 0..4 {
            let value = chunk.get(i).map_or(Some(0), |digit| VALUES[usize::from(*digit)])?;
            bits = bits << 6 | u32::from(value);
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}
