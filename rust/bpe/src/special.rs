//! Special tokens: strings that split a text before anything else looks at it.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::{Error, Result};

/// A set of special tokens with the matcher that finds them.
///
/// Of overlapping occurrences the longest at the leftmost place wins.
#[derive(Clone, Debug)]
pub struct SpecialTokens {
    tokens: Vec<String>,
    matcher: Option<AhoCorasick>,
    longest: usize,
    /// The place of each token.
    places: HashMap<String, usize>,
    /// By byte, whether a token begins with it.
    begins: [bool; 256],
}

/// A piece of a text cut by special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'t> {
    /// Text between special tokens, never empty.
    Text(&'t [u8]),
    /// The index of a special token in the order given.
    Special(usize),
}

impl SpecialTokens {
    /// Checks the tokens (none empty, none twice) and builds the matcher.
    pub fn new<S: AsRef<str>>(tokens: &[S]) -> Result<Self> {
        let tokens: Vec<String> = tokens.iter().map(|t| t.as_ref().to_owned()).collect();
        let refuse =
            |token: &str, reason: &str| Err(Error::SpecialToken { token: token.to_owned(), reason: reason.to_owned() });
        let mut places = HashMap::new();
        let mut begins = [false; 256];
        for (place, token) in tokens.iter().enumerate() {
            let Some(&first) = token.as_bytes().first() else {
                return refuse(token, "is empty; remove it");
            };
            begins[usize::from(first)] = true;
            if places.insert(token.clone(), place).is_some() {
                return refuse(token, "is given twice; give each special token once");
            }
        }
        let matcher = if tokens.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&tokens);
            Some(built.map_err(|e| Error::Invalid(format!("special tokens: {e}")))?)
        };
        let longest = tokens.iter().map(String::len).max().unwrap_or(0);
        Ok(Self { tokens, matcher, longest, places, begins })
    }

    /// The tokens in the order given.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The place of a token in the order given.
    pub fn place(&self, token: &str) -> Option<usize> {
        self.places.get(token).copied()
    }

    /// Length of the longest token in bytes, 0 if there is none.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The first special token that starts at or after `from`: `(index, start, end)`.
    pub fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize, usize)> {
        let input = aho_corasick::Input::new(text).range(from..);
        let found = self.matcher.as_ref()?.find(input)?;
        Some((found.pattern().as_usize(), found.start(), found.end()))
    }

    /// Cuts a text at its special tokens.
    pub fn segments<'s, 't>(&'s self, text: &'t [u8]) -> impl Iterator<Item = Segment<'t>> + use<'s, 't> {
        let mut at = 0;
        let mut ahead = None;
        std::iter::from_fn(move || {
            if let Some((index, end)) = ahead.take() {
                at = end;
                return Some(Segment::Special(index));
            }
            match self.find(text, at) {
                Some((index, start, end)) if start == at => {
                    at = end;
                    Some(Segment::Special(index))
                }
                Some((index, start, end)) => {
                    ahead = Some((index, end));
                    Some(Segment::Text(&text[at..start]))
                }
                None if at < text.len() => {
                    let rest = &text[at..];
                    at = text.len();
                    Some(Segment::Text(rest))
                }
                None => None,
            }
        })
    }

    /// Whether some occurrence of a special token, also one that would lose to another, starts before `at` and ends
    /// after it. Where none does, the text can be cut at `at` without changing what is found.
    pub fn straddles(&self, text: &[u8], at: usize) -> bool {
        let from = at.saturating_sub(self.longest.saturating_sub(1));
        (from..at).filter(|&start| self.begins[usize::from(text[start])]).any(|start| {
            self.tokens.iter().any(|token| start + token.len() > at && text[start..].starts_with(token.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_at_the_leftmost_place_wins() {
        let special = SpecialTokens::new(&["<e>", "<e><e>"]).unwrap();
        let cut: Vec<_> = special.segments(b"a<e><e>b<e>").collect();
        let expected = [Segment::Text(b"a"), Segment::Special(1), Segment::Text(b"b"), Segment::Special(0)];
        assert_eq!(cut, expected);
    }

    #[test]
    fn empty_and_repeated_tokens_are_refused() {
        assert!(matches!(SpecialTokens::new(&[""]), Err(Error::SpecialToken { .. })));
        assert!(matches!(SpecialTokens::new(&["x", "x"]), Err(Error::SpecialToken { .. })));
    }

    #[test]
    fn a_cut_inside_an_occurrence_straddles() {
        let special = SpecialTokens::new(&["a b"]).unwrap();
        assert!(special.straddles(b"xa bx", 2));
        assert!(!special.straddles(b"xa bx", 1));
        assert!(!special.straddles(b"xa bx", 4));
    }
}
