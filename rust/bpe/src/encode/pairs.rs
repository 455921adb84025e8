//! From two adjacent tokens to the rank and id of their merge.

use crate::memory::Table;
use crate::{Error, Result};

/// The rank of a pair that does not merge.
pub const NO_RANK: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    left: u32,
    right: u32,
    rank: u32,
    new: u32,
}

const FREE: Slot = Slot { left: u32::MAX, right: u32::MAX, rank: NO_RANK, new: u32::MAX };

/// Bits of the filter to a slot.
const BITS: usize = 8;

/// A flat table with open addressing, at most half full: a lookup reads one cache line most of the time.
#[derive(Debug)]
pub struct PairTable {
    slots: Table<Slot>,
    shift: u32,
    /// A bit for each pair, among at least 16 times as many: where none is set the pair does not merge. Most that are asked
    /// about do not, and so much is nearer than the slots.
    filter: Table<u64>,
}

impl PairTable {
    /// A table for up to `pairs` pairs.
    pub fn with_capacity(pairs: usize) -> Result<Self> {
        let size = (2 * pairs).next_power_of_two().max(4);
        let needed = (size * size_of::<Slot>() + size * BITS / 8) as u64;
        let slots = Table::new(FREE, size);
        let filter = Table::new(0, (size * BITS).div_ceil(64));
        let (Some(slots), Some(filter)) = (slots, filter) else {
            return Err(Error::OutOfMemory { what: "the table of merges", needed });
        };
        Ok(Self { slots, shift: 64 - size.trailing_zeros(), filter })
    }

    #[inline]
    fn hash(left: u32, right: u32) -> u64 {
        let key = u64::from(left) << 32 | u64::from(right);
        // Fibonacci hashing; the fold brings the left id's bits down before the product carries them up.
        (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[inline]
    fn home(&self, left: u32, right: u32) -> usize {
        (Self::hash(left, right) >> self.shift) as usize
    }

    #[inline]
    fn bit(&self, left: u32, right: u32) -> usize {
        (Self::hash(left, right) >> (self.shift - BITS.trailing_zeros())) as usize
    }

    /// Enters a pair that is not there yet.
    pub fn insert(&mut self, left: u32, right: u32, rank: u32, new: u32) {
        let bit = self.bit(left, right);
        self.filter[bit / 64] |= 1 << (bit % 64);
        let mut at = self.home(left, right);
        while self.slots[at].rank != NO_RANK {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Slot { left, right, rank, new };
    }

    /// The pair's rank and the id of its merge; the rank is [`NO_RANK`] if it does not merge.
    #[inline]
    pub fn get(&self, left: u32, right: u32) -> (u32, u32) {
        let mut at = self.home(left, right);
        loop {
            let slot = self.slots[at];
            if (slot.left == left && slot.right == right) || slot.rank == NO_RANK {
                return (slot.rank, slot.new);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The pair's rank, for pairs of which most do not merge.
    #[inline]
    pub fn rank(&self, left: u32, right: u32) -> u32 {
        let bit = self.bit(left, right);
        if self.filter[bit / 64] >> (bit % 64) & 1 == 0 { NO_RANK } else { self.get(left, right).0 }
    }
}
