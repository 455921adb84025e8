//! Documents that come from elsewhere than a file that this crate reads.

use crate::{Error, Result};

/// Texts one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
    /// How much they stand for in the progress of counting.
    pub progress: u64,
}

impl Documents {
    /// Bytes with the places where documents end in them, the last of which is their length; `origin` names them in
    /// the error that they get where they are not UTF-8.
    pub fn new(bytes: Vec<u8>, ends: Vec<usize>, origin: &str) -> Result<Self> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::NotUtf8 { origin: origin.to_owned(), offset: at as u64, byte: error.as_bytes()[at] }
        })?;
        let whole = ends.last().copied().unwrap_or(0) == text.len();
        if !whole || !ends.is_sorted() || ends.iter().any(|&end| !text.is_char_boundary(end)) {
            return Err(Error::Invalid(format!("{origin}: the borders of the documents are not those of their text")));
        }
        Ok(Self { text, ends, progress: 0 })
    }

    /// Adds a document.
    pub fn push(&mut self, document: &str) {
        self.text.push_str(document);
        self.ends.push(self.text.len());
    }

    /// Adds all of another's documents, but not its progress.
    pub fn append(&mut self, other: &Self) {
        let base = self.text.len();
        self.text.push_str(&other.text);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    /// The length of all texts together, in bytes.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The documents.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }
}
