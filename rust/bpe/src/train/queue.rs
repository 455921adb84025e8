//! Which pair comes next: a heap by count, then by the bytes of both symbols.

use std::cmp::Ordering;

use super::Pair;
use super::symbols::Symbols;

/// A pair with the count it had when it was put into the queue.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub count: u64,
    pub pair: Pair,
    /// Which of the followed pairs it is.
    pub index: u32,
    /// The first bytes of the left symbol, which decide most ties.
    prefix: u64,
}

/// A binary heap whose order needs the symbols, which is why it is not the standard one.
#[derive(Default)]
pub struct Queue {
    heap: Vec<Candidate>,
}

impl Candidate {
    pub fn new(count: u64, pair: Pair, index: u32, symbols: &Symbols) -> Self {
        Self { count, pair, index, prefix: symbols.prefix(pair.0) }
    }

    fn is_before(&self, other: &Self, symbols: &Symbols) -> bool {
        let order = self.count.cmp(&other.count).then_with(|| self.prefix.cmp(&other.prefix));
        order.then_with(|| symbols.compare(self.pair, other.pair)) == Ordering::Greater
    }
}

impl Queue {
    pub fn push(&mut self, candidate: Candidate, symbols: &Symbols) {
        let mut at = self.heap.len();
        self.heap.push(candidate);
        while at > 0 {
            let parent = (at - 1) / 2;
            if !candidate.is_before(&self.heap[parent], symbols) {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = candidate;
    }

    pub fn clear(&mut self) {
        self.heap.clear();
    }

    pub fn first(&self) -> Option<Candidate> {
        self.heap.first().copied()
    }

    /// Takes the first out.
    pub fn pop(&mut self, symbols: &Symbols) {
        if let Some(last) = self.heap.pop()
            && !self.heap.is_empty()
        {
            self.sink(last, symbols);
        }
    }

    /// Gives the first another count, which is not greater.
    pub fn lower_first(&mut self, count: u64, symbols: &Symbols) {
        self.sink(Candidate { count, ..self.heap[0] }, symbols);
    }

    /// Puts a candidate in place of the first, and lets it sink to where it belongs.
    fn sink(&mut self, candidate: Candidate, symbols: &Symbols) {
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].is_before(&self.heap[child], symbols) {
                child += 1;
            }
            if !self.heap[child].is_before(&candidate, symbols) {
                break;
            }
            self.heap[at] = self.heap[child];
            at = child;
        }
        self.heap[at] = candidate;
    }
}
