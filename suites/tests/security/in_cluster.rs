//! nestcheck in a pod of the cluster that it tests, by the manifests of `deploy`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_support::{Applied, Kubeconfig, Live, Report, Running, TestDir, documents};

/// How long a Job may take to come so far.
const DEADLINE: Duration = Duration::from_secs(120);

/// What takes a report out of a log, as docs/how-to/in-the-cluster.md has it.
const EXTRACT: &str = "sed -n 's/^report.tar.gz //p' | base64 -d | tar -xz";

const JOBS: &str = "/apis/batch/v1/namespaces/nestcheck/jobs";
const PODS: &str = "/api/v1/namespaces/nestcheck/pods";

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

/// The program with what it is linked to, as the root file system of an image.
fn tree(dir: &TestDir) -> PathBuf {
    let root = dir.path("tree");
    let program = env!("CARGO_BIN_EXE_nestcheck");
    let put = |from: &str, to: &str| {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("it is in a directory")).expect("it can be made");
        fs::copy(from, to).expect("it can be copied");
    };
    put(program, "/bin/nestcheck");
    let stripped = Command::new("strip").arg(root.join("bin/nestcheck")).status();
    assert!(stripped.expect("binutils are installed").success());
    let linked = Command::new("ldd").arg(program).output().expect("ldd is installed");
    let linked = String::from_utf8(linked.stdout).expect("it prints text");
    let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
    paths.for_each(|path| put(path, path));
    root
}

/// The Job with other arguments, as a user of its own: the image names none. The local cluster has no
/// services, so the pod is told the address of the API server itself.
fn job_with(cluster: &Live, name: &str, arguments: &[&str]) -> Value {
    let mut job = job();
    job["metadata"]["name"] = json!(name);
    let pod = &mut job["spec"]["template"];
    // So that the pod can be looked at when its Job is gone.
    pod["metadata"]["finalizers"] = json!(["nestcheck.invalid/test"]);
    pod["spec"]["securityContext"]["runAsUser"] = json!(1000);
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = json!("localhost/nestcheck:0.1.0");
    let server = cluster.own_kubeconfig().value("/clusters/0/cluster/server");
    let address = server.trim_start_matches("https://").trim_end_matches('/');
    let (host, port) = address.split_once(':').expect("the server has a port");
    let variables = container["env"].as_array_mut().expect("a list");
    variables.push(json!({"name": "KUBERNETES_SERVICE_HOST", "value": host}));
    variables.push(json!({"name": "KUBERNETES_SERVICE_PORT", "value": port}));
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
    fn new(cluster: &'a Live, name: &str, arguments: &[&str]) -> Self {
        let pods = format!("{PODS}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{name}");
        let made = Self { cluster, job: format!("{JOBS}/{name}"), pods };
        made.delete();
        cluster.post(JOBS, &job_with(cluster, name, arguments));
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

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_job_tests_its_own_cluster_and_leaves_nothing_when_it_is_deleted() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    cluster.load(&tree(&dir), "localhost/nestcheck:0.1.0");
    let _namespace = Applied::create(&cluster, &manifest("namespace.yaml"));
    let _rbac = Applied::create(&cluster, &manifest("rbac.yaml"));
    let start = cluster.now();

    let whole = Made::new(&cluster, "whole", &["--profile", "smoke"]);

    let ended = whole.ended();
    let log = whole.log();
    assert_eq!(ended["exitCode"], 0, "{log}");
    let message = ended["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Conformant") && message.ends_with("(exit code 0)"), "{message}");
    let report = report_of(&log, &dir);
    assert_eq!(report.outcome().exit_code(), 0);
    assert_eq!(report.started().profile, "smoke");
    let account = "system:serviceaccount:nestcheck:nestcheck";
    let requests = cluster.requests_since(start);
    assert!(requests.iter().any(|request| request.user() == account));
    cluster.is_clean();

    let deleted = Made::new(&cluster, "deleted", &["podman", "END-01"]);
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
    cluster.is_clean();
}
