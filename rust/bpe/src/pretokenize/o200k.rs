//! The pattern of GPT-4o: words cut where a capital follows a small letter, contractions joined to their word.

use super::cl100k::{contraction, space_and_newline, up_to_three_digits};
use super::classes::{LETTER, LOWER, NEWLINE, NUMBER, UPPER};
use super::cursor::Cursor;

/// tiktoken 0.14's text of the pattern.
pub const REGEX: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// End of the pre-token that starts at `start`.
#[inline]
pub fn next(cursor: &mut Cursor, start: usize) -> usize {
    let (class, length) = cursor.at(start);
    if class & NUMBER != 0 {
        return up_to_three_digits(cursor, start);
    }
    if let Some(end) = word(cursor, start, class, length) {
        return match cursor.byte(end) {
            b'\'' => contraction(cursor, end).unwrap_or(end),
            _ => end,
        };
    }
    let body = start + usize::from(cursor.byte(start) == b' ');
    let signs = cursor.run_of_others(body);
    if signs > body {
        return line_ends_and_slashes(cursor, signs);
    }
    let (end, after_newline) = space_and_newline(cursor, start);
    after_newline.unwrap_or_else(|| cursor.space(start, end))
}

/// The first two alternatives without the contraction. The character before the word is optional: the pattern tries
/// with it first, then without, first for words that end small, then for words all in capitals.
#[inline]
fn word(cursor: &mut Cursor, start: usize, class: u8, length: usize) -> Option<usize> {
    let may_lead = class & (LETTER | NUMBER | NEWLINE) == 0;
    let inside = if may_lead { cursor.at(start + length).0 & (UPPER | LOWER) != 0 } else { false };
    let with_lead = inside.then_some(start + length);
    let without = (class & (UPPER | LOWER) != 0).then_some(start);
    let mut first_of = |ends: fn(&mut Cursor, usize) -> Option<usize>| {
        [with_lead, without].into_iter().flatten().find_map(|from| ends(cursor, from))
    };
    first_of(ends_small).or_else(|| first_of(all_capitals))
}

/// `[UPPER]*[LOWER]+`. Where no small letter follows the capitals, the pattern gives back characters until one that
/// counts as both can end the word.
#[inline]
fn ends_small(cursor: &mut Cursor, start: usize) -> Option<usize> {
    let mut end = start;
    let mut last_that_is_both = None;
    loop {
        let (class, length) = cursor.at(end);
        if class & UPPER == 0 {
            let small = cursor.run(end, LOWER);
            return if small > end { Some(small) } else { last_that_is_both };
        }
        end += length;
        if class & LOWER != 0 {
            last_that_is_both = Some(end);
        }
    }
}

/// `[UPPER]+`, where no small letter follows.
#[inline]
fn all_capitals(cursor: &mut Cursor, start: usize) -> Option<usize> {
    let end = cursor.run(start, UPPER);
    (end > start).then_some(end)
}

/// `[\r\n/]*`
#[inline]
fn line_ends_and_slashes(cursor: &mut Cursor, mut end: usize) -> usize {
    while matches!(cursor.byte(end), b'\r' | b'\n' | b'/') {
        end += 1;
    }
    end
}
