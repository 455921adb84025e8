//! A vocabulary and a pattern: text to ids and back.

use std::sync::{Arc, OnceLock};

use crate::decode::DecodeStream;
use crate::encode::{Encoder, Ids, StreamEncoder, Words, reserve};
use crate::memory::give_back;
use crate::pretokenize::Pattern;
use crate::special::SpecialTokens;
use crate::utf8::from_utf8;
use crate::vocab::Vocabulary;
use crate::{Error, Job, Result};

/// What special text in an input means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpecialPolicy {
    /// The token.
    #[default]
    Token,
    /// Plain text.
    Text,
    /// An error that says where it stands.
    Error,
    /// The token if it is one of these, else the error.
    Allowed(Vec<String>),
}

/// Encodes and decodes. Never changes, may be used from many threads, and is cheap to clone.
#[derive(Clone)]
pub struct Tokenizer(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub vocabulary: Vocabulary,
    pub pattern: Pattern,
    pub special: SpecialTokens,
    encoder: OnceLock<Encoder>,
    hash: [u8; 32],
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { pattern, .. } = &*self.0;
        write!(f, "Tokenizer(vocab_size: {}, pattern: {:?})", self.vocab_size(), pattern.spec())
    }
}

/// Equal hash: equal tokens, merges, special tokens and pattern.
impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for Tokenizer {}

/// The bytes of a text that an id stands for: start and end.
pub type Span = (usize, usize);

/// Which special tokens a policy looks for, and which of them it reads.
pub(crate) struct Policy<'t> {
    finder: Option<&'t SpecialTokens>,
    allowed: Option<Vec<bool>>,
}

impl<'t> Policy<'t> {
    /// The tokens looked for, if any.
    pub fn finder(&self) -> Option<&'t SpecialTokens> {
        self.finder
    }

    /// Whether special text can be an error.
    pub fn may_refuse(&self) -> bool {
        self.finder.is_some() && self.allowed.is_some()
    }

    /// Whether this token is read as one.
    pub fn allows(&self, index: usize) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed[index])
    }
}

/// Characters in a text: bytes that begin one, so that bytes that are not UTF-8 have a count too.
pub(crate) fn characters(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64
}

/// From so many ids on, loading a vocabulary leaves megabytes of freed memory behind.
const LARGE: usize = 1 << 14;

impl Tokenizer {
    /// Builds the tables of encoding.
    pub fn new(vocabulary: Vocabulary, pattern: Pattern) -> Result<Self> {
        let tokenizer = Self::without_tables(vocabulary, pattern)?;
        tokenizer.encoder()?;
        if tokenizer.vocab_size() >= LARGE {
            give_back();
        }
        Ok(tokenizer)
    }

    /// After training, which leaves megabytes of freed memory behind. The tables of encoding are left to the first that
    /// encodes: who trains a tokenizer often only saves it, and on a small text they take as long as the merges.
    pub fn of_training(vocabulary: Vocabulary, pattern: Pattern) -> Result<Self> {
        let tokenizer = Self::without_tables(vocabulary, pattern)?;
        give_back();
        Ok(tokenizer)
    }

    fn without_tables(vocabulary: Vocabulary, pattern: Pattern) -> Result<Self> {
        let names: Vec<&str> = vocabulary.special().iter().map(|(token, _)| token.as_str()).collect();
        let special = SpecialTokens::new(&names)?;
        let hash = vocabulary.hash(pattern.spec());
        Ok(Self(Arc::new(Inner { vocabulary, pattern, special, encoder: OnceLock::new(), hash })))
    }

    /// Appends the ids of a text. On an error `out` is as it was.
    ///
    /// Bytes that are not UTF-8: each maximal run of bytes that belong to no valid sequence is a pre-token of its own and
    /// splits the text as a special token does.
    pub fn encode(&self, text: &[u8], policy: &SpecialPolicy, out: &mut Vec<u32>) -> Result<()> {
        self.encode_while(text, policy, out, &Job::default())
    }

    /// [`encode`](Self::encode) to an array of any type, until the job's caller wants to stop.
    pub fn encode_while(&self, text: &[u8], policy: &SpecialPolicy, out: &mut dyn Ids, job: &Job) -> Result<()> {
        let start = out.count();
        let result = self.policy(policy).and_then(|policy| self.encode_with(text, &policy, out, job));
        if result.is_err() {
            out.keep(start);
        }
        result
    }

    /// The ids of a text with the bytes each stands for, as `(start, end)`.
    pub fn encode_with_offsets(&self, text: &[u8], policy: &SpecialPolicy) -> Result<(Vec<u32>, Vec<Span>)> {
        let mut ids = Vec::new();
        self.encode(text, policy, &mut ids)?;
        let mut spans = Vec::new();
        reserve(&mut spans, ids.len(), "the offsets")?;
        let mut start = 0;
        for &id in &ids {
            let end = start + self.id_to_token(id).map_or(0, <[u8]>::len);
            spans.push((start, end));
            start = end;
        }
        Ok((ids, spans))
    }

    /// How many ids a text has. With a limit, counting stops early, and any number above it is given as `limit + 1`.
    pub fn count(&self, text: &[u8], policy: &SpecialPolicy, limit: Option<usize>, job: &Job) -> Result<usize> {
        const PIECE: usize = 1 << 12;
        let most = limit.unwrap_or(usize::MAX);
        let mut stream = self.stream(policy)?.with_length(text.len());
        let (mut total, mut ids) = (0, Vec::<u32>::new());
        for piece in text.chunks(PIECE) {
            job.check()?;
            stream.push(piece, &mut ids, job)?;
            total += ids.len();
            ids.clear();
            if total > most {
                return Ok(most + 1);
            }
        }
        stream.finish(&mut ids, job)?;
        Ok((total + ids.len()).min(most.saturating_add(1)))
    }

    /// Encodes one text that comes in pieces, cut anywhere.
    pub fn stream(&self, policy: &SpecialPolicy) -> Result<StreamEncoder> {
        StreamEncoder::new(self.clone(), policy.clone())
    }

    /// Decodes ids one by one to whole characters.
    pub fn decode_stream(&self) -> DecodeStream {
        DecodeStream::new(self.clone())
    }

    /// The greatest id + 1.
    pub fn vocab_size(&self) -> usize {
        self.0.vocabulary.size()
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.0.vocabulary
    }

    /// The pattern.
    pub fn pattern(&self) -> &Pattern {
        &self.0.pattern
    }

    /// Special tokens with their ids, in the order given.
    pub fn special_tokens(&self) -> &[(String, u32)] {
        self.0.vocabulary.special()
    }

    /// The id of a token's bytes.
    pub fn token_to_id(&self, token: &[u8]) -> Option<u32> {
        self.0.vocabulary.id(token)
    }

    /// The bytes of a token.
    pub fn id_to_token(&self, id: u32) -> Option<&[u8]> {
        self.0.vocabulary.token(id)
    }

    /// The token of this id, which stands at `position` of a sequence; [`Error::UnknownId`] if there is none.
    pub(crate) fn token_at(&self, id: u32, position: usize) -> Result<&[u8]> {
        let unknown = || Error::UnknownId { id: id.into(), position, vocab_size: self.vocab_size() as u64 };
        self.id_to_token(id).ok_or_else(unknown)
    }

    /// SHA-256 of vocabulary and pattern, see [`Vocabulary::hash`].
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// [`hash`](Self::hash) in hexadecimal.
    pub fn hash_hex(&self) -> String {
        self.0.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Resolves a policy; [`Error::SpecialToken`] if it allows a string that is no special token.
    pub(crate) fn policy(&self, policy: &SpecialPolicy) -> Result<Policy<'_>> {
        let special = &self.0.special;
        let finder = Some(special).filter(|special| !special.tokens().is_empty());
        Ok(match policy {
            SpecialPolicy::Token => Policy { finder, allowed: None },
            SpecialPolicy::Text => Policy { finder: None, allowed: None },
            SpecialPolicy::Error => Policy { finder, allowed: Some(vec![false; special.tokens().len()]) },
            SpecialPolicy::Allowed(names) => {
                let mut allowed = vec![false; special.tokens().len()];
                for name in names {
                    let Some(index) = special.place(name) else {
                        let reason = "is no special token of this tokenizer, so it can't be allowed".to_owned();
                        return Err(Error::SpecialToken { token: name.clone(), reason });
                    };
                    allowed[index] = true;
                }
                Policy { finder, allowed: Some(allowed) }
            }
        })
    }

    /// Encodes a whole text under a resolved policy.
    pub(crate) fn encode_with(&self, text: &[u8], policy: &Policy<'_>, out: &mut dyn Ids, job: &Job) -> Result<()> {
        out.expect(text.len())?;
        self.with_words(text.len(), out, job, |words| self.whole(text, policy, words))
    }

    /// What encoding needs, made at the first call. Of threads that come at the same time each makes it, and the first one's
    /// is kept: so none waits for another, which in the child of a fork would never be done.
    fn encoder(&self) -> Result<&Encoder> {
        if let Some(encoder) = self.0.encoder.get() {
            return Ok(encoder);
        }
        let made = Encoder::new(&self.0.vocabulary)?;
        Ok(self.0.encoder.get_or_init(|| made))
    }

    /// Encodes a whole text.
    pub(crate) fn whole(&self, text: &[u8], policy: &Policy<'_>, words: &mut Words<'_>) -> Result<()> {
        let mut at = 0;
        if let Some(finder) = policy.finder() {
            while let Some((index, start, end)) = finder.find(text, at) {
                if !policy.allows(index) {
                    return Err(self.refused(index, start as u64, characters(&text[..start])));
                }
                self.plain(&text[at..start], words)?;
                self.push_special(index, words)?;
                at = end;
            }
        }
        self.plain(&text[at..], words)
    }

    /// Lends what encoding so many bytes needs, with a cache that nobody else uses.
    pub(crate) fn with_words<R>(
        &self,
        bytes: usize,
        out: &mut dyn Ids,
        job: &Job,
        f: impl FnOnce(&mut Words<'_>) -> Result<R>,
    ) -> Result<R> {
        let (encoder, vocabulary) = (self.encoder()?, &self.0.vocabulary);
        encoder.caches.with(bytes, |cache| f(&mut Words::new(encoder, vocabulary, cache.parts(), out, job)))
    }

    /// The error of special text that no policy allows.
    pub(crate) fn refused(&self, index: usize, byte_offset: u64, char_offset: u64) -> Error {
        Error::DisallowedSpecial { token: self.0.special.tokens()[index].clone(), byte_offset, char_offset }
    }

    /// Appends the id of a special token.
    pub(crate) fn push_special(&self, index: usize, words: &mut Words<'_>) -> Result<()> {
        words.id(self.0.vocabulary.special()[index].1)
    }

    /// Encodes text that holds no special token and ends where it ends.
    pub(crate) fn plain(&self, bytes: &[u8], words: &mut Words<'_>) -> Result<()> {
        if let Ok(text) = from_utf8(bytes) {
            return self.text(text, words);
        }
        let mut broken: Vec<u8> = Vec::new();
        for chunk in bytes.utf8_chunks() {
            if !chunk.valid().is_empty() {
                word_if_any(&mut broken, words)?;
                self.text(chunk.valid(), words)?;
            }
            reserve(&mut broken, chunk.invalid().len(), "bytes that are not UTF-8")?;
            broken.extend_from_slice(chunk.invalid());
        }
        word_if_any(&mut broken, words)
    }

    fn text(&self, text: &str, words: &mut Words<'_>) -> Result<()> {
        self.0.pattern.for_each_spans(text, words.job(), |start, ends| words.add(text.as_bytes(), start, ends))?;
        words.end(text.as_bytes())
    }

    /// Encodes those pre-tokens of a text that no continuation could change; returns how many bytes they take.
    pub(crate) fn settled(&self, text: &str, words: &mut Words<'_>) -> Result<usize> {
        let pattern = &self.0.pattern;
        // Up to a place where it can be cut all is settled, and need not be looked at word by word.
        let cut = pattern.last_split(text, text.len().saturating_sub(1));
        self.text(&text[..cut], words)?;
        let (rest, mut start) = (&text[cut..], 0);
        let taken = pattern.for_each_settled(rest, |word| {
            words.add(rest.as_bytes(), start, &[start + word.len()]);
            start += word.len();
        })?;
        words.end(rest.as_bytes()).map(|()| cut + taken)
    }
}

fn word_if_any(word: &mut Vec<u8>, words: &mut Words<'_>) -> Result<()> {
    if !word.is_empty() {
        words.word(word)?;
        word.clear();
    }
    Ok(())
}
