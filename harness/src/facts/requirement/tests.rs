//! What the tests of requirements have in common.

use super::*;
use crate::facts::{DevSpaces, DeviceRoute, Fact, Flavour, KubernetesVersion, Node};

fn no_such_thing<T>() -> Fact<T> {
    Fact::NotApplicable { reason: "test".into() }
}

/// The facts of a cluster on which everything works. A fact that no test here is about is unknown.
pub(crate) fn able() -> Facts {
    let yes = || Fact::known(true, "test");
    Facts {
        flavour: Fact::known(Flavour::Kubernetes, "test"),
        version: KubernetesVersion { minor: 32, full: "v1.32.5".into() },
        release: Fact::known(None, "test"),
        feature_set: no_such_thing(),
        configured_gates: no_such_thing(),
        upgradeable: no_such_thing(),
        rollout: no_such_thing(),
        scc_schema: no_such_thing(),
        sccs: no_such_thing(),
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
                takes_pods: true,
                user_namespaces: yes(),
                kubelet_gate: yes(),
                ..Node::default()
            }],
            "test",
        ),
        device_route: Fact::known(Some(DeviceRoute::RuntimeClass("nested".into())), "test"),
        default_storage: Fact::known(Some("local".into()), "test"),
        devspaces: DevSpaces::absent(),
        ..Facts::default()
    }
}

pub(super) fn off() -> Fact<bool> {
    Fact::known(false, "dry run")
}

pub(super) fn reason(decision: Decision) -> String {
    match decision {
        Decision::Met => "met".into(),
        Decision::Unmet { reason, .. } => reason,
    }
}

#[test]
fn an_able_cluster_meets_everything() {
    let requirements: [&dyn Requirement; 4] =
        [&UserNamespaces, &UnmaskedProc, &Devices, &KubernetesMinor(32)];
    for requirement in requirements {
        assert_eq!(requirement.decide(&able()), Decision::Met, "{requirement:?}");
    }
}

#[test]
fn a_requirement_is_found_by_its_type() {
    let requires: [&dyn Requirement; 2] = [&UserNamespaces, &KubernetesMinor(34)];
    assert!(includes::<UserNamespaces>(&requires) && includes::<KubernetesMinor>(&requires));
    assert!(!includes::<DeviceRequests>(&requires));
    assert!(!includes::<Devices>(&[&DeviceRequests]), "to ask is not to have");
}
