//! Vocabularies whose tokens and merges are spelled in visible characters, as in GPT-2's files and in Hugging Face's.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use foldhash::fast::FixedState;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::bytes;
use crate::vocab::{Merge, show};
use crate::{Error, Result, Vocabulary};

/// The entries of a JSON object from token to id, in their order.
#[derive(Debug, Default)]
pub struct Entries<'a>(pub Vec<(Cow<'a, str>, u32)>);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, id)| (token, id)))
    }
}

/// Merges in order of rank.
#[derive(Debug, Default)]
pub struct Pairs<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A token's text, which stands in the file as it is but for escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from token to id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(token), id)) = map.next_entry()? {
                    entries.push((token, id));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A pair as Hugging Face writes it: two strings, or in older files one with a space between. `None` for the version
/// that some files begin with, which is passed over as there.
struct Pair<'a>(Option<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pair<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pair<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: two tokens, or a string of two with a space between")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.starts_with("#version") {
                    return Ok(Pair(None));
                }
                let unexpected = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                let (left, right) = halves(text).ok_or_else(unexpected)?;
                Ok(Pair(Some((Cow::Owned(left.to_owned()), Cow::Owned(right.to_owned())))))
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                match halves(text) {
                    Some((left, right)) if !text.starts_with("#version") => {
                        Ok(Pair(Some((Cow::Borrowed(left), Cow::Borrowed(right)))))
                    }
                    _ => self.visit_str(text),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
                let (left, right) = (pair.next_element()?, pair.next_element()?);
                match (left, right, pair.next_element::<serde::de::IgnoredAny>()?) {
                    (Some(Text(left)), Some(Text(right)), None) => Ok(Pair(Some((left, right)))),
                    _ => Err(serde::de::Error::invalid_value(serde::de::Unexpected::Seq, &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

/// The tokens of `left right`.
pub fn halves(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(_, right)| !right.contains(' '))
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Pair(pair)) = list.next_element()? {
                    pairs.extend(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// A vocabulary as it is spelled.
pub struct Spelled<'a> {
    pub entries: Entries<'a>,
    pub pairs: Pairs<'a>,
    /// Whether a pre-token that is a token stays whole.
    pub whole_tokens: bool,
    /// Ids of special tokens that are ordinary ones too, if the file says so.
    pub shared: Option<HashSet<u32>>,
}

/// Ids by spelling.
pub type Index<'i> = HashMap<&'i str, u32, FixedState>;

impl Spelled<'_> {
    /// The vocabulary, or what is wrong with it. `place` gives the special tokens their ids.
    ///
    /// Where the file does not say it, an entry that is spelled like a special token is an ordinary token too if text can
    /// turn into it: if it is a single byte, or merges name it. An entry in characters that stand for no byte can't come
    /// out of text, and is its UTF-8.
    pub fn vocabulary(self, place: impl FnOnce(&Index<'_>) -> Result<Vec<(String, u32)>>) -> Result<Vocabulary> {
        let Self { entries: Entries(entries), pairs: Pairs(pairs), whole_tokens, shared } = self;
        let index = index(&entries)?;
        let merges = resolve(&pairs, &index)?;
        let special = place(&index)?;
        let specials: HashMap<&str, u32> = special.iter().map(|(token, id)| (token.as_str(), *id)).collect();
        let mut used = HashSet::new();
        if !special.is_empty() && shared.is_none() {
            used.extend(merges.iter().flat_map(|merge| [merge.left, merge.right, merge.new]));
        }
        let mut ordinary = Vec::with_capacity(entries.len());
        for (key, id) in &entries {
            let is_special = specials.get(&**key) == Some(id);
            let bytes = match bytes::from_text(key) {
                Some(bytes) if is_special => {
                    let alike = bytes == key.as_bytes();
                    let reached = match &shared {
                        Some(shared) => shared.contains(id),
                        None => used.contains(id) || bytes.len() == 1,
                    };
                    if !alike && shared.is_none() && (reached || whole_tokens) {
                        let bytes = show(&bytes);
                        return invalid(format!(
                            "{key:?} is a special token and the spelling of {bytes}, both at id {id}"
                        ));
                    }
                    if !alike || !reached {
                        continue;
                    }
                    bytes
                }
                Some(bytes) => bytes,
                None if is_special => continue,
                None if whole_tokens => return invalid(format!("{key:?} holds a character that stands for no byte")),
                None => key.as_bytes().to_vec(),
            };
            ordinary.push((*id, bytes));
        }
        Vocabulary::assemble(ordinary, merges, special, whole_tokens)
    }
}

fn invalid<T>(reason: String) -> Result<T> {
    Err(Error::Vocabulary(reason))
}

/// The spellings of a vocabulary's ordinary tokens.
pub struct Spelling<'v> {
    vocabulary: &'v Vocabulary,
    /// All of them in order of id.
    text: String,
    /// That of `id` is `text[starts[id]..starts[id + 1]]`, empty where it is no ordinary token.
    starts: Vec<usize>,
}

impl<'v> Spelling<'v> {
    /// Spells all ordinary tokens.
    pub fn new(vocabulary: &'v Vocabulary) -> Self {
        let (mut text, mut starts) = (String::new(), vec![0]);
        for id in 0..vocabulary.size() as u32 {
            if let Some(token) = vocabulary.token(id).filter(|_| vocabulary.is_ordinary(id)) {
                text.extend(bytes::to_text(token));
            }
            starts.push(text.len());
        }
        Self { vocabulary, text, starts }
    }

    fn of(&self, id: u32) -> &str {
        &self.text[self.starts[id as usize]..self.starts[id as usize + 1]]
    }

    /// All tokens in order of id, special ones as they are, but for hidden ones.
    pub fn entries(&self) -> Entries<'_> {
        let Self { vocabulary, .. } = self;
        let ordinary = vocabulary.tokens().map(|(id, _)| id).filter(|id| vocabulary.is_ordinary(*id));
        let ordinary = ordinary.map(|id| (Cow::Borrowed(self.of(id)), id));
        let special = vocabulary.special().iter().filter(|(token, _)| spelled_so(vocabulary, token).is_none());
        let special = special.map(|(token, id)| (Cow::Borrowed(token.as_str()), *id));
        let mut entries: Vec<_> = ordinary.chain(special).collect();
        entries.sort_by_key(|(_, id)| *id);
        Entries(entries)
    }

    /// Merges in order of rank.
    pub fn pairs(&self) -> Pairs<'_> {
        let text = |id: u32| Cow::Borrowed(self.of(id));
        Pairs(self.vocabulary.merges().iter().map(|merge| (text(merge.left), text(merge.right))).collect())
    }
}

/// The id of the ordinary token that is spelled so.
fn spelled_so(vocabulary: &Vocabulary, text: &str) -> Option<u32> {
    vocabulary.ordinary_id(&bytes::from_text(text)?)
}

/// A special token that is spelled like an ordinary one of another id.
pub fn hidden(vocabulary: &Vocabulary) -> Option<&str> {
    let hidden = |(token, id): &&(String, u32)| spelled_so(vocabulary, token).is_some_and(|other| other != *id);
    vocabulary.special().iter().find(hidden).map(|(token, _)| token.as_str())
}

/// Entries by their spelling, each of which must be there once.
fn index<'i>(entries: &'i [(Cow<'_, str>, u32)]) -> Result<Index<'i>> {
    let mut index = Index::with_capacity_and_hasher(entries.len(), FixedState::default());
    for (key, id) in entries {
        if let Some(other) = index.insert(key, *id) {
            return invalid(format!("the token {key:?} stands at two ids, {other} and {id}"));
        }
    }
    Ok(index)
}

/// Merges by their ids.
fn resolve(pairs: &[(Cow<'_, str>, Cow<'_, str>)], index: &Index<'_>) -> Result<Vec<Merge>> {
    let mut merges = Vec::with_capacity(pairs.len());
    let mut new = String::new();
    for (rank, (left, right)) in pairs.iter().enumerate() {
        new.clear();
        new.push_str(left);
        new.push_str(right);
        let find = |key: &str| match index.get(key) {
            Some(&id) => Ok(id),
            None => {
                let reason = format!("merge {rank} ({left:?} and {right:?}) needs {key:?}, which is no token");
                invalid(reason)
            }
        };
        merges.push(Merge { left: find(left)?, right: find(right)?, new: find(&new)? });
    }
    Ok(merges)
}
