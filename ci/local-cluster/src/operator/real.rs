//! The real DevWorkspace Operator in a cluster: its objects, what OpenShift's own operators would
//! do for it, and the wait until all of it answers.
//!
//! OpenShift's service-ca operator issues certificates for annotated services and puts its
//! authority's into what calls them. Here the certificates are issued with all others, before
//! anything runs, so two secrets and two definitions are all that is left of it; the webhook server
//! takes the authority from its own secret.

use std::{fs, path::Path};

use k8s_openapi::{ByteString, api::apps::v1::Deployment};
use kube::{
    api::{Api, DynamicObject, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::is_available;
use crate::{
    artifacts::{
        operator::{CONTROLLER_IMAGE, PROJECT_CLONE_IMAGE, objects},
        read_json,
    },
    client::{Admin, INTERVAL},
    error::Error,
};

/// The operator's namespace.
const NAMESPACE: &str = "devworkspace-controller";

/// The services that are called by the API server: that of conversions, and that of admission,
/// which the operator makes itself.
pub const SERVICES: [&str; 2] = [
    "devworkspace-controller-manager-service.devworkspace-controller",
    "devworkspace-webhookserver.devworkspace-controller",
];

/// The secrets that their annotations name, in the same order.
const SECRETS: [&str; 2] = ["devworkspace-webhooks-tls", "devworkspace-webhookserver-tls"];

/// The operator's deployment, and that of its webhook server, which it makes itself.
const DEPLOYMENTS: [&str; 2] = ["devworkspace-controller-manager", "devworkspace-webhook-server"];

/// Makes the operator's objects and waits until it answers. The current obstacle is sent through
/// `last`. The caller bounds the wait.
pub async fn install(
    admin: &Admin,
    artifact: &Path,
    pki: &Path,
    last: &watch::Sender<String>,
) -> Result<(), Error> {
    let mut artifact = read_json(&objects(artifact))?;
    let authority = read(&pki.join("ca.crt"))?;
    let definitions = list(artifact["definitions"].take());
    let definitions = definitions.into_iter().map(|it| with_authority(it, &authority));
    admin.define_all(&definitions.collect::<Vec<_>>()).await?;
    for object in before_operator(&authority, pki)? {
        admin.create(&object).await?;
    }
    policy_applies(admin, last).await?;
    // The operator starts when its deployment is made, so that comes last.
    let (last_ones, first): (Vec<_>, Vec<_>) = list(artifact["objects"].take())
        .into_iter()
        .partition(|object| object["kind"] == "Deployment");
    for object in &first {
        admin.create(object).await?;
    }
    for object in last_ones {
        admin.create(&adapted(object)?).await?;
    }
    answers(admin, last).await
}

/// Waits until the operator and its webhook server are available, and then until a workspace in the
/// old version of its API passes conversion and admission, as a dry run. What stands in the way is
/// told through `last`. The caller bounds the wait.
async fn answers(admin: &Admin, last: &watch::Sender<String>) -> Result<(), Error> {
    let deployments: Api<Deployment> = Api::namespaced(admin.client(), NAMESPACE);
    for name in DEPLOYMENTS {
        last.send_replace(format!("deployment `{name}` is not available"));
        await_condition(deployments.clone(), name, |found: Option<&Deployment>| {
            found.is_some_and(is_available)
        })
        .await
        .map_err(|error| Error::api(format!("watch the deployment `{name}`"), &error))?;
    }
    let (api, workspace) = admin.api_of(&json!({
        "apiVersion": "workspace.devfile.io/v1alpha1",
        "kind": "DevWorkspace",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"started": false, "template": {}},
    }))?;
    // The endpoints of its services follow, without an event when the API server has them.
    while let Err(refusal) = dry_run(&api, &workspace).await {
        last.send_replace(format!("a workspace is refused: {refusal}"));
        sleep(INTERVAL).await;
    }
    Ok(())
}

async fn dry_run(api: &Api<DynamicObject>, workspace: &DynamicObject) -> kube::Result<()> {
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&parameters, workspace).await.map(drop)
}

/// The authority's certificate in what the API server calls for conversions.
fn with_authority(mut definition: Value, authority: &str) -> Value {
    let config = "/spec/conversion/webhook/clientConfig";
    if let Some(config) = definition.pointer_mut(config) {
        config["caBundle"] = json!(ByteString(authority.as_bytes().to_vec()));
    }
    definition
}

/// What must be there before the operator starts.
fn before_operator(authority: &str, pki: &Path) -> Result<Vec<Value>, Error> {
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        image_puller(),
        pods_policy(),
        binding(PODS_POLICY),
        accounts_policy(),
        binding(ACCOUNTS_POLICY),
        // One server is enough for one node. Without a router no host can be found out.
        json!({
            "apiVersion": "controller.devfile.io/v1alpha1",
            "kind": "DevWorkspaceOperatorConfig",
            "metadata": {"name": "devworkspace-operator-config", "namespace": NAMESPACE},
            "config": {
                "webhook": {"replicas": 1},
                "routing": {"clusterHostSuffix": "apps.local-cluster"},
                "workspace": {"imagePullPolicy": "IfNotPresent"},
            },
        }),
    ];
    for (service, secret) in SERVICES.into_iter().zip(SECRETS) {
        let certificate = read(&pki.join(format!("{service}.crt")))?;
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": secret, "namespace": NAMESPACE},
            // As from the service-ca operator, the authority's certificate comes after it.
            "stringData": {
                "tls.crt": format!("{certificate}{authority}"),
                "tls.key": read(&pki.join(format!("{service}.key")))?,
            },
        }));
    }
    Ok(objects)
}

/// The role that OpenShift's other API server makes, and that the operator gives to the service
/// account of every workspace.
fn image_puller() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:image-puller"},
        "rules": [{
            "apiGroups": ["", "image.openshift.io"],
            "resources": ["imagestreams/layers"],
            "verbs": ["get"],
        }],
    })
}

/// The name of the policy about the operator's pods, and of its binding.
const PODS_POLICY: &str = "local-cluster-operator-pods";

/// The name of the policy about the service accounts of workspaces, and of its binding.
const ACCOUNTS_POLICY: &str = "local-cluster-workspace-accounts";

/// Changes the operator's pods so that they can run without a registry. That of the webhook server
/// always pulls its image, and the operator leaves no choice. Both probe for readiness only after
/// 10 s.
fn pods_policy() -> Value {
    let set = |path: &str, value: &str| {
        format!(r#"JSONPatch{{op: "add", path: "/spec/containers/0/{path}", value: {value}}}"#)
    };
    let patches = [
        set("imagePullPolicy", r#""IfNotPresent""#),
        set("readinessProbe/initialDelaySeconds", "0"),
        set("readinessProbe/periodSeconds", "1"),
    ];
    let selector =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}});
    policy(PODS_POLICY, "pods", selector, &patches.join(", "))
}

/// Names a pull secret in the service account of a workspace, as OpenShift does for every account:
/// the operator waits for one for 5 s, and asks less and less often. There need not be such a
/// secret where nothing is pulled.
fn accounts_policy() -> Value {
    let patch = r#"JSONPatch{op: "add", path: "/imagePullSecrets",
        value: [{"name": object.metadata.name + "-dockercfg"}]}"#;
    let label = json!({"key": "controller.devfile.io/devworkspace_id", "operator": "Exists"});
    let selector = json!({"objectSelector": {"matchExpressions": [label]}});
    policy(ACCOUNTS_POLICY, "serviceaccounts", selector, patch)
}

/// A policy that changes new objects of a resource by patches in CEL.
fn policy(name: &str, resource: &str, mut match_rules: Value, patches: &str) -> Value {
    match_rules["resourceRules"] = json!([{
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": [resource],
    }]);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1alpha1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": match_rules,
            "mutations": [{
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": format!("[{patches}]")},
            }],
        },
    })
}

fn binding(policy: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1alpha1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": policy},
        "spec": {"policyName": policy},
    })
}

/// Waits until the API server, which watches policies, applies this one: until it changes a pod, as
/// a dry run.
async fn policy_applies(admin: &Admin, last: &watch::Sender<String>) -> Result<(), Error> {
    let (api, pod) = admin.api_of(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "probe",
            "namespace": NAMESPACE,
            // Of all that an administrator may use, the one that the namespace's level of Pod
            // Security admits.
            "annotations": {"openshift.io/required-scc": "restricted-v2"},
        },
        "spec": {"containers": [{
            "name": "probe",
            "image": CONTROLLER_IMAGE,
            "imagePullPolicy": "Always",
            "readinessProbe": {"tcpSocket": {"port": 1}},
        }]},
    }))?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    loop {
        // It is refused until its namespace has a service account and ranges of users.
        last.send_replace(match api.create(&parameters, &pod).await {
            Ok(stored) => {
                let policy = stored.data.pointer("/spec/containers/0/imagePullPolicy");
                if policy == Some(&"IfNotPresent".into()) {
                    return Ok(());
                }
                "the API server does not apply the policy yet".to_owned()
            }
            Err(error) => format!("a pod is refused: {error}"),
        });
        sleep(INTERVAL).await;
    }
}

/// The operator's deployment with the images of this cluster.
fn adapted(mut deployment: Value) -> Result<Value, Error> {
    let container = deployment.pointer_mut("/spec/template/spec/containers/0");
    let container =
        container.ok_or_else(|| Error::other("the operator's deployment has no container"))?;
    container["image"] = CONTROLLER_IMAGE.into();
    container["imagePullPolicy"] = "IfNotPresent".into();
    for variable in container["env"].as_array_mut().into_iter().flatten() {
        let value = match variable["name"].as_str() {
            Some("RELATED_IMAGE_devworkspace_webhook_server") => CONTROLLER_IMAGE,
            Some("RELATED_IMAGE_project_clone") => PROJECT_CLONE_IMAGE,
            // It reviews every exec in every pod, many at once.
            Some("WEBHOOKS_SERVER_CPU_LIMIT") => "2",
            _ => continue,
        };
        variable["value"] = value.into();
    }
    Ok(deployment)
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::path("read", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_trust_the_clusters_authority() {
        let definition = json!({"spec": {"conversion": {"webhook": {"clientConfig": {}}}}});
        let definition = with_authority(definition, "abc");
        let config = &definition["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(config["caBundle"], "YWJj");
        assert_eq!(with_authority(json!({"spec": {}}), "abc"), json!({"spec": {}}));
    }

    #[test]
    fn the_deployment_gets_images_of_this_cluster() {
        let deployment = json!({"spec": {"template": {"spec": {"containers": [{
            "image": "elsewhere",
            "env": [
                {"name": "RELATED_IMAGE_project_clone", "value": "elsewhere"},
                {"name": "OTHER", "value": "kept"},
            ],
        }]}}}});
        let deployment = adapted(deployment).unwrap();
        let container = deployment.pointer("/spec/template/spec/containers/0").unwrap();
        assert_eq!(container["image"], CONTROLLER_IMAGE);
        assert_eq!(container["env"][0]["value"], PROJECT_CLONE_IMAGE);
        assert_eq!(container["env"][1]["value"], "kept");
        assert!(adapted(json!({})).is_err());
    }
}
