//! The command against OpenShift 4.19 with feature set `TechPreviewNoUpgrade`, on which everything
//! works: `NESTCHECK_TEST_OPENSHIFT_KUBECONFIG` and `NESTCHECK_TEST_OPENSHIFT_AUDIT_LOG` name it,
//! `ci/test` makes it. SCCs and admission are then changed so that it does not work, and
//! the command must see it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod permissions;

use std::thread;

use harness::verdict::{Outcome, Step, Verdict};
use parking_lot::Mutex;
use serde_json::{Value, json};
use test_support::{Cluster, Finished, Live, Report, Request, TestDir, Webhook, expected};

/// How many mutants are tried at once; each is a run of its own.
const MUTANTS_AT_ONCE: usize = 4;

fn run(cluster: &Cluster, options: &[&str]) -> (Finished, Report) {
    let dir = TestDir::new();
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig()];
    let finished = dir.nestcheck(fixed.iter().chain(options));
    (finished, dir.report())
}

/// Whether the cluster refused the privileged pod, which is the control of attacks.
fn lacks_control(report: &Report) -> bool {
    let missing = Step::MissingPod { name: suites::fixtures::PRIVILEGED.name.to_owned() };
    report.steps().iter().any(|finished| finished.step == missing)
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn a_whole_run_is_conformant_and_leaves_nothing() {
    let cluster = Live::take_openshift();
    let before = cluster.shared_objects();
    let (finished, report) = run(&cluster, &[]);
    finished.exits(0).says(&["Conformant"]);
    assert_eq!(report.outcome(), Outcome::Conformant);
    report.is_as_expected(&expected("openshift-4.19"));
    let checks = report.truth_checks();
    for id in report.ids("pass") {
        assert!(checks.get(id).is_some_and(|count| *count > 0), "{id} proves nothing");
    }
    cluster.is_clean();
    assert_eq!(cluster.shared_objects(), before, "what the cluster had is as it was");
}

/// One change of the SCC, and the field that the run must name.
struct Mutant {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    field: &'static str,
}

const fn mutant(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    field: &'static str,
) -> Mutant {
    Mutant { name, from, to, field }
}

const MUTANTS: &[Mutant] = &[
    mutant(
        "no user namespace level",
        "userNamespaceLevel: RequirePodLevel\n",
        "",
        "userNamespaceLevel",
    ),
    mutant(
        "the node's user namespace",
        "userNamespaceLevel: RequirePodLevel",
        "userNamespaceLevel: AllowHostLevel",
        "userNamespaceLevel",
    ),
    mutant("MKNOD too", "[SETUID, SETGID]", "[SETUID, SETGID, MKNOD]", "allowedCapabilities"),
    mutant("all capabilities", "[SETUID, SETGID]", "['*']", "allowedCapabilities"),
    mutant("no SETGID", "[SETUID, SETGID]", "[SETUID]", "allowedCapabilities"),
    mutant("no SETUID", "[SETUID, SETGID]", "[SETGID]", "allowedCapabilities"),
    mutant(
        "any user",
        "runAsUser: {type: MustRunAs, uid: 1000}",
        "runAsUser: {type: RunAsAny}",
        "runAsUser",
    ),
    mutant("another user", "uid: 1000}", "uid: 1001}", "runAsUser"),
    mutant("container_t", "container_engine_t", "container_t", "seLinuxContext"),
    mutant(
        "any SELinux context",
        "seLinuxContext: {type: MustRunAs, seLinuxOptions: {type: container_engine_t}}",
        "seLinuxContext: {type: RunAsAny}",
        "seLinuxContext",
    ),
    mutant(
        "any fsGroup",
        "fsGroup: {type: MustRunAs, ranges: [{min: 1000, max: 65534}]}",
        "fsGroup: {type: RunAsAny}",
        "fsGroup",
    ),
    mutant(
        "fsGroup 0",
        "fsGroup: {type: MustRunAs, ranges: [{min: 1000",
        "fsGroup: {type: MustRunAs, ranges: [{min: 0",
        "fsGroup",
    ),
    mutant(
        "any supplemental group",
        "supplementalGroups: {type: MustRunAs, ranges: [{min: 1000, max: 65534}]}",
        "supplementalGroups: {type: RunAsAny}",
        "supplementalGroups",
    ),
    mutant(
        "no privilege escalation",
        "allowPrivilegeEscalation: true",
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation",
    ),
    mutant(
        "privileged containers",
        "allowPrivilegedContainer: false",
        "allowPrivilegedContainer: true",
        "allowPrivilegedContainer",
    ),
    mutant(
        "paths of the node",
        "allowHostDirVolumePlugin: false",
        "allowHostDirVolumePlugin: true",
        "allowHostDirVolumePlugin",
    ),
    mutant(
        "the node's network",
        "allowHostNetwork: false",
        "allowHostNetwork: true",
        "allowHostNetwork",
    ),
    mutant("the node's processes", "allowHostPID: false", "allowHostPID: true", "allowHostPID"),
    mutant("the node's IPC", "allowHostIPC: false", "allowHostIPC: true", "allowHostIPC"),
    mutant("the node's ports", "allowHostPorts: false", "allowHostPorts: true", "allowHostPorts"),
    mutant(
        "any seccomp profile",
        "priority: null\n",
        "priority: null\nseccompProfiles: ['*']\n",
        "seccompProfiles",
    ),
    mutant("all volumes", "[configMap, downwardAPI", "['*', configMap, downwardAPI", "volumes"),
    mutant(
        "a capability by default",
        "defaultAddCapabilities: null",
        "defaultAddCapabilities: [SETUID]",
        "defaultAddCapabilities",
    ),
    mutant(
        "a read-only root",
        "readOnlyRootFilesystem: false",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem",
    ),
];

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn every_changed_field_of_the_scc_turns_the_run_red_and_is_named() {
    let cluster = Live::take_openshift();
    let queue = Mutex::new(MUTANTS.iter());
    let complaints: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..MUTANTS_AT_ONCE).map(|_| scope.spawn(|| try_mutants(&cluster, &queue))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert_eq!(complaints, [""; 0]);
    cluster.is_clean();
}

/// Tries mutants until none is left; returns what is wrong with the answers.
fn try_mutants(cluster: &Cluster, queue: &Mutex<std::slice::Iter<'_, Mutant>>) -> Vec<String> {
    let next = || queue.lock().next();
    std::iter::from_fn(next).filter_map(|mutant| complaint(cluster, mutant)).collect()
}

fn complaint(cluster: &Cluster, mutant: &Mutant) -> Option<String> {
    let Mutant { name, from, to, field } = mutant;
    let original = suites::fixtures::NESTED_PODMAN.text;
    assert!(original.contains(from), "{name}: the SCC has no `{from}`");
    let dir = TestDir::new();
    let file = dir.write("scc.yaml", &original.replacen(from, to, 1));
    let kubeconfig = cluster.kubeconfig();
    let finished = dir.nestcheck(["run", "scc", "--scc", &file, "--kubeconfig", kubeconfig]);
    let report = dir.report();
    let names_field = |case: &&harness::verdict::event::CaseFinished| match &case.verdict {
        Verdict::Fail { message, hint, .. } => {
            message.contains(field) || hint.as_ref().is_some_and(|hint| hint.contains(field))
        }
        _ => false,
    };
    let named = report.cases().into_iter().filter(names_field).count();
    if finished.code != Some(1) || report.outcome() != Outcome::NotConformant {
        Some(format!("{name}: {:?}, exit code {:?}", report.outcome(), finished.code))
    } else if named == 0 {
        Some(format!("{name}: no failure names `{field}`: {finished}"))
    } else {
        None
    }
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn the_scc_as_it_is_turns_no_run_red() {
    let cluster = Live::take_openshift();
    let dir = TestDir::new();
    let file = dir.write("scc.yaml", suites::fixtures::NESTED_PODMAN.text);
    let kubeconfig = cluster.kubeconfig();
    dir.nestcheck(["run", "scc", "--scc", &file, "--kubeconfig", kubeconfig]).exits(0);
}

/// Dev Spaces makes its own SCC `container-run`: the cases are about what workspaces get by it.
#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn an_scc_that_the_cluster_has_is_tested_by_a_copy() {
    let cluster = Live::take_openshift();
    let container_run = suites::fixtures::NESTED_PODMAN.text;
    let _created = cluster.create_scc_of("container-run", container_run);
    let broken = container_run.replacen("RequirePodLevel", "AllowHostLevel", 1);
    let _created_too = cluster.create_scc_of("container-run-of-all", &broken);
    let test = |name: &str| {
        let dir = TestDir::new();
        let arguments = ["run", "scc", "--scc", name, "--kubeconfig", cluster.kubeconfig()];
        dir.nestcheck(arguments)
    };
    test("cluster:container-run").exits(0);
    test("cluster:container-run-of-all").exits(1).says(&["userNamespaceLevel"]);
    test("cluster:none").refuses(2, &["this cluster has no SCC `none`"]).hints(&["container-run"]);
    cluster.is_clean();
}

/// The failure of the case that is about admission of the workspace pod.
fn failure(report: &Report, id: &str) -> String {
    match report.verdict(id) {
        Verdict::Fail { message, hint, .. } => {
            format!("{message} {}", hint.as_deref().unwrap_or(""))
        }
        other => panic!("{id} is {other:?}"),
    }
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn a_webhook_that_gives_the_pod_the_nodes_user_namespace_is_named() {
    let cluster = Live::take_openshift();
    let patch = json!([
        {"op": "replace", "path": "/spec/hostUsers", "value": true},
        {"op": "replace", "path": "/spec/containers/0/securityContext/procMount", "value": "Default"},
    ]);
    let webhook = Webhook::serve(cluster.own_address(), &patch);
    let _configured = cluster.create_webhook(&webhook.configuration("flip-host-users"));
    let (finished, report) = run(&cluster, &["SCC-P01", "ID-01"]);
    finished.exits(1);
    for id in ["SCC-P01", "ID-01"] {
        let reported = failure(&report, id);
        assert!(reported.contains("Host Users must be set to false"), "{reported}");
        assert!(reported.contains("`flip-host-users`"), "{reported}");
    }
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn without_their_control_attacks_are_evaluated_all_the_same() {
    let cluster = Live::take_openshift();
    let privileged = "/spec/containers/0/securityContext/privileged";
    let patch = json!([{"op": "replace", "path": privileged, "value": false}]);
    let webhook = Webhook::serve(cluster.own_address(), &patch);
    let mut configuration = webhook.configuration("take-privilege");
    let selector = "/webhooks/0/objectSelector/matchLabels";
    let labels = configuration.pointer_mut(selector).expect("it selects by labels");
    *labels = json!({"nestcheck/template": "privileged"});
    let _configured = cluster.create_webhook(&configuration);
    let (finished, report) = run(&cluster, &["ROOT-04F"]);
    finished.exits(0);
    assert!(lacks_control(&report), "{finished}");
    assert_eq!(report.ids("pass"), ["ROOT-04F"]);
    let written = report.json("").to_string();
    let reported = "there is no such pod, so the refusal in the workspace shows little";
    assert!(written.contains(reported), "{written}");
    assert!(written.contains("stored privileged: expected true"), "{written}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn a_refused_control_takes_no_attack_that_works_for_a_loss() {
    let cluster = Live::take_openshift();
    let refused = json!([
        {"op": "replace", "path": "/spec/containers/0/name", "value": "Not a name"},
    ]);
    let control = Webhook::serve(cluster.own_address(), &refused);
    let mut configuration = control.configuration("refuse-the-control");
    configuration["webhooks"][0]["objectSelector"]["matchLabels"] =
        json!({"nestcheck/template": "privileged"});
    let _refusal = cluster.create_webhook(&configuration);
    let sources = json!([{"serviceAccountToken": {"path": "token"}}]);
    let mount = "/var/run/secrets/kubernetes.io/serviceaccount";
    let patch = json!([
        {"op": "add", "path": "/spec/volumes/-",
         "value": {"name": "token", "projected": {"sources": sources}}},
        {"op": "add", "path": "/spec/containers/0/volumeMounts/-",
         "value": {"name": "token", "mountPath": mount}},
    ]);
    let webhook = Webhook::serve(cluster.own_address(), &patch);
    let _token = cluster.create_webhook(&webhook.configuration("give-a-token"));
    let (finished, report) = run(&cluster, &["ROOT-10"]);
    finished.exits(1);
    let reported = failure(&report, "ROOT-10");
    assert!(reported.contains("files of the service account: expected "), "{reported}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn an_scc_that_wins_over_the_required_one_is_named() {
    let cluster = Live::take_openshift();
    let mut wins: Value = scc("nestcheck-test-wins");
    wins["priority"] = json!(100);
    wins["groups"] = json!(["system:authenticated"]);
    let _scc = cluster.create_scc(&wins);
    let patch = json!([
        {"op": "remove", "path": "/metadata/annotations/openshift.io~1required-scc"},
        {"op": "replace", "path": "/metadata/annotations/openshift.io~1scc",
         "value": "nestcheck-test-wins"},
    ]);
    let webhook = Webhook::serve(cluster.own_address(), &patch);
    let _configured = cluster.create_webhook(&webhook.configuration("choose-another-scc"));
    let (finished, report) = run(&cluster, &["SCC-P01"]);
    finished.exits(1);
    let reported = failure(&report, "SCC-P01");
    assert!(reported.contains("openshift.io/scc: expected nestcheck-"), "{reported}");
    assert!(reported.contains("observed nestcheck-test-wins"), "{reported}");
    assert!(reported.contains("`choose-another-scc`"), "{reported}");
    cluster.is_clean();
}

/// The run's SCC as an object of this name.
fn scc(name: &str) -> Value {
    let text = suites::fixtures::NESTED_PODMAN.text;
    let mut object: Value = harness::base::manifest::parse("scc.yaml", text).expect("it is YAML");
    object["metadata"]["name"] = json!(name);
    object
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn an_scc_of_somebody_else_is_left_alone() {
    let cluster = Live::take_openshift();
    // The name that the request gives it, with other content.
    let mut other = scc("nested-podman-scc");
    other["allowHostNetwork"] = json!(true);
    other["users"] = json!(["somebody"]);
    let _other = cluster.create_scc(&other);
    let before = cluster.shared_objects();
    assert!(before.iter().any(|object| object.contains("nested-podman-scc")));
    run(&cluster, &["scc"]).0.exits(0);
    assert_eq!(cluster.shared_objects(), before);
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn a_run_creates_nothing_cluster_wide_but_its_own_scc_and_role() {
    let cluster = Live::take_openshift();
    let start = cluster.now();
    let (finished, report) = run(&cluster, &["SCC-05"]);
    finished.exits(0);
    let requests = cluster.requests_since(start);
    let outside: Vec<&Request> = requests
        .iter()
        .filter(|request| request.changes() && !request.path().contains("/namespaces"))
        .collect();
    let name = format!("nestcheck-{}", report.run());
    let paths: Vec<_> = outside.iter().map(|r| (r.verb.as_str(), r.path())).collect();
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let scc = "/apis/security.openshift.io/v1/securitycontextconstraints";
    let mut expected = vec![
        ("create", role.to_owned()),
        ("create", scc.to_owned()),
        ("delete", format!("{role}/{name}")),
        ("delete", format!("{scc}/{name}")),
    ];
    let mut seen: Vec<_> = paths.iter().map(|(verb, path)| (*verb, (*path).to_owned())).collect();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster of OpenShift: ci/test makes it"]
fn what_is_no_scc_is_refused_before_the_cluster_is_asked() {
    let dir = TestDir::new();
    let pod = dir.write("pod.yaml", "apiVersion: v1\nkind: Pod\n");
    let finished = dir.nestcheck(["run", "--scc", &pod, "--kubeconfig", "none"]);
    finished.refuses(2, &["is not an SCC", "`apiVersion`"]);
    let finished = dir.nestcheck(["run", "--scc", "none.yaml", "--kubeconfig", "none"]);
    finished.refuses(2, &["failed to read `none.yaml`"]).hints(&["--scc FILE"]);
    let finished = dir.nestcheck(["run", "--scc", "cluster:", "--kubeconfig", "none"]);
    finished.refuses(2, &["the name of an SCC is missing"]);
}
