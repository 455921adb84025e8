//! GPT-2's two files: `vocab.json` (token to id) and `merges.txt` (a pair a line). Pattern and special tokens stand in
//! neither, so both are arguments.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{bad, bytes, in_file, read_text};
use crate::pretokenize::Pattern;
use crate::{Error, Result, Tokenizer, Vocabulary, aside};

const VOCAB: &str = "GPT-2 vocab.json";
const MERGES: &str = "GPT-2 merges.txt";

/// Reads both files. Special tokens that the vocabulary lacks are appended.
pub fn load(vocab: &Path, merges: &Path, special: &[String], pattern: Pattern) -> Result<Tokenizer> {
    let text = read_text(vocab, VOCAB)?;
    let ids: HashMap<String, u32> =
        serde_json::from_str(&text).map_err(|error| bad(vocab, VOCAB, error.to_string()))?;
    let mut tokens = Vec::with_capacity(ids.len());
    for (key, id) in ids {
        let token = if special.contains(&key) { Some(key.clone().into_bytes()) } else { bytes::from_text(&key) };
        // A special token that was not named may hold characters that stand for no byte.
        tokens.push((id, token.unwrap_or_else(|| key.into_bytes())));
    }
    let merges_text = read_text(merges, MERGES)?;
    let pairs = parse_merges(&merges_text).map_err(|reason| bad(merges, MERGES, reason))?;
    let vocabulary = Vocabulary::new(tokens, pairs, special.to_vec()).map_err(in_file(vocab, VOCAB))?;
    Tokenizer::new(vocabulary, pattern)
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn parse_merges(text: &str) -> Result<Pairs, String> {
    let mut lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    while lines.last() == Some(&"") {
        lines.pop();
    }
    // Only the first line can be the version: later ones may be merges of a token that begins like it.
    let header = usize::from(lines.first().is_some_and(|line| line.starts_with("#version")));
    let parse = |(number, line): (usize, &&str)| {
        let number = number + 1;
        let Some((left, right)) = line.split_once(' ').filter(|(_, right)| !right.contains(' ')) else {
            return Err(format!("line {number} is not two tokens with a space between: {line:?}"));
        };
        match (bytes::from_text(left), bytes::from_text(right)) {
            (Some(left), Some(right)) => Ok((left, right)),
            _ => Err(format!("line {number} holds a character that stands for no byte: {line:?}")),
        }
    };
    lines.iter().enumerate().skip(header).map(parse).collect()
}

/// Writes both files.
pub fn save(tokenizer: &Tokenizer, vocab: &Path, merges: &Path) -> Result<()> {
    let vocabulary = tokenizer.vocabulary();
    if vocabulary.whole_tokens() {
        let reason = "it has tokens that no merge makes".to_owned();
        return Err(Error::Unrepresentable { format: "GPT-2 files", reason });
    }
    let mut ids = BTreeMap::new();
    for (id, key) in keys(vocabulary) {
        if ids.insert(key.clone(), id).is_some() {
            let reason = format!("a special token is spelled like the ordinary token {key:?}");
            return Err(Error::Unrepresentable { format: "GPT-2 files", reason });
        }
    }
    let text = |id: u32| bytes::to_text(vocabulary.token(id).unwrap_or_default());
    let mut lines = "#version: 0.2\n".to_owned();
    for merge in vocabulary.merges() {
        lines += &format!("{} {}\n", text(merge.left), text(merge.right));
    }
    let json = serde_json::to_string(&ids).map_err(|error| Error::Invalid(error.to_string()))?;
    aside::write(vocab, json.as_bytes())?;
    aside::write(merges, lines.as_bytes())
}

/// Tokens as they are spelled in `vocab.json`: special ones as they are, the others as visible characters.
pub(super) fn keys(vocabulary: &Vocabulary) -> impl Iterator<Item = (u32, String)> {
    vocabulary.tokens().map(|(id, token)| {
        let special = || String::from_utf8_lossy(token).into_owned();
        (id, if vocabulary.is_ordinary(id) { bytes::to_text(token) } else { special() })
    })
}
