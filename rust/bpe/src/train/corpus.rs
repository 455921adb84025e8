//! All distinct words as symbols, one behind the other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rayon::ThreadPool;

use super::{Pair, TrainOptions};
use crate::count::Words;
use crate::memory::{prefer_huge_pages, prefetch};
use crate::threads::{Pool, on_each};
use crate::{Error, Job, Result};

/// Slots looked at between two checks of whether to stop.
const CHECK: usize = 1 << 20;

/// A segment is at least this long: less is not worth a thread, but for tests.
const SEGMENT: usize = if cfg!(test) { 16 } else { 1 << 18 };

/// Bytes that everything else takes for each slot: 12 million words of nine random letters were merged in 4.4 bytes a slot,
/// those of a text in forty languages in 7.8.
const BESIDE: usize = 6;

/// Counts below this are summed up in an array, the few others in a tree.
const SMALL: u64 = 1 << 12;

/// What holds a symbol: 16 bits where all symbols of a vocabulary fit, for half the memory to go through.
pub trait Slot: Copy + Eq + Send + Sync {
    /// Stands between words.
    const BORDER: Self;
    /// A slot inside a symbol, neither its first nor its last.
    const INSIDE: Self;
    /// How many symbols there can be.
    const SYMBOLS: usize;

    fn of(symbol: u32) -> Self;
    fn symbol(self) -> u32;
}

impl Slot for u16 {
    const BORDER: Self = Self::MAX;
    const INSIDE: Self = Self::MAX - 1;
    const SYMBOLS: usize = Self::INSIDE as usize;

    fn of(symbol: u32) -> Self {
        symbol as Self
    }

    fn symbol(self) -> u32 {
        u32::from(self)
    }
}

impl Slot for u32 {
    const BORDER: Self = Self::MAX;
    const INSIDE: Self = Self::MAX - 1;
    const SYMBOLS: usize = Self::INSIDE as usize;

    fn of(symbol: u32) -> Self {
        symbol
    }

    fn symbol(self) -> u32 {
        self
    }
}

/// Neighbours of a symbol just merged, none at the ends of the word.
pub struct Around {
    pub left: Option<u32>,
    pub right: Option<u32>,
}

/// So many slots next to each other know where to look for the class of each of them.
const BLOCK: usize = 1 << 8;

/// Words that occur equally often stand side by side.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// Where its last word ends.
    end: usize,
    /// How often each of its words occurs.
    count: u64,
}

/// A part of the slots that a thread can work on alone: whole words, with what separates them.
#[derive(Clone, Debug)]
struct Segment {
    slots: Range<usize>,
    classes: Range<usize>,
}

/// Words stand one behind the other, the most frequent first, with a border before, between and behind them. At the
/// start of a round each symbol takes one slot. One that is merged in the round takes the slots of its two parts and
/// writes its id into the first and the last of them: so both neighbours of any slot are found without links.
///
/// The order of the words says how often each occurs, so that no place needs to know its word.
pub struct Corpus<S> {
    slots: Vec<S>,
    classes: Vec<Class>,
    /// Of each [`BLOCK`] of slots the class that its first one is in, or the next.
    blocks: Vec<u32>,
    segments: Vec<Segment>,
    /// How many slots each symbol takes in this round.
    spans: Vec<u32>,
}

impl<S: Slot> Corpus<S> {
    /// The words of more than one byte, in as many segments as there are threads, or fewer if it is small.
    ///
    /// [`Error::OutOfMemory`] where merging would take more than the options allow.
    pub fn new(words: &impl Words, options: &TrainOptions, pool: Pool<'_>, job: &Job) -> Result<Self> {
        let parts = pool.map_or(1, ThreadPool::current_num_threads);
        let layouts = on_each(pool, (0..parts).collect(), |part| Layout::new(words, part, parts, job))?;
        // A border stands before the first word.
        let len = 1 + layouts.iter().map(Layout::slots).sum::<usize>();
        let needed = (len * (size_of::<S>() + BESIDE)) as u64;
        if options.max_memory.is_some_and(|limit| needed > limit) {
            return Err(Error::OutOfMemory { what: "merging so many distinct pre-tokens", needed });
        }
        if len > u32::MAX as usize {
            let needed = (len * size_of::<u32>()) as u64;
            return Err(Error::OutOfMemory { what: "more than 4 GiB of distinct pre-tokens", needed });
        }
        let mut slots = Vec::new();
        let needed = (len * size_of::<S>()) as u64;
        slots.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what: "the words", needed })?;
        prefer_huge_pages(&mut slots);
        slots.resize(len, S::BORDER);
        let (classes, places) = lay_out(layouts, &mut slots[1..]);
        on_each(pool, places.into_iter().enumerate().collect(), |(part, mut places)| {
            for_each_word(words, part, parts, |word, count| {
                job.check()?;
                places.write(word, count, job)
            })
        })?;
        let mut corpus = Self { slots, classes, blocks: Vec::new(), segments: Vec::new(), spans: vec![1; 256] };
        corpus.cut(options.threads);
        corpus.find_blocks();
        Ok(corpus)
    }

    /// Cuts the slots into segments of about equal length, at ends of words.
    fn cut(&mut self, wanted: usize) {
        let wanted = wanted.min(self.slots.len() / SEGMENT).max(1);
        let mut classes = std::mem::take(&mut self.classes).into_iter().peekable();
        let mut start = 1;
        for number in 1..=wanted {
            let mut end = (self.slots.len() * number / wanted).max(start);
            while end < self.slots.len() && self.slots[end - 1] != S::BORDER {
                end += 1;
            }
            let first = self.classes.len();
            while let Some(class) = classes.next_if(|class| class.end <= end) {
                self.classes.push(class);
            }
            // A class may go on in the next segment.
            if let Some(class) = classes.peek()
                && self.classes.last().map_or(1, |class| class.end) < end
            {
                self.classes.push(Class { end, count: class.count });
            }
            self.segments.push(Segment { slots: start..end, classes: first..self.classes.len() });
            start = end;
        }
    }

    /// Finds the class of each block anew.
    fn find_blocks(&mut self) {
        self.blocks.clear();
        for (number, class) in (0..).zip(&self.classes) {
            self.blocks.resize(self.blocks.len().max(class.end.div_ceil(BLOCK)), number);
        }
    }

    /// How many slots there are, gaps between segments not counted.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.slots.len()).sum()
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Begins a round: each of `symbols` takes one slot again, and words of a single symbol, which can't be merged any
    /// more, are gone. The segments are given to `each_part`, which is to rewrite every one.
    pub fn rewrite<T>(&mut self, symbols: usize, each_part: impl FnOnce(Vec<Part<'_, S>>) -> Result<T>) -> Result<T> {
        let (mut slots, mut classes) = (&mut self.slots[1..], &mut self.classes[..]);
        let mut parts = Vec::new();
        let mut start = 1;
        for segment in &mut self.segments {
            // What an earlier compaction left empty lies between the segments.
            let (part, rest) =
                std::mem::take(&mut slots)[segment.slots.start - start..].split_at_mut(segment.slots.len());
            let (own, others) = std::mem::take(&mut classes).split_at_mut(segment.classes.len());
            start = segment.slots.end;
            (slots, classes) = (rest, others);
            parts.push(Part { slots: part, classes: own, segment, spans: &self.spans });
        }
        let done = each_part(parts)?;
        self.find_blocks();
        self.spans.clear();
        self.spans.resize(symbols, 1);
        Ok(done)
    }

    /// Calls `f` on each pair of slots of a segment at the start of a round, with the slot and how often the word
    /// occurs, from the first to the last. Its first argument tells whether they are a pair of symbols, for one of them
    /// may be a border; whether to look at them is no branch, because nobody could predict it.
    pub fn for_each_pair(
        &self,
        segment: usize,
        job: &Job,
        mut f: impl FnMut(bool, Pair, u32, u64) -> Result<()>,
    ) -> Result<()> {
        let Segment { slots, classes } = &self.segments[segment];
        let mut start = slots.start;
        for class in &self.classes[classes.clone()] {
            while start < class.end {
                job.check()?;
                let end = class.end.min(start + CHECK);
                // One slot more, so that the last symbol meets its neighbour.
                let window = &self.slots[start..(end + 1).min(class.end)];
                for (slot, pair) in (start as u32..).zip(window.windows(2)) {
                    let is_pair = (pair[0] != S::BORDER) & (pair[1] != S::BORDER);
                    f(is_pair, (pair[0].symbol(), pair[1].symbol()), slot, class.count)?;
                }
                start = end;
            }
        }
        Ok(())
    }

    /// The pair of symbols at a slot at the start of a round, which is not the last one of a word.
    #[inline]
    pub fn pair_at(&self, slot: u32) -> Pair {
        let pair = &self.slots[slot as usize..slot as usize + 2];
        (pair[0].symbol(), pair[1].symbol())
    }

    /// How often the word at a slot occurs.
    #[inline]
    pub fn weight(&self, slot: u32) -> u64 {
        weight(&self.classes, &self.blocks, slot)
    }

    /// Asks for the line of a slot.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        prefetch(&self.slots[slot as usize]);
    }

    /// Makes room for the symbol that a pair merges into.
    pub fn begin_merge(&mut self, pair: Pair, merged: u32) {
        debug_assert_eq!(self.spans.len(), merged as usize);
        self.spans.push(self.spans[pair.0 as usize] + self.spans[pair.1 as usize]);
    }

    /// How many slots a symbol takes.
    #[inline]
    pub fn span(&self, symbol: u32) -> u32 {
        self.spans[symbol as usize]
    }

    /// All slots, for one thread to merge in.
    pub fn whole(&mut self) -> Window<'_, S> {
        let Self { slots, classes, blocks, spans, .. } = self;
        Window { slots, offset: 0, classes, blocks, spans }
    }

    /// The slots of each segment, for a thread each to merge in.
    pub fn windows(&mut self) -> Vec<Window<'_, S>> {
        let Self { slots, classes, blocks, spans, segments } = self;
        let (mut rest, mut offset) = (&mut slots[..], 0);
        let windows = segments.iter().map(|segment| {
            // From the border before the first word to the last slot before the border behind the last.
            let Range { start, end } = segment.slots;
            let (_, from_start) = std::mem::take(&mut rest).split_at_mut(start - 1 - offset);
            let (slots, behind) = from_start.split_at_mut(end.max(start) - start);
            (rest, offset) = (behind, start - 1 + slots.len());
            Window { slots, offset: start - 1, classes, blocks, spans }
        });
        windows.collect()
    }
}

/// How often the word at a slot occurs. Nearly all words are rare, and their classes longer than a block.
#[inline]
fn weight(classes: &[Class], blocks: &[u32], slot: u32) -> u64 {
    let slot = slot as usize;
    let mut class = blocks[slot / BLOCK] as usize;
    while classes[class].end <= slot {
        class += 1;
    }
    classes[class].count
}

/// Slots that a thread merges in.
pub struct Window<'c, S> {
    slots: &'c mut [S],
    /// Where they begin in the corpus.
    offset: usize,
    /// Of the whole corpus, as the blocks are.
    classes: &'c [Class],
    blocks: &'c [u32],
    spans: &'c [u32],
}

impl<S: Slot> Window<'_, S> {
    /// Where it ends: all slots from there on are others'.
    pub fn end(&self) -> usize {
        self.offset + self.slots.len()
    }

    /// How often the word at a slot occurs.
    #[inline]
    pub fn weight(&self, slot: u32) -> u64 {
        weight(self.classes, self.blocks, slot)
    }

    /// Asks for the line that merging at a slot will need.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        prefetch(&self.slots[slot as usize - self.offset]);
    }

    /// Merges a pair at a slot, if it still stands there.
    #[inline]
    pub fn merge_at(&mut self, slot: u32, pair: Pair, merged: u32) -> Option<Around> {
        let first = slot as usize - self.offset;
        if self.slots[first] != S::of(pair.0) {
            return None;
        }
        let second = first + self.spans[pair.0 as usize] as usize;
        if self.at(second) != S::of(pair.1) {
            return None;
        }
        let after = second + self.spans[pair.1 as usize] as usize;
        let around = Around { left: self.inner(first - 1), right: self.inner(after) };
        // The two ends that now lie inside; then the new symbol's own, which may be the same slots.
        self.slots[second - 1] = S::INSIDE;
        self.slots[second] = S::INSIDE;
        self.slots[first] = S::of(merged);
        self.slots[after - 1] = S::of(merged);
        Some(around)
    }

    /// What stands in a slot, or right behind the last, where a word has ended.
    #[inline]
    fn at(&self, slot: usize) -> S {
        self.slots.get(slot).copied().unwrap_or(S::BORDER)
    }

    #[inline]
    fn inner(&self, slot: usize) -> Option<u32> {
        let slot = self.at(slot);
        (slot != S::BORDER).then(|| slot.symbol())
    }
}

/// A segment that is being compacted.
pub struct Part<'c, S> {
    slots: &'c mut [S],
    classes: &'c mut [Class],
    segment: &'c mut Segment,
    spans: &'c [u32],
}

impl<S: Slot> Part<'_, S> {
    /// Gives each symbol one slot, and drops words of a single one. Calls `f` on each pair of slots, with the first of
    /// them, as [`for_each_pair`](Corpus::for_each_pair) would afterwards, but that it also meets the words it drops, each as one
    /// symbol before a border: where the next symbol stands depends on the one before, and that takes long enough for
    /// other work to be done meanwhile.
    pub fn compact(self, job: &Job, mut f: impl FnMut(bool, Pair, u32)) -> Result<()> {
        let (spans, base) = (self.spans, self.segment.slots.start);
        self.rewrite(job, |slots, mut at, mut kept| {
            let mut slot = slots[at];
            while slot != S::BORDER {
                slots[kept] = slot;
                at += spans[slot.symbol() as usize] as usize;
                let next = slots[at];
                f(next != S::BORDER, (slot.symbol(), next.symbol()), (base + kept) as u32);
                kept += 1;
                slot = next;
            }
            Ok((at, kept))
        })
    }

    /// Puts symbols in the place of bytes: `symbols_of` appends those of a word. Drops words of a single one.
    pub fn encode(self, symbols_of: impl Fn(&[u8], &mut Vec<u32>) -> Result<()>, job: &Job) -> Result<()> {
        let (mut word, mut symbols) = (Vec::new(), Vec::new());
        self.rewrite(job, |slots, at, kept| {
            word.clear();
            symbols.clear();
            word.extend(slots[at..].iter().take_while(|&&slot| slot != S::BORDER).map(|slot| slot.symbol() as u8));
            symbols_of(&word, &mut symbols)?;
            slots[kept..].iter_mut().zip(&symbols).for_each(|(slot, &symbol)| *slot = S::of(symbol));
            Ok((at + word.len(), kept + symbols.len()))
        })
    }

    /// Moves word by word to the left. `word` writes a word from the slot where it begins to the one where it goes, and
    /// returns where it ended and where it ends now.
    fn rewrite(self, job: &Job, mut word: impl FnMut(&mut [S], usize, usize) -> Result<(usize, usize)>) -> Result<()> {
        let base = self.segment.slots.start;
        let (mut kept, mut at, mut checked) = (0, 0, 0);
        for class in self.classes {
            let end = class.end - base;
            while at < end {
                let (border, now) = word(self.slots, at, kept)?;
                at = border + 1;
                if now - kept > 1 {
                    self.slots[now] = S::BORDER;
                    kept = now + 1;
                }
                if at - checked > CHECK {
                    job.check()?;
                    checked = at;
                }
            }
            class.end = base + kept;
        }
        self.segment.slots.end = base + kept;
        Ok(())
    }
}

/// Something of each count: nearly all words are rare.
struct ByCount<T> {
    small: Vec<T>,
    large: BTreeMap<u64, T>,
}

impl<T: Default> ByCount<T> {
    fn new() -> Self {
        Self { small: (0..SMALL).map(|_| T::default()).collect(), large: BTreeMap::new() }
    }

    #[inline]
    fn of(&mut self, count: u64) -> &mut T {
        if count < SMALL { &mut self.small[count as usize] } else { self.large.entry(count).or_default() }
    }
}

/// How many slots the words of a part take, by their counts.
struct Layout(ByCount<usize>);

impl Layout {
    fn new(words: &impl Words, part: usize, parts: usize, job: &Job) -> Result<Self> {
        let mut slots = ByCount::new();
        for_each_word(words, part, parts, |word, count| {
            job.check()?;
            *slots.of(count) += word.len() + 1;
            Ok(())
        })?;
        Ok(Self(slots))
    }

    fn slots(&self) -> usize {
        self.0.small.iter().chain(self.0.large.values()).sum()
    }
}

/// Where the words of a part go, by their counts.
struct Places<'s, S>(ByCount<&'s mut [S]>);

impl<S: Slot> Places<'_, S> {
    /// Writes a word to the first place that is left, and leaves the border behind it.
    fn write(&mut self, word: &[u8], count: u64, job: &Job) -> Result<()> {
        let left = self.0.of(count);
        let (place, rest) = std::mem::take(left).split_at_mut(word.len() + 1);
        *left = rest;
        for (part, slots) in word.chunks(CHECK).zip(place.chunks_mut(CHECK)) {
            job.check()?;
            part.iter().zip(slots).for_each(|(&byte, slot)| *slot = S::of(u32::from(byte)));
        }
        Ok(())
    }
}

/// Gives each part its places, those of the greatest count first, and says where each count's end.
fn lay_out<S>(mut layouts: Vec<Layout>, mut slots: &mut [S]) -> (Vec<Class>, Vec<Places<'_, S>>) {
    let large: BTreeSet<u64> = layouts.iter().flat_map(|layout| layout.0.large.keys().copied()).collect();
    let mut places: Vec<_> = layouts.iter().map(|_| Places(ByCount::new())).collect();
    let (mut classes, mut end) = (Vec::new(), 1);
    for count in large.into_iter().rev().chain((0..SMALL).rev()) {
        let before = end;
        for (layout, places) in layouts.iter_mut().zip(&mut places) {
            let len = *layout.0.of(count);
            let (own, rest) = std::mem::take(&mut slots).split_at_mut(len);
            (*places.0.of(count), slots) = (own, rest);
            end += len;
        }
        if end > before {
            classes.push(Class { end, count });
        }
    }
    (classes, places)
}

/// Calls `f` on the words of more than one byte in a part: in others there is nothing to merge.
fn for_each_word(
    words: &impl Words,
    part: usize,
    parts: usize,
    mut f: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    words.for_each_of(part, parts, &mut |word, count| if word.len() > 1 { f(word, count) } else { Ok(()) })
}
