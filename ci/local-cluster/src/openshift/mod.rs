//! What makes a cluster one of OpenShift to its clients: the definitions and objects that its
//! operators keep in a real cluster. No operator runs here, so they are written once, at the start.

mod objects;
mod policy_controller;

use serde_json::{Value, json};

use crate::{
    artifacts::{Artifacts, api, read_json},
    client::Admin,
    error::Error,
    settings::{
        RealProgram, RealPrograms,
        openshift::{FeatureSet, Release, ZStream},
    },
};

/// The objects of a cluster.
#[derive(Clone, Debug)]
pub struct Objects {
    definitions: Vec<Value>,
    /// The SCCs that the release ships, with their roles and bindings.
    shipped: Vec<Value>,
    /// What real programs need and stand-ins do not.
    for_real: Vec<Value>,
    configuration: Vec<Value>,
}

impl Objects {
    /// Reads what a release with a feature set has.
    pub fn read(
        artifacts: &Artifacts,
        release: Release,
        feature_set: FeatureSet,
        z_stream: ZStream,
        real: RealPrograms,
    ) -> Result<Self, Error> {
        let api = artifacts.api.as_deref();
        let api = api.ok_or_else(|| Error::other("the artifacts have no objects of OpenShift"))?;
        let mut api = read_json(&api::file(api, feature_set))?;
        let feature_gate = api["featureGate"].take();
        let mut for_real = Vec::new();
        if real.has(RealProgram::Apiserver) {
            for_real.push(group_of_sccs());
        }
        if real.has(RealProgram::PolicyController) {
            for_real.extend(policy_controller::objects());
        }
        Ok(Self {
            definitions: as_list(api["customResourceDefinitions"].take()),
            shipped: shipped(release, z_stream)?,
            for_real,
            configuration: objects::configuration(release, feature_set, z_stream, feature_gate),
        })
    }

    /// Makes everything that pods need: without the definition of security context SCCs the API
    /// server admits none. The caller bounds the wait.
    pub async fn create_for_pods(&self, admin: &Admin) -> Result<(), Error> {
        admin.define_all(&self.definitions).await?;
        // Namespaces come first in their list, and bindings follow their roles, so each list is
        // made in its order.
        tokio::try_join!(create_all(admin, &self.shipped), create_all(admin, &self.for_real),)?;
        Ok(())
    }

    /// Makes the objects that say what the cluster is, with their status. The caller bounds the
    /// wait.
    pub async fn create_configuration(&self, admin: &Admin) -> Result<(), Error> {
        for object in &self.configuration {
            admin.create_with_status(object).await?;
        }
        Ok(())
    }
}

/// The SCCs that a release ships: the files of `data/shipped`, whose README has the sources.
fn shipped(release: Release, z_stream: ZStream) -> Result<Vec<Value>, Error> {
    let text = match (release, z_stream) {
        // The manifests of both are the same.
        (Release::V4_18 | Release::V4_19, _) => include_str!("../../data/shipped/4.19.json"),
        (Release::V4_20, ZStream::Early) => include_str!("../../data/shipped/4.20-early.json"),
        (Release::V4_20, ZStream::Latest) => include_str!("../../data/shipped/4.20.json"),
        (Release::V5_0, _) => include_str!("../../data/shipped/newest.json"),
    };
    serde_json::from_str(text).map_err(|error| {
        Error::other(format!("the shipped SCCs of {} are not JSON: {error}", release.as_str()))
    })
}

/// Lists the API group of the SCCs. OpenShift's API server serves it, but does not register it by
/// itself as it does those of other definitions: in OpenShift an operator does so.
fn group_of_sccs() -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.security.openshift.io"},
        "spec": {
            "group": "security.openshift.io",
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
        },
    })
}

async fn create_all(admin: &Admin, objects: &[Value]) -> Result<(), Error> {
    for object in objects {
        admin.create(object).await?;
    }
    Ok(())
}

fn as_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(release: Release, z_stream: ZStream, kind: &str) -> BTreeSet<String> {
        let all = shipped(release, z_stream).unwrap();
        let of_kind = all.into_iter().filter(|object| object["kind"] == kind);
        of_kind
            .filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned))
            .collect()
    }

    #[test]
    fn sccs_for_user_namespaces_are_shipped_from_4_20_on() {
        for (release, ships) in [
            (Release::V4_18, false),
            (Release::V4_19, false),
            (Release::V4_20, true),
            (Release::V5_0, true),
        ] {
            let names = names(release, ZStream::Latest, "SecurityContextConstraints");
            assert!(names.contains("restricted-v2"), "{release}: {names:?}");
            for name in ["nested-container", "restricted-v3"] {
                assert_eq!(names.contains(name), ships, "{release}: {names:?}");
            }
        }
    }

    #[test]
    fn early_4_20_grants_restricted_v3_to_nobody() {
        let binding = |z_stream| {
            let names = names(Release::V4_20, z_stream, "ClusterRoleBinding");
            names.iter().any(|name| name.contains("restricted-v3"))
        };
        assert!(binding(ZStream::Latest));
        assert!(!binding(ZStream::Early));
    }
}
