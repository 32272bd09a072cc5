//! The sandbox of a run in a given namespace: what is created there, and how it ends.
//!
//! The kubeconfig's user is the user of the cases. Nothing is created but the pods, what they need, and
//! the run's record.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    runtime::wait::conditions,
};

use super::{
    AppliedScc, DevWorkspaces, OwnedObject, RUN_LABEL, Sandbox, SandboxConfig,
    create::{Creator, MCS},
    identities::Identities,
    ledger::{Intents, SECRET},
    secrets::end_secrets,
    teardown::delete,
};
use crate::{
    Error, Result,
    base::manifest,
    cluster::{Cluster, NotSeen, call, is_forbidden, watch_until},
    facts::Facts,
    sandbox::pod_template::PodTemplate,
};

/// The kinds that a run creates in a given namespace and finds again by its label. Secrets are ended by
/// their names: a run need not be able to list those of others.
pub(super) const KINDS: [&str; 4] = ["Pod", "PersistentVolumeClaim", "ConfigMap", "NetworkPolicy"];

/// How many objects are ended at once.
const AT_ONCE: usize = 16;

impl Sandbox {
    /// Creates the files of the pods in the given namespace.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub(super) async fn in_given(
        cluster: &Cluster,
        facts: &Facts,
        config: Arc<SandboxConfig>,
        scc: Option<String>,
        owner: Option<OwnerReference>,
    ) -> Result<Self> {
        let user = cluster.admin().clone();
        let creator = Creator { admin: user.clone(), config: Arc::clone(&config), owner };
        let namespace = creator.name();
        let ((), (), selinux_level) = tokio::try_join!(
            creator.files(&namespace),
            creator.pull_secret(&user, &namespace),
            selinux_level(&user, &namespace),
        )?;
        let scc = scc.map(|name| AppliedScc { name, differences: Vec::new() });
        let identities = Identities::of(cluster.clone(), creator.clone(), user);
        let workspaces = DevWorkspaces::new(creator.clone(), facts, None);
        Ok(Self::with(creator, facts, identities, workspaces, (scc, selinux_level)))
    }
}

impl PodTemplate {
    /// The names of the Secrets that the pod needs beside it.
    ///
    /// # Errors
    ///
    /// As [`Self::supporting_objects`].
    pub fn secrets(&self) -> Result<Vec<String>> {
        if self.is_workspace() {
            return Ok(Vec::new());
        }
        let objects: Vec<DynamicObject> = manifest::parse_rest(self.file, self.manifest)?;
        Ok(objects
            .iter()
            .filter(|it| is_secret(it))
            .filter_map(|it| it.metadata.name.clone())
            .collect())
    }
}

/// Whether an object is a Secret.
pub(super) fn is_secret(object: &DynamicObject) -> bool {
    object.types.as_ref().is_some_and(|types| types.kind == SECRET)
}

/// The SELinux level of a namespace; none where there is none, or the user may not read it.
async fn selinux_level(user: &Client, namespace: &str) -> Result<Option<String>> {
    let api: Api<Namespace> = Api::all(user.clone());
    let found = call("read the namespace", || async {
        match api.get(namespace).await {
            Err(error) if is_forbidden(&error) => Ok(None),
            found => found.map(Some),
        }
    });
    Ok(found.await?.and_then(|found| found.annotations().get(MCS).cloned()))
}

/// How the API serves a kind.
fn resource(kind: &str) -> ApiResource {
    let (group, plural) = match kind {
        "Pod" => ("", "pods"),
        "PersistentVolumeClaim" => ("", "persistentvolumeclaims"),
        "ConfigMap" => ("", "configmaps"),
        _ => ("networking.k8s.io", "networkpolicies"),
    };
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn api(user: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(user.clone(), namespace, &resource(kind))
}

/// What carries the run's label in the namespace.
///
/// # Errors
///
/// What the server refuses.
pub(super) async fn find(
    user: &Client,
    namespace: &str,
    run: &str,
    intents: &Intents,
) -> Result<Vec<OwnedObject>> {
    let mine = ListParams::default().labels(&format!("{RUN_LABEL}={run}"));
    let mut found = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| intents.has(kind)) {
        let api = api(user, namespace, kind);
        let what = format!("list the run's objects of kind {kind} in `{namespace}`");
        let list = call(&what, || api.list(&mine)).await?;
        found.extend(list.items.into_iter().map(|object| {
            let name = object.name_any();
            let is_recorded = intents.contains(kind, Some(namespace), &name);
            let uid = object.uid().unwrap_or_default();
            OwnedObject { kind, namespace: Some(namespace.to_owned()), name, is_recorded, uid }
        }));
    }
    Ok(found)
}

/// Deletes what was found and recorded, and the Secrets that the intents name, and waits until it is gone.
///
/// # Errors
///
/// What can't be deleted, or is still there after `limit`.
pub(super) async fn teardown(
    user: &Client,
    namespace: &str,
    run: &str,
    intents: &Intents,
    found: Vec<OwnedObject>,
    limit: Duration,
) -> Result<()> {
    let ends = stream::iter(found.into_iter().filter(|found| found.is_recorded))
        .map(|found| async move { end(user, namespace, run, &found, limit).await })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let secrets = end_secrets(user, namespace, intents);
    let (ends, secrets) = tokio::join!(ends, secrets);
    ends.into_iter().chain([secrets]).collect()
}

async fn end(
    user: &Client,
    namespace: &str,
    run: &str,
    found: &OwnedObject,
    limit: Duration,
) -> Result<()> {
    let api = api(user, namespace, found.kind);
    delete(&api, found).await?;
    // The others have nothing to wait for: no finalizer, and no program that ends.
    if !matches!(found.kind, "Pod" | "PersistentVolumeClaim") {
        return Ok(());
    }
    match watch_until(&api, &found.name, conditions::is_deleted(&found.uid), limit).await {
        Ok(_) => Ok(()),
        Err(NotSeen::Broken(message)) => {
            Err(Error::infrastructure(format!("failed to watch the end of {found}: {message}")))
        }
        Err(NotSeen::Late) => Err(Error::infrastructure(format!(
            "{found} is still there after {} s",
            limit.as_secs()
        ))
        .with_hint(format!(
            "see its finalizers and its events, then `nestcheck sweep --namespace {namespace} \
             --run {run}`"
        ))),
    }
}
