//! One text in pieces, cut anywhere: the ids are those of the whole.

use super::{Ids, Words, reserve};
use crate::tokenizer::{Policy, SpecialPolicy, Tokenizer, characters};
use crate::utf8::from_utf8;
use crate::{Job, Result};

/// Before this many bytes are waiting, looking at them is not worth it.
const WORTH_LOOKING: usize = 256;

/// Encodes one text that comes in pieces.
///
/// What can still change is kept: a pre-token that may go on, a special token or a character that may become whole. It is
/// looked at again only when it has doubled, so that the time is linear however small the pieces are.
#[derive(Debug)]
pub struct StreamEncoder {
    tokenizer: Tokenizer,
    policy: SpecialPolicy,
    pending: Vec<u8>,
    /// How long the text is, as far as is known.
    length: usize,
    /// How many waiting bytes make another look worth it.
    look_at: usize,
    /// Bytes and characters before the pending ones, to say where special text stands.
    bytes_before: u64,
    characters_before: u64,
}

/// What is known of the end of a piece of text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The text ends there.
    Here,
    /// It may go on.
    Open,
}

impl StreamEncoder {
    pub(crate) fn new(tokenizer: Tokenizer, policy: SpecialPolicy) -> Result<Self> {
        tokenizer.policy(&policy)?;
        let look_at = WORTH_LOOKING;
        Ok(Self { tokenizer, policy, pending: Vec::new(), length: 0, look_at, bytes_before: 0, characters_before: 0 })
    }

    /// Says how many bytes there will be, about: a long text's words may take more memory, see `docs/tokenizer.md`.
    pub fn with_length(self, length: usize) -> Self {
        Self { length, ..self }
    }

    /// How many bytes are waiting for what follows.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes the next piece, and appends the ids that are sure by now.
    pub fn push(&mut self, piece: &[u8], out: &mut impl Ids, job: &Job) -> Result<()> {
        reserve(&mut self.pending, piece.len(), "text that may go on")?;
        self.pending.extend_from_slice(piece);
        if self.pending.len() < self.look_at {
            return Ok(());
        }
        self.advance(End::Open, out, job)?;
        self.look_at = (2 * self.pending.len()).max(WORTH_LOOKING);
        Ok(())
    }

    /// Ends the text and appends the rest of the ids.
    pub fn finish(mut self, out: &mut impl Ids, job: &Job) -> Result<()> {
        self.advance(End::Here, out, job)
    }

    /// Encodes what is sure and forgets it.
    fn advance(&mut self, end: End, out: &mut dyn Ids, job: &Job) -> Result<()> {
        let tokenizer = self.tokenizer.clone();
        let policy = tokenizer.policy(&self.policy)?;
        let at = tokenizer
            .with_words(self.length.max(self.pending.len()), out, job, |words| self.sure(&policy, end, words))?;
        if policy.may_refuse() {
            self.characters_before += characters(&self.pending[..at]);
        }
        self.bytes_before += at as u64;
        self.pending.drain(..at);
        Ok(())
    }

    /// Encodes what is sure; returns how many bytes that is.
    fn sure(&self, policy: &Policy<'_>, end: End, words: &mut Words<'_>) -> Result<usize> {
        let (tokenizer, text) = (&self.tokenizer, &self.pending);
        let mut at = 0;
        // Special tokens that start before `open` are whole in what is there, so is any longer one at the same place.
        let mut open = text.len();
        if let Some(finder) = policy.finder() {
            if end == End::Open {
                open = (text.len() + 1).saturating_sub(finder.longest());
            }
            while let Some((index, start, stop)) = finder.find(text, at).filter(|found| found.1 < open) {
                if !policy.allows(index) {
                    let characters = self.characters_before + characters(&text[..start]);
                    return Err(tokenizer.refused(index, self.bytes_before + start as u64, characters));
                }
                tokenizer.plain(&text[at..start], words)?;
                tokenizer.push_special(index, words)?;
                at = stop;
            }
        }
        if at < open {
            at += match end {
                End::Here => tokenizer.plain(&text[at..], words).map(|()| text.len() - at)?,
                End::Open => open_text(tokenizer, &text[at..open], words)?,
            };
        }
        Ok(at)
    }
}

/// Encodes what is sure of a text that may go on; returns how many bytes that is.
fn open_text(tokenizer: &Tokenizer, bytes: &[u8], words: &mut Words<'_>) -> Result<usize> {
    let mut at = 0;
    loop {
        let error = match from_utf8(&bytes[at..]) {
            Ok(text) => return Ok(at + tokenizer.settled(text, words)?),
            Err(error) => error,
        };
        let broken = at + error.valid_up_to();
        if error.error_len().is_none() {
            let text = std::str::from_utf8(&bytes[at..broken]).unwrap_or_default();
            return Ok(at + tokenizer.settled(text, words)?);
        }
        // The bytes at `broken` are invalid whatever follows, so the text ends there.
        tokenizer.plain(&bytes[at..broken], words)?;
        let Some(end) = end_of_run(bytes, broken) else { return Ok(broken) };
        words.word(&bytes[broken..end])?;
        at = end;
    }
}

/// Where a run of invalid bytes ends, `None` if it may go on.
fn end_of_run(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while at < bytes.len() {
        // Whether a character begins here shows in four bytes.
        let ahead = &bytes[at..bytes.len().min(at + 4)];
        match std::str::from_utf8(ahead) {
            Ok(_) => return Some(at),
            Err(error) if error.valid_up_to() > 0 => return Some(at),
            Err(error) => at += error.error_len()?,
        }
    }
    None
}
