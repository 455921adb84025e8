//! Python's `regex` dialect (its version 0) written for `fancy-regex`.
//!
//! Where both engines read a piece of syntax alike it is passed on, where a spelling with the same meaning exists it is
//! translated, and everything else is refused: a pattern never means something else here.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::CharIndices;

use regex_syntax::hir::{Class, HirKind};

/// The pattern for the engine, or the reason why it is refused.
pub fn translate(source: &str) -> Result<String, String> {
    let mut translator = Translator {
        rest: source.char_indices().peekable(),
        source,
        out: String::new(),
        scope: Scope::new(false, false),
        open: Vec::new(),
        captures: 0,
        complete: BTreeSet::new(),
        before: Before::Nothing,
        atom: Atom::SIGN,
        captured_behind: false,
        referred: false,
    };
    translator.run()?;
    Ok(translator.out)
}

/// Reads a pattern from left to right and writes it for the engine.
struct Translator<'p> {
    rest: Peekable<CharIndices<'p>>,
    source: &'p str,
    out: String,
    /// What holds inside the innermost open group.
    scope: Scope,
    /// What held around each open group.
    open: Vec<Scope>,
    captures: usize,
    /// Numbers of the capturing groups that are closed.
    complete: BTreeSet<usize>,
    before: Before,
    /// What was read last.
    atom: Atom,
    captured_behind: bool,
    referred: bool,
}

#[derive(Clone, Copy)]
struct Scope {
    ignore_case: bool,
    lookbehind: bool,
    /// Number of the capturing group that this is, 0 for other groups.
    capture: usize,
    /// Whether this is an assertion, which takes nothing.
    assertion: bool,
    /// What the branches before the current one are, together.
    branches: Atom,
    /// What the current branch is so far.
    branch: Atom,
}

impl Scope {
    fn new(ignore_case: bool, lookbehind: bool) -> Self {
        let branches = Atom { empty: false, choice: false };
        let branch = Atom { empty: true, choice: false };
        Self { ignore_case, lookbehind, capture: 0, assertion: false, branches, branch }
    }

    fn add(&mut self, atom: Atom) {
        self.branch = Atom { empty: self.branch.empty && atom.empty, choice: self.branch.choice || atom.choice };
    }

    fn end_branch(&mut self) {
        self.branches.empty |= self.branch.empty;
        self.branches.choice |= self.branch.choice;
        self.branch = Atom { empty: true, choice: false };
    }
}

/// What is known of a piece of a pattern.
#[derive(Clone, Copy)]
struct Atom {
    /// It may match the empty string.
    empty: bool,
    /// It has branches or lazy quantifiers, so that it may do so before it tries to match more.
    choice: bool,
}

impl Atom {
    const SIGN: Self = Self { empty: false, choice: false };
    const ASSERTION: Self = Self { empty: true, choice: false };
}

/// What a quantifier would repeat.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Atom,
    Quantifier,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some((position, character)) = self.rest.next() {
            let before = std::mem::replace(&mut self.before, Before::Atom);
            // A quantifier changes what is known of the atom before it, so that one is added only when it is complete.
            if !matches!(character, '*' | '+' | '?' | '{') && before != Before::Nothing {
                self.scope.add(self.atom);
            }
            if !matches!(character, '*' | '+' | '?' | '{' | ')') {
                self.atom = Atom::SIGN;
            }
            match character {
                '\\' => self.escape(position)?,
                '[' => self.set(position)?,
                '(' => self.group(position)?,
                ')' => self.close(position)?,
                '|' => {
                    self.out.push('|');
                    self.scope.end_branch();
                    self.scope.branches.choice = true;
                    self.before = Before::Nothing;
                }
                '*' | '+' | '?' | '{' => self.quantifier(position, character, before)?,
                // Without the flag for lines: the start, and the end or before a last line end.
                '^' => self.assertion(r"\A"),
                '$' => self.assertion(r"(?=\n?\z)"),
                other => self.literal(other),
            }
        }
        if self.referred && self.captured_behind {
            return Err(
                "refers back while a group stands in a lookbehind, which engines read in different directions; \
                        write (?:...) in the lookbehind"
                    .to_owned(),
            );
        }
        match self.open.len() {
            0 => Ok(()),
            missing => Err(format!("has {missing} group(s) that are not closed; add )")),
        }
    }

    fn assertion(&mut self, text: &str) {
        self.out.push_str(text);
        self.atom = Atom::ASSERTION;
    }

    /// A character for itself. Without regard to case, Python's i and I are also a Turkish letter each.
    fn literal(&mut self, character: char) {
        match character {
            'i' if self.scope.ignore_case => self.out.push_str(r"[i\x{130}]"),
            'I' if self.scope.ignore_case => self.out.push_str(r"[I\x{131}]"),
            DOTLESS_I if self.scope.ignore_case => self.out.push_str(r"(?-i:[I\x{131}])"),
            DOTTED_I if self.scope.ignore_case => self.out.push_str(r"(?-i:[i\x{130}])"),
            other => self.out.push(other),
        }
    }

    fn escape(&mut self, position: usize) -> Result<(), String> {
        let character = self.escaped(position)?;
        match character {
            'p' | 'P' => {
                let property = self.property(position, character)?;
                self.push_property(property);
            }
            'b' => self.assertion(r"\b"),
            'B' => self.assertion(r"\B"),
            'A' => self.assertion(r"\A"),
            'Z' | 'z' => self.assertion(r"\z"),
            '1'..='9' => self.reference(position, character)?,
            other => match self.character(position, other)? {
                Some(literal @ ('i' | 'I' | DOTLESS_I | DOTTED_I)) => self.literal(literal),
                Some(literal) => self.push_code(literal),
                None if is_shorthand(other) => self.out.extend(['\\', other]),
                None => {
                    return Err(format!(
                        "\\{other} at byte {position} is not supported; these are: {SHARED} \\b \\B \\A \\Z \\1 to \\99"
                    ));
                }
            },
        }
        Ok(())
    }

    /// The character after a backslash.
    fn escaped(&mut self, position: usize) -> Result<char, String> {
        let lone = || format!("ends with a lone backslash at byte {position}; write \\\\ for the character itself");
        self.rest.next().map(|(_, character)| character).ok_or_else(lone)
    }

    /// The character that an escape stands for, `None` if it stands for none.
    fn character(&mut self, position: usize, escaped: char) -> Result<Option<char>, String> {
        Ok(Some(match escaped {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'f' => '\x0C',
            'v' => '\x0B',
            'a' => '\x07',
            'x' => self.hexadecimal(position, 2)?,
            'u' => self.hexadecimal(position, 4)?,
            'U' => self.hexadecimal(position, 8)?,
            other if !other.is_ascii_alphanumeric() => other,
            _ => return Ok(None),
        }))
    }

    fn hexadecimal(&mut self, position: usize, digits: usize) -> Result<char, String> {
        let text: String = self.rest.by_ref().take(digits).map(|(_, digit)| digit).collect();
        let whole = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = whole.then(|| u32::from_str_radix(&text, 16).ok()).flatten();
        let unknown = || format!("the escape at byte {position} needs {digits} hexadecimal digits of a character");
        code.and_then(char::from_u32).ok_or_else(unknown)
    }

    /// Writes a character so that it means itself everywhere, in a set too.
    fn push_code(&mut self, character: char) {
        self.out.push_str(&format!("\\x{{{:X}}}", u32::from(character)));
    }

    /// `\1` to `\99`, to a group that is closed.
    fn reference(&mut self, position: usize, digit: char) -> Result<(), String> {
        let second = self.rest.next_if(|(_, next)| next.is_ascii_digit()).map(|(_, digit)| digit);
        let number = String::from_iter([Some(digit), second].into_iter().flatten());
        let complete = number.parse().is_ok_and(|number| self.complete.contains(&number));
        let octal = self.rest.peek().is_some_and(|(_, next)| next.is_ascii_digit());
        if !complete || octal {
            return Err(format!("\\{number} at byte {position} refers to no group that is closed before it"));
        }
        if self.scope.ignore_case || self.scope.lookbehind {
            return Err(format!(
                "\\{number} at byte {position} stands where engines differ: without regard to case or in a lookbehind"
            ));
        }
        self.referred = true;
        // The group may have matched nothing.
        self.atom = Atom { empty: true, choice: false };
        self.out.push_str(&format!("(?:\\{number})"));
        Ok(())
    }

    /// `\p{...}`, `\pL`: general categories and their groups, scripts by name; both engines know these alike.
    fn property(&mut self, position: usize, kind: char) -> Result<Property, String> {
        let rest = &self.source[position + 2..];
        let name = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map(|(name, _)| name),
            None => rest.get(..1),
        };
        let known = CATEGORIES.iter().chain(&PROPERTIES).find(|known| name == Some(known));
        let Some(&name) = known else {
            return Err(format!(
                "the property at byte {position} is not supported; use a general category such as \\p{{L}}, \\p{{Lu}}, \
                 \\p{{N}}, \\p{{P}}, or one of {}",
                PROPERTIES.join(", ")
            ));
        };
        let length = if rest.starts_with('{') { name.len() + 2 } else { 1 };
        self.rest.by_ref().take(length).for_each(drop);
        Ok(Property { name, negated: kind == 'P' })
    }

    /// Outside of sets, Python's properties don't change without regard to case, but for letters by their case, of
    /// which each then is all.
    fn push_property(&mut self, property: Property) {
        let text = property.text();
        if !self.scope.ignore_case {
            self.out.push_str(&text);
        } else if ["Lu", "Ll", "Lt"].contains(&property.name) {
            let not = if property.negated { "^" } else { "" };
            self.out.push_str(&format!(r"(?-i:[{not}\p{{Lu}}\p{{Ll}}\p{{Lt}}])"));
        } else {
            self.out.push_str(&format!("(?-i:{text})"));
        }
    }

    /// `[...]`. Nested sets and set operations mean different things to different engines and are refused.
    fn set(&mut self, start: usize) -> Result<(), String> {
        let negated = self.rest.next_if(|&(_, character)| character == '^').is_some();
        let outside = std::mem::take(&mut self.out);
        let (mut members, mut properties) = (0, 0);
        let mut first = true;
        let mut previous = '\0';
        loop {
            let Some((position, character)) = self.rest.next() else {
                return Err(format!("the set that starts at byte {start} is not closed; add a ]"));
            };
            match character {
                ']' if !first => break,
                '[' => {
                    return Err(format!(
                        "'[' inside a set at byte {position} is ambiguous; write \\[ for the character"
                    ));
                }
                '&' | '-' | '~' | '|' if previous == character => {
                    return Err(format!(
                        "'{character}{character}' at byte {position} is a set operation in some engines; escape it"
                    ));
                }
                '\\' => properties += usize::from(self.escape_in_set(position)?),
                // At either end of the set it is itself.
                '-' if first || self.rest.peek().is_some_and(|&(_, next)| next == ']') => self.push_code('-'),
                '-' => self.out.push('-'),
                other => self.push_code(other),
            }
            previous = if character == '\\' { '\0' } else { character };
            first = false;
            members += 1;
        }
        if self.scope.ignore_case && properties > 0 && members == properties {
            return Err(format!(
                "the set at byte {start} is of properties only, without regard to case, where engines differ; \
                 write it outside (?i)"
            ));
        }
        let inside = std::mem::replace(&mut self.out, outside);
        let added = if self.scope.ignore_case { turkish(&inside, start)? } else { "" };
        let not = if negated { "^" } else { "" };
        self.out.push_str(&format!("[{not}{inside}{added}]"));
        Ok(())
    }

    /// Returns whether the escape is a property.
    fn escape_in_set(&mut self, position: usize) -> Result<bool, String> {
        let escaped = self.escaped(position)?;
        if let 'p' | 'P' = escaped {
            let property = self.property(position, escaped)?;
            if self.scope.ignore_case && property.negated {
                return Err(format!(
                    "\\P at byte {position} stands in a set without regard to case, where engines differ; \
                     write it outside the set or outside (?i)"
                ));
            }
            self.out.push_str(&property.text());
            return Ok(true);
        }
        match self.character(position, escaped)? {
            Some(character) => self.push_code(character),
            None if is_shorthand(escaped) => self.out.extend(['\\', escaped]),
            None => {
                return Err(format!("\\{escaped} at byte {position} is not supported in a set; these are: {SHARED}"));
            }
        }
        Ok(false)
    }

    /// `(`, and of the extensions `(?...)` those that mean the same everywhere.
    fn group(&mut self, position: usize) -> Result<(), String> {
        self.before = Before::Nothing;
        let rest = &self.source[position + 1..];
        if position == 0 && rest.starts_with("?i)") {
            self.rest.by_ref().take(3).for_each(drop);
            self.out.push_str("(?i)");
            self.scope.ignore_case = true;
            return Ok(());
        }
        let known = ["?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"].into_iter();
        let open = match known.clone().find(|open| rest.starts_with(open)) {
            Some(open) => open,
            None if rest.starts_with('?') => {
                return Err(format!(
                    "the group at byte {position} is not supported; use (...), (?:...), (?>...), (?=...), (?!...), \
                     (?<=...), (?<!...), (?i:...), (?-i:...), or (?i) at the start"
                ));
            }
            None => "",
        };
        if open == "?>" && self.scope.lookbehind {
            return Err(directed(position));
        }
        self.open.push(self.scope);
        self.scope = Scope::new(self.scope.ignore_case, self.scope.lookbehind);
        self.scope.assertion = ["?=", "?!", "?<=", "?<!"].contains(&open);
        match open {
            "?i:" => self.scope.ignore_case = true,
            "?-i:" => self.scope.ignore_case = false,
            "?<=" | "?<!" => self.scope.lookbehind = true,
            "" => {
                self.captures += 1;
                self.scope.capture = self.captures;
                self.captured_behind |= self.scope.lookbehind;
            }
            _ => {}
        }
        self.out.push('(');
        self.out.push_str(open);
        self.rest.by_ref().take(open.len()).for_each(drop);
        Ok(())
    }

    fn close(&mut self, position: usize) -> Result<(), String> {
        let Some(around) = self.open.pop() else {
            return Err(format!("the ) at byte {position} closes no group; write \\) for the character"));
        };
        if self.scope.capture > 0 {
            self.complete.insert(self.scope.capture);
        }
        self.scope.end_branch();
        self.atom = if self.scope.assertion { Atom::ASSERTION } else { self.scope.branches };
        self.scope = around;
        self.out.push(')');
        Ok(())
    }

    /// `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}`, each greedy, lazy (`?` behind it) or possessive (`+`).
    fn quantifier(&mut self, position: usize, character: char, before: Before) -> Result<(), String> {
        let quantifier = match character {
            '{' => self.counts(position)?,
            other => other.to_string(),
        };
        match before {
            Before::Atom => {}
            Before::Nothing => return Err(format!("the {quantifier} at byte {position} has nothing to repeat")),
            Before::Quantifier => {
                return Err(format!(
                    "the {quantifier} at byte {position} repeats a repetition; write (?:...) around it"
                ));
            }
        }
        let many = !matches!(quantifier.as_str(), "?" | "{0}" | "{1}" | "{0,1}" | "{1,1}");
        if many && self.atom.empty && self.atom.choice {
            return Err(format!(
                "the {quantifier} at byte {position} repeats a group that may match the empty string before it tries \
                 more, which engines read differently; make each branch take a character"
            ));
        }
        self.atom.empty |= quantifier == "*" || quantifier == "?" || quantifier.starts_with("{0");
        self.out.push_str(&quantifier);
        if let Some((position, kind)) = self.rest.next_if(|&(_, next)| next == '?' || next == '+') {
            if kind == '+' && self.scope.lookbehind {
                return Err(directed(position));
            }
            self.atom.choice |= kind == '?';
            self.out.push(kind);
        }
        self.before = Before::Quantifier;
        Ok(())
    }

    fn counts(&mut self, position: usize) -> Result<String, String> {
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
        self.rest.by_ref().take(inner.len() + 1).for_each(drop);
        Ok(format!("{{{inner}}}"))
    }
}

/// Python reads a lookbehind from right to left, so what can't be taken back differs there.
fn directed(position: usize) -> String {
    format!("atomic groups and possessive quantifiers in a lookbehind (at byte {position}) differ between engines")
}

/// `\p{name}` or `\P{name}`.
#[derive(Clone, Copy)]
struct Property {
    name: &'static str,
    negated: bool,
}

impl Property {
    fn text(self) -> String {
        format!("\\{}{{{}}}", if self.negated { 'P' } else { 'p' }, self.name)
    }
}

fn is_shorthand(character: char) -> bool {
    matches!(character, 's' | 'S' | 'w' | 'W' | 'd' | 'D')
}

/// The ranges of characters that a set matches, `None` if it is not valid.
fn ranges(set: &str) -> Option<Vec<(char, char)>> {
    match regex_syntax::parse(set).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => {
            Some(class.ranges().iter().map(|range| (range.start(), range.end())).collect())
        }
        // A set of one character.
        HirKind::Literal(literal) => {
            let character = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(vec![(character, character)])
        }
        _ => None,
    }
}

const DOTLESS_I: char = '\u{131}';
const DOTTED_I: char = '\u{130}';

/// What a set without regard to case needs besides: in Python, i stands for `\u0130` too, and I for `\u0131`.
fn turkish(inside: &str, start: usize) -> Result<&'static str, String> {
    // What is not valid is left to the engine's compiler.
    let ranges = ranges(&format!("[{inside}]")).unwrap_or_default();
    let has = |character| ranges.iter().any(|&(low, high)| (low..=high).contains(&character));
    if (has(DOTTED_I) || has(DOTLESS_I)) && !(has('i') || has('I')) {
        return Err(format!(
            "the set at byte {start} has a Turkish i without regard to case, where engines differ; write it outside (?i)"
        ));
    }
    Ok(match (has('i'), has('I')) {
        (true, true) => r"\x{130}\x{131}",
        (true, false) => r"\x{130}",
        (false, true) => r"\x{131}",
        (false, false) => "",
    })
}

/// Escapes that mean the same in a set and outside.
const SHARED: &str = r"\p{..} \P{..} \s \S \w \W \d \D \n \r \t \f \v \a \xHH \uHHHH \UHHHHHHHH, escaped signs;";

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
