//! Bytes as they stand in a file or come through a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::Path;

use super::{STANDARD_INPUT, refuse_folder};
use crate::{Error, Job, Result};

/// How many bytes tell a compressed file.
const MAGIC: usize = 4;

/// Reads from one end to the other, and shows the first bytes beforehand.
pub struct Bytes<'a> {
    file: File,
    regular: bool,
    job: &'a Job,
    /// The first bytes, as far as they are not given on yet.
    first: Vec<u8>,
    position: u64,
}

impl<'a> Bytes<'a> {
    pub fn new(file: File, regular: bool, job: &'a Job) -> Self {
        Self { file, regular, job, first: Vec::new(), position: 0 }
    }

    /// The first bytes, to be called before any is read.
    pub fn peek(&mut self) -> io::Result<&[u8]> {
        while self.first.len() < MAGIC {
            let mut buffer = [0; MAGIC];
            let read = self.read_file(&mut buffer[self.first.len()..])?;
            if read == 0 {
                break;
            }
            self.first.extend_from_slice(&buffer[self.first.len()..][..read]);
        }
        Ok(&self.first)
    }

    /// How many bytes were given on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether it is a file that can be read anywhere, and all of it is meant: of standard input, some may have been
    /// read by another program.
    pub fn is_whole_file(&mut self) -> bool {
        let seen = self.first.len() as u64;
        self.regular && self.file.stream_position().is_ok_and(|at| at == seen)
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// A pipe is waited for in short turns, so that the wish to stop is heard.
    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.job.check().map_err(io::Error::other)?;
            if !self.regular && !is_ready(&self.file)? {
                continue;
            }
            match self.file.read(buffer) {
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                outcome => return outcome,
            }
        }
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = if self.first.is_empty() {
            self.read_file(buffer)?
        } else {
            let read = self.first.len().min(buffer.len());
            buffer[..read].copy_from_slice(&self.first[..read]);
            self.first.drain(..read);
            read
        };
        self.position += read as u64;
        self.job.advance(read as u64);
        Ok(read)
    }
}

/// Whether a read would not wait. It waits a little for that.
#[cfg(unix)]
fn is_ready(file: &File) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&TURN)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn is_ready(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Opens a path. A named pipe is opened whether or not somebody writes to it already: that is waited for when reading.
pub fn open_file(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(target_os = "linux")]
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    let file = options.open(path).map_err(Error::io("read", path))?;
    refuse_folder(&file, path)?;
    Ok(file)
}

/// Standard input, without the buffer of the standard library.
pub fn standard_input() -> Result<File> {
    #[cfg(unix)]
    let owned = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned();
    #[cfg(windows)]
    let owned = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned();
    let path = Path::new(STANDARD_INPUT);
    let file = File::from(owned.map_err(Error::io("read", path))?);
    refuse_folder(&file, path)?;
    Ok(file)
}

/// Reads on until the buffer holds the file from `base` to `until` or to its end; how much it holds then.
pub fn read_between(
    (path, file): (&Path, &File),
    buffer: &mut Vec<u8>,
    mut filled: usize,
    base: u64,
    until: u64,
) -> Result<usize> {
    let wanted = (until - base) as usize;
    if buffer.len() < wanted {
        let more = wanted - buffer.len();
        buffer
            .try_reserve_exact(more)
            .map_err(|_| Error::OutOfMemory { what: "reading a text", needed: more as u64 })?;
        buffer.resize(wanted, 0);
    }
    while filled < wanted {
        match read_at(file, &mut buffer[filled..wanted], base + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    Ok(filled)
}

#[cfg(unix)]
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
