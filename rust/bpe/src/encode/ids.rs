//! Where ids go: arrays of the two types that they are kept in.

use super::reserve;
use crate::Result;

/// A growing array of ids.
pub trait Ids: Send {
    /// Appends ids, which fit the type.
    fn add(&mut self, ids: &[u32]) -> Result<()>;

    /// How many there are.
    fn count(&self) -> usize;

    /// Forgets all but the first so many.
    fn keep(&mut self, count: usize);

    /// Makes room for what so many bytes of text may become.
    fn expect(&mut self, bytes: usize) -> Result<()>;
}

/// Bytes of text to an id, less than most texts have. Room that nothing is written to costs nothing.
const BYTES_PER_ID: usize = 3;

const WHAT: &str = "the token ids";

impl Ids for Vec<u32> {
    fn count(&self) -> usize {
        self.len()
    }

    fn keep(&mut self, count: usize) {
        self.truncate(count);
    }

    fn expect(&mut self, bytes: usize) -> Result<()> {
        reserve(self, bytes / BYTES_PER_ID, WHAT)
    }

    fn add(&mut self, ids: &[u32]) -> Result<()> {
        reserve(self, ids.len(), WHAT)?;
        self.extend_from_slice(ids);
        Ok(())
    }
}

impl Ids for Vec<u16> {
    fn count(&self) -> usize {
        self.len()
    }

    fn keep(&mut self, count: usize) {
        self.truncate(count);
    }

    fn expect(&mut self, bytes: usize) -> Result<()> {
        reserve(self, bytes / BYTES_PER_ID, WHAT)
    }

    fn add(&mut self, ids: &[u32]) -> Result<()> {
        reserve(self, ids.len(), WHAT)?;
        self.extend(ids.iter().map(|&id| id as u16));
        Ok(())
    }
}
