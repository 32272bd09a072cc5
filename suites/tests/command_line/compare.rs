//! Reports beside each other and joined, and runs of what did not pass.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{fs, path::Path};

use harness::report::write_archive;
use serde_json::{Value, json};
use test_support::{Kubeconfig, TestDir};

use super::nestcheck;

const OUTCOMES: [(&str, &str); 2] = [("pass", "conformant"), ("fail", "not-conformant")];

/// The event log of a run with one case.
pub(super) fn events(run: &str, id: &str, verdict: &str) -> String {
    let verdict_fields = match verdict {
        "fail" => json!({"verdict": "fail", "message": "exit 1"}),
        other => json!({"verdict": other}),
    };
    let outcome = OUTCOMES.iter().find(|(name, _)| *name == verdict).expect("a known verdict").1;
    let events = [
        json!({"kind": "run-started", "run": run, "version": "0.1.0", "profile": "smoke",
            "image": "localhost/workspace:1", "cases": 1, "is_part": true,
            "cluster": [["server", "https://10.0.0.1:6443"]]}),
        json!({"kind": "case-finished", "id": id, "name": "podman::runs", "suite": "podman",
            "title": "It runs", "level": "core", "verdict": verdict_fields, "duration_ms": 10}),
        json!({"kind": "run-finished", "outcome": outcome, "duration_ms": 100}),
    ];
    events.iter().map(line).collect()
}

fn line(event: &Value) -> String {
    json!({"schema": 1, "at": "2026-01-02T03:04:05Z", "event": event}).to_string() + "\n"
}

/// A report directory; returns its path.
pub(super) fn report(dir: &TestDir, name: &str, log: &str) -> String {
    let log = dir.write(&format!("{name}/events.jsonl"), log);
    log.trim_end_matches("/events.jsonl").to_owned()
}

/// An archive of a report directory; returns its path.
fn archive(dir: &TestDir, of: &str) -> String {
    let path = format!("{of}.tar.gz");
    let bytes = write_archive(Path::new(of), Vec::new()).expect("it can be written");
    fs::write(&path, bytes).expect("it can be written");
    assert!(dir.content().iter().any(|name| name.ends_with(".tar.gz")));
    path
}

#[test]
fn the_exit_code_says_whether_something_got_worse() {
    let dir = TestDir::new();
    let good = report(&dir, "good", &events("a", "POD-03", "pass"));
    let bad = report(&dir, "bad", &events("b", "POD-03", "fail"));
    for (format, beginning) in [
        ("text", "Something got worse"),
        ("markdown", "## ❌"),
        ("html", "<!DOCTYPE html>"),
        ("json", "{"),
    ] {
        let worse = dir.nestcheck(["compare", &good, &bad, "--format", format]);
        worse.exits(1);
        assert!(worse.stdout.starts_with(beginning), "{worse}");
        assert_eq!(worse.stderr, "", "{worse}");
        dir.nestcheck(["compare", &bad, &good, "--format", format]).exits(0);
    }
    let same = dir.nestcheck(["compare", &bad, &bad]);
    same.exits(0);
    assert!(same.stdout.starts_with("Nothing got worse\n"), "{same}");
    dir.nestcheck(["compare", &good, &good, &bad]).exits(1);
    let all = dir.nestcheck(["compare", &good, &good, "--all"]);
    assert!(all.stdout.contains("POD-03"), "{all}");
}

#[test]
fn directories_logs_and_archives_are_the_same() {
    let dir = TestDir::new();
    let directory = report(&dir, "good", &events("a", "POD-03", "pass"));
    let archive = archive(&dir, &directory);
    let log = format!("{directory}/events.jsonl");
    for other in [&log, &archive] {
        dir.nestcheck(["compare", &directory, other]).exits(0);
        dir.nestcheck(["report", other]).exits(0);
    }
}

#[test]
fn what_is_not_a_report_is_refused_by_name() {
    let dir = TestDir::new();
    let good = report(&dir, "good", &events("a", "POD-03", "pass"));
    let empty = report(&dir, "empty", "");
    let torn = report(&dir, "torn", "{\"schema\":1,\"at");
    let newer = report(
        &dir,
        "newer",
        &events("a", "POD-03", "pass").replace("\"schema\":1", "\"schema\":2"),
    );
    let document = dir.write("report.json", "{\n\"schema\": 1,\n\"outcome\": \"conformant\"\n}\n");
    let archive = archive(&dir, &good);
    let bytes = fs::read(&archive).expect("it is there");
    let damaged = dir.write("damaged.tar.gz", "");
    fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("it can be written");
    let nothing = dir.path(".").display().to_string();
    for (bad, reason) in [
        (&empty, "is empty"),
        (&torn, "is empty"),
        (&newer, "newer"),
        (&document, "`report.json`"),
        (&damaged, "damaged"),
        (&nothing, "events.jsonl"),
        (&"/no/such".to_owned(), "No such file"),
    ] {
        for command in ["compare", "report"] {
            dir.nestcheck([command, &good, bad]).refuses(2, &[bad.trim_end_matches('.'), reason]);
        }
    }
    for bad in [&empty, &nothing] {
        dir.nestcheck(["run", "--rerun", bad]).refuses(2, &["events.jsonl"]);
    }
}

#[test]
fn reports_of_one_cluster_are_joined_and_others_are_refused() {
    let dir = TestDir::new();
    let first = report(&dir, "first", &events("a", "POD-03", "fail"));
    let again = report(&dir, "again", &events("b", "POD-03", "pass"));
    for format in ["junit", "json", "html", "markdown"] {
        let joined = dir.nestcheck(["report", &first, &again, "--format", format]);
        joined.exits(1);
        assert!(joined.stdout.contains("did not hold every time") || format == "json", "{joined}");
    }
    let json = dir.nestcheck(["report", &first, &again, "--format", "json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["outcome"], "not-conformant");
    assert_eq!(json["cases"][0]["other_results"][0]["verdict"], "pass");
    dir.nestcheck(["report", &first, &first])
        .refuses(2, &["same run"])
        .hints(&["give each report once"]);
    let elsewhere = events("c", "POD-03", "pass").replace("10.0.0.1", "10.0.0.2");
    let elsewhere = report(&dir, "elsewhere", &elsewhere);
    dir.nestcheck(["report", &first, &elsewhere])
        .refuses(2, &["another cluster", "https://10.0.0.2:6443", &elsewhere])
        .hints(&["nestcheck compare"]);
}

#[test]
fn a_rerun_needs_a_report_with_something_to_run() {
    let dir = TestDir::new();
    let good = report(&dir, "good", &events("a", "POD-03", "pass"));
    let bad = report(&dir, "bad", &events("b", "POD-03", "fail"));
    dir.nestcheck(["run", "--rerun", &good])
        .refuses(2, &[&good, "no case"])
        .hints(&["without `--rerun`"]);
    dir.nestcheck(["run", "--rerun", &bad, "identity"])
        .refuses(2, &["POD-03", &bad])
        .hints(&["filters"]);
    dir.nestcheck(["run", "--rerun", &bad, "--report-dir", &bad])
        .refuses(2, &["would replace", &bad])
        .hints(&["--report-dir DIR"]);
    // The log in the directory stands for it.
    let log = format!("{bad}/events.jsonl");
    dir.nestcheck(["run", "--rerun", &log, "--report-dir", &bad])
        .refuses(2, &["would replace", &log]);
    let kubeconfig = dir.kubeconfig(&Kubeconfig::to("https://127.0.0.1:1"));
    dir.nestcheck(["run", "--rerun", &bad, "--kubeconfig", &kubeconfig])
        .refuses(4, &["https://127.0.0.1:1"]);
    nestcheck(&["run", "--rerun"]).refuses(2, &["--rerun"]);
}
