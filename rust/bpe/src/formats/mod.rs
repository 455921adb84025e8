//! Files of tokenizers and of what they make, one module a format: read and write.

mod bytes;
pub mod counts;
pub mod gpt2;
pub mod huggingface;
mod layout;
pub mod native;
mod oniguruma;
mod spelled;
pub mod tiktoken;
pub mod token_file;

use std::path::Path;

use crate::{Error, Result};

/// Reads a file that must be UTF-8 text.
fn read_text(path: &Path, format: &'static str) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        bad(path, format, format!("it is not UTF-8 text (at byte {offset})"))
    })
}

fn bad(path: &Path, format: &'static str, reason: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), format, reason: reason.into() }
}

/// What is wrong with a tokenizer that stands in a file is the file's fault.
fn in_file(path: &Path, format: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Vocabulary(reason) => bad(path, format, reason),
        Error::Pattern { .. } | Error::SpecialToken { .. } => bad(path, format, error.to_string()),
        other => other,
    }
}
