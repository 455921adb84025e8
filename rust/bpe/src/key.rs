//! Short words as two numbers, which compare and hash at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use foldhash::fast::FixedState;

/// Words up to this many bytes are their own key.
pub(crate) const INLINE: usize = 15;

/// In place of its length, marks the key of a word that stands elsewhere.
pub(crate) const ELSEWHERE: u8 = 0xff;

/// Hashes differ from process to process, so that nobody can write a text whose words all fall into one place.
pub(crate) static SEED: LazyLock<[u64; 2]> =
    LazyLock::new(|| [0, 1].map(|_| RandomState::new().build_hasher().finish() | 1));

/// The 16 bytes of a key as two numbers, little-endian: an array would go through memory on its way into a table. Of a
/// short word its bytes and, as the 16th, its length; of a long one hash, length and a mark. No key is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub low: u64,
    pub high: u64,
}

/// Masks of the first bytes of a key, by how many.
const MASKS: [Key; INLINE + 1] = {
    let mut masks = [Key { low: 0, high: 0 }; INLINE + 1];
    let mut length = 1;
    while length <= INLINE {
        let mask = (1 << (8 * length)) - 1u128;
        masks[length] = Key { low: mask as u64, high: (mask >> 64) as u64 };
        length += 1;
    }
    masks
};

impl Key {
    #[inline]
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        let (halves, _) = bytes.as_chunks::<8>();
        Self { low: u64::from_le_bytes(halves[0]), high: u64::from_le_bytes(halves[1]) }
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_le_bytes()
    }

    /// Key and hash of `text[start..end]`.
    #[inline(always)]
    pub fn of(text: &[u8], start: usize, end: usize, seed: [u64; 2]) -> (Self, u64) {
        let length = end - start;
        if length > INLINE {
            return Self::of_long(&text[start..end], seed);
        }
        let bytes = match text[start..].first_chunk::<16>() {
            Some(bytes) => Self::from_bytes(bytes),
            None => {
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(&text[start..end]);
                Self::from_bytes(&bytes)
            }
        };
        let mask = MASKS[length];
        let key = Self { low: bytes.low & mask.low, high: bytes.high & mask.high | (length as u64) << 56 };
        (key, key.hash(seed))
    }

    #[inline(never)]
    fn of_long(word: &[u8], seed: [u64; 2]) -> (Self, u64) {
        let hash = FixedState::with_seed(seed[0]).hash_one(word);
        (Self { low: hash, high: word.len() as u64 & (u64::MAX >> 8) | u64::from(ELSEWHERE) << 56 }, hash)
    }

    #[inline]
    pub fn hash(self, seed: [u64; 2]) -> u64 {
        let product = u128::from(self.low ^ seed[0]) * u128::from(self.high ^ seed[1]);
        product as u64 ^ (product >> 64) as u64
    }

    /// The hash that [`of`](Self::of) gave with this key.
    #[inline]
    pub fn hash_of_word(self, seed: [u64; 2]) -> u64 {
        if self.is_elsewhere() { self.low } else { self.hash(seed) }
    }

    /// Length of the word in bytes.
    #[inline]
    pub fn length(self) -> usize {
        (if self.is_elsewhere() { self.high & (u64::MAX >> 8) } else { self.high >> 56 }) as usize
    }

    /// Whether the word stands elsewhere.
    #[inline]
    pub fn is_elsewhere(self) -> bool {
        self.high >> 56 == u64::from(ELSEWHERE)
    }
}
