//! The deletion of single objects, before the end of the run.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject},
    core::ApiResource,
    runtime::wait::conditions,
};
use serde::de::DeserializeOwned;

use crate::{
    cluster::{call, watch_until},
    sandbox::Sandbox,
};

/// Deletes a pod of the ordinary user's that is not wanted any more.
pub(crate) async fn delete_pod(sandbox: &Sandbox, name: &str) {
    let api = Api::<Pod>::namespaced(sandbox.user().clone(), sandbox.namespace());
    delete(&api, name).await;
}

/// Deletes a pod of the ordinary user's and waits until it is gone, so that another one can have its
/// name. A pod that a controller would replace stays. False if it is still there after the limit.
pub(crate) async fn end_pod(sandbox: &Sandbox, name: &str, limit: Duration) -> bool {
    let api = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    end::<Pod>(&api, name, limit).await
}

/// As [`end_pod`], of another object in the run's namespace.
pub(crate) async fn end_object(
    sandbox: &Sandbox,
    resource: &ApiResource,
    name: &str,
    limit: Duration,
) -> bool {
    let (user, namespace) = (sandbox.user().clone(), sandbox.namespace());
    end::<DynamicObject>(&Api::namespaced_with(user, namespace, resource), name, limit).await
}

async fn end<K>(api: &Api<K>, name: &str, limit: Duration) -> bool
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let found = match call("look at an object of the first attempt", || api.get_opt(name)).await {
        Ok(Some(object)) if !has_controller(&object) => object,
        Ok(_) => return true,
        Err(_) => return false,
    };
    // What a controller made of it has to go first: its successor would find it.
    delete_with(api, name, &DeleteParams::foreground()).await;
    let uid = found.uid().unwrap_or_default();
    Box::pin(watch_until(api, name, conditions::is_deleted(&uid), limit)).await.is_ok()
}

fn has_controller(object: &impl Resource) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true))
}

/// Deletes an object. It ends with its namespace otherwise, so nobody waits for that.
pub(super) async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    delete_with(api, name, &DeleteParams::default()).await;
}

async fn delete_with<K>(api: &Api<K>, name: &str, params: &DeleteParams)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    if let Err(error) = call("delete an object", || api.delete(name, params)).await {
        tracing::debug!(%error, name, "stays until its namespace is deleted");
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
        let is_gone = end::<Pod>(&api, "web", Duration::from_secs(10)).await;
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
