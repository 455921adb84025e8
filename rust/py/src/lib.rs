//! The extension module `cs336._bpe`: extract, release the GIL, call, convert.

mod arguments;
mod convert;
mod corpus;
mod counts;
mod errors;
mod formats;
mod job;
mod measure;
mod tokenizer;
mod tokens;
mod train;

use pyo3::prelude::*;

/// What threads share never changes or is behind a lock, so that an interpreter without the GIL can go on without it.
#[pymodule(gil_used = false)]
mod _bpe {
    use super::*;

    #[pymodule_export]
    use super::corpus::input_format;
    #[pymodule_export]
    use super::counts::{count_corpus, default_max_memory, merge_counts, read_counts, train_counts};
    #[pymodule_export]
    use super::formats::{
        encode_file, from_ranks, load_gpt2, load_huggingface, load_native, load_tiktoken, ranks_of, save_gpt2,
        save_huggingface, save_native, save_tiktoken,
    };
    #[pymodule_export]
    use super::measure::{character_spans, truncate};
    #[pymodule_export]
    use super::tokenizer::{DecodeStream, StreamEncoder, Tokenizer, from_parts, pattern_regex};
    #[pymodule_export]
    use super::tokens::{check_token_sources, encode_inputs, token_files_left, token_shard};
    #[pymodule_export]
    use super::train::{memory, train_corpus};

    /// One version for everything.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
