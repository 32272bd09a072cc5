//! A file of expectations, written from a run: a person only has to add the reasons.

use std::{fmt::Write as _, sync::LazyLock};

use regex::Regex;

use super::{
    model::{CaseReport, Report},
    text::{LINE_LIMIT, line, names},
};
use crate::{
    Result,
    base::manifest,
    diagnosis::PLACEHOLDER,
    verdict::{ExpectationEntry, ExpectedVerdict, Verdict},
};

/// The most of a message that an entry matches: the rest says seldom more, and differs more often.
const MESSAGE: usize = 200;

/// How many ids a comment names.
const MOST_NAMES: usize = 12;

/// What one entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftBy {
    /// A case, with its message.
    Case,
    /// A cause, whatever cases it has.
    Cause,
}

/// Writes a file that expects the failures of a run, with a placeholder for each reason. Entries of
/// the run's own file that are still of use come first, as they are.
///
/// # Errors
///
/// The document can't be written; no report is known for which that happens.
pub fn draft_expectations(report: &Report, by: DraftBy, with_blocked: bool) -> Result<String> {
    let mut text = head(report);
    let kept = report.expectations.entries.iter().filter(|entry| !entry.state.needs_change());
    for entry in kept {
        text.push_str(&manifest::print(&[&entry.entry])?);
    }
    let wanted = |case: &CaseReport| {
        unexpected(&case.case.verdict)
            .filter(|verdict| with_blocked || *verdict == ExpectedVerdict::Fail)
    };
    match by {
        DraftBy::Case => {
            for case in &report.cases {
                let Some(verdict) = wanted(case) else { continue };
                let title = line(&case.case.title, LINE_LIMIT);
                let _ = writeln!(text, "# {}: {title}", case.case.level.name());
                let message = case.case.verdict.message().map(pattern);
                let message = message.filter(|message| !message.is_empty());
                let case = Some(case.case.id.clone());
                let entry = ExpectationEntry { case, message, ..entry(verdict) };
                text.push_str(&manifest::print(&[entry])?);
            }
        }
        DraftBy::Cause => {
            for cause in &report.causes {
                for verdict in [ExpectedVerdict::Fail, ExpectedVerdict::Blocked] {
                    let cases = report.cases.iter().filter(|case| {
                        cause.cases.contains(&case.case.id) && wanted(case) == Some(verdict)
                    });
                    let ids: Vec<_> = cases.map(|case| case.case.id.as_str()).collect();
                    if ids.is_empty() {
                        continue;
                    }
                    let wrong = line(&cause.wrong, LINE_LIMIT);
                    let _ = writeln!(text, "# {wrong}: {}", names(ids, MOST_NAMES));
                    let cause = Some(cause.id.clone());
                    text.push_str(&manifest::print(&[ExpectationEntry {
                        cause,
                        ..entry(verdict)
                    }])?);
                }
            }
        }
    }
    if !text.contains("\n- ") {
        text.push_str("# No case failed, so there is nothing to expect.\n");
    }
    Ok(text)
}

/// What a reader of the file should know first.
fn head(report: &Report) -> String {
    let mut text = String::from("# Failures that are known: `nestcheck run --expect FILE`.\n");
    if let Some(run) = &report.run {
        let value = |name: &str| {
            let fact = run.cluster.iter().find(|(fact, _)| fact == name);
            fact.map(|(_, value)| line(value, LINE_LIMIT))
        };
        let cluster: Vec<_> =
            ["flavour", "release", "version"].into_iter().filter_map(value).collect();
        let _ = writeln!(text, "# Run {} on {}.", run.run, cluster.join(" "));
    }
    text.push_str(
        "# Replace each `TODO`. An entry may also have `flavour: openshift`, `versions: '>=4.19 <4.21'` \
         and\n# `until: 2026-12-31`, the last day on which it applies.\n",
    );
    text
}

/// Which verdict an entry would have to expect; none for a case that passed, broke or is known.
fn unexpected(verdict: &Verdict) -> Option<ExpectedVerdict> {
    match verdict {
        Verdict::Fail { .. } => Some(ExpectedVerdict::Fail),
        Verdict::Blocked { .. } => Some(ExpectedVerdict::Blocked),
        _ => None,
    }
}

fn entry(verdict: ExpectedVerdict) -> ExpectationEntry {
    let reason = format!("{PLACEHOLDER}: why it is expected, with the URL of an issue");
    ExpectationEntry { verdict, reason, ..ExpectationEntry::default() }
}

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

/// An expression that matches the begin of a message in other runs too. Numbers stay: another exit
/// code or user is another failure.
fn pattern(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default().trim();
    let first = &first[..first.floor_char_boundary(MESSAGE)];
    let mut pattern = String::new();
    let mut rest = 0;
    for found in VARIES.iter().flat_map(|varies| varies.find_iter(first)) {
        pattern.push_str(&regex::escape(&first[rest..found.start()]));
        pattern.push_str(r"\S+");
        rest = found.end();
    }
    pattern + &regex::escape(&first[rest..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Expectations, Situation},
        facts::Facts,
        report::summarize,
        verdict::{
            Level,
            event::{CaseFinished, Event, EventKind},
        },
    };

    const FAILED: &str =
        "pod web-7f9c6bd4d5-xkqzv at 10.128.0.7:443 ended with exit code 125: [a+b]";

    fn case(id: &str, verdict: Verdict) -> CaseFinished {
        CaseFinished {
            id: id.to_owned(),
            name: format!("podman::{id}"),
            suite: "podman".to_owned(),
            title: "It works:\n- case: POD-01".to_owned(),
            level: Level::Core,
            verdict,
            duration_ms: 1,
        }
    }

    fn cases() -> Vec<CaseFinished> {
        vec![
            case("POD-01", Verdict::Pass),
            case("POD-02", Verdict::fail(FAILED, None)),
            case("POD-03", Verdict::fail("'quotes': # and\nlines", None)),
            case("POD-04", Verdict::blocked("no gate", "turn it on")),
            case("POD-05", Verdict::Error { message: "lost".to_owned() }),
        ]
    }

    fn draft(by: DraftBy, with_blocked: bool) -> String {
        let events: Vec<_> =
            cases().into_iter().map(|case| Event::now(EventKind::CaseFinished(case))).collect();
        draft_expectations(&summarize(&events), by, with_blocked).expect("it can be written")
    }

    /// The ids that a draft accepts, once its reasons are there.
    fn accepted(draft: &str) -> Vec<String> {
        let ids = cases().into_iter().map(|case| case.id).collect::<Vec<_>>();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let text = draft.replace(PLACEHOLDER, "known");
        let expectations = Expectations::parse("draft", &text, &ids).expect("a good file");
        let now = "2026-11-30T00:00:00Z".parse().expect("a time");
        let situation = Situation::new(&Facts::default(), now);
        let cases = cases().into_iter();
        let changed = cases.filter(|case| expectations.decide(&situation, case) != case.verdict);
        changed.map(|case| case.id).collect()
    }

    #[test]
    fn a_draft_accepts_what_failed_once_it_has_its_reasons() {
        for by in [DraftBy::Case, DraftBy::Cause] {
            assert_eq!(accepted(&draft(by, false)), ["POD-02", "POD-03"]);
            assert_eq!(accepted(&draft(by, true)), ["POD-02", "POD-03", "POD-04"]);
            let error = Expectations::parse("draft", &draft(by, false), &["POD-02", "POD-03"]);
            let error = error.expect_err("its reasons are missing").to_string();
            assert!(error.contains("only a placeholder"), "{error}");
        }
    }

    #[test]
    fn a_draft_of_a_run_without_failures_says_so() {
        let text = draft_expectations(&summarize(&[]), DraftBy::Case, true).expect("a text");
        assert!(text.ends_with("there is nothing to expect.\n"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }

    #[test]
    fn a_pattern_matches_the_message_of_another_run_and_not_another_failure() {
        let pattern = Regex::new(&pattern(FAILED)).expect("an expression");
        assert!(pattern.is_match(FAILED));
        let again =
            FAILED.replace("7f9c6bd4d5-xkqzv", "5d4db6c9f7-bcdfg").replace("128.0.7", "1.2.3");
        assert!(pattern.is_match(&again), "{pattern}");
        assert!(!pattern.is_match(&FAILED.replace("125", "126")), "{pattern}");
    }
}
