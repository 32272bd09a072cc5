//! Reports that are made again from an event log, good ones and broken ones.

use std::{fs, path::Path};

use serde_json::{Value, json};
use test_support::{Kubeconfig, TestDir};

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
        for (format, beginning) in [
            ("junit", "<?xml"),
            ("json", "{"),
            ("html", "<!DOCTYPE html>"),
            ("markdown", "#"),
            ("prometheus", "# HELP nestcheck_"),
        ] {
            let finished = dir.nestcheck(["report", &directory, "--format", format]);
            // It died, so it proves nothing.
            finished.exits(4);
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
        dir.nestcheck(["report", &directory, "--dialect", dialect, "--exit-zero"]).exits(0);
    }
    dir.nestcheck(["report", &directory, "--dialect", "maven"])
        .refuses(2, &["--dialect", "maven"])
        .hints(&["`jenkins`"]);
    dir.nestcheck(["report", &directory, "--format", "pdf"])
        .refuses(2, &["--format", "pdf", "junit, json, html, markdown, prometheus, in-toto"]);
}

#[test]
fn a_report_ends_with_the_exit_code_of_its_run() {
    for (outcome, code) in [
        (json!("conformant"), 3),
        (json!("not-conformant"), 1),
        (json!("partial"), 3),
        (json!("error"), 4),
        (json!("leaked"), 5),
        (json!({"interrupted": {"signal": 15}}), 143),
    ] {
        let end = json!({"kind": "run-finished", "outcome": outcome, "duration_ms": 1});
        let dir = TestDir::new();
        let directory = log(&dir, &line(1, &end));
        for format in ["junit", "json", "html", "markdown", "prometheus"] {
            let arguments = ["report", &directory, "--format", format];
            // A log without a case that passed is never green, whatever it says.
            dir.nestcheck(arguments).exits(code);
            let finished = dir.nestcheck(arguments.iter().chain(&["--exit-zero"]));
            finished.exits(0);
            assert_eq!(finished.stderr, "", "{finished}");
        }
    }
    nestcheck(&["report", "/no/such/folder", "--exit-zero"]).refuses(2, &["events.jsonl"]);
}

#[test]
fn a_statement_needs_the_digest_of_the_image() {
    let dir = TestDir::new();
    let directory = log(&dir, &line(1, &json!({"kind": "interrupted", "signal": 2})));
    dir.nestcheck(["report", &directory, "--format", "in-toto"])
        .refuses(2, &["does not say which image ran"])
        .hints(&["POD-03"]);
}

#[test]
fn reports_that_cannot_be_written_are_refused_before_the_cluster_is_asked() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to("https://127.0.0.1:1"));
    for (report, words) in [
        ("pdf=a", "unknown format `pdf`"),
        ("junit", "not a format and a file"),
        ("junit=", "not a format and a file"),
        ("junit=/no/such/folder/a", "failed to write report `/no/such/folder/a`"),
    ] {
        dir.nestcheck(["run", "--kubeconfig", &path, "--report", report]).refuses(2, &[words]);
    }
    let twice = ["run", "--kubeconfig", &path, "--report", "json=-", "--report", "html=-"];
    dir.nestcheck(twice).refuses(2, &["only one report"]).hints(&["junit=FILE"]);
    dir.nestcheck(["run", "--kubeconfig", &path, "--dialect", "maven"]).refuses(2, &["maven"]);
    // The report directory is there before its files are.
    for report in ["markdown=nestcheck-report/summary.md", "json=nestcheck-report/no/a"] {
        let code = if report.contains("/no/") { 2 } else { 4 };
        dir.nestcheck(["run", "--kubeconfig", &path, "--report", report]).refuses(code, &[]);
        assert_eq!(dir.content(), ["kubeconfig"], "{report}");
    }
    for (option, file) in [
        ("--report", "json=nestcheck-report/events.jsonl"),
        ("--report", "html=./nestcheck-report/../nestcheck-report/ledger.jsonl"),
        ("--report-archive", "nestcheck-report/events.jsonl"),
        ("--compare-last", "nestcheck-report/events.jsonl"),
    ] {
        dir.nestcheck(["run", "--kubeconfig", &path, option, file])
            .refuses(2, &["a report would replace `", "which the run writes"])
            .hints(&["another file"]);
        assert_eq!(dir.content(), ["kubeconfig"], "{file}");
    }
    let same = ["--report", "json=a.gz", "--report-archive", "./a.gz"];
    dir.nestcheck(["run", "--kubeconfig", &path].iter().chain(&same))
        .refuses(2, &["two reports go to `a.gz`"]);
    // Nothing ran, so nothing is left, and nothing is replaced.
    let file = dir.write("a.json", "earlier");
    let report = format!("json={file}");
    dir.nestcheck(["run", "--kubeconfig", &path, "--report", &report]).refuses(4, &[]);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "earlier");
    assert_eq!(dir.content(), ["a.json", "kubeconfig"]);
}

#[test]
fn a_report_that_cannot_be_written_leaves_an_earlier_one_alone() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to("https://127.0.0.1:1"));
    let log = line(1, &json!({"kind": "interrupted", "signal": 2}));
    let earlier = [
        ("events.jsonl", log.as_str()),
        ("ledger.jsonl", ""),
        ("junit.xml", "earlier"),
        ("report.json", "earlier"),
        ("index.html", "earlier"),
    ];
    for (name, text) in earlier {
        dir.write(&format!("nestcheck-report/{name}"), text);
    }
    for option in [
        ["--report", "json=/no/such/folder/a"],
        ["--report", "json=nestcheck-report/events.jsonl"],
        ["--report-archive", "/no/such/folder/a"],
        ["--compare-last", "/no/such/folder/a"],
    ] {
        dir.nestcheck(["run", "--kubeconfig", &path].iter().chain(&option)).refuses(2, &[]);
        for (name, text) in earlier {
            let path = dir.path(&format!("nestcheck-report/{name}"));
            assert_eq!(fs::read_to_string(path).expect(name), text, "{option:?}: {name}");
        }
    }
}

#[test]
fn a_directory_its_log_and_an_archive_of_it_give_the_same_report() {
    let interrupted = line(1, &json!({"kind": "interrupted", "signal": 2}));
    for text in ["", &interrupted] {
        let dir = TestDir::new();
        let directory = log(&dir, text);
        let of_directory = dir.nestcheck(["report", &directory, "--format", "json"]);
        of_directory.exits(4);
        let file = format!("{directory}/events.jsonl");
        let of_log = dir.nestcheck(["report", &file, "--format", "json"]);
        of_log.exits(4);
        assert_eq!(of_log.stdout, of_directory.stdout);
        // Reports are joined only where it is known of what they are.
        dir.nestcheck(["report", &file, &file]).refuses(2, &["events.jsonl"]);
    }
}
