//! Whether the cluster is being changed: then a statement about it holds for a moment only.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    Fact, Lookup, items,
    release::{self, condition},
    text,
};
use crate::cluster::permission::{Need, Rule, Rules, cluster};

pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: release::WHY,
    verbs: &["list"],
    targets: &[cluster("machineconfiguration.openshift.io", "machineconfigpools")],
}];

/// Whether an update or a change of the nodes' configuration is under way.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rollout {
    /// None is.
    None,
    /// One is, or waits for a paused pool.
    InProgress {
        /// What is rolled out, each as a clause that names the object.
        what: Vec<String>,
    },
}

/// Reads it from the `ClusterVersion` and the `MachineConfigPools`; `pools` are none where the
/// cluster has no such API (hosted control planes).
///
/// One of the two is enough to know of a rollout; only both together rule one out.
pub(super) fn rollout(version: &Lookup<Value>, pools: Option<&Lookup<Value>>) -> Fact<Rollout> {
    let of_version = version.fact("ClusterVersion `version`", |object| {
        Fact::known(version_rollouts(object), "ClusterVersion")
    });
    let of_pools = match pools {
        Some(reading) => reading.fact("MachineConfigPools", |list| {
            let found = items(list, "/items").filter_map(pool_rollout).collect();
            Fact::known(found, "MachineConfigPools")
        }),
        None => Fact::known(Vec::new(), "MachineConfigPools"),
    };
    let found: Vec<String> = [&of_version, &of_pools]
        .iter()
        .filter_map(|fact| fact.value())
        .flatten()
        .cloned()
        .collect();
    let source =
        if pools.is_some() { "ClusterVersion, MachineConfigPools" } else { "ClusterVersion" };
    match (of_version, of_pools) {
        (Fact::NotApplicable { reason }, _) => Fact::NotApplicable { reason },
        _ if !found.is_empty() => Fact::known(Rollout::InProgress { what: found }, source),
        (Fact::Unknown { reason }, _) | (_, Fact::Unknown { reason }) => Fact::unknown(reason),
        _ => Fact::known(Rollout::None, source),
    }
}

fn version_rollouts(object: &Value) -> Vec<String> {
    let newest = items(object, "/status/history").next();
    if let Some(newest) = newest.filter(|entry| text(entry, "/state") == Some("Partial")) {
        let version = text(newest, "/version").unwrap_or("a release");
        return vec![format!("the ClusterVersion is being updated to {version}")];
    }
    let progressing = condition(object, "Progressing")
        .filter(|condition| text(condition, "/status") == Some("True"));
    progressing
        .map(|condition| {
            let said = text(condition, "/message").map(|said| format!(": {said}"));
            format!("the ClusterVersion is progressing{}", said.unwrap_or_default())
        })
        .into_iter()
        .collect()
}

/// A paused pool has a rollout that waits where the wanted configuration is not the present one
/// (machine-config-operator, `pkg/controller/node`).
fn pool_rollout(pool: &Value) -> Option<String> {
    let name = text(pool, "/metadata/name").unwrap_or("without a name");
    let wanted = text(pool, "/spec/configuration/name");
    let pending = wanted.is_some() && wanted != text(pool, "/status/configuration/name");
    let paused = pool.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or_default();
    let updating = condition(pool, "Updating")
        .is_some_and(|condition| text(condition, "/status") == Some("True"));
    if paused && pending {
        Some(format!("the MachineConfigPool `{name}` is paused with a change that waits"))
    } else if updating {
        Some(format!("the MachineConfigPool `{name}` is updating"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn still() -> Lookup<Value> {
        Lookup::Found(json!({"status": {
            "history": [{"state": "Completed", "version": "4.19.7"}],
            "conditions": [{"type": "Progressing", "status": "False"}],
        }}))
    }

    fn pools(pool: &Value) -> Lookup<Value> {
        Lookup::Found(json!({ "items": [pool] }))
    }

    fn what(version: &Lookup<Value>, pools: Option<&Lookup<Value>>) -> Vec<String> {
        match rollout(version, pools).value() {
            Some(Rollout::InProgress { what }) => what.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cluster_at_rest_has_no_rollout() {
        assert_eq!(rollout(&still(), None).value(), Some(&Rollout::None));
        let at_rest = pools(&json!({"metadata": {"name": "worker"}, "spec": {"paused": true,
            "configuration": {"name": "a"}}, "status": {"configuration": {"name": "a"},
            "conditions": [{"type": "Updating", "status": "False"}]}}));
        assert_eq!(rollout(&still(), Some(&at_rest)).value(), Some(&Rollout::None));
    }

    #[test]
    fn an_update_is_named_with_its_target() {
        let updating = Lookup::Found(json!({"status": {"history": [
            {"state": "Partial", "version": "4.20.1"}, {"state": "Completed", "version": "4.19.7"}]}}));
        assert_eq!(what(&updating, None), ["the ClusterVersion is being updated to 4.20.1"]);
        let progressing = Lookup::Found(json!({"status": {"conditions": [
            {"type": "Progressing", "status": "True", "message": "Working towards 4.20.1"}]}}));
        assert!(what(&progressing, None)[0].ends_with("progressing: Working towards 4.20.1"));
    }

    #[test]
    fn a_pool_is_named_that_is_updating_or_paused_with_a_change() {
        let updating = pools(&json!({"metadata": {"name": "worker"},
            "status": {"conditions": [{"type": "Updating", "status": "True"}]}}));
        assert_eq!(what(&still(), Some(&updating)), ["the MachineConfigPool `worker` is updating"]);
        let paused = pools(&json!({"metadata": {"name": "infra"}, "spec": {"paused": true,
            "configuration": {"name": "b"}}, "status": {"configuration": {"name": "a"}}}));
        assert!(what(&still(), Some(&paused))[0].contains("`infra` is paused"));
        // What can be read is enough to know of a rollout.
        let unread = Lookup::Failed("403".into());
        assert!(what(&unread, Some(&paused))[0].contains("`infra` is paused"));
    }

    #[test]
    fn half_of_the_truth_rules_nothing_out() {
        let unread = Lookup::Failed("403".into());
        assert_eq!(rollout(&still(), Some(&unread)), Fact::unknown("403"));
        assert_eq!(rollout(&unread, None), Fact::unknown("403"));
    }

    #[test]
    fn other_clusters_have_no_rollouts() {
        let none = Lookup::NotApplicable("kubernetes".into());
        assert!(matches!(rollout(&none, None), Fact::NotApplicable { .. }));
    }
}
