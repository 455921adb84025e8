//! The byte string of each symbol, and the order of pairs.

use std::cmp::Ordering;

use super::Pair;

/// Symbols 0 to 255 are the bytes, the others joined from two earlier ones.
pub struct Symbols {
    arena: Vec<u8>,
    /// Symbol `i` is `arena[ends[i]..ends[i + 1]]`.
    ends: Vec<usize>,
}

impl Symbols {
    pub fn bytes() -> Self {
        Self { arena: (0..=255).collect(), ends: (0..=256).collect() }
    }

    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    pub fn of(&self, symbol: u32) -> &[u8] {
        &self.arena[self.ends[symbol as usize]..self.ends[symbol as usize + 1]]
    }

    /// How many bytes a pair makes.
    pub fn length(&self, pair: Pair) -> usize {
        self.of(pair.0).len() + self.of(pair.1).len()
    }

    /// Makes the next symbol of two.
    pub fn join(&mut self, pair: Pair) -> u32 {
        for part in [pair.0, pair.1] {
            self.arena.extend_from_within(self.ends[part as usize]..self.ends[part as usize + 1]);
        }
        self.ends.push(self.arena.len());
        self.len() as u32 - 1
    }

    /// Compares two pairs as `(bytes, bytes)`.
    pub fn compare(&self, one: Pair, other: Pair) -> Ordering {
        self.of(one.0).cmp(self.of(other.0)).then_with(|| self.of(one.1).cmp(self.of(other.1)))
    }

    /// The first eight bytes as a number: where two differ, so do the symbols, and in the same order.
    pub fn prefix(&self, symbol: u32) -> u64 {
        let bytes = self.of(symbol);
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        u64::from_be_bytes(first)
    }
}
