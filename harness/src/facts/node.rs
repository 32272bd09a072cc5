//! The nodes that pods may be scheduled on, and how a pod gets devices there.

use std::{collections::BTreeMap, fmt};

use futures::FutureExt as _;
use k8s_openapi::api::{core::v1::Node as NodeObject, node::v1::RuntimeClass};
use kube::{Api, Client, ResourceExt, api::ListParams};
use schemars::JsonSchema;
use serde::Serialize;

use super::{DeviceRoute, Fact, Flavour, device, kubelets, lookup::Lookup};
use crate::{
    Error, Result,
    cluster::{
        call,
        permission::{Need, Rule, Rules, cluster},
    },
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

/// The name of the RuntimeClass that gives pods the devices, unless another one says so by
/// [`DEVICES_ANNOTATION`].
const DEVICES_RUNTIME_CLASS: &str = "nested";

/// A RuntimeClass with this annotation gives pods /dev/fuse and /dev/net/tun.
const DEVICES_ANNOTATION: &str = "nestcheck/devices";

/// The annotation by which the machine-config-daemon says which rendered `MachineConfig` a node has
/// (machine-config-operator, `pkg/daemon/constants`).
const MACHINE_CONFIG: &str = "machineconfiguration.openshift.io/currentConfig";

/// How many nodes one answer lists. An object has some ten kilobytes, most of them the names of
/// its images.
const NODES_AT_ONCE: u32 = 250;

/// How many answers a list may have. Kubernetes is tested with 5000 nodes (kubernetes.io,
/// "Considerations for large clusters").
const MOST_CHUNKS: usize = 100;

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
    /// Its processor's architecture, as Go names it: `amd64`.
    pub architecture: String,
    /// The rendered `MachineConfig` that it has, such as `rendered-worker-0f3a`; none where it is in
    /// no `MachineConfigPool`.
    pub machine_config: Option<String>,
    /// Who made the machine, as `spec.providerID`, such as `kind://docker/kind/kind-worker`.
    pub provider_id: Option<String>,
    /// Whether it takes the pods of the run: they tolerate its taints `NoSchedule` and `NoExecute`.
    pub takes_pods: bool,
    /// Its labels.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
    /// Its taints; in a run only those that its pods do not tolerate.
    #[serde(skip)]
    pub taints: Vec<Taint>,
    /// Whether its default runtime handler can make user namespaces.
    pub user_namespaces: Fact<bool>,
    /// Whether its kubelet has the gate `UserNamespacesSupport` on. The other gates do nothing in
    /// a kubelet.
    pub kubelet_gate: Fact<bool>,
}

/// A node that no pod of a workspace comes to, whatever it tolerates.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct UnschedulableNode {
    /// The node's name.
    pub name: String,
    /// Why not.
    pub reason: String,
    /// Its labels.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
}

/// What was read about the nodes.
pub(super) struct Nodes {
    pub(super) schedulable: Fact<Vec<Node>>,
    pub(super) unschedulable: Vec<UnschedulableNode>,
    pub(super) device_route: Fact<Option<DeviceRoute>>,
}

/// What is kept of a list of nodes: of a thousand, the objects are some dozen megabytes.
#[derive(Default)]
struct Listed {
    nodes: Vec<Node>,
    unschedulable: Vec<UnschedulableNode>,
    /// The names of the resources that each of the nodes offers.
    offered: Vec<Vec<String>>,
}

impl Listed {
    fn add(&mut self, object: &NodeObject) {
        if let Some(reason) = why_unschedulable(object) {
            let labels = object.labels().clone();
            self.unschedulable.push(UnschedulableNode { name: object.name_any(), reason, labels });
        } else {
            self.nodes.push(parse_node(object));
            self.offered.push(resources_of(object));
        }
    }
}

/// Lists the nodes, then asks kubelets for their metrics, and for RuntimeClasses only where
/// nothing speaks for the annotation by which CRI-O gives devices.
pub(super) async fn read_nodes(client: &Client, flavour: Flavour) -> Nodes {
    let listed = match list(client).boxed().await {
        Ok(listed) => listed,
        Err(error) => {
            let candidate = device::candidate(flavour, None);
            let device_route = route_or_ask(client, candidate, None).await;
            let schedulable = Fact::unknown(error.to_string());
            return Nodes { schedulable, unschedulable: Vec::new(), device_route };
        }
    };
    let Listed { nodes, unschedulable, offered } = listed;
    let runtimes: Vec<_> = nodes.iter().map(|node| node.runtime.clone()).collect();
    let candidate = device::candidate(flavour, Some(&runtimes));
    let by_plugin = device::resource_route(&offered);
    let (nodes, device_route) = tokio::join!(
        kubelets::with_gates(client, nodes).boxed(),
        route_or_ask(client, candidate, by_plugin)
    );
    Nodes { schedulable: Fact::known(nodes, "nodes"), unschedulable, device_route }
}

/// Lists the nodes in chunks (kubernetes.io, "API concepts", "Retrieving large results sets in
/// chunks"), of which only one is in memory.
async fn list(client: &Client) -> Result<Listed> {
    let api: Api<NodeObject> = Api::all(client.clone());
    let mut params = ListParams::default().limit(NODES_AT_ONCE);
    let mut listed = Listed::default();
    for _ in 0..MOST_CHUNKS {
        let chunk = call("list nodes", || api.list(&params)).boxed().await?;
        chunk.items.iter().for_each(|object| listed.add(object));
        match chunk.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(listed),
        }
    }
    Err(Error::infrastructure("failed to list nodes: the list does not end"))
}

/// Why no pod of a workspace comes to a node; none for one that takes pods, at least those that
/// tolerate its taints.
fn why_unschedulable(node: &NodeObject) -> Option<String> {
    let system = node.labels().get("kubernetes.io/os").filter(|system| *system != "linux");
    if let Some(system) = system {
        return Some(format!("its operating system is {system}"));
    }
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    unschedulable.then(|| "it is cordoned (`spec.unschedulable`)".to_owned())
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

/// The node, before its kubelet was asked.
fn parse_node(node: &NodeObject) -> Node {
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
        architecture: info.architecture,
        machine_config: node.annotations().get(MACHINE_CONFIG).cloned(),
        provider_id: node.spec.as_ref().and_then(|spec| spec.provider_id.clone()),
        takes_pods: !taints.iter().any(Taint::keeps_pods_off),
        labels: node.labels().clone(),
        taints,
        user_namespaces,
        kubelet_gate: Fact::default(),
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
        let node = parse_node(&object);
        assert_eq!(node.provider_id.as_deref(), Some("kind://docker/kind/kind-worker"));
        assert_eq!(node.runtime, "containerd://2.1.3");
        assert_eq!(node.kubelet_gate.value(), None);
        assert_eq!(node.user_namespaces.value(), None);
        assert!(node.takes_pods);
        for effect in ["NoSchedule", "NoExecute"] {
            let spec = NodeSpec { taints: Some(vec![taint(effect)]), ..NodeSpec::default() };
            let tainted = NodeObject { spec: Some(spec), ..object.clone() };
            assert!(!parse_node(&tainted).takes_pods, "{effect}");
        }
    }

    #[test]
    fn a_node_that_no_pod_comes_to_is_kept_with_the_reason() {
        let mut listed = Listed::default();
        for (name, object) in [
            ("worker", serde_json::json!({})),
            ("cordoned", serde_json::json!({"spec": {"unschedulable": true}})),
            (
                "windows",
                serde_json::json!({"metadata": {"labels": {"kubernetes.io/os": "windows"}}}),
            ),
        ] {
            let mut object: NodeObject = serde_json::from_value(object).expect("it is a node");
            object.metadata.name = Some(name.to_owned());
            listed.add(&object);
        }
        let names: Vec<_> = listed.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!((names, listed.offered.len()), (vec!["worker"], 1));
        let others =
            listed.unschedulable.iter().map(|node| format!("{}: {}", node.name, node.reason));
        let others: Vec<_> = others.collect();
        assert_eq!(
            others,
            [
                "cordoned: it is cordoned (`spec.unschedulable`)",
                "windows: its operating system is windows",
            ]
        );
    }

    #[test]
    fn a_node_says_which_machine_config_it_has() {
        let annotations =
            BTreeMap::from([(MACHINE_CONFIG.to_owned(), "rendered-worker-1".to_owned())]);
        let metadata = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let node = parse_node(&NodeObject { metadata, ..NodeObject::default() });
        assert_eq!(node.machine_config.as_deref(), Some("rendered-worker-1"));
        assert_eq!(parse_node(&NodeObject::default()).machine_config, None);
    }

    fn taint(effect: &str) -> TaintObject {
        let key = "example.com/reserved".into();
        TaintObject { key, effect: effect.into(), ..TaintObject::default() }
    }
}
