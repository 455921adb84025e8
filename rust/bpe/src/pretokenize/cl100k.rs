//! The pattern of GPT-3.5 and GPT-4: contractions in any case, any one sign before a word, at most three digits together,
//! line ends with the signs before them.

use super::classes::{LETTER, NEWLINE, NUMBER, SPACE};
use super::cursor::Cursor;

/// tiktoken 0.14's text of the pattern.
pub const REGEX: &str = concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+",
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
);

/// End of the pre-token that starts at `start`.
#[inline]
pub fn next(cursor: &mut Cursor, start: usize) -> usize {
    let first = cursor.byte(start);
    if first == b'\''
        && let Some(end) = contraction(cursor, start)
    {
        return end;
    }
    let (class, length) = cursor.at(start);
    if class & LETTER != 0 {
        return cursor.run(start + length, LETTER);
    }
    if class & NUMBER != 0 {
        return up_to_three_digits(cursor, start);
    }
    if class & NEWLINE == 0 && cursor.at(start + length).0 & LETTER != 0 {
        return cursor.run(start + length, LETTER);
    }
    let body = start + usize::from(first == b' ');
    let signs = cursor.run_of_others(body);
    if signs > body {
        return cursor.run(signs, NEWLINE);
    }
    let (end, after_newline) = space_and_newline(cursor, start);
    match after_newline {
        Some(after) if end < cursor.len() => after,
        _ => cursor.space(start, end),
    }
}

/// `\p{N}{1,3}`
#[inline]
pub fn up_to_three_digits(cursor: &mut Cursor, start: usize) -> usize {
    let mut end = start;
    for _ in 0..3 {
        let (class, length) = cursor.at(end);
        if class & NUMBER == 0 {
            break;
        }
        end += length;
    }
    end
}

/// The end of the white space from `start` on, and the place after its last line end.
#[inline]
pub fn space_and_newline(cursor: &mut Cursor, start: usize) -> (usize, Option<usize>) {
    let mut end = start;
    let mut after_newline = None;
    loop {
        let (class, length) = cursor.at(end);
        if class & SPACE == 0 {
            return (end, after_newline);
        }
        end += length;
        if class & NEWLINE != 0 {
            after_newline = Some(end);
        }
    }
}

/// `'(?i:[sdmt]|ll|ve|re)`; without regard to case, `s` is also U+017F, the long s.
#[inline]
pub fn contraction(cursor: &mut Cursor, start: usize) -> Option<usize> {
    let second = match cursor.byte(start + 1).to_ascii_lowercase() {
        b's' | b'd' | b'm' | b't' => return Some(start + 2),
        b'l' => b'l',
        b'v' | b'r' => b'e',
        0xC5 => return (cursor.byte(start + 2) == 0xBF).then_some(start + 3),
        _ => return None,
    };
    (cursor.byte(start + 2).to_ascii_lowercase() == second).then_some(start + 3)
}
