//! Where the pods of a run go, and with what: all of them, proven by a policy that refuses others.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_support::{Live, Running, TestDir};

use crate::outputs::{assert_absent, outputs, said};

const LABEL: &str = "nestcheck-test/pool";

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

/// The name of the test's objects.
const NAME: &str = "placement-test";

/// What no output may have: the password of the registry, and both forms of it with its user.
const CANARIES: [&str; 3] =
    ["canary-of-registry", "cm9ib3Q6Y2FuYXJ5LW9mLXJlZ2lzdHJ5", "robot:canary"];

/// The content of the pull secret, whose `auth` is `robot:canary-of-registry`.
const CONFIG: &str =
    r#"{"auths":{"registry.example.com":{"auth":"cm9ib3Q6Y2FuYXJ5LW9mLXJlZ2lzdHJ5"}}}"#;

/// The node of the cluster, with a label and a taint, and objects that a person may choose; all of it
/// ends with this.
struct Reserved<'a> {
    cluster: &'a Live,
    node: String,
}

impl<'a> Reserved<'a> {
    fn create(cluster: &'a Live) -> Self {
        let nodes = cluster.get("/api/v1/nodes");
        let name = nodes["items"][0]["metadata"]["name"].as_str().expect("there is a node");
        let node = format!("/api/v1/nodes/{name}");
        let reserved = Self { cluster, node };
        reserved.clean();
        let taint = json!({"key": "example.com/reserved", "value": "ci", "effect": "NoSchedule"});
        let labels = json!({"labels": {LABEL: "ci"}});
        let change = json!({"metadata": labels, "spec": {"taints": [taint]}});
        cluster.merge(&reserved.node, &change);
        cluster.post(CLASSES, &json!({"metadata": {"name": NAME}, "value": 7}));
        let secret = json!({
            "metadata": {"name": NAME}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": CONFIG},
        });
        cluster.post(SECRETS, &secret);
        reserved
    }

    fn clean(&self) {
        let change = json!({"metadata": {"labels": {LABEL: null}}, "spec": {"taints": null}});
        self.cluster.merge(&self.node, &change);
        for path in [CLASSES, SECRETS] {
            self.cluster.delete(&format!("{path}/{NAME}"), Duration::ZERO);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.clean();
    }
}

/// A policy that refuses every pod of a run that was not placed as the test asks for.
fn policy() -> Value {
    let expression = format!(
        "has(object.spec.nodeSelector) && '{LABEL}' in object.spec.nodeSelector && \
         object.spec.priorityClassName == '{NAME}' && \
         object.spec.tolerations.exists(it, has(it.key) && it.key == 'example.com/reserved') && \
         object.spec.imagePullSecrets.exists(it, it.name == 'nestcheck-pull-secret') && \
         object.spec.containers.all(it, it.resources.requests.cpu == '10m' && \
         'memory' in it.resources.limits)"
    );
    let pods = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                      "resources": ["pods"]});
    json!({
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [pods],
            "objectSelector": {"matchExpressions": [{"key": "nestcheck/run", "operator": "Exists"}]},
        },
        "validations": [{"expression": expression, "message": "it is not placed"}],
    })
}

/// Waits until the API server enforces the policy, which no object of the API shows.
fn await_policy(cluster: &Live) {
    let started = Instant::now();
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
                     "metadata": {"name": NAME, "labels": {"nestcheck/run": "none"}},
                     "spec": {"containers": [{"name": "c", "image": "i"}]}});
    while cluster.dry_run(&pod).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(20), "the policy is not enforced");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn every_pod_of_a_run_is_placed_as_was_asked_for() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let _reserved = Reserved::create(&cluster);
    let _policy = cluster.create_denying_policy(NAME, &policy());
    await_policy(&cluster);
    let start = cluster.now();
    // Shared pods, the control and the inspector of nodes, pods that a case makes for itself, and pods in
    // other namespaces.
    let cases = ["POD-03", "ROOT-02", "ID-09", "VOL-04", "GATE-08", "--node-access"];
    let options = [
        "--node-selector",
        "nestcheck-test/pool=ci",
        "--toleration",
        "example.com/reserved=ci:NoSchedule",
        "--priority-class",
        NAME,
        "--requests",
        "cpu=10m,memory=32Mi",
        "--limits",
        "memory=2Gi",
        "--pull-secret",
        "default/placement-test",
    ];
    let command = ["run", "--kubeconfig", cluster.kubeconfig()];
    let mut traced = dir.command(command.iter().chain(&cases).chain(&options));
    traced.env("NESTCHECK_LOG", "trace");
    let run = Running::start(traced).finish();
    run.exits(0);
    let report = dir.report();
    for id in &cases[..5] {
        assert_eq!(report.verdict(id).name(), "pass", "{id}: {run}");
    }
    assert_absent(&outputs(&dir, report.directory()), &CANARIES);
    assert_absent(&said(&run), &CANARIES);
    let requests = cluster.requests_since(start);
    let copies = requests.iter().filter(|it| it.kind() == "create secrets" && it.code() == 201);
    let copies: Vec<_> = copies.map(|it| (it.object.namespace.as_str(), it.user())).collect();
    let main = format!("nestcheck-{}", report.run());
    let user = format!("system:serviceaccount:{main}:workspace-user");
    assert!(copies.contains(&(main.as_str(), user.as_str())), "{copies:?}");
    assert!(copies.len() >= 2, "the other namespaces have one too: {copies:?}");
    assert!(copies.iter().all(|(_, by)| *by == user), "not the administrator: {copies:?}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn what_can_not_be_placed_is_reported_before_anything_is_written() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let _reserved = Reserved::create(&cluster);
    let opaque = json!({"metadata": {"name": "placement-opaque"}, "stringData": {"a": "b"}});
    cluster.delete(&format!("{SECRETS}/placement-opaque"), Duration::ZERO);
    cluster.post(SECRETS, &opaque);
    let file = dir.write("pull.json", "canary-of-registry");
    let tolerated = ["--toleration", "example.com/reserved"];
    let start = cluster.now();
    let refused: [(&[&str], &[&str], &str); 9] = [
        (
            &[],
            &["taint `example.com/reserved=ci:NoSchedule`"],
            "--toleration example.com/reserved=ci",
        ),
        (&["--toleration", "other"], &["do not tolerate"], "--toleration"),
        (&["--node-selector", "pool=none"], &["labels `pool=none`"], "--show-labels"),
        (&["--priority-class", "none"], &["no PriorityClass `none`"], "get priorityclasses"),
        (
            &["--pull-secret", "default/none"],
            &["no Secret `default/none`"],
            "get secrets -n default",
        ),
        (&["--pull-secret", "default/placement-opaque"], &["type `Opaque`"], "docker-registry"),
        (&["--pull-secret", "none.json"], &["`none.json`", "No such file"], "NAMESPACE/NAME"),
        (&["--pull-secret", &file], &["not JSON with a field `auths`"], "docker-registry"),
        (&["--requests", "cpu=2", "--limits", "cpu=1"], &["cpu=2", "cpu=1"], "--limits"),
    ];
    for (options, words, hint) in refused {
        let run = ["run", "POD-03", "--kubeconfig", cluster.kubeconfig()];
        // The first two are about the taint itself.
        let about_taint = words[0].contains("tolerate") || words[0].contains("taint");
        let tolerated = tolerated.iter().filter(|_| !about_taint);
        let refused = dir.nestcheck(run.iter().chain(options).chain(tolerated));
        refused.refuses(2, words).hints(&[hint]);
        assert_absent(&said(&refused), &CANARIES);
    }
    cluster.delete(&format!("{SECRETS}/placement-opaque"), Duration::ZERO);
    let requests = cluster.requests_since(start);
    let changes: Vec<_> = requests.iter().filter(|request| request.changes()).collect();
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(dir.content(), ["pull.json"], "no report is left");
    cluster.is_clean();
}
