//! Any other regular expression, with the meaning it has in Python's `regex`.
//!
//! The engine is `fancy-regex`. Where both engines read a piece of syntax alike it is passed on, where a spelling with the
//! same meaning exists it is translated, and everything else is refused: a pattern never means something else here.

use fancy_regex::{Regex, RegexBuilder};

use crate::{Error, Result};

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
        let translated = Translator::new(source).run().map_err(refuse)?;
        let regex = RegexBuilder::new(&translated)
            .backtrack_limit(BACKTRACK_LIMIT)
            .build()
            .map_err(|error| refuse(format!("is not a valid regular expression: {error}")))?;
        let custom = Self { source: source.to_owned(), regex };
        // Most patterns that match the empty string do so on the empty string; the others are found when they do it.
        match custom.regex.is_match("") {
            Ok(true) => Err(custom.matches_nothing(0)),
            Ok(false) => Ok(custom),
            Err(error) => Err(custom.failed(&error)),
        }
    }

    /// The pattern as given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Calls `f` on each match and on each stretch between two of them, in order.
    pub fn for_each<'t>(&self, text: &'t str, mut f: impl FnMut(&'t str)) -> Result<()> {
        let mut done = 0;
        for found in self.regex.find_iter(text) {
            let found = found.map_err(|error| self.failed(&error))?;
            if found.start() == found.end() {
                return Err(self.matches_nothing(found.start()));
            }
            if done < found.start() {
                f(&text[done..found.start()]);
            }
            f(&text[found.start()..found.end()]);
            done = found.end();
        }
        if done < text.len() {
            f(&text[done..]);
        }
        Ok(())
    }

    fn matches_nothing(&self, position: usize) -> Error {
        let reason =
            format!("matches the empty string (at byte {position} of a text); make it take at least one character");
        Error::Pattern { pattern: self.source.clone(), reason }
    }

    fn failed(&self, error: &fancy_regex::Error) -> Error {
        let reason =
            format!("gave up on a text: {error}; use possessive quantifiers (++) or atomic groups (?>...) to bound it");
        Error::Pattern { pattern: self.source.clone(), reason }
    }
}

/// Reads a pattern from left to right and writes it for the engine.
struct Translator<'p> {
    rest: std::iter::Peekable<std::str::CharIndices<'p>>,
    source: &'p str,
    out: String,
}

impl<'p> Translator<'p> {
    fn new(source: &'p str) -> Self {
        Self { rest: source.char_indices().peekable(), source, out: String::new() }
    }

    fn run(mut self) -> Result<String, String> {
        while let Some((position, character)) = self.rest.next() {
            match character {
                '\\' => self.escape(position, false)?,
                '[' => self.class(position)?,
                '(' => self.group(position)?,
                '{' => self.repetition(position)?,
                // Python's `^` and `$` without the flag for lines: the start, and the end or before a last line end.
                '^' => self.out.push_str(r"\A"),
                '$' => self.out.push_str(r"(?=\n?\z)"),
                other => self.out.push(other),
            }
        }
        Ok(self.out)
    }

    fn escape(&mut self, position: usize, in_class: bool) -> Result<(), String> {
        let Some((_, character)) = self.rest.next() else {
            return Err(format!("ends with a lone backslash at byte {position}; write \\\\ for the character itself"));
        };
        match character {
            'p' | 'P' => self.property(position, character),
            's' | 'S' | 'w' | 'W' | 'd' | 'D' | 'n' | 'r' | 't' | 'f' | 'a' => self.push_escape(character),
            'v' => self.push_text(r"\x0B"),
            'x' => self.hexadecimal(position, 2),
            'u' => self.hexadecimal(position, 4),
            'U' => self.hexadecimal(position, 8),
            'b' | 'B' | 'A' if !in_class => self.push_escape(character),
            'Z' | 'z' if !in_class => self.push_text(r"\z"),
            '1'..='9' if !in_class => self.push_escape(character),
            other if other.is_ascii_punctuation() || other == ' ' => {
                self.push_text(&fancy_regex::escape(&other.to_string()))
            }
            other if !other.is_ascii() => self.push_text(&other.to_string()),
            other => Err(format!("\\{other} at byte {position} is not supported; {}", supported(in_class))),
        }
    }

    fn push_escape(&mut self, character: char) -> Result<(), String> {
        self.out.push('\\');
        self.out.push(character);
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), String> {
        self.out.push_str(text);
        Ok(())
    }

    /// `\p{...}`, `\pL`: general categories and their groups, scripts by name; both engines know these alike.
    fn property(&mut self, position: usize, kind: char) -> Result<(), String> {
        let rest = &self.source[position + 2..];
        let name = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map(|(name, _)| name),
            None => rest.get(..1),
        };
        let known = name.is_some_and(|name| CATEGORIES.contains(&name) || PROPERTIES.contains(&name));
        let Some(name) = name.filter(|_| known) else {
            return Err(format!(
                "the property at byte {position} is not supported; use a general category such as \\p{{L}}, \\p{{Lu}}, \
                 \\p{{N}}, \\p{{P}}, or one of {}",
                PROPERTIES.join(", ")
            ));
        };
        let consumed = if rest.starts_with('{') { name.chars().count() + 2 } else { 1 };
        self.rest.by_ref().take(consumed).for_each(drop);
        self.out.push_str(&format!("\\{kind}{{{name}}}"));
        Ok(())
    }

    fn hexadecimal(&mut self, position: usize, digits: usize) -> Result<(), String> {
        let text: String = self.rest.by_ref().take(digits).map(|(_, digit)| digit).collect();
        let character = u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == digits).and_then(char::from_u32);
        let Some(character) = character else {
            return Err(format!("the escape at byte {position} needs {digits} hexadecimal digits of a character"));
        };
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
        Ok(())
    }

    /// `[...]`. Nested sets and set operations mean different things to different engines and are refused.
    fn class(&mut self, start: usize) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if(|&(_, c)| c == '^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        let mut previous = '\0';
        while let Some((position, character)) = self.rest.next() {
            match character {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                ']' | '&' | '~' => self.push_text(&format!("\\{character}"))?,
                '[' => {
                    return Err(format!(
                        "'[' inside a set at byte {position} is ambiguous; write \\[ for the character"
                    ));
                }
                '\\' => self.escape(position, true)?,
                other => self.out.push(other),
            }
            if previous == character && matches!(character, '&' | '-' | '~' | '|') {
                return Err(format!(
                    "'{character}{character}' at byte {position} is a set operation in some engines; escape it"
                ));
            }
            previous = if character == '\\' { '\0' } else { character };
            first = false;
        }
        Err(format!("the set that starts at byte {start} is not closed; add a ]"))
    }

    /// `(`, and of the extensions `(?...)` those that mean the same everywhere.
    fn group(&mut self, position: usize) -> Result<(), String> {
        let rest = &self.source[position + 1..];
        let known = ["?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"].into_iter().find(|open| rest.starts_with(open));
        let open = match known {
            Some(open) => open,
            None if rest.starts_with("?i)") && position == 0 => "?i",
            None if rest.starts_with('?') => {
                return Err(format!(
                    "the group at byte {position} is not supported; use (...), (?:...), (?>...), (?=...), (?!...), \
                     (?<=...), (?<!...), (?i:...) or (?i) at the start"
                ));
            }
            None => "",
        };
        if open.starts_with("?i") && self.source[position..].contains(['i', 'I', 'ı', 'İ']) && {
            // `i` of the group's own flag does not count.
            self.source[position + 1 + open.len()..].contains(['i', 'I', 'ı', 'İ'])
        } {
            return Err(format!(
                "without regard to case (at byte {position}) the letter i is also the Turkish ones in Python's regex; \
                 write [iI] outside the group"
            ));
        }
        self.out.push('(');
        self.out.push_str(open);
        self.rest.by_ref().take(open.len()).for_each(drop);
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}`.
    fn repetition(&mut self, position: usize) -> Result<(), String> {
        let inner = self.source[position + 1..].split_once('}').map(|(inner, _)| inner);
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let valid = |inner: &str| match inner.split_once(',') {
            Some((low, high)) => number(low) && (high.is_empty() || number(high)),
            None => number(inner),
        };
        let Some(inner) = inner.filter(|inner| valid(inner)) else {
            return Err(format!(
                "'{{' at byte {position} starts no repetition {{n}}, {{n,}} or {{n,m}}; write \\{{ for the character"
            ));
        };
        self.out.push('{');
        self.out.push_str(inner);
        self.out.push('}');
        self.rest.by_ref().take(inner.len() + 1).for_each(drop);
        Ok(())
    }
}

fn supported(in_class: bool) -> &'static str {
    if in_class {
        r"supported in a set: \p{..} \P{..} \s \S \w \W \d \D \n \r \t \f \v \a \xHH \uHHHH and escaped signs"
    } else {
        r"supported: \p{..} \P{..} \s \S \w \W \d \D \b \B \A \z \n \r \t \f \v \a \xHH \uHHHH, \1 to \9 and escaped signs"
    }
}

/// General categories and their groups.
const CATEGORIES: [&str; 37] = [
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe", "Pi",
    "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Co", "Cn", "Cs",
];

/// Properties and scripts that both engines spell alike.
const PROPERTIES: [&str; 14] = [
    "Alphabetic",
    "White_Space",
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Latin",
    "Greek",
    "Cyrillic",
    "Arabic",
    "Hebrew",
    "Thai",
    "Devanagari",
    "Cherokee",
];
