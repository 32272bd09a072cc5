//! Another client that writes to a run's objects while it runs.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use harness::{Error, Result, cluster::call_within, sandbox};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

const DEADLINE: Duration = Duration::from_secs(10);

/// What the other client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExternalWriter {
    /// Leaves an object with the run's label that nobody will delete.
    Litters,
    /// Sets the Pod Security level of the run's namespace, as OpenShift's syncer does.
    RelabelsNamespace,
}

/// A writer at work.
pub(crate) struct RunningWriter {
    run: Mutex<Option<oneshot::Sender<String>>>,
    task: JoinHandle<Result<Option<String>>>,
    client: Client,
}

impl ExternalWriter {
    /// Waits for the run's id, and then writes.
    pub(crate) fn watch(self, client: Client) -> RunningWriter {
        let (sender, receiver) = oneshot::channel::<String>();
        let own = client.clone();
        let task = tokio::spawn(async move {
            let Ok(run) = receiver.await else { return Ok(None) };
            match self {
                Self::Litters => litter(&own, &run).await.map(Some),
                Self::RelabelsNamespace => relabel(&own, &run).await.map(|()| None),
            }
        });
        RunningWriter { run: Mutex::new(Some(sender)), task, client }
    }
}

impl RunningWriter {
    /// Sends the run's id.
    pub(crate) fn send(&self, run: &str) {
        let mut waiting = self.run.lock();
        if let Some(sender) = waiting.take() {
            let _ = sender.send(run.to_owned());
        }
    }

    /// Waits until it has written, and deletes what it left.
    pub(crate) async fn stop(self) -> Result<()> {
        drop(self.run);
        let written = tokio::time::timeout(DEADLINE, self.task).await;
        let Ok(Ok(Ok(left))) = written else {
            let why = match written {
                Ok(Ok(Err(error))) => format!(": {error}"),
                _ => " within 10 s".to_owned(),
            };
            return Err(Error::infrastructure(format!("the external writer did not write{why}")));
        };
        let Some(name) = left else { return Ok(()) };
        let params = DeleteParams::default();
        call_within(DEADLINE, "delete what the external writer left", || {
            let api = namespaces(&self.client);
            let (name, params) = (name.clone(), params.clone());
            async move { api.delete(&name, &params).await }
        })
        .await
        .map(drop)
    }
}

fn namespace_kind() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"))
}

fn namespaces(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &namespace_kind())
}

/// A namespace with a run's label and a name that no run uses. Returns its name.
async fn litter(client: &Client, run: &str) -> Result<String> {
    let name = format!("mutants-litter-{run}");
    let mut namespace = DynamicObject::new(&name, &namespace_kind());
    namespace.metadata.labels = Some(sandbox::labels(run));
    let (api, params) = (namespaces(client), PostParams::default());
    call_within(DEADLINE, "create a leftover", || api.create(&params, &namespace)).await?;
    Ok(name)
}

/// Relabels the namespace as soon as it exists, which is before any case starts.
async fn relabel(client: &Client, run: &str) -> Result<()> {
    let api = namespaces(client);
    let name = sandbox::namespace_of(run);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = api.watch(&params, "0").await.map_err(|error| {
        Error::infrastructure(format!("failed to watch for the run's namespace: {error}"))
    })?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if let Ok(WatchEvent::Added(_)) = event {
            break;
        }
    }
    let labels = BTreeMap::from([("pod-security.kubernetes.io/enforce", "baseline")]);
    let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
    let params = PatchParams::default();
    call_within(DEADLINE, "relabel the run's namespace", || api.patch(&name, &params, &patch))
        .await
        .map(drop)
}
