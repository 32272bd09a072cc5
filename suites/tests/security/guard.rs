//! What the printed role lets its user do besides a run, and the policy that confines the user.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_support::{Applied, Live, TestDir};

/// The user of the printed role.
const USER: &str = "system:serviceaccount:default:nestcheck";

const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings";

/// How long the API server may take to enforce a new policy.
const POLICY_DEADLINE: Duration = Duration::from_secs(20);

/// The printed permissions with these additions.
fn printed(additions: &[&str]) -> String {
    let options = ["preflight", "--print-rbac", "--profile", "kubernetes"];
    let printed = TestDir::new().nestcheck(options.iter().chain(additions));
    printed.exits(0);
    printed.stdout
}

/// The page of metrics, and a command in a pod that does not exist, both through the kubelet.
fn through_kubelet(cluster: &Live) -> [String; 2] {
    let nodes = cluster.get("/api/v1/nodes");
    let node = nodes["items"][0]["metadata"]["name"].as_str().expect("there is a node").to_owned();
    let proxy = format!("/api/v1/nodes/{node}/proxy");
    [format!("{proxy}/metrics"), format!("{proxy}/exec/default/none/none?command=id&output=1")]
}

/// A run that needs a pod, and the case whose fact is in the kubelets' metrics.
fn is_green(cluster: &Live, token: &str, of_kubelets: &str) {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(token));
    let start = cluster.now();
    dir.nestcheck(["run", "POD-03", "ID-02", "GATE-06", "PRE-12", "--kubeconfig", &path]).exits(0);
    let report = dir.report();
    assert_eq!(report.verdict("GATE-06").name(), of_kubelets);
    for id in ["POD-03", "ID-02", "PRE-12"] {
        assert_eq!(report.verdict(id).name(), "pass", "{id}");
    }
    cluster.is_clean();
    let requests = cluster.requests_since(start);
    let refused: Vec<_> = requests
        .iter()
        .filter(|request| request.user() == USER && request.code() == 403)
        .filter(|request| !request.path().ends_with("/proxy/metrics"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_printed_role_has_no_way_through_the_kubelets_unless_it_is_asked_for() {
    let cluster = Live::take();
    let [metrics, exec] = through_kubelet(&cluster);
    let answer = |token: &str, path: &str| cluster.answer_to(token, ("GET", path), &Value::Null);
    {
        let _applied = Applied::create(&cluster, &printed(&[]));
        let token = cluster.token_of("nestcheck");
        for path in [&metrics, &exec] {
            let (code, message) = answer(&token, path).expect_err("it is refused");
            assert!(code == 403 && message.contains("nodes/proxy"), "{path}: {code} {message}");
        }
        is_green(&cluster, &token, "blocked");
    }
    // What the printed text warns of: the kubelet is asked, and knows no such pod.
    let _applied = Applied::create(&cluster, &printed(&["--with", "kubelet-metrics"]));
    let token = cluster.token_of("nestcheck");
    answer(&token, &metrics).expect("the page of metrics");
    let (code, message) = answer(&token, &exec).expect_err("there is no such pod");
    assert_ne!(code, 403, "{message}");
}

/// A binding that would make its subjects masters of kube-system.
fn binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "guard-test"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    })
}

/// Waits until the API server enforces the policy, which no object of the API shows: until it refuses
/// the binding. Returns its message.
fn await_guard(cluster: &Live, token: &str) -> (u16, String) {
    let started = Instant::now();
    loop {
        match cluster.answer_to(token, ("POST", BINDINGS), &binding()) {
            Err(refusal) => return refusal,
            Ok(_) => cluster.delete(&format!("{BINDINGS}/guard-test"), Duration::ZERO),
        }
        assert!(started.elapsed() < POLICY_DEADLINE, "the policy is not enforced");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_guard_confines_its_user_to_runs_and_leaves_them_green() {
    let cluster = Live::take();
    let [metrics, exec] = through_kubelet(&cluster);
    let _applied = Applied::create(&cluster, &printed(&["--with", "guard,kubelet-metrics"]));
    let token = cluster.token_of("nestcheck");
    let (code, message) = await_guard(&cluster, &token);
    assert!(code == 403 && message.contains("confines this user"), "{code} {message}");

    let named = |name: &str| json!({"metadata": {"name": name}});
    let dry_pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "guard-test"},
                         "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let victim =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-victim"}});
    let _victim = cluster.create_namespace(&victim);
    // A collection is refused at its first object.
    let claims = "/api/v1/namespaces/kube-victim/persistentvolumeclaims";
    let claim = json!({"metadata": {"name": "guard-test"}, "spec": {
        "storageClassName": "none", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}}}});
    cluster.post(claims, &claim);
    let accounts = "/api/v1/namespaces/kube-system/serviceaccounts";
    let refused = [
        ("POST", "/api/v1/namespaces".to_owned(), named("guard-test")),
        ("DELETE", "/api/v1/namespaces/kube-victim".to_owned(), Value::Null),
        ("POST", format!("{accounts}/default/token"), json!({"spec": {}})),
        ("POST", accounts.to_owned(), named("guard-test")),
        ("DELETE", claims.to_owned(), Value::Null),
        ("POST", "/api/v1/namespaces/default/pods".to_owned(), dry_pod.clone()),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases".to_owned(),
            named("guard-test"),
        ),
        ("GET", exec, Value::Null),
    ];
    for (method, path, body) in refused {
        let answer = cluster.answer_to(&token, (method, &path), &body);
        let (code, message) = answer.expect_err(&path);
        assert!(code == 403 && message.contains("confines this user"), "{path}: {message}");
    }
    for (method, path, body) in [
        ("GET", metrics.as_str(), Value::Null),
        ("POST", "/api/v1/namespaces/default/pods?dryRun=All", dry_pod),
    ] {
        cluster.answer_to(&token, (method, path), &body).expect(path);
    }
    is_green(&cluster, &token, "pass");
}
