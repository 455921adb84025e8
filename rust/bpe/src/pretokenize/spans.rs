//! Pre-tokens of a named pattern, found 64 bytes at a time.

use super::blocks::{BLOCK, Block, has_avx2};
use super::classes::{CLASSES, SPACE};
use super::cursor::Cursor;

/// How many pre-tokens come at a time at most: those of several blocks, because a loop over a number of them that nobody
/// can predict costs as much when it ends as counting several.
pub const SPANS: usize = 128;

/// How many ends are written at once.
const GROUP: usize = 8;

/// A named pattern.
pub trait Scanner: Default {
    /// End of the pre-token that starts at `start`.
    fn next(cursor: &mut Cursor<'_>, start: usize) -> usize;

    /// Where pre-tokens start in the block at `at`, the one after the block that was asked for before; at the first, the
    /// text begins as far as anything before it matters. `None` where this must be found out one by one.
    fn starts(&mut self, block: &Block, text: &str, at: usize) -> Option<u64>;
}

/// Calls `f` with the pre-tokens in order, up to [`SPANS`] at a time: the start of the first, and all their ends.
#[inline]
pub fn for_each_spans<S: Scanner>(text: &str, f: impl FnMut(usize, &[usize])) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the machine has what the function is compiled for.
        return unsafe { spans_avx2::<S>(text, f) };
    }
    spans::<S, false>(text, f);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn spans_avx2<S: Scanner>(text: &str, f: impl FnMut(usize, &[usize])) {
    spans::<S, true>(text, f);
}

#[inline(always)]
fn spans<S: Scanner, const AVX2: bool>(text: &str, mut f: impl FnMut(usize, &[usize])) {
    let mut scanner = S::default();
    let mut ends = Ends { ends: [0; SPANS], count: 0, start: 0, last: 0 };
    let mut at = 0;
    while at < text.len() {
        let block = Block::at::<AVX2>(text, at);
        if let Some(mut starts) = scanner.starts(&block, text, at) {
            if at == ends.last {
                starts &= !1;
            }
            ends.add(starts, at);
            at += block.len;
        } else {
            // What a pattern matches depends on nothing before it: after these, the text may as well begin anew.
            ends.give(&mut f);
            let start = one_by_one::<S>(text, ends.last, at + block.len, &mut |start, end| f(start, &[end]));
            (ends.start, ends.last) = (start, start);
            (at, scanner) = (start, S::default());
        }
        if ends.count > SPANS - BLOCK {
            ends.give(&mut f);
        }
    }
    if ends.last < text.len() {
        ends.ends[ends.count] = text.len();
        ends.count += 1;
    }
    ends.give(&mut f);
}

/// Ends of pre-tokens that follow one another.
struct Ends {
    ends: [usize; SPANS],
    count: usize,
    /// Where the first pre-token starts.
    start: usize,
    /// Where the last one ends.
    last: usize,
}

impl Ends {
    /// Adds the places of the bits in `starts`, which stand for the bytes from `at` on. There is room for a block's.
    #[inline(always)]
    fn add(&mut self, mut starts: u64, at: usize) {
        let count = starts.count_ones() as usize;
        // As many groups as are needed, the last with what nobody reads: how many bits there are, nobody could predict.
        for group in self.ends[self.count..].as_chunks_mut::<GROUP>().0.iter_mut().take(count.div_ceil(GROUP)) {
            for end in group {
                *end = at + starts.trailing_zeros() as usize;
                starts &= starts.wrapping_sub(1);
            }
        }
        self.count += count;
        self.last = if self.count > 0 { self.ends[self.count - 1] } else { self.last };
    }

    #[inline(always)]
    fn give(&mut self, f: &mut impl FnMut(usize, &[usize])) {
        if self.count > 0 {
            f(self.start, &self.ends[..self.count]);
            (self.count, self.start) = (0, self.last);
        }
    }
}

/// The pre-tokens from the one at `start` on that start before `until`; returns the end of the last.
#[inline(never)]
fn one_by_one<S: Scanner>(text: &str, mut start: usize, until: usize, f: &mut impl FnMut(usize, usize)) -> usize {
    let mut cursor = Cursor::new(text);
    while start < until {
        let end = S::next(&mut cursor, start);
        f(start, end);
        start = end;
    }
    start
}

/// Bits of white space before which more of it stands, or the end of the text, which it takes for more.
#[inline(always)]
pub fn before_space(block: &Block, spaces: u64, text: &str, at: usize) -> u64 {
    let ahead = block.last(spaces) != 0 && begins_with_space(text, at + block.len);
    spaces >> 1 | u64::from(ahead) << (block.len - 1)
}

/// Whether white space stands at `position`, or the end of the text.
fn begins_with_space(text: &str, position: usize) -> bool {
    text[position..].chars().next().is_none_or(|character| CLASSES.of(character) & SPACE != 0)
}

/// Lays contractions into the starts: those at the given quotes, of the length that `length` says, after which a
/// pre-token starts, and none inside. A quote where one ended before is left out. `None` if one reaches the block's end.
#[inline(always)]
pub fn with_contractions(
    mut starts: u64,
    mut quotes: u64,
    joined: bool,
    block: &Block,
    length: impl Fn(usize) -> Option<usize>,
) -> Option<u64> {
    let mut ended = usize::MAX;
    while quotes != 0 {
        let quote = quotes.trailing_zeros() as usize;
        quotes &= quotes - 1;
        if joined && quote == ended {
            continue;
        }
        let Some(length) = length(quote) else { continue };
        ended = quote + length;
        if ended >= block.len {
            return None;
        }
        // A joined one belongs to the word before it, so that nothing starts at the quote.
        let first = quote + usize::from(!joined);
        starts = starts & !(u64::MAX << first) | starts >> ended << ended | 1 << ended;
    }
    Some(starts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pretokenize::gpt2::Gpt2;
    use crate::pretokenize::modern::{Cl100k, O200k};

    fn slow<S: Scanner>(text: &str) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        one_by_one::<S>(text, 0, text.len(), &mut |start, end| spans.push((start, end)));
        spans
    }

    fn fast<S: Scanner, const AVX2: bool>(text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        spans::<S, AVX2>(text, |mut start, ends| {
            for &end in ends {
                found.push((start, end));
                start = end;
            }
        });
        found
    }

    fn check<S: Scanner>(text: &str) -> Result<(), TestCaseError> {
        let expected = slow::<S>(text);
        prop_assert_eq!(&fast::<S, false>(text), &expected, "{:?}", text);
        if has_avx2() {
            prop_assert_eq!(&fast::<S, true>(text), &expected, "{:?}", text);
        }
        Ok(())
    }

    fn check_all(text: &str) -> Result<(), TestCaseError> {
        check::<Gpt2>(text)?;
        check::<Cl100k>(text)?;
        check::<O200k>(text)
    }

    const ATOMS: [&str; 56] = [
        "a",
        "word",
        "Z",
        " ",
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "1",
        "23",
        ".",
        "!?",
        "'",
        "'s",
        "'ll",
        "'re",
        "'v",
        "'l",
        "é",
        "ß",
        "漢字",
        "👩",
        "\u{a0}",
        "\u{85}",
        "\u{2028}",
        "\u{3000}",
        "٣",
        "²",
        "\u{301}",
        "\0",
        "…",
        "_",
        "/",
        "//",
        "\n/",
        "'S",
        "'Ll",
        "'ſ",
        "ſ",
        "É",
        "Ж",
        "ж",
        "ǅ",
        "ʰ",
        "क्",
        "12345",
        "\n\n",
        " \n",
        "Word",
        "camelCase",
        "HTTPServer",
        "“",
        "—",
        ";\n",
        "𝐀",
    ];

    fn atoms(count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(&ATOMS[..]), count).prop_map(|atoms| atoms.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn blocks_find_what_the_scanners_find(text in atoms(0..120)) {
            check_all(&text)?;
        }

        #[test]
        fn whatever_stands_at_the_border_of_two_blocks(before in 50usize..70, end in atoms(1..8)) {
            for filler in ["x", " ", ".", "7", "\n", "漢", "A"] {
                check_all(&(filler.repeat(before) + &end))?;
            }
        }

        #[test]
        fn any_characters(text in "\\PC{0,100}") {
            check_all(&text)?;
        }
    }
}
