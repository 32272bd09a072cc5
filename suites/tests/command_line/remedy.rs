//! `nestcheck remedy` on reports, whoever wrote them.

use serde_json::{Value, json};
use test_support::TestDir;

use super::nestcheck;

/// A report with one case that did not pass for this cause.
fn report(dir: &TestDir, cause: &Value, platform: &Value) -> String {
    let finished = json!({
        "kind": "case-finished", "id": "ID-05", "name": "identity::ids", "suite": "identity",
        "title": "It has ids", "level": "core", "duration_ms": 1,
        "verdict": {"verdict": "fail", "message": "no range", "cause": cause},
    });
    let start = json!({
        "kind": "run-started", "run": "a", "version": "0.1.0", "profile": "smoke", "image": "i",
        "cases": 1, "cluster": [], "platform": platform,
    });
    let line = |event: &Value| {
        json!({"schema": 1, "at": "2026-01-02T03:04:05Z", "event": event}).to_string() + "\n"
    };
    let log = dir.write("run/events.jsonl", &(line(&start) + &line(&finished)));
    log.trim_end_matches("/events.jsonl").to_owned()
}

fn cause(repairs: &Value) -> Value {
    let fix = "correct it\n---\nkind: Pod\u{1b}[31m";
    json!({"signature": "F07", "wrong": "it is\nRUN rm -rf /", "fix": fix, "repairs": repairs})
}

#[test]
fn a_report_is_enough_and_its_texts_stay_comments() {
    let dir = TestDir::new();
    let openshift = json!({"flavour": "openshift", "release": [4, 20], "kubernetesMinor": 33});
    let run = report(&dir, &cause(&json!(["subordinate-ids", "scc", "of-the-future"])), &openshift);

    let lines = dir.nestcheck(["remedy", &run, "-o", "containerfile"]);
    lines.exits(0);
    let users: Vec<_> = lines.stdout.lines().filter(|line| line.starts_with("USER")).collect();
    assert_eq!(users, ["USER root", "USER 1000"]);
    assert!(!lines.stdout.contains("rm -rf"), "{lines}");

    let yaml = dir.nestcheck(["remedy", &run, "-o", "yaml"]);
    yaml.exits(0);
    let objects = test_support::documents(&yaml.stdout);
    let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds, ["SecurityContextConstraints"]);

    let text = dir.nestcheck(["remedy", &run]);
    text.exits(0);
    assert!(!text.stdout.contains('\u{1b}'), "{text}");
    assert!(text.stdout.contains("without a remedy that could be printed"), "{text}");
    let flush_left = ["apiVersion", "RUN rm", "---", "kind: Pod"];
    for beginning in &flush_left[1..] {
        assert!(!text.stdout.lines().any(|line| line.starts_with(beginning)), "{text}");
    }

    let json = dir.nestcheck(["remedy", &run, "-o", "json"]);
    json.exits(0);
    let document: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(document["platform"]["flavour"], "openshift");
}

#[test]
fn the_log_of_an_older_nestcheck_has_hints_alone() {
    let dir = TestDir::new();
    let run = report(&dir, &cause(&json!([])), &Value::Null);

    let text = dir.nestcheck(["remedy", &run]);

    text.exits(0);
    assert!(text.stdout.contains("   hint: correct it"), "{text}");
}

#[test]
fn bad_input_is_one_line_and_creates_nothing() {
    nestcheck(&["remedy", "/no/such/report"]).refuses(2, &["/no/such/report"]);
    let dir = TestDir::new();
    for (arguments, words) in [
        (&["remedy", "x", "--namespace", "a\nb"][..], "not the name of a namespace"),
        (&["remedy", "x", "--user", "alice"][..], "--namespace"),
        (&["remedy", "x", "-o", "xml"][..], "xml"),
    ] {
        dir.nestcheck(arguments).refuses(2, &[words]);
    }
    assert_eq!(dir.content(), [""; 0]);
}
