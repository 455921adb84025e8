//! Ids to text as they come: characters are given out when they are whole.

use crate::Result;
use crate::tokenizer::Tokenizer;

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
