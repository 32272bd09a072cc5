//! Reads the facts: all requests at once, nothing written.

use futures::FutureExt as _;
use http::Request;
use k8s_openapi::{
    api::{
        core::v1::{Container, Node as NodeObject, Pod, PodSpec, SecurityContext},
        node::v1::RuntimeClass,
    },
    apimachinery::pkg::{apis::meta::v1::APIGroupList, version::Info},
};
use kube::{
    Api, Client, Error as KubeError, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};

use super::{DeviceRoute, Fact, Facts, Flavour, Gate, KubernetesVersion, Node, metrics};
use crate::{
    Result,
    cluster::{Cluster, FIRST_CONTACT_DEADLINE, call, call_within},
    error::one_line,
};

/// The namespace of the dry runs; nothing is stored in it.
const DRY_RUN_NAMESPACE: &str = "default";

/// The name of the RuntimeClass that gives pods the devices, unless another one says so by
/// [`DEVICES_ANNOTATION`].
const DEVICES_RUNTIME_CLASS: &str = "nested";

/// A RuntimeClass with this annotation gives pods /dev/fuse and /dev/net/tun.
const DEVICES_ANNOTATION: &str = "nestcheck/devices";

/// Reads what the cluster is and can do. Writes nothing: its two creates are dry runs.
///
/// # Errors
///
/// A cluster that can't be reached or does not accept the caller at all; whatever else can't be
/// read is an unknown fact.
pub async fn gather(cluster: &Cluster) -> Result<Facts> {
    let client = cluster.admin();
    // One request that fails for every caller who is not let in, before the others fan out.
    let contact = format!("reach the cluster at {}", cluster.server());
    let ask = || get(client, "/apis");
    let groups: APIGroupList = call_within(FIRST_CONTACT_DEADLINE, &contact, ask).await?;
    let (version, server_metrics, host_users, proc_mount, nodes, runtime_classes) = tokio::join!(
        call("read the cluster's version", || get::<Info>(client, "/version")),
        text(client, "/metrics").boxed(),
        dry_run(client, pod_with(None)).boxed(),
        dry_run(client, pod_with(Some("Unmasked"))).boxed(),
        read_nodes(client).boxed(),
        read_runtime_classes(client).boxed(),
    );
    let nodes = nodes.unwrap_or_else(|error| Fact::unknown(error.to_string()));
    let device_route = device_route(&nodes, runtime_classes);
    Ok(Facts {
        server: cluster.server(),
        flavour: Fact::known(flavour(&groups), "API groups"),
        version: parse_version(&version?),
        keeps_host_users: keeps_host_users(host_users),
        keeps_proc_mount: keeps_proc_mount(proc_mount),
        server_user_namespaces_gate: listed(&server_metrics, Gate::UserNamespacesSupport),
        server_proc_mount_gate: listed(&server_metrics, Gate::ProcMountType),
        nodes,
        device_route,
    })
}

async fn get<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, KubeError> {
    client.request(get_request(path)?).await
}

async fn text(client: &Client, path: &str) -> Result<String, String> {
    let page =
        call("read metrics", || async move { client.request_text(get_request(path)?).await });
    page.await.map_err(|error| error.to_string())
}

fn get_request(path: &str) -> Result<Request<Vec<u8>>, KubeError> {
    Request::get(path).body(Vec::new()).map_err(KubeError::HttpError)
}

fn parse_version(info: &Info) -> KubernetesVersion {
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    KubernetesVersion { minor: digits.parse().unwrap_or_default(), full: info.git_version.clone() }
}

/// MicroShift serves routes and SCCs but not OpenShift's configuration API.
fn flavour(groups: &APIGroupList) -> Flavour {
    let has = |name: &str| groups.groups.iter().any(|group| group.name == name);
    if has("config.openshift.io") {
        Flavour::OpenShift
    } else if has("security.openshift.io") && has("route.openshift.io") {
        Flavour::MicroShift
    } else {
        Flavour::Kubernetes
    }
}

/// A pod that is only ever dry-run.
fn pod_with(proc_mount: Option<&str>) -> Pod {
    Pod {
        metadata: ObjectMeta {
            generate_name: Some("nestcheck-preflight-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            host_users: Some(false),
            automount_service_account_token: Some(false),
            containers: vec![Container {
                name: "preflight".to_owned(),
                image: Some("nestcheck.invalid/preflight".to_owned()),
                security_context: Some(SecurityContext {
                    proc_mount: proc_mount.map(str::to_owned),
                    ..SecurityContext::default()
                }),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

/// Creates the pod as a dry run and returns what the server would have stored, or its refusal.
async fn dry_run(client: &Client, pod: Pod) -> Result<Result<Pod, String>, String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), DRY_RUN_NAMESPACE);
    let params = PostParams { dry_run: true, field_manager: None };
    let answer = call("dry-run the creation of a pod", || async {
        match api.create(&params, &pod).await {
            Err(KubeError::Api(status)) if status.code == 422 => Ok(Err(one_line(&status.message))),
            answer => answer.map(Ok),
        }
    });
    answer.await.map_err(|error| error.to_string())
}

const DRY_RUN: &str = "dry-run create, read back";

fn keeps_host_users(answer: Result<Result<Pod, String>, String>) -> Fact<bool> {
    match answer {
        Ok(Ok(pod)) => {
            Fact::known(pod.spec.and_then(|spec| spec.host_users) == Some(false), DRY_RUN)
        }
        Ok(Err(refusal)) => Fact::unknown(format!("dry-run create of a pod: {refusal}")),
        Err(reason) => Fact::unknown(reason),
    }
}

fn keeps_proc_mount(answer: Result<Result<Pod, String>, String>) -> Fact<bool> {
    match answer {
        Ok(Ok(pod)) => {
            let kept = pod
                .spec
                .and_then(|spec| spec.containers.into_iter().next())
                .and_then(|container| container.security_context)
                .and_then(|context| context.proc_mount);
            Fact::known(kept.as_deref() == Some("Unmasked"), DRY_RUN)
        }
        // A server that drops `hostUsers` but keeps `procMount` refuses the two together.
        Ok(Err(refusal)) => Fact::unknown(format!("dry-run create of a pod: {refusal}")),
        Err(reason) => Fact::unknown(reason),
    }
}

fn listed(page: &Result<String, String>, gate: Gate) -> Fact<bool> {
    match page {
        Ok(page) => match metrics::gate(page, gate) {
            Some(on) => Fact::known(on, "API server metric `kubernetes_feature_enabled`"),
            None => Fact::unknown("the API server's metrics don't list the gate"),
        },
        Err(reason) => Fact::unknown(reason.clone()),
    }
}

async fn read_nodes(client: &Client) -> Result<Fact<Vec<Node>>> {
    let api: Api<NodeObject> = Api::all(client.clone());
    let params = ListParams::default();
    let nodes = call("list nodes", || api.list(&params)).await?;
    let schedulable = nodes.items.into_iter().filter(is_schedulable);
    let read = schedulable.map(|node| async move {
        let path = format!("/api/v1/nodes/{}/proxy/metrics", node.name_any());
        let page = text(client, &path).await;
        read_node(&node, &page)
    });
    Ok(Fact::known(futures::future::join_all(read).await, "nodes"))
}

fn is_schedulable(node: &NodeObject) -> bool {
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    let windows = node.labels().get("kubernetes.io/os").is_some_and(|system| system != "linux");
    !unschedulable && !windows
}

fn read_node(node: &NodeObject, kubelet_metrics: &Result<String, String>) -> Node {
    let status = node.status.clone().unwrap_or_default();
    let info = status.node_info.clone().unwrap_or_default();
    let handlers = status.runtime_handlers.unwrap_or_default();
    let default =
        handlers.into_iter().find(|handler| handler.name.as_deref().unwrap_or_default().is_empty());
    let user_namespaces = match default.and_then(|handler| handler.features?.user_namespaces) {
        Some(able) => Fact::known(able, "node status `runtimeHandlers`"),
        None => Fact::unknown("the node's status lists no features of its runtime handlers"),
    };
    let kubelet_gate = match kubelet_metrics {
        Ok(page) => match metrics::gate(page, Gate::UserNamespacesSupport) {
            Some(on) => Fact::known(on, "kubelet metric `kubernetes_feature_enabled`"),
            None => Fact::unknown("the kubelet's metrics don't list the gate"),
        },
        Err(reason) => Fact::unknown(reason.clone()),
    };
    Node {
        name: node.name_any(),
        kubelet: info.kubelet_version,
        runtime: info.container_runtime_version,
        kernel: info.kernel_version,
        operating_system: info.os_image,
        user_namespaces,
        kubelet_gate,
    }
}

async fn read_runtime_classes(client: &Client) -> Result<Vec<RuntimeClass>> {
    let api: Api<RuntimeClass> = Api::all(client.clone());
    let params = ListParams::default();
    Ok(call("list RuntimeClasses", || api.list(&params)).await?.items)
}

/// CRI-O understands the annotation; elsewhere a RuntimeClass may add the devices.
fn device_route(
    nodes: &Fact<Vec<Node>>,
    runtime_classes: Result<Vec<RuntimeClass>>,
) -> Fact<Option<DeviceRoute>> {
    if let Fact::Known { value: nodes, .. } = nodes
        && !nodes.is_empty()
        && nodes.iter().all(|node| node.runtime.starts_with("cri-o://"))
    {
        return Fact::known(Some(DeviceRoute::Annotation), "node status `nodeInfo`");
    }
    match runtime_classes {
        Ok(classes) => {
            let offers = |class: &&RuntimeClass| {
                class.name_any() == DEVICES_RUNTIME_CLASS
                    || class.annotations().contains_key(DEVICES_ANNOTATION)
            };
            let route = classes
                .iter()
                .find(offers)
                .map(|class| DeviceRoute::RuntimeClass(class.name_any()));
            Fact::known(route, "RuntimeClasses")
        }
        Err(error) => Fact::unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;

    use super::*;

    fn groups(names: &[&str]) -> APIGroupList {
        let group = |name: &&str| APIGroup { name: (*name).to_owned(), ..APIGroup::default() };
        APIGroupList { groups: names.iter().map(group).collect() }
    }

    #[test]
    fn a_flavour_is_known_by_its_api_groups() {
        let openshift = ["apps", "config.openshift.io", "security.openshift.io"];
        assert_eq!(flavour(&groups(&openshift)), Flavour::OpenShift);
        let microshift = ["apps", "route.openshift.io", "security.openshift.io"];
        assert_eq!(flavour(&groups(&microshift)), Flavour::MicroShift);
        assert_eq!(flavour(&groups(&["apps"])), Flavour::Kubernetes);
    }

    #[test]
    fn a_dropped_field_is_told_from_a_kept_one() {
        assert_eq!(keeps_host_users(Ok(Ok(pod_with(None)))).value(), Some(&true));
        assert_eq!(keeps_host_users(Ok(Ok(Pod::default()))).value(), Some(&false));
        assert_eq!(keeps_proc_mount(Ok(Ok(pod_with(Some("Unmasked"))))).value(), Some(&true));
        assert_eq!(keeps_proc_mount(Ok(Ok(pod_with(Some("Default"))))).value(), Some(&false));
    }

    #[test]
    fn what_could_not_be_read_is_unknown_and_never_false() {
        assert_eq!(keeps_host_users(Err("403".into())).value(), None);
        assert_eq!(keeps_proc_mount(Ok(Err("refused".into()))).value(), None);
        assert_eq!(listed(&Err("403".into()), Gate::ProcMountType).value(), None);
    }

    #[test]
    fn a_minor_version_may_carry_a_plus() {
        let info = Info { minor: "32+".into(), git_version: "v1.32.5".into(), ..Info::default() };
        assert_eq!(parse_version(&info).minor, 32);
    }
}
