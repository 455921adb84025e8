//! Exact byte-level BPE: training, encoding, decoding. This crate has never heard of Python.

#![warn(clippy::unwrap_used)]

mod aside;
mod available;
pub mod clock;
pub mod count;
pub mod decode;
pub mod encode;
mod error;
pub mod formats;
pub mod input;
mod job;
mod key;
pub mod memory;
mod ordered;
pub mod pretokenize;
pub mod reference;
pub mod special;
mod threads;
pub mod tokenizer;
pub mod tokens;
pub mod train;
pub mod truncate;
mod utf8;
pub mod vocab;

pub use available::default_max_memory;
pub use error::{Error, Result, TEMPORARY_ADVICE, advice};
pub use job::{Job, Progress, Stage};
pub use tokenizer::{SpecialPolicy, Tokenizer};
pub use vocab::Vocabulary;
