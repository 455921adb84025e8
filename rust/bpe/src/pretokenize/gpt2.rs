//! The pattern of GPT-2: contractions, then words, numbers and signs with a space before them, then white space.

use super::classes::{LETTER, NUMBER, SPACE};
use super::cursor::Cursor;

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
