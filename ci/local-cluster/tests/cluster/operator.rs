//! Clusters with the DevWorkspace Operator: that it answers when `up` returns, and that it goes
//! with its cluster.

use crate::support::{Cluster, Machine, TECH_PREVIEW};

const OLD_WORKSPACE: &str = "
apiVersion: workspace.devfile.io/v1alpha1
kind: DevWorkspace
metadata: {name: old, namespace: default}
spec: {started: false, template: {}}
";

#[test]
#[ignore = "needs root and a built cache"]
fn the_operator_answers_when_the_cluster_is_ready_and_ends_with_it() {
    let machine = Machine::look();
    let with_operator = [TECH_PREVIEW, &["--with", "devworkspace-operator"]].concat();
    let cluster = Cluster::running("test-os-operator", &with_operator);
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

    let other = cluster.up(TECH_PREVIEW).unwrap_err();
    assert!(other.stderr.contains("with devworkspace-operator"), "{}", other.stderr);

    cluster.down_cleanly(&machine);
}
