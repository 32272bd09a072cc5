//! What every report is made from: the run, put together from its events.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    disruptions::{DisruptionReport, Disruptions},
    iterations::{causes_of, worst_outcome},
    shown::shown,
    trace::Trace,
};
use crate::{
    diagnosis,
    verdict::{
        Cause, Circumstances, Effect, ExpectationReport, Outcome, Verdict,
        event::{
            CaseDisrupted, CaseFinished, CaseRetried, CommandFinished, Event, EventKind,
            EvidenceCollected, RunStarted, StepFinished, TruthCheck,
        },
    },
};

/// A run, as its events tell it. Every text in it is clean and bounded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What was run, and against what; none when the log does not hold the start.
    pub run: Option<RunStarted>,
    /// The steps around the cases, in the order in which they ended.
    pub steps: Vec<StepFinished>,
    /// The cases, by suite and id. Each id occurs once.
    pub cases: Vec<CaseReport>,
    /// What was lost meanwhile, the first first.
    pub disruptions: Vec<DisruptionReport>,
    /// What the run came to; none when the log ends before the run did.
    ///
    /// Never greener than the cases: a log that says conformant while its cases don't has the
    /// outcome of its cases.
    pub outcome: Option<Outcome>,
    /// The number of the signal that asked the run to end.
    pub signal: Option<u8>,
    /// When the run started, or the first thing known of it.
    pub started: Option<Timestamp>,
    /// When the run finished, or the last thing known of it.
    pub finished: Option<Timestamp>,
    /// How long the run took, in milliseconds.
    pub duration_ms: u64,
    /// The cases by verdict.
    pub counts: Counts,
    /// Why cases did not pass: each cause once, the one that explains most first.
    pub causes: Vec<Cause>,
    /// What became of the failures that a person expects.
    pub expectations: ExpectationReport,
}

/// A report that is read beside others, with the name that its reader knows it by.
#[derive(Clone, Debug)]
pub struct NamedReport {
    /// The name, such as the path of its directory.
    pub name: String,
    /// The report.
    pub report: Report,
}

/// A case, with what proves its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// The case and what it came to.
    pub case: CaseFinished,
    /// When it began, if it ran.
    pub started: Option<Timestamp>,
    /// The log ends before the case did, so all that is known of it is its id.
    pub cut_off: bool,
    /// The attempts that a disruption ended.
    pub retries: Vec<CaseRetried>,
    /// The other disruptions that hit it.
    pub disruptions: Vec<CaseDisrupted>,
    /// The proofs, in the order in which they were made; none of a try before the last.
    pub truth_checks: Vec<TruthCheck>,
    /// The commands, in the order in which they ended.
    pub commands: Vec<CommandFinished>,
    /// The files about it beside the log, if it failed and there are any.
    pub evidence: Option<EvidenceCollected>,
    /// What other reports say of it, where reports were joined and do not agree.
    pub other_results: Vec<OtherResult>,
    /// What each iteration came to, in order; none where the case ran once. The worst stands, and what
    /// else is known of the case is about that iteration.
    pub iterations: Vec<IterationReport>,
}

/// One iteration of a case that ran several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IterationReport {
    /// Its number, from 1.
    pub number: u32,
    /// The name of the report that it is of, where several reports with iterations were joined.
    pub report: Option<String>,
    /// What it came to.
    pub verdict: Verdict,
    /// When it began; none where it did not run.
    pub started: Option<Timestamp>,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

/// What another report says of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherResult {
    /// The name of the report.
    pub report: String,
    /// The verdict's name.
    pub verdict: &'static str,
}

/// How many cases came to which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The assertion holds.
    pub pass: usize,
    /// The product does not do what the case asserts.
    pub fail: usize,
    /// A requirement is unmet.
    pub blocked: usize,
    /// The case is about another kind of cluster.
    pub not_applicable: usize,
    /// An expected failure.
    pub known_issue: usize,
    /// The harness or the infrastructure broke.
    pub error: usize,
    /// The run ended first.
    pub interrupted: usize,
}

impl Counts {
    /// All cases.
    #[must_use]
    pub fn total(&self) -> usize {
        self.entries().iter().map(|(_, count)| count).sum()
    }

    /// Each verdict as a word that fits behind its number, the good ones first.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, usize); 7] {
        let known = if self.known_issue == 1 { "known issue" } else { "known issues" };
        [
            ("passed", self.pass),
            ("failed", self.fail),
            ("broke", self.error),
            ("interrupted", self.interrupted),
            ("blocked", self.blocked),
            (known, self.known_issue),
            ("not applicable", self.not_applicable),
        ]
    }

    pub(super) fn of<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Self {
        let mut counts = Self::default();
        for verdict in verdicts {
            *match verdict {
                Verdict::Pass => &mut counts.pass,
                Verdict::Fail { .. } => &mut counts.fail,
                Verdict::Blocked { .. } => &mut counts.blocked,
                Verdict::NotApplicable { .. } => &mut counts.not_applicable,
                Verdict::KnownIssue { .. } => &mut counts.known_issue,
                Verdict::Error { .. } => &mut counts.error,
                Verdict::Interrupted => &mut counts.interrupted,
            } += 1;
        }
        counts
    }
}

impl CaseReport {
    /// A case of which nothing but its end is known.
    pub(super) fn of_end(case: CaseFinished) -> Self {
        Self {
            case,
            started: None,
            cut_off: false,
            retries: Vec::new(),
            disruptions: Vec::new(),
            truth_checks: Vec::new(),
            commands: Vec::new(),
            evidence: None,
            other_results: Vec::new(),
            iterations: Vec::new(),
        }
    }

    /// The case's name without its suite.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let name = self.case.name.as_str();
        name.strip_prefix(self.case.suite.as_str())
            .and_then(|rest| rest.strip_prefix("::"))
            .unwrap_or(name)
    }

    /// Whether it failed, and passed in another iteration or in another of the reports that were joined.
    #[must_use]
    pub fn is_flaky(&self) -> bool {
        let passed = |other: &OtherResult| other.verdict == Verdict::Pass.name();
        matches!(self.case.verdict, Verdict::Fail { .. })
            && (self.other_results.iter().any(passed) || self.passes().next().is_some())
    }

    /// The iterations that passed.
    fn passes(&self) -> impl Iterator<Item = &IterationReport> {
        self.iterations.iter().filter(|iteration| iteration.verdict == Verdict::Pass)
    }

    /// How long it takes when it passes, in milliseconds: of several iterations, the median.
    #[must_use]
    pub fn typical_ms(&self) -> u64 {
        let mut durations: Vec<_> = self.passes().map(|iteration| iteration.duration_ms).collect();
        durations.sort_unstable();
        durations.get(durations.len() / 2).copied().unwrap_or(self.case.duration_ms)
    }

    /// Each verdict that it has: the one that stands, and that of each iteration.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        [&self.case.verdict].into_iter().chain(self.iterations.iter().map(|it| &it.verdict))
    }

    /// Whether a reader must look at it: it failed, broke or was interrupted.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(
            self.case.verdict,
            Verdict::Fail { .. } | Verdict::Error { .. } | Verdict::Interrupted
        )
    }
}

impl Report {
    /// Whether the log holds the run's end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcome.is_some()
    }

    /// The cause by which a case did not pass; of several iterations, that of the worst.
    #[must_use]
    pub fn cause_of(&self, id: &str) -> Option<&Cause> {
        let causes = self.causes.iter().filter(|cause| cause.cases.iter().any(|case| case == id));
        let case = self.cases.iter().find(|case| case.case.id == id);
        diagnosis::cause_among(causes, case.map(|case| &case.case.verdict))
    }

    /// How many planned cases left no trace in the log.
    #[must_use]
    pub fn unseen(&self) -> usize {
        self.run.as_ref().map_or(0, |run| run.cases.saturating_sub(self.cases.len()))
    }
}

/// Puts a run together from its events.
///
/// Any events will do, in any order: the beginning of a log, one with holes, none at all. A case
/// that the log does not finish is interrupted, since nothing else is known of it. When a log
/// finishes a case twice, the worse verdict stands, so that no failure is hidden.
#[must_use]
pub fn summarize(events: &[Event]) -> Report {
    let mut summary = Summary::default();
    for event in events {
        summary.add(event.at, event.iteration, shown(&event.event));
    }
    summary.finish()
}

/// A report that is being put together, event by event.
#[derive(Default)]
pub(super) struct Summary {
    report: Report,
    cases: BTreeMap<String, Trace>,
    disruptions: Disruptions,
    namespace: Vec<(String, String)>,
    duration: Option<u64>,
}

impl Summary {
    /// Adds an event as reports show it.
    pub(super) fn add(&mut self, at: Timestamp, iteration: Option<u32>, event: EventKind) {
        let report = &mut self.report;
        report.started = Some(report.started.map_or(at, |first| first.min(at)));
        report.finished = Some(report.finished.map_or(at, |last| last.max(at)));
        match event {
            EventKind::RunStarted(run) => report.run = Some(run),
            EventKind::StepFinished(step) => report.steps.push(step),
            EventKind::CaseStarted { id } => self.trace(id).attempt(iteration).started = Some(at),
            EventKind::TruthChecked { id, check } => {
                self.trace(id).attempt(iteration).truth_checks.push(check);
            }
            EventKind::CaseRetried(retried) => {
                self.disruptions.hit(Effect::Retried, &retried.id, at, &retried.disruption);
                self.trace(retried.id.clone()).attempt(iteration).retry(retried);
            }
            EventKind::CaseDisrupted(hit) => {
                self.disruptions.hit(hit.effect, &hit.id, at, &hit.disruption);
                self.trace(hit.id.clone()).attempt(iteration).disruptions.push(hit);
            }
            EventKind::DisruptionStarted(disruption) => self.disruptions.start(disruption),
            EventKind::DisruptionEnded(ended) => self.disruptions.end(ended),
            EventKind::CommandFinished(command) => {
                self.trace(command.id.clone()).attempt(iteration).commands.push(command);
            }
            EventKind::EvidenceCollected(evidence) => {
                let is_sound = evidence.case_directory().is_some();
                let id = evidence.id.clone();
                self.trace(id).attempt(iteration).evidence = is_sound.then_some(evidence);
            }
            EventKind::CaseFinished(case) => {
                self.trace(case.id.clone()).finish(iteration, case);
            }
            EventKind::Interrupted { signal } => report.signal = Some(signal),
            EventKind::RunFinished { outcome, duration_ms, causes, namespace, expectations } => {
                self.namespace = namespace;
                report.expectations = expectations;
                report.outcome = Some(outcome);
                report.causes = causes;
                self.duration = Some(duration_ms);
            }
        }
    }

    fn trace(&mut self, id: String) -> &mut Trace {
        self.cases.entry(id).or_default()
    }

    pub(super) fn finish(self) -> Report {
        let Self { mut report, cases, disruptions, namespace, duration } = self;
        if let Some(run) = &mut report.run {
            // All pods of a run have one image.
            let image = report.steps.iter().find_map(|step| step.image_id.clone());
            run.cluster.extend(image.map(|id| ("image id".to_owned(), id)));
            run.cluster.extend(namespace);
        }
        report.disruptions = disruptions.finish();
        report.duration_ms = duration.unwrap_or_else(|| elapsed(report.started, report.finished));
        let last = report.finished;
        report.cases = cases.into_iter().map(|(id, trace)| trace.into_case(id, last)).collect();
        report.cases.sort_by(|a, b| (&a.case.suite, &a.case.id).cmp(&(&b.case.suite, &b.case.id)));
        report.counts = Counts::of(report.cases.iter().map(|case| &case.case.verdict));
        // An old log has no causes, one that just ends neither, and a damaged one has wrong ones.
        let found = causes_of(&report.cases);
        if explained(&report.causes) != explained(&found) {
            report.causes = found;
        }
        if let Some(logged @ (Outcome::Conformant | Outcome::Partial)) = report.outcome {
            let circumstances = Circumstances {
                expectations_fail: report.expectations.fails_run(),
                // Nothing is known of a case that left no trace.
                broken: report.unseen() > 0,
                ..Circumstances::default()
            };
            report.outcome = Some(logged.or_worse(worst_outcome(&report.cases, circumstances)));
        }
        report
    }
}

/// The ids that causes explain, in order, each as often as it is explained.
fn explained(causes: &[Cause]) -> Vec<&str> {
    let ids = causes.iter().flat_map(|cause| &cause.cases);
    let mut ids: Vec<_> = ids.map(String::as_str).collect();
    ids.sort_unstable();
    ids
}

pub(super) fn elapsed(from: Option<Timestamp>, to: Option<Timestamp>) -> u64 {
    let (Some(from), Some(to)) = (from, to) else {
        return 0;
    };
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}
