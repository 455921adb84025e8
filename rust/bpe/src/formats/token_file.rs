//! Token files: a `.npy` array of ids, and beside it a JSON sidecar that says what they are.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Length of the header of a token file; any number of ids fits in.
pub(crate) const HEADER: usize = 128;

/// The integer type of a token file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 2 bytes, ids below 65,536.
    Uint16,
    /// 4 bytes.
    Uint32,
}

impl Dtype {
    /// The type asked for, or else the smallest that holds every id below `vocab_size`.
    pub(crate) fn choose(asked: Option<Self>, vocab_size: usize) -> Result<Self> {
        let fits = vocab_size <= 1 << 16;
        if asked == Some(Self::Uint16) && !fits {
            return Err(Error::Invalid(format!(
                "uint16 holds ids below 65536, the vocabulary has {vocab_size}; use uint32"
            )));
        }
        Ok(asked.unwrap_or(if fits { Self::Uint16 } else { Self::Uint32 }))
    }

    /// NumPy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
        }
    }

    /// Bytes of an id.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Uint16 => 2,
            Self::Uint32 => 4,
        }
    }
}

/// The header of a `.npy` file, version 1.0.
pub(crate) fn header(dtype: Dtype, tokens: u64) -> Vec<u8> {
    let descr = format!("<u{}", dtype.width());
    let fields = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({tokens},), }}");
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&(HEADER as u16 - 10).to_le_bytes());
    header.extend_from_slice(fields.as_bytes());
    header.resize(HEADER - 1, b' ');
    header.push(b'\n');
    header
}

/// Where the sidecar of a token file stands: its name with `.json` added.
pub fn sidecar(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// What every sidecar says. `source` lists the inputs.
pub(crate) fn describe(tokenizer: &Tokenizer, dtype: Dtype, tokens: u64, documents: u64, source: Value) -> Value {
    let special: serde_json::Map<_, _> =
        tokenizer.special_tokens().iter().map(|(token, id)| (token.clone(), json!(id))).collect();
    json!({
        "format": "cs336-tokens",
        "version": 1,
        "dtype": dtype.name(),
        "tokens": tokens,
        "vocab_size": tokenizer.vocab_size(),
        "vocabulary_hash": tokenizer.hash_hex(),
        "tokenizer": {
            "pattern": tokenizer.pattern().spec(),
            "merges": tokenizer.vocabulary().merges().len(),
        },
        "documents": documents,
        "source": source,
        "special_tokens": special,
    })
}
