//! The DevWorkspace Operator itself, as its Deployment shows it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::super::{Fact, items, lookup::Lookup, text};
use crate::cluster::permission::{Need, Rule, Rules, cluster};

pub(crate) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: "Reads whether the DevWorkspace Operator runs, and which service account needs `use` on \
          the run's own SCC. Without it the run has no workspace cases.",
    verbs: &["list"],
    targets: &[cluster("apps", "deployments")],
}];

/// The labels of the operator's Deployment, as a query (devworkspace-operator,
/// `deploy/templates/components/manager`).
pub(super) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments?labelSelector=\
    app.kubernetes.io%2Fname%3Ddevworkspace-controller%2C\
    app.kubernetes.io%2Fpart-of%3Ddevworkspace-operator";

/// The DevWorkspace Operator.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct WorkspaceOperator {
    /// Its namespace.
    pub namespace: String,
    /// The service account that it acts as.
    pub account: String,
    /// Its image.
    pub image: String,
    /// Major and minor version, where the image's tag tells, or the bundle that OLM installed.
    pub version: Option<(u32, u32)>,
    /// Whether a pod of it is ready.
    pub is_available: bool,
}

impl WorkspaceOperator {
    fn parse(object: &Value) -> Self {
        let of_pod = |field: &str| text(object, &format!("/spec/template/spec/{field}"));
        let image = of_pod("containers/0/image").unwrap_or_default();
        let available = object.pointer("/status/availableReplicas").and_then(Value::as_u64);
        Self {
            namespace: text(object, "/metadata/namespace").unwrap_or_default().to_owned(),
            account: of_pod("serviceAccountName").unwrap_or("default").to_owned(),
            image: image.to_owned(),
            version: version(image).or_else(|| bundle(text(object, OWNER)?)),
            is_available: available.is_some_and(|pods| pods > 0),
        }
    }
}

/// The label by which OLM says of a Deployment which bundle it belongs to. Bundles name their images
/// by digests, so that their tags tell nothing (devworkspace-operator, `olm-catalog/release-digest`;
/// operator-lifecycle-manager, `pkg/lib/ownerutil`).
const OWNER: &str = "/metadata/labels/olm.owner";

/// The version in an image's tag, such as `v0.42.0`.
fn version(image: &str) -> Option<(u32, u32)> {
    let (_, tag) = image.split('@').next()?.rsplit('/').next()?.split_once(':')?;
    numbers(tag.trim_start_matches('v'))
}

/// The version in the name of a bundle, such as `devworkspace-operator.v0.41.0`.
fn bundle(name: &str) -> Option<(u32, u32)> {
    name.split_once(".v").and_then(|(_, version)| numbers(version))
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The operator of a cluster that serves its API.
pub(super) fn operator(deployments: &Lookup<Value>) -> Fact<WorkspaceOperator> {
    deployments.fact("Deployments", |list| match items(list, "/items").next() {
        Some(object) => Fact::known(WorkspaceOperator::parse(object), "Deployments"),
        None => Fact::unknown("no Deployment has the labels of the DevWorkspace Operator"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_read_from_the_tag() {
        assert_eq!(
            version("registry.example/devfile/devworkspace-controller:v0.42.0"),
            Some((0, 42))
        );
        assert_eq!(version("localhost:5000/controller:1.2.3"), Some((1, 2)));
        assert_eq!(version("registry.example/devfile/devworkspace-controller@sha256:0042"), None);
        assert_eq!(version("registry.example/devfile/devworkspace-controller:next"), None);
    }

    #[test]
    fn the_bundle_has_the_version_of_an_image_that_is_named_by_digest() {
        let of = |image: &str, owner: &str| {
            let object = json!({
                "metadata": {"labels": {"olm.owner": owner}},
                "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
            });
            WorkspaceOperator::parse(&object).version
        };
        let digest = "registry.example/devworkspace/controller@sha256:0042";
        assert_eq!(of(digest, "devworkspace-operator.v0.41.0"), Some((0, 41)));
        assert_eq!(of(digest, "devworkspace-operator.v0.38.0-0.1758000000.p"), Some((0, 38)));
        assert_eq!(of(digest, "devworkspace-operator"), None);
        let tagged = "registry.example/devworkspace/controller:v0.42.0";
        assert_eq!(of(tagged, "devworkspace-operator.v0.41.0"), Some((0, 42)));
        assert_eq!(of("controller:next", "devworkspace-operator.v0.41.0"), Some((0, 41)));
    }

    #[test]
    fn an_operator_without_a_ready_pod_is_not_available() {
        let of = |status: Value| {
            let object = json!({
                "metadata": {"namespace": "operators", "name": "devworkspace-controller-manager"},
                "spec": {"template": {"spec": {
                    "serviceAccountName": "devworkspace-controller-serviceaccount",
                    "containers": [{"image": "controller:v0.42.0"}],
                }}},
                "status": status,
            });
            let fact = operator(&Lookup::Found(json!({"items": [object]})));
            fact.value().cloned().expect("it is there")
        };
        assert!(of(json!({"availableReplicas": 1})).is_available);
        assert!(!of(json!({})).is_available);
        assert_eq!(of(json!({})).namespace, "operators");
        assert!(operator(&Lookup::Found(json!({"items": []}))).why_unknown().is_some());
    }
}
