//! Token files under way: ids go to the end of one; now and then, what is needed to go on from there is put on record.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::names::Names;
use super::part::{Encoded, Tail};
use super::source::Position;
use super::state::{self, FORMAT, Finished, Shard, State, Stretch, Totals};
use super::{TokenFilesOptions, hex};
use crate::count::name_all;
use crate::formats::token_file::{Dtype, HEADER, describe, header, sidecar};
use crate::input::display;
use crate::tokenizer::{SpecialPolicy, Tokenizer, characters};
use crate::{Error, Result};

/// Between two records at least so many times as long passes as the first took.
const TIMES: u32 = 20;

/// Writes a run's token files.
pub struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    options: &'a TokenFilesOptions,
    paths: &'a [PathBuf],
    dtype: Dtype,
    names: Names,
    may_refuse: bool,
    /// Locked as long as it is open.
    _lock: File,
    file: File,
    hash: Sha256,
    inputs: Sha256,
    pub state: State,
    recorded: Instant,
    pause: Duration,
    has_record: bool,
    /// Whether all of what was begun is written, so that a record can be made.
    between_parts: bool,
}

impl<'a> Writer<'a> {
    /// Goes on from what a run left, or begins.
    pub fn new(
        tokenizer: &'a Tokenizer,
        options: &'a TokenFilesOptions,
        paths: &'a [PathBuf],
        dtype: Dtype,
        names: Names,
        may_refuse: bool,
    ) -> Result<Self> {
        let (locked, path) = (lock(&names)?, names.lock());
        let begun = Self::begin(tokenizer, options, paths, dtype, names, may_refuse, locked);
        // A run that did not begin leaves nothing of its own.
        begun.inspect_err(|_| drop(state::remove(&path)))
    }

    fn begin(
        tokenizer: &'a Tokenizer,
        options: &'a TokenFilesOptions,
        paths: &'a [PathBuf],
        dtype: Dtype,
        names: Names,
        may_refuse: bool,
        locked: File,
    ) -> Result<Self> {
        names.make_room(options.restart)?;
        let job = describe_job(tokenizer, options, dtype);
        let left = state::read(&names.state())?;
        let mut inputs = Sha256::new();
        let state = match left {
            Some(left) => {
                let other = |what: &str| {
                    let path = names.target().display();
                    let advice = "run it as before to go on, or begin anew, with restart";
                    Error::Invalid(format!("{path}: a run with other {what} was stopped there; {advice}"))
                };
                if left.job != job {
                    return Err(other(&format!("options ({})", differences(&left.job, &job))));
                }
                let before = paths.get(..left.position.source).ok_or_else(|| other("inputs"))?;
                before.iter().try_for_each(|path| add_identity(&mut inputs, path))?;
                if hex(&inputs) != left.inputs {
                    return Err(other("inputs"));
                }
                left
            }
            None => {
                let none = (Position::default(), Shard::default(), Totals::default());
                let (position, shard, totals) = none;
                let inputs = String::new();
                State {
                    format: FORMAT.to_owned(),
                    version: 1,
                    job,
                    inputs,
                    position,
                    filled: false,
                    separated: false,
                    shard,
                    finished: Vec::new(),
                    totals,
                }
            }
        };
        // First, for in a run without shards the next file has the same name.
        let mut state = state;
        name_finished(&names, &mut state)?;
        let file = open(&names, &state.shard, dtype.width())?;
        let (hash, recorded, pause) = (Sha256::new(), Instant::now(), options.record_every);
        let has_record = names.state().exists();
        Ok(Self {
            tokenizer,
            options,
            paths,
            dtype,
            names,
            may_refuse,
            _lock: locked,
            file,
            hash,
            inputs,
            state,
            recorded,
            pause,
            has_record,
            between_parts: true,
        })
    }

    /// The hash of the text before the place, in its input.
    pub fn set_hash(&mut self, hash: Sha256) {
        self.hash = hash;
    }

    /// Writes a part. Where it can't, nothing of it counts.
    pub fn add(&mut self, part: Result<Encoded>) -> Result<()> {
        let mut part = part?;
        if let Some(error) = part.refused {
            return Err(self.placed(error, part.rows));
        }
        if part.ends {
            self.end_input()?;
        } else {
            self.separate(&mut part);
            self.between_parts = false;
            self.write(&part)?;
            self.between_parts = true;
        }
        if !self.state.finished.is_empty() {
            self.record()?;
            return name_finished(&self.names, &mut self.state);
        }
        if self.recorded.elapsed() >= self.pause { self.record() } else { Ok(()) }
    }

    /// Ends a text with a separator, unless it ends with one.
    fn separate(&mut self, part: &mut Encoded) {
        if part.tail != Tail::Blank {
            self.state.separated = part.tail == Tail::Separated;
        }
        if part.closes && !self.state.separated {
            part.separate(self.options.separator.as_ref());
        }
    }

    fn write(&mut self, part: &Encoded) -> Result<()> {
        let ends = part.stretches.ends(&mut self.state.filled);
        let (mut first, mut text, mut counted) = (0, 0, 0);
        while first < part.ids.len() {
            let room = self.options.shard_tokens.map_or(u64::MAX, |most| most - self.state.shard.tokens);
            if room == 0 {
                self.end_shard()?;
                continue;
            }
            let end = first.saturating_add(usize::try_from(room).unwrap_or(usize::MAX)).min(part.ids.len());
            let until = if end == part.ids.len() { part.text.len() } else { text + self.text_of(part, first, end) };
            self.append(&part.ids[first..end])?;
            let documents = ends[counted..].iter().take_while(|&&at| at <= until).count();
            counted += documents;
            self.state.totals.documents += documents as u64;
            self.state.shard.documents += documents as u64;
            self.pass(&part.text.as_bytes()[text..until]);
            (first, text) = (end, until);
        }
        self.state.totals.separators += part.added.len() as u64;
        self.state.position.rows += part.rows;
        Ok(())
    }

    /// How many bytes of text some of a part's ids stand for.
    fn text_of(&self, part: &Encoded, first: usize, end: usize) -> usize {
        let all: usize =
            part.ids[first..end].iter().map(|&id| self.tokenizer.id_to_token(id).map_or(0, <[u8]>::len)).sum();
        let added = part.added.iter().filter(|&&at| (first..end).contains(&at)).count();
        all - added * self.options.separator.as_ref().map_or(0, |separator| separator.token.len())
    }

    fn append(&mut self, ids: &[u32]) -> Result<()> {
        let width = self.dtype.width();
        let mut bytes = Vec::with_capacity(ids.len() * width);
        if width == 2 {
            bytes.extend(ids.iter().flat_map(|&id| (id as u16).to_le_bytes()));
        } else {
            bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        }
        self.file.write_all(&bytes).map_err(Error::io("write", self.names.shard(self.state.shard.number)))?;
        self.state.shard.tokens += ids.len() as u64;
        self.state.totals.tokens += ids.len() as u64;
        Ok(())
    }

    /// Moves on in the input under way.
    fn pass(&mut self, text: &[u8]) {
        self.hash.update(text);
        self.state.position.bytes += text.len() as u64;
        self.state.totals.bytes += text.len() as u64;
        if self.may_refuse {
            self.state.position.characters += characters(text);
        }
    }

    /// What the shard holds of the input under way.
    fn stretch(&self) -> Stretch {
        let path = &self.paths[self.state.position.source];
        let name = path.file_name().map_or_else(|| display(path), |name| name.to_string_lossy().into_owned());
        let (begin, end) = (self.state.shard.begin, self.state.position.bytes);
        Stretch { name, begin, bytes: end - begin, sha256: hex(&self.hash) }
    }

    fn end_input(&mut self) -> Result<()> {
        let stretch = self.stretch();
        self.state.shard.source.push(stretch);
        add_identity(&mut self.inputs, &self.paths[self.state.position.source])?;
        self.hash = Sha256::new();
        self.state.position = Position { source: self.state.position.source + 1, ..Position::default() };
        self.state.shard.begin = 0;
        self.state.separated = false;
        Ok(())
    }

    /// Finishes a shard and begins the next one. Names wait for the end of the part, where a record can be made.
    fn end_shard(&mut self) -> Result<()> {
        if self.state.position.bytes > self.state.shard.begin {
            let stretch = self.stretch();
            self.state.shard.source.push(stretch);
        }
        self.finish_file()?;
        self.file = open(&self.names, &self.state.shard, self.dtype.width())?;
        Ok(())
    }

    /// Makes the file whole.
    fn finish_file(&mut self) -> Result<()> {
        let path = self.names.shard(self.state.shard.number);
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("write", &path))?;
        self.file.write_all(&header(self.dtype, self.state.shard.tokens)).map_err(Error::io("write", &path))?;
        self.file.sync_all().map_err(Error::io("write", &path))?;
        self.state.finished.push(Finished { number: self.state.shard.number, sidecar: self.describe() });
        let (number, begin) = (self.state.shard.number + 1, self.state.position.bytes);
        self.state.shard = Shard { number, begin, ..Shard::default() };
        Ok(())
    }

    /// After an error: keeps what a record says, or makes one if `keep` asks for it; else leaves nothing.
    pub fn give_up(&mut self, keep: bool) -> Result<()> {
        match (self.between_parts && self.state.totals.bytes > 0, self.has_record) {
            (true, true) => self.record(),
            (true, false) if keep => self.record(),
            (_, true) => Ok(()),
            (_, false) => self.discard(),
        }
    }

    /// Puts on record how far the run is.
    fn record(&mut self) -> Result<()> {
        let began = Instant::now();
        self.file.sync_data().map_err(Error::io("write", self.names.partial(self.state.shard.number)))?;
        self.record_place()?;
        self.recorded = Instant::now();
        self.pause = self.options.record_every.max(TIMES * began.elapsed());
        Ok(())
    }

    fn record_place(&mut self) -> Result<()> {
        self.state.position.sha256 = hex(&self.hash);
        self.state.inputs = hex(&self.inputs);
        let content = serde_json::to_vec_pretty(&self.state).map_err(|error| Error::Invalid(error.to_string()))?;
        state::write(&self.names.state(), &content)?;
        self.has_record = true;
        Ok(())
    }

    /// Finishes the last file, and ends the run.
    pub fn finish(mut self) -> Result<(Totals, Vec<PathBuf>)> {
        if self.state.totals.bytes == 0 {
            self.discard()?;
            return Err(Error::EmptyCorpus { origin: name_all(self.paths) });
        }
        // It is empty if the run was stopped at the very end.
        if self.state.shard.tokens > 0 {
            self.finish_file()?;
            self.record_place()?;
            name_finished(&self.names, &mut self.state)?;
        }
        self.discard()?;
        let files = (0..self.state.shard.number).map(|number| self.names.shard(number)).collect();
        Ok((self.state.totals, files))
    }

    /// Removes what is under way.
    fn discard(&self) -> Result<()> {
        for Finished { number, .. } in &self.state.finished {
            state::remove(&self.names.partial(*number))?;
        }
        state::remove(&self.names.partial(self.state.shard.number))?;
        state::remove(&self.names.lock())?;
        // Last, so that who is killed before it comes here again.
        state::remove(&self.names.state())
    }

    /// An error with its place in the input instead of in the part.
    fn placed(&self, error: Error, before: u64) -> Error {
        let Position { source, bytes, characters, rows, .. } = self.state.position;
        let path = &self.paths[source];
        let Error::DisallowedSpecial { token, byte_offset, char_offset } = error else { return error };
        if self.options.input.is_documents(path) {
            let origin = format!("{}, document {}", display(path), rows + before + 1);
            return Error::In {
                origin,
                source: Box::new(Error::DisallowedSpecial { token, byte_offset, char_offset }),
            };
        }
        let (byte_offset, char_offset) = (bytes + byte_offset, characters + char_offset);
        let source = Box::new(Error::DisallowedSpecial { token, byte_offset, char_offset });
        Error::In { origin: display(path), source }
    }

    fn describe(&self) -> String {
        let shard = &self.state.shard;
        let mut info = describe(self.tokenizer, self.dtype, shard.tokens, shard.documents, json!(shard.source));
        info["shard"] = json!(self.options.shard_tokens.map(|_| shard.number));
        info["separator"] = json!(self.options.separator.as_ref().map(|separator| &separator.token));
        format!("{info:#}\n")
    }
}

/// Gives a finished file its name, and then its sidecar.
fn name_finished(names: &Names, state: &mut State) -> Result<()> {
    for Finished { number, sidecar: content } in state.finished.drain(..) {
        let (partial, shard) = (names.partial(number), names.shard(number));
        // After a crash it may have the name already.
        if partial.exists() {
            state::rename(&partial, &shard)?;
        }
        state::write(&sidecar(&shard), content.as_bytes())?;
    }
    Ok(())
}

/// Sees to it that no other process writes the same files.
fn lock(names: &Names) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(names.lock());
    let file = file.map_err(Error::io("write", names.target()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let message = "another process is writing it; wait for that, or choose another name";
            Err(Error::Invalid(format!("{}: {message}", names.target().display())))
        }
        // Where the file system knows no locks, the caller has to see to it.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(file),
    }
}

/// What decides about the ids, but for the inputs.
fn describe_job(tokenizer: &Tokenizer, options: &TokenFilesOptions, dtype: Dtype) -> serde_json::Value {
    let special = match &options.policy {
        // A set has no order.
        SpecialPolicy::Allowed(names) => format!("{:?}", names.iter().collect::<BTreeSet<_>>()),
        policy => format!("{policy:?}"),
    };
    json!({
        "vocabulary_hash": tokenizer.hash_hex(),
        "dtype": dtype.name(),
        "special": special,
        "separator": options.separator.as_ref().map(|separator| separator.id),
        "shard_tokens": options.shard_tokens,
        "format": options.input.format.map(|format| format!("{format:?}")),
        "text_column": options.input.text_column,
    })
}

/// What differs in two jobs, by the names that callers know.
fn differences(one: &serde_json::Value, other: &serde_json::Value) -> String {
    let named = |key: &str| match key {
        "vocabulary_hash" => "tokenizer".to_owned(),
        "format" => "input_format".to_owned(),
        _ => key.to_owned(),
    };
    let keys = other.as_object().into_iter().flat_map(|job| job.keys());
    keys.filter(|key| one.get(key) != other.get(key)).map(|key| named(key)).collect::<Vec<_>>().join(", ")
}

/// Adds what tells whether an input is still the same, without reading it.
fn add_identity(hash: &mut Sha256, path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
    let time = metadata.as_ref().and_then(|data| data.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    let (size, time) = (metadata.map(|data| data.len()), time.map(|time| time.as_nanos()));
    hash.update(format!("{path:?} {size:?} {time:?}\n"));
    Ok(())
}

/// Opens the file of a shard for more ids.
fn open(names: &Names, shard: &Shard, width: usize) -> Result<File> {
    let path = names.partial(shard.number);
    let failed = |error| Error::io("write", names.shard(shard.number))(error);
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let length = HEADER as u64 + shard.tokens * width as u64;
    if shard.tokens > 0 && file.metadata().map_err(failed)?.len() < length {
        let message = "it holds less than was written to it; begin anew, with restart";
        return Err(Error::Invalid(format!("{}: {message}", path.display())));
    }
    // What was written after the last record is written again.
    file.set_len(length).map_err(failed)?;
    file.seek(SeekFrom::Start(length)).map_err(failed)?;
    Ok(file)
}
