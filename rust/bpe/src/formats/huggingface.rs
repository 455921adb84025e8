//! `tokenizer.json` of Hugging Face `tokenizers`: read where this crate gives the same ids for every text, written where
//! that library does.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::spelled::{Entries, Index, Pairs, Spelled, Spelling, hidden};
use super::{bad, bytes, in_file, layout, native, oniguruma, read_text};
use crate::{Error, Result, Tokenizer, aside};

const FORMAT: &str = "Hugging Face tokenizer.json";

/// A file as it is read. That library refuses unknown keys here and passes over them in the model, and so does this one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(default)]
    version: Value,
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(default, rename = "type")]
    name: Value,
    #[serde(default)]
    dropout: Value,
    #[serde(default)]
    unk_token: Value,
    #[serde(default)]
    continuing_subword_prefix: Value,
    #[serde(default)]
    end_of_word_suffix: Value,
    #[serde(default)]
    byte_fallback: Value,
    ignore_merges: Option<bool>,
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    merges: Pairs<'a>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
}

/// A file of which only the kind is looked at.
#[derive(Deserialize)]
struct Kind {
    model: ModelKind,
}

#[derive(Deserialize)]
struct ModelKind {
    #[serde(default, rename = "type")]
    name: Value,
}

/// What this crate can't do, by the key that asks for it.
type Refusal = (&'static str, String);

/// Reads a byte-level BPE tokenizer. [`Error::Unsupported`] where some text would get other ids there.
///
/// Added tokens, special there or not, become special tokens. Files of [`native::save`] are read too.
pub fn load(path: &Path) -> Result<Tokenizer> {
    let text = read_text(path, FORMAT)?;
    let damaged = |error: serde_json::Error| bad(path, FORMAT, error.to_string());
    let unsupported = |(key, mut reason): Refusal| {
        if !reason.contains("; ") {
            reason.push_str("; give a tokenizer without that, or keep to the library it was made for");
        }
        Error::Unsupported { path: path.to_path_buf(), key, reason }
    };
    let document: Document<'_> = match serde_json::from_str(&text) {
        Ok(document) => document,
        // Another model has other keys, which are the first thing to stumble over.
        Err(error) => {
            let Kind { model } = serde_json::from_str(&text).map_err(damaged)?;
            check_model(&model.name).map_err(unsupported)?;
            return Err(damaged(error));
        }
    };
    if document.model.name == native::MODEL {
        return native::read(path, &text);
    }
    check_model(&document.model.name).and_then(|()| check(&document)).map_err(unsupported)?;
    let regex = pre_tokenizer(&document.pre_tokenizer).map_err(unsupported)?;
    let Document { added_tokens, model, .. } = document;
    let whole_tokens = model.ignore_merges.unwrap_or(false);
    let spelled = Spelled { entries: model.vocab, pairs: model.merges, whole_tokens, shared: None };
    let vocabulary =
        spelled.vocabulary(|index| place(&added_tokens, index).map_err(unsupported)).map_err(in_file(path, FORMAT))?;
    let pattern = oniguruma::read(&regex, &vocabulary)
        .map_err(|reason| unsupported(("pre_tokenizer", format!("its regular expression {regex:?}: {reason}"))))?;
    Tokenizer::new(vocabulary, pattern)
}

fn check_model(name: &Value) -> Result<(), Refusal> {
    // Files from before the key was introduced have no other model with merges.
    if name.is_null() || name == "BPE" { Ok(()) } else { Err(("model.type", format!("{name} is not BPE"))) }
}

/// Checks all keys that change ids, but for those that are read.
fn check(document: &Document<'_>) -> Result<(), Refusal> {
    let Document { model, .. } = document;
    let empty = |value: &Value| value.is_null() || value == "";
    let rules = [
        ("version", &document.version, document.version.is_null() || document.version == "1.0", "is not version 1.0"),
        ("truncation", &document.truncation, document.truncation.is_null(), "cuts long texts; set it to null"),
        ("padding", &document.padding, document.padding.is_null(), "adds ids; set it to null"),
        (
            "normalizer",
            &document.normalizer,
            document.normalizer.is_null(),
            "changes the text, which nothing does here",
        ),
        (
            "post_processor",
            &document.post_processor,
            adds_nothing(&document.post_processor),
            "adds ids; set it to null and add them to what encode gives",
        ),
        (
            "decoder",
            &document.decoder,
            document.decoder.is_null() || is_byte_level(&document.decoder),
            "decodes otherwise than to the bytes of the tokens",
        ),
        (
            "model.dropout",
            &model.dropout,
            model.dropout.is_null() || model.dropout.as_f64() == Some(0.0),
            "makes ids random; set it to null",
        ),
        ("model.unk_token", &model.unk_token, model.unk_token.is_null(), "stands for the unknown, and no byte is"),
        (
            "model.byte_fallback",
            &model.byte_fallback,
            model.byte_fallback.is_null() || model.byte_fallback == false,
            "spells bytes as <0x00>; here they are tokens",
        ),
        (
            "model.continuing_subword_prefix",
            &model.continuing_subword_prefix,
            empty(&model.continuing_subword_prefix),
            "marks parts of words, which nothing does here",
        ),
        (
            "model.end_of_word_suffix",
            &model.end_of_word_suffix,
            empty(&model.end_of_word_suffix),
            "marks ends of words, which nothing does here",
        ),
    ];
    for (key, value, fine, reason) in rules {
        if !fine {
            return Err((key, format!("{} {reason}", kind(value))));
        }
    }
    check_added(&document.added_tokens)
}

/// A value as a message shows it: its type, if it is an object.
fn kind(value: &Value) -> String {
    value.get("type").unwrap_or(value).to_string()
}

/// Whether a post-processor leaves the ids as they are.
fn adds_nothing(processor: &Value) -> bool {
    let list = |key: &str| processor.get(key).and_then(Value::as_array);
    match processor.get("type").and_then(Value::as_str) {
        None => processor.is_null(),
        Some("ByteLevel") => true,
        Some("Sequence") => list("processors").is_some_and(|list| list.iter().all(adds_nothing)),
        Some("TemplateProcessing") => {
            list("single").is_some_and(|list| matches!(&list[..], [one] if one.get("Sequence").is_some()))
        }
        Some(_) => false,
    }
}

fn is_byte_level(value: &Value) -> bool {
    value.get("type").is_some_and(|name| name == "ByteLevel")
}

/// Checks that added tokens are found as special tokens are here.
fn check_added(tokens: &[AddedToken]) -> Result<(), Refusal> {
    for token in tokens {
        for (name, set) in [("lstrip", token.lstrip), ("rstrip", token.rstrip), ("single_word", token.single_word)] {
            if set {
                return Err((
                    "added_tokens",
                    format!("{:?} has {name}, which special tokens here have not", token.content),
                ));
            }
        }
    }
    // Without a normalizer both kinds are looked for in the same text, those that are not normalized first.
    let (second, first): (Vec<_>, Vec<_>) = tokens.iter().partition(|token| token.normalized);
    for one in &first {
        if let Some(other) = second.iter().find(|other| overlap(&one.content, &other.content)) {
            let (one, other) = (&one.content, &other.content);
            let reason = format!("{one:?} is looked for before {other:?}, which overlaps it; here the leftmost wins");
            return Err(("added_tokens", reason));
        }
    }
    Ok(())
}

/// Whether occurrences of two tokens can share a character.
fn overlap(one: &str, other: &str) -> bool {
    let joins = |left: &str, right: &str| right.char_indices().any(|(end, _)| end > 0 && left.ends_with(&right[..end]));
    one.contains(other) || other.contains(one) || joins(one, other) || joins(other, one)
}

/// The ids that the library gives to added tokens: those of the vocabulary, then those after its number of entries.
fn place(added: &[AddedToken], index: &Index<'_>) -> Result<Vec<(String, u32)>, Refusal> {
    let mut next = index.len() as u32;
    let mut special = Vec::with_capacity(added.len());
    for AddedToken { id, content, .. } in added {
        let given = index.get(content.as_str()).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        if given != *id {
            let reason = format!("{content:?} has the id {id}, but the library would read {given} here");
            return Err(("added_tokens", reason));
        }
        special.push((content.clone(), given));
    }
    Ok(special)
}

/// The regular expression that a pre-tokenizer cuts by.
fn pre_tokenizer(value: &Value) -> Result<String, Refusal> {
    let refuse = |reason: String| Err(("pre_tokenizer", reason));
    let mut steps = Vec::new();
    flatten(value, &mut steps);
    for step in &steps {
        if step.get("add_prefix_space").is_some_and(|add| add != false) {
            return refuse("add_prefix_space puts a space before texts; set it to false".to_owned());
        }
    }
    let uses_regex = |level: &Value| level.get("use_regex").is_none_or(|value| value == true);
    match &steps[..] {
        [level] if is_byte_level(level) && uses_regex(level) => Ok(oniguruma::GPT2.to_owned()),
        [split, level] if is_split(split) && is_byte_level(level) && !uses_regex(level) => {
            match split.pointer("/pattern/Regex").and_then(Value::as_str) {
                Some(regex) => Ok(regex.to_owned()),
                None => refuse("Split has no regular expression".to_owned()),
            }
        }
        steps => {
            let names: Vec<_> = steps.iter().map(|step| kind(step)).collect();
            refuse(format!(
                "[{}] is none of the known: ByteLevel with use_regex, or Split (Isolated, not inverted) and ByteLevel \
                 without",
                names.join(", ")
            ))
        }
    }
}

fn is_split(value: &Value) -> bool {
    value.get("type").is_some_and(|name| name == "Split")
        && value.get("behavior").is_some_and(|name| name == "Isolated")
        && value.get("invert").is_some_and(|invert| invert == false)
}

/// The steps of nested sequences in order.
fn flatten<'v>(value: &'v Value, steps: &mut Vec<&'v Value>) {
    match value.get("pretokenizers").and_then(Value::as_array) {
        Some(list) if value.get("type").is_some_and(|name| name == "Sequence") => {
            for step in list {
                flatten(step, steps);
            }
        }
        _ => steps.push(value),
    }
}

/// A file as it is written.
#[derive(Serialize)]
struct Output<'t> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<Value>,
    normalizer: (),
    pre_tokenizer: Value,
    post_processor: (),
    decoder: Value,
    model: OutputModel<'t>,
}

#[derive(Serialize)]
struct OutputModel<'t> {
    #[serde(rename = "type")]
    name: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cs336: Option<native::Ours>,
    vocab: Entries<'t>,
    merges: Pairs<'t>,
}

/// Why the library can't hold this tokenizer, `None` if it can.
pub(super) fn obstacle(tokenizer: &Tokenizer) -> Option<String> {
    let vocabulary = tokenizer.vocabulary();
    if let Err(reason) = oniguruma::spell(tokenizer.pattern()) {
        return Some(format!("its engine may read the pattern otherwise: {reason}"));
    }
    if let Some(token) = hidden(vocabulary) {
        return Some(format!("the special token {token:?} is spelled like an ordinary one"));
    }
    let is_hidden = |token: &&(String, u32)| {
        !vocabulary.is_ordinary(token.1) && bytes::from_text(&token.0).is_some_and(|bytes| bytes != token.0.as_bytes())
    };
    let found = vocabulary.special().iter().find(is_hidden).filter(|_| vocabulary.whole_tokens());
    found
        .map(|(token, _)| format!("the special token {token:?} is the spelling of a pre-token, which would stay whole"))
}

/// Writes the file, or says why the library would read it otherwise, as [`Error::Unrepresentable`].
pub fn save(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    match obstacle(tokenizer) {
        Some(reason) => Err(Error::Unrepresentable { format: FORMAT, reason }),
        None => aside::write(path, &write(tokenizer, "BPE", None)?),
    }
}

/// The text of a file.
pub(super) fn write(tokenizer: &Tokenizer, name: &'static str, cs336: Option<native::Ours>) -> Result<Vec<u8>> {
    let vocabulary = tokenizer.vocabulary();
    let spelling = Spelling::new(vocabulary);
    let added = vocabulary.special().iter().map(|(token, id)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let regex = oniguruma::spell(tokenizer.pattern()).unwrap_or_default();
    let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    layout::to_text(&Output {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: added.collect(),
        normalizer: (),
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": [split, byte_level]}),
        post_processor: (),
        decoder: byte_level,
        model: OutputModel {
            name,
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: vocabulary.whole_tokens(),
            cs336,
            vocab: spelling.entries(),
            merges: spelling.pairs(),
        },
    })
}
