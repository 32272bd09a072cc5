//! What must hold for a run with any fault. Pure: texts in, violations out.

use std::collections::{BTreeMap, BTreeSet};

use harness::verdict::event::{CaseFinished, Event, EventKind, read_log};
use quick_junit::{Report, TestCase, TestCaseStatus};
use serde::Serialize;

/// The exit codes that `nestcheck --help` documents for a run that ends without a signal.
const DOCUMENTED: [i32; 6] = [0, 1, 2, 3, 4, 5];

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Invariant {
    /// An object of the run is still there.
    Leak,
    /// The report is not valid `JUnit`, or shows a broken run as good.
    Report,
    /// A verdict of the event log is not in the report.
    Lost,
    /// The fault was reported as the product's: the verdict differs, but is not `error`.
    Misjudged,
    /// The run or the sweep did not end as documented.
    Ending,
}

impl Invariant {
    /// Its violation, as a noun.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Report => "invalid report",
            Self::Lost => "lost verdict",
            Self::Misjudged => "misjudged",
            Self::Ending => "wrong ending",
        }
    }
}

/// An invariant that was violated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    /// The case, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) case: Option<String>,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Self { invariant, case: None, what: what.into() }
    }

    fn of_case(invariant: Invariant, case: &str, what: String) -> Self {
        Self { case: Some(case.to_owned()), ..Self::new(invariant, what) }
    }
}

/// The verdict of each case.
pub(crate) type Verdicts = BTreeMap<String, String>;

/// Reads a log. An unreadable log violates an invariant.
pub(crate) fn events_of(log: &str) -> Result<Vec<Event>, Violation> {
    read_log(log).map_err(|error| Violation::new(Invariant::Report, error.to_string()))
}

pub(crate) fn finished(events: &[Event]) -> impl Iterator<Item = &CaseFinished> {
    events.iter().filter_map(|event| match &*event.event {
        EventKind::CaseFinished(case) => Some(case),
        _ => None,
    })
}

/// The verdicts of a log.
pub(crate) fn verdicts(events: &[Event]) -> Verdicts {
    finished(events).map(|case| (case.id.clone(), case.verdict.name().to_owned())).collect()
}

/// The run's id, once the run has started.
pub(crate) fn run_of(events: &[Event]) -> Option<String> {
    events.iter().find_map(|event| match &*event.event {
        EventKind::RunStarted(started) => Some(started.run.clone()),
        _ => None,
    })
}

/// Compares the `JUnit` report of a log with the log.
pub(crate) fn check_report(events: &[Event], junit: &str) -> Vec<Violation> {
    let report = match Report::deserialize_from_str(junit) {
        Ok(report) => report,
        Err(error) => {
            return vec![Violation::new(Invariant::Report, format!("no valid JUnit: {error}"))];
        }
    };
    let cases: Vec<_> = report.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
    let mut violations = Vec::new();
    for case in finished(events) {
        let (id, verdict) = (case.id.as_str(), case.verdict.name());
        let reports = |xml: &&&TestCase| {
            property(xml, "id") == Some(id) && property(xml, "verdict") == Some(verdict)
        };
        if !cases.iter().any(|xml| reports(&xml)) {
            let what = format!("`{verdict}` of {id} is in the log and not in the report");
            violations.push(Violation::of_case(Invariant::Lost, id, what));
        }
    }
    let has_ended = |event: &Event| matches!(*event.event, EventKind::RunFinished { .. });
    let is_red = cases.iter().any(|case| matches!(case.status, TestCaseStatus::NonSuccess { .. }));
    if !events.iter().any(has_ended) && !is_red {
        let what = "the report of a run that never ended is green";
        violations.push(Violation::new(Invariant::Report, what));
    }
    violations
}

fn property<'a>(case: &'a TestCase, name: &str) -> Option<&'a str> {
    let mut properties = case.properties.iter();
    properties
        .find(|property| property.name.as_str() == name)
        .map(|property| property.value.as_str())
}

/// Judges the verdicts of a run that exited. A fault of the infrastructure is `error`, or it was
/// overcome and changes nothing; it is never the product's, and no pass goes unproven.
pub(crate) fn check_verdicts(expected: &Verdicts, events: &[Event]) -> Vec<Violation> {
    let reports = verdicts(events);
    let proven = proven(events);
    let mut violations = Vec::new();
    for (id, expected) in expected {
        let Some(verdict) = reports.get(id) else {
            // A run that refuses to begin has no verdicts, and its exit code says so.
            if run_of(events).is_some() {
                let what = format!("{id} has no verdict, though the run continued");
                violations.push(Violation::of_case(Invariant::Lost, id, what));
            }
            continue;
        };
        if verdict != expected && verdict != "error" {
            let reason = finished(events).find(|case| case.id == *id);
            let reason = reason.and_then(|case| case.verdict.message()).unwrap_or_default();
            let what = format!("{id} is `{verdict}`, and `{expected}` without a fault: {reason}");
            violations.push(Violation::of_case(Invariant::Misjudged, id, what));
        }
        if verdict == "pass" && !proven.contains(id) {
            let what = format!("{id} passed without a truth check that holds");
            violations.push(Violation::of_case(Invariant::Misjudged, id, what));
        }
    }
    violations
}

/// The cases that made truth checks, all of which hold. Those of a try that was lost count for none.
fn proven(events: &[Event]) -> BTreeSet<String> {
    let (mut made, mut broken) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        match &*event.event {
            EventKind::TruthChecked { id, check } => {
                let set = if check.holds { &mut made } else { &mut broken };
                set.insert(id.clone());
            }
            EventKind::CaseRetried(retried) => {
                made.remove(&retried.id);
                broken.remove(&retried.id);
            }
            _ => {}
        }
    }
    made.difference(&broken).cloned().collect()
}

/// Judges the exit of a run: a documented code that matches the outcome, which is never 0 where a
/// case differs from what it is without a fault.
pub(crate) fn check_ending(code: i32, expected: &Verdicts, events: &[Event]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |what: String| violations.push(Violation::new(Invariant::Ending, what));
    if !DOCUMENTED.contains(&code) {
        wrong(format!("exit code {code} is not documented"));
    }
    let outcome = events.iter().rev().find_map(|event| match *event.event {
        EventKind::RunFinished { outcome, .. } => Some(outcome),
        _ => None,
    });
    match outcome {
        // 4 besides another outcome: the report could not be written.
        Some(outcome) if code != i32::from(outcome.exit_code()) && code != 4 => {
            wrong(format!("exit code {code}, but the log ends `{}`", outcome.name()));
        }
        None if run_of(events).is_some() => wrong(format!("exit code {code} without an outcome")),
        // The command line is valid, so this is not a usage error.
        None if code != 4 => wrong(format!("exit code {code} of a run that never began")),
        _ => {}
    }
    if code == 0 && verdicts(events) != *expected {
        wrong("exit code 0, but the verdicts are not those without a fault".to_owned());
    }
    violations
}

/// Whether a case was retried.
pub(crate) fn shows_retry(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(&*event.event, EventKind::CaseRetried(_)))
}

#[cfg(test)]
pub(crate) mod tests;
