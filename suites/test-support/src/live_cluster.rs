//! Where clusters under test come from: one was made for the tests, others a test makes itself.

use std::{
    fs::File,
    io::Write as _,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{Cluster, Finished, Report, TestDir};

/// The cluster that was made for the tests, on which everything works. Only one test has it at a
/// time: each counts what happens on it.
pub struct Live {
    cluster: Cluster,
    _lock: File,
}

impl Live {
    /// Takes it.
    #[track_caller]
    pub fn take() -> Self {
        Self::take_from("NESTCHECK_TEST_KUBECONFIG", "NESTCHECK_TEST_AUDIT_LOG")
    }

    /// Takes the cluster of OpenShift that was made for the tests.
    #[track_caller]
    pub fn take_openshift() -> Self {
        const KUBECONFIG: &str = "NESTCHECK_TEST_OPENSHIFT_KUBECONFIG";
        Self::take_from(KUBECONFIG, "NESTCHECK_TEST_OPENSHIFT_AUDIT_LOG")
    }

    /// Makes a directory an image of the node; `local-cluster load` names it.
    #[track_caller]
    pub fn load(&self, tree: &Path, tag: &str) {
        let name = std::env::var("NESTCHECK_TEST_NAME");
        let name = name.expect("`NESTCHECK_TEST_NAME` names the cluster; `ci/test` sets it");
        let output = Command::new(local_cluster_program())
            .args(["load", "--name", &name, "--tag", tag])
            .arg(tree)
            .stdin(Stdio::null())
            .output()
            .expect("the command can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes the workspace image of local clusters as an OCI archive.
    #[track_caller]
    pub fn export_image(&self, archive: &Path) {
        let mut command = Command::new(local_cluster_program());
        let output = command.arg("export-image").arg(archive).stdin(Stdio::null()).output();
        let output = output.expect("the command can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn take_from(kubeconfig: &str, audit_log: &str) -> Self {
        let kubeconfig = needed(kubeconfig);
        let lock = File::open(&kubeconfig)
            .unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
        lock.lock().expect("a file can be locked");
        Self { cluster: Cluster::new(kubeconfig, needed(audit_log)), _lock: lock }
    }
}

impl Deref for Live {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

#[track_caller]
fn needed(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) if !path.is_empty() => path.into(),
        _ => panic!(
            "{variable} is not set: make a cluster with `local-cluster up` and give its \
             kubeconfig and its audit log, which `local-cluster status` names, in the environment; \
             `ci/test` does all of it"
        ),
    }
}

/// A cluster of the test's own, which ends with it.
pub struct LocalCluster {
    cluster: Option<Cluster>,
    name: String,
    kubectl: PathBuf,
}

impl LocalCluster {
    /// Starts a cluster with these options of `local-cluster up`.
    #[track_caller]
    pub fn up(name: &str, options: &[&str]) -> Self {
        let name = format!("e2e-{name}");
        // The guard comes first: an `up` that fails half way is taken down too.
        let mut cluster = Self { cluster: None, name, kubectl: PathBuf::new() };
        cluster.local_cluster("down", &[]);
        cluster.local_cluster("up", options);
        let kubeconfig = cluster.local_cluster("kubeconfig", &[]);
        let status = cluster.local_cluster("status", &["--output", "json"]);
        let status: Value = serde_json::from_str(&status).expect("it prints JSON");
        let audit_log = status["auditLog"].as_str().expect("it names the audit log").into();
        cluster.kubectl = status["kubectl"].as_str().expect("it names kubectl").into();
        cluster.cluster = Some(Cluster::new(kubeconfig.trim().into(), audit_log));
        cluster
    }

    /// Runs nestcheck against the cluster, in a directory of its own.
    #[track_caller]
    pub fn run(&self, options: &[&str]) -> (Finished, Report) {
        let dir = TestDir::new();
        let fixed = ["run", "--kubeconfig", self.kubeconfig()];
        let finished = dir.nestcheck(fixed.iter().chain(options));
        (finished, dir.report())
    }

    /// Makes a directory an image of each node.
    #[track_caller]
    pub fn load(&self, tree: &Path, tag: &str) {
        self.local_cluster("load", &["--tag", tag, &tree.display().to_string()]);
    }

    /// Runs kubectl as the administrator, with a text as its input; returns what it prints, or nothing
    /// where it fails.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Option<String> {
        let mut kubectl = Command::new(&self.kubectl)
            .args(["--kubeconfig", self.kubeconfig()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.kubectl.display()));
        let mut stdin = kubectl.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("it is read");
        drop(stdin);
        let output = kubectl.wait_with_output().expect("it can be waited for");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies a YAML text as it is.
    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        assert!(self.kubectl(&["apply", "--filename", "-"], yaml).is_some(), "{yaml}");
    }

    /// Kills components and starts them again, one after the other.
    #[track_caller]
    pub fn restart(&self, components: &[&str]) {
        self.local_cluster("restart", components);
    }

    /// Makes images of the workspace image by these recipes, and returns their names.
    #[track_caller]
    pub fn derive(&self, recipes: &[PathBuf]) -> Vec<String> {
        let recipes: Vec<_> = recipes.iter().map(|path| path.display().to_string()).collect();
        let recipes: Vec<_> = recipes.iter().map(String::as_str).collect();
        self.local_cluster("derive", &recipes).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn local_cluster(&self, command: &str, options: &[&str]) -> String {
        let program = local_cluster_program();
        let output = Command::new(&program)
            .args([command, "--name", &self.name])
            .args(options)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(
            output.status.success(),
            "`local-cluster {command} --name {} {}` failed: {}",
            self.name,
            options.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Deref for LocalCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().expect("the cluster is up")
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        // A second panic while the first one unwinds would hide it.
        let _ = Command::new(local_cluster_program())
            .args(["down", "--name", &self.name])
            .stdin(Stdio::null())
            .output();
    }
}

/// Where the `local-cluster` command is: `LOCAL_CLUSTER`, else in this workspace's target directory.
fn local_cluster_program() -> PathBuf {
    if let Some(path) = std::env::var_os("LOCAL_CLUSTER").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let built = ["debug", "release"].map(|profile| target.join(profile).join("local-cluster"));
    let found = built.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no `local-cluster`: run `cargo build -p nestcheck-local-cluster`, or set LOCAL_CLUSTER"
        )
    })
}
