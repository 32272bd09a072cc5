//! The objects that say what a cluster is: `ClusterVersion`, `FeatureGate`, `Infrastructure` and
//! the `MachineConfigPool`s.

use serde_json::{Value, json};

use crate::settings::openshift::{FeatureSet, Release, ZStream};

/// The feature gates that `CustomNoUpgrade` adds to the default.
const CUSTOM_GATES: [&str; 3] =
    ["ProcMountType", "UserNamespacesPodSecurityStandards", "UserNamespacesSupport"];

/// The time of every condition. A cluster lives for minutes, so all that matters is that it was
/// installed before anybody looks.
const INSTALLED: &str = "2026-01-01T00:30:00Z";
const STARTED: &str = "2026-01-01T00:00:00Z";

/// All of them. `feature_gate` is the manifest of the feature set's payload.
pub fn configuration(
    release: Release,
    feature_set: FeatureSet,
    z_stream: ZStream,
    feature_gate: Value,
) -> Vec<Value> {
    let version = release.version(z_stream);
    vec![
        cluster_version(release, version, feature_set),
        self::feature_gate(release, version, feature_set, feature_gate),
        infrastructure(),
        machine_config_pool("master", 1),
        machine_config_pool("worker", 0),
    ]
}

fn cluster_version(release: Release, version: &str, feature_set: FeatureSet) -> Value {
    // No payload was installed; the digest is of the right form.
    let image = format!("openshift/release@sha256:{:0>64}", version.replace('.', ""));
    let mut conditions = vec![
        condition("Available", "True", "", &format!("Done applying {version}")),
        condition("Progressing", "False", "", &format!("Cluster version is {version}")),
        condition("Failing", "False", "", ""),
    ];
    if feature_set != FeatureSet::Default {
        // As the cluster-version-operator passes it on from the config-operator.
        conditions.push(condition(
            "Upgradeable",
            "False",
            &format!("FeatureGates_RestrictedFeatureGates_{feature_set}"),
            &format!(
                "Cluster operator config-operator should not be upgraded between minor versions: \
                 FeatureGatesUpgradeable: \"{feature_set}\" does not allow updates"
            ),
        ));
    }
    json!({
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "metadata": {"name": "version"},
        "spec": {
            "clusterID": "00000000-0000-4000-8000-000000000000",
            "channel": format!("stable-{}", release.as_str()),
        },
        "status": {
            "availableUpdates": null,
            "conditions": conditions,
            "desired": {"version": version, "image": image},
            "history": [{
                "state": "Completed",
                "version": version,
                "image": image,
                "startedTime": STARTED,
                "completionTime": INSTALLED,
                "verified": false,
            }],
            "observedGeneration": 1,
            "versionHash": "local",
        },
    })
}

/// The manifest of the payload, with the version that the config-operator writes into it, and with
/// the choice of a user of `CustomNoUpgrade`.
fn feature_gate(
    release: Release,
    version: &str,
    feature_set: FeatureSet,
    manifest: Value,
) -> Value {
    let mut object = manifest;
    object["metadata"] = json!({"name": "cluster"});
    object["spec"] = match feature_set {
        FeatureSet::Default => json!({}),
        FeatureSet::TechPreviewNoUpgrade => json!({"featureSet": feature_set.as_str()}),
        FeatureSet::CustomNoUpgrade => json!({
            "featureSet": feature_set.as_str(),
            "customNoUpgrade": {"enabled": CUSTOM_GATES},
        }),
    };
    let gates = &mut object["status"]["featureGates"][0];
    gates["version"] = version.into();
    if !release.lists_gates() {
        remove(gates, &CUSTOM_GATES);
    } else if feature_set == FeatureSet::CustomNoUpgrade {
        enable(gates, &CUSTOM_GATES);
    }
    object
}

/// Takes gates out of both lists.
fn remove(gates: &mut Value, names: &[&str]) {
    for list in ["enabled", "disabled"] {
        if let Some(list) = gates[list].as_array_mut() {
            list.retain(|gate| !gate["name"].as_str().is_some_and(|name| names.contains(&name)));
        }
    }
}

/// Moves gates from the disabled to the enabled ones; both lists stay sorted.
fn enable(gates: &mut Value, names: &[&str]) {
    let names_of = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|gate| gate["name"].as_str().map(str::to_owned)).collect()
    };
    let mut disabled = names_of(&gates["disabled"]);
    disabled.retain(|name| !names.contains(&name.as_str()));
    let mut enabled = names_of(&gates["enabled"]);
    enabled.extend(names.iter().map(|&name| name.to_owned()));
    enabled.sort();
    enabled.dedup();
    let objects = |names: Vec<String>| -> Value {
        names.into_iter().map(|name| json!({"name": name})).collect()
    };
    gates["disabled"] = objects(disabled);
    gates["enabled"] = objects(enabled);
}

fn infrastructure() -> Value {
    json!({
        "apiVersion": "config.openshift.io/v1",
        "kind": "Infrastructure",
        "metadata": {"name": "cluster"},
        "spec": {"platformSpec": {"type": "None"}},
        "status": {
            "infrastructureName": "local-cluster",
            "controlPlaneTopology": "SingleReplica",
            "infrastructureTopology": "SingleReplica",
            "cpuPartitioning": "None",
            "platform": "None",
            "platformStatus": {"type": "None"},
        },
    })
}

/// A pool whose machines all have its configuration. On a single node the one machine is in
/// `master`, although it is a worker too.
fn machine_config_pool(name: &str, machines: u32) -> Value {
    let configuration = json!({"name": format!("rendered-{name}-{:0>32}", 1)});
    json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfigPool",
        "metadata": {"name": name},
        "spec": {
            "configuration": configuration,
            "machineConfigSelector": {"matchLabels": {
                "machineconfiguration.openshift.io/role": name,
            }},
            "nodeSelector": {"matchLabels": {format!("node-role.kubernetes.io/{name}"): ""}},
            "paused": false,
        },
        "status": {
            "conditions": [
                condition("Updated", "True", "", &format!("All nodes are updated with the configuration of {name}")),
                condition("Updating", "False", "", ""),
                condition("Degraded", "False", "", ""),
            ],
            "configuration": configuration,
            "degradedMachineCount": 0,
            "machineCount": machines,
            "observedGeneration": 1,
            "readyMachineCount": machines,
            "unavailableMachineCount": 0,
            "updatedMachineCount": machines,
        },
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": INSTALLED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Value {
        let names =
            |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        json!({
            "apiVersion": "config.openshift.io/v1",
            "kind": "FeatureGate",
            "metadata": {"name": "cluster", "creationTimestamp": null},
            "spec": {},
            "status": {"featureGates": [{
                "version": "",
                "enabled": names(&["Zed"]),
                "disabled": names(&["Other", "ProcMountType", "UserNamespacesSupport"]),
            }]},
        })
    }

    #[test]
    fn custom_enables_its_gates_and_keeps_the_others() {
        let object =
            feature_gate(Release::V4_19, "4.19.9", FeatureSet::CustomNoUpgrade, manifest());
        assert_eq!(object["spec"]["customNoUpgrade"]["enabled"].as_array().unwrap().len(), 3);
        let gates = &object["status"]["featureGates"][0];
        assert_eq!(gates["version"], "4.19.9");
        assert_eq!(gates["disabled"], json!([{"name": "Other"}]));
        assert_eq!(gates["enabled"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn the_default_feature_set_has_no_name() {
        let object = feature_gate(Release::V4_19, "4.19.9", FeatureSet::Default, manifest());
        assert_eq!(object["spec"], json!({}));
    }

    #[test]
    fn a_release_with_locked_gates_lists_none() {
        for feature_set in FeatureSet::ALL {
            let object = feature_gate(Release::V5_0, "5.0.1", feature_set, manifest());
            let gates = &object["status"]["featureGates"][0];
            assert_eq!(gates["disabled"], json!([{"name": "Other"}]));
            assert_eq!(gates["enabled"], json!([{"name": "Zed"}]));
        }
    }

    #[test]
    fn only_a_default_cluster_may_be_upgraded() {
        let upgradeable = |feature_set| {
            let object = cluster_version(Release::V4_19, "4.19.9", feature_set);
            let conditions = object["status"]["conditions"].as_array().unwrap().clone();
            conditions.into_iter().find(|condition| condition["type"] == "Upgradeable")
        };
        assert_eq!(upgradeable(FeatureSet::Default), None);
        let condition = upgradeable(FeatureSet::TechPreviewNoUpgrade).unwrap();
        assert_eq!(condition["status"], "False");
        assert_eq!(condition["reason"], "FeatureGates_RestrictedFeatureGates_TechPreviewNoUpgrade");
    }

    #[test]
    fn the_version_was_installed_completely() {
        let object = cluster_version(Release::V4_20, "4.20.4", FeatureSet::Default);
        let entry = &object["status"]["history"][0];
        assert_eq!(entry["state"], "Completed");
        assert_eq!(entry["version"], object["status"]["desired"]["version"]);
    }
}
