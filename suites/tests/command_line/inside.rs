//! `nestcheck inside` without a cluster, a pod or podman.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::Command,
};

use harness::verdict::Verdict;
use nix::unistd::{Uid, geteuid};
use test_support::{Finished, Running, TestDir};

use super::nestcheck;

/// Who runs the command where the tests run as root.
const USER: u32 = 1000;

/// Runs `nestcheck inside` as an ordinary user, with a temporary directory of its own.
fn inside(dir: &TestDir, arguments: &[&str]) -> Finished {
    let program = dir.path("nestcheck");
    // The directory of the build may be closed to the user.
    fs::copy(env!("CARGO_BIN_EXE_nestcheck"), &program).expect("it can be copied");
    fs::create_dir_all(dir.path("t")).expect("it can be made");
    let mut command = Command::new(program);
    command
        .arg("inside")
        .args(arguments)
        .env_clear()
        .env("HOME", dir.path("."))
        .env("TMPDIR", dir.path("t"))
        .env("PATH", "/usr/bin:/bin")
        .current_dir(dir.path("."));
    if geteuid().is_root() {
        for path in [dir.path("."), dir.path("t")] {
            chown(&path, Some(USER), Some(USER)).expect("it can be given away");
        }
        command.uid(USER).gid(USER);
    }
    Running::start(command).finish()
}

#[test]
fn root_is_refused_before_anything_is_written() {
    if geteuid() == Uid::from_raw(0) {
        nestcheck(&["inside"]).refuses(2, &["does not run as root"]).hints(&["--user 1000"]);
    }
}

#[test]
fn a_filter_that_fits_no_case_is_refused() {
    nestcheck(&["inside", "pdoman"]).refuses(2, &["no case fits the filter `pdoman`"]);
    nestcheck(&["inside", "--timeout", "0s"]).refuses(2, &["not a duration above zero"]);
}

#[test]
fn the_cases_that_run_inside_are_a_profile() {
    let listed = nestcheck(&["list", "--profile", "inside"]);
    listed.exits(0);
    let ids: Vec<_> = listed.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    for (id, expected) in [("ID-05", true), ("POD-03", true), ("SCC-01", false), ("ID-02", false)] {
        assert_eq!(ids.contains(&id), expected, "{id}");
    }
}

#[test]
fn a_machine_that_is_no_pod_blocks_what_is_about_one_and_nothing_is_left() {
    let dir = TestDir::new();

    let finished = inside(&dir, &["ID-01", "SCC-01"]);

    finished.exits(3).says(&[
        "profile inside",
        "Machine host: ",
        "this is not a pod with a user namespace",
    ]);
    let report = dir.report();
    let Verdict::NotApplicable { reason } = report.verdict("SCC-01") else { panic!("{finished}") };
    assert_eq!(reason, "it needs the API of a cluster, and `nestcheck inside` asks none");
    assert_eq!(report.ids("blocked"), ["ID-01"]);
    assert_eq!(dir.content(), ["nestcheck", "nestcheck-report", "t"], "{finished}");
    let left = fs::read_dir(dir.path("t")).expect("it can be listed").count();
    assert_eq!(left, 0, "{finished}");
}

#[test]
fn a_case_about_the_image_runs_on_any_machine() {
    let dir = TestDir::new();

    let finished = inside(&dir, &["ID-05"]);

    let report = dir.report();
    // Whether this machine's files are right is not known; that the case looked at them is.
    let verdict = report.verdict("ID-05").name();
    assert!(["pass", "fail"].contains(&verdict), "{finished}");
    assert_eq!(report.started().profile, "inside");
}

#[test]
fn cases_run_inside_as_often_as_is_asked_for_and_nothing_is_left() {
    let dir = TestDir::new();

    let finished = inside(&dir, &["ID-05", "--repeat", "3"]);

    let report = dir.report();
    assert_eq!(report.started().repeat, Some(3));
    let iterations = report.json("/cases/0/iterations");
    let numbers: Vec<_> = iterations
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["number"].as_u64())
        .collect();
    assert_eq!(numbers, [1, 2, 3], "{finished}");
    let left = fs::read_dir(dir.path("t")).expect("it can be listed").count();
    assert_eq!(left, 0, "{finished}");
}

#[test]
fn a_report_directory_that_cannot_be_written_is_named_and_nothing_is_left() {
    let dir = TestDir::new();
    dir.write("closed/file", "");
    let closed = dir.path("closed/file");
    fs::set_permissions(&closed, Permissions::from_mode(0o444)).expect("it can be closed");

    let report = closed.display().to_string();
    let finished = inside(&dir, &["ID-05", "--report-dir", &report]);

    finished.refuses(2, &[&report]);
    let left = fs::read_dir(dir.path("t")).expect("it can be listed").count();
    assert_eq!(left, 0, "{finished}");
}
