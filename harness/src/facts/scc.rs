//! OpenShift's SCCs, as they are stored.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Fact, Lookup, items, text};
use crate::cluster::permission::{Need, Rule, Rules, Scope, named};

/// To list the SCCs themselves is a permission that a run needs anyway.
pub(crate) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: "Reads whether an SCC can require a user namespace.",
    verbs: &["get"],
    targets: &[named(
        Scope::Cluster,
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "securitycontextconstraints.security.openshift.io",
    )],
}];

/// The SCCs by name, each the whole object.
pub type Sccs = BTreeMap<String, Value>;

/// The field of an SCC that can require a user namespace (openshift/api,
/// `security/v1/types.go`). Where its schema lacks it, the API server drops it from what is
/// written.
const LEVEL: &str = "userNamespaceLevel";

/// The capabilities that the pods of an SCC may add; `*` is all of them.
#[must_use]
pub fn allowed_capabilities(scc: &Value) -> Vec<&str> {
    let allowed = scc.get("allowedCapabilities").and_then(Value::as_array);
    allowed.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether the schema of SCCs has the field `userNamespaceLevel`.
pub(super) fn scc_schema(reading: &Lookup<Value>) -> Fact<bool> {
    const PLACE: &str =
        "CustomResourceDefinition `securitycontextconstraints.security.openshift.io`";
    reading.fact(PLACE, |object| {
        let mut served = items(object, "/spec/versions")
            .filter(|version| version.pointer("/served") != Some(&Value::Bool(false)))
            .peekable();
        if served.peek().is_none() {
            return Fact::unknown(format!("{PLACE} serves no version"));
        }
        let field = format!("/schema/openAPIV3Schema/properties/{LEVEL}");
        Fact::known(served.any(|version| version.pointer(&field).is_some()), PLACE)
    })
}

/// The SCCs that the cluster has, without the bookkeeping of who wrote which field.
pub(super) fn sccs(reading: &Lookup<Value>) -> Fact<Sccs> {
    const PLACE: &str = "SecurityContextConstraints";
    reading.fact(PLACE, |list| {
        let named = items(list, "/items").filter_map(|item| {
            let name = text(item, "/metadata/name")?.to_owned();
            let mut item = item.clone();
            if let Some(metadata) = item.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            Some((name, item))
        });
        Fact::known(named.collect(), PLACE)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(properties: &Value) -> Lookup<Value> {
        Lookup::Found(json!({"spec": {"versions": [{"name": "v1", "served": true,
            "schema": {"openAPIV3Schema": {"properties": properties}}}]}}))
    }

    #[test]
    fn the_schema_has_the_field_or_not() {
        assert_eq!(scc_schema(&schema(&json!({"userNamespaceLevel": {}}))).value(), Some(&true));
        assert_eq!(scc_schema(&schema(&json!({"users": {}}))).value(), Some(&false));
        assert_eq!(scc_schema(&Lookup::Found(json!({}))).value(), None);
        assert_eq!(scc_schema(&Lookup::Failed("403".into())), Fact::unknown("403"));
    }

    #[test]
    fn sccs_are_kept_whole_by_name() {
        let list = json!({"items": [
            {"metadata": {"name": "anyuid", "managedFields": []}, "priority": 10},
            {"metadata": {"name": "restricted-v2"}, "priority": null},
        ]});
        let sccs = sccs(&Lookup::Found(list));
        let sccs = sccs.value().expect("known");
        assert_eq!(sccs.keys().collect::<Vec<_>>(), ["anyuid", "restricted-v2"]);
        let anyuid = json!({"metadata": {"name": "anyuid"}, "priority": 10});
        assert_eq!(sccs["anyuid"], anyuid);
    }
}
