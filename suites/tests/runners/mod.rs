//! The same cases under cargo's test runners.

use std::{path::PathBuf, process::Command};

use harness::engine::Case;
use serde_json::Value;
use test_support::{Finished, Kubeconfig, Live, Running, TestDir};

/// The test binary `conformance`: `NESTCHECK_CONFORMANCE_BIN`, else cargo builds it.
#[expect(clippy::expect_used, clippy::panic, reason = "without the binary there is no test")]
fn conformance_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NESTCHECK_CONFORMANCE_BIN") {
        return path.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "test",
            "--no-run",
            "--message-format=json",
            "-p",
            env!("CARGO_PKG_NAME"),
            "--test",
            "conformance",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "conformance";
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    });
    built.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs the test binary on a bench.
fn conformance(dir: &TestDir, arguments: &[&str], kubeconfig: Option<&str>) -> Finished {
    let mut command = Command::new(conformance_binary());
    command.args(arguments).env_clear().env("HOME", dir.path(".")).current_dir(dir.path("."));
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    Running::start(command).finish()
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_test_binary_lists_its_cases_as_nextest_wants_it() {
    let dir = TestDir::new();
    let listed = conformance(&dir, &["--list", "--format", "terse"], None);
    listed.exits(0);
    let mut names: Vec<_> = suites::cases().iter().map(Case::path).collect();
    let mut lines: Vec<_> = listed.stdout.lines().collect();
    names.sort();
    lines.sort_unstable();
    let expected: Vec<_> = names.iter().map(|name| format!("{name}: test")).collect();
    assert_eq!(lines, expected);
    // Nextest asks for the ignored ones too; a case that is listed twice would run twice.
    let ignored = conformance(&dir, &["--list", "--format", "terse", "--ignored"], None);
    ignored.exits(0);
    assert_eq!(ignored.stdout, "");
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_test_binary_runs_one_case_on_the_cluster() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let name = "podman::builds_and_runs_a_scratch_image";
    let arguments = ["--exact", name, "--nocapture"];
    let finished = conformance(&dir, &arguments, Some(cluster.kubeconfig()));
    finished.exits(0);
    assert!(finished.stdout.contains(&format!("test {name} ... ok")), "{finished}");
    assert!(finished.stdout.contains("1 passed; 0 failed"), "{finished}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_test_binary_fails_where_there_is_no_cluster() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to("https://127.0.0.1:1"));
    let finished = conformance(&dir, &["--exact", "gate::keeps_host_users"], Some(&path));
    finished.exits(101);
    assert!(finished.stdout.contains("https://127.0.0.1:1"), "{finished}");
    assert!(finished.stdout.contains("hint: "), "{finished}");
}
