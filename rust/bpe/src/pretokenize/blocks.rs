//! A text in blocks of up to 64 bytes, with the class of each byte as bits: what a scanner asks of 64 characters becomes a
//! few operations on 64-bit words.

use super::classes::{CLASSES, LETTER, NUMBER, SPACE};

/// Bytes in a block: one bit of a word for each.
pub const BLOCK: usize = 64;

/// Up to 64 bytes that end where a character ends. In each mask bit `i` is byte `i`; all bytes of a character have its
/// class, and no bit stands at `len` or after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// How many bytes.
    pub len: usize,
    /// `\p{L}`
    pub letters: u64,
    /// `\p{N}`
    pub numbers: u64,
    /// `\s`
    pub spaces: u64,
    /// The space itself, U+0020.
    pub blanks: u64,
    /// The apostrophe, U+0027.
    pub quotes: u64,
    /// First bytes of white space that takes two bytes, and three.
    pub wide_spaces: [u64; 2],
}

impl Block {
    /// The block of `text` that starts at `start`.
    #[inline]
    pub fn at(text: &str, start: usize) -> Self {
        let rest = &text.as_bytes()[start..];
        match rest.first_chunk() {
            Some(bytes) => Self::of(text, start, bytes, BLOCK),
            None => {
                let mut bytes = [0; BLOCK];
                bytes[..rest.len()].copy_from_slice(rest);
                Self::of(text, start, &bytes, rest.len())
            }
        }
    }

    #[inline]
    fn of(text: &str, start: usize, bytes: &[u8; BLOCK], len: usize) -> Self {
        let (mut block, wide) = ascii(bytes);
        block.len = len;
        if wide != 0 {
            block.add_wide(text, start, wide);
        }
        if block.len < BLOCK { block.cut() } else { block }
    }

    /// Adds the characters beyond ASCII. One that ends beyond the block is left to the next.
    fn add_wide(&mut self, text: &str, start: usize, wide: u64) {
        let mut left = wide;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            let (class, length) = CLASSES.wide(text, start + at);
            if at + length > BLOCK {
                self.len = at;
                return;
            }
            let bytes = ((1 << length) - 1) << at;
            left &= !bytes;
            if class & LETTER != 0 {
                self.letters |= bytes;
            } else if class & NUMBER != 0 {
                self.numbers |= bytes;
            } else if class & SPACE != 0 {
                self.spaces |= bytes;
                self.wide_spaces[length - 2] |= 1 << at;
            }
        }
    }

    /// Clears what stands beyond the end.
    fn cut(mut self) -> Self {
        let inside = (1 << self.len) - 1;
        for mask in [&mut self.letters, &mut self.numbers, &mut self.spaces, &mut self.blanks, &mut self.quotes] {
            *mask &= inside;
        }
        self
    }

    /// Bits of all bytes.
    #[inline]
    pub fn inside(&self) -> u64 {
        u64::MAX >> (BLOCK - self.len)
    }
}

/// The masks of 64 bytes, those beyond ASCII left out, and where these are. SSE2 belongs to every x86-64.
#[cfg(target_arch = "x86_64")]
#[inline]
fn ascii(bytes: &[u8; BLOCK]) -> (Block, u64) {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };
    let mut block = Block::default();
    let mut wide = 0;
    for (index, part) in bytes.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: SSE2 is part of x86-64, and the load, which asks for no alignment, reads the 16 bytes of `part`.
        unsafe {
            let bytes: __m128i = _mm_loadu_si128(std::ptr::from_ref(part).cast());
            // Bytes from `first` on, `count` of them, moved to the low end of the signed numbers.
            let range = |bytes, first: u8, count: i8| {
                let moved = _mm_add_epi8(bytes, _mm_set1_epi8(0x80u8.wrapping_sub(first) as i8));
                _mm_cmpgt_epi8(_mm_set1_epi8(-128 + count), moved)
            };
            let mask = |found| u64::from(_mm_movemask_epi8(found) as u32) << (16 * index);
            let blanks = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b' ' as i8));
            block.blanks |= mask(blanks);
            block.quotes |= mask(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\'' as i8)));
            block.letters |= mask(range(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), b'a', 26));
            block.numbers |= mask(range(bytes, b'0', 10));
            block.spaces |= mask(_mm_or_si128(range(bytes, b'\t', 5), blanks));
            wide |= mask(bytes);
        }
    }
    (block, wide)
}

/// The masks of 64 bytes, those beyond ASCII left out, and where these are.
#[cfg(not(target_arch = "x86_64"))]
fn ascii(bytes: &[u8; BLOCK]) -> (Block, u64) {
    ascii_scalar(bytes)
}

/// One byte after the other: what the fast one must equal.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn ascii_scalar(bytes: &[u8; BLOCK]) -> (Block, u64) {
    let mut block = Block::default();
    let mut wide = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let bit = |is: bool| u64::from(is) << index;
        block.blanks |= bit(*byte == b' ');
        block.quotes |= bit(*byte == b'\'');
        block.letters |= bit(byte.is_ascii_alphabetic());
        block.numbers |= bit(byte.is_ascii_digit());
        block.spaces |= bit(matches!(byte, b'\t'..=b'\r' | b' '));
        wide |= bit(!byte.is_ascii());
    }
    (block, wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_the_same_masks_in_both_versions() {
        for shift in 0..=255u8 {
            let bytes = std::array::from_fn(|at| (at as u8).wrapping_mul(37).wrapping_add(shift));
            assert_eq!(ascii(&bytes), ascii_scalar(&bytes));
        }
    }
}
