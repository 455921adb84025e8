//! Whether bytes are UTF-8, which every text is asked once or twice.

use std::str::Utf8Error;

/// What `std::str::from_utf8` gives, several times as fast where the text is not ASCII.
pub fn from_utf8(bytes: &[u8]) -> Result<&str, Utf8Error> {
    // The fast check does not say where the error is.
    simdutf8::basic::from_utf8(bytes).or_else(|_| std::str::from_utf8(bytes))
}
