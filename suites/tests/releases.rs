//! The command against releases of OpenShift, good ones and such that can't run nested containers,
//! each made by the test that needs it: what can't work is said with its reason, and left alone.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{collections::BTreeSet, time::Duration};

use harness::{
    engine::CaseKind,
    verdict::{Level, Outcome, Verdict},
};
use test_support::{Finished, LocalCluster, Report, Request, TestDir, documents, expected};

/// Far below the 180 s that a pod may take: what can't be is known at once.
const SOON: Duration = Duration::from_secs(60);

/// The environment of releases that do not support nested containers.
const UNSUPPORTED: &str = "openshift-unsupported";

fn openshift(name: &str, release: &str, options: &[&str]) -> LocalCluster {
    let fixed = ["--flavour", "openshift", "--release", release];
    LocalCluster::up(name, &[&fixed, options].concat())
}

/// Expects that a whole run is conformant, with the verdict that each case has here, and leaves nothing.
#[track_caller]
fn is_conformant(cluster: &LocalCluster, environment: &str) {
    let (finished, report) = cluster.run(&[]);
    finished.exits(0).says(&["Conformant"]);
    assert_eq!(report.outcome(), Outcome::Conformant);
    report.is_as_expected(&expected(environment));
    cluster.is_clean();
}

/// Expects that the run is partial and says why, and that each case has its expected verdict.
#[track_caller]
fn is_partial(finished: &Finished, report: &Report, environment: &str, words: &[&str]) {
    finished.exits(3).within(SOON).says(words);
    assert_eq!(report.outcome(), Outcome::Partial);
    report.is_as_expected(&expected(environment));
    for case in report.cases() {
        if let Verdict::Blocked { reason, remedy, .. } = &case.verdict {
            assert!(!reason.is_empty() && !remedy.is_empty(), "{case:?}");
        }
    }
}

/// Expects that the run asked for nothing that changes the cluster.
#[track_caller]
fn changed_nothing(cluster: &LocalCluster, since: u64) {
    let requests = cluster.requests_since(since);
    assert!(!requests.is_empty());
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert!(!requests.iter().any(Request::is_exec));
}

/// Expects of preflight that it says so too, in these words.
#[track_caller]
fn is_reported_by_preflight(cluster: &LocalCluster, words: &[&str]) {
    let preflight = TestDir::new().nestcheck(["preflight", "--kubeconfig", cluster.kubeconfig()]);
    preflight.exits(3);
    for words in words.iter().chain(&["unsupported", "hint: "]) {
        assert!(preflight.stdout.contains(words), "`{words}` is not in {preflight}");
    }
}

/// Expects that without preflight no suite is green, and that nothing is left of the tries.
#[track_caller]
fn no_suite_is_green_without_preflight(cluster: &LocalCluster) {
    let suites: BTreeSet<_> = suites::cases()
        .iter()
        .filter(|case| matches!(case.kind, CaseKind::Live(_)) && case.level == Level::Core)
        .map(|case| case.suite)
        .collect();
    for suite in suites {
        let (finished, report) = cluster.run(&["--no-preflight", suite]);
        assert!(matches!(finished.code, Some(1 | 3)), "{suite}: {finished}");
        assert_ne!(report.outcome(), Outcome::Conformant, "{suite}");
    }
    cluster.is_clean();
}

/// No operator of the local cluster takes up a changed feature set, so one is made with what
/// `nestcheck remedy` prints.
fn the_printed_feature_set_makes_it_conformant(cluster: LocalCluster) {
    let dir = TestDir::new();
    let printed = dir.nestcheck(["remedy", "--kubeconfig", cluster.kubeconfig(), "-o", "yaml"]);
    printed.exits(0);
    let objects = documents(&printed.stdout);
    let gate = objects.iter().find(|object| object["kind"] == "FeatureGate").expect("one");
    cluster.apply(&printed.stdout);
    let stored = cluster.get("/apis/config.openshift.io/v1/featuregates/cluster");
    assert_eq!(stored["spec"]["featureSet"], gate["spec"]["featureSet"], "it can be applied");
    drop(cluster);

    let set = gate["spec"]["featureSet"].as_str().expect("a name");
    let cluster = openshift("os-419-repaired", "4.19", &["--feature-set", set]);
    let (finished, report) = cluster.run(&["--profile", "smoke"]);
    finished.exits(0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn openshift_4_20_is_conformant_by_default() {
    is_conformant(&openshift("os-420", "4.20", &[]), "openshift");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn the_first_z_streams_of_4_20_are_conformant_with_a_known_issue() {
    let cluster = openshift("os-early", "4.20", &["--z-stream", "early"]);
    let (finished, report) = cluster.run(&["scc", "PRE-01", "POD-03"]);
    finished.exits(0).says(&["OCPBUGS-77004"]);
    assert_eq!(report.outcome(), Outcome::Conformant);
    assert_eq!(report.ids("known-issue"), ["SCC-01", "SCC-P04", "SCC-P05"]);
    cluster.is_clean();
}

/// The runtime's handler decides which of the annotations it honours, and a pod carries both.
#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn devices_come_by_whichever_annotation_the_runtime_honours() {
    let cases = ["ISO-04", "ISO-05", "ISO-06", "POD-NET-01A"];
    for annotations in ["v1", "v2", "both"] {
        let options = ["--device-annotations", annotations];
        let cluster = openshift(&format!("os-devices-{annotations}"), "4.20", &options);
        let (finished, report) = cluster.run(&cases);
        finished.exits(0);
        assert_eq!(report.ids("pass"), cases, "{annotations}");
        cluster.is_clean();
    }
    let cluster = openshift("os-devices-none", "4.20", &["--device-annotations", "none"]);
    let (finished, report) = cluster.run(&cases);
    finished.exits(1).says(&["pod started, device absent", "allowed_annotations", "(F37, node)"]);
    assert_eq!(report.ids("fail"), ["ISO-04"]);
    assert_eq!(report.ids("blocked"), ["ISO-05", "ISO-06", "POD-NET-01A"], "they need devices");
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn openshift_5_0_with_locked_gates_is_conformant() {
    is_conformant(&openshift("os-50", "5.0", &[]), "openshift-5.0");
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn openshift_4_19_by_default_is_reported_and_left_alone() {
    let cluster = openshift("os-419", "4.19", &["--feature-set", "Default"]);
    let start = cluster.now();
    let (finished, report) = cluster.run(&[]);
    let words = [
        "UserNamespacesSupport is off on the API server",
        "ProcMountType is off on the API server",
        "userNamespaceLevel",
        "TechPreviewNoUpgrade",
        "OpenShift 4.20 or newer",
    ];
    is_partial(&finished, &report, UNSUPPORTED, &words);
    changed_nothing(&cluster, start);
    is_reported_by_preflight(&cluster, &words);
    no_suite_is_green_without_preflight(&cluster);
    the_printed_feature_set_makes_it_conformant(cluster);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn openshift_4_18_is_reported_and_left_alone() {
    let cluster = openshift("os-418", "4.18", &[]);
    let start = cluster.now();
    let (finished, report) = cluster.run(&[]);
    let words = ["is older than 4.19", "OpenShift 4.20 or newer"];
    is_partial(&finished, &report, UNSUPPORTED, &words);
    changed_nothing(&cluster, start);
    is_reported_by_preflight(&cluster, &words);
}

/// What a release team asks: what works in which release?
#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn openshift_4_18_4_19_and_4_20_are_in_one_matrix() {
    let (dir, releases) = (TestDir::new(), ["4.18", "4.19", "4.20"]);
    for (release, code) in releases.iter().zip([3, 3, 0]) {
        let cluster = openshift(&format!("os-matrix-{release}").replace('.', ""), release, &[]);
        let run = ["run", "--kubeconfig", cluster.kubeconfig(), "--report-dir", release];
        dir.nestcheck(run.iter().chain(&["ID-01", "POD-03"])).exits(code);
    }
    let compare = |releases: &[&str], format| {
        dir.nestcheck([&["compare", "--format", format], releases].concat())
    };
    let document = compare(&releases, "json");
    document.exits(0);
    let matrix: serde_json::Value = serde_json::from_str(&document.stdout).expect("JSON");
    assert_eq!(matrix["worse"], false);
    let cases = matrix["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 2, "{document}");
    for case in cases {
        let verdicts = [0, 1, 2].map(|run| case["results"][run]["verdict"].clone());
        assert_eq!(verdicts, ["blocked", "blocked", "pass"], "{document}");
    }
    for release in releases {
        let clusters = matrix["runs"].as_array().expect("runs").iter().map(|run| &run["cluster"]);
        let named = clusters.filter_map(|it| it.as_str()).filter(|it| it.contains(release));
        assert_eq!(named.count(), 1, "{release}: {document}");
    }
    let page = compare(&releases, "html");
    page.exits(0);
    assert!(releases.iter().all(|release| page.stdout.contains(release)), "{page}");
    // The other way round, an upgrade would lose what works.
    compare(&["4.20", "4.19", "4.18"], "text").exits(1);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn openshift_4_18_with_technology_preview_is_too_old_all_the_same() {
    let cluster = openshift("os-418-tp", "4.18", &["--feature-set", "TechPreviewNoUpgrade"]);
    let start = cluster.now();
    let (finished, report) = cluster.run(&[]);
    is_partial(&finished, &report, UNSUPPORTED, &["is older than 4.19"]);
    changed_nothing(&cluster, start);
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn a_kubelet_without_the_gate_is_reported() {
    let cluster = openshift("os-no-kubelet", "4.20", &["--gates", "no-kubelet"]);
    let (finished, report) = cluster.run(&[]);
    let words = ["UserNamespacesSupport is off on the kubelet of node"];
    is_partial(&finished, &report, "openshift-no-kubelet", &words);
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own clusters: run with --ignored --test-threads=1"]
fn an_api_server_that_masks_proc_is_reported() {
    let cluster = openshift("os-no-proc-mount", "4.20", &["--gates", "no-proc-mount"]);
    let (finished, report) = cluster.run(&[]);
    let words = ["ProcMountType is off on the API server"];
    is_partial(&finished, &report, "openshift-no-proc-mount", &words);
    cluster.is_clean();
}
