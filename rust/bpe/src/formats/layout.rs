//! How our JSON files look: indented, with a token and a merge a line.

use std::io::{Result, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::Error;

/// Arrays from this depth on stand on one line.
const SHORT: usize = 3;

/// JSON text with a line end.
pub fn to_text(value: &impl Serialize) -> crate::Result<Vec<u8>> {
    let mut text = Vec::new();
    let layout = Layout { pretty: PrettyFormatter::new(), depth: 0, short: 0 };
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, layout));
    written.map_err(|error| Error::Invalid(format!("cannot write JSON: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

struct Layout {
    pretty: PrettyFormatter<'static>,
    depth: usize,
    /// How many arrays are open that stand on one line.
    short: usize,
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.depth += 1;
        if self.short > 0 || self.depth > SHORT {
            self.short += 1;
            return CompactFormatter.begin_array(writer);
        }
        self.pretty.begin_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        match self.short {
            0 => self.pretty.begin_array_value(writer, first),
            _ if first => Ok(()),
            _ => writer.write_all(b", "),
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        if self.short > 0 { Ok(()) } else { self.pretty.end_array_value(writer) }
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.depth -= 1;
        if self.short > 0 {
            self.short -= 1;
            return CompactFormatter.end_array(writer);
        }
        self.pretty.end_array(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.depth += 1;
        self.pretty.begin_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.pretty.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.pretty.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.pretty.end_object_value(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.depth -= 1;
        self.pretty.end_object(writer)
    }
}
