//! Ids to bytes; and to text as they come, where characters are given out when they are whole.

use crate::encode::reserve;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

impl Tokenizer {
    /// The bytes of ids; [`Error::UnknownId`] if one is no token.
    pub fn decode_bytes<I: Copy + Into<u32>>(&self, ids: &[I]) -> Result<Vec<u8>> {
        let length = self.decoded_length(ids)?;
        let mut bytes = Vec::new();
        reserve(&mut bytes, length, "the decoded text")?;
        bytes.resize(length, 0);
        self.decode_into(ids, &mut bytes)?;
        Ok(bytes)
    }

    /// How many bytes ids stand for; [`Error::UnknownId`] if one is no token.
    pub fn decoded_length<I: Copy + Into<u32>>(&self, ids: &[I]) -> Result<usize> {
        let length = |id: u32| self.0.vocabulary.length(id);
        let (mut total, mut all_known) = (0, true);
        for &id in ids {
            let length = length(id.into());
            all_known &= length > 0;
            total += length;
        }
        if let Some(position) = ids.iter().position(|&id| !all_known && length(id.into()) == 0) {
            return Err(self.token_at(ids[position].into(), position).err().unwrap_or(Error::Interrupted));
        }
        Ok(total)
    }

    /// Writes the bytes of ids, as many as [`decoded_length`](Self::decoded_length) says.
    pub fn decode_into<I: Copy + Into<u32>>(&self, ids: &[I], bytes: &mut [u8]) -> Result<()> {
        /// Most tokens are no longer: copying always so many costs less than looking how many there are.
        const USUAL: usize = 16;
        let arena = self.0.vocabulary.arena();
        let mut at = 0;
        for (position, &id) in ids.iter().enumerate() {
            let (start, end) = self.0.vocabulary.place(id.into());
            let next = at + end - start;
            let usual = arena.get(start..).and_then(|arena| arena.first_chunk::<USUAL>());
            match (usual, bytes.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut::<USUAL>())) {
                (Some(from), Some(to)) if end - start <= USUAL => *to = *from,
                _ => bytes[at..next].copy_from_slice(self.token_at(id.into(), position)?),
            }
            at = next;
        }
        Ok(())
    }
}

/// What a stream makes of an id that is no token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// An error; the stream can go on behind it.
    #[default]
    Error,
    /// Nothing.
    Skip,
    /// U+FFFD.
    Replace,
}

/// Decodes ids one by one. Bytes that can't be part of any character become U+FFFD, as with `errors="replace"` in Python.
#[derive(Clone, Debug)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    pending: Vec<u8>,
    position: usize,
    unknown: Unknown,
}

impl DecodeStream {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new(), position: 0, unknown: Unknown::Error }
    }

    /// What to make of ids that are no tokens.
    pub fn with_unknown(self, unknown: Unknown) -> Self {
        Self { unknown, ..self }
    }

    /// The characters that this id completes; [`crate::Error::UnknownId`] if it is no token and must be one.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let position = self.position;
        self.position += 1;
        match (self.tokenizer.token_at(id, position), self.unknown) {
            (Ok(token), _) => self.pending.extend_from_slice(token),
            (Err(error), Unknown::Error) => return Err(error),
            (Err(_), Unknown::Skip) => {}
            // No token of bytes gives it to the character that is waiting, so that ends here.
            (Err(_), Unknown::Replace) => self.pending.push(0xff),
        }
        let whole = self.pending.len() - unfinished(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..whole]).into_owned();
        self.pending.drain(..whole);
        Ok(text)
    }

    /// What is left: U+FFFD for a character that never became whole.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Length of the incomplete character at the end, at most 3 bytes.
fn unfinished(bytes: &[u8]) -> usize {
    let mut tail = &bytes[bytes.len().saturating_sub(3)..];
    // The tail may begin in the middle of a character: skip to one that begins.
    while tail.first().is_some_and(|byte| byte & 0xc0 == 0x80) {
        tail = &tail[1..];
    }
    loop {
        match std::str::from_utf8(tail) {
            Ok(_) => return 0,
            Err(error) => match error.error_len() {
                None => return tail.len() - error.valid_up_to(),
                Some(length) => tail = &tail[error.valid_up_to() + length..],
            },
        }
    }
}
