//! The command against clusters on which nested containers can't work, each made by the test that
//! needs it: the run is never green, says which gate is off where, and leaves nothing.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

use std::{collections::BTreeSet, time::Duration};

use harness::{
    case::CaseKind,
    facts::Flavour,
    outcome::{Outcome, Verdict},
    profile::Profile,
};
use test_support::{
    Finished, LocalCluster, Operators, Report, Request, TestDir, default_settings, reports,
};

/// Far below the 180 s that a pod may take: what can't be is known at once.
const SOON: Duration = Duration::from_secs(60);

/// Runs all cases against the cluster.
fn run(cluster: &LocalCluster, options: &[&str]) -> (Finished, Report) {
    let dir = TestDir::new();
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck(fixed.iter().chain(options));
    (finished, dir.report())
}

/// Whether a case judges what was read, and does not act.
fn evaluates(id: &str) -> bool {
    let cases = suites::cases();
    let case = cases.iter().find(|case| case.id == id);
    case.is_some_and(|case| matches!(case.kind, CaseKind::Static(_)))
}

/// These ids and those of the cases that hold on each of these clusters: what it is can be read,
/// whatever it can do.
fn and_what_is_read<'a>(ids: &[&'a str]) -> Vec<&'a str> {
    let mut ids = [ids, &["GATE-03", "PRE-01", "PRE-02", "PRE-04"]].concat();
    ids.sort_unstable();
    ids
}

/// The cases that judge what a run has left: they hold wherever one created something.
const AUDITS: [&str; 3] = ["END-01", "END-02", "END-03"];

/// The one of them that needs claims, which only pods that could not start here would have used.
const OF_PVCS: &str = "END-05";

/// As [`and_what_is_read`], and those that act but need no user namespace.
fn and_what_is_always(ids: &[&'static str]) -> Vec<&'static str> {
    and_what_is_read(&[ids, &AUDITS, &[OF_PVCS, "PRE-09", "PRE-11", "PRE-12", "PRE-13"]].concat())
}

/// Expects that the run is partial, and that each case but these is blocked for a reason and with
/// a remedy that name the gate and the component.
#[track_caller]
fn is_partial(finished: &Finished, report: &Report, passed: &[&str], words: &[&str]) {
    finished.exits(3).within(SOON).says(words);
    assert_eq!(report.outcome(), Outcome::Partial);
    assert_eq!(report.ids("pass"), passed);
    for case in report.cases().iter().filter(|case| !passed.contains(&case.id.as_str())) {
        let (reason, remedy) = match &case.verdict {
            Verdict::Blocked { reason, remedy } => (reason, remedy),
            Verdict::NotApplicable { .. } if evaluates(&case.id) || case.id == OF_PVCS => continue,
            _ => panic!("{case:?} is not blocked"),
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
fn is_red_without_preflight(cluster: &LocalCluster, passed: &[&str], words: &[&str]) -> Report {
    let (finished, report) = run(cluster, &["--no-preflight"]);
    finished.exits(1).within(SOON);
    assert_eq!(report.outcome(), Outcome::NotConformant);
    assert_eq!(report.ids("pass"), passed);
    for case in report.cases().iter().filter(|case| !passed.contains(&case.id.as_str())) {
        let message = match &case.verdict {
            Verdict::Fail { message, .. } => message,
            // What was read is the same without preflight.
            Verdict::Blocked { .. } | Verdict::NotApplicable { .. } if evaluates(&case.id) => {
                continue;
            }
            // That nobody gave leave to look at the node is the same too.
            Verdict::Blocked { remedy, .. } if remedy.contains("--node-access") => continue,
            _ => panic!("{case:?} is not failed"),
        };
        assert!(words.iter().any(|word| message.contains(word)), "{}: {message}", case.id);
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
        let (finished, report) = run(cluster, &["--no-preflight", suite]);
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
    let (finished, report) = run(&cluster, &[]);
    let gate = "UserNamespacesSupport is off on the API server";
    is_partial(&finished, &report, &and_what_is_read(&[]), &[gate]);
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

    // The control is true of any cluster, but proves nothing here: it needs the nested pod too.
    is_red_without_preflight(
        &cluster,
        &and_what_is_always(&[]),
        &["hostUsers", "procMount", "Unmasked", "volumeDevices"],
    );
    no_suite_is_green_without_preflight(&cluster);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_kubelet_without_the_gate_is_reported() {
    let cluster = LocalCluster::up("no-kubelet", &["--gates", "no-kubelet"]);
    let (finished, report) = run(&cluster, &[]);
    let words = ["UserNamespacesSupport is off on the kubelet of node"];
    // The API server's gate for /proc is on, which is all that GATE-02 asserts.
    let passed = [&AUDITS[..], &["GATE-02"]].concat();
    is_partial(&finished, &report, &and_what_is_read(&passed), &words);
    cluster.is_clean();

    let words = ["UserNamespacesSupport", "HostUsers", "volumeDevices"];
    let of_the_server =
        ["ADM-01", "ADM-02", "ADM-04", "ADM-05", "GATE-01", "GATE-02", "GATE-07", "GATE-08"];
    let report = is_red_without_preflight(&cluster, &and_what_is_always(&of_the_server), &words);
    is_diagnosed(&report, "F18");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_cluster_that_masks_proc_is_reported() {
    let cluster = LocalCluster::up("no-proc-mount", &["--gates", "no-proc-mount"]);
    let (finished, report) = run(&cluster, &[]);
    let words = ["ProcMountType is off on the API server"];
    let of_user_namespaces = ["GATE-01", "GATE-06", "PRE-05", "PRE-06"];
    let passed = [&AUDITS[..], &of_user_namespaces].concat();
    is_partial(&finished, &report, &and_what_is_read(&passed), &words);
    cluster.is_clean();

    let passed = [&of_user_namespaces[..], &["ADM-02", "GATE-07"]].concat();
    let words = ["procMount", "Unmasked", "volumeDevices"];
    let report = is_red_without_preflight(&cluster, &and_what_is_always(&passed), &words);
    is_diagnosed(&report, "F25");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn an_api_server_without_the_gates_is_reported() {
    let cluster = LocalCluster::up("no-apiserver", &["--gates", "no-apiserver"]);
    let start = cluster.now();
    let (finished, report) = run(&cluster, &[]);
    let words = ["UserNamespacesSupport is off on the API server"];
    is_partial(&finished, &report, &and_what_is_read(&[]), &words);
    assert!(!cluster.requests_since(start).iter().any(Request::changes));
    let report = is_red_without_preflight(
        &cluster,
        &and_what_is_always(&[]),
        &["hostUsers", "procMount", "Unmasked", "volumeDevices"],
    );
    is_diagnosed(&report, "F25");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_version_with_locked_gates_is_conformant() {
    let cluster = LocalCluster::up("1-37", &["--kubernetes", "1.37.2"]);
    let (finished, report) = run(&cluster, &[]);
    finished.exits(0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    assert_eq!(report.ids("fail"), [""; 0]);
    // There are no workspaces' operators, neither DNS nor NetworkPolicies, only one node, no leave
    // to look at it, and neither kubedock, an entrypoint nor podman's own tests in the image.
    assert_eq!(
        report.ids("blocked"),
        ["CMP-05", "ID-09", "ID-10", "POD-02", "POD-NET-01C", "POD-NET-07", "POD-SYS"]
    );
    assert_eq!(
        report.ids("not-applicable"),
        ["ISO-11", "PRE-08", "ROOT-04A", "ROOT-08B", "UPG-04", "UPG-04A"]
    );
    cluster.is_clean();
}
