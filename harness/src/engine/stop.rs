//! What keeps cases from running although nothing is wrong with them: an earlier failure, and what ended
//! a repeated run.

use std::time::Duration;

use futures::Stream;
use tokio::time::Instant as TokioInstant;

use super::{Dispatcher, RunConfig, dispatch::Cases};
use crate::{
    cluster::Cluster,
    engine::{Case, plan::Plan},
    facts::Facts,
    verdict::{
        Level, Place, Verdict,
        event::{CaseFinished, Event, EventKind},
    },
};

/// Whether a case ends a run with `--fail-fast`: those that would make it red. What a person expects is a
/// known issue by now, and what is informing never decides.
pub(super) fn is_failure(case: &CaseFinished) -> bool {
    let is_bad = matches!(case.verdict, Verdict::Fail { .. } | Verdict::Error { .. });
    is_bad && case.level != Level::Informing
}

/// The verdict of a case that is not run because this one failed.
pub(super) fn not_run(failed: &str) -> Verdict {
    let reason =
        format!("it was not run: {failed} did not pass, and `--fail-fast` starts no case then");
    let remedy = "run the rest with `nestcheck run --rerun DIR`, or leave out `--fail-fast`";
    Verdict::blocked(reason, remedy).at(Place::Nestcheck)
}

/// What keeps an iteration of a repeated run from beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// A signal asked for the end of the run.
    Signal,
    /// The objects of the iteration before are kept for inspection.
    Kept,
    /// The iteration before could not begin, or something that it created is still there.
    Broken,
    /// The time of the run is over.
    Late,
}

impl Obstacle {
    /// The verdict of the cases of the iteration. Nothing is known of them, so it is never better than
    /// that of the iterations before.
    fn verdict(self, number: u32, run_timeout: Duration) -> Verdict {
        let blocked = |why: &str, remedy: &str| {
            let reason = format!("iteration {number} did not begin: {why}");
            Verdict::blocked(reason, remedy).at(Place::Nestcheck)
        };
        match self {
            Self::Signal => Verdict::Interrupted,
            Self::Kept => blocked(
                "the objects of the one before are kept, as `--keep on-failure` asks",
                "look at them, then sweep the run",
            ),
            Self::Broken => blocked(
                "the one before could not begin, or did not remove what it created",
                "see the step that failed",
            ),
            Self::Late => {
                let seconds = run_timeout.as_secs();
                let message =
                    format!("the run's {seconds} s are over, and iteration {number} did not begin");
                Verdict::Error { message }
            }
        }
    }
}

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    /// Runs a plan as often as it is asked for. Each iteration has a sandbox of its own, so that nothing of
    /// one is in the way of the next.
    pub(super) async fn execute_all(
        &mut self,
        cluster: &Cluster,
        facts: &Facts,
        plan: &Plan,
        config: &RunConfig,
    ) {
        for number in 1..=config.repeat.max(1) {
            if !self.begin_iteration(number, plan, config) {
                break;
            }
            let diagnostics = config.diagnostics.of_iteration(self.iteration);
            let config = RunConfig { diagnostics, ..config.clone() };
            Box::pin(self.execute(cluster, facts.clone(), plan, &config)).await;
            self.end_iteration();
        }
        self.iteration = None;
    }

    /// Begins an iteration, unless something keeps it from that: then its cases have their verdicts.
    pub(super) fn begin_iteration(&mut self, number: u32, plan: &Plan, config: &RunConfig) -> bool {
        self.iteration = (config.repeat > 1).then_some(number);
        if let Some(verdict) = self.obstacle(number, config) {
            for case in plan.runnable() {
                self.skip(case, verdict.clone());
            }
            self.end_iteration();
            return false;
        }
        // What an earlier iteration saw proves nothing about this one.
        self.broken_truths.clear();
        true
    }

    pub(super) fn end_iteration(&mut self) {
        if self.iteration.is_some() {
            self.tally.end_iteration();
        }
    }

    fn obstacle(&self, number: u32, config: &RunConfig) -> Option<Verdict> {
        if let Some(failed) = self.stopped_by(config) {
            return Some(not_run(failed));
        }
        // The first iteration looks for signals itself, once it knows that nothing was created.
        if number == 1 {
            return None;
        }
        let is_late = || self.ends.is_some_and(|ends| ends <= TokioInstant::now());
        let obstacle = if self.signals_received > 0 {
            Some(Obstacle::Signal)
        } else if self.is_kept {
            Some(Obstacle::Kept)
        } else if self.circumstances.leaked || self.circumstances.broken {
            Some(Obstacle::Broken)
        } else {
            is_late().then_some(Obstacle::Late)
        };
        obstacle.map(|obstacle| obstacle.verdict(number, config.sandbox.run_timeout))
    }

    /// The case whose failure ends the run, if one does.
    pub(super) fn stopped_by(&self, config: &RunConfig) -> Option<&str> {
        self.tally.failed().filter(|_| config.fail_fast)
    }

    /// Starts no more cases once one has failed. Those that run are finished: their verdicts are of use,
    /// and ending them early would save little.
    pub(super) fn skip_waiting(&mut self, cases: &mut Cases, config: &RunConfig) {
        let Some(verdict) = self.stopped_by(config).map(not_run) else { return };
        for case in cases.take_waiting() {
            self.skip(&case, verdict.clone());
        }
    }

    /// Gives a case that does not run its verdict. No expectation is about that.
    fn skip(&mut self, case: &Case, verdict: Verdict) {
        self.not_run.insert(case.id);
        self.emit(EventKind::CaseFinished(super::finished(case, verdict, 0)));
    }

    /// The cases as expectations see them: one that was not run says nothing about an entry.
    pub(super) fn seen_by_expectations(&self) -> Vec<CaseFinished> {
        let seen = |case: &CaseFinished| {
            let mut case = case.clone();
            let is_blocked = matches!(case.verdict, Verdict::Blocked { .. });
            if is_blocked && self.not_run.contains(case.id.as_str()) {
                case.verdict = Verdict::Interrupted;
            }
            case
        };
        self.tally.standing().iter().map(seen).collect()
    }
}

#[cfg(test)]
mod tests;
