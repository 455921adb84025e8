//! A text in blocks of up to 64 bytes, with the class of each byte as bits: what a scanner asks of 64 characters becomes a
//! few operations on 64-bit words.

use super::classes::{CLASSES, LETTER, LOWER, MARK, NUMBER, SPACE, UPPER};

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
    /// Letters that only begin a word in `o200k`, `[\p{Lu}\p{Lt}]`, and those that only end one, `\p{Ll}`.
    pub upper: u64,
    pub lower: u64,
    /// `\p{M}`
    pub marks: u64,
    /// `\p{N}`
    pub numbers: u64,
    /// `\s`
    pub spaces: u64,
    /// `[\r\n]`
    pub newlines: u64,
    /// The space itself, U+0020.
    pub blanks: u64,
    /// The apostrophe, U+0027.
    pub quotes: u64,
    /// The slash, U+002F.
    pub slashes: u64,
    /// Bytes of a character but for its first.
    pub inner: u64,
}

impl Block {
    /// The block of `text` that starts at `start`. `AVX2` says whether the machine has it.
    #[inline(always)]
    pub fn at<const AVX2: bool>(text: &str, start: usize) -> Self {
        let rest = &text.as_bytes()[start..];
        match rest.first_chunk() {
            Some(bytes) => Self::of::<AVX2>(text, start, bytes, BLOCK),
            None => {
                let mut bytes = [0; BLOCK];
                bytes[..rest.len()].copy_from_slice(rest);
                Self::of::<AVX2>(text, start, &bytes, rest.len())
            }
        }
    }

    #[inline(always)]
    fn of<const AVX2: bool>(text: &str, start: usize, bytes: &[u8; BLOCK], len: usize) -> Self {
        let (mut block, wide) = ascii::<AVX2>(bytes);
        block.len = len;
        if wide != 0 {
            block = block.with(&beyond_ascii(text.as_bytes(), start, wide, len));
        }
        if block.len < BLOCK { block.cut() } else { block }
    }

    /// All masks of both; the length of the other.
    fn with(&self, other: &Self) -> Self {
        Self {
            len: other.len,
            letters: self.letters | other.letters,
            upper: self.upper | other.upper,
            lower: self.lower | other.lower,
            marks: other.marks,
            numbers: self.numbers | other.numbers,
            spaces: self.spaces | other.spaces,
            inner: other.inner,
            ..*self
        }
    }

    /// Adds the bytes of characters of one class.
    #[inline]
    fn add(&mut self, class: u8, bytes: u64) {
        let has = |wanted: u8| if class & wanted != 0 { bytes } else { 0 };
        self.letters |= has(LETTER);
        self.marks |= has(MARK);
        self.numbers |= has(NUMBER);
        self.spaces |= has(SPACE);
        self.upper |= has(UPPER) & !has(LOWER);
        self.lower |= has(LOWER) & !has(UPPER);
    }

    /// Clears what stands beyond the end.
    fn cut(&self) -> Self {
        let inside = self.inside();
        Self {
            len: self.len,
            letters: self.letters & inside,
            upper: self.upper & inside,
            lower: self.lower & inside,
            marks: self.marks & inside,
            numbers: self.numbers & inside,
            spaces: self.spaces & inside,
            newlines: self.newlines & inside,
            blanks: self.blanks & inside,
            quotes: self.quotes & inside,
            slashes: self.slashes & inside,
            inner: self.inner & inside,
        }
    }

    /// Bits of all bytes.
    #[inline(always)]
    pub fn inside(&self) -> u64 {
        u64::MAX >> (BLOCK - self.len)
    }

    /// Whether the last byte is in a mask, as the first bit.
    #[inline(always)]
    pub fn last(&self, mask: u64) -> u64 {
        mask >> (self.len - 1) & 1
    }

    /// Bits of last bytes, moved to the first bytes of their characters.
    #[inline(always)]
    pub fn to_first_bytes(self, mut bits: u64) -> u64 {
        while bits & self.inner != 0 {
            bits = bits & !self.inner | (bits & self.inner) >> 1;
        }
        bits
    }
}

/// The masks of the characters beyond ASCII, which begin in `wide`. One that ends beyond the block is left to the next.
#[inline(never)]
fn beyond_ascii(text: &[u8], start: usize, wide: u64, len: usize) -> Block {
    let classes = &*CLASSES;
    let mut block = Block { len, ..Block::default() };
    let (mut left, mut firsts) = (wide, 0);
    // The bytes of characters in a row that are of one class: most are of the same as those before.
    let (mut class, mut run) = (0, 0);
    while left != 0 {
        let at = left.trailing_zeros() as usize;
        let (next, length) = classes.wide(text, start + at);
        if at + length > BLOCK || length == 0 {
            block.len = at;
            break;
        }
        if next != class {
            block.add(class, run);
            (class, run) = (next, 0);
        }
        let bytes = ((1 << length) - 1) << at;
        left &= !bytes;
        run |= bytes;
        firsts |= 1 << at;
    }
    block.add(class, run);
    block.inner = wide & !left & !firsts;
    block
}

/// The masks of 64 bytes, those beyond ASCII left out, and where these are.
#[inline(always)]
fn ascii<const AVX2: bool>(bytes: &[u8; BLOCK]) -> (Block, u64) {
    #[cfg(target_arch = "x86_64")]
    {
        let (mut block, mut wide) = (Block::default(), 0);
        if AVX2 {
            for (index, part) in bytes.as_chunks().0.iter().enumerate() {
                // SAFETY: the caller says that the machine has AVX2.
                unsafe { ascii_avx2(part, 32 * index, &mut block, &mut wide) };
            }
        } else {
            for (index, part) in bytes.as_chunks().0.iter().enumerate() {
                // SAFETY: SSE2 is part of x86-64.
                unsafe { ascii_sse2(part, 16 * index, &mut block, &mut wide) };
            }
        }
        (block, wide)
    }
    #[cfg(not(target_arch = "x86_64"))]
    ascii_scalar(bytes)
}

/// Defines a function that adds the masks of so many bytes, shifted to their place in the block.
#[cfg(target_arch = "x86_64")]
macro_rules! ascii_masks {
    ($name:ident, $feature:literal, $size:literal, $vector:ident, $load:ident, $set:ident, $add:ident, $equal:ident,
     $greater:ident, $or:ident, $bits:ident) => {
        #[inline]
        #[target_feature(enable = $feature)]
        fn $name(part: &[u8; $size], shift: usize, block: &mut Block, wide: &mut u64) {
            use std::arch::x86_64::{$add, $bits, $equal, $greater, $load, $or, $set, $vector};
            // SAFETY: the load asks for no alignment and reads the bytes of `part`.
            let bytes: $vector = unsafe { $load(std::ptr::from_ref(part).cast()) };
            // Bytes from `first` on, `count` of them, moved to the low end of the signed numbers.
            let range = |bytes, first: u8, count: i8| {
                let moved = $add(bytes, $set(0x80u8.wrapping_sub(first) as i8));
                $greater($set(-128 + count), moved)
            };
            let equal = |byte: u8| $equal(bytes, $set(byte as i8));
            let mask = |found| u64::from($bits(found) as u32) << shift;
            let blanks = equal(b' ');
            let upper = mask(range(bytes, b'A', 26));
            let letters = mask(range($or(bytes, $set(0x20)), b'a', 26));
            block.letters |= letters;
            block.upper |= upper;
            block.lower |= letters & !upper;
            block.numbers |= mask(range(bytes, b'0', 10));
            block.spaces |= mask($or(range(bytes, b'\t', 5), blanks));
            block.newlines |= mask($or(equal(b'\n'), equal(b'\r')));
            block.blanks |= mask(blanks);
            block.quotes |= mask(equal(b'\''));
            block.slashes |= mask(equal(b'/'));
            *wide |= mask(bytes);
        }
    };
}

#[cfg(target_arch = "x86_64")]
ascii_masks!(
    ascii_sse2,
    "sse2",
    16,
    __m128i,
    _mm_loadu_si128,
    _mm_set1_epi8,
    _mm_add_epi8,
    _mm_cmpeq_epi8,
    _mm_cmpgt_epi8,
    _mm_or_si128,
    _mm_movemask_epi8
);
#[cfg(target_arch = "x86_64")]
ascii_masks!(
    ascii_avx2,
    "avx2",
    32,
    __m256i,
    _mm256_loadu_si256,
    _mm256_set1_epi8,
    _mm256_add_epi8,
    _mm256_cmpeq_epi8,
    _mm256_cmpgt_epi8,
    _mm256_or_si256,
    _mm256_movemask_epi8
);

/// One byte after the other: what the fast ones must equal.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn ascii_scalar(bytes: &[u8; BLOCK]) -> (Block, u64) {
    let mut block = Block::default();
    let mut wide = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let bit = |is: bool| u64::from(is) << index;
        block.letters |= bit(byte.is_ascii_alphabetic());
        block.upper |= bit(byte.is_ascii_uppercase());
        block.lower |= bit(byte.is_ascii_lowercase());
        block.numbers |= bit(byte.is_ascii_digit());
        block.spaces |= bit(matches!(byte, b'\t'..=b'\r' | b' '));
        block.newlines |= bit(matches!(byte, b'\n' | b'\r'));
        block.blanks |= bit(*byte == b' ');
        block.quotes |= bit(*byte == b'\'');
        block.slashes |= bit(*byte == b'/');
        wide |= bit(!byte.is_ascii());
    }
    (block, wide)
}

/// Whether the machine has what `AVX2` stands for, and the instructions on bits that came with it.
#[inline]
pub fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_the_same_masks_in_all_versions() {
        for shift in 0..=255u8 {
            let bytes = std::array::from_fn(|at| (at as u8).wrapping_mul(37).wrapping_add(shift));
            assert_eq!(ascii::<false>(&bytes), ascii_scalar(&bytes));
            if has_avx2() {
                assert_eq!(ascii::<true>(&bytes), ascii_scalar(&bytes));
            }
        }
    }
}
