//! The test double of the DevWorkspace Operator, for our own tests: a component of the cluster that
//! plays back what version 0.42.0 did (`recipes/kubernetes/openshift/devworkspace`), and the
//! objects that let programs recognise the operator. What it did was recorded on OpenShift; the
//! double is told where it does otherwise on Kubernetes.

use std::{path::Path, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{api::Api, runtime::wait::await_condition};
use serde_json::Value;
use tokio::sync::watch;

use super::is_available;
use crate::{
    artifacts::{operator::objects, read_json},
    client::Admin,
    components::{CONFIG, KUBERNETES, control_plane},
    error::Error,
    network::Subnet,
    node::protocol::Program,
    settings::Flavour,
};

/// The component's name.
pub const NAME: &str = "devworkspace-controller";

/// How long it may take to answer, with all its objects there.
pub const READY: Duration = Duration::from_secs(60);

/// Where the API server calls it.
const PORT: u16 = 9443;

/// The role that only OpenShift's other API server makes.
const IMAGE_PULLER: &str = "system:image-puller";

/// The definitions that no module has, and the operator's objects.
const DEFINITIONS: &str = include_str!("../../data/devworkspace/definitions.yaml");
const OBJECTS: &str = include_str!("../../data/devworkspace/objects.yaml");

/// The double's command line. Its certificate is the node's, on whose address it is.
pub fn program(subnet: Subnet, flavour: Flavour) -> Program {
    let pki = format!("{CONFIG}/pki");
    Program {
        name: NAME.to_owned(),
        command: vec![
            format!("{KUBERNETES}/{NAME}"),
            format!("--kubeconfig={CONFIG}/{}", control_plane::KUBECONFIG),
            format!("--bind-address={}:{PORT}", subnet.node()),
            format!("--platform={}", platform(flavour)),
            format!("--tls-cert-file={pki}/node.crt"),
            format!("--tls-private-key-file={pki}/node.key"),
            format!("--tls-ca-file={pki}/ca.crt"),
        ],
        notifies: true,
    }
}

/// What the operator finds a cluster of this flavour to be.
fn platform(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Kubernetes => "kubernetes",
        Flavour::Openshift => "openshift",
    }
}

/// Whether a cluster of this flavour has an object: what belongs to OpenShift is on no other.
fn has(flavour: Flavour, object: &Value) -> bool {
    let group = object["spec"]["group"].as_str().unwrap_or_default();
    let is_of_openshift =
        group.ends_with("openshift.io") || object["metadata"]["name"] == IMAGE_PULLER;
    flavour == Flavour::Openshift || !is_of_openshift
}

/// Makes the objects and waits until the Deployments are available. The caller bounds the wait.
pub async fn install(
    admin: &Admin,
    artifact: &Path,
    flavour: Flavour,
    last: &watch::Sender<String>,
) -> Result<(), Error> {
    let mut definitions = match read_json(&objects(artifact))?["definitions"].take() {
        Value::Array(definitions) => definitions,
        _ => Vec::new(),
    };
    definitions.extend(parse(DEFINITIONS)?);
    definitions.retain(|definition| has(flavour, definition));
    admin.define_all(&definitions).await?;
    let mut objects = parse(OBJECTS)?;
    objects.retain(|object| has(flavour, object));
    for object in &objects {
        admin.create(object).await?;
    }
    for object in objects.iter().filter(|object| object["kind"] == "Deployment") {
        await_available(admin, object, last).await?;
    }
    Ok(())
}

async fn await_available(
    admin: &Admin,
    deployment: &Value,
    last: &watch::Sender<String>,
) -> Result<(), Error> {
    let text = |field: &str| deployment["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    last.send_replace(format!("deployment `{name}` is not available"));
    let deployments: Api<Deployment> = Api::namespaced(admin.client(), namespace);
    await_condition(deployments, name, |found: Option<&Deployment>| found.is_some_and(is_available))
        .await
        .map(drop)
        .map_err(|error| Error::api(format!("watch the deployment `{name}`"), &error))
}

fn parse(text: &str) -> Result<Vec<Value>, Error> {
    serde_saphyr::from_multiple(text)
        .map_err(|error| Error::other(format!("the test double's data is not YAML: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_says_that_it_is_of_a_test_double() {
        let objects = [parse(DEFINITIONS).unwrap(), parse(OBJECTS).unwrap()].concat();
        assert!(objects.len() > 10);
        for object in objects {
            // These two are what the operator would find and read.
            let name = object["metadata"]["name"].as_str().unwrap();
            let is_real = ["devworkspace-operator-config", IMAGE_PULLER].contains(&name);
            let label = &object["metadata"]["labels"]["nestcheck/test-double"];
            assert!(is_real || label == "devworkspace-operator", "{object}");
        }
    }

    #[test]
    fn the_pods_have_an_image_of_every_node() {
        assert_eq!(OBJECTS.matches(crate::image::OPERATOR_DOUBLE).count(), 2);
    }

    #[test]
    fn the_double_serves_on_the_nodes_address_with_its_certificate() {
        let program = program(Subnet::UNUSED, Flavour::Openshift);
        let address = format!("--bind-address={}:9443", Subnet::UNUSED.node());
        assert!(program.command.contains(&address));
        assert!(program.command.iter().any(|word| word.ends_with("pki/node.crt")));
    }

    #[test]
    fn kubernetes_gets_nothing_by_which_it_would_be_taken_for_openshift() {
        let route = serde_json::json!({
            "kind": "CustomResourceDefinition", "spec": {"group": "route.openshift.io"},
        });
        assert!(has(Flavour::Openshift, &route) && !has(Flavour::Kubernetes, &route));
        let objects = [parse(DEFINITIONS).unwrap(), parse(OBJECTS).unwrap()].concat();
        let missing = objects.iter().filter(|object| !has(Flavour::Kubernetes, object));
        let names: Vec<_> = missing.map(|object| &object["metadata"]["name"]).collect();
        assert_eq!(names, [IMAGE_PULLER]);
        let program = program(Subnet::UNUSED, Flavour::Kubernetes);
        assert!(program.command.contains(&"--platform=kubernetes".to_owned()));
    }
}
