//! The longest token that a text begins with: a double-array trie, one lookup of 8 bytes for each byte of the token.

use std::collections::VecDeque;

use crate::memory::Table;
use crate::{Error, Result};

/// Slots of a block. A node's children stand in one block, at `base ^ byte`.
const BLOCK: usize = 256;

/// More slots than this are not worth the memory, nor would their numbers fit.
const MOST: usize = 1 << 25;

/// In how many of the newest blocks a place is looked for.
const TRIED: usize = 16;

/// Base of a node without children: the first block, which stays empty.
const CHILDLESS: usize = 0;

const WHAT: &str = "the trie of tokens";

/// No token.
pub const NONE: u32 = (1 << 27) - 1;

/// A node as one number, so that a step is one load: base (28 bits), token (27), label (9).
#[derive(Clone, Copy)]
struct Node(u64);

impl Node {
    /// No byte is its label.
    const FREE: Self = Self(256);

    fn new(base: usize, token: u32, label: u8) -> Self {
        Self((base as u64) << 36 | u64::from(token) << 9 | u64::from(label))
    }

    #[inline]
    fn base(self) -> usize {
        (self.0 >> 36) as usize
    }

    #[inline]
    fn token(self) -> u32 {
        (self.0 >> 9) as u32 & NONE
    }

    #[inline]
    fn has_label(self, byte: u8) -> bool {
        self.0 & 511 == u64::from(byte)
    }
}

/// Tokens by their bytes.
pub struct Trie {
    nodes: Table<Node>,
    root: usize,
}

/// Tokens that begin alike, on their way into the trie.
struct Group<'t> {
    tokens: &'t [(&'t [u8], u32)],
    /// How many bytes they have in common.
    depth: usize,
    slot: usize,
    /// The longest token among these bytes.
    longest: u32,
}

impl Trie {
    /// A trie of tokens in order of their bytes, none empty, none twice; `None` if it would be too large. Calls
    /// `shorter(token, other)` on each token and the longest other one that it begins with, [`NONE`] where there is none.
    pub fn new(tokens: &[(&[u8], u32)], mut shorter: impl FnMut(&(&[u8], u32), u32)) -> Result<Option<Self>> {
        let mut builder = Builder::default();
        builder.add_block()?;
        builder.open.clear();
        // The root has no slot of its own; it borrows one of the first block until all is placed.
        // In order of depth, so that what every walk begins with stands together.
        let mut waiting = VecDeque::from([Group { tokens, depth: 0, slot: 0, longest: NONE }]);
        while let Some(Group { mut tokens, depth, slot, mut longest }) = waiting.pop_front() {
            if let Some((first, rest)) = tokens.split_first()
                && first.0.len() == depth
            {
                shorter(first, longest);
                (longest, tokens) = (first.1, rest);
            }
            if tokens.is_empty() {
                continue;
            }
            if builder.nodes.len() > MOST {
                return Ok(None);
            }
            let children: Vec<_> = tokens.chunk_by(|one, next| one.0[depth] == next.0[depth]).collect();
            let bytes: Vec<u8> = children.iter().map(|child| child[0].0[depth]).collect();
            let base = builder.place(&bytes)?;
            builder.nodes[slot].0 |= (base as u64) << 36;
            for (tokens, &byte) in children.into_iter().zip(&bytes) {
                let slot = base ^ usize::from(byte);
                let token = if tokens[0].0.len() == depth + 1 { tokens[0].1 } else { NONE };
                builder.nodes[slot] = Node::new(CHILDLESS, token, byte);
                waiting.push_back(Group { tokens, depth: depth + 1, slot, longest });
            }
        }
        let root = std::mem::replace(&mut builder.nodes[0], Node::FREE).base();
        let needed = size_of_val(&builder.nodes[..]) as u64;
        let missing = Error::OutOfMemory { what: WHAT, needed };
        let nodes = Table::of(&builder.nodes).ok_or(missing)?;
        Ok(Some(Self { nodes, root }))
    }

    /// The longest token that the text begins with, and its length; [`NONE`] if there is none. Calls `passed` on each that
    /// the text begins with, in order of length.
    #[inline]
    pub fn longest(&self, text: &[u8], passed: impl Fn(u32)) -> (u32, usize) {
        let nodes: &[Node] = &self.nodes;
        let (mut base, mut longest) = (self.root, (NONE, 0));
        for (at, &byte) in text.iter().enumerate() {
            let Some(node) = nodes.get(base ^ usize::from(byte)).filter(|node| node.has_label(byte)) else { break };
            if node.token() != NONE {
                longest = (node.token(), at + 1);
                passed(node.token());
            }
            base = node.base();
        }
        longest
    }
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trie({} slots)", self.nodes.len())
    }
}

/// A bit for each slot of a block.
type Bits = [u64; BLOCK / 64];

/// A block where something may fit.
struct Open {
    start: usize,
    /// Slots that are taken, and bases: no two nodes have the same, or a child of one would pass for the other's.
    slots: Bits,
    bases: Bits,
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<Open>,
}

impl Builder {
    fn add_block(&mut self) -> Result<()> {
        let needed = ((self.nodes.len() + BLOCK) * size_of::<Node>()) as u64;
        self.nodes.try_reserve(BLOCK).map_err(|_| Error::OutOfMemory { what: WHAT, needed })?;
        self.open.push(Open { start: self.nodes.len(), slots: [0; 4], bases: [0; 4] });
        self.nodes.resize(self.nodes.len() + BLOCK, Node::FREE);
        Ok(())
    }

    /// Takes a base and slots for a node's children.
    fn place(&mut self, bytes: &[u8]) -> Result<usize> {
        loop {
            let newest = self.open.len().saturating_sub(TRIED);
            if let Some(base) = self.open[newest..].iter_mut().rev().find_map(|block| block.place(bytes)) {
                return Ok(base);
            }
            // What was looked through so often is as good as full.
            self.open.drain(..newest);
            self.add_block()?;
        }
    }
}

impl Open {
    fn place(&mut self, bytes: &[u8]) -> Option<usize> {
        let first = usize::from(*bytes.first()?);
        let taken = |bits: &Bits, at: usize| bits[at / 64] >> (at % 64) & 1 != 0;
        let base = (0..BLOCK / 64).find_map(|word| {
            let mut free = !self.slots[word];
            while free != 0 {
                let base = (64 * word + free.trailing_zeros() as usize) ^ first;
                let fits = |byte: &u8| !taken(&self.slots, base ^ usize::from(*byte));
                if !taken(&self.bases, base) && bytes.iter().all(fits) {
                    return Some(base);
                }
                free &= free - 1;
            }
            None
        })?;
        let take = |bits: &mut Bits, at: usize| bits[at / 64] |= 1 << (at % 64);
        take(&mut self.bases, base);
        bytes.iter().for_each(|byte| take(&mut self.slots, base ^ usize::from(*byte)));
        Some(self.start + base)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Tokens of few letters and of all bytes, and texts that begin like them.
    fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let few = prop::collection::vec(b'a'..=b'c', 1..8);
        let any = prop::collection::vec(any::<u8>(), 1..4);
        prop::collection::vec(prop_oneof![few, any], 0..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn it_finds_what_a_map_finds(tokens in words(), texts in words()) {
            let tokens: BTreeMap<Vec<u8>, u32> = tokens.into_iter().zip(0..).collect();
            let sorted: Vec<(&[u8], u32)> = tokens.iter().map(|(token, id)| (&token[..], *id)).collect();
            let mut shorter = BTreeMap::new();
            let trie = Trie::new(&sorted, |token, other| { shorter.insert(token.1, other); }).unwrap().unwrap();
            let longest = |text: &[u8], most: usize| {
                (1..=most).rev().find_map(|length| tokens.get(&text[..length])).copied().unwrap_or(NONE)
            };
            for text in texts {
                prop_assert_eq!(trie.longest(&text, |_| ()).0, longest(&text, text.len()));
                if let (id @ 0..NONE, length) = trie.longest(&text, |_| ()) {
                    prop_assert_eq!(tokens[&text[..length]], id);
                }
            }
            for (token, id) in &tokens {
                prop_assert_eq!(shorter[id], longest(token, token.len() - 1));
            }
        }
    }
}
