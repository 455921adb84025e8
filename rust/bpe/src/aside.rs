//! Files written aside, synced, then renamed: under the final name stands the whole file or what stood there before.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file under way. Dropped before [`keep`](Self::keep), it leaves nothing.
pub(crate) struct Aside {
    file: NamedTempFile,
    target: PathBuf,
}

impl Aside {
    pub fn new(target: &Path) -> Result<Self> {
        if target.is_dir() {
            return Err(Error::io("write", target)(io::ErrorKind::IsADirectory.into()));
        }
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // As any new file it gets the mode that the umask leaves, not the private one of a temporary file.
        let create = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).open(path);
        // What the system says comes back without its number, so that is kept here.
        let mut number = None;
        let made = tempfile::Builder::new()
            .prefix(".cs336-")
            .make_in(folder, |path| create(path).inspect_err(|error| number = error.raw_os_error()));
        let reason = |error| number.map_or(error, io::Error::from_raw_os_error);
        let file = made.map_err(|error| Error::io("create", target)(reason(error)))?;
        Ok(Self { file, target: target.to_path_buf() })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes sure that the disk has it all.
    pub fn sync(&self) -> Result<()> {
        self.file.as_file().sync_all().map_err(Error::io("write", &self.target))
    }

    /// Gives the file its name.
    pub fn keep(self) -> Result<()> {
        self.file.persist(&self.target).map_err(|error| Error::io("write", &self.target)(error.error))?;
        Ok(())
    }
}

/// Gives two files that belong together their names. If the second can't have it, the first goes too.
pub(crate) fn keep_both(one: Aside, other: Aside) -> Result<()> {
    one.sync()?;
    other.sync()?;
    let first = one.target.clone();
    one.keep()?;
    other.keep().inspect_err(|_| drop(std::fs::remove_file(first)))
}

fn filled(target: &Path, content: &[u8]) -> Result<Aside> {
    let mut aside = Aside::new(target)?;
    aside.file().write_all(content).map_err(Error::io("write", target))?;
    Ok(aside)
}

/// Writes a whole file.
pub(crate) fn write(target: &Path, content: &[u8]) -> Result<()> {
    let aside = filled(target, content)?;
    aside.sync()?;
    aside.keep()
}

/// Writes two whole files that belong together.
pub(crate) fn write_both(one: (&Path, &[u8]), other: (&Path, &[u8])) -> Result<()> {
    keep_both(filled(one.0, one.1)?, filled(other.0, other.1)?)
}
