//! Pre-tokens to ids: merge the adjacent pair of lowest rank, the leftmost first, until none is left.

mod batch;
mod cache;
mod derivations;
mod file;
mod ids;
mod merge;
mod pairs;
mod search;
mod stream;
mod trie;
mod words;

pub use batch::BatchIds;
pub(crate) use cache::Caches;
pub use file::{EncodeFileOptions, EncodeFileStats};
pub use ids::Ids;
pub(crate) use merge::Merger;
pub(crate) use pairs::PairTable;
pub use stream::StreamEncoder;
pub(crate) use words::Words;

use crate::vocab::Vocabulary;
use crate::{Error, Job, Result};
use derivations::Derivations;
use search::{Memo, Search};

/// What encoding needs of a vocabulary.
#[derive(Debug)]
pub(crate) struct Encoder {
    merger: Merger,
    /// By id, whether a pre-token that is spelled like the token becomes it. Empty where the search alone finds that out.
    whole: Vec<bool>,
    longest: usize,
    /// None where tokens can be made in several ways, as in lists of merges that no training made.
    search: Option<Search>,
    pub caches: Caches,
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
        let (merger, caches) = (Merger { bytes, pairs }, Caches::default());
        let mut encoder = Self { merger, whole: Vec::new(), longest: 0, search: None, caches };
        let mut searched = false;
        if let Some(derivations) = Derivations::new(vocabulary)? {
            let whole = derivations.whole(vocabulary, &encoder.merger.pairs);
            encoder.search = Search::new(vocabulary, derivations, &whole)?;
            let missing = |(id, _)| vocabulary.is_ordinary(id) && !whole[id as usize];
            searched = encoder.search.is_some() && !vocabulary.tokens().any(missing);
        }
        if searched {
            // The search alone finds every token.
        } else if vocabulary.whole_tokens() {
            encoder.whole = (0..vocabulary.size() as u32).map(|id| vocabulary.is_ordinary(id)).collect();
        } else if encoder.search.is_none() {
            encoder.whole = encoder.merged_whole(vocabulary)?;
        }
        let whole = vocabulary.tokens().filter(|(id, _)| encoder.whole.get(*id as usize) == Some(&true));
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
    pub fn word(
        &self,
        vocabulary: &Vocabulary,
        memo: &mut Memo,
        word: &[u8],
        out: &mut Vec<u32>,
        job: &Job,
    ) -> Result<()> {
        if word.len() <= self.longest
            && let Some(id) = vocabulary.ordinary_id(word)
            && self.whole[id as usize]
        {
            return out.add(&[id]);
        }
        if let Some(search) = &self.search
            && search.encode(&self.merger.pairs, memo, word, out, job)?
        {
            return Ok(());
        }
        self.merger.merge(word, out, job)
    }
}
