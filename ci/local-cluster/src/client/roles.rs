//! The cluster roles that the control plane fills in after its start.

use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, PolicyRule},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    api::Api,
    runtime::{WatchStreamExt, reflector, watcher},
};

use super::Admin;
use crate::error::Error;

impl Admin {
    /// Waits until the roles that are made of others, such as `edit`, have the rules of these, by a
    /// watch. Before that a user with such a role may do nothing, and the roles still change. The
    /// caller bounds the wait.
    pub async fn aggregated_roles(&self) -> Result<(), Error> {
        let (reader, writer) = reflector::store();
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let changes = watcher(roles, watcher::Config::default()).reflect(writer).touched_objects();
        let mut changes = std::pin::pin!(changes);
        let failed = |error| Error::api("watch the cluster roles", &error);
        while changes.try_next().await.map_err(failed)?.is_some() {
            if are_complete(&reader.state()) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether there are roles that are made of others, and each has all their rules.
fn are_complete(roles: &[Arc<ClusterRole>]) -> bool {
    let mut made_of_others = roles
        .iter()
        .filter_map(|role| {
            let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
            Some((rules(role), selectors))
        })
        .peekable();
    made_of_others.peek().is_some()
        && made_of_others.all(|(own, selectors)| {
            let mut parts = roles
                .iter()
                .filter(|role| selectors.iter().any(|selector| selects(selector, role)));
            parts.all(|part| rules(part).iter().all(|rule| own.contains(rule)))
        })
}

fn rules(role: &ClusterRole) -> &[PolicyRule] {
    role.rules.as_deref().unwrap_or_default()
}

/// Whether the labels that a selector names are there. The roles of Kubernetes and OpenShift select
/// by equality only.
fn selects(selector: &LabelSelector, role: &ClusterRole) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let found = role.metadata.labels.as_ref();
    wanted.into_iter().all(|(name, value)| found.and_then(|all| all.get(name)) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn roles(edit: &Value) -> Vec<Arc<ClusterRole>> {
        let selector =
            json!({"clusterRoleSelectors": [{"matchLabels": {"aggregate-to-edit": "true"}}]});
        let roles = json!([
            {"metadata": {"name": "edit"}, "aggregationRule": selector, "rules": edit},
            {"metadata": {"name": "view", "labels": {"aggregate-to-edit": "true"}},
             "rules": [{"verbs": ["get"], "resources": ["pods"]}]},
            {"metadata": {"name": "other"}, "rules": [{"verbs": ["delete"]}]},
        ]);
        let roles: Vec<ClusterRole> = serde_json::from_value(roles).unwrap();
        roles.into_iter().map(Arc::new).collect()
    }

    #[test]
    fn a_role_is_complete_with_the_rules_of_all_its_parts() {
        let view = json!({"verbs": ["get"], "resources": ["pods"]});
        assert!(are_complete(&roles(&json!([{"verbs": ["list"]}, view]))));
        assert!(!are_complete(&roles(&json!([{"verbs": ["list"]}]))));
        assert!(!are_complete(&roles(&Value::Null)));
    }

    #[test]
    fn roles_that_are_not_read_yet_are_not_complete() {
        assert!(!are_complete(&[]));
    }
}
