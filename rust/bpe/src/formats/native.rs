//! Our own `tokenizer.json`. Hugging Face `tokenizers` reads it with the same ids; what it can't hold (the exact pattern,
//! the hash) stands in `model.cs336`, where that library lets unknown keys through.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{bad, bytes, gpt2, in_file, read_text};
use crate::pretokenize::Pattern;
use crate::vocab::Merge;
use crate::{Error, Result, Tokenizer, Vocabulary, aside};

const FORMAT: &str = "cs336 tokenizer.json";

#[derive(Deserialize)]
struct Document {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    vocab: Map<String, Value>,
    merges: Vec<(String, String)>,
    cs336: Option<Ours>,
}

#[derive(Deserialize)]
struct Ours {
    version: u64,
    pattern: String,
    hash: String,
    special_tokens: Vec<(String, u32)>,
    whole_tokens: bool,
    /// Ids of special tokens that merges make too.
    shared_ids: Vec<u32>,
}

/// The named patterns as Oniguruma spells them: possessive `{1,3}+` is no such thing there, `$` is the end of a line, and
/// case folding may take several characters for one.
fn oniguruma(pattern: &Pattern) -> Option<String> {
    let contraction = "'(?:[sSſdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])";
    let regex = pattern.regex();
    Some(match pattern.spec() {
        "gpt2" => regex.replace('$', r"\z"),
        "cl100k" => regex.replace("'(?i:[sdmt]|ll|ve|re)", contraction).replace("{1,3}+", "{1,3}").replace('$', r"\z"),
        "o200k" => regex.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", &format!("(?:{contraction})")),
        _ => return None,
    })
}

/// Why Hugging Face `tokenizers` can't hold this tokenizer, `None` if it can.
fn obstacle(tokenizer: &Tokenizer) -> Option<String> {
    if oniguruma(tokenizer.pattern()).is_none() {
        return Some("its engine may read a custom pattern otherwise".to_owned());
    }
    let mut seen = std::collections::HashSet::new();
    let twice = gpt2::keys(tokenizer.vocabulary()).find(|(_, key)| !seen.insert(key.clone()));
    twice.map(|(_, key)| format!("a special token is spelled like the ordinary token {key:?}"))
}

/// Writes the file. If Hugging Face `tokenizers` would read it otherwise, the model's type is one that it refuses.
pub fn save(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    write(tokenizer, path, obstacle(tokenizer).is_none())
}

/// Writes the file if Hugging Face `tokenizers` reads it with the same ids, else [`Error::Unrepresentable`].
pub fn to_huggingface(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    match obstacle(tokenizer) {
        Some(reason) => Err(Error::Unrepresentable { format: "Hugging Face tokenizer.json", reason }),
        None => write(tokenizer, path, true),
    }
}

fn write(tokenizer: &Tokenizer, path: &Path, shared: bool) -> Result<()> {
    let vocabulary = tokenizer.vocabulary();
    let text = |id: u32| bytes::to_text(vocabulary.token(id).unwrap_or_default());
    let mut vocab = Map::new();
    // Ordinary tokens last: where both are spelled alike the special one's id stands in our part only.
    for (token, id) in vocabulary.special() {
        vocab.insert(token.clone(), json!(id));
    }
    for (id, _) in vocabulary.tokens().filter(|(id, _)| vocabulary.is_ordinary(*id)) {
        vocab.insert(text(id), json!(id));
    }
    let merges: Vec<_> = vocabulary.merges().iter().map(|merge| (text(merge.left), text(merge.right))).collect();
    let added: Vec<_> = vocabulary
        .special()
        .iter()
        .map(|(token, id)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let shared_ids: Vec<u32> =
        vocabulary.special().iter().map(|(_, id)| *id).filter(|id| vocabulary.is_ordinary(*id)).collect();
    let regex = oniguruma(tokenizer.pattern()).unwrap_or_default();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let document = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": null, "decoder": byte_level,
        "model": {
            "type": if shared { "BPE" } else { "cs336" },
            "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": vocabulary.whole_tokens(),
            "cs336": {
                "version": 1, "pattern": tokenizer.pattern().spec(), "hash": tokenizer.hash_hex(),
                "special_tokens": vocabulary.special(), "whole_tokens": vocabulary.whole_tokens(),
                "shared_ids": shared_ids,
            },
            "vocab": vocab, "merges": merges,
        },
    });
    aside::write(path, format!("{document:#}\n").as_bytes())
}

/// Reads a file that [`save`] wrote, and checks its hash.
pub fn load(path: &Path) -> Result<Tokenizer> {
    let text = read_text(path, FORMAT)?;
    let document: Document = serde_json::from_str(&text).map_err(|error| bad(path, FORMAT, error.to_string()))?;
    let Model { vocab, merges, cs336 } = document.model;
    let ours = cs336.ok_or_else(|| bad(path, FORMAT, "it was not written by cs336 (no key model.cs336)"))?;
    if ours.version != 1 {
        let reason = format!("version {} is newer than this program; update cs336", ours.version);
        return Err(bad(path, FORMAT, reason));
    }
    let mut ordinary = Vec::with_capacity(vocab.len());
    let mut ids = std::collections::HashMap::with_capacity(vocab.len());
    for (key, value) in vocab {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| bad(path, FORMAT, format!("the id of {key:?} is not a number of 32 bits")))?;
        let special = ours.special_tokens.iter().any(|(token, other)| *token == key && *other == id);
        if special && !(ours.shared_ids.contains(&id) && bytes::to_text(key.as_bytes()) == key) {
            continue;
        }
        let token = bytes::from_text(&key);
        let token = token.ok_or_else(|| bad(path, FORMAT, format!("{key:?} holds a character that is no byte")))?;
        ids.insert(key, id);
        ordinary.push((id, token));
    }
    let find = |key: &str| {
        ids.get(key).copied().ok_or_else(|| bad(path, FORMAT, format!("a merge needs {key:?}, which is no token")))
    };
    let merge = |(left, right): (String, String)| {
        Ok(Merge { left: find(&left)?, right: find(&right)?, new: find(&(left + &right))? })
    };
    let merges = merges.into_iter().map(merge).collect::<Result<Vec<_>>>()?;
    let vocabulary = Vocabulary::assemble(ordinary, merges, ours.special_tokens, ours.whole_tokens);
    let tokenizer = Tokenizer::new(vocabulary.map_err(in_file(path, FORMAT))?, Pattern::new(&ours.pattern)?)?;
    if tokenizer.hash_hex() != ours.hash {
        return Err(bad(path, FORMAT, "its content does not match its hash; the file was changed or damaged"));
    }
    Ok(tokenizer)
}
