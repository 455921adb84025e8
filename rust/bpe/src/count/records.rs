//! Words with counts as bytes, in order of the words: what counts files and temporary runs are made of.
//!
//! A record is the number of bytes that the word has in common with the word before it, the number of the others, those
//! others, and the count. Numbers take 7 bits a byte, the lowest first, the top bit set in all but the last (LEB128).
//! There is one way only to write given words, so equal counts are equal bytes.

use std::io::{self, BufRead, Write};

/// The most bytes that a number takes.
const LONGEST_NUMBER: usize = 10;

/// What a sequence of records adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many words there are.
    pub words: u64,
    /// The sum of their counts.
    pub total: u128,
    /// How many bytes the records take.
    pub bytes: u64,
}

/// Writes records.
pub struct RecordWriter<W> {
    output: W,
    last: Vec<u8>,
    head: Vec<u8>,
    sums: Sums,
}

impl<W: Write> RecordWriter<W> {
    pub fn new(output: W) -> Self {
        Self { output, last: Vec::new(), head: Vec::with_capacity(2 * LONGEST_NUMBER), sums: Sums::default() }
    }

    /// Writes a word that is greater than the one before it.
    pub fn push(&mut self, word: &[u8], count: u64) -> io::Result<()> {
        debug_assert!(self.last.as_slice() < word && count > 0);
        let shared = self.last.iter().zip(word).take_while(|(one, other)| one == other).count();
        let rest = &word[shared..];
        self.head.clear();
        push_number(&mut self.head, shared as u64);
        push_number(&mut self.head, rest.len() as u64);
        let mut bytes = self.head.len() + rest.len();
        self.output.write_all(&self.head)?;
        self.output.write_all(rest)?;
        self.head.clear();
        push_number(&mut self.head, count);
        bytes += self.head.len();
        self.output.write_all(&self.head)?;
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        self.sums.words += 1;
        self.sums.total += u128::from(count);
        self.sums.bytes += bytes as u64;
        Ok(())
    }

    /// Ends the sequence.
    pub fn finish(mut self) -> io::Result<(W, Sums)> {
        self.output.flush()?;
        Ok((self.output, self.sums))
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Why a record can't be read.
#[derive(Debug)]
pub enum Flaw {
    /// The system says so.
    Io(io::Error),
    /// It is no record.
    Damage(&'static str),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads records, and believes nothing: neither sizes nor order.
pub struct RecordReader<R> {
    input: R,
    left: u64,
    word: Vec<u8>,
    count: u64,
    sums: Sums,
}

impl<R: BufRead> RecordReader<R> {
    /// A reader of so many records.
    pub fn new(input: R, words: u64) -> Self {
        Self { input, left: words, word: Vec::new(), count: 0, sums: Sums::default() }
    }

    /// Reads the next record; false when there are no more.
    pub fn advance(&mut self) -> Result<bool, Flaw> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let shared = self.number()?;
        let rest = self.number()?;
        if shared > self.word.len() as u64 {
            return Err(Flaw::Damage("a word has more in common with the one before it than there is"));
        }
        let shared = shared as usize;
        let replaced = self.word.get(shared).copied();
        self.word.truncate(shared);
        self.append(rest)?;
        // Where the words part, this one goes on, and with a greater byte: so they are in order, each there once, and all
        // that they have in common was left out.
        if self.word.get(shared).copied() <= replaced {
            return Err(Flaw::Damage("its words are not in order"));
        }
        self.count = self.number()?;
        if self.count == 0 {
            return Err(Flaw::Damage("a count is 0"));
        }
        self.sums.words += 1;
        self.sums.total += u128::from(self.count);
        Ok(true)
    }

    /// The word of the record.
    pub fn word(&self) -> &[u8] {
        &self.word
    }

    /// Its count.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What was read up to here.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// What follows the records.
    pub fn input(&mut self) -> &mut R {
        &mut self.input
    }

    #[inline]
    fn number(&mut self) -> Result<u64, Flaw> {
        let mut number = 0;
        for at in 0..LONGEST_NUMBER {
            let byte = *fill(&mut self.input)?.first().ok_or(Flaw::Damage(CUT_SHORT))?;
            self.input.consume(1);
            self.sums.bytes += 1;
            // Of the tenth byte only one bit is left.
            if at + 1 == LONGEST_NUMBER && byte > 1 {
                return Err(Flaw::Damage("a number has more than 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                // A last byte of 0 would be a second way to write a number.
                let padded = byte == 0 && at > 0;
                return if padded { Err(Flaw::Damage("a number is not written the short way")) } else { Ok(number) };
            }
        }
        Err(Flaw::Damage("a number has more than 64 bits"))
    }

    /// Adds bytes to the word, as they come: a size that is wrong takes no memory.
    fn append(&mut self, mut wanted: u64) -> Result<(), Flaw> {
        while wanted > 0 {
            let ready = fill(&mut self.input)?;
            if ready.is_empty() {
                return Err(Flaw::Damage(CUT_SHORT));
            }
            let taken = usize::try_from(wanted).unwrap_or(usize::MAX).min(ready.len());
            self.word.try_reserve(taken).map_err(|_| Flaw::Io(io::ErrorKind::OutOfMemory.into()))?;
            self.word.extend_from_slice(&ready[..taken]);
            self.input.consume(taken);
            self.sums.bytes += taken as u64;
            wanted -= taken as u64;
        }
        Ok(())
    }
}

const CUT_SHORT: &str = "it ends in the middle; it was cut short";

fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    // Asked again only where there is nothing: the borrow of the first answer can't be given back.
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    input.fill_buf()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn written(words: &BTreeMap<Vec<u8>, u64>) -> (Vec<u8>, Sums) {
        let mut writer = RecordWriter::new(Vec::new());
        words.iter().for_each(|(word, count)| writer.push(word, *count).unwrap());
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8], words: u64) -> Result<Vec<(Vec<u8>, u64)>, Flaw> {
        let mut reader = RecordReader::new(bytes, words);
        let mut all = Vec::new();
        while reader.advance()? {
            all.push((reader.word().to_vec(), reader.count()));
        }
        assert_eq!(reader.sums().bytes as usize + reader.input().len(), bytes.len());
        Ok(all)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(words in prop::collection::btree_map(
            prop::collection::vec(0u8..3, 1..9), prop_oneof![1u64..300, Just(u64::MAX), 1u64 << 53..u64::MAX], 0..40,
        )) {
            let (bytes, sums) = written(&words);
            let expected: Vec<_> = words.into_iter().collect();
            prop_assert_eq!(sums.bytes, bytes.len() as u64);
            prop_assert_eq!(sums.total, expected.iter().map(|(_, count)| u128::from(*count)).sum::<u128>());
            prop_assert_eq!(read(&bytes, sums.words).unwrap(), expected);
        }

        /// Bytes of any kind are read or refused; and what is read is written as the same bytes.
        #[test]
        fn there_is_one_way_to_write_words(bytes in prop::collection::vec(0u8..6, 0..40), words in 1u64..9) {
            if let Ok(all) = read(&bytes, words) {
                let (again, _) = written(&all.into_iter().collect());
                prop_assert_eq!(&again[..], &bytes[..again.len()]);
            }
        }
    }

    #[test]
    fn records_that_are_none_are_refused() {
        let reason = |bytes: &[u8], words| match read(bytes, words) {
            Err(Flaw::Damage(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&[1, 1, b'a', 1], 1), "a word has more in common with the one before it than there is");
        assert_eq!(reason(&[0, 1, b'a', 0], 1), "a count is 0");
        assert_eq!(reason(&[0, 0, 1], 1), "its words are not in order");
        assert_eq!(reason(&[0, 1, b'b', 1, 0, 1, b'a', 1], 2), "its words are not in order");
        assert_eq!(reason(&[0, 1, b'a', 1, 0, 2, b'a', b'b', 1], 2), "its words are not in order");
        assert_eq!(reason(&[0x80, 0, 1, b'a', 1], 1), "a number is not written the short way");
        assert_eq!(reason(&[0xff; 12], 1), "a number has more than 64 bits");
        let too_large = [&[0, 1, b'a'][..], &[0x80; 9], &[2]].concat();
        assert_eq!(reason(&too_large, 1), "a number has more than 64 bits");
        assert_eq!(reason(&[0, 0xff, 0xff, 0xff, 0xff, 0x7f, b'a'], 1), CUT_SHORT);
        assert_eq!(reason(&[0, 1], 1), CUT_SHORT);
    }
}
