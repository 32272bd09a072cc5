//! A file of expectations, written from a run: a person only has to add the reasons.

mod pattern;

use std::{collections::HashMap, fmt::Write as _};

use regex::Regex;

use self::pattern::pattern;
use super::{
    model::{CaseReport, Report, summarize},
    shown::shown,
    text::{LINE_LIMIT, line, names},
};
use crate::{
    Result,
    base::manifest,
    diagnosis::{self, PLACEHOLDER, exact_cause},
    verdict::{
        ExpectationEntry, ExpectedVerdict, Verdict,
        event::{CaseFinished, Event, EventKind},
    },
};

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
pub fn draft_expectations(events: &[Event], by: DraftBy, with_blocked: bool) -> Result<String> {
    let report = summarize(events);
    let mut text = head(&report, by);
    for entry in kept(events) {
        text.push_str(&manifest::print(&[entry])?);
    }
    let cases = unexpected(events, &report, with_blocked);
    text.push_str(&match by {
        DraftBy::Case => by_case(&cases)?,
        DraftBy::Cause => by_cause(&cases)?,
    });
    if !text.contains("\n- ") {
        text.push_str("# No case failed, so there is nothing to expect.\n");
    }
    Ok(text)
}

/// The entries of the run's own file that nobody has to change, as the log has them: a report cuts
/// long texts, and puts them on one line.
fn kept(events: &[Event]) -> impl Iterator<Item = &ExpectationEntry> {
    let entries = events.iter().rev().find_map(|event| match &*event.event {
        EventKind::RunFinished { expectations, .. } => Some(&expectations.entries),
        _ => None,
    });
    let entries = entries.into_iter().flatten();
    entries.filter(|entry| !entry.state.needs_change()).map(|entry| &entry.entry)
}

/// The cases that nobody expects, with their verdicts as the log has them, which is what the entries
/// of a later run are compared with.
fn unexpected(
    events: &[Event],
    report: &Report,
    with_blocked: bool,
) -> Vec<(ExpectedVerdict, CaseFinished)> {
    let mut logged: HashMap<String, Vec<(Verdict, &Verdict)>> = HashMap::new();
    for event in events {
        if let EventKind::CaseFinished(case) = &*event.event
            && let EventKind::CaseFinished(shown) = shown(&event.event)
        {
            logged.entry(shown.id).or_default().push((shown.verdict, &case.verdict));
        }
    }
    let found = report.cases.iter().filter_map(|CaseReport { case, .. }| {
        let verdict = expectable(&case.verdict)
            .filter(|verdict| with_blocked || *verdict == ExpectedVerdict::Fail)?;
        let of_case = logged.get(&case.id)?;
        let (_, whole) = of_case.iter().find(|(shown, _)| *shown == case.verdict)?;
        Some((verdict, CaseFinished { verdict: (*whole).clone(), ..case.clone() }))
    });
    found.collect()
}

fn by_case(cases: &[(ExpectedVerdict, CaseFinished)]) -> Result<String> {
    let mut text = String::new();
    for (verdict, case) in cases {
        let _ = writeln!(text, "# {}: {}", case.level.name(), line(&case.title, LINE_LIMIT));
        let message = case.verdict.message().map(pattern);
        let case = Some(case.id.clone());
        text.push_str(&manifest::print(&[ExpectationEntry { case, message, ..entry(*verdict) }])?);
    }
    Ok(text)
}

fn by_cause(cases: &[(ExpectedVerdict, CaseFinished)]) -> Result<String> {
    let of_id: HashMap<_, _> =
        cases.iter().map(|(verdict, case)| (case.id.as_str(), (*verdict, case))).collect();
    let mut text = String::new();
    for cause in diagnosis::causes(cases.iter().map(|(_, case)| case)) {
        for wanted in [ExpectedVerdict::Fail, ExpectedVerdict::Blocked] {
            let cases = cause.cases.iter().filter_map(|id| of_id.get(id.as_str()));
            let cases = cases.filter(|(verdict, _)| *verdict == wanted).map(|(_, case)| *case);
            let cases: Vec<_> = cases.collect();
            let Some(id) = cases.first().and_then(|case| exact_cause(&case.verdict)) else {
                continue;
            };
            let ids = names(cases.iter().map(|case| case.id.as_str()), MOST_NAMES);
            let _ = writeln!(text, "# {}: {ids}", line(&cause.wrong, LINE_LIMIT));
            // A signature says what is wrong; without one a number may be all that does.
            let message = if cause.signature.is_none() { common(&cases) } else { None };
            text.push_str(&manifest::print(&[ExpectationEntry {
                cause: Some(id),
                message,
                ..entry(wanted)
            }])?);
        }
    }
    Ok(text)
}

/// The expression of the first message, if it matches those of all cases.
fn common(cases: &[&CaseFinished]) -> Option<String> {
    let mut messages = cases.iter().filter_map(|case| case.verdict.message());
    let pattern = pattern(messages.next()?);
    let expression = Regex::new(&pattern).ok()?;
    messages.all(|message| expression.is_match(message)).then_some(pattern)
}

/// What a reader of the file should know first.
fn head(report: &Report, by: DraftBy) -> String {
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
    if by == DraftBy::Cause {
        text.push_str(
            "# A cause is the same if only numbers, ids, times, addresses and generated names differ. \
             Where a command\n# failed, the last line that it wrote counts. Add `message` to accept \
             less.\n",
        );
    }
    text
}

/// Which verdict an entry would have to expect; none for a case that passed, broke or is known.
fn expectable(verdict: &Verdict) -> Option<ExpectedVerdict> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnosis::{Expectations, Situation},
        facts::Facts,
        verdict::{
            Attribution, ExpectationReport, ExpectationResult, ExpectationState, Failure, Level,
            Outcome, SignatureId,
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
        draft_expectations(&events, by, with_blocked).expect("it can be written")
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
        let text = draft_expectations(&[], DraftBy::Case, true).expect("a text");
        assert!(text.ends_with("there is nothing to expect.\n"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }

    fn drafted(cases: Vec<CaseFinished>, by: DraftBy) -> String {
        let events: Vec<_> =
            cases.into_iter().map(|case| Event::now(EventKind::CaseFinished(case))).collect();
        draft_expectations(&events, by, true).expect("it can be written")
    }

    /// Whether a draft, once it has its reasons, accepts a case.
    fn accepts(draft: &str, case: &CaseFinished) -> bool {
        let text = draft.replace(PLACEHOLDER, "known");
        let expectations =
            Expectations::parse("draft", &text, &["POD-01", "POD-02"]).expect("a good file");
        let now = "2026-11-30T00:00:00Z".parse().expect("a time");
        expectations.decide(&Situation::new(&Facts::default(), now), case) != case.verdict
    }

    #[test]
    fn a_draft_accepts_no_failure_that_differs_in_a_later_line() {
        let failed = |observed: &str| {
            let message =
                format!("\nexpected `1234:4321`\n{}\nobserved `{observed}`", "x ".repeat(5000));
            case("POD-01", Verdict::fail(message, None))
        };
        for by in [DraftBy::Case, DraftBy::Cause] {
            let draft = drafted(vec![failed("0:0")], by);
            assert!(accepts(&draft, &failed("0:0")), "{draft}");
            assert!(!accepts(&draft, &failed("1000:0")), "{draft}");
        }
    }

    #[test]
    fn a_drafted_cause_is_not_each_cause_of_its_signature() {
        let failed = |id: &str, wrong: &str| {
            let cause = Attribution {
                signature: Some(SignatureId::F02),
                wrong: wrong.to_owned(),
                ..Attribution::default()
            };
            case(id, Failure::product("exit code 125").with_hint(Some(cause)).into())
        };
        let draft = drafted(vec![failed("POD-01", "newuidmap has no capability")], DraftBy::Cause);
        assert!(draft.contains("\n- cause: F02-"), "{draft}");
        assert!(accepts(&draft, &failed("POD-02", "newuidmap has no capability")), "{draft}");
        assert!(!accepts(&draft, &failed("POD-02", "no_new_privs is on")), "{draft}");
    }

    #[test]
    fn a_cause_without_a_signature_has_a_message_where_its_cases_share_one() {
        let failed = |id: &str, code: u8| {
            case(id, Verdict::fail(format!("it ended with exit code {code}"), None))
        };
        let one = drafted(vec![failed("POD-01", 12)], DraftBy::Cause);
        assert!(accepts(&one, &failed("POD-02", 12)) && !accepts(&one, &failed("POD-02", 125)));
        let both = drafted(vec![failed("POD-01", 12), failed("POD-02", 13)], DraftBy::Cause);
        assert!(accepts(&both, &failed("POD-01", 14)), "{both}");
        assert!(both.contains("Add `message` to accept less"), "{both}");
    }

    #[test]
    fn entries_of_the_run_stay_as_they_are() {
        let entry = ExpectationEntry {
            case: Some("POD-01".to_owned()),
            message: Some(format!("a  b{}", "|c".repeat(1000))),
            reason: "first\nsecond  line\n- third".to_owned(),
            ..ExpectationEntry::default()
        };
        let used = ExpectationResult {
            line: 1,
            entry: entry.clone(),
            state: ExpectationState::Used,
            cases: vec!["POD-01".to_owned()],
            detail: None,
        };
        let end = EventKind::RunFinished {
            outcome: Outcome::Partial,
            duration_ms: 1,
            causes: Vec::new(),
            namespace: Vec::new(),
            expectations: ExpectationReport { strict: false, entries: vec![used] },
        };
        let draft = draft_expectations(&[Event::now(end)], DraftBy::Case, false);
        let draft = draft.expect("it can be written");
        let read: Vec<ExpectationEntry> = manifest::parse_own(&draft).expect("a list");
        assert_eq!(read, [entry]);
    }
}
