//! The pattern of GPT-2: contractions, then words, numbers and signs with a space before them, then white space.

use super::blocks::Block;
use super::classes::{CLASSES, LETTER, NUMBER, SPACE};
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

/// What a block needs to know of the text before it.
#[derive(Default)]
struct Before {
    /// The last byte's bit of each mask, as the first bit.
    letter: u64,
    number: u64,
    other: u64,
    space: u64,
    blank: u64,
    /// Where a contraction ends that began there: the pre-token after it starts here, none starts before.
    contraction_end: Option<usize>,
}

/// Calls `f` on start and end of each pre-token in order, as [`next`] finds them.
#[inline]
pub fn for_each_span(text: &str, mut f: impl FnMut(usize, usize)) {
    let mut before = Before::default();
    let (mut at, mut start) = (0, 0);
    while at < text.len() {
        let block = Block::at(text, at);
        let mut starts = starts(&block, text, at, &mut before);
        if at == 0 {
            starts &= !1;
        }
        while starts != 0 {
            let end = at + starts.trailing_zeros() as usize;
            f(start, end);
            start = end;
            starts &= starts - 1;
        }
        at += block.len;
    }
    if start < text.len() {
        f(start, text.len());
    }
}

/// Where pre-tokens start in the block at `at`.
///
/// A character starts one unless it goes on with the class of the one before or follows a space, which then has
/// started it; white space, where none stands before it, and where it is the last before something else.
#[inline]
fn starts(block: &Block, text: &str, at: usize, before: &mut Before) -> u64 {
    let Block { letters, numbers, spaces, blanks, .. } = *block;
    let others = !(letters | numbers | spaces) & block.inside();
    let goes_on = letters & (letters << 1 | before.letter)
        | numbers & (numbers << 1 | before.number)
        | others & (others << 1 | before.other);
    let after_blank = blanks << 1 | before.blank;
    let after_space = spaces << 1 | before.space;
    let last = block.len - 1;
    let space_ahead = spaces >> last & 1 != 0 && begins_with_space(text, at + block.len);
    let before_space = spaces >> 1 | u64::from(space_ahead) << last;
    let mut lasts = spaces & !before_space;
    let [two, three] = block.wide_spaces;
    if two | three != 0 {
        // What was found is the last byte of such a character, and means its first.
        lasts = lasts & !(two << 1 | three << 2) | lasts >> 1 & two | lasts >> 2 & three;
    }
    let mut starts = (letters | numbers | others) & !(goes_on | after_blank) | spaces & !after_space | lasts;
    before.letter = letters >> last & 1;
    before.number = numbers >> last & 1;
    before.other = others >> last & 1;
    before.space = spaces >> last & 1;
    before.blank = blanks >> last & 1;
    if let Some(end) = before.contraction_end.take() {
        starts = starts >> end << end | 1 << end;
    }
    let mut quotes = block.quotes & starts;
    while quotes != 0 {
        let quote = quotes.trailing_zeros() as usize;
        quotes &= quotes - 1;
        let Some(length) = contraction_length(&text.as_bytes()[at + quote..]) else { continue };
        let end = quote + length;
        let kept = starts & (u64::MAX >> (63 - quote));
        if end < block.len {
            starts = kept | starts >> end << end | 1 << end;
        } else {
            starts = kept;
            before.contraction_end = Some(end - block.len);
        }
    }
    starts
}

/// Whether white space stands at `position`, or the text ends there, which white space takes for more of it.
fn begins_with_space(text: &str, position: usize) -> bool {
    text[position..].chars().next().is_none_or(|character| CLASSES.of(character) & SPACE != 0)
}

/// Length of the contraction that a text begins with: `'(?:[sdmt]|ll|ve|re)`
fn contraction_length(text: &[u8]) -> Option<usize> {
    match text {
        [_, b's' | b'd' | b'm' | b't', ..] => Some(2),
        [_, b'l', b'l', ..] | [_, b'v' | b'r', b'e', ..] => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_by_one(text: &str) -> Vec<(usize, usize)> {
        let mut cursor = Cursor::new(text);
        let mut spans = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = next(&mut cursor, start);
            spans.push((start, end));
            start = end;
        }
        spans
    }

    fn in_blocks(text: &str) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        for_each_span(text, |start, end| spans.push((start, end)));
        spans
    }

    const ATOMS: [&str; 33] = [
        "a", "word", "Z", " ", " ", "  ", "\n", "\t", "\r\n", "1", "23", ".", "!?", "'", "'s", "'ll", "'re", "'v",
        "'l", "é", "ß", "漢字", "👩", "\u{a0}", "\u{85}", "\u{2028}", "\u{3000}", "٣", "²", "\u{301}", "\0", "…", "_",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn blocks_find_what_the_scanner_finds(atoms in prop::collection::vec(prop::sample::select(&ATOMS[..]), 0..150)) {
            let text = atoms.concat();
            prop_assert_eq!(in_blocks(&text), one_by_one(&text), "{:?}", text);
        }

        #[test]
        fn whatever_stands_at_the_border_of_two_blocks(
            before in 50usize..70,
            atoms in prop::collection::vec(prop::sample::select(&ATOMS[..]), 1..8),
        ) {
            for filler in ["x", " ", ".", "7"] {
                let text = filler.repeat(before) + &atoms.concat();
                prop_assert_eq!(in_blocks(&text), one_by_one(&text), "{:?}", text);
            }
        }
    }
}
