//! The run as `JUnit` XML, in the dialects that its readers understand.
//!
//! `JUnit` has no specification, only readers, and they differ: Jenkins lets `<error>` win over
//! `<failure>`, GitLab keeps the first of two cases with one name and shows only an element's
//! text, Sippy (the CI of `OpenShift`) stores a case whose only child is `<error>` as a success and drops
//! suites that it does not know. What holds for all dialects:
//!
//! - the file is red exactly when the run is not conformant: the suite `nestcheck lifecycle` has a
//!   case `outcome` that fails then, since readers ignore skipped cases;
//! - a failure's text holds everything, its `message` one line of it;
//! - suites are not nested, names are unique, times are numbers of seconds.

use std::{collections::HashSet, str::FromStr, time::Duration};

use jiff::Timestamp;
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::{
    causes::CausesOfCases,
    details::{details, evidence, hint, message, proofs, wait},
    iterations::iterations,
    model::{CaseReport, Report},
    sentence::{disruptions, expectations, headline, outcome_name, reasons},
    text::line,
};
use crate::{
    base::error::Error,
    verdict::{
        Level, Outcome, Verdict,
        event::{CaseRetried, StepFinished},
    },
};

/// The most that a `message` attribute says; the element's text says all.
const ATTRIBUTE_LIMIT: usize = 500;

/// Who reads the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Jenkins, and whoever reads what Maven's Surefire writes.
    #[default]
    Jenkins,
    /// GitLab's test reports.
    GitLab,
    /// The CI of `OpenShift`: Prow's Spyglass and Sippy.
    OpenShift,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Jenkins, Self::GitLab, Self::OpenShift];

    /// The dialect's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jenkins => "jenkins",
            Self::GitLab => "gitlab",
            Self::OpenShift => "openshift",
        }
    }

    /// The name under which the dialect's readers find the file.
    #[must_use]
    pub fn file_name(self, report: &Report) -> String {
        match (self, report.started) {
            (Self::OpenShift, Some(started)) => {
                format!("junit_nestcheck_{}.xml", started.strftime("%Y%m%d-%H%M%S"))
            }
            _ => "junit.xml".to_owned(),
        }
    }

    fn suite_name(self, name: &str) -> String {
        match self {
            Self::Jenkins | Self::GitLab => name.to_owned(),
            // Sippy takes suites of layered products only under this prefix.
            Self::OpenShift => format!("lp-ocp-compat--{name}"),
        }
    }

    /// What tells the reader that the product was not judged.
    fn error_kind(self) -> NonSuccessKind {
        match self {
            Self::Jenkins | Self::GitLab => NonSuccessKind::Error,
            Self::OpenShift => NonSuccessKind::Failure,
        }
    }
}

impl FromStr for Dialect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.name() == text);
        named.ok_or_else(|| {
            Error::usage(format!("`{text}` is not a JUnit dialect"))
                .with_hint("use `jenkins`, `gitlab` or `openshift`")
        })
    }
}

/// The run as `JUnit` XML.
///
/// # Errors
///
/// The XML can't be written; no report is known for which that happens.
pub fn junit(report: &Report, dialect: Dialect) -> Result<String, Error> {
    let mut names = HashSet::new();
    let mut xml = quick_junit::Report::new("nestcheck");
    xml.timestamp = report.started.and_then(timestamp);
    xml.set_time(Duration::from_millis(report.duration_ms));
    xml.add_test_suite(lifecycle(report, dialect, &mut names));
    let listed = CausesOfCases::of(report);
    for cases in report.cases.chunk_by(|a, b| a.case.suite == b.case.suite) {
        xml.add_test_suite(suite(&listed, cases, dialect, &mut names));
    }
    xml.to_string().map_err(|error| Error::infrastructure(format!("can't write JUnit: {error}")))
}

/// What happened around the cases, and what the run came to.
fn lifecycle(report: &Report, dialect: Dialect, names: &mut HashSet<String>) -> TestSuite {
    let mut suite = TestSuite::new(dialect.suite_name("nestcheck lifecycle"));
    suite.timestamp = report.started.and_then(timestamp);
    let duration_ms =
        report.steps.iter().fold(0, |sum: u64, step| sum.saturating_add(step.duration_ms));
    suite.set_time(Duration::from_millis(duration_ms));
    if let Some(run) = &report.run {
        for (name, value) in [
            ("run", &run.run),
            ("profile", &run.profile),
            ("image", &run.image),
            ("version", &run.version),
        ] {
            suite.add_property((name, value.as_str()));
        }
        let facts = run.cluster.iter();
        suite.add_properties(
            facts.map(|(name, value)| Property::new(format!("cluster.{name}"), value)),
        );
    }
    suite.add_properties(
        disruptions(report)
            .iter()
            .map(|text| Property::new("disruption", line(text, ATTRIBUTE_LIMIT))),
    );
    suite.add_properties(
        expectations(report)
            .iter()
            .map(|text| Property::new("expectation", line(text, ATTRIBUTE_LIMIT))),
    );
    // The outcome claims its name first, but stands where a reader looks for it: at the end.
    let outcome_name = unique(names, "outcome");
    for step in &report.steps {
        suite.add_test_case(step_case(step, dialect, names));
    }
    let mut case = TestCase::new(outcome_name, outcome_status(report));
    case.set_classname("nestcheck.lifecycle").set_time(Duration::ZERO);
    let lines = std::iter::once(headline(report).to_string()).chain(disruptions(report));
    let lines: Vec<_> = lines.chain(expectations(report)).collect();
    case.set_system_out(lines.join("\n"));
    weigh(&mut case, Level::Core, dialect);
    suite.add_test_case(case);
    suite
}

fn outcome_status(report: &Report) -> TestCaseStatus {
    if report.outcome == Some(Outcome::Conformant) {
        return TestCaseStatus::success();
    }
    let (name, reasons) = (outcome_name(report.outcome), reasons(report));
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(name.replace(' ', "-"));
    status.set_message(line(&format!("{name}: {}", reasons.join("; ")), ATTRIBUTE_LIMIT));
    status.set_description(format!("{}\n\n{}", headline(report), reasons.join("\n")));
    status
}

fn step_case(step: &StepFinished, dialect: Dialect, names: &mut HashSet<String>) -> TestCase {
    let status = step.failure.as_ref().map_or_else(TestCaseStatus::success, |failure| {
        let mut status = TestCaseStatus::non_success(dialect.error_kind());
        status.set_type("error").set_message(line(failure, ATTRIBUTE_LIMIT));
        status.set_description(failure);
        status
    });
    let mut case = TestCase::new(unique(names, &step.step.to_string()), status);
    case.set_classname("nestcheck.lifecycle");
    case.set_time(Duration::from_millis(step.duration_ms));
    weigh(&mut case, Level::Core, dialect);
    case
}

fn suite(
    listed: &CausesOfCases<'_>,
    cases: &[CaseReport],
    dialect: Dialect,
    names: &mut HashSet<String>,
) -> TestSuite {
    // Jenkins takes what stands before the last dot for a package.
    let name = cases.first().map_or("", |case| case.case.suite.as_str()).replace('.', "-");
    let classname = format!("nestcheck.{name}");
    let mut suite = TestSuite::new(dialect.suite_name(&classname));
    suite.timestamp = cases.iter().filter_map(|case| case.started).min().and_then(timestamp);
    let mut duration_ms: u64 = 0;
    for case in cases {
        duration_ms = duration_ms.saturating_add(case.case.duration_ms);
        let name = unique(names, &format!("{} {}", case.case.id, case.short_name()));
        let mut xml = TestCase::new(name, status(case, dialect));
        xml.set_classname(&*classname);
        xml.set_time(Duration::from_millis(case.case.duration_ms));
        xml.timestamp = case.started.and_then(timestamp);
        xml.add_property(("id", case.case.id.as_str()));
        xml.add_property(("level", case.case.level.name()));
        xml.add_property(("verdict", case.case.verdict.name()));
        if let Some(cause) = listed.cause_of(&case.case.id) {
            xml.add_property(("cause", cause.id.as_str()));
        }
        if let Verdict::KnownIssue { expectation: Some(it), .. } = &case.case.verdict {
            xml.add_property(("expectation", line(&it.reason, ATTRIBUTE_LIMIT).as_str()));
        }
        if !case.retries.is_empty() {
            xml.add_property(("attempts", (case.retries.len() + 1).to_string().as_str()));
            xml.status.add_reruns(case.retries.iter().map(rerun));
        }
        if let Some(iterations) = iterations(case) {
            xml.add_property(("iterations", iterations.as_str()));
        }
        for hit in &case.disruptions {
            xml.add_property(("disruption", line(&wait(hit), ATTRIBUTE_LIMIT).as_str()));
        }
        if let Some(evidence) = &case.evidence {
            xml.add_property(("evidence", evidence.directory.as_str()));
        }
        weigh(&mut xml, case.case.level, dialect);
        match case.case.verdict {
            Verdict::Pass => {
                xml.set_system_out(format!("{}\n{}", case.case.title, proofs(case)));
            }
            _ => {
                xml.set_system_out(&case.case.title);
            }
        }
        suite.add_test_case(xml);
    }
    suite.set_time(Duration::from_millis(duration_ms));
    suite
}

fn status(case: &CaseReport, dialect: Dialect) -> TestCaseStatus {
    let verdict = &case.case.verdict;
    let kind = match verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        Verdict::Blocked { .. } | Verdict::NotApplicable { .. } | Verdict::KnownIssue { .. } => {
            return skipped(case, "");
        }
        Verdict::Fail { .. } => NonSuccessKind::Failure,
        Verdict::Error { .. } | Verdict::Interrupted => dialect.error_kind(),
    };
    // OpenShift's readers know from `lifecycle` that the case is not decisive; the others would
    // turn a conformant run red.
    if case.case.level == Level::Informing && dialect != Dialect::OpenShift {
        return skipped(case, "informing, not decisive: ");
    }
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(verdict.name());
    status.set_message(line(&message(verdict), ATTRIBUTE_LIMIT));
    status.set_description(details(case));
    status
}

/// An attempt that a disruption ended: `flakyError` in a case that passed, `rerunError` in another.
fn rerun(retried: &CaseRetried) -> TestRerun {
    let mut rerun = TestRerun::new(NonSuccessKind::Error);
    let text = format!("{}: {}", retried.disruption, retried.disruption.reason);
    rerun.set_type("lost").set_message(line(&text, ATTRIBUTE_LIMIT));
    rerun.set_description(text);
    rerun
}

fn skipped(case: &CaseReport, prefix: &str) -> TestCaseStatus {
    let verdict = &case.case.verdict;
    let mut text = format!("{prefix}{}", message(verdict));
    if let Some(hint) = hint(verdict) {
        text = format!("{text}; {hint}");
    }
    let mut status = TestCaseStatus::skipped();
    status.set_type(verdict.name()).set_message(line(&text, ATTRIBUTE_LIMIT));
    let mut parts = vec![text];
    parts.extend(evidence(case));
    status.set_description(parts.join("\n\n"));
    status
}

/// Tells the readers in `OpenShift`'s CI whether the case decides: Sippy reads the attribute,
/// Spyglass the property.
fn weigh(case: &mut TestCase, level: Level, dialect: Dialect) {
    if dialect == Dialect::OpenShift {
        let lifecycle = if level == Level::Informing { "informing" } else { "blocking" };
        case.extra.insert("lifecycle".into(), lifecycle.into());
        case.add_property(("lifecycle", lifecycle));
    }
}

/// Makes a name unique in the file: a reader keeps only the first case of a name.
fn unique(names: &mut HashSet<String>, name: &str) -> String {
    let mut candidate = name.to_owned();
    let mut number = 1;
    while !names.insert(candidate.clone()) {
        number += 1;
        candidate = format!("{name} ({number})");
    }
    candidate
}

/// Converts through text, since quick-junit's time type is of a crate that only it uses.
fn timestamp<T: FromStr>(at: Timestamp) -> Option<T> {
    at.to_string().parse().ok()
}
