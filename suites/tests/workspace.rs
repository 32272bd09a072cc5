//! The command against a cluster with the test double of the DevWorkspace Operator, made by the
//! test: workspaces are judged as pods are, and an operator that is not at work is told as such and
//! disturbs nothing else.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use harness::verdict::{Outcome, Verdict};
use serde_json::{Value, json};
use test_support::{Cluster, Finished, LocalCluster, Report, TestDir, expected};

const OPERATOR: &str =
    "/apis/apps/v1/namespaces/devworkspace-controller/deployments/devworkspace-controller-manager";

/// How long the operator may take to end; its grace period is 10 s.
const ENDS: Duration = Duration::from_secs(60);

/// The cases of other suites for the comparison with a run without an operator.
const OTHERS: [&str; 3] = ["identity", "isolation", "root"];

fn run(cluster: &Cluster, options: &[&str]) -> (Finished, Report) {
    let dir = TestDir::new();
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck(fixed.iter().chain(options));
    (finished, dir.report())
}

/// The verdicts by case, without those about workspaces.
fn of_others(report: &Report) -> BTreeMap<String, &'static str> {
    let cases = report.cases().into_iter();
    let others = cases.filter(|case| OTHERS.iter().any(|suite| case.name.starts_with(suite)));
    others.map(|case| (case.id.clone(), case.verdict.name())).collect()
}

/// Ends the operator's pod and waits until the cluster says so.
fn end_operator(cluster: &Cluster) {
    cluster.merge(OPERATOR, &json!({"spec": {"replicas": 0}}));
    let started = Instant::now();
    while cluster.get(OPERATOR).pointer("/status/replicas").and_then(Value::as_u64).is_some() {
        assert!(started.elapsed() < ENDS, "the operator does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "makes a cluster of OpenShift with an operator: ci/test runs it"]
fn workspaces_are_conformant_and_a_missing_operator_is_reported() {
    let options = ["--flavour", "openshift", "--release", "4.19", "--feature-set"];
    let more = ["TechPreviewNoUpgrade", "--with", "devworkspace-operator"];
    let cluster = LocalCluster::up("workspace", &[&options[..], &more].concat());
    let before = cluster.shared_objects();

    let (finished, whole) = run(&cluster, &[]);
    finished.exits(0).says(&["Conformant"]);
    assert_eq!(whole.outcome(), Outcome::Conformant);
    let checks = whole.truth_checks();
    let of_workspaces: Vec<_> =
        whole.cases().into_iter().filter(|case| case.id.starts_with("WS-")).collect();
    assert!(of_workspaces.len() >= 25, "{} cases", of_workspaces.len());
    whole.is_as_expected(&expected("openshift-4.19-with-workspaces"));
    for case in of_workspaces.into_iter().filter(|case| case.verdict == Verdict::Pass) {
        let id = case.id.as_str();
        assert!(checks.get(id).is_some_and(|count| *count > 0), "{id} proves nothing");
    }
    cluster.is_clean();
    assert_eq!(cluster.shared_objects(), before, "what the cluster had is as it was");

    end_operator(&cluster);
    let (finished, without) = run(&cluster, &[&["workspace"][..], &OTHERS].concat());
    finished.exits(1).says(&["WS-04", "ready pods of the operator"]);
    let failed = without.ids("fail");
    assert_eq!(failed, ["WS-04"], "{finished}");
    let Verdict::Blocked { reason, .. } = without.verdict("WS-05") else {
        panic!("{:?}", without.verdict("WS-05"))
    };
    assert!(reason.contains("has no ready pod"), "{reason}");
    assert_eq!(of_others(&without), of_others(&whole), "the others are as they were");
    cluster.is_clean();
}
