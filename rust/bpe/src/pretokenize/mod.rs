//! Pre-tokenization: cutting a text into the pieces that merges never cross.
//!
//! The named patterns are tiktoken's, equal to it on every string, by a scanner written by hand each. Any other pattern
//! goes to a regex engine and may be slower.

mod blocks;
mod cl100k;
mod classes;
mod cursor;
mod custom;
mod dialect;
mod gpt2;
mod modern;
mod o200k;
mod spans;

use std::sync::Arc;

use classes::{CLASSES, LETTER, MARK, NEWLINE, NUMBER, SPACE};
use cursor::Cursor;
use custom::Custom;
pub(crate) use spans::SPANS;

use crate::{Error, Job, Result};

/// How a text is cut into pre-tokens.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Gpt2,
    Cl100k,
    O200k,
    Custom(Arc<Custom>),
}

/// Runs an expression once for each named scanner, so that each loop is compiled with its scanner inside.
macro_rules! with_scanner {
    ($kind:expr, $next:ident => $body:expr, $custom:ident => $otherwise:expr) => {
        match $kind {
            Kind::Gpt2 => {
                let $next = gpt2::next;
                $body
            }
            Kind::Cl100k => {
                let $next = cl100k::next;
                $body
            }
            Kind::O200k => {
                let $next = o200k::next;
                $body
            }
            Kind::Custom($custom) => $otherwise,
        }
    };
}

impl Pattern {
    /// The names that [`new`](Self::new) knows.
    pub const NAMES: [&'static str; 3] = ["gpt2", "cl100k", "o200k"];

    /// A named pattern, or a regular expression in the syntax of Python's `regex`.
    ///
    /// Fails with [`Error::Pattern`] on syntax that can't be honoured, on a pattern that matches the empty string, and on
    /// a bare word that is no name.
    pub fn new(spec: &str) -> Result<Self> {
        let kind = match spec {
            "gpt2" => Kind::Gpt2,
            "cl100k" => Kind::Cl100k,
            "o200k" => Kind::O200k,
            "" => {
                let reason = "is empty; use a pattern's name or a regular expression".to_owned();
                return Err(Error::Pattern { pattern: spec.to_owned(), reason });
            }
            word if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') => {
                let nearest = Self::NAMES.iter().min_by_key(|name| distance(name, word)).unwrap_or(&"gpt2");
                let reason = format!(
                    "names no known pattern; use one of {} ({nearest} is the nearest), or a regular expression",
                    Self::NAMES.join(", ")
                );
                return Err(Error::Pattern { pattern: spec.to_owned(), reason });
            }
            regex => Kind::Custom(Arc::new(Custom::new(regex)?)),
        };
        Ok(Self(kind))
    }

    /// The name, or the regular expression as given.
    pub fn spec(&self) -> &str {
        match &self.0 {
            Kind::Gpt2 => "gpt2",
            Kind::Cl100k => "cl100k",
            Kind::O200k => "o200k",
            Kind::Custom(custom) => custom.source(),
        }
    }

    /// The regular expression's text: of a named pattern, tiktoken 0.14's.
    pub fn regex(&self) -> &str {
        match &self.0 {
            Kind::Gpt2 => gpt2::REGEX,
            Kind::Cl100k => cl100k::REGEX,
            Kind::O200k => o200k::REGEX,
            Kind::Custom(custom) => custom.source(),
        }
    }

    /// Whether this is one of [`NAMES`](Self::NAMES).
    pub fn is_named(&self) -> bool {
        !matches!(self.0, Kind::Custom(_))
    }

    /// Calls `f` on each pre-token in order; together they are the text.
    ///
    /// Only a custom pattern can fail: where the engine gives up, or where it matches the empty string after all.
    #[inline]
    pub fn for_each<'t>(&self, text: &'t str, mut f: impl FnMut(&'t str)) -> Result<()> {
        self.for_each_span(text, |start, end| f(&text[start..end]))
    }

    /// [`for_each`](Self::for_each), with the place of each pre-token in the text: its start and its end.
    #[inline]
    pub fn for_each_span(&self, text: &str, mut f: impl FnMut(usize, usize)) -> Result<()> {
        self.for_each_spans(text, &Job::default(), |mut start, ends| {
            for &end in ends {
                f(start, end);
                start = end;
            }
        })
    }

    /// [`for_each_span`](Self::for_each_span), up to `SPANS` at a time: the start of the first, and all their ends. Under a
    /// custom pattern, which may take any time, the job can be stopped in the middle.
    #[inline]
    pub fn for_each_spans(&self, text: &str, job: &Job, mut f: impl FnMut(usize, &[usize])) -> Result<()> {
        match &self.0 {
            Kind::Gpt2 => spans::for_each_spans::<gpt2::Gpt2>(text, f),
            Kind::Cl100k => spans::for_each_spans::<modern::Cl100k>(text, f),
            Kind::O200k => spans::for_each_spans::<modern::O200k>(text, f),
            Kind::Custom(custom) => {
                return custom.for_each_span(text, job, |start, end| f(start, &[end]));
            }
        }
        Ok(())
    }

    /// Calls `f` on those leading pre-tokens that no continuation of the text could change, and returns how many bytes
    /// they take. Under a custom pattern, which may look anywhere, there are none.
    #[inline]
    pub fn for_each_settled<'t>(&self, text: &'t str, mut f: impl FnMut(&'t str)) -> Result<usize> {
        with_scanner!(&self.0, next => {
            let mut cursor = Cursor::new(text);
            let mut start = 0;
            while start < text.len() {
                let end = next(&mut cursor, start);
                if cursor.saw_end {
                    break;
                }
                f(&text[start..end]);
                start = end;
            }
            Ok(start)
        }, _custom => Ok(0))
    }

    /// Whether the text can be cut at `position` and both parts pre-tokenized by themselves, as far as the characters on
    /// both sides show. Never where they are not UTF-8, and never under a custom pattern.
    pub fn splits_at(&self, text: &[u8], position: usize) -> bool {
        let (Some(before), Some(after)) = (character_before(text, position), character_at(text, position)) else {
            return false;
        };
        self.is_named() && splits(CLASSES.of(before), CLASSES.of(after), after == '\'')
    }

    /// The greatest place up to `limit` where the text can be cut and both parts pre-tokenized by themselves, 0 if the
    /// characters around show none. Under a custom pattern there is none.
    pub fn last_split(&self, text: &str, limit: usize) -> usize {
        if !self.is_named() {
            return 0;
        }
        let mut after = match text[text.floor_char_boundary(limit)..].chars().next() {
            Some(character) => CLASSES.of(character),
            None => return 0,
        };
        let mut follows = text[text.floor_char_boundary(limit)..].chars().next();
        for (position, character) in text[..text.floor_char_boundary(limit)].char_indices().rev() {
            let before = CLASSES.of(character);
            if splits(before, after, follows == Some('\'')) {
                return position + character.len_utf8();
            }
            (after, follows) = (before, Some(character));
        }
        0
    }
}

/// The character that starts at `position`, none where no whole one does.
fn character_at(text: &[u8], position: usize) -> Option<char> {
    // What most characters are can be seen at once.
    if let Some(byte) = text.get(position).filter(|byte| byte.is_ascii()) {
        return Some(char::from(*byte));
    }
    let ahead = &text[position..text.len().min(position + 4)];
    ahead.utf8_chunks().next()?.valid().chars().next()
}

/// The character that ends before `position`, none where no whole one does.
fn character_before(text: &[u8], position: usize) -> Option<char> {
    let start = (1..=position.min(4)).map(|length| position - length).find(|&start| text[start] & 0xc0 != 0x80)?;
    character_at(&text[..position], start).filter(|character| start + character.len_utf8() == position)
}

/// How many characters to add, leave out or change to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (i, b) in other.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, a) in one.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[one.len()]
}

/// Whether every named pattern cuts between two characters of these classes, whatever stands around them, and reads the
/// text before as it would if it ended there. True where
///
/// - white space other than a line end follows something else: it starts a pre-token in all patterns, and what precedes
///   it can't tell it from the end of the text. (Line ends belong to signs before them in `cl100k` and `o200k`.)
/// - a line end follows a letter or a number;
/// - a sign other than an apostrophe, which could begin a contraction, follows a letter or a number. Marks are signs to
///   two patterns and parts of words to the third, so they are left out.
fn splits(before: u8, after: u8, apostrophe: bool) -> bool {
    let in_word = before & (LETTER | NUMBER) != 0;
    if after & SPACE != 0 {
        return if after & NEWLINE == 0 { before & SPACE == 0 } else { in_word };
    }
    in_word && after & (LETTER | NUMBER | MARK) == 0 && !apostrophe
}
