//! Patterns as Oniguruma reads them, the regex engine of Hugging Face `tokenizers`.

use std::iter::Peekable;
use std::str::Chars;

use crate::pretokenize::Pattern;
use crate::{Result, Vocabulary};

/// That library's own text of GPT-2's pattern, the one of its `ByteLevel`.
pub const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What its files hold for `cl100k`. Unlike tiktoken's text of today it cuts white space at the end of a text behind the
/// last line end.
const CL100K: [&str; 2] = [
    concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    concat!(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*",
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ),
];

/// What stands inside `(?i:...)` in the named patterns. Case folding may take several characters for one elsewhere.
const FOLDED: [&str; 2] = ["'s|'t|'re|'ve|'m|'ll|'d", "[sdmt]|ll|ve|re"];

/// Classes that both engines know under this name, of the same version of Unicode.
const CLASSES: [&str; 9] = ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "Nd"];

/// The pattern's text there, or why there is none.
///
/// In the named patterns possessive `{1,3}+` would be something else, `$` is the end of a line, and case folding goes
/// further.
pub fn spell(pattern: &Pattern) -> Result<String, String> {
    let contraction = "'(?:[sSſdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])";
    let regex = pattern.regex();
    match pattern.spec() {
        "gpt2" => Ok(regex.replace('$', r"\z")),
        "cl100k" => {
            Ok(regex.replace("'(?i:[sdmt]|ll|ve|re)", contraction).replace("{1,3}+", "{1,3}").replace('$', r"\z"))
        }
        "o200k" => Ok(regex.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", &format!("(?:{contraction})"))),
        _ => portable(regex).map(|()| regex.to_owned()),
    }
}

/// The pattern that cuts as this text does there, or why none can be told: a named one where its ids are the same with
/// this vocabulary, else the text itself.
pub fn read(regex: &str, vocabulary: &Vocabulary) -> Result<Pattern, String> {
    let named = |name: &str| Pattern::new(name).map_err(|error| error.to_string());
    for name in Pattern::NAMES {
        let pattern = named(name)?;
        if spell(&pattern).is_ok_and(|text| text == regex) {
            return Ok(pattern);
        }
    }
    // At the end of a line, where alone `$` is something else, the branch after it matches the same.
    if regex == GPT2 || regex == named("gpt2")?.regex() {
        return named("gpt2");
    }
    if regex == named("o200k")?.regex() {
        return named("o200k");
    }
    if CL100K.contains(&regex) && lines_end_tokens(vocabulary) {
        return named("cl100k");
    }
    portable(regex)?;
    named(regex)
}

/// Whether no merge runs across the place where the two readings of `cl100k` differ, right behind a line end and before
/// other white space. So it is in every vocabulary that was trained with either.
fn lines_end_tokens(vocabulary: &Vocabulary) -> bool {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    !vocabulary.whole_tokens()
        && vocabulary
            .tokens()
            .filter(|(id, _)| vocabulary.is_ordinary(*id))
            .all(|(_, token)| !token.iter().any(is_end) || token.last().is_some_and(is_end))
}

/// Checks that a pattern is made of what both engines read alike; else says what is not.
fn portable(regex: &str) -> Result<(), String> {
    let mut reader = Reader { rest: regex.chars().peekable(), looks: 0 };
    reader.branches()?;
    match reader.rest.next() {
        None => Ok(()),
        Some(other) => Err(doubtful(&other.to_string())),
    }
}

fn doubtful(piece: &str) -> String {
    format!("{piece:?} is not among the pieces of patterns that both regex engines are known to read alike")
}

struct Reader<'r> {
    rest: Peekable<Chars<'r>>,
    /// How many look-aheads were read.
    looks: usize,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        let mut ahead = self.rest.clone();
        let found = text.chars().all(|character| ahead.next() == Some(character));
        if found {
            self.rest = ahead;
        }
        found
    }

    fn branches(&mut self) -> Result<(), String> {
        while let Some(&next) = self.rest.peek() {
            match next {
                ')' => break,
                '|' => drop(self.rest.next()),
                _ => self.piece()?,
            }
        }
        Ok(())
    }

    /// One atom with its quantifier.
    fn piece(&mut self) -> Result<(), String> {
        if self.take("(?!") || self.take("(?=") {
            self.looks += 1;
            return self.close();
        }
        if self.take("(?i:") {
            if !FOLDED.iter().any(|body| self.take(body)) {
                return Err(doubtful("(?i:"));
            }
            self.close_folded()?;
            self.take("?");
        } else if self.take("(?:") {
            let before = self.looks;
            self.close()?;
            // Oniguruma repeats no look-ahead.
            if self.take("?") && self.looks > before {
                return Err(doubtful(")?"));
            }
        } else {
            self.single()?;
            self.quantifier()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.branches()?;
        self.close_folded()
    }

    fn close_folded(&mut self) -> Result<(), String> {
        if self.take(")") { Ok(()) } else { Err(doubtful("(")) }
    }

    /// What matches one character.
    fn single(&mut self) -> Result<(), String> {
        match self.rest.next() {
            Some('\\') => self.escape(),
            Some('[') => self.set(),
            Some(other) if ".^$*+?(){}]".contains(other) => Err(doubtful(&other.to_string())),
            _ => Ok(()),
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.next() {
            Some('r' | 'n' | 't' | 's' | 'S') => Ok(()),
            Some('p') if CLASSES.iter().any(|class| self.take(&format!("{{{class}}}"))) => Ok(()),
            Some(sign) if r"\-/.[](){}*+?|^$".contains(sign) => Ok(()),
            other => Err(doubtful(&format!("\\{}", other.unwrap_or(' ')))),
        }
    }

    fn set(&mut self) -> Result<(), String> {
        self.take("^");
        let mut empty = true;
        while !self.take("]") {
            match self.rest.next() {
                Some('\\') => self.escape()?,
                Some(first) if first.is_ascii_alphanumeric() && self.take("-") => match self.rest.next() {
                    Some(last) if last.is_ascii_alphanumeric() && first <= last => {}
                    _ => return Err(doubtful("-")),
                },
                Some(other) if !"[^-&~|:".contains(other) => {}
                other => return Err(doubtful(&other.unwrap_or('[').to_string())),
            }
            empty = false;
        }
        if empty { Err(doubtful("[]")) } else { Ok(()) }
    }

    fn quantifier(&mut self) -> Result<(), String> {
        if self.take("?") || self.take("*") || self.take("+") {
            // Possessive or lazy.
            let _ = self.take("+") || self.take("?");
        } else if self.take("{") {
            let (least, most) = (self.number(), if self.take(",") { self.number() } else { None });
            let in_order = least.is_some_and(|least| most.is_none_or(|most| least <= most));
            if !in_order || !self.take("}") || matches!(self.rest.peek(), Some('+' | '?')) {
                return Err(doubtful("{"));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = None;
        while let Some(digit) = self.rest.peek().and_then(|character| character.to_digit(10)) {
            number = Some(number.unwrap_or(0u32).checked_mul(10)?.checked_add(digit)?);
            self.rest.next();
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_engines_read_alike_are_known() {
        for regex in [GPT2, CL100K[0], CL100K[1], r"[^\r\n\p{L}]?\p{L}++(?:a|b)?|[a-z/]{2,}|x{3}|\. *?"] {
            assert_eq!(portable(regex), Ok(()), "{regex}");
        }
        for regex in [
            r"\w+",
            r"a$",
            r"^a",
            r".",
            r"a{1,3}+",
            r"a{,3}",
            r"a{3,1}",
            r"(?i:st)",
            r"(?i)a",
            r"(a)",
            r"[[a]b]",
            r"[a&&b]",
            r"\b",
            r"\p{Han}",
            r"(?:a)+",
            r"(?:a",
            r"a)",
            r"[]a]",
            r"[a",
            r"\",
            r"a**",
            r"(?<=a)b",
            r"\d",
            r"[a-z/]{2,}+",
            r"(?:(?:a(?!b))|(?:c))?",
        ] {
            assert!(portable(regex).is_err(), "{regex}");
        }
    }

    #[test]
    fn named_patterns_are_known_by_what_is_written_for_them() {
        let bytes = || (0..=255).map(|byte| (u32::from(byte), vec![byte]));
        let plain = Vocabulary::new(bytes().collect(), vec![], vec![]).unwrap();
        let (line, merge) = (b"\n ".to_vec(), (b"\n".to_vec(), b" ".to_vec()));
        let across = Vocabulary::new(bytes().chain([(256, line)]).collect(), vec![merge], vec![]).unwrap();
        for name in Pattern::NAMES {
            let text = spell(&Pattern::new(name).unwrap()).unwrap();
            assert_eq!(read(&text, &across).unwrap().spec(), name);
        }
        for regex in CL100K {
            assert_eq!(read(regex, &plain).unwrap().spec(), "cl100k");
            assert_eq!(read(regex, &across).unwrap().spec(), regex);
        }
        assert!(read(Pattern::new("cl100k").unwrap().regex(), &plain).is_err());
    }
}
