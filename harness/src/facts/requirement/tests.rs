use super::*;
use crate::facts::{DevSpaces, DeviceRoute, KubernetesVersion};

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
                provider_id: None,
                takes_pods: true,
                user_namespaces: yes(),
                kubelet_gate: yes(),
            }],
            "test",
        ),
        device_route: Fact::known(Some(DeviceRoute::RuntimeClass("nested".into())), "test"),
        default_storage: Fact::known(Some("local".into()), "test"),
        devspaces: DevSpaces::absent(),
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
fn what_the_server_does_counts_more_than_what_it_says() {
    let facts = Facts { server_proc_mount_gate: off(), ..able() };
    assert_eq!(Requirement::UnmaskedProc.decide(&facts), Decision::Met);
    let facts = Facts { keeps_proc_mount: Fact::unknown("403"), ..facts };
    assert!(reason(Requirement::UnmaskedProc.decide(&facts)).contains("ProcMountType is off"));
}

#[test]
fn several_nodes_are_named_and_many_are_counted() {
    let mut facts = able();
    if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
        let mut lacking = nodes[0].clone();
        lacking.kubelet_gate = off();
        for number in 1..=5 {
            nodes.push(Node { name: format!("worker-{number}"), ..lacking.clone() });
        }
    }
    let reported = reason(Requirement::UserNamespaces.decide(&facts));
    let names = "kubelet of nodes `worker-1`, `worker-2`, `worker-3` and 2 more";
    assert!(reported.contains(names), "{reported}");
}

#[test]
fn each_gate_is_named_with_its_component() {
    let facts = Facts { keeps_host_users: off(), ..able() };
    let reported = reason(Requirement::UserNamespaces.decide(&facts));
    assert!(reported.contains("UserNamespacesSupport is off on the API server"), "{reported}");

    let mut facts = able();
    if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
        nodes[0].kubelet_gate = off();
    }
    let reported = reason(Requirement::UserNamespaces.decide(&facts));
    assert!(reported.contains("UserNamespacesSupport is off on the kubelet of node"), "{reported}");

    let facts = Facts { keeps_proc_mount: off(), ..able() };
    let reported = reason(Requirement::UnmaskedProc.decide(&facts));
    assert!(reported.contains("ProcMountType is off on the API server"), "{reported}");
}

#[test]
fn an_unable_runtime_is_named() {
    let mut facts = able();
    if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
        nodes[0].user_namespaces = off();
    }
    let reported = reason(Requirement::UserNamespaces.decide(&facts));
    assert!(reported.contains("containerd://2.4.2"), "{reported}");
}

#[test]
fn no_device_route_is_unmet_and_an_unknown_one_is_not() {
    let facts = Facts { device_route: Fact::known(None, "test"), ..able() };
    assert!(reason(Requirement::Devices.decide(&facts)).contains("/dev/fuse"));
    let facts = Facts { device_route: Fact::unknown("403"), ..able() };
    assert_eq!(Requirement::Devices.decide(&facts), Decision::Met);
}

#[test]
fn an_annotation_is_tried_in_a_pod_and_blocks_nothing_before() {
    let facts = Facts {
        device_route: Fact::known(Some(DeviceRoute::Annotation), "CRI-O 1.35.6 knows both names"),
        ..able()
    };
    assert_eq!(Requirement::Devices.decide(&facts), Decision::Met);
    assert_eq!(Requirement::Devices.unknown(&facts), None);
    let why = Requirement::Devices.to_be_tried(&facts).expect("a pod must tell");
    assert!(why.contains("to be tried in a pod (CRI-O 1.35.6 knows both names)"), "{why}");
    assert_eq!(Requirement::DeviceRoute.to_be_tried(&facts), None, "asking needs no pod");
    assert_eq!(Requirement::Devices.to_be_tried(&able()), None, "a RuntimeClass is read");
}

#[test]
fn no_default_class_is_unmet_and_an_unknown_one_is_not() {
    let facts = Facts { default_storage: Fact::known(None, "test"), ..able() };
    assert!(reason(Requirement::StorageClass.decide(&facts)).contains("StorageClass"));
    let facts = Facts { default_storage: Fact::unknown("403"), ..able() };
    assert_eq!(Requirement::StorageClass.decide(&facts), Decision::Met);
    assert_eq!(Requirement::StorageClass.unknown(&facts).as_deref(), Some("403"));
}

#[test]
fn nothing_is_said_about_what_could_not_be_read() {
    assert_eq!(Requirement::UserNamespaces.unknown(&able()), None);
    let facts = Facts { keeps_host_users: Fact::unknown("403"), ..able() };
    assert_eq!(Requirement::UserNamespaces.unknown(&facts), None, "a metric is left");
    let facts = Facts { server_user_namespaces_gate: Fact::unknown("metrics"), ..facts };
    assert_eq!(Requirement::UserNamespaces.unknown(&facts).as_deref(), Some("403"));
    let facts = Facts { nodes: Fact::unknown("403"), ..able() };
    assert_eq!(Requirement::UserNamespaces.unknown(&facts).as_deref(), Some("403"));
    assert_eq!(Requirement::UnmaskedProc.unknown(&facts), None);
}

#[test]
fn an_old_cluster_is_named() {
    let reported = reason(Requirement::KubernetesMinor(34).decide(&able()));
    assert!(reported.contains("v1.32.5 is older than 1.34"), "{reported}");
}
