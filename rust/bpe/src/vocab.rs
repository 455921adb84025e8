//! The vocabulary: tokens by id, merges in order of rank, special tokens; and what makes them valid.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use sha2::{Digest, Sha256};

use crate::encode::{Merger, PairTable};
use crate::special::SpecialTokens;
use crate::{Error, Job, Result};

/// Ids stay below this, so that a broken file can't ask for a table of gigabytes.
pub const MAX_IDS: u32 = 1 << 26;

/// One merge: where `left` and `right` stand side by side, they become `new`. Its rank is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Id of the left token.
    pub left: u32,
    /// Id of the right token.
    pub right: u32,
    /// Id of the two together.
    pub new: u32,
}

/// Tokens by id (there may be gaps), merges, special tokens. Valid by construction: every byte is a token, merges name
/// tokens, no id and no ordinary token stands twice.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The bytes of all tokens, in order of id.
    arena: Vec<u8>,
    /// Token `id` is `arena[starts[id]..starts[id + 1]]`; a gap is empty.
    starts: Vec<u32>,
    /// Ordinary tokens by their bytes.
    ordinary: HashTable<u32>,
    /// By id, whether it is in there.
    is_ordinary: Vec<bool>,
    merges: Vec<Merge>,
    special: Vec<(String, u32)>,
    whole_tokens: bool,
}

fn invalid<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Vocabulary(reason.into()))
}

fn hash_of(bytes: &[u8]) -> u64 {
    FixedState::default().hash_one(bytes)
}

/// A token as a message shows it.
pub(crate) fn show(token: &[u8]) -> String {
    format!("b\"{}\"", token.escape_ascii())
}

impl Vocabulary {
    /// What training yields: ids are the special tokens, the 256 bytes, the merges. In `merges`, symbols below 256 are
    /// bytes and symbol `256 + i` is merge `i`.
    pub fn from_training(special: &[String], merges: &[(u32, u32)]) -> Result<Self> {
        let first = special.len() as u32;
        let mut tokens: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (first + u32::from(byte), vec![byte])).collect();
        let mut by_id = Vec::with_capacity(merges.len());
        for (index, &(left, right)) in merges.iter().enumerate() {
            let new = 256 + index as u32;
            if left >= new || right >= new {
                return invalid(format!("merge {index} uses a symbol that no earlier merge made"));
            }
            let mut bytes = tokens[left as usize].1.clone();
            bytes.extend_from_slice(&tokens[right as usize].1);
            tokens.push((first + new, bytes));
            by_id.push(Merge { left: first + left, right: first + right, new: first + new });
        }
        let special = special.iter().cloned().zip(0..).collect();
        Self::assemble(tokens, by_id, special, false)
    }

    /// This vocabulary with more merges, whose tokens get the ids after the greatest. Symbols are those of
    /// [`from_training`](Self::from_training): a byte, or 256 and the rank of a merge.
    pub fn extended(&self, merges: &[(u32, u32)]) -> Result<Self> {
        let mut by_symbol: Vec<Option<u32>> = (0..=255u8).map(|byte| self.ordinary_id(&[byte])).collect();
        by_symbol.extend(self.merges.iter().map(|merge| Some(merge.new)));
        let ordinary = self.tokens().filter(|(id, _)| self.is_ordinary(*id));
        let mut tokens: Vec<(u32, Vec<u8>)> = ordinary.map(|(id, token)| (id, token.to_vec())).collect();
        let (mut all, known) = (self.merges.clone(), tokens.len());
        for (new, &(left, right)) in (self.size() as u32..).zip(merges) {
            let id_of = |symbol: u32| by_symbol.get(symbol as usize).copied().flatten();
            let (Some(left), Some(right)) = (id_of(left), id_of(right)) else {
                return invalid("a new merge uses a symbol that no earlier merge made".to_owned());
            };
            let bytes_of = |id: u32| match id.checked_sub(self.size() as u32) {
                Some(new) => &tokens[known + new as usize].1[..],
                None => self.token(id).unwrap_or_default(),
            };
            let bytes = [bytes_of(left), bytes_of(right)].concat();
            tokens.push((new, bytes));
            by_symbol.push(Some(new));
            all.push(Merge { left, right, new });
        }
        Self::assemble(tokens, all, self.special.clone(), self.whole_tokens)
    }

    /// A vocabulary from tokens and merges as bytes. Special tokens that `tokens` lacks get the ids after the greatest,
    /// in the order given.
    pub fn new(tokens: Vec<(u32, Vec<u8>)>, merges: Vec<(Vec<u8>, Vec<u8>)>, special: Vec<String>) -> Result<Self> {
        Self::from_parts(tokens, merges, special, false)
    }

    /// As [`new`](Self::new); with `whole_tokens`, see [`whole_tokens`](Self::whole_tokens).
    pub fn from_parts(
        tokens: Vec<(u32, Vec<u8>)>,
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        special: Vec<String>,
        whole_tokens: bool,
    ) -> Result<Self> {
        SpecialTokens::new(&special)?;
        let mut ids: HashMap<&[u8], u32> = HashMap::with_capacity(tokens.len());
        for (id, bytes) in &tokens {
            if let Some(other) = ids.insert(bytes, *id) {
                return invalid(format!("the token {} stands at two ids, {other} and {id}", show(bytes)));
            }
        }
        let mut by_id = Vec::with_capacity(merges.len());
        let mut used = HashSet::new();
        for (rank, (left, right)) in merges.iter().enumerate() {
            let find = |token: &[u8]| match ids.get(token) {
                Some(&id) => Ok(id),
                None => invalid(format!(
                    "merge {rank} ({} and {}) needs the token {}, which is not in the vocabulary",
                    show(left),
                    show(right),
                    show(token)
                )),
            };
            let merge = Merge { left: find(left)?, right: find(right)?, new: find(&[&left[..], right].concat())? };
            used.extend([merge.left, merge.right, merge.new]);
            by_id.push(merge);
        }
        let mut next = tokens.iter().map(|(id, _)| id.saturating_add(1)).max().unwrap_or(0);
        let mut placed = Vec::with_capacity(special.len());
        for token in special {
            let id = ids.get(token.as_bytes()).copied().unwrap_or_else(|| {
                next = next.saturating_add(1);
                next - 1
            });
            placed.push((token, id));
        }
        // A special token that no merge touches is nothing but special.
        let only_special: HashSet<u32> =
            placed.iter().filter(|(token, id)| token.len() > 1 && !used.contains(id)).map(|(_, id)| *id).collect();
        let ordinary = tokens.into_iter().filter(|(id, _)| !only_special.contains(id)).collect();
        Self::assemble(ordinary, by_id, placed, whole_tokens)
    }

    /// A vocabulary from ranks, as tiktoken's files hold it: an id is a rank, and any two adjacent tokens whose
    /// concatenation is a token may merge, the lowest rank first; a pre-token that is a token stays whole.
    ///
    /// Merging a token's bytes by themselves runs exactly the steps that merging runs inside any text where the token
    /// comes out, since none of them crosses its ends. So the last of these steps is the only pair that ever makes the
    /// token, and one merge for each token says the same as the ranks do.
    pub fn from_ranks(mut tokens: Vec<(u32, Vec<u8>)>, special: Vec<(String, u32)>) -> Result<Self> {
        tokens.sort_unstable_by_key(|(id, _)| *id);
        let mut bytes = [None; 256];
        for (id, token) in &tokens {
            if let [byte] = token[..] {
                bytes[usize::from(byte)] = Some(*id);
            }
        }
        let mut merger = Merger { bytes: [0; 256], pairs: PairTable::with_capacity(tokens.len())? };
        for (byte, id) in bytes.iter().enumerate() {
            let missing = || Error::Vocabulary(format!("the byte 0x{byte:02x} has no token; all 256 are needed"));
            merger.bytes[byte] = id.ok_or_else(missing)?;
        }
        // Few vocabularies need it.
        let ids = LazyCell::new(|| tokens.iter().map(|(id, token)| (&token[..], *id)).collect());
        let mut merges = Vec::new();
        let mut whole_tokens = false;
        let mut parts = Vec::new();
        for (id, token) in tokens.iter().filter(|(_, token)| token.len() > 1) {
            parts.clear();
            merger.merge(token, &mut parts, &Job::default())?;
            let last = match parts[..] {
                [left, right] => Some((left, right)),
                _ => last_step(token, &ids)?,
            };
            match last {
                Some((left, right)) => {
                    merger.pairs.insert(left, right, *id, *id);
                    merges.push(Merge { left, right, new: *id });
                }
                None => whole_tokens = true,
            }
        }
        Self::assemble(tokens, merges, special, whole_tokens)
    }

    /// A vocabulary from all its parts, which are checked. `ordinary` are the tokens that bytes and merges make, `special`
    /// may share ids with them where it is spelled alike.
    pub fn assemble(
        mut ordinary: Vec<(u32, Vec<u8>)>,
        merges: Vec<Merge>,
        special: Vec<(String, u32)>,
        whole_tokens: bool,
    ) -> Result<Self> {
        let names: Vec<&str> = special.iter().map(|(token, _)| token.as_str()).collect();
        SpecialTokens::new(&names)?;
        ordinary.sort_unstable_by_key(|(id, _)| *id);
        let mut vocabulary = Self {
            arena: Vec::new(),
            starts: vec![0],
            ordinary: HashTable::with_capacity(ordinary.len()),
            is_ordinary: Vec::new(),
            merges,
            special,
            whole_tokens,
        };
        vocabulary.lay_out(&ordinary)?;
        vocabulary.is_ordinary.resize(vocabulary.size(), false);
        for (id, _) in &ordinary {
            vocabulary.index(*id)?;
        }
        vocabulary.check()?;
        Ok(vocabulary)
    }

    /// Fills the arena with ordinary and special tokens in order of id.
    fn lay_out(&mut self, ordinary: &[(u32, Vec<u8>)]) -> Result<()> {
        let mut all: Vec<(u32, &[u8])> = ordinary.iter().map(|(id, token)| (*id, &token[..])).collect();
        all.extend(self.special.iter().map(|(token, id)| (*id, token.as_bytes())));
        all.sort();
        all.dedup();
        for pair in all.windows(2) {
            if pair[0].0 == pair[1].0 {
                let (one, other) = (show(pair[0].1), show(pair[1].1));
                return invalid(format!("id {} stands for two tokens, {one} and {other}", pair[0].0));
            }
        }
        for (id, token) in all {
            if id >= MAX_IDS {
                return invalid(format!("id {id} is too great; ids must be below {MAX_IDS}"));
            }
            if token.is_empty() {
                return invalid(format!("id {id} stands for an empty token"));
            }
            let start = *self.starts.last().unwrap_or(&0);
            self.starts.resize(id as usize + 1, start);
            self.arena.extend_from_slice(token);
            match u32::try_from(self.arena.len()) {
                Ok(end) => self.starts.push(end),
                Err(_) => return invalid("the tokens take more than 4 GiB"),
            }
        }
        Ok(())
    }

    /// Enters an ordinary token into the index by bytes.
    fn index(&mut self, id: u32) -> Result<()> {
        let Self { arena, starts, ordinary, .. } = self;
        let token = |id: u32| &arena[starts[id as usize] as usize..starts[id as usize + 1] as usize];
        let entry = ordinary.entry(hash_of(token(id)), |&other| token(other) == token(id), |&id| hash_of(token(id)));
        match entry {
            hashbrown::hash_table::Entry::Occupied(other) => {
                let (bytes, other) = (show(token(id)), *other.get());
                invalid(format!("the token {bytes} stands at two ids, {other} and {id}"))
            }
            hashbrown::hash_table::Entry::Vacant(place) => {
                place.insert(id);
                self.is_ordinary[id as usize] = true;
                Ok(())
            }
        }
    }

    fn check(&self) -> Result<()> {
        for byte in 0..=255u8 {
            if self.ordinary_id(&[byte]).is_none() {
                return invalid(format!("the byte 0x{byte:02x} has no token; all 256 are needed"));
            }
        }
        let mut seen = HashSet::with_capacity_and_hasher(self.merges.len(), FixedState::default());
        for (rank, merge) in self.merges.iter().enumerate() {
            let parts = [merge.left, merge.right, merge.new].map(|id| self.token(id));
            let [Some(left), Some(right), Some(new)] = parts else {
                return invalid(format!("merge {rank} uses an id that is no token"));
            };
            if left.len() + right.len() != new.len() || !new.starts_with(left) || !new.ends_with(right) {
                return invalid(format!("merge {rank}: {} and {} do not make {}", show(left), show(right), show(new)));
            }
            if !seen.insert((merge.left, merge.right)) {
                return invalid(format!("merge {rank} ({} and {}) stands there twice", show(left), show(right)));
            }
        }
        Ok(())
    }

    /// The greatest id + 1.
    pub fn size(&self) -> usize {
        self.starts.len() - 1
    }

    /// The bytes of a token, `None` where no token has this id.
    #[inline]
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        let start = *self.starts.get(id as usize)? as usize;
        let end = *self.starts.get(id as usize + 1)? as usize;
        (start < end).then(|| &self.arena[start..end])
    }

    /// Where the bytes of a token stand in the arena; an empty place where no token has this id.
    #[inline(always)]
    pub(crate) fn place(&self, id: u32) -> (usize, usize) {
        match self.starts.get(id as usize..).and_then(|starts| starts.first_chunk()) {
            Some(&[start, end]) => (start as usize, end as usize),
            None => (0, 0),
        }
    }

    /// Length of a token in bytes; 0 where no token has this id.
    #[inline(always)]
    pub(crate) fn length(&self, id: u32) -> usize {
        let (start, end) = self.place(id);
        end - start
    }

    /// The bytes of all tokens in order of id.
    pub(crate) fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// All tokens, special ones too, in order of id.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.size() as u32).filter_map(|id| Some((id, self.token(id)?)))
    }

    /// The id of these bytes; where an ordinary and a special token are spelled alike, the ordinary one's.
    pub fn id(&self, token: &[u8]) -> Option<u32> {
        let special = || self.special.iter().find(|(text, _)| text.as_bytes() == token).map(|(_, id)| *id);
        self.ordinary_id(token).or_else(special)
    }

    /// The id of an ordinary token.
    pub fn ordinary_id(&self, token: &[u8]) -> Option<u32> {
        self.ordinary.find(hash_of(token), |&id| self.token(id) == Some(token)).copied()
    }

    /// Whether this id is an ordinary token, one that text can turn into without being special.
    pub fn is_ordinary(&self, id: u32) -> bool {
        self.is_ordinary.get(id as usize) == Some(&true)
    }

    /// Merges in order of rank.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// Special tokens with their ids, in the order given.
    pub fn special(&self) -> &[(String, u32)] {
        &self.special
    }

    /// Whether a pre-token that is a token stays whole even where merges would not make it. True of rank files with
    /// tokens that merges don't reach, and of Hugging Face's `ignore_merges`.
    pub fn whole_tokens(&self) -> bool {
        self.whole_tokens
    }

    /// SHA-256 over a fixed serialization, all integers little-endian:
    ///
    /// - the line `cs336 vocabulary 1`;
    /// - the number of tokens (u64), then for each by id: id (u32), length (u32), bytes;
    /// - the number of merges (u64), then for each by rank: left, right, new id (u32 each);
    /// - the number of special tokens (u64), then for each by id: id (u32), length (u32), UTF-8;
    /// - 1 where pre-tokens that are tokens stay whole whatever the merges, else 0 (u8);
    /// - length (u32) and UTF-8 of the pattern's name or regular expression.
    pub fn hash(&self, pattern: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"cs336 vocabulary 1\n");
        let write = |hash: &mut Sha256, id: u32, bytes: &[u8]| {
            hash.update(id.to_le_bytes());
            hash.update((bytes.len() as u32).to_le_bytes());
            hash.update(bytes);
        };
        hash.update((self.tokens().count() as u64).to_le_bytes());
        for (id, token) in self.tokens() {
            write(&mut hash, id, token);
        }
        hash.update((self.merges.len() as u64).to_le_bytes());
        for merge in &self.merges {
            for id in [merge.left, merge.right, merge.new] {
                hash.update(id.to_le_bytes());
            }
        }
        let mut special: Vec<_> = self.special.iter().map(|(token, id)| (*id, token.as_bytes())).collect();
        special.sort_unstable();
        hash.update((special.len() as u64).to_le_bytes());
        for (id, token) in special {
            write(&mut hash, id, token);
        }
        hash.update([u8::from(self.whole_tokens)]);
        hash.update((pattern.len() as u32).to_le_bytes());
        hash.update(pattern);
        hash.finalize().into()
    }
}

/// The last step of merging a token's bytes by ranks, `None` if they don't become the token. For the rare tokens whose
/// merging passes through a token of higher rank.
fn last_step(token: &[u8], ids: &HashMap<&[u8], u32>) -> Result<Option<(u32, u32)>> {
    // The time is more than quadratic, and no real vocabulary has such a token of any length.
    const LONGEST: usize = 1 << 10;
    if token.len() > LONGEST {
        return invalid(format!("a token of {} bytes is made of none of a lower rank; it is too long", token.len()));
    }
    let mut ends: Vec<usize> = (0..=token.len()).collect();
    loop {
        let ranks = ends.windows(3).enumerate().filter_map(|(i, w)| Some((*ids.get(&token[w[0]..w[2]])?, i)));
        let Some((_, at)) = ranks.min() else { return Ok(None) };
        if ends.len() == 3 {
            return Ok(ids.get(&token[..ends[1]]).copied().zip(ids.get(&token[ends[1]..]).copied()));
        }
        ends.remove(at + 1);
    }
}
