//! What a case needs of a cluster, decided from facts alone.

use crate::facts::{Fact, Facts, Gate};

/// What a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Pods get a user namespace with `hostUsers: false`: the gate on the API server and on the
    /// kubelets, and a runtime that can.
    UserNamespaces,
    /// Pods keep `procMount: Unmasked`.
    UnmaskedProc,
    /// Pods can get /dev/fuse and /dev/net/tun.
    Devices,
    /// The API server's minor version is at least this.
    KubernetesMinor(u32),
}

/// Whether a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is met, or nothing known speaks against it: then what happens in the pod decides.
    Met,
    /// It is not met.
    Unmet {
        /// What is missing, and where that was read.
        reason: String,
        /// What would help.
        remedy: String,
    },
}

impl Decision {
    fn unmet(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unmet { reason: reason.into(), remedy: remedy.into() }
    }
}

impl Requirement {
    /// Decides whether the cluster with these facts meets the requirement.
    ///
    /// A fact that is unknown meets it: the cases prove what they assert in the pod, and a
    /// missing right to read must not hide what a cluster can do.
    #[must_use]
    pub fn decide(self, facts: &Facts) -> Decision {
        match self {
            Self::UserNamespaces => user_namespaces(facts),
            Self::UnmaskedProc => unmasked_proc(facts),
            Self::Devices => devices(facts),
            Self::KubernetesMinor(minor) if facts.version.minor < minor => Decision::unmet(
                format!("Kubernetes {} is older than 1.{minor}", facts.version.full),
                format!("use a cluster of Kubernetes 1.{minor} or newer"),
            ),
            Self::KubernetesMinor(_) => Decision::Met,
        }
    }
}

impl Requirement {
    /// Why nothing can be said about the requirement, where the facts that decide it are unknown.
    /// [`Self::decide`] lets a case try then; a statement about the cluster must not be made.
    #[must_use]
    pub fn unknown(self, facts: &Facts) -> Option<String> {
        match self {
            Self::UserNamespaces => {
                reason_of(&facts.keeps_host_users).or_else(|| reason_of(&facts.nodes))
            }
            Self::UnmaskedProc => reason_of(&facts.keeps_proc_mount),
            Self::Devices => reason_of(&facts.device_route),
            Self::KubernetesMinor(_) => None,
        }
    }
}

fn reason_of<T>(fact: &Fact<T>) -> Option<String> {
    match fact {
        Fact::Unknown { reason } => Some(reason.clone()),
        _ => None,
    }
}

fn user_namespaces(facts: &Facts) -> Decision {
    let gate = Gate::UserNamespacesSupport;
    if let Some(source) =
        first_false(&[&facts.keeps_host_users, &facts.server_user_namespaces_gate])
    {
        return gate_off(gate, "API server", &source);
    }
    let nodes = facts.nodes.value().map_or(&[][..], Vec::as_slice);
    for node in nodes {
        if let Some(source) = first_false(&[&node.kubelet_gate]) {
            return gate_off(gate, &format!("kubelet of node `{}`", node.name), &source);
        }
    }
    for node in nodes {
        if let Some(source) = first_false(&[&node.user_namespaces]) {
            return Decision::unmet(
                format!(
                    "the runtime {} of node `{}` can't make user namespaces (read from: {source})",
                    node.runtime, node.name
                ),
                "use containerd 2.0, CRI-O 1.25 or newer, with crun 1.9 or runc 1.2 or newer",
            );
        }
    }
    Decision::Met
}

fn unmasked_proc(facts: &Facts) -> Decision {
    match first_false(&[&facts.keeps_proc_mount, &facts.server_proc_mount_gate]) {
        Some(source) => gate_off(Gate::ProcMountType, "API server", &source),
        None => Decision::Met,
    }
}

fn devices(facts: &Facts) -> Decision {
    match &facts.device_route {
        Fact::Known { value: None, source } => Decision::unmet(
            format!(
                "the cluster offers no way to give a pod /dev/fuse and /dev/net/tun (read from: \
                 {source})"
            ),
            "on CRI-O allow them in `allowed_devices`; on containerd add a RuntimeClass with the \
             annotation `nestcheck/devices` whose handler's base spec has both devices",
        ),
        _ => Decision::Met,
    }
}

fn gate_off(gate: Gate, component: &str, source: &str) -> Decision {
    Decision::unmet(
        format!("the feature gate {gate} is off on the {component} (read from: {source})"),
        format!(
            "turn {gate} on for the API server and every kubelet (`--feature-gates={gate}=true`); \
             it is on by default from Kubernetes 1.33 and OpenShift 4.20"
        ),
    )
}

/// Where the first fact that is known to be false was read.
fn first_false(facts: &[&Fact<bool>]) -> Option<String> {
    facts.iter().find_map(|fact| match fact {
        Fact::Known { value: false, source } => Some(source.clone()),
        _ => None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::facts::{DeviceRoute, Flavour, KubernetesVersion, Node};

    fn no_such_thing<T>() -> Fact<T> {
        Fact::NotApplicable { reason: "test".into() }
    }

    /// The facts of a cluster on which everything works.
    pub(crate) fn able() -> Facts {
        let yes = || Fact::known(true, "test");
        Facts {
            server: "https://cluster.test:6443".into(),
            flavour: Fact::known(Flavour::Kubernetes, "test"),
            version: KubernetesVersion { minor: 32, full: "v1.32.5".into() },
            release: Fact::known(None, "test"),
            feature_set: no_such_thing(),
            configured_gates: no_such_thing(),
            upgradeable: no_such_thing(),
            rollout: no_such_thing(),
            scc_schema: no_such_thing(),
            constraints: no_such_thing(),
            keeps_host_users: yes(),
            keeps_proc_mount: yes(),
            server_user_namespaces_gate: yes(),
            server_proc_mount_gate: yes(),
            server_pod_security_gate: yes(),
            nodes: Fact::known(
                vec![Node {
                    name: "node".into(),
                    kubelet: "v1.32.5".into(),
                    runtime: "containerd://2.4.2".into(),
                    kernel: "6.18".into(),
                    operating_system: "Debian".into(),
                    provider_id: None,
                    user_namespaces: yes(),
                    kubelet_gate: yes(),
                }],
                "test",
            ),
            device_route: Fact::known(Some(DeviceRoute::RuntimeClass("nested".into())), "test"),
        }
    }

    fn off() -> Fact<bool> {
        Fact::known(false, "dry run")
    }

    fn reason(decision: Decision) -> String {
        match decision {
            Decision::Met => "met".into(),
            Decision::Unmet { reason, .. } => reason,
        }
    }

    #[test]
    fn an_able_cluster_meets_everything() {
        for requirement in [
            Requirement::UserNamespaces,
            Requirement::UnmaskedProc,
            Requirement::Devices,
            Requirement::KubernetesMinor(32),
        ] {
            assert_eq!(requirement.decide(&able()), Decision::Met, "{requirement:?}");
        }
    }

    #[test]
    fn each_gate_is_named_with_its_component() {
        let facts = Facts { keeps_host_users: off(), ..able() };
        let told = reason(Requirement::UserNamespaces.decide(&facts));
        assert!(told.contains("UserNamespacesSupport is off on the API server"), "{told}");

        let mut facts = able();
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            nodes[0].kubelet_gate = off();
        }
        let told = reason(Requirement::UserNamespaces.decide(&facts));
        assert!(told.contains("UserNamespacesSupport is off on the kubelet of node"), "{told}");

        let facts = Facts { keeps_proc_mount: off(), ..able() };
        let told = reason(Requirement::UnmaskedProc.decide(&facts));
        assert!(told.contains("ProcMountType is off on the API server"), "{told}");
    }

    #[test]
    fn an_unable_runtime_is_named() {
        let mut facts = able();
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            nodes[0].user_namespaces = off();
        }
        let told = reason(Requirement::UserNamespaces.decide(&facts));
        assert!(told.contains("containerd://2.4.2"), "{told}");
    }

    #[test]
    fn no_device_route_is_unmet_and_an_unknown_one_is_not() {
        let facts = Facts { device_route: Fact::known(None, "test"), ..able() };
        assert!(reason(Requirement::Devices.decide(&facts)).contains("/dev/fuse"));
        let facts = Facts { device_route: Fact::unknown("403"), ..able() };
        assert_eq!(Requirement::Devices.decide(&facts), Decision::Met);
    }

    #[test]
    fn nothing_is_said_about_what_could_not_be_read() {
        assert_eq!(Requirement::UserNamespaces.unknown(&able()), None);
        let facts = Facts { keeps_host_users: Fact::unknown("403"), ..able() };
        assert_eq!(Requirement::UserNamespaces.unknown(&facts).as_deref(), Some("403"));
        let facts = Facts { nodes: Fact::unknown("403"), ..able() };
        assert_eq!(Requirement::UserNamespaces.unknown(&facts).as_deref(), Some("403"));
        assert_eq!(Requirement::UnmaskedProc.unknown(&facts), None);
    }

    #[test]
    fn an_old_cluster_is_named() {
        let told = reason(Requirement::KubernetesMinor(34).decide(&able()));
        assert!(told.contains("v1.32.5 is older than 1.34"), "{told}");
    }
}
