//! A run that is made again and again, and compares itself with the last one.

use std::fs;

use harness::verdict::Verdict;
use test_support::{Report, TestDir};

use super::expectations::run;

const LAST: [&str; 2] = ["--compare-last", "last.tar.gz"];

fn night(dir: &TestDir, cluster: &str) -> String {
    let finished = run(dir, cluster, &[&["PRE-01", "SCC-01"][..], &LAST].concat(), &[]);
    // The exit code is that of the run, whatever changed.
    finished.exits(dir.report().outcome().exit_code().into());
    finished.stderr
}

#[test]
fn a_run_says_what_changed_since_the_last_one_and_takes_its_place() {
    let dir = TestDir::new();
    let first = night(&dir, "microshift-5.0");
    assert!(first.contains("no last report to compare with"), "{first}");
    assert_eq!(dir.report().verdict("SCC-01"), &Verdict::Pass);

    let worse = night(&dir, "microshift-4.21-gate-off");
    assert!(worse.contains("Something got worse") && worse.contains("SCC-01"), "{worse}");
    let same = night(&dir, "microshift-4.21-gate-off");
    assert!(!same.contains("got worse"), "the last run takes the place of the one before: {same}");

    fs::write(dir.path("last.tar.gz"), "not an archive").expect("it can be written");
    let damaged = night(&dir, "microshift-4.21-gate-off");
    assert!(damaged.contains("last.tar.gz"), "{damaged}");
    let again = night(&dir, "microshift-4.21-gate-off");
    assert!(!again.contains("no last report"), "it was replaced: {again}");
    assert!(Report::read(&dir.path("nestcheck-report")).ids("fail").contains(&"SCC-01"));
}

#[test]
fn a_last_report_that_cannot_be_replaced_is_refused_before_the_run() {
    let dir = TestDir::new();
    let arguments = ["PRE-01", "--compare-last", "/no/such/last.tar.gz"];
    run(&dir, "microshift-5.0", &arguments, &[])
        .refuses(2, &["/no/such/last.tar.gz"])
        .hints(&["--compare-last FILE"]);
    assert_eq!(dir.content(), ["kubeconfig"]);
}
