//! The extension module `cs336._bpe`: extract, release the GIL, call, convert.

mod convert;
mod errors;
mod formats;
mod job;
mod tokenizer;
mod train;

use pyo3::prelude::*;

#[pymodule]
mod _bpe {
    use super::*;

    #[pymodule_export]
    use super::formats::{
        encode_file, load_gpt2, load_huggingface, load_native, load_tiktoken, save_gpt2, save_huggingface, save_native,
        save_tiktoken,
    };
    #[pymodule_export]
    use super::tokenizer::{DecodeStream, StreamEncoder, Tokenizer, from_parts, pattern_regex};
    #[pymodule_export]
    use super::train::{input_format, memory, train_corpus};

    /// One version for everything.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
