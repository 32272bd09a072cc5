//! Plays a scenario: a run of the same engine and the same cases, with what is broken in it.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{Stream, StreamExt};
use harness::{
    Error, Result,
    case::{Case, CaseKind},
    cluster::{Cluster, ConnectOptions},
    diagnosis::evidence::Collector,
    engine::Keep,
    event::{Event, EventKind},
    facts::{self, Facts},
    outcome::Outcome,
    plan::{Filters, Plan, Selection},
    pod_template::PodTemplate,
    profile::Profile,
    sandbox::{File, Ledger, Scc, Timeouts},
};
use suites::session::{Session, SessionOptions};

use crate::{
    alteration::Alteration,
    damage::Damage,
    intruder::Intruder,
    log::Log,
    mutant::{Observed, Scenario, Stage},
    scenarios::SAMPLE,
};

/// What the cases are given: this is where things are broken.
#[derive(Debug)]
pub struct Props {
    /// The pods, by their names.
    pub templates: BTreeMap<&'static str, PodTemplate>,
    /// Cases that send a pod and look at none, each with the pod's name: they send this one then.
    pub lent: Vec<(&'static str, &'static str)>,
    /// The files of every pod.
    pub files: Vec<File>,
    /// The SCC that pods are admitted by; none for nestcheck's own.
    pub scc: Option<Scc>,
    /// Objects of the cluster that are there while the cases run, as manifests.
    pub objects: Vec<&'static str>,
    /// Objects that the cluster has, and what is done to them while the cases run.
    pub changes: Vec<Alteration>,
    /// Who meddles with the run from outside.
    pub intruder: Option<Intruder>,
}

impl Props {
    fn whole() -> Self {
        let all = fixtures::ALL_TEMPLATES.iter().chain([&&fixtures::DEVWORKSPACE]);
        let templates = all.map(|template| (template.name, **template)).collect();
        let files = fixtures::files();
        Self {
            templates,
            lent: Vec::new(),
            files,
            scc: None,
            objects: Vec::new(),
            changes: Vec::new(),
            intruder: None,
        }
    }

    /// Changes a pod: each text must be in its manifest, so that no change gets lost in silence.
    ///
    /// # Errors
    ///
    /// There is no such pod, or no such text.
    pub fn edit(
        &mut self,
        name: &str,
        changes: &[(&str, &str)],
        also: impl FnOnce(&mut PodTemplate),
    ) -> Result<()> {
        let template = self
            .templates
            .get_mut(name)
            .ok_or_else(|| Error::usage(format!("there is no pod `{name}` to break")))?;
        let mut manifest = template.manifest.to_owned();
        for (from, to) in changes {
            if !manifest.contains(from) {
                return Err(Error::usage(format!("{} has no `{from}` to break", template.file)));
            }
            manifest = manifest.replace(from, to);
        }
        // A few kilobytes of a process that soon ends; templates are made at compile time elsewhere.
        template.manifest = manifest.leak();
        also(template);
        Ok(())
    }

    /// Adds a file of every pod, or puts another in its place.
    pub fn put(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.retain(|file| file.path != path);
        self.files.push(File { path: path.to_owned(), content: content.into() });
    }

    /// The same cases with these pods.
    fn cases(&self) -> Vec<Case> {
        // A few kilobytes of a process that soon ends.
        let ours = |name| self.templates.get(name).map(|template| &*Box::leak(Box::new(*template)));
        let templates = |case: &Case| -> &'static [&'static PodTemplate] {
            let listed = case.pods.iter().map(|template| ours(template.name).unwrap_or(template));
            let lent = self.lent.iter().filter(|(id, _)| *id == case.id);
            listed.chain(lent.filter_map(|(_, name)| ours(name))).collect::<Vec<_>>().leak()
        };
        let cases = suites::cases().into_iter();
        cases.map(|case| Case { pods: templates(&case), ..case }).collect()
    }
}

/// The clusters that scenarios are played on.
#[derive(Debug)]
pub struct Theatre {
    /// The kubeconfig of a good cluster.
    pub kubeconfig: PathBuf,
    /// The kubeconfigs of broken ones, by name.
    pub broken: BTreeMap<String, PathBuf>,
    /// The image of the pods.
    pub image: String,
    /// Where the event logs go.
    pub folder: PathBuf,
}

/// How long a scenario may take: a broken pod is waited for no longer than 30 s.
const DEADLINE: Duration = Duration::from_secs(300);

/// What each case came to, or the number of the signal that broke it off.
pub type Played = ControlFlow<u8, Vec<Observed>>;

impl Theatre {
    /// Plays a scenario and tells what each case came to. However it ends, also by a signal, the
    /// cluster is made as it was.
    ///
    /// # Errors
    ///
    /// The cluster can't be reached, or a change can't be made or undone.
    pub async fn play(
        &self,
        scenario: &Scenario,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<Played> {
        match scenario.stage {
            Stage::Cluster(change) => {
                let props = change(Props::whole())?;
                self.run(&self.kubeconfig, scenario, props, signals).await
            }
            Stage::Elsewhere(name) => {
                let kubeconfig = self.broken.get(name).ok_or_else(|| {
                    Error::usage(format!("`{}` needs the cluster `{name}`", scenario.name))
                        .with_hint(format!("give its kubeconfig with `--broken {name}=FILE`"))
                })?;
                self.run(kubeconfig, scenario, Props::whole(), signals).await
            }
            Stage::Facts(change) => {
                let mut facts = match self.facts(signals).await? {
                    ControlFlow::Continue(facts) => facts,
                    ControlFlow::Break(signal) => return Ok(Played::Break(signal)),
                };
                change(&mut facts);
                let is_judge = |case: &Case| matches!(case.kind, CaseKind::Static(_));
                let settled = settled(&facts, scenario)?.into_iter();
                let settled = settled.filter(|(case, _)| is_judge(case));
                Ok(Played::Continue(settled.map(|(_, observed)| observed).collect()))
            }
        }
    }

    /// The cases of a scenario that are red on the good cluster before they run, or the number of a
    /// signal.
    ///
    /// # Errors
    ///
    /// The cluster can't be reached.
    pub async fn red_before(
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

    /// What was read of the good cluster.
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

    async fn run(
        &self,
        kubeconfig: &Path,
        scenario: &Scenario,
        props: Props,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<Played> {
        let cluster = connect(kubeconfig).await?;
        let mut damage = Damage::none(cluster.admin().clone());
        let played = self.act(cluster, scenario, props, &mut damage, signals).await;
        let undone = damage.undo().await;
        played.and_then(|played| undone.map(|()| played))
    }

    /// Breaks the cluster and runs the cases. What is broken is left to the caller to undo.
    async fn act(
        &self,
        cluster: Cluster,
        scenario: &Scenario,
        props: Props,
        damage: &mut Damage,
        signals: &mut (impl Stream<Item = u8> + Unpin),
    ) -> Result<Played> {
        let admin = cluster.admin().clone();
        let intruder = props.intruder;
        let prepared = async {
            damage.inflict(&props).await?;
            self.prepare(cluster, scenario, props).await
        };
        let session = tokio::select! {
            session = prepared => session?,
            Some(signal) = signals.next() => return Ok(Played::Break(signal)),
        };
        let mut log = Log::create(&self.folder.join(scenario.name))?;
        let intruder = intruder.map(|intruder| intruder.watch(admin));
        let mut observed = Vec::new();
        let observe = |event: &Event| {
            log.append(event);
            match &*event.event {
                EventKind::RunStarted(started) => {
                    if let Some(intruder) = &intruder {
                        intruder.tell(&started.run);
                    }
                }
                EventKind::CaseFinished(finished) => observed
                    .push(Observed { id: finished.id.clone(), verdict: finished.verdict.clone() }),
                _ => {}
            }
        };
        let outcome = session.run(signals, observe).await;
        let left = match intruder {
            Some(intruder) => intruder.leave().await,
            None => Ok(()),
        };
        match outcome {
            Outcome::Interrupted { signal } => Ok(Played::Break(signal)),
            _ => left.map(|()| Played::Continue(observed)),
        }
    }

    async fn prepare(
        &self,
        cluster: Cluster,
        scenario: &Scenario,
        props: Props,
    ) -> Result<Session> {
        let cases = props.cases();
        let selection =
            Selection { profile: None, filters: filters(scenario, &cases)?, shard: None };
        let options = SessionOptions {
            image: self.image.clone(),
            jobs: 4,
            deadline: DEADLINE,
            timeouts: Timeouts { pod: Duration::from_secs(30), teardown: Duration::from_secs(20) },
            keep: Keep::Never,
            runs_blocked: matches!(scenario.stage, Stage::Elsewhere(_)),
            devices: None,
            node_access: false,
            diagnostics: Collector::nowhere(),
            ledger: Ledger::at(self.folder.join(scenario.name).join("ledger.jsonl")),
            scc: props.scc,
            files: props.files,
        };
        Session::prepare(cluster, &cases, selection, options).await
    }
}

async fn connect(kubeconfig: &Path) -> Result<Cluster> {
    let kubeconfig = Some(kubeconfig.to_owned());
    Cluster::connect(&ConnectOptions { kubeconfig, context: None }).await
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
    let selection = Selection { profile, filters: filters(scenario, &cases)?, shard: None };
    let plan = Plan::new(selection.pick(&cases), facts, false).without_node_access();
    let settled = plan.entries.into_iter().filter_map(|entry| {
        let id = entry.case.id.to_owned();
        entry.settled.map(|verdict| (entry.case, Observed { id, verdict }))
    });
    Ok(settled.collect())
}
