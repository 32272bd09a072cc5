//! The verdicts of a run as they come: which one of a case stands, and what each iteration came to.

use std::collections::BTreeSet;

use super::stop;
use crate::{
    diagnosis,
    verdict::{Cause, Circumstances, Level, Outcome, Verdict, decide, event::CaseFinished},
};

/// The verdicts so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The cases that have a verdict, as they are in the log; of a case that ran several times, the
    /// worst.
    standing: Vec<CaseFinished>,
    /// What did not pass, of each case each cause once.
    not_passed: Vec<CaseFinished>,
    /// The cases and causes of these.
    explained: BTreeSet<(String, String)>,
    /// The first case that failed, of those that decide.
    failed: Option<String>,
    /// The verdicts of cases that no iteration decides.
    once: Vec<(Level, Verdict)>,
    /// Those of the iteration that goes on.
    current: Vec<(Level, Verdict)>,
    /// Whether a case passed in it that acts.
    has_acted: bool,
    /// The worst of what the iterations came to that are over.
    worst: Option<Outcome>,
}

impl Tally {
    /// Adds the end of a case, of this iteration if the cases run several times.
    pub(super) fn add(&mut self, iteration: Option<u32>, case: &CaseFinished) {
        if self.failed.is_none() && stop::is_failure(case) {
            self.failed = Some(case.id.clone());
        }
        let decided = if iteration.is_some() { &mut self.current } else { &mut self.once };
        decided.push((case.level, case.verdict.clone()));
        let is_new = diagnosis::exact_cause(&case.verdict)
            .is_some_and(|why| self.explained.insert((case.id.clone(), why)));
        if is_new {
            self.not_passed.push(case.clone());
        }
        match self.standing.iter_mut().find(|known| known.id == case.id) {
            Some(known) if case.verdict.badness() >= known.verdict.badness() => {
                *known = case.clone();
            }
            Some(_) => {}
            None => self.standing.push(case.clone()),
        }
    }

    /// Takes note that a case passed that acts in the cluster.
    pub(super) fn act(&mut self) {
        self.has_acted = true;
    }

    /// Ends an iteration. The worst verdicts of the cases need not make the worst outcome: an error is
    /// worse than a failure there, and so is an image that lacks a program.
    pub(super) fn end_iteration(&mut self) {
        let circumstances =
            Circumstances { only_evaluated: !self.has_acted, ..Circumstances::default() };
        let verdicts = self.once.iter().chain(&self.current);
        let outcome = decide(verdicts.map(|(level, it)| (*level, it)), circumstances);
        self.worst = Some(self.worst.map_or(outcome, |worst| worst.or_worse(outcome)));
        self.current.clear();
        self.has_acted = false;
    }

    /// The worst of what the iterations came to, and what the worst verdicts and the circumstances come
    /// to together.
    pub(super) fn outcome(&self, circumstances: Circumstances) -> Outcome {
        let standing = self.standing.iter().map(|case| (case.level, &case.verdict));
        let outcome = decide(standing, circumstances);
        self.worst.map_or(outcome, |worst| worst.or_worse(outcome))
    }

    /// Why cases did not pass, in any iteration.
    pub(super) fn causes(&self) -> Vec<Cause> {
        diagnosis::causes(&self.not_passed)
    }

    /// The cases that have a verdict, with the worst.
    pub(super) fn standing(&self) -> &[CaseFinished] {
        &self.standing
    }

    /// The first case that failed, of those that decide.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::{
        engine::{Case, finished},
        verdict::{Attribution, Failure, SignatureId},
    };

    fn case(id: &'static str, level: Level, verdict: Verdict) -> CaseFinished {
        finished(&Case { id, level, ..Case::DEFAULT }, verdict, 0)
    }

    fn lacks_program() -> Verdict {
        let cause = Attribution {
            signature: Some(SignatureId::F43),
            wrong: "the image has no `nft`".to_owned(),
            ..Attribution::default()
        };
        Failure::blocked_by("no `nft`", cause).into()
    }

    fn error() -> Verdict {
        Verdict::Error { message: "lost".to_owned() }
    }

    /// A run of one case that passes and one that has these verdicts, one in each iteration.
    fn tally(verdicts: &[Verdict]) -> Tally {
        let mut tally = Tally::default();
        for (number, verdict) in (1..).zip(verdicts) {
            tally.add(Some(number), &case("POD-01", Level::Core, Verdict::Pass));
            tally.act();
            tally.add(Some(number), &case("POD-02", Level::Extended, verdict.clone()));
            tally.end_iteration();
        }
        tally
    }

    fn outcome(verdicts: &[Verdict]) -> Outcome {
        tally(verdicts).outcome(Circumstances::default())
    }

    #[test]
    fn the_worst_outcome_of_all_iterations_stands() {
        let fail = || Verdict::fail("no", None);
        assert_eq!(outcome(&[error(), fail()]), Outcome::Error, "before a failure");
        assert_eq!(outcome(&[fail(), error()]), Outcome::Error);
        let other = || Verdict::blocked("gate off", "turn it on");
        assert_eq!(outcome(&[lacks_program(), other()]), Outcome::Partial);
        assert_eq!(outcome(&[other(), other()]), Outcome::Conformant);
        assert_eq!(outcome(&[fail(), lacks_program()]), Outcome::NotConformant);
    }

    #[test]
    fn the_causes_of_all_iterations_are_kept() {
        let tally = tally(&[lacks_program(), Verdict::fail("no", None), lacks_program(), error()]);
        let causes = tally.causes();
        assert_eq!(causes.len(), 3, "{causes:?}");
        assert!(causes.iter().all(|cause| cause.cases == ["POD-02"]), "{causes:?}");
        assert!(causes.iter().any(|cause| cause.signature == Some(SignatureId::F43)));
        assert_eq!(tally.standing()[1].verdict.name(), "fail");
        assert_eq!(tally.failed(), Some("POD-02"));
    }

    #[test]
    fn an_iteration_in_which_nothing_acted_is_never_green() {
        let mut tally = tally(&[Verdict::Pass]);
        let elsewhere = Verdict::NotApplicable { reason: "another flavour".to_owned() };
        tally.add(Some(2), &case("POD-01", Level::Core, elsewhere));
        tally.end_iteration();
        assert_eq!(tally.outcome(Circumstances::default()), Outcome::Partial);
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        select(vec![
            Verdict::Pass,
            Verdict::Pass,
            Verdict::fail("no", None),
            error(),
            lacks_program(),
            Verdict::blocked("gate off", "turn it on"),
            Verdict::Interrupted,
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_repeated_run_is_as_bad_as_its_worst_iteration(
            verdicts in prop::collection::vec(any_verdict(), 1..6),
        ) {
            let each = verdicts.iter().map(|it| outcome(std::slice::from_ref(it)).badness());
            prop_assert_eq!(Some(outcome(&verdicts).badness()), each.max());
        }
    }
}
