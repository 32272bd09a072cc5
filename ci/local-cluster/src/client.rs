//! The supervisor's requests to the Kubernetes API.

mod dynamic;
mod roles;

use std::{fmt::Debug, future::Future, path::Path, time::Duration};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, ServiceAccount},
    node::v1::RuntimeClass,
};
use kube::{
    Client, Config, Resource,
    api::{Api, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::{Condition, await_condition},
};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::{
    components::{CONTROLLER_MANAGER_PORT, SCHEDULER_PORT, kubelet},
    error::Error,
    network::Subnet,
    runtime::NESTED_HANDLER,
    timeout::scaled,
};

/// What the cluster-policy-controller gives to a namespace, and without which the admission of SCCs
/// admits no pod in it.
const RANGES: [&str; 3] = [
    "openshift.io/sa.scc.mcs",
    "openshift.io/sa.scc.supplemental-groups",
    "openshift.io/sa.scc.uid-range",
];

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// The time between two questions to an endpoint that has no event. The endpoints answer within
/// milliseconds on the same machine.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// The administrator of a cluster.
#[derive(Clone)]
pub struct Admin {
    config: Config,
    client: Client,
}

/// A server with a health endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    /// The API server.
    Apiserver,
    /// The controller manager.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// The kubelet.
    Kubelet,
}

impl Admin {
    /// The client itself.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Reads the identity from a kubeconfig.
    pub async fn from_kubeconfig(path: &Path) -> Result<Self, Error> {
        let read = || format!("read `{}`", path.display());
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| Error::api(read(), &error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| Error::api(read(), &error))?;
        let client = client(config.clone())?;
        Ok(Self { config, client })
    }

    /// Waits until a server says that it is healthy. The caller bounds the wait.
    pub async fn healthy(&self, server: Server, subnet: Subnet) -> Result<(), Error> {
        let (scheme, port, path) = match server {
            Server::Apiserver => ("https", crate::components::API_PORT, "readyz"),
            Server::ControllerManager => ("https", CONTROLLER_MANAGER_PORT, "healthz"),
            Server::Scheduler => ("https", SCHEDULER_PORT, "healthz"),
            Server::Kubelet => ("http", kubelet::HEALTH_PORT, "healthz"),
        };
        let address = format!("{scheme}://{}:{port}", subnet.node());
        let mut config = self.config.clone();
        config.cluster_url = address
            .parse()
            .map_err(|error| Error::other(format!("`{address}` is not an address: {error}")))?;
        let client = client(config)?;
        // There is no event for this, so poll.
        while !answers(&client, path).await {
            sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Makes the runtime class whose pods get `/dev/fuse` and `/dev/net/tun`.
    pub async fn create_runtime_class(&self) -> Result<(), Error> {
        let class = RuntimeClass {
            metadata: ObjectMeta { name: Some(NESTED_HANDLER.to_owned()), ..ObjectMeta::default() },
            handler: NESTED_HANDLER.to_owned(),
            ..RuntimeClass::default()
        };
        let api: Api<RuntimeClass> = Api::all(self.client.clone());
        bounded("create the runtime class", api.create(&PostParams::default(), &class)).await?;
        Ok(())
    }

    /// Waits until a node is ready. The caller bounds the wait.
    pub async fn node_ready(&self, name: &str) -> Result<(), Error> {
        let api = Api::all(self.client.clone());
        until(api, name, |node: Option<&Node>| node.is_some_and(is_ready)).await
    }

    /// Waits until the namespace `default` has its service account, without which it admits no pod.
    /// The caller bounds the wait.
    pub async fn default_service_account(&self) -> Result<(), Error> {
        let api = Api::namespaced(self.client.clone(), "default");
        until(api, "default", |account: Option<&ServiceAccount>| account.is_some()).await
    }

    /// Waits until the namespace `default` has its ranges of user ids. The caller bounds the wait.
    pub async fn default_namespace_ranges(&self) -> Result<(), Error> {
        let api = Api::all(self.client.clone());
        let has_all = |namespace: Option<&Namespace>| namespace.is_some_and(has_ranges);
        until(api, "default", has_all).await
    }
}

/// Waits with a watch until an object meets a condition.
async fn until<K>(api: Api<K>, name: &str, condition: impl Condition<K>) -> Result<(), Error>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource<DynamicType = ()> + 'static,
{
    let failed = |error| Error::api(format!("watch {} `{name}`", K::kind(&())), &error);
    await_condition(api, name, condition).await.map(drop).map_err(failed)
}

fn client(config: Config) -> Result<Client, Error> {
    Client::try_from(config).map_err(|error| Error::api("make a client", &error))
}

async fn answers(client: &Client, path: &str) -> bool {
    let Ok(request) = kube::core::Request::new("").get(path, &kube::api::GetParams::default())
    else {
        return false;
    };
    matches!(tokio::time::timeout(scaled(REQUEST), client.request_text(request)).await, Ok(Ok(_)))
}

/// Sends a request with a deadline.
pub async fn bounded<T>(
    action: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    let limit = scaled(REQUEST);
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| Error::api(action, &error)),
        Err(_) => Err(Error::deadline(format!("could not {action}"), limit)),
    }
}

fn has_ranges(namespace: &Namespace) -> bool {
    let annotations = namespace.metadata.annotations.as_ref();
    annotations.is_some_and(|found| RANGES.iter().all(|&range| found.contains_key(range)))
}

fn is_ready(node: &Node) -> bool {
    let conditions =
        node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(status: &str) -> Node {
        let node = json!({"metadata": {"name": "node"}, "status": {"conditions": [
            {"type": "MemoryPressure", "status": "False"},
            {"type": "Ready", "status": status},
        ]}});
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn a_namespace_needs_all_ranges() {
        let namespace = |names: &[&str]| -> Namespace {
            let annotations: serde_json::Map<_, _> =
                names.iter().map(|&name| (name.to_owned(), json!("x"))).collect();
            serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap()
        };
        assert!(has_ranges(&namespace(&RANGES)));
        assert!(!has_ranges(&namespace(&RANGES[..2])));
        assert!(!has_ranges(&Namespace::default()));
    }

    #[test]
    fn only_a_true_ready_condition_is_ready() {
        assert!(is_ready(&node("True")));
        assert!(!is_ready(&node("False")));
        assert!(!is_ready(&node("Unknown")));
        assert!(!is_ready(&Node::default()));
    }
}
