//! The command against clusters on which nested containers can't work, each made by the test that
//! needs it: the run is never green, says which gate is off where, and leaves nothing.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use harness::{
    facts::Flavour,
    outcome::{Outcome, Verdict},
    plan::Profile,
};
use support::{Bench, Finished, LocalCluster, Operators, Report, Request, default_settings, tells};

/// Far below the 180 s that a pod may take: what can't be is known at once.
const SOON: Duration = Duration::from_secs(60);

/// Runs all cases against the cluster.
fn run(cluster: &LocalCluster, options: &[&str]) -> (Finished, Report) {
    let bench = Bench::new();
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig()];
    let finished = bench.nestcheck(fixed.iter().chain(options));
    (finished, bench.report())
}

/// Expects that the run is partial, and that each case but these is blocked for a reason and with
/// a remedy that name the gate and the component.
#[track_caller]
fn is_partial(finished: &Finished, report: &Report, passed: &[&str], words: &[&str]) {
    finished.exits(3).within(SOON).says(words);
    assert_eq!(report.outcome(), Outcome::Partial);
    assert_eq!(report.ids("pass"), passed);
    for case in report.cases().iter().filter(|case| !passed.contains(&case.id.as_str())) {
        let Verdict::Blocked { reason, remedy } = &case.verdict else {
            panic!("{case:?} is not blocked");
        };
        assert!(reason.contains("gate") && reason.contains("read from"), "{reason}");
        assert!(remedy.contains("--feature-gates="), "{remedy}");
    }
    is_red(report);
}

/// Expects that readers of the JUnit file, who ignore skipped cases, see a failure.
#[track_caller]
fn is_red(report: &Report) {
    let cases = report.junit_cases();
    let outcome = cases.iter().find(|(name, _)| name.contains("outcome"));
    let (_, status) = outcome.expect("the JUnit file has a case for the outcome");
    assert!(matches!(status, quick_junit::TestCaseStatus::NonSuccess { .. }), "{status:?}");
}

/// Expects that the run failed, soon, with exactly these cases passed, and each failure naming one
/// of these.
#[track_caller]
fn is_red_without_preflight(cluster: &LocalCluster, passed: &[&str], words: &[&str]) {
    let (finished, report) = run(cluster, &["--no-preflight"]);
    finished.exits(1).within(SOON);
    assert_eq!(report.outcome(), Outcome::NotConformant);
    assert_eq!(report.ids("pass"), passed);
    for case in report.cases().iter().filter(|case| !passed.contains(&case.id.as_str())) {
        let Verdict::Fail { message, .. } = &case.verdict else {
            panic!("{case:?} is not failed");
        };
        assert!(words.iter().any(|word| message.contains(word)), "{}: {message}", case.id);
    }
    is_red(&report);
    cluster.is_clean();
}

/// Expects that no suite is green for itself without preflight.
#[track_caller]
fn no_suite_is_green_without_preflight(cluster: &LocalCluster) {
    let profile = Profile::of(Flavour::Kubernetes);
    let cases = suites::cases();
    let cases = cases.iter().filter(|case| profile.has(case));
    let suites: BTreeSet<_> = cases.map(|case| case.suite).collect();
    for suite in suites {
        let (finished, report) = run(cluster, &["--no-preflight", suite]);
        finished.exits(1);
        is_red(&report);
    }
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_cluster_without_gates_is_told_and_left_alone() {
    let cluster = LocalCluster::up("none", &["--gates", "none"]);
    let start = cluster.now();
    let (finished, report) = run(&cluster, &[]);
    let gate = "UserNamespacesSupport is off on the API server";
    is_partial(&finished, &report, &[], &[gate]);
    let requests = cluster.requests_since(start);
    assert!(!requests.is_empty());
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert!(report.steps().is_empty(), "{:?}", report.steps());

    let preflight = Bench::new().nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    preflight.exits(3);
    for words in [gate, "ProcMountType is off on the API server", "unsupported", "hint: "] {
        assert!(preflight.stdout.contains(words), "{preflight}");
    }

    // Workspaces that are told to be nested all the same start for ever, or without isolation.
    let operators = Operators::make(&cluster);
    operators.config(&default_settings());
    tells(&cluster, 3, "on", &[("danger", "but the cluster does not support nested containers")]);
    drop(operators);

    // The control is true of any cluster, but proves nothing here: it needs the nested pod too.
    is_red_without_preflight(
        &cluster,
        &[],
        &["hostUsers", "procMount", "Unmasked", "volumeDevices"],
    );
    no_suite_is_green_without_preflight(&cluster);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_kubelet_without_the_gate_is_told() {
    let cluster = LocalCluster::up("no-kubelet", &["--gates", "no-kubelet"]);
    let (finished, report) = run(&cluster, &[]);
    let words = ["UserNamespacesSupport is off on the kubelet of node"];
    // The API server's gate for /proc is on, which is all that GATE-02 asserts.
    is_partial(&finished, &report, &["GATE-02"], &words);
    cluster.is_clean();

    let words = ["UserNamespacesSupport", "HostUsers"];
    let of_the_server = ["ADM-01", "ADM-02", "ADM-04", "GATE-01", "GATE-02"];
    is_red_without_preflight(&cluster, &of_the_server, &words);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_cluster_that_masks_proc_is_told() {
    let cluster = LocalCluster::up("no-proc-mount", &["--gates", "no-proc-mount"]);
    let (finished, report) = run(&cluster, &[]);
    let words = ["ProcMountType is off on the API server"];
    is_partial(&finished, &report, &["GATE-01"], &words);
    cluster.is_clean();

    is_red_without_preflight(&cluster, &["ADM-02", "GATE-01"], &["procMount", "Unmasked"]);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn an_api_server_without_the_gates_is_told() {
    let cluster = LocalCluster::up("no-apiserver", &["--gates", "no-apiserver"]);
    let start = cluster.now();
    let (finished, report) = run(&cluster, &[]);
    is_partial(&finished, &report, &[], &["UserNamespacesSupport is off on the API server"]);
    assert!(!cluster.requests_since(start).iter().any(Request::changes));
    is_red_without_preflight(
        &cluster,
        &[],
        &["hostUsers", "procMount", "Unmasked", "volumeDevices"],
    );
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn another_version_with_all_gates_is_conformant() {
    let cluster = LocalCluster::up("1-34", &["--kubernetes", "1.34.4"]);
    let (finished, report) = run(&cluster, &[]);
    finished.exits(0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    assert_eq!(report.ids("pass").len(), suites::cases().len());
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn another_version_without_gates_is_told() {
    let options = ["--kubernetes", "1.34.4", "--gates", "none"];
    let cluster = LocalCluster::up("1-34-none", &options);
    let (finished, report) = run(&cluster, &[]);
    is_partial(&finished, &report, &[], &["UserNamespacesSupport is off on the API server"]);
}
