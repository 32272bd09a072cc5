//! A regular expression from a message, for the same failure in other runs.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// The most of an expression that is from the beginning of a message, in bytes.
const HEAD: usize = 500;

/// The most that is from its end, where messages say what was observed, in bytes.
const TAIL: usize = 1500;

/// What stands for the middle of a long message.
const ANYTHING: &str = r"[\s\S]*";

/// The expression for a message without a visible character.
const BLANK: &str = r"^\s*$";

/// What differs in the same message from run to run: ids, addresses, times and generated names.
static VARIES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b [0-9a-f]{8} (?: - [0-9a-f]{4} ){3} - [0-9a-f]{12} \b
        | \b [0-9a-fA-F]{8,} \b
        | \b \d+ (?: [.:/T-] \d+ ){2,} Z?
        | \b nestcheck - \w+ | \b tmp \. \w+
        | - [bcdfghjklmnpqrstvwxz2456789]{5} \b",
    )
    .ok()
});

/// A part of a message.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// It is the same in each run.
    Text(&'a str),
    /// It differs.
    Varies,
    /// The end of a line: the log and a terminal may break lines elsewhere.
    LineEnd,
}

impl<'a> Part<'a> {
    fn expression(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => regex::escape(text).into(),
            Self::Varies => r"\S+".into(),
            Self::LineEnd => r"\s+".into(),
        }
    }

    /// Whether it tells one message from another.
    fn says_something(self) -> bool {
        matches!(self, Self::Text(text) if text.chars().any(char::is_alphanumeric))
    }
}

/// An expression that matches a message in other runs too: all of it, or the beginning and the end of
/// a long one. Numbers stay: another exit code or user is another failure.
pub(super) fn pattern(message: &str) -> String {
    let split = parts(message, split);
    let kept = kept(&split).filter(|kept| kept.iter().flatten().any(|part| part.says_something()));
    // Where everything differs, wildcards would match any other message.
    let literal = || self::kept(&parts(message, |line| vec![Part::Text(line)]));
    let Some([head, tail]) = kept.or_else(literal) else { return BLANK.to_owned() };
    let expression =
        |parts: &[Part<'_>]| parts.iter().map(|it| it.expression()).collect::<String>();
    let mut pattern = expression(&head);
    if !tail.is_empty() {
        pattern = pattern + ANYTHING + &expression(&tail);
    }
    // `exit code 12` is not the beginning of `exit code 125`.
    let is_word = |c: char| c.is_alphabetic() || c.is_ascii_digit() || c == '_';
    if message.trim_end().ends_with(is_word) { pattern + r"\b" } else { pattern }
}

/// The parts of a message, its lines split by a function.
fn parts<'a>(message: &'a str, split: impl Fn(&'a str) -> Vec<Part<'a>>) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    for line in message.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !parts.is_empty() {
            parts.push(Part::LineEnd);
        }
        parts.extend(split(line));
    }
    parts
}

/// What differs in a line, and what does not.
fn split(line: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), 0);
    for found in VARIES.iter().flat_map(|varies| varies.find_iter(line)) {
        if rest < found.start() {
            parts.push(Part::Text(&line[rest..found.start()]));
        }
        parts.push(Part::Varies);
        rest = found.end();
    }
    if rest < line.len() {
        parts.push(Part::Text(&line[rest..]));
    }
    parts
}

/// The parts of the beginning and of the end; no end where the beginning is everything. None where
/// there are no parts.
fn kept<'a>(parts: &[Part<'a>]) -> Option<[Vec<Part<'a>>; 2]> {
    let length: usize = parts.iter().map(|part| part.expression().len()).sum();
    if parts.is_empty() {
        None
    } else if length <= HEAD + TAIL {
        Some([parts.to_vec(), Vec::new()])
    } else {
        let mut tail = fit(parts.iter().rev(), TAIL, last);
        tail.reverse();
        Some([fit(parts.iter(), HEAD, first), tail])
    }
}

/// As many parts as there is room for. `cut` makes the last one of them fit.
fn fit<'a: 'b, 'b>(
    parts: impl Iterator<Item = &'b Part<'a>>,
    mut room: usize,
    cut: impl Fn(&'a str, usize) -> &'a str,
) -> Vec<Part<'a>> {
    let mut fitting = Vec::new();
    for part in parts {
        let length = part.expression().len();
        if length <= room {
            fitting.push(*part);
            room -= length;
            continue;
        }
        if let Part::Text(text) = part {
            fitting.push(Part::Text(cut(text, room)));
        }
        break;
    }
    fitting
}

/// The beginning of a text whose expression has at most this many bytes.
fn first(text: &str, room: usize) -> &str {
    &text[..escaped_length(text.chars(), room)]
}

/// The end of a text whose expression has at most this many bytes.
fn last(text: &str, room: usize) -> &str {
    &text[text.len() - escaped_length(text.chars().rev(), room)..]
}

/// The length of as many characters as there is room for, once they are escaped.
fn escaped_length(characters: impl Iterator<Item = char>, mut room: usize) -> usize {
    let mut length = 0;
    for character in characters {
        let Some(left) = room.checked_sub(regex::escape(character.encode_utf8(&mut [0; 4])).len())
        else {
            break;
        };
        room = left;
        length += character.len_utf8();
    }
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnosis::EXPRESSION_LIMIT;

    const FAILED: &str =
        "pod web-7f9c6bd4d5-xkqzv at 10.128.0.7:443 ended with exit code 125: [a+b]";

    /// Whether the expression of one message matches another one.
    fn matches(of: &str, other: &str) -> bool {
        Regex::new(&pattern(of)).expect("an expression").is_match(other)
    }

    #[test]
    fn a_pattern_matches_the_message_of_another_run_and_not_another_failure() {
        assert!(matches(FAILED, FAILED));
        let again =
            FAILED.replace("7f9c6bd4d5-xkqzv", "5d4db6c9f7-bcdfg").replace("128.0.7", "1.2.3");
        assert!(matches(FAILED, &again));
        assert!(!matches(FAILED, &FAILED.replace("125", "126")));
        assert!(!matches("exit code 12", "exit code 125"));
    }

    #[test]
    fn every_line_of_a_message_counts() {
        let message = "owner of a file given away, and user: expected `1234:4321`\nobserved `0:0`";
        assert!(matches(message, message));
        assert!(matches(message, &message.replace('\n', "\r\n  ")), "lines may end otherwise");
        assert!(matches(message, &message.replace('\n', " ")), "one line");
        assert!(!matches(message, &message.replace("0:0", "1000:0")));
        assert!(matches("\n\nno", "no") && !matches("\n\nno", "yes"), "its first line is empty");
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end() {
        let command = "echo a+b; ".repeat(1000);
        let message = format!("`sh -c {command}` exited with 125, expected 0: no space left");
        let pattern = pattern(&message);
        assert!(pattern.len() <= HEAD + TAIL + 16, "{}", pattern.len());
        assert!(matches(&message, &message));
        assert!(!matches(&message, &message.replace("125", "126")));
        assert!(!matches(&message, &message.replace("sh -c", "bash -c")));
    }

    #[test]
    fn no_pattern_is_of_wildcards_only() {
        let ids = "0123456789abcdef ".repeat(400);
        for message in ["deadbeef01", "10.0.0.1:443", "deadbeef01\n0123456789", ids.as_str()] {
            assert!(matches(message, message), "{message}");
            assert!(!matches(message, "no space left on device: 12"), "{message}");
            assert!(!matches(message, "cafecafe02"), "{message}");
        }
        for blank in ["", " \n\t"] {
            assert!(matches(blank, blank) && !matches(blank, "denied"), "{blank:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn a_pattern_matches_its_own_message_and_can_be_loaded(
            parts in prop::collection::vec("\\PC{0,40}|[a-f0-9]{8,20}|-[bcdf]{5}|\n|²|[.+*]{0,900}", 0..12),
        ) {
            let message = parts.concat();
            prop_assert!(matches(&message, &message), "{}", pattern(&message));
            prop_assert!(!pattern(&message).is_empty() && pattern(&message).len() <= EXPRESSION_LIMIT);
        }
    }
}
