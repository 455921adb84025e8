//! Counting words one by one.

use super::{Key, Lookup, WordCounts, inline};
use crate::count::runs::{Run, Spill};
use crate::memory::prefetch;
use crate::pretokenize::SPANS;
use crate::threads::{Pool, on_each};
use crate::{Error, Job, Result};

/// How many words are looked up together at most: while one is compared, the lines of the next ones are on their way.
const BATCH: usize = 2 * SPANS;

/// How many of the most frequent words are counted in a table of their own, small enough for the nearest caches.
const HOT: usize = 1 << 12;

/// A frequent word, the only one of all with its hash's last bits.
#[derive(Clone, Copy, Default)]
struct Hot {
    key: Key,
    /// Since it came here.
    count: u64,
    /// Before it came here.
    before: u64,
}

/// Counts words one by one, fast. What does not fit goes to runs.
pub struct Tally<'j> {
    words: WordCounts,
    hot: Box<[Hot; HOT]>,
    /// Words of the text under way that are not hot, to be looked up together.
    waiting: [Lookup; BATCH],
    len: usize,
    outcome: Result<()>,
    /// None where all must fit.
    spill: Option<Spill>,
    job: &'j Job,
}

impl<'j> Tally<'j> {
    pub fn new(job: &'j Job) -> Self {
        let waiting = [Lookup::default(); BATCH];
        let hot = Box::new([Hot::default(); HOT]);
        Self { words: WordCounts::default(), hot, waiting, len: 0, outcome: Ok(()), spill: None, job }
    }

    /// One that takes `room` bytes and spills the rest.
    pub fn within(room: usize, job: &'j Job) -> Self {
        let mut tally = Self::new(job);
        tally.words.room = room;
        tally.spill = Some(Spill::default());
        tally
    }

    /// Counts words that follow one another in a text once more each, up to [`SPANS`]: the start of the first, and all their
    /// ends, which count from `base`. Before the first is looked up, the lines for all of them are on their way.
    #[inline(always)]
    pub fn push(&mut self, text: &[u8], base: usize, start: usize, ends: &[usize]) {
        let (seed, mut start) = (self.words.seed, base + start);
        let words = &mut self.waiting[self.len..][..ends.len()];
        for (word, end) in words.iter_mut().zip(ends) {
            let end = base + end;
            let (key, hash) = Key::of(text, start, end, seed);
            prefetch(&self.hot[hash as usize % HOT]);
            *word = Lookup { key, hash, start };
            start = end;
        }
        let mut waiting = 0;
        for at in 0..words.len() {
            let word = words[at];
            let hot = &mut self.hot[word.hash as usize % HOT];
            // Which way a word goes is no branch: nobody could predict it.
            let is_hot = (hot.key.low ^ word.key.low) | (hot.key.high ^ word.key.high) == 0;
            hot.count += u64::from(is_hot);
            words[waiting] = word;
            waiting += usize::from(!is_hot);
        }
        self.len += waiting;
        if self.len > BATCH - SPANS {
            self.flush(text);
        }
    }

    /// Ends a text; the first error there was.
    pub fn end_text(&mut self, text: &[u8]) -> Result<()> {
        self.flush(text);
        std::mem::replace(&mut self.outcome, Ok(()))
    }

    /// Brings the hot words into the table.
    fn settle(&mut self) -> Result<()> {
        for hot in std::mem::replace(&mut *self.hot, [Hot::default(); HOT]) {
            self.cool(&hot);
        }
        std::mem::replace(&mut self.outcome, Ok(()))
    }

    /// All that some tallies hold, in one: in memory, as long as none has spilled and there is room for all.
    pub fn join(mut tallies: Vec<Self>, pool: Pool<'_>, job: &'j Job) -> Result<Self> {
        on_each(pool, tallies.iter_mut().collect(), Self::settle)?;
        let stay_apart = tallies.iter().any(Self::has_spilled) || !Self::join_tables(&mut tallies, pool, job)?;
        if stay_apart && tallies.len() > 1 {
            on_each(pool, tallies.iter_mut().collect(), Self::spill)?;
        }
        let mut tallies = tallies.into_iter();
        let mut all = tallies.next().unwrap_or_else(|| Self::new(job));
        for other in tallies {
            if let (Some(own), Some(others)) = (&mut all.spill, other.spill) {
                own.take(others);
            }
        }
        Ok(all)
    }

    /// Brings all words together in the first one's table, unless there is no room for them.
    fn join_tables(tallies: &mut [Self], pool: Pool<'_>, job: &Job) -> Result<bool> {
        if tallies.len() <= 1 {
            return Ok(true);
        }
        let room = tallies.iter().fold(0, |room: usize, tally| room.saturating_add(tally.words.room));
        let mut tables: Vec<_> = tallies.iter_mut().map(|tally| std::mem::take(&mut tally.words)).collect();
        match WordCounts::for_all(&mut tables, room) {
            Ok(mut all) => {
                all.take_in(&tables, pool, job)?;
                tallies[0].words = all;
                Ok(true)
            }
            Err(refused) => {
                tallies.iter_mut().zip(tables).for_each(|(tally, table)| tally.words = table);
                if tallies.iter().any(|tally| tally.spill.is_none()) { Err(refused) } else { Ok(false) }
            }
        }
    }

    /// Everything in runs; none where it is all in the table.
    pub fn runs(&mut self) -> Result<Vec<Run>> {
        if self.has_spilled() {
            self.spill()?;
        }
        Ok(self.spill.take().map(Spill::into_runs).unwrap_or_default())
    }

    /// The table.
    pub fn into_words(mut self) -> WordCounts {
        self.words.room = usize::MAX;
        self.words
    }

    /// How many words are in the table.
    pub fn len(&self) -> usize {
        self.words.len
    }

    /// Whether nothing was counted. A word that became hot was in the table before, or is in a run.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.has_spilled()
    }

    fn has_spilled(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| !spill.is_empty())
    }

    fn spill(&mut self) -> Result<()> {
        self.spill.as_mut().map_or(Ok(()), |spill| spill.write(&mut self.words, self.job))
    }

    fn add(&mut self, word: &[u8], times: u64) -> Result<()> {
        self.words.add(word, times).or_else(|refused| {
            self.make_room(refused)?;
            self.words.add(word, times)
        })
    }

    /// Where a word did not fit, spills all others.
    #[cold]
    fn make_room(&mut self, refused: Error) -> Result<()> {
        match (&refused, &mut self.spill) {
            (Error::OutOfMemory { .. }, Some(spill)) if !self.words.is_empty() => {
                spill.write(&mut self.words, self.job)
            }
            _ => Err(refused),
        }
    }

    #[inline(never)]
    fn flush(&mut self, text: &[u8]) {
        let waiting = std::mem::take(&mut self.len);
        self.waiting[..waiting].iter().for_each(|lookup| self.words.prefetch(lookup.hash));
        for at in 0..waiting {
            let lookup = self.waiting[at];
            match self.words.count(text, &lookup, 1) {
                Ok(count) if !lookup.key.is_elsewhere() => self.warm_up(&lookup, count),
                Ok(_) => {}
                Err(refused) => self.count_again(text, &lookup, refused),
            }
        }
    }

    #[cold]
    fn count_again(&mut self, text: &[u8], lookup: &Lookup, refused: Error) {
        let counted = self.make_room(refused).and_then(|()| self.words.count(text, lookup, 1));
        if let Err(error) = counted {
            self.fail(error);
        }
    }

    /// Makes a word hot in place of one that is less frequent.
    #[inline]
    fn warm_up(&mut self, lookup: &Lookup, count: u64) {
        let hot = &mut self.hot[lookup.hash as usize % HOT];
        if count > 2 * (hot.before + hot.count) {
            let cooled = std::mem::replace(hot, Hot { key: lookup.key, count: 0, before: count });
            self.cool(&cooled);
        }
    }

    #[cold]
    fn cool(&mut self, hot: &Hot) {
        if hot.count > 0 {
            let bytes = hot.key.to_bytes();
            if let Err(error) = self.add(inline(&bytes), hot.count) {
                self.fail(error);
            }
        }
    }

    #[cold]
    fn fail(&mut self, error: Error) {
        if self.outcome.is_ok() {
            self.outcome = Err(error);
        }
    }
}
