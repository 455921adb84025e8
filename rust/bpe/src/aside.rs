//! Files written aside, synced, then renamed: under the final name stands the whole file or what stood there before.
//! A symbolic link is followed and stays; a device or a pipe is refused, for a file would take its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file under way. Dropped before [`keep`](Self::keep), it leaves nothing.
pub(crate) struct Aside {
    file: NamedTempFile,
    /// The name that the caller gave, for messages.
    target: PathBuf,
    /// Where links from there lead.
    path: PathBuf,
}

impl Aside {
    pub fn new(target: &Path) -> Result<Self> {
        let path = place(target).map_err(Error::io("write", target))?;
        // As any new file it gets the mode that the umask leaves, not the private one of a temporary file.
        let create = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).open(path);
        // What the system says comes back without its number, so that is kept here.
        let mut number = None;
        let made = tempfile::Builder::new()
            .prefix(".cs336-")
            .make_in(folder_of(&path), |path| create(path).inspect_err(|error| number = error.raw_os_error()));
        let reason = |error| number.map_or(error, io::Error::from_raw_os_error);
        let file = made.map_err(|error| Error::io("create", target)(reason(error)))?;
        Ok(Self { file, target: target.to_path_buf(), path })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes sure that the disk has it all.
    pub fn sync(&self) -> Result<()> {
        self.file.as_file().sync_all().map_err(Error::io("write", &self.target))
    }

    /// Gives the file its name, and makes sure that the disk has that, too.
    pub fn keep(self) -> Result<()> {
        let failed = |error| Error::io("write", &self.target)(error);
        self.file.persist(&self.path).map_err(|error| failed(error.error))?;
        sync_folder(folder_of(&self.path)).map_err(failed)
    }
}

/// Forces the names in a folder to the disk. Windows has no such call, and who may not list a folder can't make it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        return folder.sync_all();
    }
    Ok(())
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a file goes that is written to `target`.
pub(crate) fn place(target: &Path) -> io::Result<PathBuf> {
    match target.metadata() {
        Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "Is a device or a pipe, not a file"));
        }
        // The rest of what can be wrong shows when the file is made, but for links in a circle, which the system finds.
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut path = target.to_path_buf();
    while let Ok(link) = path.read_link() {
        path = folder_of(&path).join(link);
    }
    Ok(path)
}

/// Gives two files that belong together their names. If one can't have it, what stood under both before stays.
pub(crate) fn keep_both(one: Aside, other: Aside) -> Result<()> {
    one.sync()?;
    other.sync()?;
    let first = one.path.clone();
    let before = second_name(&first).map_err(Error::io("write", &one.target))?;
    one.keep().and_then(|()| other.keep()).inspect_err(|_| {
        // That the second can't be written is what there is to tell, whatever comes of this.
        drop(match &before {
            Some(before) => fs::rename(before.path(), &first),
            None => fs::remove_file(&first),
        });
    })
}

/// A hidden name for a file, if there is one, which goes when it is dropped. Where the system has no second names, the
/// file has no other until then.
fn second_name(path: &Path) -> io::Result<Option<NamedTempFile<()>>> {
    let link = |name: &Path| match fs::hard_link(path, name) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => fs::rename(path, name),
        outcome => outcome,
    };
    match tempfile::Builder::new().prefix(".cs336-").make_in(folder_of(path), link) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn links_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/file"), "old").unwrap();
        symlink("real/file", at("link")).unwrap();
        symlink("link", at("twice")).unwrap();
        symlink("real/new", at("dangling")).unwrap();
        for (name, file) in [("twice", "real/file"), ("dangling", "real/new")] {
            write(&at(name), b"content").unwrap();
            assert!(at(name).is_symlink());
            assert_eq!(fs::read(at(file)).unwrap(), b"content");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        assert_eq!(fs::read_dir(at("real")).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_file_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("socket", at("to socket")).unwrap();
        symlink("circle", at("circle")).unwrap();
        for name in ["socket", "to socket", "circle"] {
            let message = write(&at(name), b"content").unwrap_err().to_string();
            assert!(message.contains(&format!("cannot write {}: ", at(name).display())), "{message}");
            assert!(!at(name).is_file());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn of_two_files_both_are_written_or_none() {
        for old in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            if old {
                fs::write(at("one"), "old").unwrap();
            }
            let (one, other) = (filled(&at("one"), b"new").unwrap(), filled(&at("other"), b"new").unwrap());
            fs::create_dir(at("other")).unwrap();
            keep_both(one, other).unwrap_err();
            assert_eq!(fs::read(at("one")).ok(), old.then(|| b"old".to_vec()));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + usize::from(old));

            fs::remove_dir(at("other")).unwrap();
            write_both((&at("one"), b"1"), (&at("other"), b"2")).unwrap();
            assert_eq!((fs::read(at("one")).unwrap(), fs::read(at("other")).unwrap()), (b"1".to_vec(), b"2".to_vec()));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }
    }
}
