//! The cases of a run: which begins when, and what cuts them short.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, Stream, StreamExt};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::{Instant as TokioInstant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Dispatcher, Message, RunConfig,
    executor::Executor,
    loss::LossSearch,
    millis,
    shutdown::{ShutdownGrace, latest_end},
};
use crate::{
    engine::{
        Case, SharedWorkload,
        context::{CommandsOfCase, ObjectsOfCase, PodsOfCase},
        plan::Plan,
    },
    facts::Facts,
    sandbox::{
        Sandbox,
        pod_template::{Isolation, PodTemplate},
    },
    verdict::{
        Failure, Step, Verdict,
        event::{Event, EventKind, StepFinished},
    },
    workload::{self, Workload, disruption::Suspects, health::Health, heartbeat},
};

/// How long what already has a verdict may still take once the run is cut short: the evidence of a
/// failed case is collected within 15 s.
const DRAIN_GRACE: Duration = Duration::from_secs(20);

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    /// Runs the cases of a plan that act, in pods that are there or that are made now.
    pub(super) async fn run_cases(
        &mut self,
        stage: Stage,
        pods: Pods,
        plan: &Plan,
        config: &RunConfig,
    ) {
        let Stage { sandbox, facts } = stage;
        let (events, messages) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let health = Health::default();
        let start = Start { sandbox: &sandbox, health: &health, messages: &events };
        let workloads = Arc::new(match pods {
            Pods::Made => start.workloads(plan.templates(), &mut tasks),
            Pods::Given(workloads) => workloads,
        });
        let began = Instant::now();
        let executors = plan.live().map(|case| Executor {
            case: *case,
            messages: events.clone(),
            sandbox: Arc::clone(&sandbox),
            workloads: Arc::clone(&workloads),
            facts: Arc::clone(&facts),
            diagnostics: config.diagnostics.clone(),
            pods: PodsOfCase::default(),
            objects: ObjectsOfCase::default(),
            commands: CommandsOfCase::default(),
            fresh: Vec::new(),
            health: health.clone(),
            began,
            stop: stop.clone(),
        });
        let queue = Queue { waiting: executors.collect(), free: config.jobs, running: 0 };
        drop(events);
        let mut cases = Cases {
            queue,
            stop,
            pending: plan.live().map(|case| case.id).collect(),
            cut_off: None,
            ends: *self
                .ends
                .get_or_insert_with(|| TokioInstant::now() + config.sandbox.run_timeout),
        };
        self.dispatch(messages, &mut cases, &mut tasks, config).await;
        // Aborts what still runs; nothing of it may act on the sandbox any more.
        tasks.shutdown().await;
        let verdict = cases.cut_off.unwrap_or_else(|| Verdict::Error {
            message: "its task ended without a verdict".to_owned(),
        });
        for case in plan.live().filter(|case| cases.pending.contains(case.id)) {
            self.finish(case, verdict.clone(), 0);
        }
    }

    /// Begins cases and takes messages until every case ended, or the time of those that are cut
    /// short is over.
    async fn dispatch(
        &mut self,
        mut messages: UnboundedReceiver<Message>,
        cases: &mut Cases,
        tasks: &mut JoinSet<()>,
        config: &RunConfig,
    ) {
        let mut signals_end = false;
        while cases.queue.running > 0 || !cases.queue.waiting.is_empty() {
            for (case, verdict) in cases.queue.give_up() {
                cases.pending.remove(case.id);
                self.finish(&case, verdict, 0);
            }
            self.skip_waiting(cases, config);
            if cases.queue.running == 0 && cases.queue.waiting.is_empty() {
                return;
            }
            cases.queue.begin(tasks);
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Event(event)) => self.emit(event),
                    Some(Message::Finished { case, verdict, duration_ms }) => {
                        cases.queue.free += 1;
                        cases.queue.running -= 1;
                        cases.pending.remove(case.id);
                        self.finish(&case, cases.verdict(verdict), duration_ms);
                    }
                    None => return,
                },
                signal = self.signals.next(), if !signals_end => match signal {
                    Some(signal) => {
                        self.record_signal(signal);
                        cases.cut_short(Verdict::Interrupted);
                        match ShutdownGrace::after(self.signals_received) {
                            ShutdownGrace::Full => {}
                            ShutdownGrace::Short => config.diagnostics.skip(),
                            ShutdownGrace::None => return,
                        }
                    }
                    None => signals_end = true,
                },
                () = sleep_until(cases.ends.min(self.grace_end.unwrap_or_else(latest_end))) => {
                    if cases.cut_off.is_some() {
                        return;
                    }
                    let message = format!("the run's {} s are over", config.sandbox.run_timeout.as_secs());
                    cases.cut_short(Verdict::Error { message });
                }
            }
        }
    }
}

/// Where cases run.
pub(super) struct Stage {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) facts: Arc<Facts>,
}

/// Where the pods come from that cases share.
pub(super) enum Pods {
    /// They are made in the sandbox, from the templates of the plan.
    Made,
    /// They are there, by the names of their templates.
    Given(BTreeMap<&'static str, SharedWorkload>),
}

/// The cases that have no verdict yet.
pub(super) struct Cases {
    queue: Queue,
    stop: CancellationToken,
    pending: BTreeSet<&'static str>,
    /// The verdict of those that did not end by themselves, once the run is cut short.
    cut_off: Option<Verdict>,
    /// When the run, or what is left of it, is over.
    ends: TokioInstant,
}

impl Cases {
    /// Hands over the cases that did not begin.
    pub(super) fn take_waiting(&mut self) -> Vec<Case> {
        let waiting = self.queue.waiting.drain(..);
        let cases: Vec<_> = waiting.map(|executor| executor.case).collect();
        for case in &cases {
            self.pending.remove(case.id);
        }
        cases
    }

    /// Begins no more cases and interrupts those that run. What already has a verdict keeps it.
    fn cut_short(&mut self, verdict: Verdict) {
        if self.cut_off.is_some() {
            return;
        }
        tracing::debug!(
            verdict = verdict.name(),
            reason = verdict.message(),
            waiting = self.queue.waiting.len(),
            running = self.queue.running,
            "the run is cut short"
        );
        self.stop.cancel();
        self.cut_off = Some(verdict);
        self.ends = TokioInstant::now() + DRAIN_GRACE;
        self.queue.waiting.clear();
    }

    /// What a case comes to: why it was interrupted, the run knows better.
    fn verdict(&self, verdict: Verdict) -> Verdict {
        match (&self.cut_off, verdict) {
            (Some(cut_off), Verdict::Interrupted) => cut_off.clone(),
            (_, verdict) => verdict,
        }
    }
}

/// The cases that are not begun yet, in the order of the plan.
struct Queue {
    waiting: Vec<Executor>,
    /// How many more cases may run now.
    free: usize,
    /// How many run.
    running: usize,
}

impl Queue {
    /// Takes out the cases whose node, or API server, nobody waits for any more, with their verdict:
    /// each would use up the time again.
    fn give_up(&mut self) -> Vec<(Case, Verdict)> {
        let mut given_up = Vec::new();
        self.waiting.retain(|executor| {
            let Some(disruption) = executor.given_up() else { return true };
            given_up.push((executor.case, executor.undecided(None, disruption)));
            false
        });
        given_up
    }

    /// Begins what can begin. A case whose node is away waits. A case that waits for a pod keeps no
    /// other from running; of those that wait for nothing, the plan's first goes first, for the
    /// longest are planned first.
    fn begin(&mut self, tasks: &mut JoinSet<()>) {
        while self.free > 0
            && let Some(index) =
                self.waiting.iter().position(|case| case.has_pods() && !case.is_held())
        {
            self.free -= 1;
            self.running += 1;
            let executor = self.waiting.remove(index);
            tracing::debug!(
                case = executor.case.id,
                running = self.running,
                waiting = self.waiting.len(),
                "begins: its pods are ready or failed, and a slot is free"
            );
            tasks.spawn(executor.run());
        }
    }
}

/// What the pods of a plan are made with.
struct Start<'a> {
    sandbox: &'a Arc<Sandbox>,
    health: &'a Health,
    messages: &'a UnboundedSender<Message>,
}

impl Start<'_> {
    /// Begins to make every pod of the plan at once.
    fn workloads(
        &self,
        templates: Vec<&'static PodTemplate>,
        tasks: &mut JoinSet<()>,
    ) -> BTreeMap<&'static str, SharedWorkload> {
        let mut workloads = BTreeMap::new();
        for template in templates {
            let sandbox = Arc::clone(self.sandbox);
            let provision = provision(sandbox, template, self.health.clone());
            let shared = provision.boxed().shared();
            workloads.insert(template.name, shared.clone());
            // Driven by a task of its own, as no case is begun before its pods are there.
            let (sandbox, messages) = (Arc::clone(self.sandbox), self.messages.clone());
            tasks.spawn(follow_pod(sandbox, template, shared, self.health.clone(), messages));
        }
        workloads
    }
}

/// Makes the pod of a template. One that was lost meanwhile says nothing about the product.
async fn provision(
    sandbox: Arc<Sandbox>,
    template: &'static PodTemplate,
    health: Health,
) -> Result<Arc<Workload>, Failure> {
    let began = Instant::now();
    let failure = match Box::pin(workload::provision(&sandbox, template)).await {
        Ok(workload) => return Ok(workload),
        Err(failure) => failure,
    };
    let name = sandbox.name_of(template.name);
    let nodes = workload::node_of_named(&sandbox, &name).await.map(|node| vec![node]);
    let search = LossSearch { sandbox: &sandbox, health: &health, nodes: nodes.as_deref() };
    let others = if template.is_workspace() { Vec::new() } else { vec![name] };
    let is_late = matches!(failure, Failure::Timeout { .. });
    let suspects = Suspects { ready: Vec::new(), others, is_late };
    Err(search.find_loss(&failure, began, &suspects).await.map_or(failure, Failure::Lost))
}

/// Reports that a pod is ready or why it is not, and watches its node.
async fn follow_pod(
    sandbox: Arc<Sandbox>,
    template: &'static PodTemplate,
    shared: SharedWorkload,
    health: Health,
    messages: UnboundedSender<Message>,
) {
    let started = Instant::now();
    let made = shared.await;
    let failure = made.as_ref().err().cloned();
    let failure =
        failure.map(|failure| Verdict::from(failure).message().unwrap_or_default().to_owned());
    // A missing pod that is not needed is not an error; the cases report why.
    let (step, failure) = match failure {
        Some(_) if template.is_optional() => {
            (Step::MissingPod { name: template.name.to_owned() }, None)
        }
        failure => (Step::Pod { name: template.name.to_owned() }, failure),
    };
    let report = |event| drop(messages.send(Message::Event(event)));
    report(EventKind::StepFinished(StepFinished {
        step,
        duration_ms: millis(started.elapsed()),
        failure,
        image_id: made.as_ref().ok().and_then(|made| template.image_id_of(&made.pod)),
    }));
    // In others the user may not run commands.
    if let Ok(pod) = made
        && template.isolation != Isolation::Privileged
        && health.watch(&pod)
    {
        Box::pin(heartbeat::watch(&sandbox, pod, &health, report)).await;
    }
}
