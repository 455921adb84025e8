//! The names that a run's files may take, known in this one place: whatever is written, renamed or removed goes by one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::state;
use crate::aside::{folder_of, place};
use crate::input::refuse_overwriting;
use crate::{Error, Result};

/// What is added to the name of a token file by its sidecar, by ids under way, by the record, each of these while it is
/// written, and by the lock.
const SUFFIXES: [&str; 7] =
    ["", ".json", ".json.new", ".partial", ".partial.json", ".partial.json.new", ".partial.lock"];

/// Numbers of more digits than all have may be dates that another program wrote.
const PAST_FIVE_DIGITS: u64 = 100_000;

/// The names of a run's files.
#[derive(Clone, Debug)]
pub struct Names {
    target: PathBuf,
    numbers: usize,
}

/// A file whose name has a number.
struct Numbered {
    path: PathBuf,
    number: u64,
}

impl Names {
    /// The names that come of a target, which may be a link to one. A shard's has one number; where tasks write shards
    /// of their own, there are up to two.
    pub fn new(target: &Path, numbers: usize) -> Result<Self> {
        Ok(Self { target: place(target).map_err(Error::io("write", target))?, numbers })
    }

    /// `name.npy`, or `name-00000.npy` and so on.
    pub fn shard(&self, number: u64) -> PathBuf {
        if self.numbers == 0 {
            return self.target.clone();
        }
        let (stem, ending) = self.parts();
        self.target.with_file_name(format!("{stem}-{number:05}{ending}"))
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    pub(super) fn partial(&self, number: u64) -> PathBuf {
        with_suffix(&self.shard(number), ".partial")
    }

    pub(super) fn lock(&self) -> PathBuf {
        with_suffix(&self.target, ".partial.lock")
    }

    pub(super) fn state(&self) -> PathBuf {
        with_suffix(&self.target, ".partial.json")
    }

    /// Refuses sources that stand where the run may write, or that a link there leads to, whatever shard it would be.
    pub fn refuse(&self, sources: &[PathBuf]) -> Result<()> {
        let whole = SUFFIXES.iter().map(|suffix| with_suffix(&self.target, suffix));
        let numbered = self.numbered()?.into_iter().map(|file| file.path);
        refuse_overwriting(sources, whole.chain(numbered))
    }

    /// The files with numbers that runs have left, in order of their names.
    pub fn left(&self) -> Result<Vec<PathBuf>> {
        Ok(self.left_numbered()?.into_iter().map(|file| file.path).collect())
    }

    fn left_numbered(&self) -> Result<Vec<Numbered>> {
        let mut files = self.numbered()?;
        let numbers: BTreeSet<_> = files.iter().map(|file| file.number).collect();
        // They are a run's if it got there from those of five digits.
        let end = (PAST_FIVE_DIGITS..).find(|number| !numbers.contains(number)).unwrap_or(u64::MAX);
        files.retain(|file| file.number < end);
        Ok(files)
    }

    /// Refuses to mix with the shards of another run, or with `restart` removes what is there.
    pub(super) fn make_room(&self, restart: bool) -> Result<()> {
        if restart {
            state::remove(&self.state())?;
            return self.left()?.iter().try_for_each(|file| state::remove(file));
        }
        if self.state().exists() {
            return Ok(());
        }
        match self.left_numbered()?.iter().find(|file| file.path == self.shard(file.number)) {
            Some(Numbered { path, .. }) => {
                let message = "there are token files of that name already; remove them, or begin anew, with restart";
                Err(Error::Invalid(format!("{}: {message}", path.display())))
            }
            None => Ok(()),
        }
    }

    /// The name before the number, and the ending behind it.
    fn parts(&self) -> (String, String) {
        let name = self.target.file_name().unwrap_or_default().to_string_lossy();
        let (stem, ending) = name.split_at(name.rfind('.').unwrap_or(name.len()));
        (stem.to_owned(), ending.to_owned())
    }

    /// The files that have a name with a number, in order.
    fn numbered(&self) -> Result<Vec<Numbered>> {
        if self.numbers == 0 {
            return Ok(Vec::new());
        }
        let failed = |error| Error::io("write", &self.target)(error);
        let parts = self.parts();
        let mut files = Vec::new();
        for entry in fs::read_dir(folder_of(&self.target)).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(number) = name.to_str().and_then(|name| self.number(name, &parts)) {
                files.push(Numbered { path: self.target.with_file_name(name), number });
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }

    /// The first number in a name that has no more of them than a run gives.
    fn number(&self, name: &str, (stem, ending): &(String, String)) -> Option<u64> {
        let rest = name.strip_prefix(stem)?.strip_prefix('-')?;
        let read = |digits: &str| digits.parse().ok().filter(|number: &u64| format!("{number:05}") == digits);
        let numbers = |suffix: &&str| {
            let digits = rest.strip_suffix(*suffix)?.strip_suffix(ending.as_str())?;
            digits.split('-').map(read).collect::<Option<Vec<_>>>()
        };
        let numbers = SUFFIXES.iter().find_map(numbers)?;
        (numbers.len() <= self.numbers).then_some(numbers[0])
    }
}

/// A path with something added to its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_run_gives_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let own = ["web-00000.npy", "web-00007.npy.json", "web-00002.npy.partial", "web-00002.npy.partial.json.new"];
        let tasks = ["web-00000-00001.npy", "web-00000-00001.npy.partial.lock"];
        let other = ["web-2019.npy", "web-000000.npy", "web-00000.npz", "web-00000.npy.notes", "web-20190101.npy"];
        for name in own.iter().chain(&tasks).chain(&other).chain(&["web.npy", "web--00000.npy", "web-00000-1.npy"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let left = |numbers| {
            let left = Names::new(&folder.path().join("web.npy"), numbers).unwrap().left().unwrap();
            left.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
        };
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(left(0), BTreeSet::new());
        assert_eq!(left(1), set(&own));
        assert_eq!(left(2), set(&[&own[..], &tasks[..]].concat()));
    }

    #[test]
    fn numbers_go_on_past_five_digits() {
        let folder = tempfile::tempdir().unwrap();
        for number in [3, 100_000, 100_001, 100_003] {
            fs::write(folder.path().join(format!("web-{number:05}")), "").unwrap();
        }
        let names = Names::new(&folder.path().join("web"), 1).unwrap();
        assert_eq!(names.left().unwrap(), [3, 100_000, 100_001].map(|number| names.shard(number)));
        names.refuse(&[names.shard(100_003)]).unwrap_err();
        names.refuse(&[names.shard(4)]).unwrap();
    }
}
