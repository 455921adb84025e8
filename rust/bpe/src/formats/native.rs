//! Our own `tokenizer.json`. Hugging Face `tokenizers` reads it with the same ids; what it can't hold (the exact pattern,
//! the hash) stands in `model.cs336`, where that library lets unknown keys through.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::huggingface::{obstacle, write};
use super::spelled::{Entries, Pairs, Spelled};
use super::{bad, in_file, read_text};
use crate::pretokenize::Pattern;
use crate::{Result, Tokenizer, aside};

const FORMAT: &str = "cs336 tokenizer.json";

/// The type of a model that Hugging Face `tokenizers` would read otherwise. It refuses types that it does not know.
pub(super) const MODEL: &str = "cs336";

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    ignore_merges: bool,
    cs336: Option<Ours>,
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    merges: Pairs<'a>,
}

/// What is only ours.
#[derive(Serialize, Deserialize)]
pub(super) struct Ours {
    version: u64,
    pattern: String,
    hash: String,
    special_tokens: Vec<(String, u32)>,
    /// Ids of special tokens that are ordinary ones too.
    shared_ids: Vec<u32>,
}

/// Writes the file. If Hugging Face `tokenizers` would read it otherwise, the model's type is one that it refuses.
pub fn save(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    let vocabulary = tokenizer.vocabulary();
    let ids = vocabulary.special().iter().map(|(_, id)| *id);
    let ours = Ours {
        version: 1,
        pattern: tokenizer.pattern().spec().to_owned(),
        hash: tokenizer.hash_hex(),
        special_tokens: vocabulary.special().to_vec(),
        shared_ids: ids.filter(|id| vocabulary.is_ordinary(*id)).collect(),
    };
    let name = if obstacle(tokenizer).is_none() { "BPE" } else { MODEL };
    aside::write(path, &write(tokenizer, name, Some(ours))?)
}

/// Reads a file that [`save`] wrote, and checks its hash.
pub fn load(path: &Path) -> Result<Tokenizer> {
    read(path, &read_text(path, FORMAT)?)
}

/// Reads the text of such a file.
pub(super) fn read(path: &Path, text: &str) -> Result<Tokenizer> {
    let refuse = |reason: &str| bad(path, FORMAT, reason);
    let Document { model } = serde_json::from_str(text).map_err(|error| refuse(&error.to_string()))?;
    let ours = model.cs336.ok_or_else(|| {
        refuse("it was not written by cs336 (it has no key model.cs336); try Tokenizer.from_huggingface")
    })?;
    if ours.version != 1 {
        return Err(refuse(&format!("version {} is newer than this program; update cs336", ours.version)));
    }
    let Ours { pattern, hash, special_tokens, shared_ids, .. } = ours;
    let spelled = Spelled {
        entries: model.vocab,
        pairs: model.merges,
        whole_tokens: model.ignore_merges,
        shared: Some(shared_ids.into_iter().collect()),
    };
    let vocabulary = spelled.vocabulary(|_| Ok(special_tokens)).map_err(in_file(path, FORMAT))?;
    let pattern = Pattern::new(&pattern).map_err(in_file(path, FORMAT))?;
    let tokenizer = Tokenizer::new(vocabulary, pattern)?;
    if tokenizer.hash_hex() != hash {
        return Err(refuse("its content does not match its hash; it was changed or damaged, so save it anew"));
    }
    Ok(tokenizer)
}
