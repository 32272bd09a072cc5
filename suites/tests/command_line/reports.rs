//! Reports that are made again from an event log, good ones and broken ones.

use std::{fs, path::Path};

use serde_json::{Value, json};
use test_support::TestDir;

use super::nestcheck;

/// One line of an event log.
fn line(schema: u32, event: &Value) -> String {
    json!({"schema": schema, "at": "2026-01-02T03:04:05Z", "event": event}).to_string() + "\n"
}

/// A report directory with only an event log in it; returns its path.
fn log(dir: &TestDir, text: &str) -> String {
    let log = dir.write("report/events.jsonl", text);
    log.trim_end_matches("/events.jsonl").to_owned()
}

#[test]
fn a_directory_without_a_log_is_named() {
    nestcheck(&["report", "/no/such/folder"])
        .refuses(2, &["/no/such/folder/events.jsonl"])
        .hints(&["nestcheck run"]);
    let dir = TestDir::new();
    let directory = dir.path(".").display().to_string();
    dir.nestcheck(["report", &directory]).refuses(2, &["events.jsonl"]).hints(&["nestcheck run"]);
}

#[test]
fn a_log_that_cannot_be_read_is_named_with_its_line() {
    let good = line(1, &json!({"kind": "interrupted", "signal": 2}));
    for (text, words) in [
        (format!("{good}{{oops\n{good}"), ["line 2", "key must be a string"]),
        (format!("{good}{}", line(2, &json!({"kind": "new"}))), ["line 2", "newer"]),
        (line(1, &json!({"kind": "frobnicated"})), ["line 1", "frobnicated"]),
        ("[]\n".to_owned(), ["line 1", "invalid"]),
    ] {
        let dir = TestDir::new();
        let directory = log(&dir, &text);
        dir.nestcheck(["report", &directory]).refuses(2, &["events.jsonl"]).refuses(2, &words);
    }
    let dir = TestDir::new();
    let directory = log(&dir, "");
    fs::write(Path::new(&directory).join("events.jsonl"), [0xff, 0xfe, b'\n']).expect("a file");
    dir.nestcheck(["report", &directory]).refuses(2, &["events.jsonl", "UTF-8"]);
}

#[test]
fn a_log_without_its_end_gives_a_report_in_every_format() {
    let text = line(1, &json!({"kind": "case-started", "id": "POD-03"})) + "{\"schema\":1,\"at";
    for text in ["", &text] {
        let dir = TestDir::new();
        let directory = log(&dir, text);
        for (format, beginning) in
            [("junit", "<?xml"), ("json", "{"), ("html", "<!DOCTYPE html>"), ("markdown", "#")]
        {
            let finished = dir.nestcheck(["report", &directory, "--format", format]);
            finished.exits(0);
            assert!(finished.stdout.starts_with(beginning), "{finished}");
            assert_eq!(finished.stderr, "", "{finished}");
        }
        let junit = dir.nestcheck(["report", &directory]).stdout;
        let junit = quick_junit::Report::deserialize_from_str(&junit).expect("it is JUnit");
        assert!(junit.failures + junit.errors > 0, "a torn log is never green");
    }
}

#[test]
fn every_dialect_is_known_and_others_are_refused() {
    let dir = TestDir::new();
    let directory = log(&dir, &line(1, &json!({"kind": "interrupted", "signal": 2})));
    for dialect in ["jenkins", "gitlab", "openshift"] {
        dir.nestcheck(["report", &directory, "--dialect", dialect]).exits(0);
    }
    dir.nestcheck(["report", &directory, "--dialect", "maven"])
        .refuses(2, &["--dialect", "maven"])
        .hints(&["`jenkins`"]);
    dir.nestcheck(["report", &directory, "--format", "pdf"])
        .refuses(2, &["--format", "pdf", "junit, json, html, markdown"]);
}
