//! What became of tests, as the contract's results.

use harness::{
    engine::Case,
    report::{CaseReport, Report, case_details},
    verdict::{Level, Outcome, Verdict},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{names::name, spec::Lifecycle};

/// The form of times: UTC, to the microsecond.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.6f UTC";

/// The result of a test.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestResult {
    pub(super) name: String,
    pub(super) lifecycle: Lifecycle,
    /// In milliseconds.
    duration: u64,
    start_time: String,
    end_time: String,
    pub(super) result: Ended,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ended {
    Passed,
    Skipped,
    Failed,
}

#[derive(Debug, Serialize)]
struct Detail {
    name: &'static str,
    value: String,
}

/// The time of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl TestResult {
    /// Whether it fails the job.
    pub(super) fn fails(&self) -> bool {
        self.result == Ended::Failed && self.lifecycle == Lifecycle::Blocking
    }

    /// A test that came to nothing.
    pub(super) fn failed(name: String, lifecycle: Lifecycle, error: String, span: Span) -> Self {
        Self {
            name,
            lifecycle,
            duration: 0,
            start_time: time(span.from),
            end_time: time(span.to),
            result: Ended::Failed,
            output: String::new(),
            error: Some(error),
            details: Vec::new(),
        }
    }
}

/// The result of each case, in their order. A case without a trace in the report has failed, unless the
/// cluster's profile does not have it.
pub(super) fn results(cases: &[Case], report: &Report, span: Span) -> Vec<TestResult> {
    cases
        .iter()
        .map(|case| match report.cases.iter().find(|it| it.case.id == case.id) {
            Some(found) => result(case, found, report, span),
            None => without_report(case, report, span),
        })
        .collect()
}

fn result(case: &Case, found: &CaseReport, report: &Report, span: Span) -> TestResult {
    let verdict = &found.case.verdict;
    let started = found.started.unwrap_or(span.from);
    let duration = found.case.duration_ms;
    let end = started + jiff::SignedDuration::from_millis(i64::try_from(duration).unwrap_or(0));
    let (ended, error) = ended(verdict, case.level, report.outcome);
    // What is known does not fail a job, and is not hidden either.
    let is_known = matches!(verdict, Verdict::KnownIssue { .. });
    let lifecycle = if is_known { Lifecycle::Informing } else { Lifecycle::of(case.level) };
    let detail = |name, value: &str| Detail { name, value: value.to_owned() };
    let mut details = vec![detail("verdict", verdict.name()), detail("title", case.title)];
    if let Some(run) = &report.run {
        details.push(detail("run", &run.run));
    }
    if let Some(cause) = report.cause_of(case.id) {
        details.push(detail("cause", &cause.id));
    }
    TestResult {
        name: name(case),
        lifecycle,
        duration,
        start_time: time(started),
        end_time: time(end),
        result: ended,
        output: case_details(found),
        error,
        details,
    }
}

/// How a test ended, and why it failed. A pass counts only in a run that ended and left nothing.
fn ended(verdict: &Verdict, level: Level, outcome: Option<Outcome>) -> (Ended, Option<String>) {
    let message = || verdict.message().unwrap_or("the run ended before the case did").to_owned();
    match (verdict, level) {
        (Verdict::Pass, _) => match outcome {
            Some(Outcome::Leaked) => failed("objects of the run are still in the cluster"),
            Some(Outcome::Error) => failed("the run broke around its cases"),
            Some(Outcome::Interrupted { .. }) => failed("the run was interrupted"),
            None => failed("the run did not end"),
            Some(Outcome::Conformant | Outcome::NotConformant | Outcome::Partial) => {
                (Ended::Passed, None)
            }
        },
        // Nothing is proved: green would be wrong.
        (Verdict::Blocked { .. }, Level::Core) => {
            (Ended::Failed, Some(format!("blocked: {}", message())))
        }
        (Verdict::Blocked { .. } | Verdict::NotApplicable { .. }, _) => (Ended::Skipped, None),
        (Verdict::KnownIssue { .. }, _) => {
            (Ended::Failed, Some(format!("known issue: {}", message())))
        }
        (Verdict::Fail { .. } | Verdict::Error { .. } | Verdict::Interrupted, _) => {
            (Ended::Failed, Some(message()))
        }
    }
}

fn failed(why: &str) -> (Ended, Option<String>) {
    (Ended::Failed, Some(why.to_owned()))
}

/// A case of which the report knows nothing.
fn without_report(case: &Case, report: &Report, span: Span) -> TestResult {
    let lifecycle = Lifecycle::of(case.level);
    let profile = report.run.as_ref().map(|run| run.profile.as_str());
    let known = profile.and_then(|name| harness::engine::Profile::parse(name).ok());
    match known {
        Some(profile) if report.is_complete() && !profile.has(case) => TestResult {
            result: Ended::Skipped,
            error: None,
            output: format!("not a case of the cluster's profile `{}`", profile.name()),
            ..TestResult::failed(name(case), lifecycle, String::new(), span)
        },
        _ => {
            let error = "the run ended before the case began".to_owned();
            TestResult::failed(name(case), lifecycle, error, span)
        }
    }
}

fn time(at: Timestamp) -> String {
    at.strftime(TIME).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFORMANT: Option<Outcome> = Some(Outcome::Conformant);

    #[test]
    fn only_a_pass_in_a_run_that_ended_well_is_passed() {
        assert_eq!(ended(&Verdict::Pass, Level::Core, CONFORMANT).0, Ended::Passed);
        assert_eq!(ended(&Verdict::Pass, Level::Core, Some(Outcome::Partial)).0, Ended::Passed);
        for outcome in [
            None,
            Some(Outcome::Leaked),
            Some(Outcome::Error),
            Some(Outcome::Interrupted { signal: 2 }),
        ] {
            let (ended, error) = ended(&Verdict::Pass, Level::Core, outcome);
            assert_eq!(ended, Ended::Failed, "{outcome:?}");
            assert!(error.is_some(), "{outcome:?}");
        }
    }

    #[test]
    fn a_blocked_core_case_has_failed_and_another_one_is_skipped() {
        let blocked = Verdict::blocked("the gate is off", "turn it on");
        let (core, error) = ended(&blocked, Level::Core, Some(Outcome::Partial));
        assert_eq!((core, error.as_deref()), (Ended::Failed, Some("blocked: the gate is off")));
        assert_eq!(ended(&blocked, Level::Extended, CONFORMANT).0, Ended::Skipped);
        let elsewhere = Verdict::NotApplicable { reason: "another flavour".to_owned() };
        assert_eq!(ended(&elsewhere, Level::Core, CONFORMANT).0, Ended::Skipped);
    }

    #[test]
    fn every_other_verdict_has_failed_and_says_why() {
        let error = Verdict::Error { message: "lost".to_owned() };
        for verdict in [Verdict::fail("no", None), error, Verdict::Interrupted] {
            let (ended, error) = ended(&verdict, Level::Informing, CONFORMANT);
            assert_eq!(ended, Ended::Failed);
            assert!(error.is_some_and(|error| !error.is_empty()));
        }
    }

    #[test]
    fn times_are_written_as_the_reader_expects() {
        let at: Timestamp = "2026-11-30T06:00:01.5Z".parse().expect("a time");
        assert_eq!(time(at), "2026-11-30 06:00:01.500000 UTC");
    }
}
