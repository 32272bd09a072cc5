//! Whether the node is looked at from outside of pods.

use harness::verdict::Step;
use test_support::{Live, Report, TestDir};

/// The pods that a run made.
fn pods(report: &Report) -> Vec<&str> {
    let names = report.steps().into_iter().filter_map(|finished| match &finished.step {
        Step::Pod { name } => Some(name.as_str()),
        _ => None,
    });
    names.collect()
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_node_is_looked_at_only_by_leave() {
    let cluster = Live::take();
    // Without preflight whatever is blocked by facts is tried; leave is no fact.
    let run = ["run", "ID-04", "ID-09", "ID-10", "--no-preflight", "--kubeconfig"];
    let run = run.into_iter().chain([cluster.kubeconfig()]);
    let dir = TestDir::new();
    dir.nestcheck(run.clone()).exits(0);
    let report = dir.report();
    assert_eq!(
        (report.ids("pass"), report.ids("blocked")),
        (vec!["ID-04"], vec!["ID-09", "ID-10"])
    );
    assert!(!pods(&report).contains(&"inspector"), "{:?}", pods(&report));

    let dir = TestDir::new();
    dir.nestcheck(run.chain(["--node-access"])).exits(0);
    let report = dir.report();
    let mut passed = report.ids("pass");
    passed.sort_unstable();
    assert_eq!(passed, ["ID-04", "ID-09", "ID-10"]);
    assert!(pods(&report).contains(&"inspector"), "{:?}", pods(&report));
    cluster.is_clean();
}
