//! The extension module `cs336._bpe`: extract, release the GIL, call, convert.

use pyo3::prelude::*;

#[pymodule]
mod _bpe {
    /// One version for everything.
    #[pymodule_export]
    const __VERSION__: &str = env!("CARGO_PKG_VERSION");
}
