//! The floor: a run's own pods and commands, raw.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use harness::{cluster::Cluster, shape::Shape};
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use tokio::{sync::OnceCell, task::JoinSet};

use crate::{
    Result,
    calls::{Calls, Lane},
    cluster::Flavour,
    objects,
    play::Scene,
    raw::{Raw, Route},
    recording::{Case, Command, Recording},
};

/// What a replay took, in seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Taken {
    pub(crate) total: f64,
    /// Until all pods were ready.
    pub(crate) ready: f64,
    /// From then to the last command's end.
    pub(crate) commands: f64,
    /// From then to the namespace's end.
    pub(crate) teardown: f64,
    /// The answers to calls with another status than the run's: lane, its status, the replay's.
    pub(crate) differing: Vec<String>,
}

/// Where a replay takes place.
#[derive(Clone, Copy)]
pub(crate) enum Terrain<'a> {
    /// Commands alone, by the administrator.
    Kubernetes(Route),
    /// Commands and calls, by the users that the run had.
    OpenShift(&'a Calls),
}

/// A pod that many wait for.
pub(crate) type ReadyPod = Shared<BoxFuture<'static, std::result::Result<Arc<Pod>, String>>>;

/// Replays a recording: all pods at once, `jobs` cases at a time, the longest first; in a case its
/// commands in order. Calls come beside them, as many lanes at a time: most of them need no pod.
pub(crate) async fn replay(
    cluster: &Cluster,
    namespace: &str,
    terrain: Terrain<'_>,
    recording: &Recording,
    jobs: usize,
) -> Result<Taken> {
    let started = Instant::now();
    let none = Calls::default();
    let (raw, calls) = match terrain {
        Terrain::Kubernetes(route) => (Raw::create(cluster, namespace, route).await?, &none),
        Terrain::OpenShift(calls) => {
            (Box::pin(Raw::on_openshift(cluster, namespace, calls)).await?, calls)
        }
    };
    let raw = Arc::new(raw);
    let result = commands(&raw, recording, calls, jobs, started).await;
    let ended = started.elapsed().as_secs_f64();
    raw.delete().await?;
    let total = started.elapsed().as_secs_f64();
    let (ready, differing) = result?;
    Ok(Taken { total, ready, commands: ended - ready, teardown: total - ended, differing })
}

async fn commands(
    raw: &Arc<Raw>,
    recording: &Recording,
    calls: &Calls,
    jobs: usize,
    started: Instant,
) -> Result<(f64, Vec<String>)> {
    let flavour = if raw.grounds().is_some() { Flavour::OpenShift } else { Flavour::Kubernetes };
    let mut tasks = JoinSet::new();
    let mut pods: BTreeMap<&'static str, ReadyPod> = BTreeMap::new();
    // The user of OpenShift may not make the control that is privileged.
    let is_allowed = |shape: &&Shape| flavour == Flavour::Kubernetes || !shape.is_dispensable();
    for shape in fixtures::ALL_SHAPES.into_iter().filter(is_allowed) {
        let (raw, pod) = (Arc::clone(raw), objects::pod(shape, flavour, raw.namespace())?);
        let ready =
            async move { raw.pod(&pod).await.map(Arc::new).map_err(|error| error.to_string()) };
        let ready = ready.boxed().shared();
        tasks.spawn(ready.clone().map(|ready| ready.map(drop)));
        pods.insert(shape.name, ready);
    }
    let images = recording.shared.iter();
    let player = Arc::new(Player {
        raw: Arc::clone(raw),
        pods: pods.clone(),
        images: images
            .map(|(image, build)| (image.clone(), (build.clone(), OnceCell::new())))
            .collect(),
        waiting: Mutex::new(recording.cases.clone().into()),
        original: calls.home.clone(),
        lanes: Mutex::new(calls.lanes.clone().into()),
        differing: Mutex::default(),
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
    let differing = player.differing.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((ready, differing))
}

struct Player {
    raw: Arc<Raw>,
    pods: BTreeMap<&'static str, ReadyPod>,
    images: BTreeMap<String, (Command, OnceCell<()>)>,
    waiting: Mutex<VecDeque<Case>>,
    original: String,
    lanes: Mutex<VecDeque<Lane>>,
    differing: Mutex<Vec<String>>,
}

impl Player {
    /// Plays one case after the other until none is left.
    async fn play(self: Arc<Self>) -> std::result::Result<(), String> {
        while let Some(case) = next(&self.waiting) {
            for step in &case.steps {
                for image in &step.images {
                    if let Some((build, done)) = self.images.get(image) {
                        done.get_or_try_init(|| self.run(build)).await?;
                    }
                }
                self.run(&step.command).await.map_err(|error| format!("{}: {error}", case.id))?;
            }
        }
        Ok(())
    }

    /// Plays one lane after the other until none is left.
    async fn play_lanes(self: Arc<Self>) -> std::result::Result<(), String> {
        let Some(grounds) = self.raw.grounds() else { return Ok(()) };
        let scene = Scene {
            raw: &self.raw,
            grounds,
            pods: &self.pods,
            original: &self.original,
            differing: &self.differing,
        };
        while let Some(lane) = next(&self.lanes) {
            for call in &lane.calls {
                let failed = |error| format!("{}: {call:?}: {error}", lane.name);
                scene.play(&lane.name, call).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn run(&self, command: &Command) -> std::result::Result<(), String> {
        // That one is made and asked by the administrator on OpenShift, whom nobody replays.
        if self.raw.grounds().is_some() && command.pod == fixtures::PRIVILEGED.name {
            return Ok(());
        }
        let pod = self.pods.get(command.pod.as_str()).ok_or("a pod of no known shape")?;
        let pod = pod.clone().await?;
        let exit = self.raw.exec(&pod, &command.arguments).await.map_err(|e| e.to_string())?;
        // A replay in which a command ends otherwise measures something else.
        if exit == command.exit {
            return Ok(());
        }
        Err(format!("`{}` exited with {exit}, not {}", command.arguments.join(" "), command.exit))
    }
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}
