//! Runs a plan: bounded concurrency, deadlines, cancellation.
//!
//! After nextest, one dispatcher owns all state. Tasks that make pods and run cases share nothing
//! with it and tell it what happens by messages; it alone writes the event log.

mod ending;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, Stream, StreamExt};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use crate::{
    Result,
    case::{Body, Case},
    cluster::Cluster,
    context::{Context, PodsOfCase, SharedWorkload},
    diagnosis::evidence::Collector,
    event::{CaseFinished, Event, EventKind, EvidenceCollected, RunStarted, StepFinished},
    facts::Facts,
    outcome::{Circumstances, Level, Outcome, Verdict, decide},
    plan::Plan,
    sandbox::{self, Sandbox, SandboxOptions, Sweep},
    shape::Shape,
    workload,
};

/// What a run is made with.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The profile's name, for the report.
    pub profile: String,
    /// Whether the plan has only some of the profile's cases, for the report.
    pub is_part: bool,
    /// How many cases run at once.
    pub jobs: usize,
    /// How long the whole run may take, teardown aside.
    pub deadline: Duration,
    /// What the throwaway namespace is made with.
    pub sandbox: SandboxOptions,
    /// What collects the evidence of cases that fail.
    pub diagnostics: Collector,
}

/// Runs a plan and tells `observe` every event, in order.
///
/// `signals` yields the number of each signal that asks the run to end. Whatever happens, what
/// was created is deleted again and the last event is [`EventKind::RunFinished`].
pub async fn run(
    cluster: &Cluster,
    facts: Facts,
    plan: Plan,
    options: RunOptions,
    signals: impl Stream<Item = u8> + Unpin,
    observe: impl FnMut(&Event),
) -> Outcome {
    let started = Instant::now();
    let mut dispatcher = Dispatcher {
        observe,
        signals,
        verdicts: Vec::new(),
        circumstances: Circumstances { only_judged: true, ..Circumstances::default() },
        signals_heard: 0,
        broken_truths: BTreeMap::new(),
    };
    dispatcher.emit(EventKind::RunStarted(RunStarted {
        run: options.sandbox.run.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: options.profile.clone(),
        image: options.sandbox.image.clone(),
        cases: plan.entries.len(),
        is_part: options.is_part,
        cluster: facts.summary(),
    }));
    for entry in &plan.entries {
        if let Some(verdict) = &entry.settled {
            for check in &entry.checks {
                let id = entry.case.id.to_owned();
                dispatcher.emit(EventKind::TruthChecked { id, check: check.clone() });
            }
            dispatcher.finish(&entry.case, verdict.clone(), Duration::ZERO);
        }
    }
    // A plan in which nothing can run writes nothing to the cluster.
    if plan.runnable().next().is_some() {
        Box::pin(dispatcher.execute(cluster, facts, &plan, &options)).await;
    }
    let verdicts = dispatcher.verdicts.iter().map(|(level, verdict)| (*level, verdict));
    let outcome = decide(verdicts, dispatcher.circumstances);
    dispatcher.emit(EventKind::RunFinished { outcome, duration_ms: millis(started.elapsed()) });
    outcome
}

/// What the tasks tell the dispatcher.
enum Message {
    /// An event to log as it is.
    Event(EventKind),
    /// A case ended.
    Finished { case: Case, verdict: Verdict, duration: Duration },
}

/// Owns the run's state and writes its log.
struct Dispatcher<O, S> {
    observe: O,
    signals: S,
    verdicts: Vec<(Level, Verdict)>,
    circumstances: Circumstances,
    /// How many signals asked for the end.
    signals_heard: u32,
    /// The truth checks that do not hold, by case; a case without an entry made none at all.
    broken_truths: BTreeMap<String, BTreeSet<String>>,
}

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    fn emit(&mut self, event: EventKind) {
        if let EventKind::TruthChecked { id, check } = &event {
            let broken = self.broken_truths.entry(id.clone()).or_default();
            if !check.holds {
                broken.insert(check.name.clone());
            }
        }
        (self.observe)(&Event::now(event));
    }

    fn step(&mut self, step: impl Into<String>, started: Instant, failure: Option<String>) {
        self.emit(EventKind::StepFinished(StepFinished {
            step: step.into(),
            duration_ms: millis(started.elapsed()),
            failure,
        }));
    }

    fn finish(&mut self, case: &Case, verdict: Verdict, duration: Duration) {
        let verdict = match verdict {
            Verdict::Pass => self.prove(case),
            other => other,
        };
        if verdict == Verdict::Pass && matches!(case.body, Body::Acts(_)) {
            self.circumstances.only_judged = false;
        }
        self.verdicts.push((case.level, verdict.clone()));
        self.emit(EventKind::CaseFinished(CaseFinished {
            id: case.id.to_owned(),
            name: case.path(),
            suite: case.suite.to_owned(),
            title: case.title.to_owned(),
            level: case.level,
            verdict,
            duration_ms: millis(duration),
        }));
    }

    /// A pass counts only with truth checks behind it that all hold.
    fn prove(&self, case: &Case) -> Verdict {
        match self.broken_truths.get(case.id) {
            Some(broken) if broken.is_empty() => Verdict::Pass,
            Some(broken) => {
                let broken: Vec<_> = broken.iter().map(String::as_str).collect();
                Verdict::Fail {
                    message: format!("a truth check does not hold: {}", broken.join(", ")),
                    hint: None,
                }
            }
            None => Verdict::Error {
                message: "the case passed without a truth check, which proves nothing".to_owned(),
            },
        }
    }

    /// Creates the sandbox, runs the cases, and removes everything again.
    async fn execute(
        &mut self,
        cluster: &Cluster,
        facts: Facts,
        plan: &Plan,
        options: &RunOptions,
    ) {
        self.sweep_own_expired(cluster).await;
        let started = Instant::now();
        match self.provision(cluster, options).await {
            Some(Ok(sandbox)) => {
                self.step("provision", started, None);
                self.run_cases(Arc::new(sandbox), Arc::new(facts), plan, options).await;
            }
            Some(Err(error)) => {
                let message = error.to_string();
                self.step("provision", started, Some(message.clone()));
                self.circumstances.broken = true;
                for case in plan.runnable() {
                    let message = format!("the sandbox could not be made: {message}");
                    self.finish(case, Verdict::Error { message }, Duration::ZERO);
                }
            }
            None => {
                for case in plan.runnable() {
                    self.finish(case, Verdict::Interrupted, Duration::ZERO);
                }
            }
        }
        self.close(cluster, options).await;
    }

    /// Creates the sandbox; none where a signal came first.
    async fn provision(
        &mut self,
        cluster: &Cluster,
        options: &RunOptions,
    ) -> Option<Result<Sandbox>> {
        let mut creating = Box::pin(Sandbox::create(cluster, options.sandbox.clone()));
        tokio::select! {
            created = &mut creating => Some(created),
            Some(signal) = self.signals.next() => {
                self.hear(signal);
                None
            }
        }
    }

    /// Removes what earlier runs of the same owner have left that are over by now. That it can't is
    /// told, and is no reason not to run.
    async fn sweep_own_expired(&mut self, cluster: &Cluster) {
        let started = Instant::now();
        let which = Sweep::ExpiredOf(sandbox::owner());
        match sandbox::sweep(cluster.admin(), &which, &[], false).await {
            Ok(swept) if swept.is_empty() => {}
            Ok(_) => self.step("sweep", started, None),
            Err(error) => self.step("sweep", started, Some(error.to_string())),
        }
    }

    async fn run_cases(
        &mut self,
        sandbox: Arc<Sandbox>,
        facts: Arc<Facts>,
        plan: &Plan,
        options: &RunOptions,
    ) {
        let (events, messages) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let workloads = Arc::new(start_workloads(&sandbox, plan.shapes(), &mut tasks, &events));
        let executors = plan.runnable().map(|case| Executor {
            case: *case,
            messages: events.clone(),
            sandbox: Arc::clone(&sandbox),
            workloads: Arc::clone(&workloads),
            facts: Arc::clone(&facts),
            diagnostics: options.diagnostics.clone(),
            pods: PodsOfCase::default(),
        });
        let mut queue = Queue { waiting: executors.collect(), free: options.jobs };
        drop(events);
        let cut_off = self.dispatch(messages, &mut queue, &mut tasks, options.deadline, plan).await;
        // Aborts what still runs; nothing of it may act on the sandbox any more.
        tasks.shutdown().await;
        if let Some((verdict, pending)) = cut_off {
            for case in plan.runnable().filter(|case| pending.contains(case.id)) {
                self.finish(case, verdict.clone(), Duration::ZERO);
            }
        }
    }

    /// Begins cases and takes messages until every case ended. Cut short by a signal or the
    /// deadline, returns the verdict of the cases that did not end.
    async fn dispatch(
        &mut self,
        mut messages: UnboundedReceiver<Message>,
        queue: &mut Queue,
        tasks: &mut JoinSet<()>,
        deadline: Duration,
        plan: &Plan,
    ) -> Option<(Verdict, BTreeSet<&'static str>)> {
        let mut pending: BTreeSet<&'static str> = plan.runnable().map(|case| case.id).collect();
        let mut deadline_passed = std::pin::pin!(tokio::time::sleep(deadline));
        let mut signals_end = false;
        while !pending.is_empty() {
            queue.begin(tasks);
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Event(event)) => self.emit(event),
                    Some(Message::Finished { case, verdict, duration }) => {
                        pending.remove(case.id);
                        queue.free += 1;
                        self.finish(&case, verdict, duration);
                    }
                    None => {
                        let message = "its task ended without a verdict".to_owned();
                        return Some((Verdict::Error { message }, pending));
                    }
                },
                signal = self.signals.next(), if !signals_end => match signal {
                    Some(signal) => {
                        self.hear(signal);
                        return Some((Verdict::Interrupted, pending));
                    }
                    None => signals_end = true,
                },
                () = &mut deadline_passed => {
                    let message = format!("the run's {} s are over", deadline.as_secs());
                    return Some((Verdict::Error { message }, pending));
                }
            }
        }
        None
    }
}

/// The cases that are not begun yet, in the order of the plan.
struct Queue {
    waiting: Vec<Executor>,
    /// How many more cases may run now.
    free: usize,
}

impl Queue {
    /// Begins what can begin. A case that waits for a pod keeps no other from running; of those
    /// that wait for nothing, the plan's first goes first, for the longest are planned first.
    fn begin(&mut self, tasks: &mut JoinSet<()>) {
        while self.free > 0
            && let Some(index) = self.waiting.iter().position(Executor::has_pods)
        {
            self.free -= 1;
            tasks.spawn(self.waiting.remove(index).run());
        }
    }
}

/// Begins to make every pod of the plan at once.
fn start_workloads(
    sandbox: &Arc<Sandbox>,
    shapes: Vec<&'static Shape>,
    tasks: &mut JoinSet<()>,
    messages: &UnboundedSender<Message>,
) -> BTreeMap<&'static str, SharedWorkload> {
    let mut workloads = BTreeMap::new();
    for shape in shapes {
        let sandbox = Arc::clone(sandbox);
        let messages = messages.clone();
        let started = Instant::now();
        let provision = async move { workload::provision(&sandbox, shape).await };
        let shared = provision.boxed().shared();
        workloads.insert(shape.name, shared.clone());
        // Driven by a task of its own, as no case is begun before its pods are there.
        tasks.spawn(async move {
            let failure = shared
                .await
                .err()
                .map(|failure| Verdict::from(failure).message().unwrap_or_default().to_owned());
            let _ = messages.send(Message::Event(EventKind::StepFinished(StepFinished {
                step: format!("pod {}", shape.name),
                duration_ms: millis(started.elapsed()),
                failure,
            })));
        });
    }
    workloads
}

/// Runs one case; knows nothing of the others.
struct Executor {
    case: Case,
    messages: UnboundedSender<Message>,
    sandbox: Arc<Sandbox>,
    workloads: Arc<BTreeMap<&'static str, SharedWorkload>>,
    facts: Arc<Facts>,
    diagnostics: Collector,
    /// The pods that the case makes for itself.
    pods: PodsOfCase,
}

impl Executor {
    /// Whether the pods of the case are there, or failed to be.
    fn has_pods(&self) -> bool {
        let mut workloads = self.case.shapes.iter().filter_map(|s| self.workloads.get(s.name));
        workloads.all(|workload| workload.peek().is_some())
    }

    async fn run(self) {
        for shape in self.case.shapes {
            if let Some(workload) = self.workloads.get(shape.name)
                && let Err(failure) = workload.clone().await
            {
                let (sandbox, facts) = (&self.sandbox, &self.facts);
                let collector = &self.diagnostics;
                let evidence = collector.collect_once(self.case.id, shape.name, sandbox, facts);
                self.tell_evidence(evidence.await);
                return self.tell_finished(failure.into(), Duration::ZERO);
            }
        }
        self.tell(EventKind::CaseStarted { id: self.case.id.to_owned() });
        let started = Instant::now();
        let verdict = self.attempt().await;
        let duration = started.elapsed();
        // While the pods are there, and before anything else happens in them.
        if matches!(verdict, Verdict::Fail { .. } | Verdict::Error { .. }) {
            let mut pods: Vec<_> = self.case.shapes.iter().map(|s| s.name.to_owned()).collect();
            pods.extend(self.pods.names());
            let collector = &self.diagnostics;
            let evidence = collector.collect(self.case.id, &pods, &self.sandbox, &self.facts);
            self.tell_evidence(evidence.await);
        }
        self.tell_finished(verdict, duration);
    }

    async fn attempt(&self) -> Verdict {
        let (events, mut records) = unbounded_channel();
        let context = Context {
            id: self.case.id,
            sandbox: Arc::clone(&self.sandbox),
            workloads: Arc::clone(&self.workloads),
            facts: Arc::clone(&self.facts),
            events,
            pods: self.pods.clone(),
        };
        let Body::Acts(act) = self.case.body else {
            let message = "the case judges facts, and the plan has not settled it".to_owned();
            return Verdict::Error { message };
        };
        // A task of its own, so that a panic in a case is the case's verdict and no more.
        let mut task = JoinSet::new();
        task.spawn(tokio::time::timeout(self.case.deadline, act(context)));
        // The channel closes with the last clone of the context, that is when the case ended.
        while let Some(event) = records.recv().await {
            self.tell(event);
        }
        match task.join_next().await {
            Some(Ok(Ok(Ok(())))) => Verdict::Pass,
            Some(Ok(Ok(Err(failure)))) => failure.into(),
            Some(Ok(Err(_elapsed))) => Verdict::Fail {
                message: format!("it did not end within {} s", self.case.deadline.as_secs()),
                hint: None,
            },
            Some(Err(error)) => Verdict::Error { message: format!("the case broke down: {error}") },
            None => Verdict::Error { message: "the case never ran".to_owned() },
        }
    }

    fn tell(&self, event: EventKind) {
        let _ = self.messages.send(Message::Event(event));
    }

    fn tell_evidence(&self, evidence: Option<EvidenceCollected>) {
        if let Some(evidence) = evidence {
            self.tell(EventKind::EvidenceCollected(evidence));
        }
    }

    fn tell_finished(&self, verdict: Verdict, duration: Duration) {
        let _ = self.messages.send(Message::Finished { case: self.case, verdict, duration });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
