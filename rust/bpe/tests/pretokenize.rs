//! The scanners equal the regular expressions, on nasty strings and real text; splits and streams change nothing.

use cs336_bpe::pretokenize::Pattern;
use proptest::prelude::*;

fn pieces(pattern: &Pattern, text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    pattern.for_each(text, |piece| pieces.push(piece.to_owned())).unwrap();
    pieces
}

/// What tiktoken does: its text of the pattern, in its engine.
fn by_regex(regex: &fancy_regex::Regex, text: &str) -> Vec<String> {
    regex.find_iter(text).map(|found| found.unwrap().as_str().to_owned()).collect()
}

fn named() -> Vec<(Pattern, fancy_regex::Regex)> {
    let with_oracle = |name: &&str| {
        let pattern = Pattern::new(name).unwrap();
        let oracle = fancy_regex::Regex::new(pattern.regex()).unwrap();
        (pattern, oracle)
    };
    Pattern::NAMES.iter().map(with_oracle).collect()
}

const ATOMS: [&str; 62] = [
    "a",
    "s",
    "t",
    "ll",
    "ve",
    "re",
    "D",
    "M",
    "LL",
    "S",
    "ſ",
    "K",
    "'",
    "'",
    "’",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\u{a0}",
    "\u{85}",
    "\u{3000}",
    "\u{1c}",
    "1",
    "22",
    "٣",
    "Ⅷ",
    "½",
    "é",
    "e\u{301}",
    "\u{301}",
    "ǅ",
    "ʰ",
    "あ",
    "漢",
    "ä",
    "Ä",
    "ẞ",
    "ß",
    "!",
    "/",
    "//",
    ".",
    "<|",
    "_",
    "🙂",
    "👩\u{200d}🚀",
    "\0",
    "\u{200b}",
    "İ",
    "ı",
    "ก",
    "ำ",
    "न",
    "ि",
    "\u{10ffff}",
    "\u{feff}",
    "'s",
    "'LL",
];

fn nasty() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&ATOMS[..]), 0..14).prop_map(|atoms| atoms.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn every_split_changes_nothing(text in nasty(), limit in 0usize..60) {
        for name in Pattern::NAMES {
            let pattern = Pattern::new(name).unwrap();
            let limit = text.floor_char_boundary(limit);
            let split = pattern.last_split(&text, limit);
            prop_assert!(split <= limit);
            let mut apart = pieces(&pattern, &text[..split]);
            apart.extend(pieces(&pattern, &text[split..]));
            prop_assert_eq!(apart, pieces(&pattern, &text), "{} at {}", name, split);
        }
    }

    #[test]
    fn settled_pieces_stand_whatever_follows(text in nasty(), more in nasty()) {
        for name in Pattern::NAMES {
            let pattern = Pattern::new(name).unwrap();
            let mut settled = Vec::new();
            let taken = pattern.for_each_settled(&text, |piece| settled.push(piece.to_owned())).unwrap();
            prop_assert_eq!(settled.concat().len(), taken);
            let whole = pieces(&pattern, &(text.clone() + &more));
            prop_assert_eq!(&whole[..settled.len()], &settled[..], "{}", name);
        }
    }
}

#[test]
fn scanners_equal_the_regular_expressions() {
    let named = named();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(20_000));
    let outcome = runner.run(&nasty(), |text| {
        for (pattern, oracle) in &named {
            prop_assert_eq!(pieces(pattern, &text), by_regex(oracle, &text), "{}", pattern.spec());
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn every_assigned_code_point_is_read_as_the_engine_reads_it() {
    for (pattern, oracle) in named() {
        for plane in [0u32, 1, 2, 3, 14] {
            let characters = (plane << 16..(plane + 1) << 16).filter_map(char::from_u32);
            let text: String = characters.map(|c| format!("a{c}b {c}1{c}'s '{c}\n{c}{c}!{c} A{c}\t")).collect();
            assert!(pieces(&pattern, &text) == by_regex(&oracle, &text), "{} in plane {plane}", pattern.spec());
        }
    }
}

#[test]
fn real_text_in_many_languages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for name in ["stories-valid.txt", "multilingual.txt", "code.txt"] {
        let Ok(text) = std::fs::read_to_string(folder.join(name)) else { continue };
        let text = &text[..text.floor_char_boundary(1_500_000)];
        for (pattern, oracle) in named() {
            assert!(pieces(&pattern, text) == by_regex(&oracle, text), "{} on {name}", pattern.spec());
        }
    }
}

#[test]
fn long_runs_are_read_without_going_back_each_time() {
    for unit in ["a", "A", " ", "\n", " \n", "1", "!", "あ", "Aあ", "'", "a'", "\u{301}", "/\n"] {
        let text = unit.repeat(1_000_000);
        for name in Pattern::NAMES {
            let mut length = 0;
            Pattern::new(name).unwrap().for_each(&text, |piece| length += piece.len()).unwrap();
            assert_eq!(length, text.len());
        }
    }
}

#[test]
fn long_digits_settle_in_a_stream() {
    let text = "1".repeat(1000);
    let settled = Pattern::new("cl100k").unwrap().for_each_settled(&text, |_| ()).unwrap();
    assert!(settled >= 996, "{settled}");
}

#[test]
fn custom_patterns_keep_the_text_between_matches() {
    let pattern = Pattern::new(r"\w+").unwrap();
    assert_eq!(pieces(&pattern, "ab, cd!"), ["ab", ", ", "cd", "!"]);
    let pattern = Pattern::new(r"b$").unwrap();
    assert_eq!(pieces(&pattern, "abb\n"), ["ab", "b", "\n"]);
}

/// What Python's `regex` gives, worked out with it once.
#[test]
fn custom_patterns_mean_what_they_mean_in_python() {
    let cases: [(&str, &str, &[&str]); 16] = [
        (r"[a\-c]", "abc-", &["a", "b", "c", "-"]),
        (r"[a\-c]+", "-ab", &["-a", "b"]),
        ("[i-]", "i-a", &["i", "-", "a"]),
        ("(?i)[i-]", "İ-a", &["İ", "-", "a"]),
        (r"\<", "a<b", &["a", "<", "b"]),
        ("(?i)i", "iIİı", &["i", "I", "İ", "ı"]),
        ("(?i:I)x", "İxıxix", &["İx", "ıx", "ix"]),
        ("(?i)[a-z]+", "aſKİı", &["aſKİ", "ı"]),
        (r"(?i)\p{Lu}+", "aBǅ1", &["aBǅ", "1"]),
        (r"(?i)[^\s\p{L}]+", "a\u{345}!b", &["a\u{345}", "!", "b"]),
        (r"(?i:k)k", "\u{212a}kkK", &["\u{212a}k", "kK"]),
        (r"(a|b)\1", "aabab", &["aa", "bab"]),
        (r"(?<=a+)b|c", "aabcb", &["aa", "b", "c", "b"]),
        (r"a{1,2}+a", "aaaa", &["aaa", "a"]),
        (r"\u0061\x62", "cab", &["c", "ab"]),
        (r"(?i:'s)|\p{L}+(?i:'S)?", "It's 's", &["It's", " ", "'s"]),
    ];
    for (spec, text, expected) in cases {
        assert_eq!(pieces(&Pattern::new(spec).unwrap(), text), expected, "{spec}");
    }
}

#[test]
fn the_named_patterns_can_be_given_as_text() {
    for name in Pattern::NAMES {
        let named = Pattern::new(name).unwrap();
        let custom = Pattern::new(named.regex()).unwrap();
        let text = "Hello's WORLD'LL  12345\r\n\n x'ſ ÀÉîï\t漢字";
        assert_eq!(pieces(&custom, text), pieces(&named, text), "{name}");
    }
}

#[test]
fn patterns_that_cannot_be_honoured_are_refused_with_the_reason() {
    let cases = [
        ("gpt-2", "gpt2 is the nearest"),
        ("o200k_base", "o200k is the nearest"),
        ("", "is empty"),
        ("a*", "matches the empty string"),
        ("[a", "not closed"),
        ("(a", "not closed"),
        ("a)", "closes no group"),
        ("[z-a]", "can be run"),
        ("(?=a)", "matches the empty string"),
        (r"a|\b", "matches the empty string"),
        (r"\w+|$", "matches the empty string"),
        ("(?<=foo)", "matches the empty string"),
        ("a**", "repeats a repetition"),
        ("(*FAIL)a", "nothing to repeat"),
        ("(?:a*?|b)*c", "engines read differently"),
        (r"\1(a)", "no group"),
        (r"(a\1)", "no group"),
        (r"(?i)(a)\1", "engines differ"),
        (r"(?<=(a))b\1", "lookbehind"),
        ("(?<!a*+)b", "lookbehind"),
        (r"(?i)[\p{Lu}]", "engines differ"),
        (r"(?i)[\P{L}a]", "engines differ"),
        ("(?i)[ı]", "Turkish"),
        (r"\x+1", "hexadecimal"),
        ("[[a]b]", "ambiguous"),
        ("[a&&b]", "set operation"),
        ("a{,2}", "starts no repetition"),
        (r"\h+", "not supported"),
        (r"(?x) a", "not supported"),
        (r"\p{Nonsense}", "not supported"),
        ("a\\", "lone backslash"),
    ];
    for (spec, reason) in cases {
        let error = Pattern::new(spec).unwrap_err().to_string();
        assert!(error.contains(reason), "{spec}: {error}");
    }
}

#[test]
fn a_pattern_found_to_match_nothing_later_is_an_error_then() {
    let pattern = Pattern::new(r"a|(?<=\x62\x63\x64)").unwrap();
    assert_eq!(pieces(&pattern, "xab"), ["x", "a", "b"]);
    assert!(pattern.for_each("bcd", |_| ()).is_err());
    // Where an empty match touches the match before it, too.
    let pattern = Pattern::new(r"\x65|(?<=\x66\x67\x65)").unwrap();
    assert!(pattern.for_each("fge", |_| ()).is_err());
}

#[test]
fn a_pattern_that_goes_back_and_forth_for_ever_is_an_error() {
    let pattern = Pattern::new("(?:x|xx)+$y").unwrap();
    let error = pattern.for_each(&"x".repeat(60), |_| ()).unwrap_err().to_string();
    assert!(error.contains("gave up"), "{error}");
}

#[test]
fn deep_and_huge_patterns_are_refused() {
    for spec in
        ["(".repeat(100_000), format!("{}a{}", "(?:".repeat(9000), ")".repeat(9000)), "(?:a{1000}){1000}".into()]
    {
        assert!(Pattern::new(&spec).is_err());
    }
}
