//! Where ids go: arrays of the two types that they are kept in, and bytes for a file.

use super::reserve;
use crate::Result;
use crate::formats::token_file::Dtype;

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

/// Ids as a token file holds them.
pub(crate) struct FileIds {
    dtype: Dtype,
    pub bytes: Vec<u8>,
}

impl FileIds {
    pub fn new(dtype: Dtype) -> Self {
        Self { dtype, bytes: Vec::new() }
    }
}

impl Ids for FileIds {
    fn count(&self) -> usize {
        self.bytes.len() / self.dtype.width()
    }

    fn keep(&mut self, count: usize) {
        self.bytes.truncate(count * self.dtype.width());
    }

    fn expect(&mut self, bytes: usize) -> Result<()> {
        reserve(&mut self.bytes, bytes / BYTES_PER_ID * self.dtype.width(), WHAT)
    }

    fn add(&mut self, ids: &[u32]) -> Result<()> {
        let (filled, more) = (self.bytes.len(), ids.len() * self.dtype.width());
        reserve(&mut self.bytes, more, WHAT)?;
        self.bytes.resize(filled + more, 0);
        let room = &mut self.bytes[filled..];
        match self.dtype {
            Dtype::Uint16 => {
                room.as_chunks_mut().0.iter_mut().zip(ids).for_each(|(two, &id)| *two = (id as u16).to_le_bytes())
            }
            Dtype::Uint32 => room.as_chunks_mut().0.iter_mut().zip(ids).for_each(|(four, id)| *four = id.to_le_bytes()),
        }
        Ok(())
    }
}
