//! The file of expectations, understood strictly: a misspelt entry would accept nothing, or too much.

use std::{fmt, marker::PhantomData, str::FromStr};

use jiff::civil::Date;
use regex::Regex;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use super::{Expectation, Expectations, Subject, Versions};
use crate::{
    Error, Result,
    base::{manifest, text::nearest},
    diagnosis::causes::CauseKey,
    facts::Flavour,
    verdict::{ExpectationEntry, ExpectedVerdict, SignatureId},
};

/// What stands for a reason that nobody has written yet.
pub const PLACEHOLDER: &str = "TODO";

/// The longest regular expression of an entry, in bytes: the event log keeps it whole.
pub const EXPRESSION_LIMIT: usize = 4096;

/// The hint of errors that no better one is known for.
const HINT: &str = "an entry has `case` or `cause`, and `reason`; it may have `verdict`, `message`, \
                    `flavour`, `versions` and `until`";

/// An entry as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    case: Option<String>,
    cause: Option<String>,
    verdict: Option<ExpectedVerdict>,
    message: Option<Parsed<Pattern>>,
    reason: Option<String>,
    flavour: Option<Parsed<FlavourName>>,
    versions: Option<Parsed<Versions>>,
    until: Option<Parsed<Day>>,
}

/// A text of the file that means something: an error in it has its line.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text(PhantomData)).map(Self)
    }
}

struct Pattern(Regex);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("an empty regular expression matches every message".to_owned());
        }
        if text.len() > EXPRESSION_LIMIT {
            let length = text.len();
            return Err(format!(
                "a regular expression has {length} bytes, more than {EXPRESSION_LIMIT}"
            ));
        }
        Regex::new(text).map(Self).map_err(|error| {
            // The last line says what is wrong; those before it show where.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ").trim_end_matches('.');
            format!("`{text}` is not a regular expression: {reason}")
        })
    }
}

struct FlavourName(Flavour);

impl FromStr for FlavourName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Flavour::OpenShift, Flavour::MicroShift, Flavour::Kubernetes];
        let named = all.into_iter().find(|flavour| flavour.to_string() == text);
        named.map(Self).ok_or_else(|| {
            format!("`{text}` is not a flavour: use `openshift`, `microshift` or `kubernetes`")
        })
    }
}

struct Day(Date);

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The parser also takes a date with a time, of which the time would mean nothing.
        let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
        date.map(Self).ok_or_else(|| format!("`{text}` is not a date, such as `2026-12-31`"))
    }
}

impl Expectations {
    /// Understands the text of a file. `file` names it in errors; `cases` are the ids of all cases. One
    /// that ends with a period stands for the cases of all nodes: `NODE-01.` for `NODE-01.worker-3`.
    ///
    /// # Errors
    ///
    /// A file without an entry; an unknown field, case, cause or verdict; an invalid expression,
    /// range of versions or date; an entry without a reason; two equal entries: with file and line.
    pub fn parse(file: &str, text: &str, cases: &[&str]) -> Result<Self> {
        let is_content = |line: &str| !line.is_empty() && !line.starts_with('#') && line != "---";
        if !text.lines().map(str::trim).any(is_content) {
            return Err(empty(file));
        }
        let written: Vec<Written> = manifest::parse_own(text).map_err(|problem| {
            Error::usage(format!("failed to read expectations `{file}`: {problem}"))
                .with_hint(hint_of(&problem))
        })?;
        if written.is_empty() {
            return Err(empty(file));
        }
        let lines = Lines::of(text, written.len());
        let mut entries: Vec<Expectation> = Vec::new();
        for (index, written) in written.into_iter().enumerate() {
            let place = Position { file, lines: &lines, index };
            let entry = understand(written, &place, cases)?;
            if let Some(first) = entries.iter().find(|it| is_duplicate(it, &entry)) {
                return Err(place
                    .refuse(
                        "",
                        format_args!("the entry is the same as that of line {}", first.line),
                    )
                    .with_hint("remove one of them"));
            }
            entries.push(entry);
        }
        Ok(Self { entries, strict: false })
    }
}

fn empty(file: &str) -> Error {
    Error::usage(format!("expectations `{file}` have no entry"))
        .with_hint("leave `--expect` out, or write entries with `nestcheck expect DIR`")
}

fn hint_of(problem: &str) -> &'static str {
    // YAML reads `>` at the begin of a text as something else.
    if problem.contains("block scalar") {
        "put values that begin with `>` or `|` into quotes, such as `versions: '>=4.19'`"
    } else {
        HINT
    }
}

/// Two entries that differ only in their reason or their last day.
fn is_duplicate(one: &Expectation, other: &Expectation) -> bool {
    let key = |it: &Expectation| {
        let entry = &it.entry;
        (it.subject.clone(), entry.verdict, entry.message.clone(), it.flavour, it.versions.clone())
    };
    key(one) == key(other)
}

fn understand(written: Written, place: &Position<'_>, cases: &[&str]) -> Result<Expectation> {
    let Written { case, cause, verdict, message, reason, flavour, versions, until } = written;
    let (entry, subject) = match (case, cause) {
        (Some(case), None) => {
            let id = known_case(&case, place, cases)?;
            let case = Some(id.clone());
            (ExpectationEntry { case, ..ExpectationEntry::default() }, Subject::Case(id))
        }
        (None, Some(cause)) => {
            let key = known_cause(&cause, place)?;
            let cause = Some(cause);
            (ExpectationEntry { cause, ..ExpectationEntry::default() }, Subject::Cause(key))
        }
        (Some(_), Some(_)) => {
            let error = place.refuse("cause", "an entry has either `case` or `cause`, not both");
            return Err(error.with_hint("write two entries"));
        }
        (None, None) => {
            let error = place.refuse("", "the entry has neither `case` nor `cause`");
            return Err(error.with_hint(HINT));
        }
    };
    let reason = reason.map(|reason| reason.trim().to_owned()).unwrap_or_default();
    let is_placeholder =
        reason.get(..PLACEHOLDER.len()).is_some_and(|it| it.eq_ignore_ascii_case(PLACEHOLDER));
    if reason.is_empty() || is_placeholder {
        let what =
            if is_placeholder { "has only a placeholder as its reason" } else { "has no reason" };
        return Err(place.refuse("reason", format_args!("the entry {what}")).with_hint(
            "say in `reason` why it is expected, with the URL of an issue if there is one",
        ));
    }
    let (flavour, versions) = (flavour.map(|it| it.0.0), versions.map(|it| it.0));
    if flavour.is_none() && versions.is_some() {
        return Err(place.refuse("versions", "`versions` need a `flavour`").with_hint(
            "add `flavour: openshift`, `microshift` or `kubernetes`: each counts its versions itself",
        ));
    }
    let until = until.map(|it| it.0.0);
    let message = message.map(|it| it.0.0);
    Ok(Expectation {
        line: place.line(""),
        entry: ExpectationEntry {
            verdict: verdict.unwrap_or_default(),
            message: message.as_ref().map(ToString::to_string),
            reason,
            flavour: flavour.map(|it| it.to_string()),
            versions: versions.as_ref().map(ToString::to_string),
            until: until.map(|it| it.to_string()),
            ..entry
        },
        subject,
        message,
        flavour,
        versions,
        until,
    })
}

fn known_case(id: &str, place: &Position<'_>, cases: &[&str]) -> Result<String> {
    let known = cases.iter().find(|case| case.eq_ignore_ascii_case(id));
    // Which nodes there are, only the cluster knows.
    let of_node = cases.iter().any(|case| case.ends_with('.') && id.starts_with(case));
    let known = known.map(|id| (*id).to_owned()).or_else(|| of_node.then(|| id.to_owned()));
    known.ok_or_else(|| {
        let hint = match nearest(id, cases.iter().copied()) {
            Some(nearest) => format!("the nearest id is `{nearest}`; `nestcheck list` shows all"),
            None => "`nestcheck list` shows the ids of all cases".to_owned(),
        };
        place.refuse("case", format_args!("there is no case `{id}`")).with_hint(hint)
    })
}

fn known_cause(id: &str, place: &Position<'_>) -> Result<CauseKey> {
    CauseKey::parse(id).ok_or_else(|| {
        let known: Vec<_> = SignatureId::all().map(|id| id.to_string()).collect();
        let similar = nearest(id, known.iter().map(String::as_str));
        let similar = similar.map_or_else(String::new, |id| format!("the nearest id is `{id}`; "));
        place.refuse("cause", format_args!("there is no cause `{id}`")).with_hint(format!(
            "{similar}a cause is `F43`, `F43-0123abcd` or `C-0123abcd`, as reports print it"
        ))
    })
}

/// Where an entry stands.
struct Position<'a> {
    file: &'a str,
    lines: &'a Lines<'a>,
    index: usize,
}

impl Position<'_> {
    /// The line of a field of the entry, or of the entry itself.
    fn line(&self, field: &str) -> usize {
        self.lines.find(self.index, field)
    }

    fn refuse(&self, field: &str, problem: impl fmt::Display) -> Error {
        let (file, line) = (self.file, self.line(field));
        Error::usage(format!("failed to read expectations `{file}`: line {line}: {problem}"))
    }
}

/// The lines on which entries begin.
struct Lines<'a> {
    text: Vec<&'a str>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// In YAML all entries of a list in block style begin in the same column, and nothing else
    /// does with a dash. In a list in brackets only the line of the list is known.
    fn of(text: &'a str, count: usize) -> Self {
        let text: Vec<_> = text.lines().collect();
        let is_entry = |line: &str| {
            let rest = line.trim_start_matches(' ').strip_prefix('-');
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        };
        let indentation = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let first = text.iter().position(|line| is_entry(line));
        let column = first.map(|first| indentation(text[first]));
        let starts = text
            .iter()
            .enumerate()
            .filter(|(_, line)| is_entry(line) && Some(indentation(line)) == column);
        let mut starts: Vec<_> = starts.map(|(index, _)| index).collect();
        if starts.len() != count {
            let is_list = |line: &&str| line.trim_start().starts_with('[');
            starts = vec![text.iter().position(is_list).unwrap_or(0); count];
        }
        Self { text, starts }
    }

    /// The line, from 1, of a field of an entry; that of the entry where the field is not found.
    fn find(&self, index: usize, field: &str) -> usize {
        let start = self.starts.get(index).copied().unwrap_or(0);
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len()).max(start + 1);
        let lines = self.text.get(start..end.min(self.text.len())).unwrap_or_default();
        let is_field = |line: &&str| -> bool {
            let rest = line.trim_start_matches([' ', '-', '{']).strip_prefix(field);
            !field.is_empty() && rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        start + lines.iter().position(is_field).unwrap_or(0) + 1
    }
}
