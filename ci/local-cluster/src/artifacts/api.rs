//! The objects of OpenShift's API: custom resource definitions and feature gates, from the Go
//! module `github.com/openshift/api`, whose sums are in this file.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    json::{read_yaml, write_json},
    store::{Build, Recipe},
};
use crate::{
    command,
    error::Error,
    settings::openshift::{FeatureSet, Release},
};

const MODULE: &str = "github.com/openshift/api";

/// Where definitions are in the module: those that CRDs of a payload come from, and for
/// `ClusterVersion`, which the cluster-version-operator brings itself, those that are generated
/// from its type.
const DEFINITIONS: [&str; 6] = [
    "payload-manifests/crds/0000_03_config-operator_01_securitycontextconstraints",
    // Where the cluster-policy-controller notes which user ids it has given away.
    "payload-manifests/crds/0000_03_config-operator_02_rangeallocations",
    "config/v1/zz_generated.crd-manifests/0000_00_cluster-version-operator_01_clusterversions",
    "payload-manifests/crds/0000_10_config-operator_01_featuregates",
    "payload-manifests/crds/0000_10_config-operator_01_infrastructures",
    "payload-manifests/crds/0000_80_machine-config_01_machineconfigpools",
];

/// Where the definitions are that the DevWorkspace Operator looks for to know OpenShift: routes,
/// which another API server of OpenShift serves, and the cluster's proxy.
const FOR_OPERATOR: [&str; 2] = [
    "route/v1/zz_generated.crd-manifests/routes",
    "payload-manifests/crds/0000_03_config-operator_01_proxies",
];

/// The release whose definitions serve the operator in every release.
const OF_OPERATOR: Release = Release::V4_20;

/// A version of the module and the sum of its content.
struct Source {
    version: &'static str,
    sum: &'static str,
}

/// The module at the time of a release: November 2024 when 4.18 was about to be branched, January
/// 2025 for 4.19, July 2025 for 4.20; for 5.0 March 2026, the newest that the module proxy serves.
/// It does not serve the heads of the release branches.
fn source(release: Release) -> Source {
    match release {
        Release::V4_18 => Source {
            version: "v0.0.0-20241114175301-1d987ad446cf",
            sum: "h1:tFgVKwcH24iKFSF2xERS/payZL1BB/UwEJWeb/OO0xo=",
        },
        Release::V4_19 => Source {
            version: "v0.0.0-20250124212313-a770960d61e0",
            sum: "h1:dCvNfygMrPLVNQ06bpHXrxKfrXHiprO4+etHrRUqI8g=",
        },
        Release::V4_20 => Source {
            version: "v0.0.0-20250710004639-926605d3338b",
            sum: "h1:A8OY6adT2aZNp7tsGsilHuQ3RqhzrFx5dzGr/UwXfJg=",
        },
        Release::V5_0 => Source {
            version: "v0.0.0-20260302174620-dcac36b908db",
            sum: "h1:MOQ5JSIlbP4apwTrEdNpApT6PsnB0/1S6y9aKODp5Ks=",
        },
    }
}

/// The recipe of a release's objects.
pub fn recipe(release: Release) -> Recipe {
    let source = source(release);
    let mut inputs = vec![MODULE, source.version, source.sum];
    inputs.extend(DEFINITIONS);
    let name = release.as_str();
    Recipe::new(
        &format!("openshift-api-{name}"),
        &format!("the API objects of OpenShift {name}"),
        "about 10 s",
        &inputs,
    )
}

/// The file in the artifact with the objects of a feature set.
pub fn file(artifact: &Path, feature_set: FeatureSet) -> PathBuf {
    artifact.join(format!("{feature_set}.json"))
}

/// Downloads the module and writes a file for each feature set: its `customResourceDefinitions`,
/// and the `featureGate` of a self-managed cluster.
pub fn build(build: &Build, release: Release) -> Result<(), Error> {
    let module = download(build, &source(release))?;
    for feature_set in FeatureSet::ALL {
        let definitions: Result<Vec<_>, Error> =
            DEFINITIONS.iter().map(|path| read_definition(&module, path, feature_set)).collect();
        let objects = json!({
            "customResourceDefinitions": definitions?,
            "featureGate": read_feature_gate(&module, feature_set)?,
        });
        write_json(&file(&build.output, feature_set), &objects)?;
    }
    Ok(())
}

/// What [`read_for_operator`] reads, as a recipe's input.
pub fn needed_by_operator() -> String {
    let source = source(OF_OPERATOR);
    [&[source.version, source.sum], &FOR_OPERATOR[..]].concat().join(" ")
}

/// Downloads the module and reads what the DevWorkspace Operator needs of it.
pub fn read_for_operator(build: &Build) -> Result<Vec<Value>, Error> {
    let module = download(build, &source(OF_OPERATOR))?;
    let read = |path: &&str| read_definition(&module, path, FeatureSet::Default);
    FOR_OPERATOR.iter().map(read).collect()
}

fn download(build: &Build, source: &Source) -> Result<PathBuf, Error> {
    download_module(build, MODULE, source.version, source.sum)
}

/// Downloads a Go module and returns its folder.
pub(super) fn download_module(
    build: &Build,
    module: &str,
    version: &str,
    sum: &str,
) -> Result<PathBuf, Error> {
    let name = format!("{module}@{version}");
    let mut go = Command::new("go");
    go.current_dir(&build.scratch)
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .args(["mod", "download", "-json", &name]);
    let answer = command::output(&mut go)?;
    let answer: Value = serde_json::from_str(&answer)
        .map_err(|error| Error::other(format!("`go mod download` printed no JSON: {error}")))?;
    if answer["Sum"] != sum {
        return Err(Error::other(format!(
            "`{name}` has the sum {} and not `{sum}`",
            answer["Sum"]
        )));
    }
    let folder = answer["Dir"].as_str();
    folder.map(PathBuf::from).ok_or_else(|| Error::other(format!("`{name}` has no directory")))
}

/// A definition has a file for each feature set where it depends on it, and else one for all.
fn read_definition(module: &Path, path: &str, feature_set: FeatureSet) -> Result<Value, Error> {
    let of_set = module.join(format!("{path}-{feature_set}.crd.yaml"));
    if of_set.exists() {
        return read_yaml(&of_set);
    }
    read_yaml(&module.join(format!("{path}.crd.yaml")))
}

/// `CustomNoUpgrade` has no file: it is the default and what the user adds.
fn read_feature_gate(module: &Path, feature_set: FeatureSet) -> Result<Value, Error> {
    let name = match feature_set {
        FeatureSet::Default | FeatureSet::CustomNoUpgrade => FeatureSet::Default,
        FeatureSet::TechPreviewNoUpgrade => FeatureSet::TechPreviewNoUpgrade,
    };
    let folder = module.join("payload-manifests/featuregates");
    let file = folder.join(format!("featureGate-SelfManagedHA-{name}.yaml"));
    // Newer versions have a file for each range of major releases. The gates are the same.
    let of_major = folder.join(format!("featureGate-4-10-SelfManagedHA-{name}.yaml"));
    read_yaml(if of_major.exists() { &of_major } else { &file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_has_objects_of_its_own() {
        let keys = Release::ALL.map(|release| recipe(release).key());
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), Release::ALL.len());
    }
}
