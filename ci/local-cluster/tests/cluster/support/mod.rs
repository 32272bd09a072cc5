//! Clusters under test, and what belongs to them on the machine.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends when something is not as it must be"
)]

mod machine;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

pub use machine::{Machine, Owned, processes_of};
use serde_json::Value;

/// How long anything may take before the test gives up.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The options of OpenShift 4.19 with user namespaces.
pub const TECH_PREVIEW: &[&str] =
    &["--flavour", "openshift", "--release", "4.19", "--feature-set", "TechPreviewNoUpgrade"];

/// A failed command.
#[derive(Debug)]
pub struct Failed {
    /// Its exit status.
    pub code: Option<i32>,
    /// What it said.
    pub stderr: String,
}

/// A moment during `up`.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The supervisor was written down.
    SupervisorStarted,
    /// The node's init was written down.
    NodeStarted,
    /// `up` has printed this line.
    Step(&'static str),
}

/// A cluster of its own for one test, which ends with it.
pub struct Cluster {
    name: &'static str,
}

impl Cluster {
    /// A cluster that is not running.
    pub fn new(name: &'static str) -> Self {
        let cluster = Self { name };
        cluster.down();
        cluster
    }

    /// A running cluster.
    pub fn running(name: &'static str, arguments: &[&str]) -> Self {
        let cluster = Self::new(name);
        cluster.up(arguments).expect(
            "this test needs root and a built cache: run `local-cluster build` with the flavour first",
        );
        cluster
    }

    /// Ends the cluster and checks that it leaves nothing on the machine.
    pub fn down_cleanly(&self, machine: &Machine) {
        let owned = self.owned();
        self.down();
        owned.assert_gone();
        machine.assert_unchanged(self);
        assert!(!self.folder().exists(), "the state folder is gone");
    }

    /// Kills the supervisor, and `up` before it, and checks that everything ends with them and that
    /// `down` removes the rest.
    pub fn kill_and_clean_up(&self, up: Option<&mut Up>, machine: &Machine) {
        let owned = self.owned();
        // `up` dies first, so that it is `down` that has to clean up.
        if let Some(up) = up {
            up.kill();
        }
        self.kill_supervisor();
        owned.assert_processes_end(Duration::from_secs(10));
        self.down();
        owned.assert_gone();
        machine.assert_unchanged(self);
    }

    /// Its state folder.
    pub fn folder(&self) -> PathBuf {
        cache().join("clusters").join(self.name)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs a subcommand and returns what it printed.
    pub fn command(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.prepare(arguments).output().expect("the program starts");
        result(output)
    }

    /// Disturbs the cluster, kills the client as soon as the cluster is not well, and waits until it
    /// is well again.
    pub fn disturb(&self, disturbance: &str, is_well: impl Fn() -> bool) {
        assert!(is_well(), "before `{disturbance}`");
        let mut client = self.prepare(&["disturb", disturbance, "--for", "6"]);
        let mut client = client.spawn().expect("the program starts");
        eventually(TIMEOUT, &format!("`{disturbance}` has begun"), || {
            let begun = !is_well();
            let ended = client.try_wait().unwrap();
            assert!(begun || ended.is_none(), "`{disturbance}` was not seen, it ended: {ended:?}");
            begun
        });
        client.kill().unwrap();
        client.wait().unwrap();
        assert!(!is_well(), "`{disturbance}` does not end with its client");
        eventually(TIMEOUT, &format!("`{disturbance}` has ended"), is_well);
    }

    /// Starts the cluster; returns what `up` said.
    pub fn up(&self, arguments: &[&str]) -> Result<String, Failed> {
        self.spawn_up(arguments).finish()
    }

    /// Starts `up` and doesn't wait.
    pub fn spawn_up(&self, arguments: &[&str]) -> Up {
        let mut command = self.prepare(&["up"]);
        let mut child =
            command.args(arguments).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Up { child, lines, said: String::new(), folder: self.folder() }
    }

    /// Ends the cluster.
    pub fn down(&self) {
        self.command(&["down"]).expect("`down` works");
    }

    /// What `status` knows, whether the cluster is well or not.
    pub fn status(&self) -> Value {
        let output = self.prepare(&["status", "--output", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).expect("`status` prints JSON")
    }

    /// The status as soon as the cluster is in the given state.
    pub fn status_when(&self, state: &str, limit: Duration) -> Value {
        let mut status = Value::Null;
        eventually(limit, &format!("the cluster is {state}"), || {
            status = self.status();
            status["state"] == state
        });
        status
    }

    /// What belongs to the cluster right now.
    pub fn owned(&self) -> Owned {
        Owned::of(self.name, &self.state())
    }

    /// SIGKILLs the supervisor.
    pub fn kill_supervisor(&self) {
        let supervisor = self.state()["supervisor"]["pid"].as_i64().unwrap();
        machine::kill(supervisor);
    }

    /// SIGKILLs a component.
    pub fn kill_component(&self, name: &str) {
        let mut inner = None;
        // The state file names a component only once the start is over, so it is found by its
        // program.
        eventually(TIMEOUT, &format!("{name} runs"), || {
            inner = machine::process_in_node(&self.state(), name);
            inner.is_some()
        });
        machine::kill(inner.unwrap());
    }

    /// Whether a component is stopped.
    pub fn is_frozen(&self, name: &str) -> bool {
        machine::process_in_node(&self.state(), name).is_some_and(machine::is_stopped)
    }

    /// Whether the node has room for a file of the kubelet. It writes none: one that is there when the
    /// disk fills would leave room where it was.
    pub fn has_room(&self) -> bool {
        let node = self.state()["node"]["pid"].as_i64().unwrap();
        let disk = rustix::fs::statvfs(format!("/proc/{node}/root/var/lib/kubelet")).unwrap();
        disk.f_bavail * disk.f_frsize >= 1 << 20
    }

    /// Runs a pod of the class `nested` until it is ready.
    pub fn run_pod(&self) {
        let file = self.folder().join("pod.json");
        fs::write(&file, POD).unwrap();
        self.kubectl(&["apply", "--filename", file.to_str().unwrap()]);
        self.kubectl(&["wait", "--for=condition=Ready", "pod/nested", "--timeout=60s"]);
        let map = self.kubectl(&["exec", "nested", "--", "cat", "/proc/self/uid_map"]);
        let fields: Vec<_> = map.split_whitespace().collect();
        assert_ne!(fields[1], "0", "the pod has a user namespace: {map}");
        self.kubectl(&[
            "exec",
            "nested",
            "--",
            "test",
            "-w",
            "/dev/fuse",
            "-a",
            "-w",
            "/dev/net/tun",
        ]);
    }

    /// Applies manifests as the administrator or as `dev`.
    pub fn apply(&self, user: &str, manifests: &str) -> Result<String, Failed> {
        let file = self.folder().join("manifests.yaml");
        fs::write(&file, manifests).unwrap();
        // Without the client's own validation, which would refuse a field that the server does not
        // know: it is the server that is tested.
        let arguments = ["apply", "--validate=ignore", "--filename", file.to_str().unwrap()];
        self.kubectl_as(user, &arguments)
    }

    /// Runs `kubectl` as the administrator or as `dev`.
    pub fn kubectl_as(&self, user: &str, arguments: &[&str]) -> Result<String, Failed> {
        let kubeconfig = self.command(&["kubeconfig", "--user", user]).expect("a kubeconfig");
        let output = Command::new(self.status()["kubectl"].as_str().unwrap())
            .args(["--kubeconfig", kubeconfig.trim()])
            .args(arguments)
            .output()
            .unwrap();
        result(output)
    }

    /// Whether a gate is on in the API server.
    pub fn apiserver_gate(&self, gate: &str) -> Option<bool> {
        gate_in(&self.kubectl(&["get", "--raw", "/metrics"]), gate)
    }

    /// Whether a gate is on in the kubelet.
    pub fn kubelet_gate(&self, gate: &str) -> Option<bool> {
        gate_in(&self.kubectl(&["get", "--raw", "/api/v1/nodes/node/proxy/metrics"]), gate)
    }

    /// Runs `kubectl` as the administrator, who is refused nothing.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_as("admin", arguments).expect("`kubectl` works")
    }

    fn state(&self) -> Value {
        read_state(&self.folder()).unwrap_or(Value::Null)
    }

    fn prepare(&self, arguments: &[&str]) -> Command {
        let (command, rest) = arguments.split_first().unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_local-cluster"));
        program.args([command, "--name", self.name]).args(rest).env("LOCAL_CLUSTER_CACHE", cache());
        program
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Also when the test has failed: the next one needs a clean machine.
        let _ = self.command(&["down"]);
    }
}

/// An `up` that runs.
pub struct Up {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: String,
    folder: PathBuf,
}

impl Up {
    /// Waits until `up` has come so far.
    pub fn wait_for(&mut self, moment: Moment) {
        match moment {
            Moment::Step(text) => {
                while !self.said.contains(text) {
                    let line = self.lines.recv_timeout(TIMEOUT);
                    let line = line.unwrap_or_else(|_| panic!("no `{text}` in: {}", self.said));
                    self.said.push_str(&line);
                    self.said.push('\n');
                }
            }
            Moment::SupervisorStarted => self.wait_for_process("supervisor"),
            Moment::NodeStarted => self.wait_for_process("node"),
        }
    }

    fn wait_for_process(&self, key: &str) {
        eventually(TIMEOUT, &format!("{key} is in the state file"), || {
            read_state(&self.folder).is_some_and(|state| state[key].is_object())
        });
    }

    /// SIGKILLs it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end and returns what it said.
    pub fn finish(&mut self) -> Result<String, Failed> {
        while let Ok(line) = self.lines.recv_timeout(TIMEOUT) {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        let status = self.child.wait().unwrap();
        let said = std::mem::take(&mut self.said);
        if status.success() {
            return Ok(said);
        }
        Err(Failed { code: status.code(), stderr: said })
    }
}

/// Polls until `done`; there is no event for most of what a test looks at.
pub fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn read_state(folder: &std::path::Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join("state.json")).ok()?).ok()
}

/// The cache of the clusters under test.
pub fn cache() -> PathBuf {
    std::env::var_os("LOCAL_CLUSTER_CACHE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/local-cluster"),
        PathBuf::from,
    )
}

fn result(output: Output) -> Result<String, Failed> {
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(Failed { code: output.status.code(), stderr: String::from_utf8(output.stderr).unwrap() })
}

/// Reads `kubernetes_feature_enabled` out of a component's metrics.
fn gate_in(metrics: &str, gate: &str) -> Option<bool> {
    let prefix = format!("kubernetes_feature_enabled{{name=\"{gate}\"");
    let line = metrics.lines().find(|line| line.starts_with(&prefix))?;
    Some(line.ends_with(" 1"))
}

const POD: &str = r#"{
  "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nested"},
  "spec": {
    "runtimeClassName": "nested", "hostUsers": false, "terminationGracePeriodSeconds": 1,
    "containers": [{
      "name": "tools", "image": "localhost/workspace:1", "imagePullPolicy": "Never",
      "securityContext": {"procMount": "Unmasked", "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}},
      "volumeMounts": [{"name": "storage", "mountPath": "/home/user/.local/share/containers"}]
    }],
    "volumes": [{"name": "storage", "emptyDir": {}}]
  }
}"#;
