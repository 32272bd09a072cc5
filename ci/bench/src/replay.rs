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
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde::Serialize;
use tokio::{sync::OnceCell, task::JoinSet};

use crate::{
    Result, objects,
    raw::{Raw, Route},
    recording::{Case, Command, Recording},
};

/// What a replay took, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Taken {
    pub(crate) total: f64,
    /// Until all pods were ready.
    pub(crate) ready: f64,
    /// From then to the last command's end.
    pub(crate) commands: f64,
    /// From then to the namespace's end.
    pub(crate) teardown: f64,
}

type ReadyPod = Shared<BoxFuture<'static, std::result::Result<Arc<Pod>, String>>>;

/// Replays a recording: all pods at once, `jobs` cases at a time, the longest first; in a case its
/// commands in order.
pub(crate) async fn replay(
    client: &Client,
    namespace: &str,
    route: Route,
    recording: &Recording,
    jobs: usize,
) -> Result<Taken> {
    let started = Instant::now();
    let raw = Arc::new(Raw::create(client, namespace, route).await?);
    let result = commands(&raw, recording, jobs, started).await;
    let ended = started.elapsed().as_secs_f64();
    raw.delete().await?;
    let total = started.elapsed().as_secs_f64();
    let ready = result?;
    Ok(Taken { total, ready, commands: ended - ready, teardown: total - ended })
}

async fn commands(
    raw: &Arc<Raw>,
    recording: &Recording,
    jobs: usize,
    started: Instant,
) -> Result<f64> {
    let mut tasks = JoinSet::new();
    let mut pods: BTreeMap<&'static str, ReadyPod> = BTreeMap::new();
    for shape in fixtures::ALL_SHAPES {
        let (raw, pod) = (Arc::clone(raw), objects::pod(shape)?);
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
    });
    for _ in 0..jobs {
        tasks.spawn(Arc::clone(&player).play());
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
    raw: Arc<Raw>,
    pods: BTreeMap<&'static str, ReadyPod>,
    images: BTreeMap<String, (Command, OnceCell<()>)>,
    waiting: Mutex<VecDeque<Case>>,
}

impl Player {
    /// Plays one case after the other until none is left.
    async fn play(self: Arc<Self>) -> std::result::Result<(), String> {
        while let Some(case) = self.next() {
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

    fn next(&self) -> Option<Case> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn run(&self, command: &Command) -> std::result::Result<(), String> {
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
