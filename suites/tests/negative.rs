//! The command against clusters on which nested containers can't work, each made by the test that
//! needs it: the run is never green, says which gate is off where, and leaves nothing.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{collections::BTreeSet, time::Duration};

use harness::{
    engine::{CaseKind, Profile},
    facts::Flavour,
    verdict::{Outcome, Verdict},
};
use test_support::{
    Finished, LocalCluster, Operators, Report, Request, TestDir, default_settings, expected,
    reports,
};

/// Far below the 180 s that a pod may take: what can't be is known at once.
const SOON: Duration = Duration::from_secs(60);

/// Whether a case only compares facts, and does not act.
fn is_static(id: &str) -> bool {
    let cases = suites::cases();
    let case = cases.iter().find(|case| case.id == id);
    case.is_some_and(|case| matches!(case.kind, CaseKind::Static(_)))
}

/// Expects that the run is partial, that each case has its expected verdict, and that each blocked
/// case has a reason and a remedy that name the gate and the component.
#[track_caller]
fn is_partial(finished: &Finished, report: &Report, environment: &str, words: &[&str]) {
    finished.exits(3).within(SOON).says(words);
    assert_eq!(report.outcome(), Outcome::Partial);
    report.is_as_expected(&expected(environment));
    for case in report.cases() {
        if let Verdict::Blocked { reason, remedy, .. } = &case.verdict {
            assert!(reason.contains("gate") && reason.contains("read from"), "{reason}");
            assert!(remedy.contains("--feature-gates="), "{remedy}");
        }
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

/// Expects that the run fails soon, that each case has its expected verdict, and that each failure
/// names one of these.
#[track_caller]
fn is_red_without_preflight(cluster: &LocalCluster, environment: &str, words: &[&str]) -> Report {
    let (finished, report) = cluster.run(&["--no-preflight"]);
    finished.exits(1).within(SOON);
    assert_eq!(report.outcome(), Outcome::NotConformant);
    report.is_as_expected(&expected(&format!("{environment}-no-preflight")));
    for case in report.cases() {
        match &case.verdict {
            Verdict::Fail { message, .. } => {
                assert!(words.iter().any(|word| message.contains(word)), "{}: {message}", case.id);
            }
            // A static check is blocked by facts, as with preflight; others only by permission.
            Verdict::Blocked { remedy, .. } if !is_static(&case.id) => {
                assert!(remedy.contains("--node-access"), "{case:?}");
            }
            _ => {}
        }
    }
    is_red(&report);
    cluster.is_clean();
    report
}

/// Expects that a diagnosis was told, and no other.
#[track_caller]
fn is_diagnosed(report: &Report, id: &str) {
    let hints = report.cases().into_iter().filter_map(|case| match &case.verdict {
        Verdict::Fail { hint: Some(hint), .. } => hint.rsplit_once("(F"),
        _ => None,
    });
    let reported: BTreeSet<String> = hints.map(|(_, number)| format!("(F{number}")).collect();
    assert_eq!(reported.into_iter().collect::<Vec<_>>(), [format!("({id})")]);
}

/// Expects that no suite is green for itself without preflight.
#[track_caller]
fn no_suite_is_green_without_preflight(cluster: &LocalCluster) {
    let profile = Profile::of(Flavour::Kubernetes);
    let cases = suites::cases();
    let cases = cases.iter().filter(|case| profile.has(case));
    let suites: BTreeSet<_> = cases.map(|case| case.suite).collect();
    for suite in suites {
        let (finished, report) = cluster.run(&["--no-preflight", suite]);
        // Those that only judge what was read, or what needs no user namespace, are partial.
        assert!(matches!(finished.code, Some(1 | 3)), "{suite}: {finished}");
        is_red(&report);
    }
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_cluster_without_gates_is_reported_and_left_alone() {
    let cluster = LocalCluster::up("none", &["--gates", "none"]);
    let start = cluster.now();
    let (finished, report) = cluster.run(&[]);
    let gate = "UserNamespacesSupport is off on the API server";
    is_partial(&finished, &report, "kubernetes-without-gates", &[gate]);
    let requests = cluster.requests_since(start);
    assert!(!requests.is_empty());
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert!(report.steps().is_empty(), "{:?}", report.steps());

    let preflight = TestDir::new().nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    preflight.exits(3);
    for words in [gate, "ProcMountType is off on the API server", "unsupported", "hint: "] {
        assert!(preflight.stdout.contains(words), "{preflight}");
    }

    // Workspaces that are told to be nested all the same stay in Starting forever, or without isolation.
    let operators = Operators::make(&cluster);
    operators.config(&default_settings());
    reports(&cluster, 3, "on", &[("danger", "but the cluster does not support nested containers")]);
    drop(operators);

    is_red_without_preflight(
        &cluster,
        "kubernetes-without-gates",
        &["hostUsers", "procMount", "Unmasked", "volumeDevices"],
    );
    no_suite_is_green_without_preflight(&cluster);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_kubelet_without_the_gate_is_reported() {
    let cluster = LocalCluster::up("no-kubelet", &["--gates", "no-kubelet"]);
    let (finished, report) = cluster.run(&[]);
    let words = ["UserNamespacesSupport is off on the kubelet of node"];
    is_partial(&finished, &report, "kubernetes-no-kubelet", &words);
    cluster.is_clean();

    let words = ["UserNamespacesSupport", "HostUsers", "volumeDevices"];
    let report = is_red_without_preflight(&cluster, "kubernetes-no-kubelet", &words);
    is_diagnosed(&report, "F18");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_cluster_that_masks_proc_is_reported() {
    let cluster = LocalCluster::up("no-proc-mount", &["--gates", "no-proc-mount"]);
    let (finished, report) = cluster.run(&[]);
    let words = ["ProcMountType is off on the API server"];
    is_partial(&finished, &report, "kubernetes-no-proc-mount", &words);
    cluster.is_clean();

    let words = ["procMount", "Unmasked", "volumeDevices"];
    let report = is_red_without_preflight(&cluster, "kubernetes-no-proc-mount", &words);
    is_diagnosed(&report, "F25");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn an_api_server_without_the_gates_is_reported() {
    let cluster = LocalCluster::up("no-apiserver", &["--gates", "no-apiserver"]);
    let start = cluster.now();
    let (finished, report) = cluster.run(&[]);
    let words = ["UserNamespacesSupport is off on the API server"];
    is_partial(&finished, &report, "kubernetes-without-gates", &words);
    assert!(!cluster.requests_since(start).iter().any(Request::changes));
    let report = is_red_without_preflight(
        &cluster,
        "kubernetes-without-gates",
        &["hostUsers", "procMount", "Unmasked", "volumeDevices"],
    );
    is_diagnosed(&report, "F25");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_version_with_locked_gates_is_conformant() {
    let cluster = LocalCluster::up("1-37", &["--kubernetes", "1.37.2"]);
    let (finished, report) = cluster.run(&[]);
    finished.exits(0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    report.is_as_expected(&expected("kubernetes-1.37"));
    cluster.is_clean();
}
