//! The objects that everyone in the comparison makes: the same as nestcheck's.

use std::collections::BTreeMap;

use harness::{
    facts::DeviceRoute,
    manifest,
    pod_template::{FILES_VOLUME, PodTemplate, RenderContext},
    sandbox::{USER, maps_of_workspaces},
};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{ConfigMap, Namespace, Pod, ServiceAccount},
        rbac::v1::{ClusterRole, PolicyRule, RoleBinding, RoleRef, Subject},
    },
};
use kube::api::{DynamicObject, ObjectMeta};
use serde_json::{Value, json};

use crate::Result;

/// The image of the pods: the local cluster has it.
const IMAGE: &str = "localhost/workspace:1";

/// The local cluster's RuntimeClass for pods with devices.
const RUNTIME_CLASS: &str = "nested";

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// A namespace that enforces a Pod Security level, and keeps it on OpenShift too.
pub(crate) fn namespace(name: &str, level: &str) -> Namespace {
    let enforce = |mode| (format!("pod-security.kubernetes.io/{mode}"), level.to_owned());
    let mut labels: BTreeMap<_, _> = ["enforce", "audit", "warn"].map(enforce).into();
    let synced = "security.openshift.io/scc.podSecurityLabelSync";
    labels.insert(synced.to_owned(), "false".to_owned());
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

pub(crate) fn files() -> ConfigMap {
    let files = fixtures::files().into_iter();
    let data: BTreeMap<_, _> =
        files.map(|file| (key(&file.path), ByteString(file.content))).collect();
    ConfigMap { metadata: named(FILES_VOLUME), binary_data: Some(data), ..ConfigMap::default() }
}

/// The pod of a template on Kubernetes, without a namespace.
pub(crate) fn pod(template: &PodTemplate) -> Result<Pod> {
    let keys: Vec<_> =
        fixtures::files().into_iter().map(|file| (key(&file.path), file.path)).collect();
    let route = DeviceRoute::RuntimeClass(RUNTIME_CLASS.to_owned());
    let mut pod = template.pod(&render("", &keys, Some(&route)))?;
    pod.metadata.namespace = None;
    Ok(pod)
}

/// What the pod of a template needs beside it.
pub(crate) fn supporting_objects(
    template: &PodTemplate,
    namespace: &str,
) -> Result<Vec<DynamicObject>> {
    Ok(template.supporting_objects(&render(namespace, &[], None))?)
}

fn render<'a>(
    namespace: &'a str,
    files: &'a [(String, String)],
    device_route: Option<&'a DeviceRoute>,
) -> RenderContext<'a> {
    RenderContext { namespace, run: "bench", image: IMAGE, device_route, files, scc: None }
}

/// The files of every pod for workspaces.
pub(crate) fn files_of_workspaces() -> Vec<ConfigMap> {
    maps_of_workspaces(&fixtures::files())
}

/// The SCC that nestcheck brings along, under another name.
pub(crate) fn scc(name: &str) -> Result<DynamicObject> {
    let fixtures::SccText { file, text } = fixtures::NESTED_PODMAN;
    let mut object: DynamicObject = manifest::parse(file, text)?;
    object.metadata = named(name);
    for (field, value) in [("priority", Value::Null), ("users", json!([])), ("groups", json!([]))] {
        object.data[field] = value;
    }
    Ok(object)
}

/// The role to use an SCC of the same name.
pub(crate) fn use_of(scc: &str) -> ClusterRole {
    let rule = PolicyRule {
        api_groups: Some(vec!["security.openshift.io".to_owned()]),
        resources: Some(vec!["securitycontextconstraints".to_owned()]),
        resource_names: Some(vec![scc.to_owned()]),
        verbs: vec!["use".to_owned()],
        ..PolicyRule::default()
    };
    ClusterRole { metadata: named(scc), rules: Some(vec![rule]), ..ClusterRole::default() }
}

/// Binds the users of the namespace `home` to a ClusterRole.
pub(crate) fn binding(name: &str, role: &str, home: &str, accounts: &[&str]) -> RoleBinding {
    let subject = |account: &&str| Subject {
        kind: "ServiceAccount".to_owned(),
        name: (*account).to_owned(),
        namespace: Some(home.to_owned()),
        ..Subject::default()
    };
    let role_ref = RoleRef {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "ClusterRole".to_owned(),
        name: role.to_owned(),
    };
    let subjects = Some(accounts.iter().map(subject).collect());
    RoleBinding { metadata: named(name), role_ref, subjects }
}

/// The objects of the simplest workload as a file for the peers.
pub(crate) fn simplest() -> Result<String> {
    let list = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [account(USER), files(), pod(&fixtures::NESTED_POD)?],
    });
    Ok(list.to_string())
}
