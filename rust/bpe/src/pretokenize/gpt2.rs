//! The pattern of GPT-2: contractions, then words, numbers and signs with a space before them, then white space.

use super::blocks::Block;
use super::classes::{LETTER, NUMBER, SPACE};
use super::cursor::Cursor;
use super::spans::{Scanner, before_space, with_contractions};

/// tiktoken 0.14's text of the pattern.
pub const REGEX: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s";

/// End of the pre-token that starts at `start`.
#[inline]
pub fn next(cursor: &mut Cursor, start: usize) -> usize {
    let first = cursor.byte(start);
    if first == b'\''
        && let Some(end) = contraction(cursor, start)
    {
        return end;
    }
    let body = start + usize::from(first == b' ');
    let (class, length) = cursor.at(body);
    if class & LETTER != 0 {
        cursor.run(body + length, LETTER)
    } else if class & NUMBER != 0 {
        cursor.run(body + length, NUMBER)
    } else if class & SPACE == 0 && length > 0 {
        cursor.run_of_others(body + length)
    } else {
        let end = cursor.run(start, SPACE);
        cursor.space(start, end)
    }
}

/// `'(?:[sdmt]|ll|ve|re)`
#[inline]
fn contraction(cursor: &mut Cursor, start: usize) -> Option<usize> {
    let second = match cursor.byte(start + 1) {
        b's' | b'd' | b'm' | b't' => return Some(start + 2),
        b'l' => b'l',
        b'v' | b'r' => b'e',
        _ => return None,
    };
    (cursor.byte(start + 2) == second).then_some(start + 3)
}

/// The last byte before a block: its bit of each mask, as the first bit.
#[derive(Default)]
pub struct Gpt2 {
    letter: u64,
    number: u64,
    other: u64,
    space: u64,
    blank: u64,
}

impl Scanner for Gpt2 {
    #[inline]
    fn next(cursor: &mut Cursor<'_>, start: usize) -> usize {
        next(cursor, start)
    }

    /// A character starts a pre-token unless it goes on with the class of the one before or follows a space, which then
    /// has started it; white space, where none stands before it, and where it is the last before something else.
    #[inline(always)]
    fn starts(&mut self, block: &Block, text: &str, at: usize) -> Option<u64> {
        let Block { letters, numbers, spaces, blanks, .. } = *block;
        let others = !(letters | numbers | spaces) & block.inside();
        let goes_on = letters & (letters << 1 | self.letter)
            | numbers & (numbers << 1 | self.number)
            | others & (others << 1 | self.other);
        let after_blank = blanks << 1 | self.blank;
        let after_space = spaces << 1 | self.space;
        let lasts = block.to_first_bytes(spaces & !before_space(block, spaces, text, at));
        let starts = (letters | numbers | others) & !(goes_on | after_blank) | spaces & !after_space | lasts;
        *self = Self {
            letter: block.last(letters),
            number: block.last(numbers),
            other: block.last(others),
            space: block.last(spaces),
            blank: block.last(blanks),
        };
        let rest = &text.as_bytes()[at..];
        with_contractions(starts, block.quotes & starts, false, block, |quote| contraction_length(&rest[quote..]))
    }
}

/// Length of the contraction that a text begins with: `'(?:[sdmt]|ll|ve|re)`
fn contraction_length(text: &[u8]) -> Option<usize> {
    match text {
        [_, b's' | b'd' | b'm' | b't', ..] => Some(2),
        [_, b'l', b'l', ..] | [_, b'v' | b'r', b'e', ..] => Some(3),
        _ => None,
    }
}
