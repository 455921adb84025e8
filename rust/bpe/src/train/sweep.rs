//! How a round begins: one look at all slots, on all threads, finds the pairs to follow and where they occur.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::Pair;
use super::corpus::{Corpus, Part, Slot};
use super::pairs::{self, Buckets, Occurrences, PairIndex, Sketch};
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
    /// Forgets everything, and makes room for so many places, and for `more` to come without moving them. What there was
    /// is kept and written over, for new memory costs more than it.
    fn begin(&mut self, places: usize, more: usize) -> Result<()> {
        self.index.clear();
        self.infos.clear();
        if self.places.capacity() < places + more {
            self.places = Vec::new();
            let needed = ((places + more) * size_of::<u32>()) as u64;
            let what = "the places of pairs";
            self.places.try_reserve_exact(places + more).map_err(|_| Error::OutOfMemory { what, needed })?;
            prefer_huge_pages(&mut self.places);
        }
        self.places.resize_with(places, AtomicU32::default);
        Ok(())
    }

    /// Follows a pair.
    fn add(&mut self, info: Info) {
        self.index.find_or_insert(info.pair, self.infos.len() as u32);
        self.infos.push(info);
    }

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

/// How many places ahead memory is asked for.
const AHEAD: usize = 16;

/// Places looked at between two checks of whether to stop.
const CHECK: usize = 1 << 16;

/// So many pairs of one bucket are told apart by a pass over its places for each.
const FEW: usize = if cfg!(test) { 2 } else { 8 };

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

    /// Follows the pairs that reach a threshold and are short enough. There is to be room for `more` places.
    pub fn find<S: Slot>(
        self,
        corpus: &Corpus<S>,
        threshold: u64,
        max_length: usize,
        more: usize,
        pool: Pool<'_>,
        job: &Job,
    ) -> Result<Found> {
        let mut found = Found::default();
        let mut cursors = vec![vec![Cursor::default(); BYTE_PAIRS]; self.tallies.len()];
        let (mut infos, mut end) = (Vec::new(), 0);
        for (pair, tally) in self.pairs().filter(|(_, tally)| tally.count >= threshold && max_length >= 2) {
            infos.push(Info { pair, count: tally.count, start: end, len: tally.places });
            let at = byte_pair(pair);
            for (cursors, tallies) in cursors.iter_mut().zip(&self.tallies) {
                cursors[at] = Cursor { next: end as u32, step: 1 };
                end += tallies[at].places;
            }
        }
        // One more for each segment, for what is not followed.
        found.begin(end + cursors.len(), more)?;
        infos.into_iter().for_each(|info| found.add(info));
        let places = &found.places;
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
        found.places.truncate(end);
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

/// How many places are looked for together: while one is written, the lines of the next ones are on their way.
const BATCH: usize = 64;

/// A later round: follows the pairs that reach the threshold, of those that may, unless they are too long. Begins the
/// corpus's round, with so many symbols. There is to be room for `more` places.
///
/// The sketch says at how many places the pairs of each of its buckets stand at most. So these can be put down bucket by
/// bucket in one pass, before anybody knows which pairs they are of.
#[allow(clippy::too_many_arguments, reason = "what a round begins with")]
pub fn find<S: Slot>(
    found: &mut Found,
    corpus: &mut Corpus<S>,
    symbols: usize,
    (sketch, threshold): (&Sketch, u64),
    more: usize,
    is_short: impl Fn(Pair) -> bool + Sync,
    pool: Pool<'_>,
    job: &Job,
) -> Result<()> {
    let buckets = sketch.reaching(threshold)?;
    found.begin(buckets.places(), more)?;
    let (alone, threads) = (corpus.segments() == 1, corpus.segments());
    corpus.rewrite(symbols, |parts| {
        on_each(pool, parts, |part| put_down(part, &buckets, &found.places, alone, job)).map(drop)
    })?;
    let regions: Vec<_> = buckets.regions().collect();
    debug_assert!(regions.windows(2).all(|pair| pair[0].1 <= pair[1].0), "the sketch promised too few places");
    let shares = Share::of_each(threads, &regions, &mut found.places);
    let corpus = &*corpus;
    let infos = on_each(pool, shares, |share| share.pairs(corpus, threshold, &is_short, job))?;
    infos.into_iter().flatten().for_each(|info| found.add(info));
    Ok(())
}

/// Compacts a part of a corpus and puts down on the way where the pairs of the buckets are.
fn put_down<S: Slot>(part: Part<'_, S>, buckets: &Buckets, places: &[AtomicU32], alone: bool, job: &Job) -> Result<()> {
    let mut waiting = [(0, 0); BATCH];
    let mut len = 0;
    part.compact(job, |is_pair, pair, slot| {
        // Whether a pair waits is no branch: nobody could predict it.
        let bucket = buckets.of(pair);
        waiting[len] = (bucket, slot);
        len += usize::from(is_pair & buckets.contains(bucket));
        if len == BATCH {
            write(&waiting, buckets, places, alone);
            len = 0;
        }
    })?;
    write(&waiting[..len], buckets, places, alone);
    Ok(())
}

/// Writes slots to the regions of their buckets.
#[inline(never)]
fn write(waiting: &[(u32, u32)], buckets: &Buckets, places: &[AtomicU32], alone: bool) {
    let mut own = [0; BATCH];
    for (&(bucket, _), own) in waiting.iter().zip(&mut own) {
        *own = buckets.next_place(bucket, alone);
        prefetch(&places[*own]);
    }
    waiting.iter().zip(own).for_each(|(&(_, slot), own)| places[own].store(slot, Relaxed));
}

/// Regions next to each other, with their places.
struct Share<'s> {
    regions: &'s [(usize, usize)],
    /// Where the places begin among all.
    begin: usize,
    places: &'s mut [AtomicU32],
}

impl<'s> Share<'s> {
    /// Of all regions and places, about as many regions for each thread.
    fn of_each(threads: usize, regions: &'s [(usize, usize)], mut places: &'s mut [AtomicU32]) -> Vec<Self> {
        let (size, mut begin) = (regions.len().div_ceil(threads).max(1), 0);
        let share = |(number, own): (usize, _)| {
            let end = regions.get((number + 1) * size).map_or(begin + places.len(), |next| next.0);
            let (first, rest) = std::mem::take(&mut places).split_at_mut(end - begin);
            places = rest;
            Self { regions: own, begin: std::mem::replace(&mut begin, end), places: first }
        };
        regions.chunks(size).enumerate().map(share).collect()
    }

    /// The pairs to follow, each with its places side by side.
    fn pairs<S: Slot>(
        self,
        corpus: &Corpus<S>,
        threshold: u64,
        is_short: &impl Fn(Pair) -> bool,
        job: &Job,
    ) -> Result<Vec<Info>> {
        let starts: Vec<_> = corpus.starts().collect();
        let mut pairs = Pairs { corpus, threshold, infos: Vec::new(), others: Vec::new(), job };
        for &(start, end) in self.regions {
            let places = &mut self.places[start - self.begin..end - self.begin];
            pairs.order(places, &starts);
            pairs.tell_apart(start, places)?;
        }
        pairs.infos.retain(|info| is_short(info.pair));
        Ok(pairs.infos)
    }
}

/// Finds the pairs that reach a threshold.
struct Pairs<'c, S> {
    corpus: &'c Corpus<S>,
    threshold: u64,
    infos: Vec<Info>,
    /// Places of other pairs than the one at hand.
    others: Vec<u32>,
    job: &'c Job,
}

impl<S: Slot> Pairs<'_, S> {
    /// Orders a region from left to right. Threads wrote to it as they came, but each from left to right in the segment
    /// that begins at its start.
    fn order(&mut self, places: &mut [AtomicU32], starts: &[u32]) {
        let (left, right) = starts.split_at(starts.len() / 2);
        if left.is_empty() {
            return;
        }
        self.others.clear();
        let mut len = 0;
        for at in 0..places.len() {
            let slot = *places[at].get_mut();
            *places[len].get_mut() = slot;
            len += usize::from(slot < right[0]);
            if slot >= right[0] {
                self.others.push(slot);
            }
        }
        let (before, behind) = places.split_at_mut(len);
        behind.iter_mut().zip(&self.others).for_each(|(place, &slot)| *place.get_mut() = slot);
        self.order(before, left);
        self.order(behind, right);
    }

    /// Brings the places of each pair together, those of a bucket given from left to right, until all that are left are too
    /// few. Mostly there is one pair, or one frequent pair that is met soon.
    fn tell_apart(&mut self, start: usize, places: &mut [AtomicU32]) -> Result<()> {
        let corpus = self.corpus;
        let mut done = 0;
        for _ in 0..FEW {
            let Some(first) = places.get_mut(done) else { return Ok(()) };
            let pair = corpus.pair_at(*first.get_mut());
            let (len, count, rest) = self.bring_forward(pair, &mut places[done..])?;
            self.add(Info { pair, count, start: start + done, len });
            done += len;
            if rest < self.threshold {
                return Ok(());
            }
        }
        // With a pass for each of many pairs it would take the square of their number.
        let pair_at = |place: &AtomicU32| corpus.pair_at(place.load(Relaxed));
        places[done..].sort_by_key(pair_at);
        for run in places[done..].chunk_by(|one, other| pair_at(one) == pair_at(other)) {
            let mut weights = run.iter().map(|place| corpus.weight(place.load(Relaxed)));
            let count = weights.try_fold(0, add_counts)?;
            self.add(Info { pair: pair_at(&run[0]), count, start: start + done, len: run.len() });
            done += run.len();
        }
        Ok(())
    }

    /// Moves the places of a pair before all others; how many these are, its count, and what all others' come to, or more
    /// than 64 bits can say.
    fn bring_forward(&mut self, pair: Pair, places: &mut [AtomicU32]) -> Result<(usize, u64, u64)> {
        let (mut len, mut behind, mut count, mut rest) = (0, 0, 0, 0u64);
        if self.others.len() < places.len() {
            self.others.resize(places.len(), 0);
        }
        for at in 0..places.len() {
            if at % CHECK == 0 {
                self.job.check()?;
            }
            if let Some(ahead) = places.get_mut(at + AHEAD) {
                self.corpus.prefetch(*ahead.get_mut());
            }
            let slot = *places[at].get_mut();
            let weight = self.corpus.weight(slot);
            // Whether it is of the pair is no branch: where there are several, nobody could predict it.
            let found = self.corpus.pair_at(slot);
            let is_own = (found.0 ^ pair.0) | (found.1 ^ pair.1) == 0;
            let own = weight * u64::from(is_own);
            *places[len].get_mut() = slot;
            self.others[behind] = slot;
            len += usize::from(is_own);
            behind += usize::from(!is_own);
            count = add_counts(count, own)?;
            rest = rest.saturating_add(weight - own);
        }
        places[len..].iter_mut().zip(&self.others).for_each(|(place, &slot)| *place.get_mut() = slot);
        Ok((len, count, rest))
    }

    fn add(&mut self, info: Info) {
        if info.count >= self.threshold {
            self.infos.push(info);
        }
    }
}
