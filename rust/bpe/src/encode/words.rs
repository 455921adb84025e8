//! The words of a text to ids, many at a time: before the first is looked up, the memory for all of them is on its way.

use super::cache::{Cache, INLINE_IDS, LONGEST};
use super::{Encoder, Ids};
use crate::key::{Key, SEED};
use crate::pretokenize::SPANS;
use crate::vocab::Vocabulary;
use crate::{Job, Result};

/// How many words are looked up together at most: as many as it takes that the memory for the first has come when the
/// last has been asked for.
const BATCH: usize = 2 * SPANS;

/// Room for ids: those of one long word, too.
const IDS: usize = INLINE_IDS * BATCH + LONGEST;

/// A word on its way to its ids.
#[derive(Clone, Copy, Debug, Default)]
struct Lookup {
    key: Key,
    hash: u64,
    start: usize,
}

/// Words that are looked up, and ids that were found. Lives as long as the cache beside it, for filling it with zeros takes
/// time.
#[derive(Debug)]
pub struct Batch {
    words: [Lookup; BATCH],
    ids: [u32; IDS],
}

impl Default for Batch {
    fn default() -> Self {
        Self { words: [Lookup::default(); BATCH], ids: [0; IDS] }
    }
}

/// What encoding needs besides the text.
pub struct Words<'a> {
    encoder: &'a Encoder,
    vocabulary: &'a Vocabulary,
    cache: &'a mut Cache,
    batch: &'a mut Batch,
    seed: [u64; 2],
    /// How many words wait.
    waiting: usize,
    out: &'a mut dyn Ids,
    job: &'a Job,
    outcome: Result<()>,
}

impl<'a> Words<'a> {
    pub fn new(
        encoder: &'a Encoder,
        vocabulary: &'a Vocabulary,
        (cache, batch): (&'a mut Cache, &'a mut Batch),
        out: &'a mut dyn Ids,
        job: &'a Job,
    ) -> Self {
        Self { encoder, vocabulary, cache, batch, seed: *SEED, waiting: 0, out, job, outcome: Ok(()) }
    }

    /// Takes pre-tokens that follow one another, up to 64: the start of the first, and all their ends.
    #[inline]
    pub fn add(&mut self, text: &[u8], mut start: usize, ends: &[usize]) {
        let lines = self.cache.lines();
        let room = &mut self.batch.words[self.waiting..];
        for (word, &end) in room.iter_mut().zip(ends) {
            let (key, hash) = Key::of(text, start, end, self.seed);
            lines.prefetch(hash);
            *word = Lookup { key, hash, start };
            start = end;
        }
        self.waiting += ends.len();
        if self.waiting > BATCH - SPANS {
            self.flush(text);
        }
    }

    /// Ends a text: writes the ids of all its pre-tokens, unless one failed before.
    pub fn end(&mut self, text: &[u8]) -> Result<()> {
        self.flush(text);
        std::mem::replace(&mut self.outcome, Ok(()))
    }

    /// What asks to stop.
    pub fn job(&self) -> &'a Job {
        self.job
    }

    /// How many ids were written, but for those of words that wait.
    pub fn count(&self) -> usize {
        self.out.count()
    }

    /// Writes an id between texts.
    pub fn id(&mut self, id: u32) -> Result<()> {
        self.out.add(&[id])
    }

    fn flush(&mut self, text: &[u8]) {
        if self.outcome.is_ok() {
            self.outcome = self.look_up(text);
        }
        self.waiting = 0;
    }

    fn look_up(&mut self, text: &[u8]) -> Result<()> {
        self.job.check()?;
        let (mut at, mut filled, count) = (0, 0, self.waiting.min(BATCH));
        self.cache.looked_up(count);
        while at < count {
            // Until the line of one does not tell.
            let (lines, Batch { words, ids }) = (self.cache.lines(), &mut *self.batch);
            let other = words[at..count].iter().position(|word| {
                let Some((few, count)) = lines.get(word.key, word.hash) else { return true };
                if let Some(room) = ids.get_mut(filled..filled + INLINE_IDS) {
                    room.copy_from_slice(&few);
                }
                filled += count;
                count == 0
            });
            let Some(passed) = other else { break };
            let Lookup { key, hash, start } = words[at + passed];
            at += passed + 1;
            if filled > INLINE_IDS * at {
                // The ids of long words took the room of those that follow.
                self.out.add(&ids[..filled])?;
                filled = 0;
            }
            let word = &text[start..start + key.length()];
            match self.cache.other(key, hash, word, &mut ids[filled..]) {
                Some(count) => filled += count,
                None => {
                    self.out.add(&ids[..filled])?;
                    filled = 0;
                    self.miss(key, hash, word)?;
                }
            }
        }
        self.out.add(&self.batch.ids[..filled])
    }

    /// Writes the ids of a word that the cache does not hold.
    #[inline(never)]
    fn miss(&mut self, key: Key, hash: u64, word: &[u8]) -> Result<()> {
        /// Room that is kept from word to word.
        const KEPT: usize = 1 << 12;
        let mut ids = std::mem::take(&mut self.cache.word);
        ids.clear();
        self.encoder.word(self.vocabulary, &mut self.cache.memo, word, &mut ids, self.job)?;
        self.cache.remember(key, hash, word, &ids)?;
        self.out.add(&ids)?;
        if ids.capacity() <= KEPT {
            self.cache.word = ids;
        }
        Ok(())
    }

    /// Writes the ids of one pre-token that stands by itself.
    pub fn word(&mut self, word: &[u8]) -> Result<()> {
        self.add(word, 0, &[word.len()]);
        self.end(word)
    }
}
