//! The beginning of a text that fits a number of ids, and places in characters.

use crate::tokenizer::{Span, SpecialPolicy, Tokenizer};
use crate::{Job, Result};

/// How much text is encoded at a time.
const PIECE: usize = 1 << 12;

impl Tokenizer {
    /// How many bytes of a text its first ids stand for, at most `limit` of them, without part of a character. That text
    /// by itself has at most `limit` ids, too.
    pub fn truncate(&self, text: &[u8], limit: usize, policy: &SpecialPolicy, job: &Job) -> Result<usize> {
        let ids = self.first_ids(text, limit, policy, job)?;
        if ids.len() <= limit {
            return Ok(text.len());
        }
        let mut end: usize = ids[..limit].iter().map(|&id| self.length_of(id)).sum();
        let mut kept = limit;
        loop {
            let cut = floor_character(text, end);
            // What follows a place can decide how the text before it is cut into pre-tokens.
            if cut == 0 || self.count(&text[..cut], policy, Some(limit), job)? <= limit {
                return Ok(cut);
            }
            kept -= 1;
            end -= self.length_of(ids[kept]);
        }
    }

    /// The first ids of a text; more than `limit` where there are more.
    fn first_ids(&self, text: &[u8], limit: usize, policy: &SpecialPolicy, job: &Job) -> Result<Vec<u32>> {
        let mut stream = self.stream(policy)?;
        let mut ids = Vec::new();
        for piece in text.chunks(PIECE) {
            job.check()?;
            stream.push(piece, &mut ids, job)?;
            if ids.len() > limit {
                return Ok(ids);
            }
        }
        stream.finish(&mut ids, job)?;
        Ok(ids)
    }

    fn length_of(&self, id: u32) -> usize {
        self.id_to_token(id).map_or(0, <[u8]>::len)
    }
}

/// The greatest place up to `at` that is not inside a character. Bytes that belong to none stand by themselves.
fn floor_character(text: &[u8], at: usize) -> usize {
    for start in at.saturating_sub(3)..at {
        let ahead = &text[start..text.len().min(start + 4)];
        let character = ahead.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        if character.is_some_and(|character| start + character.len_utf8() > at) {
            return start;
        }
    }
    at
}

/// The characters that spans of bytes touch, so that the spans of two tokens that share a character overlap. `spans`
/// are in order. A character is counted where it begins, also in bytes that are not UTF-8.
pub fn character_spans(text: &[u8], spans: &[Span]) -> Vec<Span> {
    let begins = |at: usize| usize::from(text[at] & 0xc0 != 0x80);
    let (mut at, mut before) = (0, 0);
    let mut characters = Vec::with_capacity(spans.len());
    for &(start, end) in spans {
        while at < start {
            before += begins(at);
            at += 1;
        }
        let first = if start < end && begins(start) == 0 { before.saturating_sub(1) } else { before };
        while at < end {
            before += begins(at);
            at += 1;
        }
        characters.push((first, before));
    }
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_inside_a_character_moves_before_it() {
        let text = "aé🐈b".as_bytes();
        let floors: Vec<_> = (0..=text.len()).map(|at| floor_character(text, at)).collect();
        assert_eq!(floors, [0, 1, 1, 3, 3, 3, 3, 7, 8]);
        assert_eq!(floor_character(b"\xf0\x9f\x90", 2), 2);
        assert_eq!(floor_character(b"\x80\x80\x80\x80", 3), 3);
    }

    #[test]
    fn what_follows_can_make_the_beginning_shorter() {
        // At the end of a text, cl100k takes all white space together, and here that makes more tokens than its parts.
        let tokens =
            (0..256).map(|byte| vec![byte as u8]).chain([b"\n ".to_vec(), b"\n\n".to_vec(), b"\n\n\n\n".to_vec()]);
        let merges = [("\n", " "), ("\n", "\n"), ("\n\n", "\n\n")];
        let merges = merges.map(|(left, right)| (left.into(), right.into())).to_vec();
        let vocabulary = crate::Vocabulary::new((0..).zip(tokens).collect(), merges, vec![]).unwrap();
        let pattern = crate::pretokenize::Pattern::new("cl100k").unwrap();
        let tokenizer = Tokenizer::new(vocabulary, pattern).unwrap();
        let fits = |limit| tokenizer.truncate(b"\n\n\n\n  x", limit, &SpecialPolicy::Token, &Job::default()).unwrap();
        assert_eq!([fits(0), fits(1), fits(2), fits(3), fits(4)], [0, 4, 4, 5, 7]);
    }

    #[test]
    fn spans_in_characters_hold_all_that_is_touched() {
        let text = "aé🐈b".as_bytes();
        let spans = [(0, 2), (2, 3), (3, 5), (5, 7), (7, 8)];
        assert_eq!(character_spans(text, &spans), [(0, 2), (1, 2), (2, 3), (2, 3), (3, 4)]);
    }
}
