//! One case: its attempts, and what is kept of a failure.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinError, JoinSet},
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Message,
    deadline::{Deadline, Pause},
    millis,
    shutdown::latest_end,
};
use crate::{
    engine::{
        Case, CaseKind, Context, SharedWorkload,
        context::{PodsOfCase, Recorder},
        evidence::Collector,
    },
    facts::Facts,
    sandbox::Sandbox,
    verdict::{
        CaseResult, Failure, Verdict,
        event::{CaseRetried, EventKind, EvidenceCollected},
    },
    workload::disruption::{self, Suspects},
};

/// How often a case is tried at the most. Only what was lost under it is a reason to try again: a
/// failure of the product is final, for a product that works at times does not work.
const MOST_ATTEMPTS: u32 = 2;

/// Runs one case; knows nothing of the others.
pub(super) struct Executor {
    pub(super) case: Case,
    pub(super) messages: UnboundedSender<Message>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) workloads: Arc<BTreeMap<&'static str, SharedWorkload>>,
    pub(super) facts: Arc<Facts>,
    pub(super) diagnostics: Collector,
    /// The pods that the case makes for itself.
    pub(super) pods: PodsOfCase,
    /// Cancelled when the run is to end: what runs is interrupted then.
    pub(super) stop: CancellationToken,
}

impl Executor {
    /// Whether the pods of the case are there, or failed to be.
    pub(super) fn has_pods(&self) -> bool {
        let mut workloads = self.case.pods.iter().filter_map(|s| self.workloads.get(s.name));
        workloads.all(|workload| workload.peek().is_some())
    }

    pub(super) async fn run(self) {
        // A case looks for itself whether there is a pod that it can do without.
        for template in self.case.pods.iter().filter(|template| !template.is_optional()) {
            if let Some(workload) = self.workloads.get(template.name)
                && let Err(failure) = workload.clone().await
            {
                let (sandbox, facts) = (&self.sandbox, &self.facts);
                let collector = &self.diagnostics;
                let evidence = collector.collect_once(self.case.id, template.name, sandbox, facts);
                self.send_evidence(evidence.await);
                let others = self.pods_of_templates().map(|(name, _)| name).collect();
                let suspects = Suspects { others, ..Suspects::default() };
                let failure = self.classify(failure, suspects).await;
                return self.send_finished(failure.into(), Duration::ZERO);
            }
        }
        self.send(EventKind::CaseStarted { id: self.case.id.to_owned() });
        let started = Instant::now();
        let verdict = self.attempts().await;
        let duration = started.elapsed();
        // While the pods are there, and before anything else happens in them.
        if matches!(verdict, Verdict::Fail { .. } | Verdict::Error { .. }) {
            let shared = self.pods_of_templates().map(|(name, _)| name);
            let pods: Vec<_> = shared.chain(self.pods.names()).collect();
            let collector = &self.diagnostics;
            let evidence = collector.collect(self.case.id, &pods, &self.sandbox, &self.facts);
            self.send_evidence(evidence.await);
        }
        self.send_finished(verdict, duration);
    }

    /// Tries the case until there is a verdict, and tells every try that came to none.
    async fn attempts(&self) -> Verdict {
        let mut lost: Option<String> = None;
        for number in 1.. {
            let failure = match self.attempt().await {
                Attempt::Ended(failure) => failure,
                Attempt::Passed => return Verdict::Pass,
                Attempt::Broke(message) => return Verdict::Error { message },
                Attempt::Stopped => return Verdict::Interrupted,
            };
            let suspects = self.suspects(matches!(failure, Failure::Timeout { .. }));
            tracing::debug!(
                case = self.case.id,
                attempt = number,
                failure = %failure.message(),
                "looks for a disruption before the verdict"
            );
            match self.classify(failure, suspects).await {
                Failure::Lost { message } if number < MOST_ATTEMPTS && self.is_back().await => {
                    self.send(EventKind::CaseRetried(CaseRetried {
                        id: self.case.id.to_owned(),
                        attempt: number,
                        reason: message.clone(),
                    }));
                    tracing::debug!(case = self.case.id, reason = message, "is retried");
                    lost = Some(message);
                }
                failure => return after_loss(lost.as_deref(), failure.into()),
            }
        }
        Verdict::Interrupted
    }

    /// The pods of the case: those that it had from its begin, and those that may not be there. A pod
    /// that it can do without is no witness: the cluster may have refused it.
    fn suspects(&self, is_late: bool) -> Suspects {
        let (ready, others): (Vec<_>, Vec<_>) =
            self.pods_of_templates().partition(|(_, is_needed)| *is_needed);
        let name = |(name, _)| name;
        let others = others.into_iter().map(name).chain(self.pods.names()).collect();
        Suspects { ready: ready.into_iter().map(name).collect(), others, is_late }
    }

    /// Doubts a failure of the product where something under it was lost.
    async fn classify(&self, failure: Failure, suspects: Suspects) -> Failure {
        if !matches!(failure, Failure::Product { .. } | Failure::Timeout { .. }) {
            return failure;
        }
        tokio::select! {
            what = disruption::find(&self.sandbox, &suspects) => match what {
                Some(what) => Failure::lost(format!("{what}; until then: {}", failure.message())),
                None => failure,
            },
            () = self.stop.cancelled() => failure,
        }
    }

    /// Waits for the API server's return.
    async fn is_back(&self) -> bool {
        tokio::select! {
            returned = disruption::until_server_returns(self.sandbox.admin()) => returned.is_ok(),
            () = self.stop.cancelled() => false,
        }
    }

    async fn attempt(&self) -> Attempt {
        let (events, records) = unbounded_channel();
        let (pauses, received) = unbounded_channel();
        let context = Context {
            case: self.case,
            sandbox: Arc::clone(&self.sandbox),
            workloads: Arc::clone(&self.workloads),
            facts: Arc::clone(&self.facts),
            recorder: Recorder::new(self.case.id, events),
            pauses,
            pods: self.pods.clone(),
        };
        let CaseKind::Live(act) = self.case.kind else {
            let message = "the case is not live, and no other step gave its verdict".to_owned();
            return Attempt::Broke(message);
        };
        // A task of its own, so that a panic in a case is the case's verdict and no more.
        let mut task = JoinSet::new();
        task.spawn(act(context));
        let ended = tokio::select! {
            ended = self.follow(&mut task, records, received) => ended,
            () = self.stop.cancelled() => return Attempt::Stopped,
        };
        match ended {
            Some(Ok(Ok(()))) => Attempt::Passed,
            Some(Ok(Err(failure))) => Attempt::Ended(failure),
            Some(Err(error)) => Attempt::Broke(format!("the case broke down: {error}")),
            None => Attempt::Ended(Failure::timeout("it", self.case.deadline)),
        }
    }

    /// Tells what a case records until it ends. None where its deadline comes first.
    async fn follow(
        &self,
        task: &mut JoinSet<CaseResult>,
        mut records: UnboundedReceiver<EventKind>,
        mut pauses: UnboundedReceiver<Pause>,
    ) -> Option<Result<CaseResult, JoinError>> {
        let mut deadline = Deadline::begin(self.case.deadline, TokioInstant::now());
        let ended = loop {
            tokio::select! {
                Some(event) = records.recv() => self.send(event),
                Some(pause) = pauses.recv() => deadline.apply(pause, TokioInstant::now()),
                ended = task.join_next() => break ended,
                () = sleep_until(deadline.ends().unwrap_or_else(latest_end)) => break None,
            }
        };
        task.shutdown().await;
        // What it recorded last.
        while let Ok(event) = records.try_recv() {
            self.send(event);
        }
        ended
    }

    /// The names of the pods that the case shares with others, and whether each was ready and is
    /// needed. The pod of a workspace is named by the operator, so it has no name before it is there.
    fn pods_of_templates(&self) -> impl Iterator<Item = (String, bool)> {
        self.case.pods.iter().filter_map(|template| {
            let workload = self.workloads.get(template.name).and_then(|workload| workload.peek());
            match workload {
                Some(Ok(workload)) => Some((workload.name(), !template.is_optional())),
                _ if template.is_workspace() || !template.shared => None,
                _ => Some((template.name.to_owned(), false)),
            }
        })
    }

    fn send(&self, event: EventKind) {
        let _ = self.messages.send(Message::Event(event));
    }

    fn send_evidence(&self, evidence: Option<EvidenceCollected>) {
        if let Some(evidence) = evidence {
            self.send(EventKind::EvidenceCollected(evidence));
        }
    }

    fn send_finished(&self, verdict: Verdict, duration: Duration) {
        let duration_ms = millis(duration);
        let _ = self.messages.send(Message::Finished { case: self.case, verdict, duration_ms });
    }
}

/// What one try of a case came to.
enum Attempt {
    /// Its assertion holds.
    Passed,
    /// It says why it did not pass.
    Ended(Failure),
    /// It did not even end as a case does.
    Broke(String),
    /// The run is to end.
    Stopped,
}

/// What a case comes to that was tried again. The first try may have left something in the way of
/// the second, so a failure after a loss says nothing about the product.
fn after_loss(lost: Option<&str>, verdict: Verdict) -> Verdict {
    match (lost, verdict) {
        (Some(lost), Verdict::Fail { message, .. }) => Verdict::Error {
            message: format!(
                "{lost}; it was tried again, and failed, maybe by what the first try has left: \
                 {message}"
            ),
        },
        (_, verdict) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_after_a_loss_is_not_the_products() {
        let fail = || Verdict::Fail { message: "the name is taken".into(), hint: None };
        assert_eq!(after_loss(None, fail()), fail());
        let Verdict::Error { message } = after_loss(Some("the stream broke"), fail()) else {
            panic!("it is an error")
        };
        assert!(message.starts_with("the stream broke; ") && message.ends_with("taken"));
        assert_eq!(after_loss(Some("the stream broke"), Verdict::Pass), Verdict::Pass);
    }
}
