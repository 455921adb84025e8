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

const BLOCK: usize = 256;
const BLOCKS: usize = 0x11_0000 / BLOCK;

/// Classes of every code point, in two stages: equal blocks are stored once.
pub struct Classes {
    ascii: [u8; 128],
    block_of: Vec<u16>,
    blocks: Vec<[u8; BLOCK]>,
}

/// The one table, built at first use from the ranges of the classes.
pub static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::build);

impl Classes {
    fn build() -> Self {
        let mut flat = vec![0u8; BLOCKS * BLOCK];
        for (bit, set) in SETS {
            let hir = regex_syntax::parse(set).expect("the sets above are valid");
            let HirKind::Class(Class::Unicode(class)) = hir.kind() else { unreachable!("each set is a class") };
            for range in class.ranges() {
                for flags in &mut flat[range.start() as usize..=range.end() as usize] {
                    *flags |= bit;
                }
            }
        }
        let mut seen = std::collections::HashMap::new();
        let mut blocks: Vec<[u8; BLOCK]> = Vec::new();
        let block_of = flat.as_chunks::<BLOCK>().0.iter().map(|block| {
            *seen.entry(*block).or_insert_with(|| {
                blocks.push(*block);
                (blocks.len() - 1) as u16
            })
        });
        let block_of = block_of.collect();
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        Self { ascii, block_of, blocks }
    }

    /// The classes of a character, as a set of bits.
    #[inline]
    pub fn of(&self, character: char) -> u8 {
        let code = character as usize;
        if code < 128 {
            return self.ascii[code];
        }
        self.blocks[self.block_of[code / BLOCK] as usize][code % BLOCK]
    }

    /// Classes and length in bytes of the character beyond ASCII that starts at `position` of a text, which is UTF-8.
    #[inline]
    pub fn wide(&self, text: &[u8], position: usize) -> (u8, usize) {
        let low = |byte: u8| usize::from(byte & 0x3f);
        let (code, length) = match text.get(position..) {
            Some(&[a @ 0xc0..0xe0, b, ..]) => (usize::from(a & 0x1f) << 6 | low(b), 2),
            Some(&[a @ 0xe0..0xf0, b, c, ..]) => (usize::from(a & 0x0f) << 12 | low(b) << 6 | low(c), 3),
            Some(&[a @ 0xf0..0xf8, b, c, d, ..]) => {
                (usize::from(a & 0x07) << 18 | low(b) << 12 | low(c) << 6 | low(d), 4)
            }
            _ => return (0, 0),
        };
        let block = self.block_of.get(code / BLOCK).copied().unwrap_or_default();
        (self.blocks[usize::from(block)][code % BLOCK], length)
    }
}
