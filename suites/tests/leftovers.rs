//! What a run leaves that could not tear down, and how it is swept: against the cluster of
//! `NESTCHECK_TEST_KUBECONFIG`, on which everything works.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{collections::BTreeSet, fs, time::Duration};

use harness::verdict::Verdict;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use test_support::{Finished, Live, Request, TestDir};

/// How much longer than the cluster itself needs for a namespace a sweep may take.
const SWEEP: Duration = Duration::from_secs(15);

/// Begins a run, kills it when its pod is there, and returns its id.
fn kill_a_run(cluster: &Live, dir: &TestDir) -> String {
    let mut running = dir.start(["run", "podman", "--kubeconfig", cluster.kubeconfig()]);
    running.wait_for("pod workspace");
    running.signal(Signal::SIGKILL);
    let finished = running.finish();
    assert_eq!(finished.code, None, "{finished}");
    // There are no reports of a killed run; what it said has the id.
    let (_, rest) = finished.stderr.split_once("(run ").expect("it says which run it is");
    rest.split(',').next().expect("an id").to_owned()
}

fn sweep(cluster: &Live, options: &[&str]) -> String {
    let fixed = ["sweep", "--kubeconfig", cluster.kubeconfig()];
    let finished = TestDir::new().nestcheck(fixed.iter().chain(options));
    finished.exits(0).within(SWEEP);
    finished.stdout.clone()
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_killed_run_is_swept_from_another_machine_and_once() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let run = kill_a_run(&cluster, &dir);
    let namespace = format!("nestcheck-{run}");
    assert!(cluster.leftovers().contains(&namespace), "{:?}", cluster.leftovers());

    let start = cluster.now();
    let reported = sweep(&cluster, &["--run", &run, "--dry-run"]);
    assert!(reported.contains(&format!("would remove Namespace `{namespace}`")), "{reported}");
    assert!(!cluster.requests_since(start).iter().any(Request::changes));

    let reported = sweep(&cluster, &["--run", &run]);
    assert!(reported.contains(&format!("removed Namespace `{namespace}`")), "{reported}");
    cluster.is_clean();
    assert_eq!(sweep(&cluster, &["--run", &run]), "nothing to sweep\n");
    // The report so far is whole.
    let directory = dir.path("nestcheck-report").display().to_string();
    dir.nestcheck(["report", &directory]).exits(4);
    dir.nestcheck(["report", &directory, "--exit-zero"]).exits(0);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn what_only_carries_the_label_is_left_alone() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let run = kill_a_run(&cluster, &dir);
    let innocent = cluster.create_namespace(&json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "innocent", "labels": {"nestcheck/run": run}},
    }));
    let reported = sweep(&cluster, &["--run", &run]);
    assert!(reported.contains("left alone Namespace `innocent`"), "{reported}");
    assert_eq!(cluster.leftovers(), ["innocent"]);
    drop(innocent);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn an_expired_run_is_swept_by_the_next_one_and_others_are_not() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let (expired, going_on) = (kill_a_run(&cluster, &dir), kill_a_run(&cluster, &dir));
    cluster.expire(&expired);
    dir.nestcheck(["run", "ID-01", "--kubeconfig", cluster.kubeconfig()]).exits(0);
    let left = cluster.leftovers();
    assert!(!left.iter().any(|name| name.contains(&expired)), "{left:?}");
    assert!(left.contains(&format!("nestcheck-{going_on}")), "{left:?}");
    assert_eq!(sweep(&cluster, &["--expired"]), "nothing to sweep\n");
    cluster.expire(&going_on);
    assert!(sweep(&cluster, &["--expired"]).contains(&going_on));
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_run_without_a_record_is_swept_by_the_ledger_of_its_report() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let run = kill_a_run(&cluster, &dir);
    cluster.forget(&run);
    assert_eq!(sweep(&cluster, &["--run", &run]), "nothing to sweep\n");
    let directory = dir.path("nestcheck-report").display().to_string();
    let reported = sweep(&cluster, &["--run", &run, "--report-dir", &directory]);
    assert!(reported.contains(&format!("removed Namespace `nestcheck-{run}`")), "{reported}");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn whatever_is_created_is_in_the_ledger() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let start = cluster.now();
    dir.nestcheck(["run", "ID-01", "ADM-04", "--kubeconfig", cluster.kubeconfig()]).exits(0);
    let requests = cluster.requests_since(start);
    let text = fs::read_to_string(dir.path("nestcheck-report").join("ledger.jsonl"));
    let text = text.expect("there is a ledger");
    let entries: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let of = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let recorded: BTreeSet<_> = entries
        .iter()
        .filter(|entry| entry["entry"] == "intended")
        .map(|entry| (of(entry, "kind").to_lowercase(), of(entry, "namespace")))
        .collect();
    let created = requests.iter().filter(|request| request.verb == "create" && request.changes());
    for request in created {
        let resource = request.path().rsplit('/').next().unwrap_or_default();
        // A token is no object, and an exec creates none.
        if matches!(resource, "token" | "exec") {
            continue;
        }
        let kind = resource.trim_end_matches('s').to_owned();
        let namespace = request
            .path()
            .split_once("/namespaces/")
            .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        let created = (kind, namespace.to_owned());
        assert!(recorded.contains(&created), "{created:?} is not among {recorded:?}");
    }
    assert_eq!(entries.last().expect("it has entries")["entry"], "closed");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_sweep_says_which_runs() {
    let dir = TestDir::new();
    dir.nestcheck(["sweep"]).refuses(2, &["required"]);
    dir.nestcheck(["sweep", "--all", "--expired"]).refuses(2, &["cannot be used"]);
    dir.nestcheck(["sweep", "--run", "../a"]).refuses(2, &["`../a` is not the id of a run"]);
}

/// Begins a run of `podman`, and sends it these signals once its pod is there. A run takes the first
/// for an end, so the next one waits until that is told.
fn grace_end(cluster: &Live, dir: &TestDir, signals: &[Signal]) -> Finished {
    let fixed = ["run", "podman", "END-01", "END-03", "--kubeconfig", cluster.kubeconfig()];
    let mut running = dir.start(fixed);
    running.wait_for("pod workspace");
    for signal in signals {
        running.signal(*signal);
        running.wait_for("Interrupted");
    }
    running.finish()
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_hangup_ends_a_run_as_any_other_signal() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    grace_end(&cluster, &dir, &[Signal::SIGHUP]).exits(129);
    assert_eq!(*dir.report().verdict("END-01"), Verdict::Pass);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_second_signal_is_in_a_grace_end_and_nothing_is_reported_that_was_not_looked_at() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let finished = grace_end(&cluster, &dir, &[Signal::SIGINT, Signal::SIGTERM]);
    finished.exits(130);
    let report = dir.report();
    assert_eq!(*report.verdict("END-03"), Verdict::Interrupted, "nobody waited for it");
    let left = cluster.leftovers();
    assert_eq!(*report.verdict("END-01") == Verdict::Pass, left.is_empty(), "{left:?}");
    sweep(&cluster, &["--run", report.run()]);
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn a_third_signal_ends_a_run_at_once_and_a_sweep_does_the_rest() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let finished = grace_end(&cluster, &dir, &[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    finished.exits(130);
    let report = dir.report();
    assert_eq!(*report.verdict("END-01"), Verdict::Interrupted);
    assert!(cluster.leftovers().contains(&format!("nestcheck-{}", report.run())));
    sweep(&cluster, &["--run", report.run()]);
    cluster.is_clean();
}
