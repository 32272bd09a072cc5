//! The nodes that pods may be scheduled on, and how a pod gets devices there.

use std::{collections::BTreeMap, fmt};

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::{core::v1::Node as NodeObject, node::v1::RuntimeClass};
use kube::{Api, Client, ResourceExt, api::ListParams};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    DeviceRoute, Fact, Flavour, Gate, device,
    lookup::{Lookup, get_request},
    metrics,
};
use crate::cluster::{
    call, is_forbidden,
    permission::{Need, Rule, Rules, Scope, cluster, resource},
};

const WHY: &str = "Reads what the nodes, their kubelets and their runtimes support.";

pub(super) const PERMISSIONS: Rules = &[
    Rule { need: Need::Read, why: WHY, verbs: &["list"], targets: &[cluster("", "nodes")] },
    Rule {
        need: Need::Read,
        why: WHY,
        verbs: &["list"],
        targets: &[cluster("node.k8s.io", "runtimeclasses")],
    },
];

/// To read the kubelets' metrics. Roles have it only on demand: the API of a kubelet takes commands
/// for pods by the same right (kubernetes/website#54191).
pub(super) const PERMISSIONS_OF_METRICS: Rules = &[Rule {
    need: Need::Read,
    why: "Reads the feature gates of the kubelets from their metrics. The permission is not \
          read-only: the kubelet's API behind it also runs commands in any pod of the node, and \
          neither admission nor the audit log for `pods/exec` sees them.",
    verbs: &["get"],
    targets: &[resource(Scope::Cluster, "", "nodes", Some("proxy"))],
}];

/// Why the gates of the kubelets are not known to most users.
const METRICS_NOT_PERMITTED: &str =
    "the user may not read the kubelet's metrics (`get nodes/proxy`), and does not have to";

/// The name of the RuntimeClass that gives pods the devices, unless another one says so by
/// [`DEVICES_ANNOTATION`].
const DEVICES_RUNTIME_CLASS: &str = "nested";

/// A RuntimeClass with this annotation gives pods /dev/fuse and /dev/net/tun.
const DEVICES_ANNOTATION: &str = "nestcheck/devices";

/// How many kubelets are asked at once: each page is a connection from the API server to a node,
/// and some hundred kilobytes.
const KUBELETS_AT_ONCE: usize = 8;

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, which may be empty.
    pub value: String,
    /// Its effect, such as `NoSchedule`.
    pub effect: String,
}

impl Taint {
    /// Whether pods that do not tolerate it do not come to the node.
    #[must_use]
    pub fn keeps_pods_off(&self) -> bool {
        matches!(&*self.effect, "NoSchedule" | "NoExecute")
    }

    /// Whether somebody reserved the node with it. Those of the cluster itself, such as
    /// `node.kubernetes.io/not-ready`, come and go with the state of the node.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        let own = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];
        !own.iter().any(|prefix| self.key.starts_with(prefix))
    }
}

/// As `kubectl taint` and `--toleration` take it.
impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, effect } = self;
        if value.is_empty() {
            write!(f, "{key}:{effect}")
        } else {
            write!(f, "{key}={value}:{effect}")
        }
    }
}

/// A node that pods may be scheduled on.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Its kubelet's version.
    pub kubelet: String,
    /// Its container runtime and version, such as `containerd://2.4.2`.
    pub runtime: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its operating system's name.
    pub operating_system: String,
    /// Who made the machine, as `spec.providerID`, such as `kind://docker/kind/kind-worker`.
    pub provider_id: Option<String>,
    /// Whether it takes the pods of the run: they tolerate its taints `NoSchedule` and `NoExecute`.
    pub takes_pods: bool,
    /// Its labels.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    #[serde(skip)]
    pub taints: Vec<Taint>,
    /// Whether its default runtime handler can make user namespaces.
    pub user_namespaces: Fact<bool>,
    /// Whether its kubelet has the gate `UserNamespacesSupport` on. The other gates do nothing in
    /// a kubelet.
    pub kubelet_gate: Fact<bool>,
}

/// What was read about the nodes.
pub(super) struct Nodes {
    pub(super) nodes: Fact<Vec<Node>>,
    pub(super) device_route: Fact<Option<DeviceRoute>>,
}

/// Lists the nodes, then asks every kubelet for its metrics, and for RuntimeClasses only where
/// nothing speaks for the annotation by which CRI-O gives devices.
pub(super) async fn read_nodes(client: &Client, flavour: Flavour) -> Nodes {
    let api: Api<NodeObject> = Api::all(client.clone());
    let params = ListParams::default();
    let listed = call("list nodes", || api.list(&params)).boxed().await;
    let objects = listed.map(|list| {
        let schedulable = list.items.into_iter().filter(is_schedulable);
        schedulable.collect::<Vec<_>>()
    });
    let objects = match objects {
        Ok(objects) => objects,
        Err(error) => {
            let candidate = device::candidate(flavour, None);
            let device_route = route_or_ask(client, candidate, None).await;
            return Nodes { nodes: Fact::unknown(error.to_string()), device_route };
        }
    };
    let runtimes: Vec<_> = objects.iter().map(runtime_of).collect();
    let candidate = device::candidate(flavour, Some(&runtimes));
    let offered: Vec<_> = objects.iter().map(resources_of).collect();
    let by_plugin = device::resource_route(&offered);
    let (nodes, device_route) = tokio::join!(
        with_metrics(client, objects).boxed(),
        route_or_ask(client, candidate, by_plugin)
    );
    Nodes { nodes: Fact::known(nodes, "nodes"), device_route }
}

/// Asks every kubelet for its metrics; none but the first where the user may not.
async fn with_metrics(client: &Client, objects: Vec<NodeObject>) -> Vec<Node> {
    let mut others = objects.into_iter();
    let Some(first) = others.next() else { return Vec::new() };
    let page = kubelet_metrics(client, first.name_any()).await;
    let is_refused = page == Lookup::Failed(METRICS_NOT_PERMITTED.to_owned());
    let mut nodes = vec![parse_node(&first, &page)];
    if is_refused {
        nodes.extend(others.map(|object| parse_node(&object, &page)));
        return nodes;
    }
    let read = stream::iter(others).map(|object| async move {
        let page = kubelet_metrics(client, object.name_any()).await;
        parse_node(&object, &page)
    });
    nodes.extend(read.buffered(KUBELETS_AT_ONCE).collect::<Vec<_>>().await);
    nodes
}

async fn kubelet_metrics(client: &Client, node: String) -> Lookup<String> {
    let path = format!("/api/v1/nodes/{node}/proxy/metrics");
    let page = call("read the kubelet's metrics", || async {
        match client.request_text(get_request(&path)?).await {
            Err(error) if is_forbidden(&error) => Ok(None),
            answer => answer.map(Some),
        }
    });
    match page.boxed().await {
        Ok(Some(page)) => Lookup::Found(page),
        Ok(None) => Lookup::Failed(METRICS_NOT_PERMITTED.to_owned()),
        Err(error) => Lookup::Failed(error.to_string()),
    }
}

fn is_schedulable(node: &NodeObject) -> bool {
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    let windows = node.labels().get("kubernetes.io/os").is_some_and(|system| system != "linux");
    !unschedulable && !windows
}

fn taints_of(node: &NodeObject) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let taints = taints.map(|taint| Taint {
        key: taint.key.clone(),
        value: taint.value.clone().unwrap_or_default(),
        effect: taint.effect.clone(),
    });
    taints.collect()
}

fn runtime_of(node: &NodeObject) -> String {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.map(|info| info.container_runtime_version.clone()).unwrap_or_default()
}

fn parse_node(node: &NodeObject, kubelet_metrics: &Lookup<String>) -> Node {
    let status = node.status.clone().unwrap_or_default();
    let info = status.node_info.clone().unwrap_or_default();
    let handlers = status.runtime_handlers.unwrap_or_default();
    let default =
        handlers.into_iter().find(|handler| handler.name.as_deref().unwrap_or_default().is_empty());
    let user_namespaces = match default.and_then(|handler| handler.features?.user_namespaces) {
        Some(able) => Fact::known(able, "node status `runtimeHandlers`"),
        None => Fact::unknown("the node's status lists no features of its runtime handlers"),
    };
    let taints = taints_of(node);
    Node {
        name: node.name_any(),
        kubelet: info.kubelet_version,
        runtime: info.container_runtime_version,
        kernel: info.kernel_version,
        operating_system: info.os_image,
        provider_id: node.spec.as_ref().and_then(|spec| spec.provider_id.clone()),
        takes_pods: !taints.iter().any(Taint::keeps_pods_off),
        labels: node.labels().clone(),
        taints,
        user_namespaces,
        kubelet_gate: metrics::fact(kubelet_metrics, Gate::UserNamespacesSupport, "kubelet"),
    }
}

/// The names of the resources that a node offers.
fn resources_of(node: &NodeObject) -> Vec<String> {
    let status = node.status.as_ref();
    let allocatable = status.into_iter().flat_map(|status| status.allocatable.iter().flatten());
    allocatable.filter(|(_, count)| count.0 != "0").map(|(name, _)| name.clone()).collect()
}

/// How pods get devices: by the annotation where it is a candidate, by a RuntimeClass that offers
/// them, or by the resources of device plugins.
async fn route_or_ask(
    client: &Client,
    candidate: Option<Fact<DeviceRoute>>,
    by_plugin: Option<DeviceRoute>,
) -> Fact<Option<DeviceRoute>> {
    if let Some(route) = candidate {
        return route.map(Some);
    }
    let by_class = route_by_class(&read_runtime_classes(client).await);
    match (&by_class, by_plugin) {
        (Fact::Known { value: Some(_), .. }, _) | (_, None) => by_class,
        (_, Some(route)) => Fact::known(Some(route), "node status `allocatable`"),
    }
}

async fn read_runtime_classes(client: &Client) -> Lookup<Vec<RuntimeClass>> {
    let api: Api<RuntimeClass> = Api::all(client.clone());
    let params = ListParams::default();
    let listed = call("list RuntimeClasses", || api.list(&params)).boxed().await;
    listed.map(|list| list.items).into()
}

/// Where nothing speaks for the annotation a RuntimeClass may add the devices.
fn route_by_class(runtime_classes: &Lookup<Vec<RuntimeClass>>) -> Fact<Option<DeviceRoute>> {
    const PLACE: &str = "RuntimeClasses";
    runtime_classes.fact(PLACE, |classes| {
        let offers = |class: &&RuntimeClass| {
            class.name_any() == DEVICES_RUNTIME_CLASS
                || class.annotations().contains_key(DEVICES_ANNOTATION)
        };
        let route =
            classes.iter().find(offers).map(|class| DeviceRoute::RuntimeClass(class.name_any()));
        Fact::known(route, PLACE)
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus, NodeSystemInfo, Taint as TaintObject};
    use kube::api::ObjectMeta;

    use super::*;

    fn class(name: &str) -> RuntimeClass {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        RuntimeClass { metadata, ..RuntimeClass::default() }
    }

    #[test]
    fn a_runtime_class_offers_devices_by_name_or_annotation() {
        let mut other = class("devices");
        other.annotations_mut().insert(DEVICES_ANNOTATION.to_owned(), String::new());
        for (classes, route) in [
            (vec![class("kata"), class("nested")], Some("nested")),
            (vec![class("kata"), other], Some("devices")),
            (vec![class("kata")], None),
        ] {
            let expected = route.map(|name| DeviceRoute::RuntimeClass(name.to_owned()));
            assert_eq!(route_by_class(&Lookup::Found(classes)).value(), Some(&expected));
        }
        assert_eq!(route_by_class(&Lookup::Failed("403".into())).value(), None);
    }

    #[test]
    fn a_node_says_what_machine_it_is() {
        let object = NodeObject {
            spec: Some(NodeSpec {
                provider_id: Some("kind://docker/kind/kind-worker".into()),
                taints: Some(vec![taint("PreferNoSchedule")]),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus {
                node_info: Some(NodeSystemInfo {
                    container_runtime_version: "containerd://2.1.3".into(),
                    ..NodeSystemInfo::default()
                }),
                ..NodeStatus::default()
            }),
            ..NodeObject::default()
        };
        let node = parse_node(&object, &Lookup::Failed("403".into()));
        assert_eq!(node.provider_id.as_deref(), Some("kind://docker/kind/kind-worker"));
        assert_eq!(node.runtime, "containerd://2.1.3");
        assert_eq!(node.kubelet_gate, Fact::unknown("403"));
        assert_eq!(node.user_namespaces.value(), None);
        assert!(node.takes_pods);
        for effect in ["NoSchedule", "NoExecute"] {
            let spec = NodeSpec { taints: Some(vec![taint(effect)]), ..NodeSpec::default() };
            let tainted = NodeObject { spec: Some(spec), ..object.clone() };
            assert!(!parse_node(&tainted, &Lookup::Failed("403".into())).takes_pods, "{effect}");
        }
    }

    fn taint(effect: &str) -> TaintObject {
        let key = "example.com/reserved".into();
        TaintObject { key, effect: effect.into(), ..TaintObject::default() }
    }
}
