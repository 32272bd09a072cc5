//! The objects that everyone in the comparison makes: the same as nestcheck's.

use std::collections::BTreeMap;

use harness::{
    facts::DeviceRoute,
    manifest,
    sandbox::USER,
    shape::{FILES_VOLUME, Setting, Shape},
};
use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        },
        core::v1::{ConfigMap, Namespace, Pod, PodTemplateSpec, ServiceAccount},
        rbac::v1::{ClusterRole, PolicyRule, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::api::{DynamicObject, ObjectMeta};
use serde_json::{Value, json};

use crate::{Result, cluster::Flavour};

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

/// The pod of a shape on a flavour, without a namespace; it asks for the SCC `constraint` where
/// there are any.
pub(crate) fn pod(shape: &Shape, flavour: Flavour, constraint: &str) -> Result<Pod> {
    let keys: Vec<_> =
        fixtures::files().into_iter().map(|file| (key(&file.path), file.path)).collect();
    let (route, constraint) = match flavour {
        Flavour::Kubernetes => (DeviceRoute::RuntimeClass(RUNTIME_CLASS.to_owned()), None),
        Flavour::OpenShift => (DeviceRoute::Annotation, Some(constraint)),
    };
    let mut pod = shape.pod(&Setting {
        namespace: "",
        run: "bench",
        image: IMAGE,
        device_route: Some(&route),
        files: &keys,
        constraint,
    })?;
    pod.metadata.namespace = None;
    Ok(pod)
}

/// The SCC that nestcheck brings along, under another name.
pub(crate) fn constraint(name: &str) -> Result<DynamicObject> {
    let fixtures::ConstraintText { file, text } = fixtures::NESTED_PODMAN;
    let mut object: DynamicObject = manifest::parse(file, text)?;
    object.metadata = named(name);
    for (field, value) in [("priority", Value::Null), ("users", json!([])), ("groups", json!([]))] {
        object.data[field] = value;
    }
    Ok(object)
}

/// The role to use an SCC of the same name.
pub(crate) fn use_of(constraint: &str) -> ClusterRole {
    let rule = PolicyRule {
        api_groups: Some(vec!["security.openshift.io".to_owned()]),
        resources: Some(vec!["securitycontextconstraints".to_owned()]),
        resource_names: Some(vec![constraint.to_owned()]),
        verbs: vec!["use".to_owned()],
        ..PolicyRule::default()
    };
    ClusterRole { metadata: named(constraint), rules: Some(vec![rule]), ..ClusterRole::default() }
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

/// The question whether one may use an SCC in a namespace.
pub(crate) fn review(namespace: &str, constraint: &str) -> SelfSubjectAccessReview {
    let attributes = ResourceAttributes {
        group: Some("security.openshift.io".to_owned()),
        resource: Some("securitycontextconstraints".to_owned()),
        name: Some(constraint.to_owned()),
        namespace: Some(namespace.to_owned()),
        verb: Some("use".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
}

/// A Deployment of a pod.
pub(crate) fn deployment(name: &str, pod: Pod) -> Deployment {
    let labels: BTreeMap<_, _> = [("bench/deployment".to_owned(), name.to_owned())].into();
    let metadata = ObjectMeta {
        annotations: pod.metadata.annotations,
        labels: Some(labels.clone()),
        ..ObjectMeta::default()
    };
    let mut spec = pod.spec.unwrap_or_default();
    spec.restart_policy = None;
    let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let template = PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) };
    let spec = DeploymentSpec { selector, template, ..DeploymentSpec::default() };
    Deployment { metadata: named(name), spec, ..Deployment::default() }
}

/// The objects of the simplest workload as a file for the peers.
pub(crate) fn simplest() -> Result<String> {
    let list = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [account(USER), files(), pod(&fixtures::WORKSPACE, Flavour::Kubernetes, "")?],
    });
    Ok(list.to_string())
}
