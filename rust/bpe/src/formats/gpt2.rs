//! GPT-2's two files: `vocab.json` (token to id) and `merges.txt` (a pair a line). Pattern and special tokens stand in
//! neither, so both are arguments.

use std::borrow::Cow;
use std::path::Path;

use super::spelled::{Entries, Index, Pairs, Spelled, Spelling, halves, hidden};
use super::{bad, in_file, read_text};
use crate::pretokenize::Pattern;
use crate::{Error, Result, Tokenizer, aside};

const VOCAB: &str = "GPT-2 vocab.json";
const MERGES: &str = "GPT-2 merges.txt";

/// Reads both files. Special tokens that the vocabulary lacks are appended.
pub fn load(vocab: &Path, merges: &Path, special: &[String], pattern: Pattern) -> Result<Tokenizer> {
    let text = read_text(vocab, VOCAB)?;
    let entries: Entries<'_> = serde_json::from_str(&text).map_err(|error| bad(vocab, VOCAB, error.to_string()))?;
    let merges_text = read_text(merges, MERGES)?;
    let pairs = parse_merges(&merges_text).map_err(|reason| bad(merges, MERGES, reason))?;
    let mut next = entries.0.iter().map(|(_, id)| id.saturating_add(1)).max().unwrap_or(0);
    let mut place = |token: &String, index: &Index<'_>| {
        let id = index.get(token.as_str()).copied().unwrap_or_else(|| {
            next = next.saturating_add(1);
            next - 1
        });
        (token.clone(), id)
    };
    let spelled = Spelled { entries, pairs, whole_tokens: false, shared: None };
    let vocabulary = spelled.vocabulary(|index| Ok(special.iter().map(|token| place(token, index)).collect()));
    Tokenizer::new(vocabulary.map_err(in_file(vocab, VOCAB))?, pattern)
}

fn parse_merges(text: &str) -> Result<Pairs<'_>, String> {
    if text.is_empty() {
        return Err("it is empty; where there are no merges, its only line is \"#version: 0.2\"".to_owned());
    }
    let mut lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    while lines.last() == Some(&"") {
        lines.pop();
    }
    // Only the first line can be the version: later ones may be merges of a token that begins like it.
    let header = usize::from(lines.first().is_some_and(|line| line.starts_with("#version")));
    let parse = |(number, line): (usize, &&'_ str)| {
        let pair = halves(line).map(|(left, right)| (Cow::Owned(left.to_owned()), Cow::Owned(right.to_owned())));
        pair.ok_or_else(|| format!("line {} is not two tokens with a space between: {line:?}", number + 1))
    };
    lines.iter().enumerate().skip(header).map(parse).collect::<Result<_, _>>().map(Pairs)
}

/// Writes both files, whole or not at all.
pub fn save(tokenizer: &Tokenizer, vocab: &Path, merges: &Path) -> Result<()> {
    let vocabulary = tokenizer.vocabulary();
    let refuse = |reason: String| Err(Error::Unrepresentable { format: "GPT-2 files", reason });
    if vocab == merges {
        let path = vocab.display();
        return Err(Error::Invalid(format!("{path} is given for both the vocabulary and the merges; name two files")));
    }
    if vocabulary.whole_tokens() {
        return refuse("it has tokens that no merge makes".to_owned());
    }
    if let Some(token) = hidden(vocabulary) {
        return refuse(format!("the special token {token:?} is spelled like an ordinary one"));
    }
    let spelling = Spelling::new(vocabulary);
    let entries = serde_json::to_vec(&spelling.entries()).map_err(|error| Error::Invalid(error.to_string()))?;
    let mut lines = "#version: 0.2\n".to_owned();
    for (left, right) in spelling.pairs().0 {
        lines.extend([&left, " ", &right, "\n"]);
    }
    aside::write_both((vocab, &entries), (merges, lines.as_bytes()))
}
