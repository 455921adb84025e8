//! How a round begins: one look at all slots, on all threads, finds the pairs to follow and where they occur.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::Pair;
use super::corpus::{Corpus, Part, Slot};
use super::pairs::{self, Occurrences, PairFilter, PairIndex, Sketch};
use crate::error::add_counts;
use crate::memory::{prefer_huge_pages, prefetch};
use crate::{Error, Job, Result};

/// A pair whose count reached the threshold when it was first counted.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub pair: Pair,
    pub count: u64,
    /// Its slots in `places`, from left to right. Some may have lost the pair since.
    pub start: usize,
    pub len: usize,
}

/// What a round begins with.
#[derive(Default)]
pub struct Found {
    pub index: PairIndex,
    pub infos: Vec<Info>,
    /// The slots where pairs begin. Threads write to them, each to its own.
    pub places: Vec<AtomicU32>,
}

impl Found {
    /// The count of the most frequent pair.
    pub fn greatest_count(&self) -> u64 {
        self.infos.iter().map(|info| info.count).max().unwrap_or(0)
    }

    /// Asks for the first lines of a pair's places, which will be needed soon.
    pub fn prefetch_places(&self, pair: u32) {
        let Info { start, len, .. } = self.infos[pair as usize];
        self.places[start..start + len].iter().step_by(LINE).take(4).for_each(prefetch);
    }
}

/// Who does the work: some threads, or the calling one.
pub type Pool<'p> = Option<&'p ThreadPool>;

/// Does something with each part of a corpus; the results come in the parts' order.
pub fn on_each<P: Send, T: Send>(
    pool: Pool<'_>,
    parts: Vec<P>,
    f: impl Fn(P) -> Result<T> + Send + Sync,
) -> Result<Vec<T>> {
    match pool {
        Some(pool) => pool.install(|| parts.into_par_iter().map(f).collect()),
        None => parts.into_iter().map(f).collect(),
    }
}

/// Places in a cache line.
const LINE: usize = 16;

const BYTE_PAIRS: usize = 1 << 16;

/// The first round, in which all symbols are bytes: a plain array holds the exact counts of all their pairs.
pub struct FirstSweep {
    /// By segment, then by pair.
    tallies: Vec<Vec<Occurrences>>,
    /// Over all segments.
    total: Vec<Occurrences>,
}

impl FirstSweep {
    pub fn new<S: Slot>(corpus: &Corpus<S>, pool: Pool<'_>, job: &Job) -> Result<Self> {
        let tallies = on_each(pool, (0..corpus.segments()).collect(), |segment| tally_bytes(corpus, segment, job))?;
        let mut total = vec![Occurrences::default(); BYTE_PAIRS];
        for tallies in &tallies {
            for (sum, tally) in total.iter_mut().zip(tallies) {
                sum.count = add_counts(sum.count, tally.count)?;
                sum.places += tally.places;
            }
        }
        Ok(Self { tallies, total })
    }

    pub fn sketch(&self, slots: usize) -> Sketch {
        let mut sketch = Sketch::new(slots);
        self.pairs().for_each(|(pair, tally)| sketch.begin(pair, tally));
        sketch
    }

    /// The count that at most `wanted` pairs exceed which together stand at no more than `places` places.
    pub fn threshold(&self, wanted: usize, places: usize) -> u64 {
        pairs::threshold(self.pairs().map(|(_, tally)| tally).collect(), wanted, places)
    }

    /// Follows the pairs that reach a threshold and are short enough.
    pub fn find<S: Slot>(
        self,
        corpus: &Corpus<S>,
        threshold: u64,
        max_length: usize,
        pool: Pool<'_>,
        job: &Job,
    ) -> Result<Found> {
        let mut found = Found::default();
        let mut cursors = vec![vec![Cursor::default(); BYTE_PAIRS]; self.tallies.len()];
        let mut end = 0;
        for (pair, tally) in self.pairs().filter(|(_, tally)| tally.count >= threshold && max_length >= 2) {
            found.index.find_or_insert(pair, found.infos.len() as u32);
            found.infos.push(Info { pair, count: tally.count, start: end, len: tally.places });
            let at = byte_pair(pair);
            for (cursors, tallies) in cursors.iter_mut().zip(&self.tallies) {
                cursors[at] = Cursor { next: end as u32, step: 1 };
                end += tallies[at].places;
            }
        }
        // One more for each segment, for what is not followed.
        let mut places = blank_places(end + cursors.len())?;
        on_each(pool, cursors.into_iter().enumerate().collect(), |(segment, mut cursors)| {
            let elsewhere = (end + segment) as u32;
            cursors.iter_mut().filter(|cursor| cursor.step == 0).for_each(|cursor| cursor.next = elsewhere);
            corpus.for_each_pair(segment, job, |is_pair, pair, slot, _| {
                // Whether a pair is followed is no branch: nobody could predict it.
                let cursor = &mut cursors[byte_pair(pair)];
                let next = if is_pair { cursor.next } else { elsewhere };
                places[next as usize].store(slot, Relaxed);
                cursor.next += if is_pair { cursor.step } else { 0 };
                Ok(())
            })
        })?;
        places.truncate(end);
        found.places = places;
        Ok(found)
    }

    fn pairs(&self) -> impl Iterator<Item = (Pair, Occurrences)> {
        let all = (0..).zip(self.total.iter().copied());
        all.filter(|(_, tally)| tally.places > 0).map(|(at, tally): (u32, _)| ((at >> 8, at & 0xff), tally))
    }
}

/// Where the next place of a pair of bytes goes.
#[derive(Clone, Copy, Default)]
struct Cursor {
    /// There are fewer places than slots, of which there are fewer than 2^32.
    next: u32,
    /// 1 if the pair is followed.
    step: u32,
}

/// Where a pair of bytes stands in an array of all.
#[inline]
fn byte_pair(pair: Pair) -> usize {
    ((pair.0 & 0xff) << 8 | pair.1 & 0xff) as usize
}

fn tally_bytes<S: Slot>(corpus: &Corpus<S>, segment: usize, job: &Job) -> Result<Vec<Occurrences>> {
    let mut tallies = vec![Occurrences::default(); BYTE_PAIRS];
    corpus.for_each_pair(segment, job, |is_pair, pair, _, weight| {
        let tally = &mut tallies[byte_pair(pair)];
        let weight = if is_pair { weight } else { 0 };
        tally.count = add_counts(tally.count, weight)?;
        tally.places += usize::from(is_pair);
        Ok(())
    })?;
    Ok(tallies)
}

/// In place of a cursor: the pair is not followed.
const NOWHERE: usize = usize::MAX;

/// Places for several threads to write.
fn blank_places(len: usize) -> Result<Vec<AtomicU32>> {
    let needed = (len * size_of::<u32>()) as u64;
    let mut places = Vec::new();
    places.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what: "the places of pairs", needed })?;
    prefer_huge_pages(&mut places);
    places.resize_with(len, AtomicU32::default);
    Ok(places)
}

/// How many pairs are looked up together: while one is counted, the lines of the next ones are on their way.
const BATCH: usize = 64;

/// Pairs of a segment that may reach the threshold, with exact counts.
#[derive(Default)]
struct Met {
    index: PairIndex,
    infos: Vec<Info>,
    /// Each pair met, by its number in `infos`, and its slot.
    at: Vec<(u32, u32)>,
}

impl Met {
    /// Compacts a part of a corpus on the way. There are at most so many places.
    fn in_part<S: Slot>(part: Part<'_, S>, may_reach: &PairFilter, places: usize, job: &Job) -> Result<Self> {
        let mut met = Self::default();
        reserve(&mut met.at, places.min(part.len()))?;
        let mut waiting = [((0, 0), 0, 0); BATCH];
        let mut len = 0;
        part.compact(job, |is_pair, pair, slot, weight| {
            // Whether a pair waits is no branch: nobody could predict it.
            waiting[len] = (pair, slot, weight);
            len += usize::from(is_pair & may_reach.contains(pair));
            if len == BATCH {
                met.meet(&waiting)?;
                len = 0;
            }
            Ok(())
        })?;
        met.meet(&waiting[..len])?;
        Ok(met)
    }

    #[inline(never)]
    fn meet(&mut self, pairs: &[(Pair, u32, u64)]) -> Result<()> {
        let mut numbers = [0; BATCH];
        pairs.iter().for_each(|&(pair, ..)| self.index.prefetch(pair));
        for (&(pair, ..), number) in pairs.iter().zip(&mut numbers) {
            *number = self.index.find_or_insert(pair, self.infos.len() as u32);
            if *number as usize == self.infos.len() {
                self.infos.push(Info { pair, count: 0, start: 0, len: 0 });
            }
            prefetch(&self.infos[*number as usize]);
        }
        reserve(&mut self.at, pairs.len())?;
        for (&(_, slot, weight), &number) in pairs.iter().zip(&numbers) {
            let info = &mut self.infos[number as usize];
            info.count = add_counts(info.count, weight)?;
            info.len += 1;
            self.at.push((number, slot));
        }
        Ok(())
    }
}

/// Makes room in a list of places. It grows by a quarter and not to the double, because there may be billions.
pub fn reserve<T>(places: &mut Vec<T>, more: usize) -> Result<()> {
    if places.capacity() - places.len() < more {
        let room = more.max(places.len() / 4).max(1024);
        let needed = ((places.len() + room) * size_of::<T>()) as u64;
        places.try_reserve_exact(room).map_err(|_| Error::OutOfMemory { what: "the places of pairs", needed })?;
        prefer_huge_pages(places);
    }
    Ok(())
}

/// A later round: follows the pairs that reach the threshold, of those that may, unless they are too long. Begins the
/// corpus's round, with so many symbols.
pub fn find<S: Slot>(
    corpus: &mut Corpus<S>,
    symbols: usize,
    sketch: &Sketch,
    threshold: u64,
    is_short: impl Fn(Pair) -> bool,
    pool: Pool<'_>,
    job: &Job,
) -> Result<Found> {
    let (may_reach, most) = (sketch.reaching(threshold), sketch.places(threshold));
    let mut met =
        corpus.rewrite(symbols, |parts| on_each(pool, parts, |part| Met::in_part(part, &may_reach, most, job)))?;
    let (mut found, mut cursors) = bring_together(&mut met)?;
    let mut end = 0;
    let mut next = Vec::with_capacity(found.infos.len());
    for info in &mut found.infos {
        if info.count < threshold || !is_short(info.pair) {
            info.len = 0;
        }
        info.start = end;
        next.push(if info.len > 0 { end } else { NOWHERE });
        end += info.len;
    }
    // In each segment a pair's places begin behind those of the segments before.
    for (pair, places) in cursors.iter_mut().flatten() {
        let start = next[*pair];
        if start != NOWHERE {
            next[*pair] += *places;
        }
        *places = start;
    }
    let places = blank_places(end)?;
    on_each(pool, met.into_iter().zip(cursors).collect(), |(met, mut cursors)| {
        for (number, slot) in met.at {
            let (_, cursor) = &mut cursors[number as usize];
            if *cursor != NOWHERE {
                places[*cursor].store(slot, Relaxed);
                *cursor += 1;
            }
        }
        job.check()
    })?;
    found.places = places;
    Ok(found)
}

/// A pair's number among all, and its places in one segment: how many, and then where the next one goes.
type Share = (usize, usize);

/// Adds up what the segments met; and for each of a segment's pairs its number now, with its places in the segment.
fn bring_together(met: &mut [Met]) -> Result<(Found, Vec<Vec<Share>>)> {
    let mut found = Found::default();
    let mut numbers = Vec::with_capacity(met.len());
    for met in met {
        let (index, infos) = (std::mem::take(&mut met.index), std::mem::take(&mut met.infos));
        let own = infos.iter();
        if found.infos.is_empty() {
            numbers.push(own.enumerate().map(|(number, info)| (number, info.len)).collect());
            (found.index, found.infos) = (index, infos);
            continue;
        }
        let add = |info: &Info| {
            let number = found.index.find_or_insert(info.pair, found.infos.len() as u32) as usize;
            if number == found.infos.len() {
                found.infos.push(*info);
            } else {
                let sum = &mut found.infos[number];
                sum.count = add_counts(sum.count, info.count)?;
                sum.len += info.len;
            }
            Ok((number, info.len))
        };
        numbers.push(own.map(add).collect::<Result<_>>()?);
    }
    Ok((found, numbers))
}
