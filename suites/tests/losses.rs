//! What is lost, stuck or full while a run goes on: each ends in a verdict with its reason, against
//! the cluster of `NESTCHECK_TEST_KUBECONFIG`, on which everything works.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use harness::verdict::Verdict;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use test_support::{Finished, Live, Running, TestDir};

/// The id of a run, as it says at its start.
fn run_of(finished: &Finished) -> String {
    let (_, rest) = finished.stderr.split_once("(run ").expect("it says which run it is");
    rest.split(',').next().expect("an id").to_owned()
}

/// The namespace of the only run that goes on.
fn namespace_of_the_run(cluster: &Live) -> String {
    let found = cluster.leftovers().into_iter().find(|name| name.starts_with("nestcheck-"));
    found.expect("a run goes on")
}

/// Lets the node take no pods, for as long as the guard lives.
struct Cordon<'a>(&'a Live);

impl<'a> Cordon<'a> {
    fn set(cluster: &'a Live) -> Self {
        cluster.merge("/api/v1/nodes/node", &json!({"spec": {"unschedulable": true}}));
        Self(cluster)
    }
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        self.0.merge("/api/v1/nodes/node", &json!({"spec": {"unschedulable": null}}));
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_pod_that_is_deleted_under_its_cases_is_an_error_and_no_failure() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    // POD-NET-07 waits that long for a pod that may only be beside the one that is gone.
    let options = ["run", "podman", "--pod-timeout", "60s", "--kubeconfig", cluster.kubeconfig()];
    let mut running = dir.start(options);
    running.wait_for("pod workspace");
    let namespace = namespace_of_the_run(&cluster);
    let pod = format!("/api/v1/namespaces/{namespace}/pods/workspace?gracePeriodSeconds=0");
    cluster.delete(&pod, Duration::from_secs(10));
    let finished = running.finish();
    finished.exits(4);
    let report = dir.report();
    let cases = report.cases();
    assert_eq!(report.ids("fail"), [""; 0]);
    let mut reported = cases.iter().filter_map(|case| case.verdict.message());
    let names_it = |message: &str| message.contains("deleted") || message.contains("not found");
    assert!(reported.any(names_it), "{cases:?}");
    cluster.is_clean();
}

/// The processes of this machine, those in its clusters included, that serve a text as the probe does.
fn servers_of(text: &str) -> Vec<Pid> {
    let end = format!("serve\0--port\08080\0--text\0{text}\0");
    let serves = |path: &Path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        line.starts_with(b"/probe\0") && line.ends_with(end.as_bytes())
    };
    let processes = fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    let ids = processes
        .filter(|path| serves(path))
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw));
    ids.collect()
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_server_that_ends_is_a_loss_and_not_the_refusal_that_a_case_expects() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let mut running = dir.start(["run", "POD-NET-04", "--kubeconfig", cluster.kubeconfig()]);
    running.wait_for("pod workspace");
    let is_over = AtomicBool::new(false);

    let finished = thread::scope(|scope| {
        // In each try: once the server of the other network is there, that of the first has answered.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if !servers_of("elsewhere").is_empty() {
                    for server in servers_of("by name") {
                        let _ = kill(server, Signal::SIGKILL);
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let finished = running.finish();
        is_over.store(true, Ordering::Relaxed);
        finished
    });

    finished.exits(4);
    let verdict = dir.report().verdict("POD-NET-04").clone();
    let Verdict::Error { message } = &verdict else { panic!("{verdict:?}") };
    assert!(message.contains("after the refusal the server does not work any more"), "{message}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_namespace_that_does_not_end_is_a_leak_that_says_what_keeps_it() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let mut running = dir.start([
        "run",
        "ID-01",
        "END-01",
        "--teardown-timeout",
        "8s",
        "--kubeconfig",
        cluster.kubeconfig(),
    ]);
    running.wait_for("pod workspace");
    let namespace = namespace_of_the_run(&cluster);
    let configs = format!("/api/v1/namespaces/{namespace}/configmaps");
    let stuck = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "stuck", "finalizers": ["example.com/stuck"]}});
    cluster.post(&configs, &stuck);
    let finished = running.finish();
    cluster.merge(&format!("{configs}/stuck"), &json!({"metadata": {"finalizers": null}}));
    finished.exits(5);
    let report = dir.report();
    let reported = report.verdict("END-01").message().unwrap_or_default().to_owned();
    assert!(reported.contains(&namespace) && reported.contains("example.com/stuck"), "{reported}");
    assert_eq!(*report.verdict("ID-01"), Verdict::Pass);
    let run = run_of(&finished);
    dir.nestcheck(["sweep", "--run", &run, "--kubeconfig", cluster.kubeconfig()]).exits(0);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_pod_that_no_node_takes_is_an_error_with_the_schedulers_reason() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let cordon = Cordon::set(&cluster);
    let finished = dir.nestcheck([
        "run",
        "ID-01",
        "--pod-timeout",
        "5s",
        "--kubeconfig",
        cluster.kubeconfig(),
    ]);
    drop(cordon);
    finished.exits(4);
    let verdict = dir.report().verdict("ID-01").clone();
    let Verdict::Error { message } = &verdict else { panic!("{verdict:?}") };
    assert!(message.contains("within 5 s") && message.contains("unschedulable"), "{message}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn what_a_failed_run_created_is_kept_for_who_asks_for_it() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let cordon = Cordon::set(&cluster);
    let options =
        ["run", "ID-01", "ROOT-04F", "END-01", "--pod-timeout", "5s", "--keep", "on-failure"];
    let finished = dir.nestcheck(options.iter().chain(&["--kubeconfig", cluster.kubeconfig()]));
    drop(cordon);
    finished.exits(4).says(&["nestcheck sweep --run", "end the privileged pods"]);
    let run = run_of(&finished);
    assert!(cluster.leftovers().contains(&format!("nestcheck-{run}")));
    let pods = cluster.get(&format!("/api/v1/namespaces/nestcheck-{run}/pods"));
    let names: Vec<_> = pods["items"].as_array().expect("a list").iter().collect();
    let is_left = |name: &str| {
        names.iter().any(|pod| {
            pod["metadata"]["name"] == name && pod["metadata"]["deletionTimestamp"].is_null()
        })
    };
    assert!(is_left("workspace") && !is_left("privileged"), "{pods}");
    let audit = dir.report().verdict("END-01").clone();
    assert!(matches!(audit, Verdict::Blocked { .. }), "{audit:?}");
    dir.nestcheck(["sweep", "--run", &run, "--kubeconfig", cluster.kubeconfig()]).exits(0);
    // A run that is well keeps nothing.
    let options = ["run", "ID-01", "--keep", "on-failure"];
    dir.nestcheck(options.iter().chain(&["--kubeconfig", cluster.kubeconfig()])).exits(0);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let directory = dir.path("small");
    fs::create_dir(&directory).expect("it can be made");
    // With less the ledger is refused, with more the log or a report is.
    for size in ["8k", "28k", "64k"] {
        let script = "mount -t tmpfs -o size=$1 small $2 && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", size]).arg(&directory);
        let nestcheck = dir.command(["run", "ID-01", "ID-02", "--report-dir"]);
        command
            .arg(nestcheck.get_program())
            .args(nestcheck.get_args())
            .arg(directory.join("report"));
        command.args(["--kubeconfig", cluster.kubeconfig()]);
        let finished = Running::start(command).finish();
        finished.exits(4).says(&["No space left"]);
        cluster.is_clean();
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_machine_with_a_wrong_clock_sweeps_nothing_that_goes_on() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let mut running = dir.start(["run", "podman", "--kubeconfig", cluster.kubeconfig()]);
    running.wait_for("pod workspace");
    let namespace = namespace_of_the_run(&cluster);
    // As a machine would write whose clock is years behind.
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let past = json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}});
    cluster.merge(&format!("{leases}/{namespace}"), &past);
    let other = TestDir::new();
    let reported = other.nestcheck(["sweep", "--expired", "--kubeconfig", cluster.kubeconfig()]);
    assert_eq!(reported.exits(0).stdout, "nothing to sweep\n");
    running.finish().exits(0);
    cluster.is_clean();
}

/// A node of another kind, which has no machine.
struct OtherNode<'a>(&'a Live);

impl<'a> OtherNode<'a> {
    const PATH: &'static str = "/api/v1/nodes/other";

    /// One that is ready and has no room for pods: what is scheduled to a machine that is none would
    /// never end.
    fn create(cluster: &'a Live) -> Self {
        let labels = json!({"kubernetes.io/os": "linux"});
        cluster.post(
            "/api/v1/nodes",
            &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other", "labels": labels}}),
        );
        let node = Self(cluster);
        let room = json!({"cpu": "2", "memory": "4Gi", "pods": "0"});
        let info = json!({
            "kernelVersion": "5.14.0-other", "kubeletVersion": "v1.32.5",
            "containerRuntimeVersion": "containerd://2.4.2", "osImage": "Other", "machineID": "",
            "systemUUID": "", "bootID": "", "kubeProxyVersion": "", "operatingSystem": "linux",
            "architecture": "amd64",
        });
        let ready = json!({"type": "Ready", "status": "True"});
        let status = json!({
            "capacity": room, "allocatable": room, "conditions": [ready], "nodeInfo": info,
        });
        cluster.merge(&format!("{}/status", Self::PATH), &json!({"status": status}));
        // A new node has the taint of one that is not ready, until a controller sees that it is
        // (kubernetes, `plugin/pkg/admission/nodetaint`).
        cluster.merge(Self::PATH, &json!({"spec": {"taints": null}}));
        node
    }
}

impl Drop for OtherNode<'_> {
    fn drop(&mut self) {
        self.0.delete(Self::PATH, Duration::from_secs(10));
    }
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn another_kind_of_node_is_asked_too_unless_it_is_reserved() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let other = OtherNode::create(&cluster);
    let options = ["run", "UPG-04A", "ID-01", "--pod-timeout", "5s"];
    let run = || dir.nestcheck(options.iter().chain(&["--kubeconfig", cluster.kubeconfig()]));
    run().exits(4);
    let verdict = dir.report().verdict("UPG-04A").clone();
    let Verdict::Error { message } = &verdict else { panic!("{verdict:?}") };
    for words in ["on node `other`", "kernel 5.14.0-other", "within 5 s"] {
        assert!(message.contains(words), "{message}");
    }
    let taint = json!({"key": "example.com/reserved", "effect": "NoSchedule"});
    cluster.merge(OtherNode::PATH, &json!({"spec": {"taints": [taint]}}));
    run().exits(0);
    let verdict = dir.report().verdict("UPG-04A").clone();
    assert!(matches!(verdict, Verdict::NotApplicable { .. }), "{verdict:?}");
    drop(other);
    cluster.is_clean();
}
