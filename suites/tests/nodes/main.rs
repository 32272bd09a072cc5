//! The proof of each node, on clusters of two nodes, which the tests make.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod indexed_job;

use std::time::Duration;

use harness::verdict::{Outcome, Verdict};
use test_support::{Finished, LocalCluster, Report, TestDir};

/// How long the proof of two nodes may take.
const SOON: Duration = Duration::from_secs(90);

/// Runs nestcheck with these options in a directory.
fn run(cluster: &LocalCluster, dir: &TestDir, options: &[&str]) -> (Finished, Report) {
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck(fixed.iter().chain(options));
    (finished, dir.report())
}

/// Expects that every report has a row of each node.
#[track_caller]
fn has_rows(finished: &Finished, report: &Report) {
    let read =
        |name: &str| std::fs::read_to_string(report.directory().join(name)).expect("it is there");
    for id in ["NODE-01.node", "NODE-01.node-2"] {
        for (name, text) in [
            ("the terminal", finished.stderr.clone()),
            ("the page", read("index.html")),
            ("JUnit", read("junit.xml")),
            ("JSON", read("report.json")),
        ] {
            assert!(text.contains(id), "{name} has no row of {id}: {text}");
        }
    }
}

#[test]
#[ignore = "makes clusters: ci/test runs it"]
fn a_node_without_the_gate_is_reported_by_its_name() {
    let dir = TestDir::new();
    let cluster = LocalCluster::up("unlike", &["--nodes", "2", "--other-node-gates", "no-kubelet"]);

    let (finished, report) = run(&cluster, &dir, &["--every-node", "nodes", "UPG-04"]);

    finished.exits(3).within(SOON);
    assert_eq!(report.outcome(), Outcome::Partial);
    assert_eq!(report.verdict("NODE-01.node"), &Verdict::Pass);
    let Verdict::Blocked { reason, .. } = report.verdict("NODE-01.node-2") else {
        panic!("{finished}")
    };
    assert!(
        reason.contains("UserNamespacesSupport is off on the kubelet of node `node-2`"),
        "{reason}"
    );
    let facts = report.json("/run/cluster").to_string();
    assert!(facts.contains("`node-2`: kubelet gate off, not on"), "{facts}");
    has_rows(&finished, &report);
    cluster.is_clean();

    // What is read is not believed: the pod on the node shows it.
    let (finished, report) = run(&cluster, &dir, &["--every-node", "nodes", "--no-preflight"]);
    finished.exits(1).within(SOON);
    assert_eq!(report.verdict("NODE-01.node"), &Verdict::Pass);
    let Verdict::Fail { message, .. } = report.verdict("NODE-01.node-2") else {
        panic!("{finished}")
    };
    assert!(message.contains("on node `node-2`"), "{message}");
    cluster.is_clean();
}
