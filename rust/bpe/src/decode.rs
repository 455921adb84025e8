//! Ids to text as they come: characters are given out when they are whole.

use crate::Result;
use crate::tokenizer::Tokenizer;

/// Decodes ids one by one. Bytes that can't be part of any character become U+FFFD, as with `errors="replace"` in Python.
#[derive(Clone, Debug)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    pending: Vec<u8>,
    position: usize,
}

impl DecodeStream {
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new(), position: 0 }
    }

    /// The characters that this id completes; [`crate::Error::UnknownId`] if it is no token.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.pending.extend_from_slice(self.tokenizer.token_at(id, self.position)?);
        self.position += 1;
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
