//! The command against a cluster with the test double of the DevWorkspace Operator, made by the
//! test: workspaces are judged as pods are, and an operator that is not at work is told as such and
//! disturbs nothing else.

#[path = "remedies/settings.rs"]
mod remedies;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use harness::verdict::{Outcome, Verdict};
use serde_json::{Value, json};
use test_support::{
    Cluster, Finished, LocalCluster, Operators, Report, TestDir, default_settings, expected,
};

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

/// A change of the settings that Che's operator writes, and the case that must name it.
type Wrong = (&'static str, fn(&mut Value));

/// Each of these is the one thing that is wrong.
const WRONG: [Wrong; 6] = [
    ("WS-20B", |it| it["hostUsers"] = Value::Null),
    ("WS-20C", |it| it["containerSecurityContext"]["procMount"] = "Default".into()),
    ("WS-20D", |it| it["containerSecurityContext"]["allowPrivilegeEscalation"] = false.into()),
    ("WS-20E", |it| it["containerSecurityContext"]["capabilities"]["add"] = json!(["SETUID"])),
    ("WS-20F", |it| it["podAnnotations"] = json!({"devices.crio.io": "/dev/fuse,/dev/net/tun"})),
    ("WS-20G", |it| it["containerSecurityContext"]["privileged"] = true.into()),
];

/// Che's own settings make workspaces in which podman works, and one that is wrong is named by one
/// case, before anything is written.
fn the_clusters_own_settings_are_tested(cluster: &Cluster) {
    let operators = Operators::make_che(cluster);
    let che = |scc: &str| {
        let run = json!({"openShiftSecurityContextConstraint": scc});
        operators.che(&json!({
            "disableContainerRunCapabilities": false, "containerRunConfiguration": run,
        }));
    };
    let mut settings = default_settings();
    settings["imagePullPolicy"] = "IfNotPresent".into();
    operators.config(&settings);
    che("container-run");
    let is_wrong = |id: &str| {
        let start = cluster.now();
        let (finished, report) = run(cluster, &["--as-configured"]);
        finished.exits(1).says(&[id]);
        assert_eq!(report.ids("fail"), [id], "{finished}");
        assert_eq!(report.ids("error"), [""; 0], "{finished}");
        let (dependent, words) = (report.verdict("WS-07-POD-03"), format!("{id} fails: "));
        let is_blocked =
            matches!(dependent, Verdict::Blocked { reason, .. } if reason.starts_with(&words));
        assert!(is_blocked, "{dependent:?}");
        let requests = cluster.requests_since(start);
        let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
        assert!(changes.is_empty(), "{changes:?}");
    };
    is_wrong("WS-20A");

    // As Che's operator makes it (`pkg/deploy/container-capabilities/container_run.go`).
    let text = suites::fixtures::NESTED_PODMAN.text;
    let text = text.replace("[SETUID, SETGID]", "[SETUID, SETGID, CHOWN]");
    let _scc = cluster.create_scc_of("container-run", &text);
    let (finished, whole) = run(cluster, &["--as-configured"]);
    finished.exits(0).says(&["Conformant"]);
    assert_eq!(whole.outcome(), Outcome::Conformant);
    whole.is_as_expected(&expected("openshift-4.19-as-configured"));
    let mut facts = whole.started().cluster.iter();
    let taken = facts.find(|(name, _)| name == "workspaces by").map(|(_, value)| value.as_str());
    assert!(taken.is_some_and(|it| it.contains("`default/devworkspace-config`")), "{taken:?}");

    for (id, change) in WRONG {
        let mut wrong = settings.clone();
        change(&mut wrong);
        operators.config(&wrong);
        is_wrong(id);
    }
    cluster.is_clean();
}

/// The operator's own configuration, which is under that of each workspace.
const GLOBAL_CONFIG: &str = "/apis/controller.devfile.io/v1alpha1/namespaces/\
    devworkspace-controller/devworkspaceoperatorconfigs/devworkspace-operator-config";

/// Where the kubelet leaves the files of a volume to whom they belong, the operator's cleanup job may
/// not delete those of other users: the workspace stays, and the cause names the job.
fn a_workspace_that_stays_names_the_cleanup_job(cluster: &Cluster) {
    let of_pods = json!({"fsGroupChangePolicy": "OnRootMismatch"});
    let workspace = json!({"podSecurityContext": of_pods});
    cluster.merge(GLOBAL_CONFIG, &json!({"config": {"workspace": workspace}}));

    let (finished, report) = run(cluster, &["WS-21"]);

    finished.exits(1).says(&["F63", "without a user namespace", "Permission denied"]);
    assert_eq!(report.ids("fail"), ["WS-21"]);
    let message = report.verdict("WS-21").message().unwrap_or_default();
    assert!(message.contains("job `cleanup-workspace"), "{message}");
    assert!(message.contains("/storage/ws-21"), "the files of the container: {message}");
    cluster.is_clean();
}

/// The Universal Developer Image sets up its user and ids in its entrypoint.
fn a_workspace_runs_the_entrypoint_of_its_image(cluster: &LocalCluster) {
    let recipe =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/images/variants/udi-like.sh").into();
    let image = cluster.derive(&[recipe]).remove(0);
    let cases = ["WS-07-ID-05", "WS-07-POD-03"];
    let with_image =
        |more: &[&str]| run(cluster, &[&["--image", image.as_str()][..], &cases, more].concat());

    let (finished, report) = with_image(&[]);
    finished.exits(0);
    assert_eq!(report.ids("pass"), cases);

    let (finished, report) = with_image(&["--entrypoint", "skip"]);
    finished.exits(1);
    assert!(report.ids("fail").contains(&"WS-07-ID-05"), "{finished}");
    cluster.is_clean();
}

/// The extended resource of the cluster's device plugin.
const RESOURCE: &str = "nestcheck.example/fuse-tun";

/// The route that the run has found or was given.
fn route(report: &Report) -> Option<&str> {
    let facts = report.started().cluster.iter();
    facts.into_iter().find(|(name, _)| name == "devices by").map(|(_, value)| value.as_str())
}

/// Where the nodes have a device plugin, an extended resource brings the devices: the run finds it where
/// there is no RuntimeClass for them, and takes it where a person names it.
fn devices_come_as_an_extended_resource(cluster: &Cluster) {
    let resource = format!("resource:{RESOURCE}");
    let cases = ["ISO-04", "ISO-05", "POD-NET-01A", "WS-06B", "WS-07-ISO-04"];

    let (finished, report) = run(cluster, &[&["--devices", &resource][..], &cases].concat());
    finished.exits(0);
    assert_eq!(report.ids("pass"), cases, "{finished}");

    cluster.delete("/apis/node.k8s.io/v1/runtimeclasses/nested", ENDS);
    let (finished, report) = run(cluster, &cases);
    finished.exits(0);
    assert_eq!(report.ids("pass"), cases, "{finished}");
    let found = route(&report).unwrap_or_default();
    assert!(found.contains(RESOURCE), "{found}");
    cluster.is_clean();
}

#[test]
#[ignore = "makes a cluster of Kubernetes with an operator: ci/test runs it"]
fn workspaces_work_on_kubernetes_too() {
    let with = ["--with", "devworkspace-operator", "--with", "device-plugin"];
    let cluster = LocalCluster::up("workspace-k8s", &with);

    let (finished, report) = run(&cluster, &["workspace", "PRE-08"]);

    finished.exits(0).says(&["Conformant"]);
    let passed = report.ids("pass");
    assert!(passed.contains(&"WS-21") && passed.contains(&"WS-07-ISO-09"), "{finished}");
    assert_eq!(passed.len(), report.started().cases, "{finished}");
    cluster.is_clean();
    a_workspace_runs_the_entrypoint_of_its_image(&cluster);
    a_workspace_that_stays_names_the_cleanup_job(&cluster);
    devices_come_as_an_extended_resource(&cluster);
}

/// The environment of the cluster of [`openshift`].
const WITH_WORKSPACES: &str = "openshift-4.19-with-workspaces";

fn openshift(name: &str) -> LocalCluster {
    let options = ["--flavour", "openshift", "--release", "4.19", "--feature-set"];
    let more = ["TechPreviewNoUpgrade", "--with", "devworkspace-operator"];
    LocalCluster::up(name, &[&options[..], &more].concat())
}

#[test]
#[ignore = "makes a cluster of OpenShift with an operator: ci/test --all runs it"]
fn settings_are_repaired_by_what_is_printed() {
    remedies::settings_are_repaired(&openshift("workspace-repaired"));
}

#[test]
#[ignore = "makes a cluster of OpenShift with an operator: ci/test --all runs it"]
fn the_whole_profile_with_workspaces_is_conformant() {
    let cluster = openshift("workspace-whole");
    let (finished, whole) = run(&cluster, &[]);
    finished.exits(0).says(&["Conformant"]);
    whole.is_as_expected(&expected(WITH_WORKSPACES));
    cluster.is_clean();
}

#[test]
#[ignore = "makes a cluster of OpenShift with an operator: ci/test runs it"]
fn workspaces_are_conformant_and_a_missing_operator_is_reported() {
    let cluster = openshift("workspace");
    let before = cluster.shared_objects();

    let suites = ["workspace", "preflight", "scc", "teardown"];
    let (finished, whole) = run(&cluster, &[&suites[..], &OTHERS].concat());
    finished.exits(0).says(&["Conformant"]);
    assert_eq!(whole.outcome(), Outcome::Conformant);
    let checks = whole.truth_checks();
    let of_workspaces: Vec<_> =
        whole.cases().into_iter().filter(|case| case.id.starts_with("WS-")).collect();
    assert!(of_workspaces.len() >= 25, "{} cases", of_workspaces.len());
    whole.is_part_of_expected(&expected(WITH_WORKSPACES));
    for case in of_workspaces.into_iter().filter(|case| case.verdict == Verdict::Pass) {
        let id = case.id.as_str();
        assert!(checks.get(id).is_some_and(|count| *count > 0), "{id} proves nothing");
    }
    cluster.is_clean();
    assert_eq!(cluster.shared_objects(), before, "what the cluster had is as it was");

    the_clusters_own_settings_are_tested(&cluster);
    a_workspace_runs_the_entrypoint_of_its_image(&cluster);

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
