//! What the extension says about itself.

use harness::base::build;
use oci_spec::distribution::Reference;
use serde::Serialize;

/// The version of the contract.
const API_VERSION: &str = "v1.1";

/// The component as `--component` names it: product, type and name.
pub(super) const COMPONENT: &str = "nestcheck:non-payload:nestcheck";

/// The suite of every test.
pub(super) const ALL: &str = "nestcheck/all";

/// The suite of the tests that the profile `smoke` has.
pub(super) const SMOKE: &str = "nestcheck/smoke";

/// What a program is, for openshift-tests.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    api_version: &'static str,
    source: Source,
    component: Component,
    suites: Vec<Suite>,
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Source {
    commit: &'static str,
    build_date: &'static str,
    git_tree_state: &'static str,
}

#[derive(Serialize)]
pub(super) struct Component {
    product: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
}

/// A set of tests. `qualifiers` are CEL expressions about a test.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Suite {
    pub(super) name: &'static str,
    description: &'static str,
    qualifiers: Vec<String>,
    parallelism: u32,
    cluster_stability: &'static str,
    /// In nanoseconds, as Go writes a duration.
    test_timeout: u64,
}

/// An image that the tests pull.
#[derive(Serialize)]
pub(super) struct Image {
    index: u32,
    registry: String,
    name: String,
    version: String,
}

pub(super) fn info(image: Option<&str>) -> Info {
    let source = Source {
        commit: build::COMMIT.unwrap_or_default(),
        build_date: build::DATE.unwrap_or_default(),
        git_tree_state: build::TREE_STATE.unwrap_or_default(),
    };
    let (component, suites) = (component(), suites());
    Info { api_version: API_VERSION, source, component, suites, images: images(image) }
}

pub(super) fn component() -> Component {
    Component { product: "nestcheck", kind: "non-payload", name: "nestcheck" }
}

pub(super) fn suites() -> Vec<Suite> {
    let suite = |name, description, qualifier: &str| Suite {
        name,
        description,
        qualifiers: vec![qualifier.to_owned()],
        // Each process makes namespaces and a pod of its own; more of them only wait for the node.
        parallelism: 8,
        cluster_stability: "Stable",
        test_timeout: 15 * 60 * 1_000_000_000,
    };
    vec![
        suite(ALL, "Secure nested containers in a pod: all tests", "source == \"nestcheck\""),
        suite(
            SMOKE,
            "Secure nested containers in a pod: the shortest run that shows them at work",
            "source == \"nestcheck\" && labels.exists(l, l == \"smoke\")",
        ),
    ]
}

/// The workspace image is the only one; every image inside of pods is made there.
pub(super) fn images(image: Option<&str>) -> Vec<Image> {
    let reference = image.and_then(|image| image.parse::<Reference>().ok());
    reference
        .map(|reference| Image {
            index: 0,
            registry: reference.registry().to_owned(),
            name: reference.repository().to_owned(),
            version: reference.digest().or(reference.tag()).unwrap_or("latest").to_owned(),
        })
        .into_iter()
        .collect()
}
