//! How much longer `nestcheck sweep` takes for a killed run than the cluster takes for its pods.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, future::try_join_all};
use harness::{
    cluster::Cluster as Connected,
    sandbox::{RUN_LABEL, namespace_of},
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::process::Child;

use crate::{
    Result,
    audit::{self, Client},
    calls::{Calls, shared_template},
    child,
    cluster::Cluster,
    measure::Bench,
    play::Scene,
    raw::{Raw, Route, is_ready},
    stats::Series,
};

/// How often a run is killed and swept, and its pods are deleted raw, in turn.
const ROUNDS: usize = 3;

/// How long the pods of a run may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// A run that was killed, and the requests by which it made the pods that its cases share.
struct Killed {
    run: String,
    calls: Calls,
}

impl Bench<'_> {
    /// Measures sweeps of killed runs, and the end of a namespace with the same pods.
    pub(crate) async fn sweeps(&mut self, cluster: &Cluster) -> Result<()> {
        let connected = cluster.connect().await?;
        let [mut swept, mut plain, mut longer] = [(); 3].map(|()| Series::default());
        let mut pods = 0;
        for round in 0..ROUNDS {
            Self::say(&format!("sweep of a killed run, {} of {ROUNDS}", round + 1));
            let killed = self.kill(cluster, &connected, round).await?;
            let seconds = self.sweep(cluster, &connected, &killed).await?;
            pods = killed.calls.pods.len();
            let floor = self.delete_raw(&connected, round, &killed).await?;
            swept.0.push(seconds);
            plain.0.push(floor);
            longer.0.push(seconds - floor);
        }
        let name = "sweep of a killed run − raw deletion of the same pods";
        self.figures.limited(name, longer.show(" s"), longer.median(), 10.0, " s");
        self.figures.told("… `nestcheck sweep --run`", swept.show(" s"));
        let name =
            format!("… {pods} pods and their namespace by a raw client, until they are gone");
        self.figures.told(name, plain.show(" s"));
        self.keep("sweeps", &json!({"swept": swept, "raw": plain, "pods": pods}))
    }

    /// Begins a run of the whole profile and kills it when its pods are ready.
    async fn kill(&self, cluster: &Cluster, connected: &Connected, round: usize) -> Result<Killed> {
        let name = format!("killed-{round}");
        let mut command = cluster.program(&self.setup.nestcheck);
        let profile = self.setup.kind.flavour.name();
        command.args(["run", "--profile", profile, "--report-dir"]);
        command.arg(self.setup.output.join(&name));
        let mark = audit::mark(&cluster.audit_log)?;
        let mut child = begin(command, &self.log(&name))?;
        let ready = tokio::select! {
            ready = tokio::time::timeout(READY_DEADLINE, run_with_ready_pods(connected)) => ready?,
            ended = child.wait() => Err(format!("the run ended before its pods: {}", ended?).into()),
        };
        child.kill().await?;
        let run = ready?;
        let requests = audit::since(&cluster.audit_log, mark, Client::Agent("nestcheck/"))?;
        let calls = Calls::of(&run, &requests, &[]);
        Ok(Killed { run, calls })
    }

    async fn sweep(
        &self,
        cluster: &Cluster,
        connected: &Connected,
        killed: &Killed,
    ) -> Result<f64> {
        let mut command = cluster.program(&self.setup.nestcheck);
        command.args(["sweep", "--run", &killed.run]);
        let usage = child::succeed(&self.log("sweep"), &command).await?;
        let namespaces: Api<Namespace> = Api::all(connected.admin().clone());
        let namespace = namespace_of(&killed.run);
        // A sweep that leaves something must not count as a fast one.
        match namespaces.get_opt(&namespace).await? {
            Some(_) => Err(format!("`nestcheck sweep` left namespace `{namespace}`").into()),
            None => Ok(usage.wall),
        }
    }

    /// The seconds that a raw client needs to delete the pods and their namespace.
    async fn delete_raw(
        &self,
        connected: &Connected,
        round: usize,
        killed: &Killed,
    ) -> Result<f64> {
        let (name, flavour) = (format!("bench-sweep-{round}"), self.setup.kind.flavour);
        let others = BTreeMap::new();
        let made = Raw::create_whole(connected, flavour, &name, Route::Api, &others);
        let (raw, grounds) = Box::pin(made).await?;
        let mut scene = Scene::new(grounds, &name);
        scene.for_workspaces.clone_from(&killed.calls.for_workspaces);
        scene.replace(&killed.run, &killed.calls.home, killed.calls.namespaces.keys());
        let ready = try_join_all(killed.calls.pods.iter().map(|pod| scene.pod(pod, true))).await;
        let started = Instant::now();
        raw.delete_whole(&scene.grounds).await?;
        ready?;
        Ok(started.elapsed().as_secs_f64())
    }
}

/// Starts a program that this one can kill itself.
fn begin(command: std::process::Command, log: &Path) -> Result<Child> {
    let output = File::create(log)?;
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    Ok(command.kill_on_drop(true).spawn()?)
}

/// Waits until the pods of known templates of the only run in the cluster are ready, and returns the
/// run's id. A run makes them all at once at its beginning, long before the first one is ready.
async fn run_with_ready_pods(connected: &Connected) -> Result<String> {
    let pods: Api<Pod> = Api::all(connected.admin().clone());
    let changes = watcher(pods, watcher::Config::default().labels(RUN_LABEL));
    let mut changes = changes.default_backoff().applied_objects().boxed();
    let mut known = BTreeMap::new();
    while let Some(pod) = changes.try_next().await? {
        // A case's own pod may be one that never starts.
        if shared_template(&pod.name_any()).is_some() {
            known.insert(pod.name_any(), is_ready(&pod));
            if known.values().all(|is_ready| *is_ready) {
                return Ok(pod.labels().get(RUN_LABEL).cloned().unwrap_or_default());
            }
        }
    }
    Err("the watch of the run's pods ended".into())
}
