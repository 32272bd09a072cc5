//! Runs a plan: bounded concurrency, deadlines, cancellation.
//!
//! After nextest, one dispatcher owns all state. Tasks that make pods and run cases share nothing
//! with it and tell it what happens by messages; it alone writes the event log.

pub(crate) mod administrator;
mod case;
mod config;
mod context;
pub(crate) mod deadline;
mod dispatch;
pub mod evidence;
mod executor;
pub mod inside;
mod loss;
mod lost_try;
mod nodes;
pub mod plan;
pub mod preview;
mod profile;
mod retry;
mod shutdown;
mod stop;
mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub use case::{
    Case, CaseFuture, CaseKind, CheckResult, Inside, OfNode, ProvenNode, StandIn, base_id,
    registered,
};
pub use config::{JOBS, RUN_TIMEOUT, RunConfig};
pub use context::{Admission, Context, PodHandle, SharedWorkload, parse_probe};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
pub use profile::Profile;
use tokio::time::Instant as TokioInstant;

use crate::{
    Result,
    base::{build, redact::Redacted},
    cluster::Cluster,
    diagnosis::{Expectations, Situation},
    engine::{
        dispatch::{Pods, Stage},
        plan::Plan,
        tally::Tally,
    },
    facts::{Facts, Platform, restriction::Restrictions},
    sandbox::{self, Sandbox, Snapshot, Sweep},
    verdict::{
        Circumstances, Outcome, Step, Verdict,
        event::{CaseFinished, Event, EventKind, RunStarted, StepFinished},
    },
};

/// How long the objects of others in the run's namespace may take to be read: no verdict needs them.
const RESTRICTIONS_DEADLINE: Duration = Duration::from_secs(5);

/// When what a run created stays in the cluster for a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Never: everything is torn down.
    #[default]
    Never,
    /// When a case failed or broke, until it is swept. An interrupted run is torn down all the same.
    OnFailure,
}

/// Runs a plan and tells `observe` every event, in order.
///
/// `signals` yields the number of each signal that asks the run to end. Whatever happens, what
/// was created is deleted again and the last event is [`EventKind::RunFinished`].
pub async fn run(
    cluster: &Cluster,
    facts: Facts,
    plan: Plan,
    config: RunConfig,
    signals: impl Stream<Item = u8> + Unpin,
    observe: impl FnMut(&Event),
) -> Outcome {
    let situation = Situation::new(&facts, Timestamp::now());
    // A run of a part, or of another profile, says little of causes that no case has.
    let is_own = plan.profile == Profile::of_cluster(&facts).name() && !plan.is_part;
    let mut dispatcher = Dispatcher::new(observe, signals, config.expectations.clone(), situation);
    dispatcher.begin(&plan, &config, Some(&facts), facts.summary());
    dispatcher.evaluate(&plan, &facts);
    // A plan in which nothing can run writes nothing to the cluster.
    if plan.runnable().next().is_some() {
        Box::pin(dispatcher.execute_all(cluster, &facts, &plan, &config)).await;
    }
    dispatcher.conclude(is_own)
}

/// What the tasks tell the dispatcher.
enum Message {
    /// An event to log as it is.
    Event(EventKind),
    /// A case ended.
    Finished { case: Case, verdict: Verdict, duration_ms: u64 },
}

/// Owns the run's state and writes its log.
struct Dispatcher<O, S> {
    started: Instant,
    observe: O,
    signals: S,
    /// The verdicts of the cases.
    tally: Tally,
    /// The cases that were not run because of another one, or because an iteration did not begin.
    not_run: BTreeSet<&'static str>,
    /// Which iteration goes on, from 1, where cases run several times.
    iteration: Option<u32>,
    /// When the time of the run is over; none before its first case.
    ends: Option<TokioInstant>,
    /// Whether the objects of the run are kept.
    is_kept: bool,
    circumstances: Circumstances,
    /// How many signals asked for the end.
    signals_received: u32,
    /// When the run must be over: a second signal was in a hurry.
    grace_end: Option<TokioInstant>,
    /// The truth checks that do not hold, by case; a case without an entry made none at all.
    broken_truths: BTreeMap<String, BTreeSet<String>>,
    /// What somebody else put into the run's namespace.
    namespace: Vec<(String, String)>,
    /// The failures that a person expects.
    expectations: Expectations,
    /// The cluster and the day, which decide the expectations that apply.
    situation: Situation,
}

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    fn new(observe: O, signals: S, expectations: Expectations, situation: Situation) -> Self {
        Self {
            started: Instant::now(),
            observe,
            signals,
            tally: Tally::default(),
            not_run: BTreeSet::new(),
            iteration: None,
            ends: None,
            is_kept: false,
            circumstances: Circumstances { only_evaluated: true, ..Circumstances::default() },
            signals_received: 0,
            grace_end: None,
            broken_truths: BTreeMap::new(),
            namespace: Vec::new(),
            expectations,
            situation,
        }
    }

    /// Logs what is run, and against what.
    fn begin(
        &mut self,
        plan: &Plan,
        config: &RunConfig,
        facts: Option<&Facts>,
        summary: Vec<(String, String)>,
    ) {
        self.emit(EventKind::RunStarted(RunStarted {
            run: config.sandbox.run.clone(),
            version: build::version().to_owned(),
            profile: plan.profile.clone(),
            image: config.sandbox.image.clone(),
            cases: plan.entries.len(),
            is_part: plan.is_part,
            profile_cases: plan.profile_cases,
            planned: plan.entries.iter().map(|entry| entry.case.id.to_owned()).collect(),
            proofs: plan.proofs.clone(),
            cluster_id: facts.and_then(|facts| facts.cluster_id.value().cloned()),
            repeat: (config.repeat > 1).then_some(config.repeat),
            platform: facts.map(Platform::of),
            cluster: summary,
        }));
    }

    /// Finishes the cases that need no run.
    fn evaluate(&mut self, plan: &Plan, facts: &Facts) {
        for entry in &plan.entries {
            if let Some(CheckResult { checks, verdict }) = entry.evaluate(facts) {
                for check in checks {
                    self.emit(EventKind::TruthChecked { id: entry.case.id.to_owned(), check });
                }
                self.finish(&entry.case, verdict, 0);
            }
        }
    }

    /// Decides what the run came to, and logs it. `is_own` says whether the plan was the whole profile of
    /// the cluster.
    fn conclude(mut self, is_own: bool) -> Outcome {
        self.drain();
        let is_whole = is_own && !self.circumstances.only_evaluated;
        let expectations =
            self.expectations.report(&self.situation, &self.seen_by_expectations(), is_whole);
        self.circumstances.expectations_fail = expectations.fails_run();
        let outcome = self.tally.outcome(self.circumstances);
        let causes = self.tally.causes();
        let duration_ms = millis(self.started.elapsed());
        let namespace = std::mem::take(&mut self.namespace);
        self.emit(EventKind::RunFinished { outcome, duration_ms, causes, namespace, expectations });
        outcome
    }

    fn emit(&mut self, event: EventKind) {
        match &event {
            EventKind::TruthChecked { id, check } => {
                let broken = self.broken_truths.entry(id.clone()).or_default();
                if !check.holds {
                    broken.insert(check.name.clone());
                }
            }
            // What was seen before it was tried again proves nothing.
            EventKind::CaseRetried(retried) => drop(self.broken_truths.remove(&retried.id)),
            _ => {}
        }
        let event = Event { iteration: self.iteration, ..Event::now(event) };
        if let EventKind::CaseFinished(case) = &*event.event {
            self.tally.add(event.iteration, case);
        }
        (self.observe)(&event);
    }

    fn step(&mut self, step: Step, started: Instant, failure: Option<String>) {
        self.emit(EventKind::StepFinished(StepFinished {
            step,
            duration_ms: millis(started.elapsed()),
            failure,
            image_id: None,
        }));
    }

    fn finish(&mut self, case: &Case, verdict: Verdict, duration_ms: u64) {
        let verdict = match verdict {
            Verdict::Pass => prove(self.broken_truths.get(case.id)),
            other => other,
        };
        if verdict == Verdict::Pass && matches!(case.kind, CaseKind::Live(_)) {
            self.circumstances.only_evaluated = false;
            self.tally.act();
        }
        // Expectations see what the log has: they are written by people who read reports.
        let mut finished = finished(case, verdict, duration_ms);
        finished.verdict = self.expectations.decide(&self.situation, &finished);
        self.emit(EventKind::CaseFinished(finished));
    }

    /// Creates the sandbox, runs the cases, and removes everything again.
    async fn execute(&mut self, cluster: &Cluster, facts: Facts, plan: &Plan, config: &RunConfig) {
        self.sweep_own_expired(cluster, config).await;
        let before = self.snapshot(cluster, plan, config).await;
        if self.signals_received > 0 {
            // Nothing was created.
            for case in plan.runnable() {
                self.finish(case, Verdict::Interrupted, 0);
            }
            return;
        }
        let started = Instant::now();
        match self.provision(cluster, &facts, config).await {
            Some(Ok(sandbox)) => {
                self.step(Step::Provision, started, None);
                let sandbox = Arc::new(sandbox);
                let stage = Stage { sandbox: Arc::clone(&sandbox), facts: Arc::new(facts) };
                self.run_cases(stage, Pods::Made, plan, config).await;
                self.read_namespace(&sandbox).await;
            }
            Some(Err(error)) => {
                let message = error.to_string();
                self.step(Step::Provision, started, Some(message.clone()));
                self.circumstances.broken = true;
                for case in plan.live() {
                    let message = format!("the sandbox could not be made: {message}");
                    self.finish(case, Verdict::Error { message }, 0);
                }
            }
            None => {
                for case in plan.live() {
                    self.finish(case, Verdict::Interrupted, 0);
                }
            }
        }
        if self.keeps(config.keep) {
            self.is_kept = true;
            return self.leave(cluster, plan, config).await;
        }
        let mut audit = self.close(cluster, config).await;
        // Whoever is in a hurry does not wait for a comparison.
        if let Some(before) = before
            && self.grace_end.is_none()
        {
            let after = self.snapshot(cluster, plan, config).await;
            audit.comparison = after.map(|after| before.compare(&after));
        }
        self.audit(plan, &audit);
    }

    /// Reads what somebody else put into the run's namespace. Only now: whoever does so may take a
    /// moment after the namespace is there.
    async fn read_namespace(&mut self, sandbox: &Sandbox) {
        if self.signals_received > 0 {
            return;
        }
        let read = Restrictions::read(sandbox.user(), sandbox.namespace());
        let limited = tokio::time::timeout(RESTRICTIONS_DEADLINE, read);
        if let Some(Ok(found)) = self.unless_signalled(Box::pin(limited)).await {
            self.namespace = found.summary();
        }
    }

    /// What an audit compares; nothing is read that nobody asked for. None where a signal came first.
    async fn snapshot(
        &mut self,
        cluster: &Cluster,
        plan: &Plan,
        config: &RunConfig,
    ) -> Option<Snapshot> {
        plan.post_run().next()?;
        let with_sccs = config.sandbox.scc.is_some();
        self.unless_signalled(Box::pin(Snapshot::take(cluster.admin(), with_sccs))).await
    }

    /// What work comes to; none where a signal came first, and the work is given up.
    async fn unless_signalled<T>(&mut self, work: impl Future<Output = T> + Unpin) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            Some(signal) = self.signals.next() => {
                self.record_signal(signal);
                None
            }
        }
    }

    /// Creates the sandbox; none where a signal came first.
    async fn provision(
        &mut self,
        cluster: &Cluster,
        facts: &Facts,
        config: &RunConfig,
    ) -> Option<Result<Sandbox>> {
        let creating = Box::pin(Sandbox::create(cluster, facts, config.sandbox.clone()));
        self.unless_signalled(creating).await
    }

    /// Removes what earlier runs of the same owner have left that are over by now. That it can't is
    /// told, and is no reason not to run.
    async fn sweep_own_expired(&mut self, cluster: &Cluster, config: &RunConfig) {
        let started = Instant::now();
        let place = config.sandbox.home.lease_namespace();
        let which = Sweep::ExpiredOf(sandbox::owner());
        let sweep = Box::pin(sandbox::sweep(cluster.admin(), place, &which, &[], false));
        match self.unless_signalled(sweep).await {
            Some(Ok(swept)) if swept.is_empty() => {}
            Some(Ok(swept)) => {
                let failures: Vec<_> = swept.into_iter().filter_map(|run| run.failure).collect();
                let failure = (!failures.is_empty()).then(|| failures.join("; "));
                self.step(Step::Sweep, started, failure);
            }
            Some(Err(error)) => self.step(Step::Sweep, started, Some(error.to_string())),
            None => {}
        }
    }
}

/// The end of a case, cleaned as the log has it.
fn finished(case: &Case, verdict: Verdict, duration_ms: u64) -> CaseFinished {
    Redacted::from(CaseFinished {
        id: case.id.to_owned(),
        name: case.path(),
        suite: case.suite.to_owned(),
        title: case.title.to_owned(),
        level: case.level,
        verdict,
        duration_ms,
    })
    .into_inner()
}

/// A pass counts only with truth checks behind it that all hold. `broken` has those that do not; none
/// where no check was made.
fn prove(broken: Option<&BTreeSet<String>>) -> Verdict {
    match broken {
        Some(broken) if broken.is_empty() => Verdict::Pass,
        Some(broken) => {
            let broken: Vec<_> = broken.iter().map(String::as_str).collect();
            let broken = broken.join(", ");
            Verdict::fail(format!("a truth check does not hold: {broken}"), None)
        }
        None => Verdict::Error {
            message: "the case passed without a truth check, which proves nothing".to_owned(),
        },
    }
}

/// A duration as events have it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
