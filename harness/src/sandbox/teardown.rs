//! The end of everything that a run created.

use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Preconditions},
    runtime::wait::{await_condition, conditions},
};
use serde::de::DeserializeOwned;

use super::{RUN_LABEL, constraint};
use crate::{
    Error, Result,
    cluster::{call, status_code},
    retry,
};

/// How long the end of a namespace may take. The namespace controller alone waits 5 s before it
/// begins (kubernetes `pkg/controller/namespace`, `namespaceDeletionGracePeriod`).
const TEARDOWN_DEADLINE: Duration = Duration::from_secs(120);

/// How many namespaces are ended at once; a run has fewer.
const NAMESPACES_AT_ONCE: usize = 16;

/// Deletes everything of a run and waits until it is gone. `with_constraint` tells whether the run
/// brought an SCC along, and with it objects outside its namespaces.
///
/// Everything is found by the run's label, so that what was cut off while it was created is found
/// too, and deleted by its UID, so that nothing that took its name in between is.
///
/// # Errors
///
/// A namespace that is still there at the deadline, with what the server says keeps it, or an
/// object that can't be deleted.
pub async fn teardown(admin: &Client, run: &str, with_constraint: bool) -> Result<()> {
    let (namespaces, cluster_wide) = tokio::join!(end_namespaces(admin, run), async {
        if with_constraint { end_cluster_wide(admin, run).await } else { Ok(()) }
    });
    namespaces.and(cluster_wide)
}

fn of_run(run: &str) -> ListParams {
    ListParams::default().labels(&format!("{RUN_LABEL}={run}"))
}

fn by_uid(uid: String) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions { uid: Some(uid), resource_version: None })
}

async fn end_cluster_wide(admin: &Client, run: &str) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let constraints: Api<DynamicObject> = Api::all_with(admin.clone(), &constraint::api_resource());
    let (roles, constraints) = tokio::join!(
        delete_all(&roles, run, "ClusterRoles"),
        delete_all(&constraints, run, "security context constraints"),
    );
    roles.and(constraints)
}

async fn delete_all<K>(api: &Api<K>, run: &str, kinds: &str) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mine = of_run(run);
    let objects = call(&format!("list the run's {kinds}"), || api.list(&mine)).await?;
    for object in objects.items {
        let params = by_uid(object.uid().unwrap_or_default());
        let name = object.name_any();
        let what = format!("delete `{name}` of the run's {kinds}");
        let deleted = call(&what, || async {
            match api.delete(&name, &params).await {
                Err(error) if status_code(&error) == Some(404) => Ok(()),
                other => other.map(drop),
            }
        });
        deleted.await?;
    }
    Ok(())
}

async fn end_namespaces(admin: &Client, run: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(admin.clone());
    let mine = of_run(run);
    let namespaces = call("list the run's namespaces", || api.list(&mine)).await?;
    let ends: Vec<Result<()>> = stream::iter(namespaces.items)
        .map(|namespace| end(admin, namespace))
        .buffer_unordered(NAMESPACES_AT_ONCE)
        .collect()
        .await;
    ends.into_iter().collect()
}

async fn end(admin: &Client, namespace: Namespace) -> Result<()> {
    let name = namespace.name_any();
    let uid = namespace.uid().unwrap_or_default();
    let api: Api<Namespace> = Api::all(admin.clone());
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &name);
    let by_uid = by_uid(uid.clone());
    // The namespace controller waits 5 s before it deletes anything; the pods end meanwhile.
    let (deleted, emptied) = tokio::join!(
        call("delete the namespace", || async {
            match api.delete(&name, &by_uid).await {
                Err(error) if status_code(&error) == Some(404) => Ok(()),
                other => other.map(drop),
            }
        }),
        call("delete the pods", || async {
            pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await.map(drop)
        }),
    );
    deleted?;
    if let Err(error) = emptied {
        // The namespace controller deletes what is left; it only takes longer.
        tracing::debug!(%error, "the pods were not deleted before their namespace");
    }
    // `await_condition` ends with the first error of its watch; a broken connection is no leak.
    let gone = retry::with_backoff(
        TEARDOWN_DEADLINE,
        |_: &kube::runtime::wait::Error| Some(Duration::ZERO),
        || await_condition(api.clone(), &name, conditions::is_deleted(&uid)),
    );
    match tokio::time::timeout(TEARDOWN_DEADLINE, gone).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::infrastructure(format!(
            "failed to watch the end of namespace `{name}`: {error}"
        ))),
        Err(_elapsed) => {
            let rest = call("read what keeps the namespace", || api.get_opt(&name)).await?;
            Err(Error::infrastructure(format!(
                "namespace `{name}` is still there after {} s: {}",
                TEARDOWN_DEADLINE.as_secs(),
                rest.map_or_else(String::new, |namespace| what_keeps(&namespace))
            ))
            .with_hint(format!(
                "see what holds its content back, then `kubectl delete namespace -l {RUN_LABEL}={}`",
                run_of(&namespace)
            )))
        }
    }
}

fn run_of(namespace: &Namespace) -> String {
    namespace.labels().get(RUN_LABEL).cloned().unwrap_or_default()
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
