//! Who may have nested containers: an SCC and the role to use it, or the namespace's Pod Security level.

use serde_json::{Value, json};

use super::{Change, Circumstances, Cost, Step};
use crate::{
    facts::{Facts, Flavour, Sccs, allowed_capabilities},
    sandbox::rbac::{SHIPPED_SCC, role_and_binding, use_of},
    verdict::Place,
};

/// Who is to have nested containers, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The namespace, whose name was checked.
    pub namespace: String,
    /// The user, or the service account as `system:serviceaccount:NAMESPACE:NAME`.
    pub user: Option<String>,
}

/// The capabilities without which newuidmap and newgidmap can't write a map.
const CAPABILITIES: [&str; 2] = ["SETUID", "SETGID"];

/// The capabilities that an SCC for nested containers may allow: those of OpenShift's and of Che's.
const NARROW: [&str; 3] = ["SETUID", "SETGID", "CHOWN"];

/// What an SCC for nested containers must not allow: more than a user namespace keeps in.
const WIDE: [&str; 6] = [
    "allowPrivilegedContainer",
    "allowHostDirVolumePlugin",
    "allowHostIPC",
    "allowHostNetwork",
    "allowHostPID",
    "allowHostPorts",
];

/// The workspace's user.
const USER: i64 = 1000;

/// The name of an SCC that lets the pods of ordinary users have nested containers and nothing more. The
/// one that OpenShift ships comes first.
#[must_use]
pub(super) fn fitting_scc(sccs: &Sccs) -> Option<&str> {
    let fitting = || sccs.iter().filter(|(_, scc)| fits(scc)).map(|(name, _)| name.as_str());
    fitting().find(|name| *name == SHIPPED_SCC).or_else(|| fitting().next())
}

/// The SCC of the cluster that lets pods of ordinary users have nested containers, if there is one.
#[must_use]
pub fn scc_for_nested_containers(facts: &Facts) -> Option<String> {
    facts.sccs.value().and_then(fitting_scc).map(str::to_owned)
}

fn fits(scc: &Value) -> bool {
    let allowed = allowed_capabilities(scc);
    let allows = |capability: &&str| allowed.contains(capability);
    let is_narrow = allowed.iter().all(|it| NARROW.contains(it))
        && WIDE.iter().all(|field| scc.get(field).is_none_or(|value| value != true));
    let of_user = |field: &str| scc.pointer(&format!("/runAsUser/{field}")).and_then(Value::as_i64);
    let allows_user = match scc.pointer("/runAsUser/type").and_then(Value::as_str) {
        Some("RunAsAny" | "MustRunAsNonRoot") => true,
        Some("MustRunAs") => of_user("uid") == Some(USER),
        // Without its ends it is the namespace's range, which has no id below 65536.
        Some("MustRunAsRange") => {
            let ends = of_user("uidRangeMin").zip(of_user("uidRangeMax"));
            ends.is_some_and(|(min, max)| (min..=max).contains(&USER))
        }
        _ => false,
    };
    scc["userNamespaceLevel"] == "RequirePodLevel"
        && scc["allowPrivilegeEscalation"] == true
        && CAPABILITIES.iter().all(allows)
        && is_narrow
        && allows_user
}

/// The SCC, where the cluster has none, and the role and binding by which somebody may use it.
pub(super) fn scc(circumstances: &Circumstances<'_>) -> Option<Change> {
    if circumstances.platform.flavour == Some(Flavour::Kubernetes) {
        return None;
    }
    let scc = &circumstances.declarations.scc;
    let own_name = scc.pointer("/metadata/name")?.as_str()?;
    let name = circumstances.scc.as_deref().unwrap_or(own_name);
    let mut steps = Vec::new();
    if circumstances.scc.is_none() {
        steps.push(Step::Manifest { object: scc.clone() });
    }
    let user = circumstances.access.as_ref().and_then(|access| {
        let user = access.user.as_deref()?;
        Some((access.namespace.as_str(), user))
    });
    if let Some((namespace, user)) = user {
        for object in grant(name, namespace, user)? {
            steps.push(Step::Manifest { object });
        }
    }
    if steps.is_empty() {
        return None;
    }
    let title = match user {
        Some((namespace, user)) => {
            format!("Let `{user}` use the SCC `{name}` in the namespace `{namespace}`")
        }
        None => format!("Create the SCC `{name}`"),
    };
    let change = Change::new(title, Place::Policy, &[Cost::MorePermissions], steps);
    Some(match user {
        Some(_) => change.with_note(format!(
            "pods ask for it with the annotation `openshift.io/required-scc: {name}`"
        )),
        None => change.with_note(
            "`--user NAME --namespace NAMESPACE` adds the role and the binding by which somebody may \
             use it",
        ),
    })
}

/// A role for one SCC in one namespace, and its binding.
fn grant(scc: &str, namespace: &str, user: &str) -> Option<[Value; 2]> {
    let name = format!("use-{scc}");
    let (role, binding) = role_and_binding(namespace, &name, user, vec![use_of(scc)]);
    Some([serde_json::to_value(role).ok()?, serde_json::to_value(binding).ok()?])
}

/// The label by which the namespace admits nested pods. OpenShift's own labels would come back
/// (cluster-policy-controller, `pkg/psalabelsyncer`).
pub(super) fn namespace(circumstances: &Circumstances<'_>) -> Option<Change> {
    let Access { namespace, .. } = circumstances.access.as_ref()?;
    let mut labels = json!({"pod-security.kubernetes.io/enforce": "privileged"});
    if circumstances.platform.flavour == Some(Flavour::OpenShift) {
        labels["security.openshift.io/scc.podSecurityLabelSync"] = json!("false");
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": namespace, "labels": labels},
    });
    let title = format!("Let the namespace `{namespace}` admit nested pods");
    let steps = vec![Step::Manifest { object }];
    Some(Change::new(title, Place::Policy, &[Cost::WeakerNamespace], steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scc(change: fn(&mut Value)) -> Value {
        let mut scc = json!({
            "userNamespaceLevel": "RequirePodLevel", "allowPrivilegeEscalation": true,
            "allowedCapabilities": ["SETUID", "SETGID"],
            "runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 0, "uidRangeMax": 65534},
        });
        change(&mut scc);
        scc
    }

    #[test]
    fn an_scc_fits_only_if_a_nested_pod_and_no_other_is_admitted_by_it() {
        assert!(fits(&scc(|_| {})));
        assert!(fits(&scc(|scc| scc["runAsUser"] = json!({"type": "MustRunAs", "uid": 1000}))));
        for (what, change) in [
            ("no level", (|scc| scc["userNamespaceLevel"] = Value::Null) as fn(&mut Value)),
            ("privileged", |scc| scc["userNamespaceLevel"] = json!("AllowHostLevel")),
            ("no escalation", |scc| scc["allowPrivilegeEscalation"] = json!(false)),
            ("no SETGID", |scc| scc["allowedCapabilities"] = json!(["SETUID"])),
            ("early z-stream", |scc| scc["runAsUser"] = json!({"type": "MustRunAsRange"})),
            ("every capability", |scc| scc["allowedCapabilities"] = json!(["*"])),
            ("SYS_ADMIN", |scc| {
                scc["allowedCapabilities"] = json!(["SETUID", "SETGID", "SYS_ADMIN"]);
            }),
            ("host directories", |scc| scc["allowHostDirVolumePlugin"] = json!(true)),
            ("the node's network", |scc| scc["allowHostNetwork"] = json!(true)),
            ("privileged containers", |scc| scc["allowPrivilegedContainer"] = json!(true)),
            ("another user", |scc| scc["runAsUser"] = json!({"type": "MustRunAs", "uid": 0})),
        ] {
            assert!(!fits(&scc(change)), "{what}");
        }
    }
}
