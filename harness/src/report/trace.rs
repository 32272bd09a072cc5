//! What the log says about one case, event by event.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::model::{CaseReport, IterationReport, elapsed};
use crate::verdict::{
    Level, Verdict,
    event::{
        CaseDisrupted, CaseFinished, CaseRetried, CommandFinished, EvidenceCollected, TruthCheck,
    },
};

/// The suite of a case whose log ends before the case says where it belongs.
const UNFINISHED_SUITE: &str = "unfinished";

/// What the log says about one case: once, or once for each iteration.
#[derive(Default)]
pub(super) struct Trace {
    attempts: BTreeMap<Option<u32>, Attempt>,
    /// The iteration that stands so far: the worst, and of equal ones the last.
    standing: Option<u32>,
}

/// What the log says about one iteration of a case.
#[derive(Default)]
pub(super) struct Attempt {
    pub(super) started: Option<Timestamp>,
    finished: Option<CaseFinished>,
    retries: Vec<CaseRetried>,
    pub(super) disruptions: Vec<CaseDisrupted>,
    pub(super) truth_checks: Vec<TruthCheck>,
    pub(super) commands: Vec<CommandFinished>,
    pub(super) evidence: Option<EvidenceCollected>,
}

impl Attempt {
    pub(super) fn finish(&mut self, case: CaseFinished) {
        let is_worse = |before: &CaseFinished| case.verdict.badness() >= before.verdict.badness();
        if self.finished.as_ref().is_none_or(is_worse) {
            self.finished = Some(case);
        }
    }

    pub(super) fn retry(&mut self, retried: CaseRetried) {
        // What an earlier try saw proves nothing about a later one's verdict.
        self.truth_checks.clear();
        self.retries.push(retried);
    }

    /// A case that the log does not finish is interrupted, since nothing else is known of it.
    fn verdict(&self) -> Verdict {
        self.finished.as_ref().map_or(Verdict::Interrupted, |case| case.verdict.clone())
    }

    fn duration_ms(&self, last: Option<Timestamp>) -> u64 {
        self.finished.as_ref().map_or_else(|| elapsed(self.started, last), |case| case.duration_ms)
    }

    fn into_case(self, id: String, last: Option<Timestamp>) -> CaseReport {
        let duration_ms = self.duration_ms(last);
        CaseReport {
            started: self.started,
            cut_off: self.finished.is_none(),
            case: self.finished.unwrap_or_else(|| CaseFinished {
                name: id.clone(),
                id,
                suite: UNFINISHED_SUITE.to_owned(),
                title: "The log ends before this case did".to_owned(),
                // Its level is not in the log, and the careful guess is that it counts.
                level: Level::Core,
                verdict: Verdict::Interrupted,
                duration_ms,
            }),
            retries: self.retries,
            disruptions: self.disruptions,
            truth_checks: self.truth_checks,
            commands: self.commands,
            evidence: self.evidence,
            other_results: Vec::new(),
            iterations: Vec::new(),
        }
    }
}

impl Trace {
    /// What the log says about this iteration; of none where the case runs once.
    pub(super) fn attempt(&mut self, iteration: Option<u32>) -> &mut Attempt {
        self.attempts.entry(iteration).or_default()
    }

    /// Ends an iteration. Many iterations have more commands than anybody reads, so only those of the one
    /// that stands are kept.
    pub(super) fn finish(&mut self, iteration: Option<u32>, case: CaseFinished) {
        self.attempt(iteration).finish(case);
        let Some(number) = iteration else { return };
        let badness = |attempt: &Attempt| attempt.verdict().badness();
        let new = self.attempts.get(&iteration).map(badness);
        let known = self.standing.and_then(|it| self.attempts.get(&Some(it))).map(badness);
        let loser = if new >= known { self.standing.replace(number) } else { iteration };
        if let Some(attempt) = self.attempts.get_mut(&loser)
            && loser != self.standing
        {
            attempt.commands = Vec::new();
            attempt.truth_checks = Vec::new();
        }
    }

    /// The case with its worst iteration; of equal ones the last, as of reports that are joined.
    pub(super) fn into_case(self, id: String, last: Option<Timestamp>) -> CaseReport {
        let iterations = self.attempts.iter().filter_map(|(number, attempt)| {
            Some(IterationReport {
                number: (*number)?,
                report: None,
                verdict: attempt.verdict(),
                started: attempt.started,
                duration_ms: attempt.duration_ms(last),
            })
        });
        let iterations: Vec<_> = iterations.collect();
        let known = self.attempts.values().find_map(|attempt| attempt.finished.clone());
        let worst = self.attempts.into_values().max_by_key(|attempt| attempt.verdict().badness());
        let mut case = worst.unwrap_or_default().into_case(id, last);
        if let Some(known) = known.filter(|_| case.cut_off) {
            // Another iteration says what the case is.
            let CaseFinished { verdict, duration_ms, .. } = case.case;
            case.case = CaseFinished { verdict, duration_ms, ..known };
        }
        CaseReport { iterations, ..case }
    }
}
