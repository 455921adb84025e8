//! Exact byte-level BPE: training, encoding, decoding. This crate has never heard of Python.

pub mod count;
mod error;
mod job;
pub mod pretokenize;
pub mod reference;
pub mod special;
pub mod train;

pub use error::{Error, Result};
pub use job::{Job, Progress, Stage};
