//! Pre-tokens to ids: merge the adjacent pair of lowest rank, the leftmost first, until none is left.

mod file;
mod merge;
mod pairs;
mod stream;
mod whole;

pub use file::{Dtype, EncodeFileOptions, EncodeFileStats, sidecar};
pub(crate) use merge::Merger;
pub(crate) use pairs::PairTable;
pub use stream::StreamEncoder;

use crate::vocab::Vocabulary;
use crate::{Error, Job, Result};
use whole::Derivations;

/// What encoding needs of a vocabulary.
#[derive(Debug)]
pub(crate) struct Encoder {
    merger: Merger,
    /// By id, whether a pre-token that is spelled like the token becomes it.
    whole: Vec<bool>,
    longest: usize,
}

/// Makes room for `more` ids, or says that there is none.
pub(crate) fn reserve<T>(out: &mut Vec<T>, more: usize, what: &'static str) -> Result<()> {
    let needed = out.len().saturating_add(more).saturating_mul(size_of::<T>()) as u64;
    out.try_reserve(more).map_err(|_| Error::OutOfMemory { what, needed })
}

impl Encoder {
    pub fn new(vocabulary: &Vocabulary) -> Result<Self> {
        let mut bytes = [0; 256];
        for byte in 0..=255u8 {
            let missing = || Error::Vocabulary(format!("the byte 0x{byte:02x} has no token"));
            bytes[usize::from(byte)] = vocabulary.ordinary_id(&[byte]).ok_or_else(missing)?;
        }
        let mut pairs = PairTable::with_capacity(vocabulary.merges().len())?;
        for (rank, merge) in (0..).zip(vocabulary.merges()) {
            pairs.insert(merge.left, merge.right, rank, merge.new);
        }
        let mut encoder = Self { merger: Merger { bytes, pairs }, whole: Vec::new(), longest: 0 };
        encoder.whole = match Derivations::new(vocabulary) {
            _ if vocabulary.whole_tokens() => {
                (0..vocabulary.size() as u32).map(|id| vocabulary.is_ordinary(id)).collect()
            }
            Some(derivations) => derivations.whole(vocabulary, &encoder.merger.pairs),
            None => encoder.merged_whole(vocabulary)?,
        };
        let whole = vocabulary.tokens().filter(|(id, _)| encoder.whole[*id as usize]);
        encoder.longest = whole.map(|(_, token)| token.len()).max().unwrap_or(0);
        Ok(encoder)
    }

    /// Finds by merging which tokens their own bytes merge into.
    fn merged_whole(&self, vocabulary: &Vocabulary) -> Result<Vec<bool>> {
        let mut whole = vec![false; vocabulary.size()];
        let mut ids = Vec::new();
        for (id, token) in vocabulary.tokens().filter(|(id, _)| vocabulary.is_ordinary(*id)) {
            ids.clear();
            self.merger.merge(token, &mut ids, &Job::default())?;
            whole[id as usize] = ids == [id];
        }
        Ok(whole)
    }

    /// Appends the ids of one pre-token.
    #[inline]
    pub fn word(&self, vocabulary: &Vocabulary, word: &[u8], out: &mut Vec<u32>, job: &Job) -> Result<()> {
        if word.len() <= self.longest
            && let Some(id) = vocabulary.ordinary_id(word)
            && self.whole[id as usize]
        {
            reserve(out, 1, "the token ids")?;
            out.push(id);
            return Ok(());
        }
        self.merger.merge(word, out, job)
    }
}
