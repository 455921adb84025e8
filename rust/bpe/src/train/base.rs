//! The merges of a tokenizer that training goes on from.

use super::Pair;
use crate::encode::{Merger, PairTable};
use crate::{Error, Job, Result, Vocabulary};

/// A tokenizer's merges in the trainer's own numbers: bytes are 0 to 255, merge i is 256 + i.
pub struct Base {
    merges: Vec<Pair>,
    merger: Merger,
}

impl Base {
    /// [`Error::Vocabulary`] where the merges don't say alone what a word becomes.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self> {
        if vocabulary.whole_tokens() {
            let reason = "it keeps whole words that its merges don't make, so training can't go on from it";
            return Err(Error::Vocabulary(reason.to_owned()));
        }
        let mut symbols = vec![u32::MAX; vocabulary.size()];
        for byte in 0..=255u8 {
            let missing = || Error::Vocabulary(format!("the byte 0x{byte:02x} has no token"));
            symbols[vocabulary.ordinary_id(&[byte]).ok_or_else(missing)? as usize] = u32::from(byte);
        }
        let mut pairs = PairTable::with_capacity(vocabulary.merges().len())?;
        let mut merges = Vec::with_capacity(vocabulary.merges().len());
        for (rank, merge) in (0..).zip(vocabulary.merges()) {
            let (pair, new) = ((symbols[merge.left as usize], symbols[merge.right as usize]), 256 + rank);
            if pair.0 == u32::MAX || pair.1 == u32::MAX {
                return Err(Error::Vocabulary(format!("merge {rank} uses a token that no earlier merge makes")));
            }
            if symbols[merge.new as usize] != u32::MAX {
                return Err(Error::Vocabulary(format!(
                    "merge {rank} makes a token that an earlier merge makes, so training can't go on from it"
                )));
            }
            symbols[merge.new as usize] = new;
            pairs.insert(pair.0, pair.1, rank, new);
            merges.push(pair);
        }
        let mut bytes = [0; 256];
        bytes.iter_mut().zip(0..).for_each(|(symbol, byte)| *symbol = byte);
        Ok(Self { merges, merger: Merger { bytes, pairs } })
    }

    pub fn merges(&self) -> &[Pair] {
        &self.merges
    }

    /// Appends what a word has become by the merges.
    pub fn symbols_of(&self, word: &[u8], out: &mut Vec<u32>, job: &Job) -> Result<()> {
        self.merger.merge(word, out, job)
    }
}
