//! Any other regular expression, with the meaning it has in Python's `regex`, run by `fancy-regex`.

use fancy_regex::{Regex, RegexBuilder};

use super::dialect;
use crate::{Error, Job, Result};

/// How much the engine may go back and forth on one match before it gives up.
const BACKTRACK_LIMIT: usize = 50_000_000;

/// A compiled custom pattern.
#[derive(Clone, Debug)]
pub struct Custom {
    source: String,
    regex: Regex,
}

impl Custom {
    /// Translates and compiles a pattern.
    pub fn new(source: &str) -> Result<Self> {
        let refuse = |reason: String| Error::Pattern { pattern: source.to_owned(), reason };
        let translated = dialect::translate(source).map_err(refuse)?;
        let regex = RegexBuilder::new(&translated)
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| refuse(format!("is not a regular expression that can be run: {error}")))?;
        let custom = Self { source: source.to_owned(), regex };
        custom.check_takes_something()?;
        Ok(custom)
    }

    /// The pattern as given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Calls `f` on start and end of each match and of each stretch between two of them, in order.
    ///
    /// The engine's own iterator passes over an empty match that touches the match before it; here it is an error.
    pub fn for_each_span(&self, text: &str, job: &Job, mut f: impl FnMut(usize, usize)) -> Result<()> {
        let mut done = 0;
        // Any match may have taken the engine through all the rest of the text.
        while let Some(found) = self.regex.find_from_pos(text, done).map_err(|error| self.failed(&error))? {
            if found.start() == found.end() {
                return Err(self.matches_nothing(&format!("at byte {} of a text", found.start())));
            }
            if done < found.start() {
                f(done, found.start());
            }
            f(found.start(), found.end());
            done = found.end();
            job.check()?;
        }
        if done < text.len() {
            f(done, text.len());
        }
        Ok(())
    }

    /// Looks for a text in which the pattern matches the empty string. Without assertions it does so in the empty text
    /// or nowhere; with them, the short texts of its own letters are tried, and what they don't show is found when it
    /// happens.
    fn check_takes_something(&self) -> Result<()> {
        for text in probes(&self.source) {
            let mut position = 0;
            // Where the engine gives up here, it may do so on the caller's text too, which is the place to say it.
            while let Ok(Some(found)) = self.regex.find_from_pos(&text, position) {
                if found.start() == found.end() {
                    return Err(self.matches_nothing(&format!("at byte {} of {text:?}", found.start())));
                }
                position = found.end();
            }
        }
        Ok(())
    }

    fn matches_nothing(&self, place: &str) -> Error {
        let reason = format!("matches the empty string ({place}); make it take at least one character");
        Error::Pattern { pattern: self.source.clone(), reason }
    }

    fn failed(&self, error: &fancy_regex::Error) -> Error {
        let reason =
            format!("gave up on a text: {error}; use possessive quantifiers (++) or atomic groups (?>...) to bound it");
        Error::Pattern { pattern: self.source.clone(), reason }
    }
}

/// The empty text; and for a pattern with assertions itself, each of its characters and some others, and their pairs.
fn probes(source: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    if !["(?=", "(?!", "(?<", r"\b", r"\B", "^", "$", r"\A", r"\Z", r"\z"].iter().any(|open| source.contains(open)) {
        return texts;
    }
    if source.len() <= 1000 {
        texts.push(source.to_owned());
    }
    let mut alphabet = vec!['a', 'A', ' ', '1', '.', '\n'];
    for character in source.chars() {
        if alphabet.len() < 24 && !alphabet.contains(&character) {
            alphabet.push(character);
        }
    }
    texts.extend(alphabet.iter().map(char::to_string));
    texts.extend(alphabet.iter().flat_map(|a| alphabet.iter().map(move |b| format!("{a}{b}"))));
    texts
}
