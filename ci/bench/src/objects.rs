//! The objects that everyone in the comparison makes: the same as nestcheck's.

use std::collections::BTreeMap;

use harness::{
    facts::{DeviceRoute, own_architecture},
    sandbox::{
        File, Placement, USER,
        pod_template::{EntryPoint, FILES_VOLUME, PodTemplate, RenderContext},
    },
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount},
};
use kube::api::ObjectMeta;
use serde_json::json;

use crate::Result;

/// The image of the pods: the local cluster has it.
const IMAGE: &str = "localhost/workspace:1";

/// The local cluster's RuntimeClass for pods with devices.
const RUNTIME_CLASS: &str = "nested";

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// A namespace that admits privileged pods.
pub(crate) fn namespace(name: &str) -> Namespace {
    let mode = |mode| (format!("pod-security.kubernetes.io/{mode}"), "privileged".to_owned());
    let labels: BTreeMap<_, _> = ["enforce", "audit", "warn"].map(mode).into();
    let metadata = ObjectMeta { labels: Some(labels), ..named(name) };
    Namespace { metadata, ..Namespace::default() }
}

pub(crate) fn account(name: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: named(name),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn key(path: &str) -> String {
    path.replace('/', "__")
}

fn files_of_pods() -> impl Iterator<Item = File> {
    suites::fixtures::files().into_iter().filter(|file| file.is_for(own_architecture()))
}

pub(crate) fn files() -> ConfigMap {
    let data: BTreeMap<_, _> =
        files_of_pods().map(|file| (key(&file.path), ByteString(file.content))).collect();
    ConfigMap { metadata: named(FILES_VOLUME), binary_data: Some(data), ..ConfigMap::default() }
}

/// The pod of a template on Kubernetes, without a namespace.
pub(crate) fn pod(template: &PodTemplate) -> Result<Pod> {
    let keys: Vec<_> = files_of_pods().map(|file| (key(&file.path), file.path)).collect();
    let route = DeviceRoute::RuntimeClass(RUNTIME_CLASS.to_owned());
    let mut pod = template.pod(&RenderContext {
        namespace: "",
        run: "bench",
        image: IMAGE,
        device_route: Some(&route),
        files: &keys,
        scc: None,
        entry_point: EntryPoint::Skip,
        placement: &Placement::NONE,
    })?;
    pod.metadata.namespace = None;
    Ok(pod)
}

/// The objects of the simplest workload as a file for the peers.
pub(crate) fn simplest() -> Result<String> {
    let list = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [account(USER), files(), pod(&suites::fixtures::NESTED_POD)?],
    });
    Ok(list.to_string())
}
