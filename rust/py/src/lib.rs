//! The extension module `cs336._bpe`: extract, release the GIL, call, convert.

mod convert;
mod errors;
mod job;
mod tokenizer;
mod train;

use pyo3::prelude::*;

#[pymodule]
mod _bpe {
    use super::*;

    #[pymodule_export]
    use super::tokenizer::{DecodeStream, StreamEncoder, Tokenizer, from_parts, from_ranks, pattern_regex};
    #[pymodule_export]
    use super::train::{train_documents, train_files};

    /// One version for everything.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
