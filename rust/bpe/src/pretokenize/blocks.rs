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
            block = block.with(&beyond_ascii::<AVX2>(text.as_bytes(), start, wide, len));
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

/// The masks of the characters beyond ASCII, whose bytes are `wide`. One that ends beyond the block is left to the next.
#[inline(always)]
fn beyond_ascii<const AVX2: bool>(text: &[u8], start: usize, wide: u64, len: usize) -> Block {
    #[cfg(target_arch = "x86_64")]
    if AVX2 {
        // SAFETY: the caller says that the machine has AVX2, and what came with it.
        return unsafe { beyond_ascii_avx2(text, start, wide, len) };
    }
    beyond_ascii_anywhere(text, start, wide, len)
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn beyond_ascii_avx2(text: &[u8], start: usize, wide: u64, len: usize) -> Block {
    wide_masks::<true>(text, start, wide, len)
}

#[inline(never)]
fn beyond_ascii_anywhere(text: &[u8], start: usize, wide: u64, len: usize) -> Block {
    wide_masks::<false>(text, start, wide, len)
}

/// Bytes that are read for a character, and written for its class: as many as the longest has.
const CHARACTER: usize = 4;

/// A block, and room for what is read for its last character.
const READ: usize = BLOCK + CHARACTER;

/// Writes the class of each character to all its bytes in a block of classes, whose bits are the masks then.
#[inline(always)]
fn wide_masks<const AVX2: bool>(text: &[u8], start: usize, wide: u64, mut len: usize) -> Block {
    let rest = &text[start..];
    let mut padded = [0; READ];
    let bytes: &[u8; READ] = rest.first_chunk().unwrap_or_else(|| {
        padded[..rest.len()].copy_from_slice(rest);
        &padded
    });
    let inner = wide & inner_bytes::<AVX2>(first_block(bytes));
    let mut firsts = wide & !inner;
    let last = firsts.ilog2() as usize;
    if last + bytes[last].leading_ones() as usize > BLOCK {
        len = last;
        firsts &= !(1 << last);
    }
    let classes = &*CLASSES;
    let mut own = [0; READ];
    while firsts != 0 {
        let at = firsts.trailing_zeros() as usize;
        firsts &= firsts - 1;
        let class = classes.wide(bytes[at..].first_chunk().expect("there are bytes behind the block"));
        // Too many for most. Those behind are the next character's, which is still to come, or none of `wide`.
        own[at..at + CHARACTER].copy_from_slice(&[class; CHARACTER]);
    }
    let masks = each_bit::<AVX2>(first_block(&own)).map(|mask| mask & wide);
    let of = |class: u8| masks[class.trailing_zeros() as usize];
    Block {
        len,
        letters: of(LETTER),
        upper: of(UPPER) & !of(LOWER),
        lower: of(LOWER) & !of(UPPER),
        marks: of(MARK),
        numbers: of(NUMBER),
        spaces: of(SPACE),
        inner,
        ..Block::default()
    }
}

fn first_block(bytes: &[u8; READ]) -> &[u8; BLOCK] {
    bytes.first_chunk().expect("it is shorter")
}

/// The bytes of characters beyond ASCII but for their firsts.
#[inline(always)]
fn inner_bytes<const AVX2: bool>(bytes: &[u8; BLOCK]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut inner = 0;
        if AVX2 {
            for (index, part) in bytes.as_chunks().0.iter().enumerate() {
                // SAFETY: the caller says that the machine has AVX2.
                inner |= unsafe { inner_avx2(part) } << (32 * index);
            }
        } else {
            for (index, part) in bytes.as_chunks().0.iter().enumerate() {
                // SAFETY: SSE2 is part of x86-64.
                inner |= unsafe { inner_sse2(part) } << (16 * index);
            }
        }
        inner
    }
    #[cfg(not(target_arch = "x86_64"))]
    inner_scalar(bytes)
}

/// Of each of the eight bits in a byte the bytes that have it.
#[inline(always)]
fn each_bit<const AVX2: bool>(bytes: &[u8; BLOCK]) -> [u64; 8] {
    #[cfg(target_arch = "x86_64")]
    {
        let mut masks = [0; 8];
        if AVX2 {
            for (index, part) in bytes.as_chunks().0.iter().enumerate() {
                // SAFETY: the caller says that the machine has AVX2.
                unsafe { bits_avx2(part, 32 * index, &mut masks) };
            }
        } else {
            for (index, part) in bytes.as_chunks().0.iter().enumerate() {
                // SAFETY: SSE2 is part of x86-64.
                unsafe { bits_sse2(part, 16 * index, &mut masks) };
            }
        }
        masks
    }
    #[cfg(not(target_arch = "x86_64"))]
    bits_scalar(bytes)
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

/// Defines functions of so many bytes: one adds their masks, shifted to their place in the block, one finds those inside of
/// characters, and one adds the masks of each of their bits.
#[cfg(target_arch = "x86_64")]
macro_rules! masks {
    ($name:ident, $inner:ident, $all:ident, $feature:literal, $size:literal, $vector:ident, $load:ident, $set:ident, $add:ident, $equal:ident,
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

        #[inline]
        #[target_feature(enable = $feature)]
        fn $inner(part: &[u8; $size]) -> u64 {
            use std::arch::x86_64::{$bits, $greater, $load, $set};
            // SAFETY: the load asks for no alignment and reads the bytes of `part`.
            let bytes = unsafe { $load(std::ptr::from_ref(part).cast()) };
            u64::from($bits($greater($set(0xc0u8 as i8), bytes)) as u32)
        }

        #[inline]
        #[target_feature(enable = $feature)]
        fn $all(part: &[u8; $size], shift: usize, masks: &mut [u64; 8]) {
            use std::arch::x86_64::{$add, $bits, $load};
            // SAFETY: the load asks for no alignment and reads the bytes of `part`.
            let mut bytes = unsafe { $load(std::ptr::from_ref(part).cast()) };
            for mask in masks.iter_mut().rev() {
                *mask |= u64::from($bits(bytes) as u32) << shift;
                // Doubled, each bit takes the place of the one above it.
                bytes = $add(bytes, bytes);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
masks!(
    ascii_sse2,
    inner_sse2,
    bits_sse2,
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
masks!(
    ascii_avx2,
    inner_avx2,
    bits_avx2,
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

#[cfg(any(test, not(target_arch = "x86_64")))]
fn inner_scalar(bytes: &[u8; BLOCK]) -> u64 {
    bytes.iter().enumerate().fold(0, |inner, (index, byte)| inner | u64::from(byte & 0xc0 == 0x80) << index)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn bits_scalar(bytes: &[u8; BLOCK]) -> [u64; 8] {
    std::array::from_fn(|bit| {
        let eights = bytes.as_chunks().0.iter().enumerate();
        eights.fold(0, |mask, (index, eight)| {
            // The product brings one bit of each of eight bytes together in the highest of them.
            let lowest = u64::from_le_bytes(*eight) >> bit & 0x0101_0101_0101_0101;
            mask | lowest.wrapping_mul(0x0102_0408_1020_4080) >> 56 << (8 * index)
        })
    })
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

    fn check<const AVX2: bool>(bytes: &[u8; BLOCK]) {
        assert_eq!(ascii::<AVX2>(bytes), ascii_scalar(bytes));
        assert_eq!(inner_bytes::<AVX2>(bytes), inner_scalar(bytes));
        assert_eq!(each_bit::<AVX2>(bytes), bits_scalar(bytes));
        for (bit, mask) in bits_scalar(bytes).iter().enumerate() {
            assert!(bytes.iter().enumerate().all(|(index, byte)| mask >> index & 1 == u64::from(byte >> bit & 1)));
        }
    }

    #[test]
    fn every_byte_has_the_same_masks_in_all_versions() {
        for shift in 0..=255u8 {
            let bytes = std::array::from_fn(|at| (at as u8).wrapping_mul(37).wrapping_add(shift));
            check::<false>(&bytes);
            if has_avx2() {
                check::<true>(&bytes);
            }
        }
    }
}
