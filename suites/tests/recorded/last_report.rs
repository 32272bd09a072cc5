//! A run that is made again and again, and compares itself with the last one.

use std::fs;

use test_support::TestDir;

use super::expectations::run;

/// Cases that need facts alone, and the last report.
const NIGHT: [&str; 4] = ["PRE-01", "PRE-03", "--compare-last", "last.tar.gz"];

/// A cluster at rest, and one of which a change waits.
const CLUSTERS: [&str; 2] = ["openshift-4.20", "openshift-4.20-paused-pool"];

fn night(dir: &TestDir, cluster: &str) -> String {
    let finished = run(dir, cluster, &NIGHT, &[]);
    // The exit code is that of the run, whatever changed.
    finished.exits(dir.report().outcome().exit_code().into());
    finished.stderr
}

#[test]
fn a_run_says_what_changed_since_the_last_one_and_takes_its_place() {
    let dir = TestDir::new();
    let [at_rest, changing] = CLUSTERS;
    let first = night(&dir, at_rest);
    assert!(first.contains("no last report to compare with"), "{first}");

    let changed = night(&dir, changing);
    assert!(changed.contains("PRE-03      pass -> blocked"), "{changed}");
    let same = night(&dir, changing);
    assert!(
        !same.contains("pass -> blocked"),
        "the last run takes the place of the one before: {same}"
    );

    fs::write(dir.path("last.tar.gz"), "not an archive").expect("it can be written");
    let damaged = night(&dir, changing);
    assert!(damaged.contains("last.tar.gz"), "{damaged}");
    let again = night(&dir, changing);
    assert!(!again.contains("no last report"), "it was replaced: {again}");
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
