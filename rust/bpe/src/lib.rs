//! Exact byte-level BPE: training, encoding, decoding. This crate has never heard of Python.

mod error;
mod job;
pub mod pretokenize;
pub mod special;

pub use error::{Error, Result};
pub use job::{Job, Progress, Stage};
