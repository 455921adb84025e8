//! gzip and zstd, read as streams: any number of members or frames, one behind the other, are one text.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::bytes::Bytes;
use super::display;
use crate::{Error, Result};

/// How much is read from the disk at a time.
const BUFFER: usize = 1 << 18;

/// Frames may look back as far as zstd ever lets them (`--long=31`).
const ZSTD_WINDOW: u32 = if usize::BITS == 64 { 31 } else { 30 };

type Buffered<'a> = BufReader<Bytes<'a>>;

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gzip,
    Zstd,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What the first bytes tell: no UTF-8 begins with those of gzip or zstd. A name that tells another story is an
    /// error, for who cut or damaged the file's beginning would else get its bytes as text.
    pub fn of(path: &Path, first: &[u8]) -> Result<Option<Self>> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let named = match ending.as_deref() {
            Some("gz") => Some(Self::Gzip),
            Some("zst" | "zstd") => Some(Self::Zstd),
            _ => None,
        };
        let found = match first {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            // A frame to be skipped. It could be a text too, if a strange one, so the name decides.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] if named == Some(Self::Zstd) => Some(Self::Zstd),
            _ => None,
        };
        match named {
            Some(kind) if found.is_none() => {
                let reason = "it does not begin as its name says".to_owned();
                Err(Error::Format { path: path.to_path_buf(), format: kind.name(), reason })
            }
            _ => Ok(found),
        }
    }
}

/// The decompressed bytes.
pub fn reader<'a>(kind: Kind, path: &Path, bytes: Bytes<'a>) -> Result<Box<dyn Read + Send + 'a>> {
    let bytes = BufReader::with_capacity(BUFFER, bytes);
    let path = path.to_path_buf();
    match kind {
        Kind::Gzip => Ok(Box::new(Gzip { path, member: Some(GzDecoder::new(bytes)) })),
        Kind::Zstd => {
            let frames = zstd::Decoder::with_buffer(bytes).and_then(|mut frames| {
                frames.window_log_max(ZSTD_WINDOW)?;
                Ok(frames)
            });
            let frames = frames.map_err(Error::io("read", &path))?;
            Ok(Box::new(Zstd { path, frames }))
        }
    }
}

/// flate2 has a decoder of several members, but it takes the zeros that tapes and block devices leave at the end for
/// damage, and can't say where damage is.
struct Gzip<'a> {
    path: PathBuf,
    /// None at the end.
    member: Option<GzDecoder<Buffered<'a>>>,
}

impl Read for Gzip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) if !buffer.is_empty() => self.member = self.next_member()?,
                Ok(read) => return Ok(read),
                Err(error) => return Err(damaged(Kind::Gzip, &self.path, member.get_ref(), error)),
            }
        }
        Ok(0)
    }
}

impl<'a> Gzip<'a> {
    fn next_member(&mut self) -> io::Result<Option<GzDecoder<Buffered<'a>>>> {
        let Some(member) = self.member.take() else { return Ok(None) };
        let mut bytes = member.into_inner();
        loop {
            let buffer = bytes.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
            let begins = buffer.get(zeros).map(|&byte| byte == 0x1f);
            bytes.consume(zeros);
            match begins {
                Some(true) => return Ok(Some(GzDecoder::new(bytes))),
                Some(false) => {
                    let error = io::Error::new(ErrorKind::InvalidData, "what follows the compressed data is not gzip");
                    return Err(damaged(Kind::Gzip, &self.path, &bytes, error));
                }
                None => {}
            }
        }
    }
}

struct Zstd<'a> {
    path: PathBuf,
    frames: zstd::Decoder<'static, Buffered<'a>>,
}

impl Read for Zstd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.frames.read(buffer);
        read.map_err(|error| damaged(Kind::Zstd, &self.path, self.frames.get_ref(), error))
    }
}

/// What a decoder's error means. Those of the disk, and our own, stay what they are.
fn damaged(kind: Kind, path: &Path, bytes: &Buffered<'_>, error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() || error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        return error;
    }
    let offset = bytes.get_ref().position() - bytes.buffer().len() as u64;
    let reason = if error.kind() == ErrorKind::UnexpectedEof {
        format!("it is cut short: it ends after {offset} bytes in the middle of the compressed data")
    } else {
        format!("it is damaged near byte {offset}: {error}")
    };
    io::Error::other(Error::Format { path: display(path).into(), format: kind.name(), reason })
}
