//! What a run came to, in words that all reports share.

use std::fmt::{self, Write as _};

use super::{
    causes::lacks_image,
    disruptions::DisruptionReport,
    model::{CaseReport, Report},
    text::{counted, line, names},
};
use crate::verdict::{
    Effect,
    ExpectationState::{Expired, NoMatch, NotChecked, Stale, Used},
    Level, Outcome, Verdict,
};

/// How many ids a sentence names.
const MOST_NAMES: usize = 5;

/// The most a sentence repeats of a message that is told in full elsewhere.
const EXCERPT: usize = 200;

/// Blocked cases that one remedy unblocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedGroup<'a> {
    /// Which requirement is unmet.
    pub reason: &'a str,
    /// What would meet it.
    pub remedy: &'a str,
    /// The ids of the cases.
    pub ids: Vec<&'a str>,
}

/// The blocked cases by reason, the reason that blocks most first.
#[must_use]
pub fn blocked_groups(report: &Report) -> Vec<BlockedGroup<'_>> {
    let mut groups: Vec<BlockedGroup> = Vec::new();
    for case in &report.cases {
        let Verdict::Blocked { reason, remedy, .. } = &case.case.verdict else {
            continue;
        };
        let same = |group: &&mut BlockedGroup| group.reason == reason && group.remedy == remedy;
        if let Some(group) = groups.iter_mut().find(same) {
            group.ids.push(&case.case.id);
        } else {
            groups.push(BlockedGroup { reason, remedy, ids: vec![&case.case.id] });
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.ids.len()));
    groups
}

/// The outcome of a run, as one sentence without its period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// The outcome, which stands out.
    pub outcome: String,
    /// What it means.
    pub meaning: String,
}

impl Headline {
    fn new(outcome: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self { outcome: outcome.into(), meaning: meaning.into() }
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.meaning)
    }
}

/// The outcome of a run, as one sentence without its period.
#[must_use]
pub fn headline(report: &Report) -> Headline {
    let total = report.counts.total();
    match report.outcome {
        Some(Outcome::Conformant) if report.run.as_ref().is_some_and(|run| run.is_part) => {
            Headline::new("Conformant as far as asked", "the selected cases pass")
        }
        Some(Outcome::Conformant) => {
            Headline::new("Conformant", "rootless containers work here for an ordinary user")
        }
        Some(Outcome::NotConformant) => {
            let failed = decisive(report, |verdict| matches!(verdict, Verdict::Fail { .. })).len();
            let verb = if failed == 1 { "fails" } else { "fail" };
            let meaning = if failed == 0 && report.expectations.fails_run() {
                "no case fails, but the expectations must change (`--strict`)".to_owned()
            } else {
                format!("{failed} of {} {verb}", counted(total, "case"))
            };
            Headline::new("Not conformant", meaning)
        }
        Some(Outcome::Partial) => match core_missing(report).len() {
            0 if report.counts.pass > 0 => {
                Headline::new("Partial", "only static checks passed, so nothing is proven in pods")
            }
            0 => Headline::new("Partial", "no case passed, so nothing is proven"),
            missing => {
                let missing = counted(missing, "core case");
                Headline::new("Partial", format!("nothing failed, but {missing} proved nothing"))
            }
        },
        Some(Outcome::Error) if report.counts.pass > 0 && undecided(report) > 0 => {
            let (cases, verb) = match undecided(report) {
                1 => ("1 case".to_owned(), "is"),
                several => (counted(several, "case"), "are"),
            };
            let meaning =
                format!("{cases} {verb} undecided, because the harness or the cluster broke");
            Headline::new("Error", meaning)
        }
        Some(Outcome::Error) => Headline::new(
            "Error",
            "the harness or the cluster broke, so nothing is known of the product",
        ),
        Some(Outcome::Leaked) => {
            Headline::new("Leaked", "something that the run created could not be removed")
        }
        Some(Outcome::Interrupted { signal }) => {
            let outcome = format!("Interrupted by {}", signal_name(signal));
            Headline::new(outcome, "the result is incomplete")
        }
        None => Headline::new("Died", "the log ends before the run did, so nothing is proven"),
    }
}

/// How many cases have no verdict on the product, in an iteration at least.
fn undecided(report: &Report) -> usize {
    let is_error = |verdict: &Verdict| matches!(verdict, Verdict::Error { .. });
    report.cases.iter().filter(|case| case.verdicts().any(is_error)).count()
}

/// Why the run came to its outcome, one reason each; none when it is conformant.
#[must_use]
pub fn reasons(report: &Report) -> Vec<String> {
    all_reasons(report, true)
}

/// As [`reasons`], after a list of the causes: without what these say.
pub(super) fn further_reasons(report: &Report) -> Vec<String> {
    all_reasons(report, false)
}

fn all_reasons(report: &Report, says_causes: bool) -> Vec<String> {
    if report.outcome == Some(Outcome::Conformant) {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    if let (None, Some(signal)) = (report.outcome, report.signal) {
        reasons.push(format!("{} was asked to end it", signal_name(signal)));
    }
    // The cause says it all.
    let is_said = !says_causes && lacks_image(report);
    if !is_said {
        reasons.extend(failed_steps(report));
    }
    let mut of = |what: &str, wanted: fn(&Verdict) -> bool| {
        let ids = decisive(report, wanted);
        if !ids.is_empty() {
            let count = counted(ids.len(), "case");
            reasons.push(format!("{count} {what}: {}", names(ids, MOST_NAMES)));
        }
    };
    of("failed", |verdict| matches!(verdict, Verdict::Fail { .. }));
    if !is_said {
        of("broke", |verdict| matches!(verdict, Verdict::Error { .. }));
    }
    of("interrupted", |verdict| matches!(verdict, Verdict::Interrupted));
    if says_causes {
        reasons.extend(blocked_core(report));
    }
    let flaky = report.cases.iter().filter(|case| case.is_flaky());
    let flaky: Vec<&str> = flaky.map(|case| case.case.id.as_str()).collect();
    if !flaky.is_empty() {
        let count = counted(flaky.len(), "case");
        reasons.push(format!("{count} did not hold every time: {}", names(flaky, MOST_NAMES)));
    }
    let known: Vec<&str> = core(report, |verdict| matches!(verdict, Verdict::KnownIssue { .. }));
    if !known.is_empty() {
        let count = counted(known.len(), "core case");
        reasons.push(format!("{count} with a known issue: {}", names(known, MOST_NAMES)));
    }
    if report.expectations.fails_run() {
        let changes = report.expectations.to_change().map(|it| it.entry.subject());
        let changes: Vec<_> = changes.collect();
        let count = counted(changes.len(), "expectation");
        reasons.push(format!("{count} to change: {}", names(changes, MOST_NAMES)));
    }
    if report.unseen() > 0 {
        reasons.push(format!("{} never began", counted(report.unseen(), "planned case")));
    }
    if report.counts.pass == 0 {
        reasons.push("no case passed".to_owned());
    } else if report.outcome == Some(Outcome::Partial) && core_missing(report).is_empty() {
        reasons.push("no case passed that acts in the cluster".to_owned());
    }
    reasons
}

/// The steps that failed by reason: pods fail for one reason mostly.
fn failed_steps(report: &Report) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for step in &report.steps {
        let Some(failure) = &step.failure else { continue };
        let name = step.step.to_string();
        match groups.iter_mut().find(|(known, _)| known == failure) {
            Some((_, names)) => names.push(name),
            None => groups.push((failure, vec![name])),
        }
    }
    let groups = groups.into_iter().map(|(failure, steps)| {
        let noun = if steps.len() == 1 { "step" } else { "steps" };
        let steps = names(steps.iter().map(String::as_str), MOST_NAMES);
        format!("{noun} {steps} failed: {}", line(failure, EXCERPT))
    });
    groups.collect()
}

/// What became of the failures that a person expects: how many entries there are of each state, and
/// one sentence for each entry that somebody has to change.
#[must_use]
pub fn expectations(report: &Report) -> Vec<String> {
    let entries = &report.expectations.entries;
    if entries.is_empty() {
        return Vec::new();
    }
    let states = [Used, Stale, NoMatch, Expired, NotChecked].into_iter().filter_map(|state| {
        let count = entries.iter().filter(|entry| entry.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.name()))
    });
    let states = states.collect::<Vec<_>>().join(", ");
    let mut texts = vec![format!("{}: {states}", counted(entries.len(), "expectation"))];
    texts.extend(report.expectations.to_change().map(|entry| {
        let detail = entry.detail.as_deref().unwrap_or("no detail is in the log");
        let detail = line(detail, EXCERPT);
        let (subject, state) = (entry.entry.subject(), entry.state.name());
        format!("expectation `{subject}` of line {}, {state}: {detail}", entry.line)
    }));
    texts
}

/// What was lost meanwhile, when, and which cases it hit: one sentence each.
#[must_use]
pub fn disruptions(report: &Report) -> Vec<String> {
    report.disruptions.iter().map(disruption).collect()
}

fn disruption(report: &DisruptionReport) -> String {
    let seen = line(&report.disruption.reason, EXCERPT);
    let mut text = format!("{}: {seen}", report.disruption);
    if report.cases.is_empty() {
        text.push_str("; it hit no case");
    }
    for effect in [Effect::Waited, Effect::Retried, Effect::Undecided] {
        let ids: Vec<&str> = report.ids(effect).collect();
        if !ids.is_empty() {
            let count = counted(ids.len(), "case");
            let _ = write!(text, "; {count} {}: {}", effect.name(), names(ids, MOST_NAMES));
        }
    }
    text
}

/// The blocked core cases by requirement: `31 core cases blocked: the gate is off`.
fn blocked_core(report: &Report) -> Vec<String> {
    let core = core(report, |verdict| matches!(verdict, Verdict::Blocked { .. }));
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for group in blocked_groups(report) {
        let count = group.ids.iter().filter(|id| core.contains(id)).count();
        match groups.iter_mut().find(|(reason, _)| *reason == group.reason) {
            Some((_, sum)) => *sum += count,
            None => groups.push((group.reason, count)),
        }
    }
    groups
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{} blocked: {reason}", counted(count, "core case")))
        .collect()
}

fn core_missing(report: &Report) -> Vec<&str> {
    core(report, |verdict| matches!(verdict, Verdict::Blocked { .. } | Verdict::KnownIssue { .. }))
}

fn core(report: &Report, wanted: fn(&Verdict) -> bool) -> Vec<&str> {
    ids(report, |level| level == Level::Core, wanted)
}

fn decisive(report: &Report, wanted: fn(&Verdict) -> bool) -> Vec<&str> {
    ids(report, |level| level != Level::Informing, wanted)
}

fn ids(report: &Report, weighs: fn(Level) -> bool, wanted: fn(&Verdict) -> bool) -> Vec<&str> {
    // An iteration that is not the worst one of its case may decide, as an error beside a failure.
    let decides = |case: &&CaseReport| weighs(case.case.level) && case.verdicts().any(wanted);
    report.cases.iter().filter(decides).map(|case| case.case.id.as_str()).collect()
}

/// The word that names an outcome, or that there is none.
pub(super) fn outcome_name(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("died", Outcome::name)
}

/// A signal's name where it has one that readers know.
pub(super) fn signal_name(signal: u8) -> String {
    match signal {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        3 => "SIGQUIT".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}
