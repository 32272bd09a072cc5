//! The objects that everyone in the comparison makes: the same as nestcheck's.

use std::collections::BTreeMap;

use harness::{
    facts::DeviceRoute,
    sandbox::USER,
    shape::{FILES_VOLUME, Setting, Shape},
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

pub(crate) fn namespace(name: &str) -> Namespace {
    let level = |mode| (format!("pod-security.kubernetes.io/{mode}"), "privileged".to_owned());
    let labels = ["enforce", "audit", "warn"].map(level).into();
    let metadata = ObjectMeta { labels: Some(labels), ..named(name) };
    Namespace { metadata, ..Namespace::default() }
}

pub(crate) fn account() -> ServiceAccount {
    ServiceAccount {
        metadata: named(USER),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn key(path: &str) -> String {
    path.replace('/', "__")
}

pub(crate) fn files() -> ConfigMap {
    let files = fixtures::files().into_iter();
    let data: BTreeMap<_, _> =
        files.map(|file| (key(&file.path), ByteString(file.content))).collect();
    ConfigMap { metadata: named(FILES_VOLUME), binary_data: Some(data), ..ConfigMap::default() }
}

/// The pod of a shape, without a namespace.
pub(crate) fn pod(shape: &Shape) -> Result<Pod> {
    let keys: Vec<_> =
        fixtures::files().into_iter().map(|file| (key(&file.path), file.path)).collect();
    let mut pod = shape.pod(&Setting {
        namespace: "",
        run: "bench",
        image: IMAGE,
        device_route: Some(&DeviceRoute::RuntimeClass(RUNTIME_CLASS.to_owned())),
        files: &keys,
    })?;
    pod.metadata.namespace = None;
    Ok(pod)
}

/// The objects of the simplest workload as a file for the peers.
pub(crate) fn simplest() -> Result<String> {
    let list = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [account(), files(), pod(&fixtures::WORKSPACE)?],
    });
    Ok(list.to_string())
}
