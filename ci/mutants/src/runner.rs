//! Runs a scenario: the same engine and the same cases, with faults.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{Stream, StreamExt};
use harness::{
    Error, Result,
    cluster::{Cluster, ConnectOptions},
    engine::{
        Case, CaseKind, CheckResult, Profile, RunConfig,
        plan::{Filters, Plan, Selection},
    },
    facts::{self, Facts},
    sandbox::{Ledger, SandboxConfig, Timeouts},
    verdict::{
        Outcome,
        event::{Event, EventKind},
    },
};
use suites::session::{ChosenScc, Session};

use crate::{
    changes::ClusterChanges,
    evaluate::Observed,
    event_log::EventLog,
    inputs::RunInputs,
    scenario::{Scenario, Target},
    scenarios::SAMPLE,
};

/// The clusters that scenarios run on.
#[derive(Debug)]
pub(crate) struct Runner {
    /// The kubeconfig of a good cluster.
    pub(crate) kubeconfig: PathBuf,
    /// The kubeconfigs of broken ones, by name.
    pub(crate) broken: BTreeMap<String, PathBuf>,
    /// The image of the pods.
    pub(crate) image: String,
    /// Where the event logs go.
    pub(crate) folder: PathBuf,
}

/// How long a scenario may take. The run waits 30 s for a broken pod.
const DEADLINE: Duration = Duration::from_secs(300);

/// The verdict of each case, or the number of the signal that ended the run.
pub(crate) type Ran = ControlFlow<u8, Vec<Observed>>;

impl Runner {
    /// Runs a scenario. However it ends, also with a signal, the cluster is restored.
    ///
    /// # Errors
    ///
    /// The cluster can't be reached, or a fault can't be applied or undone.
    pub(crate) async fn run(
        &self,
        scenario: &Scenario,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<Ran> {
        let kubeconfig = match scenario.target {
            Target::Cluster => &self.kubeconfig,
            Target::OtherCluster(name) => self.broken.get(name).ok_or_else(|| {
                Error::usage(format!("`{}` needs the cluster `{name}`", scenario.name))
                    .with_hint(format!("give its kubeconfig with `--broken {name}=FILE`"))
            })?,
            Target::Facts(change) => {
                return self.run_static_checks(scenario, change, signals).await;
            }
        };
        let inputs = RunInputs::with(scenario.faults)?;
        let cluster = connect(kubeconfig).await?;
        let mut changes = ClusterChanges::none(cluster.admin().clone());
        let ran = self.run_on(cluster, scenario, inputs, &mut changes, signals).await;
        let undone = changes.undo().await;
        ran.and_then(|ran| undone.map(|()| ran))
    }

    async fn run_static_checks(
        &self,
        scenario: &Scenario,
        change: fn(&mut Facts),
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<Ran> {
        let mut facts = match self.facts(signals).await? {
            ControlFlow::Continue(facts) => facts,
            ControlFlow::Break(signal) => return Ok(Ran::Break(signal)),
        };
        change(&mut facts);
        let settled = settled(&facts, scenario)?.into_iter();
        let settled = settled.filter(|(case, _)| matches!(case.kind, CaseKind::Static(_)));
        Ok(Ran::Continue(settled.map(|(_, observed)| observed).collect()))
    }

    /// The cases of a scenario that are red on the good cluster before they run, or the number of a
    /// signal.
    ///
    /// # Errors
    ///
    /// The cluster can't be reached.
    pub(crate) async fn red_before(
        &self,
        scenario: &Scenario,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<ControlFlow<u8, Vec<String>>> {
        let facts = match self.facts(signals).await? {
            ControlFlow::Continue(facts) => facts,
            ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
        };
        let settled = settled(&facts, scenario)?.into_iter();
        let red = settled.map(|(_, observed)| observed).filter(Observed::is_red);
        Ok(ControlFlow::Continue(red.map(|observed| observed.id).collect()))
    }

    /// The facts of the good cluster.
    async fn facts(
        &self,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<ControlFlow<u8, Facts>> {
        let gathered = async { facts::gather(&connect(&self.kubeconfig).await?).await };
        tokio::select! {
            facts = gathered => facts.map(ControlFlow::Continue),
            Some(signal) = signals.next() => Ok(ControlFlow::Break(signal)),
        }
    }

    /// Applies the faults to the cluster and runs the cases. The caller undoes the changes.
    async fn run_on(
        &self,
        cluster: Cluster,
        scenario: &Scenario,
        inputs: RunInputs,
        changes: &mut ClusterChanges,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<Ran> {
        let admin = cluster.admin().clone();
        let writer = inputs.writer;
        let prepared = async {
            changes.make(&inputs).await?;
            self.prepare(cluster, scenario, inputs).await
        };
        let session = tokio::select! {
            session = prepared => session?,
            Some(signal) = signals.next() => return Ok(Ran::Break(signal)),
        };
        let mut log = EventLog::create(&self.folder.join(scenario.name))?;
        let writer = writer.map(|writer| writer.watch(admin));
        let mut observed = Vec::new();
        let observe = |event: &Event| {
            log.append(event);
            match &*event.event {
                EventKind::RunStarted(started) => {
                    if let Some(writer) = &writer {
                        writer.send(&started.run);
                    }
                }
                EventKind::CaseFinished(finished) => observed
                    .push(Observed { id: finished.id.clone(), verdict: finished.verdict.clone() }),
                _ => {}
            }
        };
        let outcome = session.run(signals, observe).await;
        let left = match writer {
            Some(writer) => writer.stop().await,
            None => Ok(()),
        };
        match outcome {
            Outcome::Interrupted { signal } => Ok(Ran::Break(signal)),
            _ => left.map(|()| Ran::Continue(observed)),
        }
    }

    async fn prepare(
        &self,
        cluster: Cluster,
        scenario: &Scenario,
        inputs: RunInputs,
    ) -> Result<Session> {
        let cases = inputs.cases();
        let selection = Selection { filters: filters(scenario, &cases)?, ..Selection::default() };
        let config = RunConfig::new(Some(self.image.clone()), inputs.files);
        let config = RunConfig {
            tries_blocked: matches!(scenario.target, Target::OtherCluster(_)),
            sandbox: SandboxConfig {
                run_timeout: DEADLINE,
                timeouts: Timeouts {
                    pod: Duration::from_secs(30),
                    teardown: Duration::from_secs(20),
                    ..Timeouts::default()
                },
                ledger: Ledger::at(self.folder.join(scenario.name).join("ledger.jsonl")),
                ..config.sandbox
            },
            ..config
        };
        let scc = inputs.scc.map(ChosenScc::Given);
        Session::prepare(cluster, &cases, selection, config, scc).await
    }
}

async fn connect(kubeconfig: &Path) -> Result<Cluster> {
    let kubeconfig = Some(kubeconfig.to_owned());
    Cluster::connect(&ConnectOptions { kubeconfig, ..ConnectOptions::default() }).await
}

fn filters(scenario: &Scenario, cases: &[Case]) -> Result<Filters> {
    let whole = scenario.cases.is_empty();
    let sample = if whole { &[] } else { SAMPLE };
    let filters: Vec<_> =
        scenario.cases.iter().chain(sample).map(|filter| (*filter).to_owned()).collect();
    Filters::parse(&filters, cases)
}

/// The verdicts that cases have before they run.
fn settled(facts: &Facts, scenario: &Scenario) -> Result<Vec<(Case, Observed)>> {
    let cases = suites::cases();
    let profile = facts.flavour.value().copied().map(Profile::of);
    let selection =
        Selection { profile, filters: filters(scenario, &cases)?, ..Selection::default() };
    let plan = Plan::new(selection.pick(&cases), facts, false).without_node_access();
    let settled = plan.entries.into_iter().filter_map(|entry| {
        let id = entry.case.id.to_owned();
        let result = entry.evaluate(facts);
        result.map(|CheckResult { verdict, .. }| (entry.case, Observed { id, verdict }))
    });
    Ok(settled.collect())
}
