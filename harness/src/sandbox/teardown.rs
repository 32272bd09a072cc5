//! The end of everything that a run created.

use std::time::Duration;

use futures::{StreamExt, future::BoxFuture, stream};
use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolumeClaim, Pod},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Preconditions},
    runtime::wait::conditions,
};
use serde::de::DeserializeOwned;

use super::{RUN_LABEL, Timeouts, given, ledger::Intents, scc, workspaces};
use crate::{
    Error, Result,
    cluster::{NotSeen, call, status_code, watch_until},
    sandbox::pod_template::TEMPLATE_LABEL,
};

/// How many namespaces are ended at once; a run has fewer.
const NAMESPACES_AT_ONCE: usize = 16;

/// An object of a run, as it is found in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedObject {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; none outside of namespaces.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether the run's ledger names it. What only carries the run's label is somebody else's,
    /// and is left alone.
    pub is_recorded: bool,
    pub(super) uid: String,
}

impl std::fmt::Display for OwnedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} `{namespace}/{}`", self.kind, self.name),
            None => write!(f, "{} `{}`", self.kind, self.name),
        }
    }
}

/// The kinds outside of namespaces that a run may create.
pub(super) const KINDS: [&str; 3] = ["Namespace", "ClusterRole", scc::KIND];

/// What carries a run's label outside of namespaces, namespaces among it; of a run in a given namespace
/// what carries it there.
///
/// # Errors
///
/// What the server refuses.
pub async fn find(admin: &Client, run: &str, intents: &Intents) -> Result<Vec<OwnedObject>> {
    if let Some(namespace) = intents.given_namespace() {
        return given::find(admin, namespace, run, intents).await;
    }
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let sccs: Api<DynamicObject> = Api::all_with(admin.clone(), &scc::api_resource());
    let (namespaces, roles, sccs) = tokio::try_join!(
        find_kind(&namespaces, "Namespace", run, intents),
        find_kind(&roles, "ClusterRole", run, intents),
        find_kind(&sccs, scc::KIND, run, intents),
    )?;
    Ok([namespaces, roles, sccs].concat())
}

/// A kind that the run was not to create is not asked for: it may not even be served.
async fn find_kind<K>(
    api: &Api<K>,
    kind: &'static str,
    run: &str,
    intents: &Intents,
) -> Result<Vec<OwnedObject>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    if !intents.has(kind) {
        return Ok(Vec::new());
    }
    let mine = ListParams::default().labels(&format!("{RUN_LABEL}={run}"));
    let what = format!("list the run's objects of kind {kind}");
    let found = call(&what, || api.list(&mine)).await?.items.into_iter().map(|object| {
        let name = object.name_any();
        let is_recorded = intents.contains(kind, None, &name);
        let uid = object.uid().unwrap_or_default();
        OwnedObject { kind, namespace: None, name, is_recorded, uid }
    });
    Ok(found.collect())
}

/// Deletes everything of a run and waits until it is gone.
///
/// It is found by the run's label, so that what was cut off while it was created is found too;
/// what the ledger does not name is left alone; and it is deleted by UID, so that nothing that took
/// its name in between is.
///
/// # Errors
///
/// A namespace that is still there at the deadline, with what the server says keeps it, or an
/// object that can't be deleted.
pub async fn teardown(
    admin: &Client,
    run: &str,
    intents: &Intents,
    timeouts: Timeouts,
) -> Result<()> {
    let found = find(admin, run, intents).await?;
    for object in &found {
        if object.is_recorded {
            tracing::debug!(run, %object, "deletes what the run recorded");
        } else {
            tracing::debug!(run, %object, "leaves what has the run's label but no record");
        }
    }
    if let Some(namespace) = intents.given_namespace() {
        return given::teardown(admin, namespace, run, intents, found, timeouts.teardown).await;
    }
    let ends: Vec<Result<()>> = stream::iter(found.into_iter().filter(|found| found.is_recorded))
        .map(|found| end(admin, run, found, timeouts.teardown))
        .buffer_unordered(NAMESPACES_AT_ONCE)
        .collect()
        .await;
    ends.into_iter().collect()
}

fn end<'a>(
    admin: &'a Client,
    run: &'a str,
    found: OwnedObject,
    limit: Duration,
) -> BoxFuture<'a, Result<()>> {
    let api_of_sccs = || Api::<DynamicObject>::all_with(admin.clone(), &scc::api_resource());
    match found.kind {
        "Namespace" => Box::pin(end_namespace(admin, run, found, limit)),
        "ClusterRole" => {
            Box::pin(async move { delete(&Api::<ClusterRole>::all(admin.clone()), &found).await })
        }
        _ => {
            let api = api_of_sccs();
            Box::pin(async move { delete(&api, &found).await })
        }
    }
}

pub(super) async fn delete<K>(api: &Api<K>, found: &OwnedObject) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = DeleteParams::default()
        .preconditions(Preconditions { uid: Some(found.uid.clone()), resource_version: None });
    call(&format!("delete {found}"), || async {
        match api.delete(&found.name, &params).await {
            // Gone already, or the name is another's by now.
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(()),
            other => other.map(drop),
        }
    })
    .await
}

async fn end_namespace(
    admin: &Client,
    run: &str,
    found: OwnedObject,
    limit: Duration,
) -> Result<()> {
    let name = &found.name;
    let api: Api<Namespace> = Api::all(admin.clone());
    // The namespace controller waits 5 s before it deletes anything, and as long again where that
    // takes its time; the pods, and the claims and workspaces that are kept until then, end
    // meanwhile.
    let workspaces = workspaces::workspace_resource();
    let workspaces = Api::<DynamicObject>::namespaced_with(admin.clone(), name, &workspaces);
    let (deleted, (), (), ()) = tokio::join!(
        delete(&api, &found),
        empty(Api::<Pod>::namespaced(admin.clone(), name), "pods"),
        empty(Api::<PersistentVolumeClaim>::namespaced(admin.clone(), name), "PVCs"),
        // The kind is served only where the DevWorkspace Operator is installed.
        empty(workspaces, "workspaces"),
    );
    deleted?;
    match watch_until(&api, name, conditions::is_deleted(&found.uid), limit).await {
        Ok(_) => Ok(()),
        Err(NotSeen::Broken(message)) => Err(Error::infrastructure(format!(
            "failed to watch the end of namespace `{name}`: {message}"
        ))),
        Err(NotSeen::Late) => {
            let rest = call("read what keeps the namespace", || api.get_opt(name)).await?;
            // It went while its end was not seen: the watch was broken.
            let Some(namespace) = rest.filter(|rest| rest.uid().as_ref() == Some(&found.uid))
            else {
                return Ok(());
            };
            let keeps = what_keeps(&namespace);
            Err(Error::infrastructure(format!(
                "namespace `{name}` is still there after {} s: {keeps}",
                limit.as_secs(),
            ))
            .with_hint(format!(
                "see what holds its content back, then `nestcheck sweep --run {run}`"
            )))
        }
    }
}

/// Deletes all objects of a kind in a namespace. What is left, the namespace controller deletes; it
/// only takes longer.
async fn empty<K>(api: Api<K>, what: &str)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let what = format!("delete the {what} of a namespace");
    let emptied = call(&what, || async {
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop)
    });
    if let Err(error) = emptied.await {
        tracing::debug!(%error, "not deleted before their namespace");
    }
}

/// Deletes a run's pods of some templates in a namespace, whoever looks at the others later.
///
/// # Errors
///
/// What the server refuses.
pub async fn end_pods(
    admin: &Client,
    namespace: &str,
    run: &str,
    templates: &[&str],
) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), namespace);
    let list = templates.join(",");
    let of_templates =
        ListParams::default().labels(&format!("{RUN_LABEL}={run},{TEMPLATE_LABEL} in ({list})"));
    let what = format!("delete the pods {} of `{namespace}`", templates.join(", "));
    call(&what, || async {
        pods.delete_collection(&DeleteParams::default(), &of_templates).await.map(drop)
    })
    .await
}

/// What the namespace controller says is still in the way.
fn what_keeps(namespace: &Namespace) -> String {
    let status = namespace.status.clone().unwrap_or_default();
    let messages = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .filter(|condition| condition.status == "True")
        .filter_map(|condition| condition.message);
    messages.collect::<Vec<_>>().join("; ")
}
