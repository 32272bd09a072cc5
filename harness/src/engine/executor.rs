//! One case: its attempts, and what is kept of a failure.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::Timestamp;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinError, JoinSet},
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Message,
    deadline::{Deadline, Pause},
    loss::LossSearch,
    lost_try::{LostTry, after_loss},
    millis,
    shutdown::latest_end,
};
use crate::{
    cluster::exec_error::Lost,
    engine::{
        Case, CaseKind, Context, SharedWorkload,
        context::{CommandsOfCase, ObjectsOfCase, PodsOfCase, Recorder},
        evidence::{Collector, Subject},
        nodes::NodesOfCase,
    },
    facts::Facts,
    sandbox::Sandbox,
    verdict::{
        CaseResult, Disruption, Effect, Failure, Loss, Verdict,
        event::{CaseDisrupted, CaseRetried, EventKind, EvidenceCollected},
    },
    workload::{
        Workload,
        disruption::Suspects,
        health::{AFTERMATH, Health, LOOK_AGAIN, Outage},
    },
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
    /// The other objects that the case made for itself.
    pub(super) objects: ObjectsOfCase,
    /// The commands of the case that may still run.
    pub(super) commands: CommandsOfCase,
    /// The pods that were made for a retry alone.
    pub(super) fresh: Vec<Arc<Workload>>,
    /// What was lost in this run.
    pub(super) health: Health,
    /// When the run began to make pods.
    pub(super) began: Instant,
    /// Cancelled when the run is to end: what runs is interrupted then.
    pub(super) stop: CancellationToken,
}

impl Executor {
    /// Whether the pods of the case are there, or failed to be.
    pub(super) fn has_pods(&self) -> bool {
        let mut workloads = self.case.pods.iter().filter_map(|s| self.workloads.get(s.name));
        workloads.all(|workload| workload.peek().is_some())
    }

    pub(super) async fn run(mut self) {
        // A case looks for itself whether there is a pod that it can do without.
        for template in self.case.pods.iter().filter(|template| !template.is_optional()) {
            if let Some(workload) = self.workloads.get(template.name)
                && let Err(failure) = workload.clone().await
            {
                let (sandbox, facts) = (&self.sandbox, &self.facts);
                let collector = &self.diagnostics;
                let evidence = collector.collect_once(self.case.id, template.name, sandbox, facts);
                self.send_evidence(evidence.await);
                // Whoever made the pod knows whether something was lost meanwhile.
                let verdict = match failure {
                    Failure::Lost(loss) => self.undecided(None, self.disruption(loss, self.began)),
                    failure => failure.into(),
                };
                return self.send_finished(verdict, Duration::ZERO);
            }
        }
        self.send(EventKind::CaseStarted { id: self.case.id.to_owned() });
        let started = Instant::now();
        let verdict = self.attempts().await;
        let duration = started.elapsed();
        // While the pods are there, and before anything else happens in them.
        if matches!(verdict, Verdict::Fail { .. } | Verdict::Error { .. }) {
            let shared = self.pods_of_templates().map(|(name, pod)| Subject::of(name, pod));
            let own = self.pods.names().into_iter().map(Subject::Pod);
            let pods: Vec<_> = shared.chain(own).collect();
            let collector = &self.diagnostics;
            let evidence = collector.collect(self.case.id, &pods, &self.sandbox, &self.facts);
            self.send_evidence(evidence.await);
        }
        self.send_finished(verdict, duration);
        join_all(self.fresh.iter().map(|workload| workload.delete())).await;
    }

    /// Tries the case until there is a verdict, and reports every try that came to none.
    async fn attempts(&mut self) -> Verdict {
        let mut earlier: Option<LostTry> = None;
        for number in 1.. {
            let began = Instant::now();
            let failure = match self.attempt(began).await {
                Attempt::Ended(failure) => failure,
                Attempt::Passed => return Verdict::Pass,
                Attempt::Broke(message) => return Verdict::Error { message },
                Attempt::Stopped => return Verdict::Interrupted,
            };
            tracing::debug!(
                case = self.case.id,
                attempt = number,
                failure = %failure.message(),
                "looks for a disruption before the verdict"
            );
            // A retry begins once everything is back, and nothing else can decide it.
            let since = match earlier {
                None => began.checked_sub(AFTERMATH).unwrap_or(began),
                Some(_) => began,
            };
            let found = self.classify(&failure, since).await;
            let found = found.map(|loss| self.disruption(loss, since));
            let corruption = || earlier.is_none().then(|| self.corruption(&failure)).flatten();
            let Some(mut disruption) = found.or_else(corruption) else {
                return after_loss(earlier.as_ref(), failure, self.is_fresh());
            };
            let may_retry = number < MOST_ATTEMPTS && !self.sandbox.is_nowhere();
            if !may_retry || !self.is_back().await {
                if self.stop.is_cancelled() {
                    return Verdict::Interrupted;
                }
                return self.undecided(earlier.as_ref(), disruption);
            }
            disruption.until.get_or_insert_with(Timestamp::now);
            tracing::debug!(case = self.case.id, reason = disruption.reason, "is retried");
            self.send(EventKind::CaseRetried(CaseRetried {
                id: self.case.id.to_owned(),
                attempt: number,
                disruption: disruption.clone(),
            }));
            let may_be_corrupted = self.health.corruption(self.used_nodes().as_deref()).is_some();
            earlier = Some(LostTry { disruption, failure, may_be_corrupted });
            let stop = self.stop.clone();
            tokio::select! {
                fresh = self.prepare_retry() => self.fresh = fresh,
                () = stop.cancelled() => return Verdict::Interrupted,
            }
        }
        Verdict::Interrupted
    }

    /// Reports that a disruption leaves the case without a verdict on the product.
    pub(super) fn undecided(&self, earlier: Option<&LostTry>, disruption: Disruption) -> Verdict {
        let lost = |disruption: &Disruption| format!("{disruption}: {}", disruption.reason);
        let mut message = lost(&disruption);
        if let Some(earlier) = earlier {
            message = format!(
                "it was retried and lost again: first {}; then {message}",
                lost(&earlier.disruption)
            );
        }
        self.send(EventKind::CaseDisrupted(CaseDisrupted {
            id: self.case.id.to_owned(),
            effect: Effect::Undecided,
            disruption,
        }));
        Verdict::Error { message }
    }

    /// The pods of the case: those that it had from its begin, and those that may not be there. A pod
    /// that it can do without is no witness: the cluster may have refused it.
    fn suspects(&self, is_late: bool) -> Suspects {
        let (mut ready, mut others) = (Vec::new(), Vec::new());
        for (name, workload) in self.pods_of_templates() {
            match workload {
                Some(workload) => ready.push(workload.pod.clone()),
                None => others.push(name),
            }
        }
        others.extend(self.pods.names());
        Suspects { ready, others, is_late }
    }

    /// What was lost under the case since then, if anything was.
    async fn classify(&self, failure: &Failure, since: Instant) -> Option<Loss> {
        let nodes = self.nodes();
        let search =
            LossSearch { sandbox: &self.sandbox, health: &self.health, nodes: nodes.as_deref() };
        let suspects = self.suspects(matches!(failure, Failure::Timeout { .. }));
        tokio::select! {
            found = search.find_loss(failure, since, &suspects) => found,
            () = self.stop.cancelled() => None,
        }
    }

    /// What happened to the case's pods before it began, if that may be why it failed.
    fn corruption(&self, failure: &Failure) -> Option<Disruption> {
        let outage = self.health.corruption(self.used_nodes().as_deref())?.disruption;
        let reason = format!(
            "{}, before this case began; what it saw then: {}",
            outage.reason,
            failure.message()
        );
        Some(Disruption { reason, ..outage })
    }

    /// A loss with its times. Who saw only a part of an outage has the times of all of it.
    fn disruption(&self, loss: Loss, since: Instant) -> Disruption {
        let Loss { who, node, message } = loss;
        let nodes = self.nodes();
        let outage = self.health.during(since, nodes.as_deref()).map(|outage| outage.disruption);
        match outage {
            Some(outage) if who == Lost::Connection || outage.lost == Some(who) => {
                Disruption { reason: message, ..outage }
            }
            _ => Disruption {
                lost: Some(who),
                node,
                since: Some(Timestamp::now()),
                until: None,
                reason: message,
            },
        }
    }

    async fn attempt(&self, began: Instant) -> Attempt {
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
            objects: self.objects.clone(),
            commands: self.commands.clone(),
            health: self.health.clone(),
        };
        let CaseKind::Live(act) = self.case.kind else {
            let message = "the case is not live, and no other step gave its verdict".to_owned();
            return Attempt::Broke(message);
        };
        // A task of its own, so that a panic in a case is the case's verdict and no more.
        let mut task = JoinSet::new();
        task.spawn(act(context));
        let ended = tokio::select! {
            ended = self.follow(&mut task, records, received, began) => ended,
            () = self.stop.cancelled() => return Attempt::Stopped,
        };
        match ended {
            Followed::Ended(Ok(Ok(()))) => Attempt::Passed,
            Followed::Ended(Ok(Err(failure))) => Attempt::Ended(failure),
            Followed::Ended(Err(error)) => Attempt::Broke(format!("the case broke down: {error}")),
            Followed::Late => Attempt::Ended(Failure::timeout("it", self.time_limit())),
            Followed::Lost(outage) => {
                let Disruption { lost, node, reason, .. } = outage;
                Attempt::Ended(Failure::lost_of(lost.unwrap_or(Lost::Node), node, reason))
            }
        }
    }

    /// How long the case may take in this run.
    fn time_limit(&self) -> Duration {
        self.case.deadline * self.sandbox.timeouts().factor
    }

    /// Reports what a case records until it ends, its deadline is over or nobody waits any more for
    /// the return of its node. The time in which its node was away is not the case's.
    async fn follow(
        &self,
        task: &mut JoinSet<CaseResult>,
        mut records: UnboundedReceiver<EventKind>,
        mut pauses: UnboundedReceiver<Pause>,
        began: Instant,
    ) -> Followed {
        let mut deadline = Deadline::begin(self.time_limit(), TokioInstant::now());
        let (mut outages, mut lost) = (self.health.subscribe(), Duration::ZERO);
        let ended = loop {
            tokio::select! {
                Some(event) = records.recv() => self.send(event),
                Some(pause) = pauses.recv() => deadline.apply(pause, TokioInstant::now()),
                Some(ended) = task.join_next() => break Followed::Ended(ended),
                Ok(()) = outages.changed() => {
                    if let Some(outage) = self.final_outage() {
                        break Followed::Lost(outage.disruption);
                    }
                }
                () = sleep_until(deadline.ends().unwrap_or_else(latest_end)) => {
                    let all = self.health.lost_time(began, self.nodes().as_deref());
                    if all <= lost {
                        break Followed::Late;
                    }
                    let before = lost;
                    // An outage that goes on has to be looked at again, and not at once.
                    lost = all + LOOK_AGAIN;
                    deadline.extend(lost.saturating_sub(before));
                }
            }
        };
        task.shutdown().await;
        // What it recorded last.
        while let Ok(event) = records.try_recv() {
            self.send(event);
        }
        ended
    }

    /// The names of the pods that the case shares with others, and those that are ready and needed.
    /// The pod of a workspace is named by the operator, so it has no name before it is there.
    pub(super) fn pods_of_templates(
        &self,
    ) -> impl Iterator<Item = (String, Option<Arc<Workload>>)> {
        self.case.pods.iter().filter_map(|template| {
            let workload = self.workloads.get(template.name).and_then(|workload| workload.peek());
            match workload {
                Some(Ok(workload)) => {
                    let is_needed = !template.is_optional();
                    Some((workload.name(), is_needed.then(|| Arc::clone(workload))))
                }
                _ if template.is_workspace() || !template.shared => None,
                _ => Some((self.sandbox.name_of(template.name), None)),
            }
        })
    }

    fn nodes_of_case(&self) -> NodesOfCase {
        let ready = self.pods_of_templates().filter_map(|(_, workload)| workload);
        let shared = ready.filter_map(|pod| pod.node().map(str::to_owned));
        NodesOfCase::new(shared, !self.case.pods.is_empty(), self.pods.nodes())
    }

    /// All nodes of the case's pods; see [`NodesOfCase::all`].
    pub(super) fn nodes(&self) -> Option<Vec<String>> {
        self.nodes_of_case().all()
    }

    /// The nodes on which the case can have done something; see [`NodesOfCase::used`].
    fn used_nodes(&self) -> Option<Vec<String>> {
        self.nodes_of_case().used()
    }

    /// Whether something that the case needs is away now.
    pub(super) fn is_held(&self) -> bool {
        self.health.ongoing(self.nodes().as_deref()) || self.final_outage().is_some()
    }

    /// The outage whose end nobody waits for any more, if the case needs what is away. A case whose
    /// node is not known yet may get another one, if there is another one.
    pub(super) fn final_outage(&self) -> Option<Outage> {
        let nodes = self.used_nodes().unwrap_or_else(|| {
            let all = self.facts.nodes.value().map(Vec::as_slice).unwrap_or_default();
            if let [only] = all { vec![only.name.clone()] } else { Vec::new() }
        });
        self.health.current(Some(&nodes)).filter(|outage| outage.is_final)
    }

    /// The outage for which the case has no verdict: nobody waits for its end any more.
    pub(super) fn given_up(&self) -> Option<Disruption> {
        let outage = self.final_outage().filter(|_| self.has_pods());
        outage.map(|outage| outage.disruption)
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

/// How following a case ended.
enum Followed {
    /// The case ended.
    Ended(Result<CaseResult, JoinError>),
    /// Its deadline is over.
    Late,
    /// Nobody waits any more for what it needs.
    Lost(Disruption),
}
