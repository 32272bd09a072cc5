//! chaos on a real cluster: it finds what is broken, and nothing else.
//!
//! Needs `KUBECONFIG`, a cluster without other runs, and nestcheck in `NESTCHECK`.
#![expect(clippy::expect_used, reason = "helpers of tests fail the test that calls them")]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// How many runs are struck: enough to come upon one that has made something.
const KILLS: &str = "16";

/// Runs chaos over two cheap cases, with a nestcheck.
fn chaos(nestcheck: &Path, folder: &Path, faults: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--faults", faults, "--kills", KILLS, "-o", "json", "--nestcheck"])
        .arg(nestcheck)
        .arg("--output-dir")
        .arg(folder.join("trials"))
        .args(["GATE-01", "GATE-02"])
        .output()
        .expect("chaos can be started")
}

fn nestcheck() -> PathBuf {
    env::var_os("NESTCHECK").map(PathBuf::from).expect("`NESTCHECK` names the program")
}

#[test]
#[ignore = "needs a cluster"]
fn a_good_nestcheck_keeps_every_invariant() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = chaos(&nestcheck(), folder.path(), "kill");
    let reports = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{reports}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(figures["all"]["kills"].as_u64() >= Some(8), "{figures}");
    let trials = fs::read_dir(folder.path().join("trials")).expect("the folder is there");
    assert_eq!(trials.count(), 0, "only trials that violated an invariant stay");
}

#[test]
#[ignore = "needs a cluster"]
fn a_nestcheck_that_does_not_sweep_is_found_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let idle = folder.path().join("idle");
    let script = format!(
        "#!/bin/sh\ncase $1 in sweep) exit 0 ;; esac\nexec '{}' \"$@\"\n",
        nestcheck().display()
    );
    fs::write(&idle, script).expect("the folder can be written to");
    fs::set_permissions(&idle, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let output = chaos(&idle, folder.path(), "kill");
    let reports = String::from_utf8_lossy(&output.stderr);
    // First of all: other tests want a clean cluster, whatever becomes of this one.
    let swept = Command::new(nestcheck()).args(["sweep", "--all"]).status();
    assert!(swept.expect("nestcheck can be started").success());
    assert_eq!(output.status.code(), Some(1), "{reports}");
    let leak = reports.lines().find(|line| line.contains("after the sweep:")).unwrap_or_default();
    assert!(leak.contains("nestcheck-"), "{reports}");
    assert!(reports.contains("Namespace nestcheck-"), "{reports}");
}
