//! The security context constraints for user namespaces that OpenShift ships
//! from 4.20 on and MicroShift, whose set the components folder has, does not.
//!
//! Field by field they are those of cluster-kube-apiserver-operator (pull request
//! 1847, `bindata/bootkube/scc-manifests`).

use serde_json::{Value, json};

/// The volumes that hold nothing of the host.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// `nested-container`, which nobody may use unless somebody binds its role, and
/// `restricted-v3`, which every authenticated user may use.
pub fn of_user_namespaces() -> Vec<Value> {
    vec![
        nested_container(),
        role("nested-container"),
        restricted_v3(),
        role("restricted-v3"),
        binding("restricted-v3"),
    ]
}

/// What both have: nothing of the host, and a user namespace.
fn constraint(name: &str, fields: Value) -> Value {
    let mut constraint = json!({
        "apiVersion": "security.openshift.io/v1",
        "kind": "SecurityContextConstraints",
        "metadata": {"name": name},
        "allowHostDirVolumePlugin": false,
        "allowHostIPC": false,
        "allowHostNetwork": false,
        "allowHostPID": false,
        "allowHostPorts": false,
        "allowPrivilegedContainer": false,
        "defaultAddCapabilities": null,
        "groups": [],
        "priority": null,
        "readOnlyRootFilesystem": false,
        "userNamespaceLevel": "RequirePodLevel",
        "users": [],
    });
    if let (Some(constraint), Value::Object(fields)) = (constraint.as_object_mut(), fields) {
        constraint.extend(fields);
    }
    constraint
}

fn nested_container() -> Value {
    let everyone = json!({"type": "MustRunAs", "ranges": [{"min": 0, "max": 65534}]});
    constraint(
        "nested-container",
        json!({
            "allowPrivilegeEscalation": true,
            "allowedCapabilities": ["SETUID", "SETGID"],
            "requiredDropCapabilities": null,
            "fsGroup": everyone,
            "supplementalGroups": everyone,
            "runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 0, "uidRangeMax": 65534},
            "seLinuxContext": {
                "type": "MustRunAs",
                "seLinuxOptions": {"type": "container_engine_t"},
            },
            "seccompProfiles": ["*"],
            "volumes": VOLUMES,
        }),
    )
}

fn restricted_v3() -> Value {
    let others = json!({"type": "MustRunAs", "ranges": [{"min": 1000, "max": 65534}]});
    constraint(
        "restricted-v3",
        json!({
            "allowPrivilegeEscalation": false,
            "allowedCapabilities": ["NET_BIND_SERVICE"],
            "requiredDropCapabilities": ["ALL"],
            "fsGroup": others,
            "supplementalGroups": others,
            "runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 1000, "uidRangeMax": 65534},
            "seLinuxContext": {"type": "MustRunAs"},
            "seccompProfiles": ["runtime/default"],
            "volumes": VOLUMES,
        }),
    )
}

/// The role that lets its subjects use a constraint.
fn role(constraint: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": format!("system:openshift:scc:{constraint}")},
        "rules": [{
            "apiGroups": ["security.openshift.io"],
            "resources": ["securitycontextconstraints"],
            "resourceNames": [constraint],
            "verbs": ["use"],
        }],
    })
}

/// Lets every authenticated user use a constraint.
fn binding(constraint: &str) -> Value {
    let name = format!("system:openshift:scc:{constraint}");
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": name,
        },
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Group",
            "name": "system:authenticated",
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_require_a_user_namespace() {
        for constraint in [nested_container(), restricted_v3()] {
            assert_eq!(constraint["userNamespaceLevel"], "RequirePodLevel");
        }
    }

    #[test]
    fn nobody_may_use_nested_container() {
        let list = of_user_namespaces();
        let bindings: Vec<_> =
            list.iter().filter(|object| object["kind"] == "ClusterRoleBinding").collect();
        assert_eq!(bindings.len(), 1);
        assert_eq!(bindings[0]["metadata"]["name"], "system:openshift:scc:restricted-v3");
    }
}
