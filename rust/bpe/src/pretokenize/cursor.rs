//! Reading a text character by character, remembering whether its end was ever looked at.

use super::classes::{CLASSES, Classes};

/// A text with the classes of its characters.
///
/// Every decision of a scanner reads through [`at`](Self::at) or [`byte`](Self::byte). One that never saw the end of
/// the text stands whatever the text goes on with; that is what makes streaming exact.
pub struct Cursor<'t> {
    text: &'t str,
    classes: &'static Classes,
    /// Whether the end of the text has been looked at since this was last cleared.
    pub saw_end: bool,
}

impl<'t> Cursor<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, classes: &CLASSES, saw_end: false }
    }

    /// Length of the text in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Classes and length in bytes of the character at `position`; no class and no length at the end.
    #[inline]
    pub fn at(&mut self, position: usize) -> (u8, usize) {
        match self.text.as_bytes().get(position) {
            Some(&byte) if byte < 128 => (self.classes.of(byte as char), 1),
            Some(_) => self.classes.wide_at(self.text.as_bytes(), position),
            None => {
                self.saw_end = true;
                (0, 0)
            }
        }
    }

    /// The byte at `position`, 0 at the end. (A NUL in the text is no byte that any pattern names.)
    #[inline]
    pub fn byte(&mut self, position: usize) -> u8 {
        match self.text.as_bytes().get(position) {
            Some(&byte) => byte,
            None => {
                self.saw_end = true;
                0
            }
        }
    }

    /// End of the run of characters from `position` on that have one of the `wanted` classes and none of the others.
    #[inline]
    pub fn run(&mut self, mut position: usize, wanted: u8) -> usize {
        loop {
            let (class, length) = self.at(position);
            if class & wanted == 0 {
                return position;
            }
            position += length;
        }
    }

    /// End of the run of characters from `position` on that are no letter, no number and no white space.
    #[inline]
    pub fn run_of_others(&mut self, mut position: usize) -> usize {
        use super::classes::{LETTER, NUMBER, SPACE};
        loop {
            let (class, length) = self.at(position);
            if class & (LETTER | NUMBER | SPACE) != 0 || length == 0 {
                return position;
            }
            position += length;
        }
    }

    /// Length in bytes of the character that ends at `position`.
    #[inline]
    pub fn length_before(&self, position: usize) -> usize {
        self.text[..position].chars().next_back().map_or(0, char::len_utf8)
    }

    /// End of white space that starts at `start`, by `\s++$|\s+(?!\S)|\s`: all of it at the end of the text, all but its
    /// last character before anything else, and one character at least.
    #[inline]
    pub fn space(&self, start: usize, end: usize) -> usize {
        let last = end - self.length_before(end);
        if end == self.len() || last == start { end } else { last }
    }
}
