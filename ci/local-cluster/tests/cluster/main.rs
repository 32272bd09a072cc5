//! Real clusters on the real machine: what they leave behind, how they report a dead component, and
//! that two of them get along.
//!
//! Run them with `cargo test -p nestcheck-local-cluster -- --ignored --test-threads=1`. They need root, and
//! artifacts that `local-cluster build` has put into the cache; without a cache they fail, because
//! building takes longer than a test should.

mod derive;
mod openshift;
mod operator;
mod support;

use std::{os::unix::fs::PermissionsExt, time::Duration};

use support::{Cluster, Machine, Moment};

#[test]
#[ignore = "needs root and a built cache"]
fn up_and_down_leave_nothing_behind() {
    let machine = Machine::look();
    let cluster = Cluster::running("test-clean", &[]);
    let owned = cluster.owned();
    assert!(owned.processes().len() > 6, "a running cluster has processes: {owned:?}");

    // A pod too: its mounts, namespaces and cgroups are the harder part.
    cluster.run_pod();
    cluster.down_cleanly(&machine);
}

#[test]
#[ignore = "needs root and a built cache"]
fn the_user_dev_has_a_secret_kubeconfig_and_no_permissions() {
    let cluster = Cluster::running("test-dev", &[]);
    let path = cluster.command(&["kubeconfig", "--user", "dev"]).expect("a kubeconfig");
    let mode = std::fs::metadata(path.trim()).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let who = cluster.kubectl_as("dev", &["auth", "whoami"]).expect("the user is known");
    assert!(who.contains("dev"), "{who}");
    let refused = cluster.kubectl_as("dev", &["get", "pods"]).expect_err("no rights");
    assert!(refused.stderr.contains("cannot list resource"), "{}", refused.stderr);
}

#[test]
#[ignore = "needs root and a built cache"]
fn up_twice_is_up_once_and_other_settings_are_refused() {
    let cluster = Cluster::running("test-twice", &[]);
    let first = cluster.status();
    let again = cluster.up(&[]).expect("the second `up` finds the first");
    assert!(again.contains("already running"), "{again}");
    assert_eq!(cluster.status()["supervisor"], first["supervisor"]);

    let refused = cluster.up(&["--gates", "none"]).unwrap_err();
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("hint: run `local-cluster down"), "{}", refused.stderr);

    // A killed supervisor takes the node with it, and `up` starts over.
    let owned = cluster.owned();
    cluster.kill_supervisor();
    owned.assert_processes_end(Duration::from_secs(10));
    assert_eq!(cluster.status()["state"], "dead");
    cluster.up(&[]).expect("`up` starts over");
    owned.assert_gone();
    assert_eq!(cluster.status()["state"], "running");
}

#[test]
#[ignore = "needs root and a built cache"]
fn down_cleans_up_after_a_supervisor_that_was_killed_during_up() {
    let machine = Machine::look();
    let moments = [
        Moment::SupervisorStarted,
        Moment::NodeStarted,
        Moment::Step("starting the control plane"),
        Moment::Step("starting the node"),
    ];
    for moment in moments {
        let cluster = Cluster::new("test-killed");
        let mut up = cluster.spawn_up(&[]);
        up.wait_for(moment);
        cluster.kill_and_clean_up(Some(&mut up), &machine);
    }
}

#[test]
#[ignore = "needs root and a built cache"]
fn up_fails_and_cleans_up_when_its_supervisor_is_killed() {
    let machine = Machine::look();
    let cluster = Cluster::new("test-orphan");
    let mut up = cluster.spawn_up(&[]);
    up.wait_for(Moment::Step("starting the control plane"));
    let owned = cluster.owned();
    cluster.kill_supervisor();
    let failed = up.finish().unwrap_err();
    assert_eq!(failed.code, Some(4));
    assert!(
        failed.stderr.contains("error: the supervisor ended with signal 9"),
        "{}",
        failed.stderr
    );
    owned.assert_gone();
    cluster.down();
    machine.assert_unchanged(&cluster);
}

#[test]
#[ignore = "needs root and a built cache"]
fn a_cluster_ends_with_an_up_that_was_interrupted() {
    let machine = Machine::look();
    let cluster = Cluster::new("test-interrupt");
    let mut up = cluster.spawn_up(&[]);
    up.wait_for(Moment::Step("starting the control plane"));
    let owned = cluster.owned();
    up.kill();
    owned.assert_processes_end(Duration::from_secs(10));
    owned.assert_gone_within(Duration::from_secs(10));
    cluster.down();
    machine.assert_unchanged(&cluster);
}

#[test]
#[ignore = "needs root and a built cache"]
fn two_clusters_with_different_gates_run_at_once() {
    let machine = Machine::look();
    let (with, without) = (Cluster::new("test-with"), Cluster::new("test-without"));
    let mut first = with.spawn_up(&["--gates", "no-kubelet"]);
    let mut second = without.spawn_up(&["--gates", "no-apiserver"]);
    first.finish().expect("it starts");
    second.finish().expect("it starts");

    assert_ne!(with.status()["server"], without.status()["server"]);
    let gate = "UserNamespacesSupport";
    assert_eq!(with.apiserver_gate(gate), Some(true));
    assert_eq!(with.kubelet_gate(gate), Some(false));
    assert_eq!(without.apiserver_gate(gate), Some(false));
    assert_eq!(without.kubelet_gate(gate), Some(true));

    let owned = with.owned();
    with.down();
    owned.assert_gone();
    assert_eq!(without.status()["state"], "running", "the other one is untouched");
    without.down();
    machine.assert_unchanged(&with);
    machine.assert_unchanged(&without);
}

#[test]
#[ignore = "needs root and a built cache"]
fn a_component_that_dies_is_named_with_the_end_of_its_log() {
    let cluster = Cluster::new("test-dead");
    let mut up = cluster.spawn_up(&[]);
    up.wait_for(Moment::Step("starting the node"));
    cluster.kill_component("etcd");
    let failed = up.finish().unwrap_err();
    assert_eq!(failed.code, Some(4));
    assert!(failed.stderr.contains("error: etcd ended with signal 9"), "{}", failed.stderr);
    assert!(failed.stderr.contains("etcd.log"), "{}", failed.stderr);

    cluster.up(&[]).expect("`up` starts over");
    cluster.kill_component("kube-scheduler");
    let status = cluster.status_when("degraded", Duration::from_secs(10));
    assert_eq!(status["components"]["kube-scheduler"]["ended"], "signal 9");
    let shown = cluster.command(&["status"]).unwrap_err();
    assert_eq!(shown.code, Some(4));
    let expected = "error: kube-scheduler ended with signal 9";
    assert!(shown.stderr.contains(expected), "{}", shown.stderr);
    assert!(shown.stderr.lines().count() > 3, "the end of the log is shown: {}", shown.stderr);
}

#[test]
#[ignore = "needs root and a built cache"]
fn components_are_killed_and_started_again_as_they_were() {
    let cluster = Cluster::running("test-restart", &[]);
    cluster.kubectl(&["create", "configmap", "kept"]);
    let processes = |name: &str| cluster.status()["components"][name]["pid"].clone();
    let names = ["etcd", "kube-apiserver", "kubelet"];
    let before = names.map(processes);
    let printed =
        cluster.command(&["restart", "etcd", "kube-apiserver"]).expect("both start again");
    assert_eq!(printed, "");
    let after = names.map(processes);
    assert_ne!(before[0], after[0], "etcd is another process");
    assert_ne!(before[1], after[1], "the API server is another process");
    assert_eq!(before[2], after[2], "the kubelet is the same one");
    assert_eq!(cluster.status()["state"], "running");
    assert!(cluster.kubectl(&["get", "configmaps"]).contains("kept"), "the data is still there");

    // One that has died by itself is started too.
    cluster.kill_component("kube-scheduler");
    cluster.status_when("degraded", Duration::from_secs(10));
    cluster.command(&["restart", "kube-scheduler"]).expect("it starts again");
    assert_eq!(cluster.status()["state"], "running");

    let refused = cluster.command(&["restart", "kube-oops"]).unwrap_err();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("no component `kube-oops`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: there are containerd, etcd, "), "{}", refused.stderr);
}

#[test]
#[ignore = "needs root and a built cache"]
fn a_disturbance_ends_by_itself_also_when_its_client_was_killed() {
    let machine = Machine::look();
    let cluster = Cluster::running("test-disturb", &["--with", "own-disk"]);
    let answers = |path: &str| {
        let arguments = ["get", "--raw", path, "--request-timeout=1s"];
        cluster.kubectl_as("admin", &arguments).is_ok()
    };

    cluster.disturb("--freeze=etcd,kubelet", || {
        !cluster.is_frozen("etcd") && !cluster.is_frozen("kubelet")
    });
    cluster.disturb("--cut-network=node", || answers("/api/v1/nodes/node/proxy/healthz"));
    cluster.disturb("--cut-network=client", || answers("/readyz"));
    cluster.disturb("--fill-disk", || cluster.has_room());

    let refused = cluster.command(&["disturb", "--freeze", "kube-oops", "--for", "1"]).unwrap_err();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert_eq!(cluster.status()["state"], "running");
    cluster.down_cleanly(&machine);
}
