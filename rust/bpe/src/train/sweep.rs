//! How a round begins: one look at all slots, on all threads, finds the pairs to follow and where they occur.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Pair;
use super::corpus::{Corpus, Part, Slot};
use super::pairs::{self, Buckets, Occurrences, PairIndex, Sketch};
use crate::error::add_counts;
use crate::memory::{prefer_huge_pages, prefetch};
use crate::threads::{Pool, on_each};
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

/// How many places are put down together: while one is written, the lines of the next ones are on their way.
const BATCH: usize = 64;

/// Where the places of a bucket begin and end.
type Region = (usize, usize);

/// A later round: follows the pairs that reach the threshold, of those that may, unless they are too long. Begins the
/// corpus's round, with so many symbols. There is to be room for `more` places.
///
/// Nobody knows yet which pairs reach it, but the sketch knows which buckets' may: in one pass, all of their places are put
/// down bucket by bucket, from left to right.
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
    let buckets = sketch.reaching(threshold);
    let regions = if corpus.segments() == 1 {
        put_down_alone(found, corpus, symbols, &buckets, more, job)?
    } else {
        put_down_together(found, corpus, symbols, &buckets, more, pool, job)?
    };
    let shares = Share::of_each(corpus.segments(), &regions, &mut found.places);
    let corpus = &*corpus;
    let infos = on_each(pool, shares, |share| share.pairs(corpus, threshold, &is_short, job))?;
    infos.into_iter().flatten().for_each(|info| found.add(info));
    Ok(())
}

/// Compacts a part of a corpus, and calls `f` on where the pairs of the buckets are, up to [`BATCH`] at a time: the bucket's
/// number and the slot.
fn in_batches<S: Slot>(
    part: Part<'_, S>,
    buckets: &Buckets,
    job: &Job,
    mut f: impl FnMut(&[(u32, u32)]),
) -> Result<()> {
    let mut waiting = [(0, 0); BATCH];
    let mut len = 0;
    let mut give = |waiting: &mut [(u32, u32)]| {
        waiting.iter_mut().for_each(|(bucket, _)| *bucket = buckets.number(*bucket));
        f(waiting);
    };
    part.compact(job, |is_pair, pair, slot| {
        // Whether a pair waits is no branch: nobody could predict it.
        let bucket = buckets.of(pair);
        waiting[len] = (bucket, slot);
        len += usize::from(is_pair & buckets.contains(bucket));
        if len == BATCH {
            give(&mut waiting);
            len = 0;
        }
    })?;
    give(&mut waiting[..len]);
    Ok(())
}

/// A single thread knows where each bucket's next place goes, if each gets a region that is as long as it may be at most.
fn put_down_alone<S: Slot>(
    found: &mut Found,
    corpus: &mut Corpus<S>,
    symbols: usize,
    buckets: &Buckets,
    more: usize,
    job: &Job,
) -> Result<Vec<Region>> {
    let mut end = 0;
    let regions = buckets.most().iter().map(|most| {
        let start = end;
        end += most;
        (start, start)
    });
    let mut regions: Vec<Region> = regions.collect();
    found.begin(end, more)?;
    let places = &mut found.places;
    corpus.rewrite(symbols, |parts| {
        parts.into_iter().try_for_each(|part| {
            in_batches(part, buckets, job, |batch| {
                let mut own = [0; BATCH];
                for (&(number, _), own) in batch.iter().zip(&mut own) {
                    let end = &mut regions[number as usize].1;
                    *own = *end;
                    *end += 1;
                    prefetch(&places[*own]);
                }
                batch.iter().zip(own).for_each(|(&(_, slot), own)| *places[own].get_mut() = slot);
            })
        })
    })?;
    debug_assert!(regions.windows(2).all(|pair| pair[0].1 <= pair[1].0), "the sketch promised too few places");
    Ok(regions)
}

/// Several threads make lists of what they find, each from left to right in its own segment. Then it is known where those of
/// each go, and nobody waits for another, as with a place in common they would.
fn put_down_together<S: Slot>(
    found: &mut Found,
    corpus: &mut Corpus<S>,
    symbols: usize,
    buckets: &Buckets,
    more: usize,
    pool: Pool<'_>,
    job: &Job,
) -> Result<Vec<Region>> {
    let expected = buckets.most().iter().sum::<usize>() / corpus.segments();
    let mut lists =
        corpus.rewrite(symbols, |parts| on_each(pool, parts, |part| List::of(part, buckets, expected, job)))?;
    let mut end = 0;
    let regions = (0..buckets.most().len()).map(|number| {
        let start = end;
        for list in &mut lists {
            // There are fewer than slots, of which there are fewer than 2^32.
            let cursor = &mut list.cursors[number];
            end += std::mem::replace(cursor, end);
        }
        (start as usize, end as usize)
    });
    let regions = regions.collect();
    found.begin(end as usize, more)?;
    on_each(pool, lists, |list| list.put_down(&found.places, job))?;
    Ok(regions)
}

/// Where in a part of a corpus the pairs of some buckets are.
struct List {
    /// The number of each one's bucket, and its slot.
    places: Vec<(u32, u32)>,
    /// How many each bucket has, and then where its next one goes.
    cursors: Vec<u32>,
}

impl List {
    fn of<S: Slot>(part: Part<'_, S>, buckets: &Buckets, expected: usize, job: &Job) -> Result<Self> {
        let mut list = Self { places: Vec::new(), cursors: vec![0; buckets.most().len()] };
        reserve(&mut list.places, expected)?;
        in_batches(part, buckets, job, |batch| {
            batch.iter().for_each(|&(number, _)| list.cursors[number as usize] += 1);
            list.places.extend_from_slice(batch);
        })?;
        Ok(list)
    }

    /// Writes the slots to where those of their buckets are brought together.
    fn put_down(mut self, places: &[AtomicU32], job: &Job) -> Result<()> {
        for listed in self.places.chunks(CHECK) {
            job.check()?;
            for &(number, slot) in listed {
                let cursor = &mut self.cursors[number as usize];
                places[*cursor as usize].store(slot, Relaxed);
                *cursor += 1;
            }
        }
        Ok(())
    }
}

/// Regions next to each other, with their places.
struct Share<'s> {
    regions: &'s [Region],
    /// Where the places begin among all.
    begin: usize,
    places: &'s mut [AtomicU32],
}

impl<'s> Share<'s> {
    /// A share of about as many places for each thread.
    fn of_each(threads: usize, mut regions: &'s [Region], mut places: &'s mut [AtomicU32]) -> Vec<Self> {
        let size = places.len().div_ceil(threads);
        let (mut shares, mut begin) = (Vec::new(), 0);
        while !regions.is_empty() {
            let own = regions.partition_point(|region| region.0 < begin + size).max(1);
            let end = regions.get(own).map_or(begin + places.len(), |next| next.0);
            let (first, rest) = std::mem::take(&mut places).split_at_mut(end - begin);
            shares.push(Self { regions: &regions[..own], begin, places: first });
            (regions, places, begin) = (&regions[own..], rest, end);
        }
        shares
    }

    /// The pairs to follow, each with its places side by side.
    fn pairs<S: Slot>(
        self,
        corpus: &Corpus<S>,
        threshold: u64,
        is_short: &impl Fn(Pair) -> bool,
        job: &Job,
    ) -> Result<Vec<Info>> {
        let mut pairs = Pairs { corpus, threshold, infos: Vec::new(), others: Vec::new(), job };
        for &(start, end) in self.regions {
            pairs.tell_apart(start, &mut self.places[start - self.begin..end - self.begin])?;
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
