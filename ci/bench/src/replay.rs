//! The floor: a run's own pods, commands and requests, raw.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use harness::cluster::Cluster;
use serde::Serialize;
use tokio::{sync::OnceCell, task::JoinSet};

use crate::{
    Result,
    cluster::Flavour,
    play::{Made, Scene},
    raw::{Raw, Route},
    recording::Command,
    steps::{Action, Case, Script},
};

/// What a replay took, in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Taken {
    pub(crate) total: f64,
    /// Until all shared pods were ready.
    pub(crate) ready: f64,
    /// From then to the last command's end.
    pub(crate) commands: f64,
    /// From then to the namespace's end.
    pub(crate) teardown: f64,
    /// The answers to calls with another status than the run's: lane, its status, the replay's.
    pub(crate) differing: Vec<String>,
    /// How long the operator took for each workspace.
    pub(crate) workspaces: BTreeMap<String, f64>,
}

/// Where a replay takes place.
#[derive(Clone, Copy)]
pub(crate) struct Terrain {
    pub(crate) flavour: Flavour,
    /// The way of commands into pods.
    pub(crate) route: Route,
    /// How many cases run at once.
    pub(crate) jobs: usize,
}

/// What cases tell of a failure: it is that of all who wait for the same.
type Told<T> = std::result::Result<T, String>;

/// A pod that many wait for.
type ReadyPod = Shared<BoxFuture<'static, Told<Made>>>;

/// Replays a run: all shared pods at once, `jobs` cases at a time, the longest first; in a case its
/// commands and requests in order. Requests of no known case come beside them, as many lanes at a
/// time: most of them need no pod.
pub(crate) async fn replay(
    cluster: &Cluster,
    namespace: &str,
    terrain: Terrain,
    script: &Script,
) -> Result<Taken> {
    let started = Instant::now();
    let Terrain { flavour, route, jobs } = terrain;
    let made = Raw::create_whole(cluster, flavour, namespace, route, &script.namespaces);
    let (raw, grounds) = Box::pin(made).await?;
    let mut scene = Scene::new(grounds, namespace);
    scene.replace(&script.run, &script.home, script.namespaces.keys());
    scene.addresses.clone_from(&script.addresses);
    scene.for_workspaces.clone_from(&script.for_workspaces);
    scene.workspaces.clone_from(&script.workspaces);
    let scene = Arc::new(scene);
    let result = perform(&raw, &scene, script, jobs, started).await;
    let ended = started.elapsed().as_secs_f64();
    raw.delete_whole(&scene.grounds).await?;
    let total = started.elapsed().as_secs_f64();
    let ready = result?;
    let differing = scene.differing.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let waits = scene.waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (commands, teardown) = (ended - ready, total - ended);
    Ok(Taken { total, ready, commands, teardown, differing, workspaces: waits })
}

async fn perform(
    raw: &Raw,
    scene: &Arc<Scene>,
    script: &Script,
    jobs: usize,
    started: Instant,
) -> Result<f64> {
    let mut tasks = JoinSet::new();
    let mut pods: BTreeMap<String, ReadyPod> = BTreeMap::new();
    for call in script.pods.clone() {
        let (scene, name) = (Arc::clone(scene), call.name.clone());
        let ready = async move {
            let made = scene.pod(&call, true).await.map_err(|error| error.to_string())?;
            made.ok_or_else(|| format!("the pod `{}` was refused", call.name))
        };
        let ready = ready.boxed().shared();
        tasks.spawn(ready.clone().map(|ready| ready.map(drop)));
        pods.insert(name, ready);
    }
    let preparations = script.shared.iter();
    let player = Arc::new(Player {
        raw: raw.clone(),
        scene: Arc::clone(scene),
        pods: pods.clone(),
        shared: preparations
            .map(|(key, command)| (key.clone(), (command.clone(), OnceCell::new())))
            .collect(),
        waiting: Mutex::new(script.cases.clone().into()),
        lanes: Mutex::new(script.lanes.clone().into()),
    });
    for _ in 0..jobs {
        tasks.spawn(Arc::clone(&player).play());
        tasks.spawn(Arc::clone(&player).play_lanes());
    }
    for ready in pods.into_values() {
        ready.await?;
    }
    let ready = started.elapsed().as_secs_f64();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(ready)
}

struct Player {
    raw: Raw,
    scene: Arc<Scene>,
    pods: BTreeMap<String, ReadyPod>,
    shared: BTreeMap<String, (Command, OnceCell<()>)>,
    waiting: Mutex<VecDeque<Case>>,
    lanes: Mutex<VecDeque<Case>>,
}

impl Player {
    /// Plays one case after the other until none is left. As in a run, a case that waits for a pod
    /// keeps no other from running.
    async fn play(self: Arc<Self>) -> Told<()> {
        let is_ready = |case: &Case| {
            let mut pods = case.pods().into_iter().filter_map(|name| self.pods.get(name));
            pods.all(|pod| pod.peek().is_some())
        };
        while let Some(case) = next(&self.waiting, is_ready) {
            self.case(&case).await?;
        }
        Ok(())
    }

    /// Plays one lane after the other until none is left.
    async fn play_lanes(self: Arc<Self>) -> Told<()> {
        while let Some(lane) = next(&self.lanes, |_| true) {
            // Beside pods that are being made the shared ones would be ready later.
            for pod in self.pods.values() {
                pod.clone().await?;
            }
            self.case(&lane).await?;
        }
        Ok(())
    }

    async fn case(&self, case: &Case) -> Told<()> {
        let failed = |error: String| format!("{}: {error}", case.id);
        let mut own: BTreeMap<String, Made> = BTreeMap::new();
        let used = case.pods();
        for step in &case.steps {
            for key in &step.needs {
                if let Some((command, done)) = self.shared.get(key) {
                    done.get_or_try_init(|| self.run(command, &own)).await.map_err(failed)?;
                }
            }
            match &step.action {
                Action::Command(command) => self.run(command, &own).await.map_err(failed)?,
                Action::Call(call) => {
                    // What is asked about a pod or a workspace is asked when it is there.
                    let mut call = call.clone();
                    if let Some(pod) = self.pods.get(&call.name) {
                        let made = pod.clone().await?;
                        if call.kind.starts_with("update pods") {
                            call = Scene::change_of(&call, &made.pod).map_err(|e| e.to_string())?;
                        }
                    }
                    let call = &call;
                    let made = if call.makes_pod() {
                        self.scene.pod(call, used.contains(call.name.as_str())).await
                    } else {
                        Box::pin(self.scene.call(&case.id, call)).await
                    };
                    let made = made.map_err(|error| failed(format!("{}: {error}", call.kind)))?;
                    own.extend(made.map(|made| (call.name.clone(), made)));
                }
            }
        }
        Ok(())
    }

    async fn run(&self, command: &Command, own: &BTreeMap<String, Made>) -> Told<()> {
        let made = if let Some(made) = own.get(&command.pod) {
            made.clone()
        } else {
            let pod = self.pods.get(&command.pod).ok_or("a pod that nobody has made")?;
            pod.clone().await?
        };
        let known = &self.scene.known;
        let arguments: Vec<_> = command.arguments.iter().map(|text| known.apply(text)).collect();
        let client = self.scene.grounds.client(made.who).await.map_err(|e| e.to_string())?;
        let container = command.container.as_deref();
        let ended = self.raw.exec_as(client, &made.pod, container, &arguments).await;
        let ended = ended.map_err(|error| format!("`{}`: {error}", arguments.join(" ")))?;
        known.learn(&command.told, &ended.told);
        // A replay in which a command ends otherwise measures something else.
        if ended.exit == command.exit {
            return Ok(());
        }
        Err(format!("`{}` exited with {}, not {}", arguments.join(" "), ended.exit, command.exit))
    }
}

/// Takes the first that can begin, or else the first.
fn next(queue: &Mutex<VecDeque<Case>>, can_begin: impl Fn(&Case) -> bool) -> Option<Case> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let index = queue.iter().position(can_begin).unwrap_or_default();
    queue.remove(index)
}
