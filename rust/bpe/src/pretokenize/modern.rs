//! `cl100k` and `o200k` in blocks. They differ in what a word is, in where contractions stand, and in slashes after line
//! ends.

use super::blocks::Block;
use super::cursor::Cursor;
use super::spans::{Scanner, before_space, with_contractions};
use super::{cl100k, o200k};

/// The last byte before a block: its bit of each mask, as the first bit.
#[derive(Default)]
struct Before {
    /// Letters, and in `o200k` marks that belong to words.
    word: u64,
    lower: u64,
    /// Word characters that are neither capital nor small.
    caseless: u64,
    other: u64,
    /// Line ends and slashes that belong to the signs before them.
    tail: u64,
    /// White space that does not, its line ends, and the space itself.
    space: u64,
    newline: u64,
    blank: u64,
    /// A sign that a pre-token starts with, and that a word may follow in it.
    lead: u64,
    /// How many digits the pre-token under way has, if it is a number.
    digits: usize,
}

#[derive(Default)]
pub struct Cl100k(Before);

#[derive(Default)]
pub struct O200k(Before);

impl Scanner for Cl100k {
    #[inline]
    fn next(cursor: &mut Cursor<'_>, start: usize) -> usize {
        cl100k::next(cursor, start)
    }

    #[inline(always)]
    fn starts(&mut self, block: &Block, text: &str, at: usize) -> Option<u64> {
        let (starts, _) = self.0.starts(block, block.letters, block.newlines, text, at)?;
        let rest = &text.as_bytes()[at..];
        with_contractions(starts, block.quotes & starts, false, block, |quote| contraction_length(&rest[quote..]))
    }
}

impl Scanner for O200k {
    #[inline]
    fn next(cursor: &mut Cursor<'_>, start: usize) -> usize {
        o200k::next(cursor, start)
    }

    #[inline(always)]
    fn starts(&mut self, block: &Block, text: &str, at: usize) -> Option<u64> {
        let word = block.letters | block.marks;
        let caseless = word & !(block.upper | block.lower);
        let after_word = word << 1 | self.0.word;
        let after_caseless = caseless << 1 | self.0.caseless;
        // A mark that follows no word may be a sign. A capital after a letter without case ends a word only if no small
        // letter comes first.
        if (block.marks & !block.inner & !after_word) | (block.upper & !block.inner & after_caseless) != 0 {
            return None;
        }
        let capitals = block.upper & (block.lower << 1 | self.0.lower);
        let (starts, after) = self.0.starts(block, word, block.newlines | block.slashes, text, at)?;
        self.0.lower = block.last(block.lower);
        self.0.caseless = block.last(caseless);
        let rest = &text.as_bytes()[at..];
        let quotes = block.quotes & after;
        with_contractions(starts | capitals, quotes, true, block, |quote| contraction_length(&rest[quote..]))
    }
}

impl Before {
    /// Where pre-tokens start, contractions and capitals inside words left aside, and what follows a word character.
    ///
    /// - A word starts where no word character, lead or white space other than a line end stands before it. White space
    ///   and a lead start it otherwise, as far as they start anything.
    /// - Signs start a pre-token where none stands before them and no space, which would start it.
    /// - White space starts one where none stands before it, after its last line end, and at its last character before
    ///   something else, unless that is a line end.
    /// - Numbers are cut every three digits.
    #[inline(always)]
    fn starts(&mut self, block: &Block, word: u64, tailable: u64, text: &str, at: usize) -> Option<(u64, u64)> {
        let signs = !(word | block.numbers | block.spaces) & block.inside();
        // Adding a bit to a run of ones clears the run from there on.
        let seeds = block.newlines & (signs << 1 | self.other) | tailable & self.tail;
        let tail = tailable & !tailable.wrapping_add(seeds) | seeds;
        let others = signs & !tail;
        let spaces = block.spaces & !tail;
        let newlines = block.newlines & !tail;
        let plain = spaces & !newlines;

        let after_newline = plain & (newlines << 1 | self.newline);
        let (sum, beyond) = plain.overflowing_add(after_newline);
        // More line ends may follow, so that these were not the last.
        if after_newline != 0 && (beyond || sum & !plain & (newlines | !block.inside()) != 0) {
            return None;
        }
        let lasts = block.to_first_bytes(plain & !before_space(block, spaces, text, at));
        let space_starts = spaces & !(spaces << 1 | self.space) | after_newline | lasts;

        let other_starts = others & !(others << 1 | self.other) & !(block.blanks << 1 | self.blank);
        let mut leads = other_starts;
        if block.inner != 0 {
            for _ in 0..3 {
                leads |= leads << 1 & block.inner & others;
            }
        }
        let after_word = word << 1 | self.word;
        let after_lead = leads << 1 | self.lead;
        let after_plain = plain << 1 | self.space & !self.newline;
        let word_starts = word & !(after_word | after_lead | after_plain);

        let number_starts = self.numbers(block)?;
        let digits = if block.last(block.numbers) == 0 {
            0
        } else if number_starts != 0 {
            block.len + number_starts.leading_zeros() as usize - 63
        } else {
            self.digits + block.len
        };
        *self = Self {
            word: block.last(word),
            other: block.last(others),
            tail: block.last(tail),
            space: block.last(spaces),
            newline: block.last(newlines),
            blank: block.last(block.blanks),
            lead: block.last(leads),
            digits,
            ..*self
        };
        Some((space_starts | other_starts | word_starts | number_starts, after_word))
    }

    /// `\p{N}{1,3}`. Numbers beyond ASCII are left to others.
    #[inline(always)]
    fn numbers(&self, block: &Block) -> Option<u64> {
        let numbers = block.numbers;
        if numbers == 0 {
            return Some(0);
        }
        if numbers & block.inner != 0 {
            return None;
        }
        let mut new = numbers & !(numbers << 1 | u64::from(self.digits > 0));
        if self.digits > 0 {
            // The pre-token under way takes up to three digits, if there are so many, then the next one starts.
            let left = 3 - self.digits;
            new |= u64::from((!numbers).trailing_zeros() as usize > left) << left;
        }
        let fourth = numbers & numbers << 1 & numbers << 2 & numbers << 3;
        let mut starts = new;
        loop {
            new = new << 3 & fourth;
            if new == 0 {
                return Some(starts);
            }
            starts |= new;
        }
    }
}

/// Length of the contraction that a text begins with: `'(?i:[sdmt]|ll|ve|re)`, where `s` is also U+017F, the long s.
fn contraction_length(text: &[u8]) -> Option<usize> {
    let lower = |at: usize| text.get(at).map_or(0, u8::to_ascii_lowercase);
    match (lower(1), lower(2)) {
        (b's' | b'd' | b'm' | b't', _) => Some(2),
        (b'l', b'l') | (b'v' | b'r', b'e') | (0xc5, 0xbf) => Some(3),
        _ => None,
    }
}
