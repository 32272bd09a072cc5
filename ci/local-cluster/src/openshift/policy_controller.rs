//! What OpenShift's own cluster-policy-controller needs: a namespace for its lease, and the rights
//! of its three controllers, each of which acts as a service account of its own.

use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Where the service accounts are.
const ACCOUNTS: &str = "openshift-infra";

/// All objects, namespaces first.
pub fn objects() -> Vec<Value> {
    let mut objects = vec![namespace(ACCOUNTS), namespace("openshift-kube-controller-manager")];
    let events = rule("", &["events"], &["create", "patch", "update"]);
    let namespaces = rule("", &["namespaces"], &["get", "list", "patch", "update", "watch"]);
    let read = ["get", "list", "watch"];
    objects.extend(role(
        "namespace-security-allocation-controller",
        &[
            json!({
                "apiGroups": ["security.openshift.io", "security.internal.openshift.io"],
                "resources": ["rangeallocations"],
                "verbs": ["create", "get", "update"],
            }),
            namespaces.clone(),
            events.clone(),
        ],
    ));
    objects
        .extend(role("privileged-namespaces-psa-label-syncer", std::slice::from_ref(&namespaces)));
    objects.extend(role(
        "podsecurity-admission-label-syncer-controller",
        &[
            namespaces,
            events,
            rule("", &["serviceaccounts"], &read),
            rule("security.openshift.io", &["securitycontextconstraints"], &read),
            rule(RBAC, &["clusterroles", "clusterrolebindings", "roles", "rolebindings"], &read),
        ],
    ));
    objects
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// A role, and its binding to the service account of the same name.
fn role(account: &str, rules: &[Value]) -> [Value; 2] {
    let name = format!("system:openshift:controller:{account}");
    [
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": rules,
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": ACCOUNTS}],
        }),
    ]
}
