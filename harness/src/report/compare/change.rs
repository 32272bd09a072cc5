//! Decides what is worse, what is better, and what only changed.

use schemars::JsonSchema;
use serde::Serialize;

use super::CauseRow;
use crate::{
    report::model::{CaseReport, Report},
    verdict::{Cause, Level, Outcome, SignatureId, Step, Verdict},
};

/// How many times as long a case must take before that is said.
const TIMES: u64 = 2;

/// How much longer a case must take before that is said, in milliseconds.
const LONGER_MS: u64 = 5000;

/// What changed since the first run, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It held, or was nearer to it, and does not any more.
    Worse,
    /// It fails or breaks, and the first run did not have it.
    NewFailure,
    /// It passes and did not before.
    Better,
    /// The verdict or its cause is another one, and neither proves nor refutes more than before.
    Other,
    /// Not all runs have it.
    Missing,
    /// Nothing.
    Same,
}

impl Change {
    /// The change in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::NewFailure => "new failure",
            Self::Better => "better",
            Self::Other => "changed",
            Self::Missing => "not in all",
            Self::Same => "same",
        }
    }
}

fn lacks_program(verdict: &Verdict) -> bool {
    verdict.cause().is_some_and(|cause| cause.signature == Some(SignatureId::F43))
}

/// Whether a case takes longer than before, or not as long, beyond noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// It takes more than twice as long, and more than five seconds longer.
    Slower,
    /// It takes less than half as long, and more than five seconds less.
    Faster,
}

/// What happened to a run itself, whatever its cases say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Its log ends before the run did.
    CutOff,
    /// A signal ended it.
    Interrupted,
    /// Something that it created is still there.
    Leaked,
    /// A step around its cases broke.
    Broken,
}

impl Problem {
    /// What happened, as a sentence about a run.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CutOff => "the log ends before the run did",
            Self::Interrupted => "a signal ended the run",
            Self::Leaked => "the run leaked objects",
            Self::Broken => "a step of the run broke",
        }
    }
}

/// What happened to a run itself.
pub(super) fn problem_of(report: &Report) -> Option<Problem> {
    let broke = |case: &CaseReport| {
        case.case.level != Level::Informing
            && matches!(case.case.verdict, Verdict::Error { .. } | Verdict::Interrupted)
    };
    match report.outcome {
        None => Some(Problem::CutOff),
        Some(Outcome::Interrupted { .. }) => Some(Problem::Interrupted),
        Some(Outcome::Leaked) => Some(Problem::Leaked),
        // Otherwise its cases say so.
        Some(Outcome::Error) if lacks_sandbox(report) || !report.cases.iter().any(broke) => {
            Some(Problem::Broken)
        }
        Some(_) => None,
    }
}

/// Whether the run could not make what its cases act in: their errors are its own.
fn lacks_sandbox(report: &Report) -> bool {
    report.steps.iter().any(|step| step.step == Step::Provision && step.failure.is_some())
}

/// How much a case weighs that runs may rate differently: the most, of those that know.
pub(in crate::report) fn weight_of(cases: &[&CaseReport]) -> Level {
    let level = |is_cut_off: bool| {
        let cases = cases.iter().filter(|case| case.cut_off == is_cut_off);
        cases.map(|case| case.case.level).min_by_key(|level| match level {
            Level::Core => 0,
            Level::Extended => 1,
            Level::Informing => 2,
        })
    };
    level(false).or_else(|| level(true)).unwrap_or(Level::Core)
}

/// What changed in a case.
///
/// Only a pass is better: a failure that is now blocked is not fixed. What is further from a pass is
/// worse, unless it has no weight: informing cases have none, and extended ones may be blocked or not
/// applicable.
pub(super) fn change_of_case(
    level: Level,
    before: &CaseReport,
    after: &CaseReport,
    has_same_cause: bool,
) -> Change {
    let (old, new) = (&before.case.verdict, &after.case.verdict);
    // It makes a run partial, whatever it was blocked by before.
    if level == Level::Extended
        && lacks_program(new)
        && !lacks_program(old)
        && old.badness() <= new.badness()
    {
        return Change::Worse;
    }
    if old.badness() == new.badness() {
        return if has_same_cause { Change::Same } else { Change::Other };
    }
    match level {
        Level::Informing => Change::Other,
        _ if *new == Verdict::Pass => Change::Better,
        _ if new.badness() > old.badness() && has_weight(level, old, new) => Change::Worse,
        _ => Change::Other,
    }
}

fn has_weight(level: Level, old: &Verdict, new: &Verdict) -> bool {
    match (level, new) {
        (Level::Informing, _) | (Level::Extended, Verdict::NotApplicable { .. }) => false,
        // An image without a program makes a run partial, whichever case shows it.
        (Level::Extended, Verdict::Blocked { .. }) => lacks_program(new),
        (Level::Extended, Verdict::KnownIssue { .. }) => *old == Verdict::Pass,
        _ => true,
    }
}

/// Whether a case takes longer or less long than before. Failures end when they end.
pub(super) fn pace_of(before: &CaseReport, after: &CaseReport) -> Option<Pace> {
    let passed = [before, after].map(|case| case.case.verdict == Verdict::Pass);
    if passed != [true, true] {
        return None;
    }
    let (old, new) = (before.typical_ms(), after.typical_ms());
    let is_longer = |short: u64, long: u64| {
        long > short.saturating_mul(TIMES) && long > short.saturating_add(LONGER_MS)
    };
    if is_longer(old, new) {
        Some(Pace::Slower)
    } else if is_longer(new, old) {
        Some(Pace::Faster)
    } else {
        None
    }
}

/// Whether a cause of another run is this one. The id of a known failure has a hash only where a run
/// has several causes of it.
pub(super) fn is_same_cause(row: &CauseRow, cause: &Cause) -> bool {
    let is_bare = |id: &str| cause.signature.is_some_and(|signature| id == signature.to_string());
    row.id == cause.id
        || (row.signature.is_some()
            && row.signature == cause.signature
            && (is_bare(&row.id) || is_bare(&cause.id)))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::verdict::{
        Attribution,
        event::{CaseFinished, StepFinished},
    };

    fn case(level: Level, verdict: Verdict) -> CaseReport {
        CaseReport::of_end(CaseFinished {
            id: "POD-03".into(),
            name: "podman::runs".into(),
            suite: "podman".into(),
            title: "It runs".into(),
            level,
            verdict,
            duration_ms: 10,
        })
    }

    fn change(level: Level, before: &Verdict, after: &Verdict) -> Change {
        let (before, after) = (case(level, before.clone()), case(level, after.clone()));
        change_of_case(level, &before, &after, true)
    }

    fn verdicts() -> [Verdict; 7] {
        let reason = || "x".to_owned();
        [
            Verdict::Pass,
            Verdict::NotApplicable { reason: reason() },
            Verdict::known_issue(SignatureId::F14, "x"),
            Verdict::blocked("x", "y"),
            Verdict::Interrupted,
            Verdict::Error { message: reason() },
            Verdict::fail("x", None),
        ]
    }

    #[test]
    fn a_run_without_a_sandbox_broke_whatever_its_cases_say() {
        let error = Verdict::Error { message: "the sandbox could not be made".to_owned() };
        let step = |failure: Option<&str>| StepFinished {
            step: Step::Provision,
            duration_ms: 1,
            failure: failure.map(str::to_owned),
            image_id: None,
        };
        let report = |failure| Report {
            outcome: Some(Outcome::Error),
            cases: vec![case(Level::Core, error.clone())],
            steps: vec![step(failure)],
            ..Report::default()
        };
        assert_eq!(problem_of(&report(Some("refused"))), Some(Problem::Broken));
        assert_eq!(problem_of(&report(None)), None, "the cases say so");
    }

    #[test]
    fn a_core_case_that_does_not_pass_any_more_is_worse_whatever_it_is_now() {
        for after in &verdicts()[1..] {
            assert_eq!(change(Level::Core, &Verdict::Pass, after), Change::Worse, "{after:?}");
            assert_eq!(change(Level::Core, after, &Verdict::Pass), Change::Better, "{after:?}");
        }
    }

    #[test]
    fn a_failure_that_is_not_seen_any_more_is_not_better() {
        let [_, elsewhere, known, blocked, interrupted, error, fail] = verdicts();
        for after in [elsewhere, known, blocked, interrupted, error] {
            assert_eq!(change(Level::Core, &fail, &after), Change::Other, "{after:?}");
        }
    }

    #[test]
    fn an_extended_case_may_be_blocked_unless_the_image_is_why() {
        let [pass, elsewhere, known, blocked, _, _, fail] = verdicts();
        assert_eq!(change(Level::Extended, &pass, &blocked), Change::Other);
        assert_eq!(change(Level::Extended, &pass, &elsewhere), Change::Other);
        assert_eq!(change(Level::Extended, &pass, &known), Change::Worse);
        assert_eq!(change(Level::Extended, &elsewhere, &known), Change::Other);
        assert_eq!(change(Level::Extended, &pass, &fail), Change::Worse);
        let cause = Attribution { signature: Some(SignatureId::F43), ..Attribution::default() };
        let lacks = Verdict::from(crate::verdict::Failure::blocked_by("no `nft`", cause));
        assert_eq!(change(Level::Extended, &pass, &lacks), Change::Worse);
        assert_eq!(change(Level::Extended, &blocked, &lacks), Change::Worse, "now it is partial");
        assert_eq!(change(Level::Extended, &lacks, &lacks), Change::Same);
        assert_eq!(change(Level::Extended, &fail, &lacks), Change::Other);
    }

    #[test]
    fn the_same_verdict_for_another_cause_is_a_change() {
        let fail = case(Level::Core, Verdict::fail("x", None));
        assert_eq!(change_of_case(Level::Core, &fail, &fail, false), Change::Other);
    }

    #[test]
    fn a_case_is_slower_only_beyond_noise() {
        let pace = |before, after| {
            let [mut old, mut new] = [(); 2].map(|()| case(Level::Core, Verdict::Pass));
            (old.case.duration_ms, new.case.duration_ms) = (before, after);
            pace_of(&old, &new)
        };
        assert_eq!(pace(100, 5000), None, "fifty times as long, but short");
        assert_eq!(pace(60_000, 70_000), None, "ten seconds longer, but not much");
        assert_eq!(pace(6000, 12_001), Some(Pace::Slower));
        assert_eq!(pace(12_001, 6000), Some(Pace::Faster));
        assert_eq!(pace(u64::MAX, u64::MAX), None);
    }

    proptest! {
        #[test]
        fn what_got_worse_does_not_get_worse_again_on_its_way_back(
            level in select(&[Level::Core, Level::Extended, Level::Informing][..]),
            before in select(verdicts().to_vec()),
            after in select(verdicts().to_vec()),
        ) {
            let there = change(level, &before, &after);
            let back = change(level, &after, &before);
            prop_assert!(there != Change::Worse || back != Change::Worse);
            prop_assert!(there != Change::Better || back != Change::Better);
            prop_assert!(there != Change::Better || after == Verdict::Pass);
            prop_assert_eq!(change(level, &before, &before), Change::Same);
            prop_assert!(level != Level::Informing || !matches!(there, Change::Worse | Change::Better));
        }
    }
}
