//! How much longer `nestcheck sweep` takes for a killed run than the cluster takes for its pods.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use harness::{cluster::Cluster as Connected, sandbox::RUN_LABEL};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::process::Child;

use crate::{
    Result, child,
    cluster::Cluster,
    is_shared_pod,
    measure::Bench,
    raw::{self, is_ready},
    stats::Series,
};

/// How often a run is killed and swept, and another one is killed and deleted raw.
const ROUNDS: usize = 3;

/// How long the pods of a run may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(120);

impl Bench<'_> {
    /// Measures sweeps of killed runs, and the deletion of the same namespaces with raw API calls.
    pub(crate) async fn sweeps(&mut self, cluster: &Cluster) -> Result<()> {
        let connected = cluster.connect().await?;
        let [mut swept, mut plain, mut longer] = [(); 3].map(|()| Series::default());
        for round in 0..ROUNDS {
            Self::say(&format!("sweep of a killed run, {} of {ROUNDS}", round + 1));
            let run = self.kill(cluster, &connected, round).await?;
            let seconds = self.sweep(cluster, &connected, &run).await?;
            let run = self.kill(cluster, &connected, round).await?;
            let floor = delete_raw(&connected, &run).await?;
            // The objects that are in no namespace.
            self.sweep(cluster, &connected, &run).await?;
            swept.0.push(seconds);
            plain.0.push(floor);
            longer.0.push(seconds - floor);
        }
        let name = "sweep of a killed run − raw deletion of such a run's namespaces";
        self.figures.limited(name, longer.show(" s"), longer.median(), 10.0, " s");
        self.figures.plain("… `nestcheck sweep --run`", swept.show(" s"));
        let name = "… raw deletion of its namespaces and pods, until they are gone";
        self.figures.plain(name, plain.show(" s"));
        self.keep("sweeps", &json!({"swept": swept, "raw": plain}))
    }

    /// Starts a run of the whole profile, kills it when its pods are ready, and returns its id.
    async fn kill(&self, cluster: &Cluster, connected: &Connected, round: usize) -> Result<String> {
        let name = format!("killed-{round}");
        let mut command = cluster.program(&self.setup.nestcheck);
        let profile = self.setup.kind.flavour.name();
        command.args(["run", "--profile", profile, "--report-dir"]);
        command.arg(self.setup.output.join(&name));
        let mut child = begin(command, &self.log(&name))?;
        let ready = tokio::select! {
            ready = tokio::time::timeout(READY_DEADLINE, run_with_ready_pods(connected)) => ready?,
            ended = child.wait() => Err(format!("the run ended before its pods: {}", ended?).into()),
        };
        child.kill().await?;
        ready
    }

    async fn sweep(&self, cluster: &Cluster, connected: &Connected, run: &str) -> Result<f64> {
        let mut command = cluster.program(&self.setup.nestcheck);
        command.args(["sweep", "--run", run]);
        let usage = child::succeed(&self.log("sweep"), &command).await?;
        // A sweep that leaves something must not count as a fast one.
        match namespaces_of(connected, run).await?.first() {
            Some(namespace) => {
                Err(format!("`nestcheck sweep` left namespace `{namespace}`").into())
            }
            None => Ok(usage.wall),
        }
    }
}

/// The seconds that a raw client needs to delete a run's namespaces.
async fn delete_raw(connected: &Connected, run: &str) -> Result<f64> {
    let namespaces = namespaces_of(connected, run).await?;
    let names: Vec<_> = namespaces.iter().map(String::as_str).collect();
    let started = Instant::now();
    raw::delete(connected.admin(), &names).await?;
    Ok(started.elapsed().as_secs_f64())
}

async fn namespaces_of(connected: &Connected, run: &str) -> Result<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(connected.admin().clone());
    let of_run = ListParams::default().labels(&format!("{RUN_LABEL}={run}"));
    let found = namespaces.list(&of_run).await?;
    Ok(found.iter().map(ResourceExt::name_any).collect())
}

/// Starts a program that this one can kill itself.
fn begin(command: std::process::Command, log: &Path) -> Result<Child> {
    let output = File::create(log)?;
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    Ok(command.kill_on_drop(true).spawn()?)
}

/// Waits until the pods of known templates of the only run in the cluster are ready, and returns
/// the run's id. A run makes them all at once at its beginning, long before the first one is ready.
async fn run_with_ready_pods(connected: &Connected) -> Result<String> {
    let pods: Api<Pod> = Api::all(connected.admin().clone());
    let changes = watcher(pods, watcher::Config::default().labels(RUN_LABEL));
    let mut changes = changes.default_backoff().applied_objects().boxed();
    let mut known = BTreeMap::new();
    while let Some(pod) = changes.try_next().await? {
        // A case's own pod may be one that never starts.
        if is_shared_pod(&pod.name_any()) {
            known.insert(pod.name_any(), is_ready(&pod));
            if known.values().all(|is_ready| *is_ready) {
                return Ok(pod.labels().get(RUN_LABEL).cloned().unwrap_or_default());
            }
        }
    }
    Err("the watch of the run's pods ended".into())
}
