//! Claims of storage, and pods that use them.

use std::time::Duration;

use harness::{
    cluster::{NotSeen, watch_until},
    engine::{Context, PodHandle},
    verdict::{CaseResult, Failure},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject},
    runtime::wait::conditions,
};
use serde_json::json;

use super::request;

/// How long a pod may take to end: a second of grace, and its volumes are unmounted.
const END: Duration = Duration::from_secs(60);

/// Claims storage as the ordinary user, of the default class where none is named.
///
/// # Errors
///
/// The server refuses the claim.
pub async fn pvc(cx: &Context, name: &str, access: &str, class: Option<&str>) -> CaseResult {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": [access],
            "resources": {"requests": {"storage": "64Mi"}},
        },
    });
    if let Some(class) = class {
        object["spec"]["storageClassName"] = class.into();
    }
    let object: DynamicObject = serde_json::from_value(object)
        .map_err(|error| Failure::harness(format!("the PVC cannot be created: {error}")))?;
    cx.create_in_namespace(object).await
}

/// The pod with this claim in the place of every other.
#[must_use]
pub fn keep_on(mut pod: Pod, pvc: &str) -> Pod {
    let volumes = pod.spec.iter_mut().flat_map(|spec| spec.volumes.iter_mut().flatten());
    for source in volumes.filter_map(|volume| volume.persistent_volume_claim.as_mut()) {
        pvc.clone_into(&mut source.claim_name);
    }
    pod
}

/// The pod on the node of another one.
#[must_use]
pub fn on_node_of(pod: Pod, other: &PodHandle) -> Pod {
    on_node(pod, other.node().unwrap_or_default())
}

/// The pod on the node of this name. Not by `nodeName`, which goes past the scheduler, without which
/// some claims never get their volume.
#[must_use]
pub fn on_node(mut pod: Pod, node: &str) -> Pod {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [field]}],
    }}});
    // It is of this form, so it is an affinity.
    pod.spec.get_or_insert_default().affinity = serde_json::from_value(affinity).ok();
    pod
}

/// Deletes a pod as the ordinary user and waits until it is gone.
///
/// # Errors
///
/// The server refuses, or the pod stays.
pub async fn delete_pod(cx: &Context, pod: &PodHandle) -> CaseResult {
    let (sandbox, name) = (cx.sandbox(), pod.name());
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let params = DeleteParams::default();
    request(&format!("delete pod `{name}`"), || async {
        match api.delete(&name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    })
    .await?;
    wait_for_end(cx, pod, END).await
}

/// Waits until a pod that is being deleted is gone, and no longer than `limit`. The kubelet has unmounted
/// its volumes then.
///
/// # Errors
///
/// The pod stays, or the API server does not answer.
pub async fn wait_for_end(cx: &Context, pod: &PodHandle, limit: Duration) -> CaseResult {
    let (sandbox, name) = (cx.sandbox(), pod.name());
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let uid = pod.object().metadata.uid.clone().unwrap_or_default();
    match Box::pin(watch_until(&api, &name, conditions::is_deleted(&uid), limit)).await {
        Ok(_) => Ok(()),
        Err(NotSeen::Broken(message)) => {
            Err(Failure::lost(format!("failed to watch the end of pod `{name}`: {message}")))
        }
        Err(NotSeen::Late) => Err(Failure::product(format!(
            "the pod `{name}` is still there {} s after it was deleted",
            limit.as_secs()
        ))),
    }
}

/// Whether a provisioner's name says that its volumes lie on NFS.
#[must_use]
pub fn is_nfs(provisioner: &str) -> bool {
    let is_word = |word: &str| word.eq_ignore_ascii_case("nfs");
    provisioner.split(|c: char| !c.is_ascii_alphanumeric()).any(is_word)
}
