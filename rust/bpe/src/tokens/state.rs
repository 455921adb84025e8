//! What a run that was stopped has to know to go on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::with_suffix;
use super::source::Position;
use crate::aside::folder_of;
use crate::{Error, Result};

/// A stretch of an input in a token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The input's name, without its folders.
    pub name: String,
    /// Where in its text the stretch begins.
    pub begin: u64,
    /// How many bytes of text it holds.
    pub bytes: u64,
    /// The hash of the input's text from its beginning to the end of the stretch.
    pub sha256: String,
}

/// A token file under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub number: u64,
    /// Ids written to it.
    pub tokens: u64,
    /// Documents that end in it.
    pub documents: u64,
    /// Where it begins in the input under way.
    pub begin: u64,
    /// What it holds of the inputs before that one.
    pub source: Vec<Stretch>,
}

/// A token file that is written, but may not have its name yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its number.
    pub number: u64,
    /// Its sidecar.
    pub sidecar: String,
}

/// Sums over all token files of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Token ids.
    pub tokens: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Stretches between special tokens, or documents of the inputs, that hold more than white space.
    pub documents: u64,
    /// Separators that were put in.
    pub separators: u64,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always 1.
    pub version: u32,
    /// What else than the inputs decides about the ids.
    pub job: serde_json::Value,
    /// The hash of names, sizes and times of the inputs before the one under way.
    pub inputs: String,
    /// Up to where all is written.
    pub position: Position,
    /// Whether the stretch of text at the place holds more than white space.
    pub filled: bool,
    /// Whether the text before the place ends with a separator, or with one that has white space behind it.
    pub separated: bool,
    pub shard: Shard,
    /// Those that are whole, but may not have their names yet.
    pub finished: Vec<Finished>,
    pub totals: Totals,
}

/// The name of the format.
pub const FORMAT: &str = "cs336-tokens-under-way";

/// Reads the state that a run left, if any.
pub fn read(path: &Path) -> Result<Option<State>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::io("read", path))?,
    };
    let bad = |reason: String| Error::Record { path: path.to_path_buf(), reason };
    let state: State = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if state.format != FORMAT || state.version != 1 {
        return Err(bad(format!("it is of format {:?}, version {}", state.format, state.version)));
    }
    Ok(Some(state))
}

/// Writes a whole file. Only one process does so at a time, so what it writes aside needs no name of its own.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let aside = with_suffix(path, ".new");
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(Error::io("write", path))?;
    rename(&aside, path)
}

/// Gives a file its name, for good.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("write", to))?;
    // So that the disk knows of the names in the order in which they were given. Windows has no such call.
    #[cfg(unix)]
    File::open(folder_of(to)).and_then(|folder| folder.sync_all()).map_err(Error::io("write", to))?;
    Ok(())
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
