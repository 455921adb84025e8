//! Any number of inputs to token files: in order, in bounded memory, on several threads. A run that is stopped at any
//! moment goes on where it was: what it writes, and what it has to know for that, stand beside the target, and a file
//! gets its name when it is whole.

mod names;
mod part;
mod source;
mod state;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::count::Counter;
use crate::formats::token_file::Dtype;
use crate::input::{self, InputOptions};
use crate::ordered::{ordered, worth_threads};
use crate::special::SpecialTokens;
use crate::tokenizer::{SpecialPolicy, Tokenizer};
use crate::{Error, Job, Result, Stage};
use part::PartEncoder;
use source::Sources;
use writer::Writer;

pub use names::Names;
pub use source::{DocumentSource, NoDocuments};
pub use state::Totals;

/// What is put between documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separator {
    /// A special token.
    pub token: String,
    /// Its id.
    pub id: u32,
}

/// How to write token files.
#[derive(Clone, Debug)]
pub struct TokenFilesOptions {
    /// How inputs are read.
    pub input: InputOptions,
    /// What special text means.
    pub policy: SpecialPolicy,
    /// What follows each document that does not end with it already.
    pub separator: Option<Separator>,
    /// The integer type; `None`: the smallest that holds every id.
    pub dtype: Option<Dtype>,
    /// How many ids a file gets; `None`: all go to one.
    pub shard_tokens: Option<u64>,
    /// How many threads encode.
    pub threads: usize,
    /// Whether to forget what an earlier run left.
    pub restart: bool,
    /// How often it is put on record how far the run is.
    pub record_every: Duration,
}

/// What a run wrote, in all the turns that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFilesStats {
    /// Sums over all files.
    pub totals: Totals,
    /// The integer type.
    pub dtype: Dtype,
    /// The token files.
    pub files: Vec<PathBuf>,
    /// How many ids an earlier turn had written.
    pub resumed_at: u64,
}

impl Tokenizer {
    /// The separator of this name; [`Error::SpecialToken`] if there is no such special token.
    pub fn separator(&self, token: &str) -> Result<Separator> {
        let found = self.special_tokens().iter().find(|(name, _)| name == token);
        let reason = "is no special token of this tokenizer, so it can't separate documents; name one that is, or none";
        let missing = || Error::SpecialToken { token: token.to_owned(), reason: reason.to_owned() };
        found.map(|(token, id)| Separator { token: token.clone(), id: *id }).ok_or_else(missing)
    }

    /// Encodes inputs one behind the other to a token file, or to several, each with its sidecar. `documents` reads the
    /// inputs that are Parquet.
    ///
    /// After an error the run can go on, unless it had just begun: called again with the same inputs and options, it does.
    pub fn encode_inputs<D: DocumentSource>(
        &self,
        paths: &[PathBuf],
        documents: D,
        target: &Path,
        options: &TokenFilesOptions,
        job: &Job,
    ) -> Result<TokenFilesStats> {
        let dtype = Dtype::choose(options.dtype, self.vocab_size())?;
        let total = input::total_size(paths.iter().map(PathBuf::as_path))?;
        job.begin(Stage::Encode, total.unwrap_or(0));
        let names = Names::new(target, usize::from(options.shard_tokens.is_some()))?;
        names.refuse(paths)?;
        let policy = self.policy(&options.policy)?;
        let none = SpecialTokens::new::<&str>(&[])?;
        let special = policy.finder().unwrap_or(&none);
        let counter = Counter { pattern: self.pattern(), special, threads: 1, job };
        let mut writer = Writer::new(self, options, paths, dtype, names, policy.may_refuse())?;
        let resumed_at = writer.state.totals.tokens;
        for path in &paths[..writer.state.position.source] {
            job.advance(input::size(path)?.unwrap_or(0));
        }
        let (mut sources, hash) = Sources::new(paths, &options.input, counter, documents, &writer.state.position)?;
        writer.set_hash(hash);
        let column = &options.input.text_column;
        let encoder =
            PartEncoder { tokenizer: self, policy, separator: options.separator.as_ref(), text_column: column, job };
        let threads = worth_threads(options.threads, total);
        let outcome = ordered(threads, || sources.next_part(), |part| encoder.encode(part), |part| writer.add(part));
        if let Err(error) = outcome {
            // What can be redone in a moment is not worth leaving files behind; but who stops a run wants to go on.
            let stopped = matches!(error, Error::Interrupted);
            let kept = writer.give_up(stopped);
            return Err(kept.err().filter(|_| stopped).unwrap_or(error));
        }
        let (totals, files) = writer.finish()?;
        Ok(TokenFilesStats { totals, dtype, files, resumed_at })
    }
}

fn hex(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
