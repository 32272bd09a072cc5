//! nestcheck in a pod of the cluster that it tests, by the manifests of `deploy`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_support::{
    Applied, ForwardProxy, Kubeconfig, Live, ProxyProtocol, Report, Running, TestDir, documents,
    program_tree,
};

use crate::networks::ONLY_BY_PROXY;

/// How long a Job may take to come so far.
const DEADLINE: Duration = Duration::from_secs(120);

/// What takes a report out of a log, as docs/how-to/in-the-cluster.md has it.
const EXTRACT: &str = "sed -n 's/^report.tar.gz //p' | base64 -d | tar -xz";

const JOBS: &str = "/apis/batch/v1/namespaces/nestcheck/jobs";
const PODS: &str = "/api/v1/namespaces/nestcheck/pods";
const CONFIGMAP: &str = "/api/v1/namespaces/nestcheck/configmaps/nestcheck-report";

fn manifest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn job() -> Value {
    documents(&manifest("job.yaml")).remove(0)
}

/// What the job of each night has besides that of one run.
const OF_NIGHTS: [&str; 4] =
    ["--report", "prometheus=/history/nestcheck.prom", "--compare-last", "/history/last.tar.gz"];

#[test]
fn the_job_of_each_night_is_the_job_with_metrics_and_a_memory() {
    let objects = documents(&manifest("cronjob.yaml"));
    let [nightly, pvc] = &objects[..] else { panic!("{objects:?}") };
    let mut nightly = nightly["spec"]["jobTemplate"]["spec"].clone();
    let pod = &mut nightly["template"]["spec"];
    let mut take = |list: &str, count: usize| {
        let list = pod.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
        list.split_off(list.len() - count)
    };
    assert_eq!(json!(take("/containers/0/args", OF_NIGHTS.len())), json!(OF_NIGHTS));
    let mounts = take("/containers/0/volumeMounts", 1);
    assert_eq!(mounts, [json!({"name": "history", "mountPath": "/history"})]);
    let claim = &take("/volumes", 1)[0]["persistentVolumeClaim"]["claimName"];
    assert_eq!((claim, &pvc["kind"]), (&pvc["metadata"]["name"], &json!("PersistentVolumeClaim")));
    assert_eq!(nightly, job()["spec"]);
}

#[test]
fn a_job_ends_with_each_result_and_retries_what_is_none() {
    let rules = job()["spec"]["podFailurePolicy"]["rules"].clone();
    let codes = rules[1]["onExitCodes"]["values"].as_array().expect("a list").clone();
    let codes: BTreeSet<_> = codes.iter().filter_map(Value::as_u64).collect();
    assert_eq!((rules[1]["action"].as_str(), codes), (Some("FailJob"), [1, 2, 3, 5].into()));
    let grace = job()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(grace > Some(120), "a teardown may take two minutes");
}

#[test]
fn without_a_kubeconfig_and_a_pod_both_ways_are_named() {
    let dir = TestDir::new();
    dir.nestcheck(["preflight"])
        .refuses(2, &["no kubeconfig", "this is not a pod"])
        .hints(&["--kubeconfig FILE", "automountServiceAccountToken"]);
    let mut command = dir.command(["run"]);
    command.env("KUBERNETES_SERVICE_HOST", "192.0.2.1").env("KUBERNETES_SERVICE_PORT", "443");
    Running::start(command)
        .finish()
        .refuses(2, &["this pod has no token at `/var/run/secrets/"])
        .hints(&["automountServiceAccountToken"]);
    // Who names a kubeconfig does not mean the pod.
    dir.nestcheck(["preflight", "--context", "x"]).refuses(2, &["kubeconfig"]);
    assert_eq!(dir.content(), [""; 0]);
}

#[test]
fn an_archive_that_cannot_be_written_is_reported_before_the_run() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to("https://192.0.2.1:6443"));
    for archive in ["/no/such/report.tar.gz", ""] {
        dir.nestcheck(["run", "--kubeconfig", &path, "--report-archive", archive])
            .refuses(2, &["archive"])
            .hints(&["give a file"]);
    }
    assert_eq!(dir.content(), ["kubeconfig"]);
}

/// The address of the API server.
fn server(cluster: &Live) -> SocketAddr {
    let server = cluster.own_kubeconfig().value("/clusters/0/cluster/server");
    let address = server.trim_start_matches("https://").trim_end_matches('/');
    address.parse().expect("the server is an address with a port")
}

/// The Job with other arguments and, on the network of its node, more variables, as a user of its own: the image names none. The local cluster has no
/// services, so the pod is told the address of the API server itself.
fn job_with(cluster: &Live, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Value {
    let mut job = job();
    job["metadata"]["name"] = json!(name);
    let pod = &mut job["spec"]["template"];
    // So that the pod can be looked at when its Job is gone.
    pod["metadata"]["finalizers"] = json!(["nestcheck.invalid/test"]);
    pod["spec"]["securityContext"]["runAsUser"] = json!(1000);
    pod["spec"]["hostNetwork"] = json!(!more.is_empty());
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = json!("localhost/nestcheck:0.1.0");
    let server = server(cluster);
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let variables = container["env"].as_array_mut().expect("a list");
    // Of two with one name the last one counts.
    let own = [("KUBERNETES_SERVICE_HOST", &*host), ("KUBERNETES_SERVICE_PORT", &*port)];
    for (name, value) in own.iter().chain(more) {
        variables.push(json!({"name": name, "value": value}));
    }
    let fixed = container["args"].as_array().expect("a list").clone();
    let more = arguments.iter().map(|argument| json!(argument));
    container["args"] = fixed.into_iter().chain(more).collect();
    job
}

/// A Job that was made, and its pod; both end with this.
struct Made<'a> {
    cluster: &'a Live,
    job: String,
    pods: String,
}

impl<'a> Made<'a> {
    fn new(cluster: &'a Live, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let pods = format!("{PODS}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{name}");
        let made = Self { cluster, job: format!("{JOBS}/{name}"), pods };
        made.delete();
        cluster.post(JOBS, &job_with(cluster, name, arguments, variables));
        made
    }

    fn delete(&self) {
        self.cluster.delete(&format!("{}?propagationPolicy=Background", self.job), Duration::ZERO);
    }

    /// The pod; nothing before it is there.
    fn pod(&self) -> Value {
        self.cluster.get(&self.pods)["items"][0].clone()
    }

    fn log(&self) -> String {
        let name = self.pod()["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.cluster.text(&format!("{PODS}/{name}/log"))
    }

    /// Waits until something holds of the pod.
    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let pod = self.pod();
            if holds(&pod) {
                return pod;
            }
            assert!(started.elapsed() < DEADLINE, "{what} takes too long: {pod:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for the end of the program, and returns how it ended.
    #[track_caller]
    fn ended(&self) -> Value {
        let state = "/status/containerStatuses/0/state/terminated";
        let pod = self.wait("its end", |pod| pod.pointer(state).is_some_and(Value::is_object));
        pod.pointer(state).cloned().unwrap_or_default()
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        self.delete();
        if let Some(name) = self.pod()["metadata"]["name"].as_str() {
            let free = json!({"metadata": {"finalizers": null}});
            self.cluster.merge(&format!("{PODS}/{name}"), &free);
        }
    }
}

/// Reads the report that a log has in it.
fn report_of(log: &str, dir: &TestDir) -> Report {
    let mut shell = Command::new("sh");
    shell.args(["-c", EXTRACT]).current_dir(dir.path("")).stdin(Stdio::piped());
    let mut shell = shell.spawn().expect("sh is installed");
    let mut stdin = shell.stdin.take().expect("it is piped");
    stdin.write_all(log.as_bytes()).expect("it is read");
    drop(stdin);
    assert!(shell.wait().expect("it can be waited for").success(), "{log}");
    dir.report()
}

/// Expects the report in the ConfigMap too, whole, by the command of docs/how-to/in-the-cluster.md.
#[track_caller]
fn is_in_configmap(cluster: &Live, report: &Report, outcome: &str) {
    let found = cluster.get(CONFIGMAP);
    let text = |key: &str| found["data"][key].as_str().unwrap_or_default().to_owned();
    assert!(text("outcome").starts_with(outcome), "{found:#}");
    for (key, word) in
        [("junit.xml", "<testsuites"), ("summary.md", "onformant"), ("report.json", "{")]
    {
        assert!(text(key).contains(word), "{key}");
    }
    assert_eq!(found["data"]["left-out"], Value::Null, "{}", text("left-out"));
    assert_eq!(found["metadata"]["labels"]["nestcheck/run"], Value::Null, "no sweep takes it");
    let archive = found["binaryData"]["report.tar.gz"].as_str().unwrap_or_default();
    let again = TestDir::new();
    fs::write(again.path("archive"), archive).expect("it can be written");
    let extract = Command::new("sh")
        .args(["-c", "base64 -d < archive | tar -xz"])
        .current_dir(again.path(""))
        .status();
    assert!(extract.expect("sh is installed").success());
    assert_eq!(again.report().run(), report.run());
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_report_goes_to_no_configmap_of_others_and_to_none_without_a_permission() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let theirs = "/api/v1/namespaces/default/configmaps/theirs";
    cluster.delete(theirs, Duration::ZERO);
    let object = json!({"metadata": {"name": "theirs"}, "data": {"word": "kept"}});
    cluster.post("/api/v1/namespaces/default/configmaps", &object);
    let run = ["run", "PRE-01", "--report-configmap", "default/theirs", "--kubeconfig"];

    dir.nestcheck(run.iter().chain(&[cluster.kubeconfig()]))
        .refuses(2, &["ConfigMap `default/theirs` is not a report of nestcheck"])
        .hints(&["give another name"]);
    assert_eq!(cluster.get(theirs)["data"]["word"], "kept");
    cluster.delete(theirs, Duration::ZERO);

    let token = cluster.token_without_permissions();
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    dir.nestcheck(run.iter().chain(&[path.as_str()]))
        .refuses(4, &["failed to write the report to ConfigMap `default/theirs`: forbidden"])
        .hints(&["deploy/report-configmap.yaml"]);
    assert_eq!(dir.content(), ["kubeconfig"], "nothing ran");
}

#[test]
fn a_configmap_needs_a_namespace_that_is_known() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to("https://192.0.2.1:6443"));
    let run = ["run", "--kubeconfig", path.as_str(), "--report-configmap"];
    dir.nestcheck(run.iter().chain(&["report"]))
        .refuses(2, &["the namespace of ConfigMap `report` is not known"])
        .hints(&["--report-configmap NAMESPACE/NAME"]);
    dir.nestcheck(run.iter().chain(&["a/b/c"])).refuses(2, &["not the name of an object"]);
}

/// Expects that a Job reaches the API server through the proxy of its variables, and in no other way: only
/// the proxy knows the name of the server. The proxy is beside the cluster, which pods of the local cluster
/// reach from the network of the node alone, for which the namespace has to permit it.
fn runs_through_a_proxy(cluster: &Live) {
    const USER: (&str, &str) = ("who", "canary-of-proxy");
    let known = (ONLY_BY_PROXY, server(cluster));
    let proxy = ForwardProxy::start_at(cluster.own_address(), ProxyProtocol::Http, USER, known);
    let url = proxy.url();
    let variables = [
        ("KUBERNETES_SERVICE_HOST", ONLY_BY_PROXY),
        ("HTTPS_PROXY", url.as_str()),
        ("NO_PROXY", "localhost,.example.com,192.0.2.0/24"),
    ];

    let labels = json!({"pod-security.kubernetes.io/enforce": "privileged"});
    cluster.merge("/api/v1/namespaces/nestcheck", &json!({"metadata": {"labels": labels}}));
    let job = Made::new(cluster, "by-proxy", &["ID-01", "POD-03"], &variables);

    let ended = job.ended();
    let log = job.log();
    assert_eq!(ended["exitCode"], 0, "{log}");
    assert!(!log.contains(USER.1), "{log}");
    let dir = TestDir::new();
    assert_eq!(report_of(&log, &dir).ids("pass"), ["ID-01", "POD-03"]);
    let asked = proxy.asked();
    assert!(asked.len() == 1 && asked.iter().all(|asked| asked.starts_with(ONLY_BY_PROXY)));
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_job_tests_its_own_cluster_and_leaves_nothing_when_it_is_deleted() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    cluster.load(&program_tree(&dir, env!("CARGO_BIN_EXE_nestcheck")), "localhost/nestcheck:0.1.0");
    let _namespace = Applied::create(&cluster, &manifest("namespace.yaml"));
    let _rbac = Applied::create(&cluster, &manifest("rbac.yaml"));
    let _report = Applied::create(&cluster, &manifest("report-configmap.yaml"));
    let start = cluster.now();
    let to_configmap = ["--report-configmap", "nestcheck-report"];

    let smoke = ["--profile", "smoke"];
    let whole = Made::new(&cluster, "whole", &[&smoke[..], &to_configmap].concat(), &[]);

    let ended = whole.ended();
    let log = whole.log();
    assert_eq!(ended["exitCode"], 0, "{log}");
    let message = ended["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Conformant") && message.ends_with("(exit code 0)"), "{message}");
    let report = report_of(&log, &dir);
    assert_eq!(report.outcome().exit_code(), 0);
    assert_eq!(report.started().profile, "smoke");
    is_in_configmap(&cluster, &report, "Conformant");
    let account = "system:serviceaccount:nestcheck:nestcheck";
    let requests = cluster.requests_since(start);
    assert!(requests.iter().any(|request| request.user() == account));
    cluster.is_clean();

    let podman = ["podman", "END-01"];
    let deleted = Made::new(&cluster, "deleted", &[&podman[..], &to_configmap].concat(), &[]);
    deleted.wait("its pod", |pod| pod["status"]["phase"] == "Running");
    let started = Instant::now();
    while !deleted.log().contains("pod workspace") {
        assert!(started.elapsed() < DEADLINE, "it does not begin: {}", deleted.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    deleted.delete();
    let ended = deleted.ended();
    assert_eq!(ended["exitCode"], 143, "{}", deleted.log());
    let message = ended["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Interrupted by SIGTERM"), "{message}");
    let outcome = cluster.get(CONFIGMAP)["data"]["outcome"].clone();
    let outcome = outcome.as_str().unwrap_or_default();
    assert!(outcome.ends_with("(exit code 143)\n"), "replaced by the later run: {outcome}");
    cluster.is_clean();

    runs_through_a_proxy(&cluster);
}
