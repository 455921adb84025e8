//! A part of an input as ids, and what has to be known of it when it is written.

use super::Separator;
use super::source::Part;
use crate::special::Segment;
use crate::tokenizer::{Policy, Tokenizer};
use crate::{Error, Job, Result};

/// A part that has been encoded.
#[derive(Default)]
pub struct Encoded {
    /// The text that the ids stand for, but for the separators that were put in.
    pub text: String,
    pub ids: Vec<u32>,
    /// Where in `ids` separators were put in.
    pub added: Vec<usize>,
    pub stretches: Stretches,
    /// Of a text, how its ids end, and whether it ends with them.
    pub tail: Tail,
    pub closes: bool,
    /// How many documents of an input that is made of them it holds.
    pub rows: u64,
    /// Whether the input ends here.
    pub ends: bool,
    /// What stopped it: special text that is not allowed, in the document after those.
    pub refused: Option<Error>,
}

/// What stands at the end of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// Nothing but white space, so that it is what stood there before.
    #[default]
    Blank,
    /// A separator, or one with white space behind it.
    Separated,
    /// Anything else.
    Open,
}

/// Where stretches of text end that hold more than white space: at special tokens, and with documents.
#[derive(Default)]
pub struct Stretches {
    /// The end of the first one, which may have begun in an earlier part, and whether there is any text of it here.
    first: Option<(usize, bool)>,
    others: Vec<usize>,
    filled: bool,
}

impl Stretches {
    fn text(&mut self, text: &[u8]) {
        let blank = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.trim().is_empty());
        self.filled = self.filled || text.iter().any(u8::is_ascii_graphic) || !blank(text);
    }

    fn end(&mut self, at: usize) {
        let filled = std::mem::take(&mut self.filled);
        match self.first {
            None => self.first = Some((at, filled)),
            Some(_) if filled => self.others.push(at),
            Some(_) => {}
        }
    }

    /// The ends, given whether the stretch before this part held anything; that is then said of the last one.
    pub fn ends(&self, filled: &mut bool) -> Vec<usize> {
        let Some((first, here)) = self.first else {
            *filled |= self.filled;
            return Vec::new();
        };
        let first = (here || *filled).then_some(first);
        *filled = self.filled;
        first.into_iter().chain(self.others.iter().copied()).collect()
    }
}

impl Encoded {
    /// Puts a separator in at the end.
    pub fn separate(&mut self, separator: Option<&Separator>) {
        if let Some(separator) = separator {
            self.added.push(self.ids.len());
            self.ids.push(separator.id);
        }
    }
}

/// How parts are encoded.
pub struct PartEncoder<'a> {
    pub tokenizer: &'a Tokenizer,
    pub policy: Policy<'a>,
    pub separator: Option<&'a Separator>,
    pub text_column: &'a str,
    pub job: &'a Job,
}

impl PartEncoder<'_> {
    /// The ids of a part.
    pub fn encode(&self, part: Part<'_>) -> Result<Encoded> {
        let mut out = Encoded::default();
        let done = match part {
            Part::Text(text, last) => self.text(&text, last, &mut out),
            Part::Lines(lines) => lines.for_each_document(self.text_column, |text| self.row(text, &mut out)),
            Part::Documents(documents) => documents.iter().try_for_each(|text| self.row(text, &mut out)),
            Part::End => {
                out.ends = true;
                Ok(())
            }
        };
        match done {
            Err(error @ Error::DisallowedSpecial { .. }) => out.refused = Some(error),
            other => other?,
        }
        Ok(out)
    }

    /// Some of a text. What follows its end depends on the parts before.
    fn text(&self, text: &str, last: bool, out: &mut Encoded) -> Result<()> {
        self.document(text, last, out)?;
        (out.tail, out.closes) = (self.tail(text, &out.ids), last);
        Ok(())
    }

    fn row(&self, text: &str, out: &mut Encoded) -> Result<()> {
        let first = out.ids.len();
        self.document(text, true, out)?;
        out.rows += 1;
        // An empty document has no end to be marked.
        if out.ids.len() > first && self.tail(text, &out.ids[first..]) != Tail::Separated {
            out.separate(self.separator);
        }
        Ok(())
    }

    /// How a text ends, given its ids. White space counts by its bytes, for a token may hold part of a character.
    fn tail(&self, text: &str, ids: &[u32]) -> Tail {
        let Some(separator) = self.separator else { return Tail::Open };
        let mut blank = text.len() - text.trim_end().len();
        for &id in ids.iter().rev() {
            if id == separator.id {
                return Tail::Separated;
            }
            let length = self.tokenizer.id_to_token(id).map_or(0, <[u8]>::len);
            if length > blank {
                return Tail::Open;
            }
            blank -= length;
        }
        Tail::Blank
    }

    /// Adds the text of a document, or some of it.
    fn document(&self, text: &str, ends: bool, out: &mut Encoded) -> Result<()> {
        let first = out.ids.len();
        let encoded = self.tokenizer.encode_with(text.as_bytes(), &self.policy, &mut out.ids, self.job);
        encoded.inspect_err(|_| out.ids.truncate(first))?;
        self.stretches(text, out.text.len(), &mut out.stretches);
        out.text.push_str(text);
        if ends {
            out.stretches.end(out.text.len());
        }
        Ok(())
    }

    fn stretches(&self, text: &str, start: usize, stretches: &mut Stretches) {
        let Some(finder) = self.policy.finder() else { return stretches.text(text.as_bytes()) };
        let mut at = start;
        for segment in finder.segments(text.as_bytes()) {
            match segment {
                Segment::Text(text) => {
                    stretches.text(text);
                    at += text.len();
                }
                Segment::Special(index) => {
                    stretches.end(at);
                    at += finder.tokens()[index].len();
                }
            }
        }
    }
}
