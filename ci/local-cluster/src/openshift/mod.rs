//! What makes a cluster one of OpenShift to its clients: the definitions and
//! objects that its operators keep in a real cluster. No operator runs here, so
//! they are written once, at the start.

mod constraints;
mod objects;

use std::path::Path;

use serde_json::{Value, json};

use crate::artifacts::openshift::{CONSTRAINTS, POLICY_CONTROLLER, read_json};
use crate::artifacts::{Artifacts, api};
use crate::client::Admin;
use crate::error::Error;
use crate::settings::openshift::{FeatureSet, Release};

/// The objects of a cluster, read from its artifacts.
#[derive(Clone, Debug)]
pub struct Objects {
    definitions: Vec<Value>,
    constraints: Vec<Value>,
    policy_controller: Vec<Value>,
    configuration: Vec<Value>,
}

impl Objects {
    /// Reads what a release with a feature set has.
    ///
    /// # Errors
    ///
    /// Fails when an artifact can't be read.
    pub fn read(
        artifacts: &Artifacts,
        release: Release,
        feature_set: FeatureSet,
    ) -> Result<Self, Error> {
        let api = artifacts.api.as_deref();
        let api = api.ok_or_else(|| Error::other("the artifacts have no objects of OpenShift"))?;
        let mut api = read_json(&api::file(api, feature_set))?;
        let feature_gate = api["featureGate"].take();
        let mut constraints = read_list(&artifacts.control_plane.join(CONSTRAINTS))?;
        if release.ships_user_namespace_constraints() {
            constraints.extend(constraints::of_user_namespaces());
        }
        Ok(Self {
            definitions: as_list(api["customResourceDefinitions"].take()),
            constraints,
            policy_controller: read_list(&artifacts.control_plane.join(POLICY_CONTROLLER))?,
            configuration: objects::configuration(release, feature_set, feature_gate),
        })
    }

    /// Makes everything that pods need: without the definition of security context
    /// constraints the API server admits none. The caller bounds the wait.
    ///
    /// # Errors
    ///
    /// Fails when the API refuses an object.
    pub async fn create_for_pods(&self, admin: &Admin) -> Result<(), Error> {
        admin.define_all(&self.definitions).await?;
        admin.create(&group_of_constraints()).await?;
        // Namespaces come first in their list, and bindings follow their roles, so
        // each list is made in its order.
        tokio::try_join!(
            create_all(admin, &self.constraints),
            create_all(admin, &self.policy_controller),
        )?;
        Ok(())
    }

    /// Makes the objects that say what the cluster is, with their status. The caller
    /// bounds the wait.
    ///
    /// # Errors
    ///
    /// Fails when the API refuses an object.
    pub async fn create_configuration(&self, admin: &Admin) -> Result<(), Error> {
        for object in &self.configuration {
            admin.create_with_status(object).await?;
        }
        Ok(())
    }
}

/// Lists the API group of the constraints. The API server serves it, but does not
/// register it by itself as it does those of other definitions: in OpenShift an
/// operator does so, and in MicroShift an object like this one.
fn group_of_constraints() -> Value {
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

fn read_list(path: &Path) -> Result<Vec<Value>, Error> {
    read_json(path).map(as_list)
}

fn as_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}
