//! Unicode classes of characters, from the tables of `regex-syntax`: Unicode 16.0, as in tiktoken 0.14's engine.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{L}`
pub const LETTER: u8 = 1;
/// `\p{N}`
pub const NUMBER: u8 = 2;
/// `\s`
pub const SPACE: u8 = 4;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what may begin a word in `o200k`
pub const UPPER: u8 = 8;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what may end one
pub const LOWER: u8 = 16;
/// `\r` or `\n`
pub const NEWLINE: u8 = 32;
/// `\p{M}`
pub const MARK: u8 = 64;

const SETS: [(u8, &str); 7] = [
    (LETTER, r"\p{L}"),
    (NUMBER, r"\p{N}"),
    (SPACE, r"\s"),
    (UPPER, r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"),
    (LOWER, r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"),
    (NEWLINE, r"[\r\n]"),
    (MARK, r"\p{M}"),
];

/// Code points of the plane that nearly all text is in.
const PLANE: usize = 0x1_0000;
const BLOCK: usize = 256;

/// Classes of every code point: one by one in the first plane, beyond it in two stages, where equal blocks are stored once.
pub struct Classes {
    plane: Box<[u8; PLANE]>,
    block_of: Vec<u16>,
    blocks: Vec<[u8; BLOCK]>,
}

/// The one table, built at first use from the ranges of the classes.
pub static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::build);

impl Classes {
    fn build() -> Self {
        let mut flat = vec![0u8; char::MAX as usize + 1];
        for (bit, set) in SETS {
            let hir = regex_syntax::parse(set).expect("the sets above are valid");
            let HirKind::Class(Class::Unicode(class)) = hir.kind() else { unreachable!("each set is a class") };
            for range in class.ranges() {
                for flags in &mut flat[range.start() as usize..=range.end() as usize] {
                    *flags |= bit;
                }
            }
        }
        let (plane, beyond) = flat.split_first_chunk().expect("there are more code points");
        let mut seen = std::collections::HashMap::new();
        let mut blocks: Vec<[u8; BLOCK]> = Vec::new();
        let block_of = beyond.as_chunks::<BLOCK>().0.iter().map(|block| {
            *seen.entry(*block).or_insert_with(|| {
                blocks.push(*block);
                (blocks.len() - 1) as u16
            })
        });
        let block_of = block_of.collect();
        Self { plane: Box::new(*plane), block_of, blocks }
    }

    /// The classes of a character, as a set of bits.
    #[inline]
    pub fn of(&self, character: char) -> u8 {
        self.of_code(character as usize)
    }

    #[inline]
    fn of_code(&self, code: usize) -> u8 {
        match code.checked_sub(PLANE) {
            None => self.plane[code],
            Some(beyond) => {
                let block = self.block_of.get(beyond / BLOCK).copied().unwrap_or_default();
                self.blocks[usize::from(block)][beyond % BLOCK]
            }
        }
    }

    /// The classes of the character beyond ASCII that some UTF-8 begins with. What follows it does not matter.
    #[inline]
    pub fn wide(&self, bytes: &[u8; 4]) -> u8 {
        let word = u32::from_le_bytes(*bytes);
        let three = (word & 0x1f) << 12 | word >> 2 & 0xfc0 | word >> 16 & 0x3f;
        if word & 0xf0 == 0xf0 {
            return self.of_code(
                ((word & 0x07) << 18 | (word >> 8 & 0x3f) << 12 | word >> 10 & 0xfc0 | word >> 24 & 0x3f) as usize,
            );
        }
        // A character of two bytes has six bits fewer, and of its length tells one bit.
        let code = if word & 0x20 == 0 { three >> 6 } else { three };
        self.plane[usize::from(code as u16)]
    }

    /// Classes and length in bytes of the character beyond ASCII that starts at `position` of a text, which is UTF-8.
    #[inline]
    pub fn wide_at(&self, text: &[u8], position: usize) -> (u8, usize) {
        let rest = &text[position..];
        let length = rest[0].leading_ones() as usize;
        let mut bytes = [0; 4];
        bytes[..length].copy_from_slice(&rest[..length]);
        (self.wide(&bytes), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_has_its_class_however_it_is_read() {
        for character in '\0'..=char::MAX {
            // Whatever follows it.
            for other in [0, 0x80, 0xbf, 0xff] {
                let mut bytes = [other; 4];
                let length = character.encode_utf8(&mut bytes).len();
                if length > 1 {
                    assert_eq!(CLASSES.wide(&bytes), CLASSES.of(character), "{character:?}");
                    assert_eq!(CLASSES.wide_at(&bytes, 0), (CLASSES.of(character), length), "{character:?}");
                }
            }
        }
    }
}
