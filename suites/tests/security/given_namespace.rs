//! `nestcheck run --namespace`: somebody who may create pods in one namespace, and nothing elsewhere.

use std::{collections::BTreeSet, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_support::{Applied, Live, Request, TestDir};

use super::permissions::{Right, granted, used};

/// The namespace of the tests.
const TEAM: &str = "team-a";

/// Who runs, by the printed role.
const USER: &str = "system:serviceaccount:team-a:nestcheck";

/// The rights that no request of a whole run uses, and why they are there.
const WITHOUT_REQUEST: [(&str, &str); 3] = [
    ("get pods", "only asked when a pod does not start or a case fails"),
    ("get pods/log", "only asked when a pod does not start or a case fails"),
    (
        "create pods/exec",
        "asked for a WebSocket by the gate AuthorizePodWebsocketUpgradeCreatePermission of Kubernetes 1.35",
    ),
];

/// What others have in the namespace. One of them has the label of a run.
const OF_OTHERS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: theirs, namespace: team-a, labels: {nestcheck/run: theirs}}
data: {word: kept}
---
apiVersion: v1
kind: Secret
metadata: {name: theirs, namespace: team-a}
stringData: {word: kept}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: theirs, namespace: team-a}
spec: {storageClassName: none, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: theirs, namespace: team-a}
spec: {podSelector: {matchLabels: {app: theirs}}, policyTypes: [Ingress]}
---
apiVersion: v1
kind: Pod
metadata: {name: workspace, namespace: team-a, labels: {nestcheck/template: workspace}}
spec:
  schedulingGates: [{name: nestcheck.invalid/never}]
  containers: [{name: tools, image: localhost/workspace:1}]
";

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The permissions that are printed for a namespace.
fn printed() -> String {
    let options = ["preflight", "--print-rbac", "--profile", "kubernetes", "--namespace", TEAM];
    let printed = TestDir::new().nestcheck(options);
    printed.exits(0);
    printed.stdout
}

/// All objects of the namespace, with their versions.
fn objects(cluster: &Live) -> BTreeSet<String> {
    let core = ["configmaps", "secrets", "persistentvolumeclaims", "pods", "serviceaccounts"];
    let core = core.map(|kind| format!("/api/v1/namespaces/{TEAM}/{kind}"));
    let others = [
        ("networking.k8s.io/v1", "networkpolicies"),
        ("coordination.k8s.io/v1", "leases"),
        ("rbac.authorization.k8s.io/v1", "rolebindings"),
    ];
    let others = others.map(|(group, kind)| format!("/apis/{group}/namespaces/{TEAM}/{kind}"));
    let mut found = BTreeSet::from([version(&cluster.get(&format!("/api/v1/namespaces/{TEAM}")))]);
    for path in core.iter().chain(&others) {
        let list = cluster.get(path);
        let items = list["items"].as_array().expect("a list").iter();
        found.extend(items.map(|item| format!("{path} {}", version(item))));
    }
    found
}

fn version(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", text("name"), text("uid"), text("resourceVersion"))
}

/// Expects that everything that a request changed is in the namespace.
#[track_caller]
fn stays_inside(requests: &[&Request]) {
    let outside = |request: &&&Request| request.changes() && request.object.namespace != TEAM;
    let outside: Vec<_> = requests.iter().filter(outside).collect();
    assert!(outside.is_empty(), "{outside:#?}");
    let of_namespace = |it: &&&Request| it.changes() && it.object.resource == "namespaces";
    assert_eq!(requests.iter().filter(of_namespace).count(), 0);
}

/// Of each suite enough to use each permission: what podman's other cases do in their pods takes most of
/// a run's time, and no permission.
const CASES: [&str; 11] = [
    "preflight",
    "gate",
    "admission",
    "identity",
    "isolation",
    "volumes",
    "teardown",
    "root",
    "POD-03",
    "POD-NET-07",
    "CMP-02",
];

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_plain_user_runs_what_needs_no_more_and_touches_nothing_else() {
    let cluster = Live::take();
    let _namespace = cluster.create_namespace(&namespace(TEAM));
    let printed = printed();
    let _role = Applied::create(&cluster, &printed);
    let _others = Applied::create(&cluster, OF_OTHERS);
    let (dir, token) = (TestDir::new(), cluster.token_in(TEAM, "nestcheck"));
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let (before, start) = (objects(&cluster), cluster.now());

    let fixed = ["--kubeconfig", &path, "--namespace", TEAM];
    let run = ["run", "--devices", "runtime-class:nested"];
    let finished = dir.nestcheck(run.iter().chain(&fixed).chain(&CASES));

    let requests = cluster.requests_since(start);
    finished.exits(3);
    let report = dir.report();
    for verdict in ["fail", "error", "interrupted"] {
        assert_eq!(report.ids(verdict), [""; 0], "{verdict}: {finished}");
    }
    for id in ["POD-03", "CMP-02", "ID-01", "ISO-01", "ADM-01", "VOL-03B", "VOL-04", "END-01"] {
        assert_eq!(report.verdict(id).name(), "pass", "{id}: {:?}", report.verdict(id));
    }
    for id in ["GATE-07", "ADM-04", "PRE-09", "END-02"] {
        let verdict = report.verdict(id);
        let reason = verdict.message().unwrap_or_default();
        assert_eq!(verdict.name(), "blocked", "{id}: {verdict:?}");
        assert!(reason.contains("confined to namespace `team-a`"), "{id}: {reason}");
    }
    // What the user may not read blocks too, in the server's words.
    for id in ["END-03", "END-05", "PRE-11", "PRE-12"] {
        let verdict = report.verdict(id);
        assert!(verdict.message().is_some_and(|it| it.contains("403")), "{id}: {verdict:?}");
        assert_eq!(verdict.name(), "blocked", "{id}: {verdict:?}");
    }
    assert_eq!(objects(&cluster), before, "what was there is as it was, and nothing is left");
    cluster.is_clean();

    let own: Vec<_> = requests.iter().filter(|request| request.user() == USER).collect();
    stays_inside(&own);
    // The namespace itself is in none.
    let in_team = |right: &&Right| {
        right.1.as_deref() == Some(TEAM) || right.0 == "get namespaces" && right.1.is_none()
    };
    let used: BTreeSet<Right> = own.iter().map(|request| used(request)).collect();
    let used: BTreeSet<&str> =
        used.iter().filter(in_team).map(|(right, _)| right.as_str()).collect();
    let granted = granted(&printed);
    let refused = own.iter().filter(|it| it.code() == 403 && it.object.namespace == TEAM);
    assert_eq!(refused.count(), 0, "the role is enough");
    let is_idle = |(right, _): &&Right| {
        !used.contains(right.as_str()) && WITHOUT_REQUEST.iter().all(|(name, _)| name != right)
    };
    let idle: Vec<_> = granted.iter().filter(is_idle).collect();
    assert!(idle.is_empty(), "granted and not used: {idle:#?}\nused: {used:#?}");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_killed_run_in_a_namespace_is_swept_there_and_nothing_else_is() {
    let cluster = Live::take();
    let _namespace = cluster.create_namespace(&namespace(TEAM));
    let _role = Applied::create(&cluster, &printed());
    let _others = Applied::create(&cluster, OF_OTHERS);
    let (dir, token) = (TestDir::new(), cluster.token_in(TEAM, "nestcheck"));
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let before = objects(&cluster);
    let fixed = ["--kubeconfig", path.as_str(), "--namespace", TEAM];

    let secret = dir.write("pull.json", r#"{"auths": {"registry.invalid": {"auth": "YTpi"}}}"#);
    let run = ["run", "VOL-03B", "POD-03", "--pull-secret", &secret];
    let mut running = dir.start(run.iter().chain(&fixed));
    running.wait_for("pod workspace");
    running.signal(Signal::SIGKILL);
    running.finish();
    let left = objects(&cluster);
    // The user may not read it, and no name in a record is believed.
    let is_secret = |it: &&String| it.contains("/secrets nestcheck-");
    assert!(left.iter().any(|it| is_secret(&it)), "the killed run leaves its objects: {left:#?}");
    let elsewhere = dir.nestcheck(["sweep", "--all", "--kubeconfig", cluster.kubeconfig()]);
    elsewhere.exits(0);
    assert_eq!(elsewhere.stdout, "nothing to sweep\n", "{elsewhere}");
    let would = dir.nestcheck(["sweep", "--all", "--dry-run"].iter().chain(&fixed));
    would.exits(0);
    assert!(would.stdout.contains("would remove Pod `team-a/nestcheck-"), "{would}");
    let swept = dir.nestcheck(["sweep", "--all"].iter().chain(&fixed));
    swept.exits(0);
    assert!(swept.stdout.contains("removed ConfigMap `team-a/nestcheck-"), "{swept}");

    assert_eq!(objects(&cluster), before);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_namespace_that_a_run_can_not_be_in_is_reported_before_anything_is_created() {
    let cluster = Live::take();
    let dir = TestDir::new();
    let admin = ["run", "POD-03", "--kubeconfig", cluster.kubeconfig(), "--namespace"];
    let start = cluster.now();

    dir.nestcheck(admin.iter().chain(&["no-such"]))
        .refuses(2, &["the cluster has no namespace `no-such`"])
        .hints(&["nestcheck creates none"]);

    // There are the records of runs with an administrator.
    dir.nestcheck(admin.iter().chain(&["default"]))
        .refuses(2, &["a run in namespace `default` could not be swept"])
        .hints(&["give another namespace"]);

    let mut ending = namespace("team-ending");
    ending["metadata"]["finalizers"] = json!(["nestcheck.invalid/test"]);
    let created = cluster.create_namespace(&ending);
    let at = "/api/v1/namespaces/team-ending";
    cluster.delete(at, Duration::ZERO);
    dir.nestcheck(admin.iter().chain(&["team-ending"]))
        .refuses(2, &["namespace `team-ending` is being deleted"])
        .hints(&["wait until it is gone"]);
    cluster.merge(at, &json!({"metadata": {"finalizers": null}}));
    drop(created);

    let _namespace = cluster.create_namespace(&namespace(TEAM));
    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let refused = dir.nestcheck(["run", "POD-03", "--kubeconfig", &path, "--namespace", TEAM]);
    refused.exits(4).says(&[
        "lacks rights that a run needs in namespace `team-a`: `create pods`",
        "hint: an administrator grants what is missing with `kubectl apply -f FILE`",
        "  namespace: team-a",
    ]);

    let requests = cluster.requests_since(start);
    let of_nestcheck = requests.iter().filter(|request| request.agent.starts_with("nestcheck"));
    assert_eq!(of_nestcheck.filter(|request| request.changes()).count(), 0);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_namespace_with_a_stricter_level_blocks_and_never_fails() {
    let cluster = Live::take();
    let mut strict = namespace(TEAM);
    strict["metadata"]["labels"] = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let _namespace = cluster.create_namespace(&strict);
    let dir = TestDir::new();

    let cases = ["run", "POD-03", "GATE-01", "ADM-01", "END-01", "--namespace", TEAM];
    dir.nestcheck(cases.iter().chain(&["--kubeconfig", cluster.kubeconfig()])).exits(3);

    let report = dir.report();
    for id in ["POD-03", "GATE-01"] {
        let verdict = report.verdict(id);
        assert_eq!(verdict.name(), "blocked", "{id}: {verdict:?}");
        assert!(verdict.message().is_some_and(|it| it.contains("violates PodSecurity")), "{id}");
    }
    assert_eq!(report.ids("fail"), [""; 0]);
    assert_eq!(report.verdict("END-01").name(), "pass");
}

#[test]
fn the_role_of_a_namespace_is_printed_without_a_cluster() {
    let printed = printed();
    assert!(printed.contains("kind: Role\n") && !printed.contains("kind: Cluster"), "{printed}");
    let dir = TestDir::new();
    let options = ["preflight", "--print-rbac=alice", "--profile", "openshift", "-n", TEAM];
    let of_openshift = dir.nestcheck(options);
    of_openshift.exits(0);
    for word in ["- nested-container\n", "name: alice\n"] {
        assert!(of_openshift.stdout.contains(word), "{of_openshift}");
    }
    dir.nestcheck(["run", "--namespace", "a/b"])
        .refuses(2, &["not the name of a namespace"])
        .hints(&["kubectl get namespaces"]);
    dir.nestcheck(["run", "-n", TEAM, "--as-configured"]).refuses(2, &["--as-configured"]);
    dir.nestcheck(["run", "-n", TEAM, "--node-access"]).refuses(2, &["--node-access"]);
    dir.nestcheck(["preflight", "--print-rbac", "-n", TEAM, "--with", "guard"])
        .refuses(2, &["--with"]);
}
