//! Clusters with the DevWorkspace Operator: that it answers when `up` returns, and that it goes
//! with its cluster.

use crate::support::{Cluster, Machine};

const NOTE: &str =
    "this test needs root and a built cache: run `local-cluster build --flavour openshift` first";

const WITH_OPERATOR: &[&str] = &[
    "--flavour",
    "openshift",
    "--release",
    "4.19",
    "--feature-set",
    "TechPreviewNoUpgrade",
    "--with",
    "devworkspace-operator",
];

const OLD_WORKSPACE: &str = "
apiVersion: workspace.devfile.io/v1alpha1
kind: DevWorkspace
metadata: {name: old, namespace: default}
spec: {started: false, template: {}}
";

#[test]
#[ignore = "needs root and a built cache: run with --ignored"]
fn the_operator_answers_when_the_cluster_is_ready_and_ends_with_it() {
    let machine = Machine::look();
    let cluster = Cluster::new("test-os-operator");
    cluster.up(WITH_OPERATOR).expect(NOTE);
    assert_eq!(cluster.status()["with"]["devworkspaceOperator"], true);

    // Admission and conversion, without a second try.
    cluster.apply("admin", OLD_WORKSPACE).expect("a workspace of the old version is taken");
    let path = "/apis/workspace.devfile.io/v1alpha2/namespaces/default/devworkspaces/old";
    let stored = cluster.kubectl(&["get", "--raw", path]);
    assert!(
        stored.contains("controller.devfile.io/creator"),
        "the webhook has labelled it: {stored}"
    );
    cluster.kubectl(&["delete", "devworkspace", "old", "--timeout=30s"]);

    let without = WITH_OPERATOR.strip_suffix(&["--with", "devworkspace-operator"]).unwrap();
    let other = cluster.up(without).unwrap_err();
    assert!(other.stderr.contains("with devworkspace-operator"), "{}", other.stderr);

    let owned = cluster.owned();
    cluster.down();
    owned.assert_gone();
    machine.assert_unchanged(&cluster);
}

#[test]
#[ignore = "needs root and a built cache: run with --ignored"]
fn kubernetes_refuses_the_operator() {
    let cluster = Cluster::new("test-operator-refused");
    let refused = cluster.up(&["--with", "devworkspace-operator"]).unwrap_err();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("for flavour `openshift` only"), "{}", refused.stderr);
}
