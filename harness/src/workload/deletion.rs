//! The deletion of single pods, before the end of the run.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::DeleteParams, runtime::wait::conditions};

use crate::{
    cluster::{call, watch_until},
    sandbox::Sandbox,
};

/// Deletes a pod of the ordinary user's that is not wanted any more.
pub(crate) async fn delete_pod(sandbox: &Sandbox, name: &str) {
    delete(&Api::namespaced(sandbox.user().clone(), sandbox.namespace()), name).await;
}

/// Deletes a pod of the ordinary user's and waits until it is gone, so that another one can have its
/// name. A pod that a controller would replace stays. False if it is still there after the limit.
pub(crate) async fn end_pod(sandbox: &Sandbox, name: &str, limit: Duration) -> bool {
    let api = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    end(&api, name, limit).await
}

async fn end(api: &Api<Pod>, name: &str, limit: Duration) -> bool {
    let found = match call("look at a pod of the first attempt", || api.get_opt(name)).await {
        Ok(Some(pod)) if !has_controller(&pod) => pod,
        Ok(_) => return true,
        Err(_) => return false,
    };
    delete(api, name).await;
    let uid = found.uid().unwrap_or_default();
    Box::pin(watch_until(api, name, conditions::is_deleted(&uid), limit)).await.is_ok()
}

fn has_controller(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.controller == Some(true))
}

/// Deletes a pod. It ends with its namespace otherwise, so nobody waits for that.
pub(super) async fn delete(api: &Api<Pod>, name: &str) {
    let params = DeleteParams::default();
    if let Err(error) = call("delete a pod", || api.delete(name, &params)).await {
        tracing::debug!(%error, "a pod stays until its namespace is deleted");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::{Client, client::Body};
    use serde_json::{Value, json};

    use super::*;

    /// Whether the pod of a server that has this one was ended, and what is left there.
    async fn ended(pod: Value) -> (bool, Option<Value>) {
        let pod = Arc::new(Mutex::new(Some(pod)));
        let stored = Arc::clone(&pod);
        let service = tower::service_fn(move |request: Request<Body>| {
            let mut pod = stored.lock().expect("nobody panics");
            let is_list = !request.uri().path().ends_with("/web");
            let status = if is_list || pod.is_some() { 200 } else { 404 };
            let answer = match (request.method(), is_list) {
                (&Method::DELETE, _) => pod.take().expect("it is deleted once"),
                (_, true) => json!({"apiVersion": "v1", "kind": "PodList",
                    "metadata": {"resourceVersion": "1"}, "items": Vec::from_iter(pod.clone())}),
                (_, false) => pod.clone().unwrap_or_else(|| {
                    json!({"kind": "Status", "status": "Failure", "code": 404,
                        "reason": "NotFound", "message": "not found"})
                }),
            };
            let body = Body::from(answer.to_string().into_bytes());
            let answer = Response::builder().status(status).body(body);
            std::future::ready(answer)
        });
        let api = Api::namespaced(Client::new(service, "n"), "n");
        let is_gone = end(&api, "web", Duration::from_secs(10)).await;
        let left = pod.lock().expect("nobody panics").take();
        (is_gone, left)
    }

    fn pod(owners: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "n",
            "uid": "u", "resourceVersion": "1", "ownerReferences": owners}})
    }

    #[tokio::test]
    async fn a_pod_is_gone_before_another_one_gets_its_name() {
        assert_eq!(ended(pod(&json!([]))).await, (true, None));
    }

    #[tokio::test]
    async fn a_pod_that_would_be_replaced_stays() {
        let owned = pod(&json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
            "uid": "r", "controller": true}]));
        assert_eq!(ended(owned.clone()).await, (true, Some(owned)));
    }
}
