//! Files of expectations: bad ones are refused before a cluster is asked, and good ones are written.

use std::{fs, path::Path};

use harness::report::write_archive;
use serde_json::{Value, json};
use test_support::{Kubeconfig, TestDir};

use super::nestcheck;

/// A report directory whose run ended with these cases: id and verdict.
fn report(dir: &TestDir, cases: &[(&str, Value)]) -> String {
    let line = |event: Value| {
        json!({"schema": 1, "at": "2026-01-02T03:04:05Z", "event": event}).to_string() + "\n"
    };
    let case = |(id, verdict): &(&str, Value)| {
        line(json!({
            "kind": "case-finished", "id": id, "name": "podman::works", "suite": "podman",
            "title": "It works", "level": "core", "verdict": verdict, "duration_ms": 1,
        }))
    };
    let log = dir.write("report/events.jsonl", &cases.iter().map(case).collect::<String>());
    log.trim_end_matches("/events.jsonl").to_owned()
}

#[test]
fn a_bad_file_is_refused_with_its_line_before_the_cluster_is_asked() {
    let dir = TestDir::new();
    // Asked, it would be an error with code 4.
    let kubeconfig = dir.kubeconfig(&Kubeconfig::to("https://127.0.0.1:1"));
    for (text, words, hint) in [
        ("", "have no entry", "nestcheck expect"),
        ("- case: POD-3\n  reason: x\n", "line 1: there is no case `POD-3`", "`POD-03`"),
        ("- cause: F99\n  reason: x\n", "line 1: there is no cause `F99`", "C-0123abcd"),
        ("- case: POD-03\n  because: x\n", "unknown field `because`", "`until`"),
        ("- case: POD-03\n  verdict: error\n", "at line 2", "`verdict`"),
        ("- case: POD-03\n  message: '('\n", "is not a regular expression", "an entry has"),
        ("- case: POD-03\n  until: soon\n", "`soon` is not a date", "an entry has"),
        ("- case: POD-03\n  versions: '>4.x'\n", "is not a range of versions", "an entry has"),
        ("- case: POD-03\n  reason: TODO\n", "line 2: the entry has only a placeholder", "URL"),
        (
            "- {case: POD-03, reason: x}\n- {case: POD-03, reason: y}\n",
            "line 2: the entry is the same as that of line 1",
            "remove",
        ),
        ("\0", "known.yaml", "an entry has"),
    ] {
        let file = dir.write("known.yaml", text);
        dir.nestcheck(["run", "--kubeconfig", &kubeconfig, "--expect", &file])
            .refuses(2, &["known.yaml", words])
            .hints(&[hint]);
    }
    let file = dir.write("known.yaml", "- {case: pod-03, reason: known}\n");
    dir.nestcheck(["run", "--kubeconfig", &kubeconfig, "--expect", &file, "--strict"])
        .refuses(4, &["127.0.0.1"]);
    assert_eq!(dir.content(), ["known.yaml", "kubeconfig"], "nothing ran");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    nestcheck(&["run", "--expect", "/no/such/file"])
        .refuses(2, &["expectations `/no/such/file`", "No such file"])
        .hints(&["--expect FILE"]);
    let dir = TestDir::new();
    fs::write(dir.path("known.yaml"), [0xff, 0xfe]).expect("it can be written");
    dir.nestcheck(["run", "--expect", "known.yaml"]).refuses(2, &["known.yaml", "UTF-8"]);
    dir.nestcheck(["run", "--expect", "."]).refuses(2, &["expectations `.`"]);
    fs::write(dir.path("known.yaml"), "#".repeat(2 << 20)).expect("it can be written");
    dir.nestcheck(["run", "--expect", "known.yaml"])
        .refuses(2, &["known.yaml", "more than 1048576 bytes"]);
    dir.nestcheck(["run", "--expect", "/dev/zero"]).refuses(2, &["more than 1048576 bytes"]);
    nestcheck(&["run", "--strict"]).refuses(2, &["--expect"]);
}

#[test]
fn a_file_is_written_from_an_archive_too() {
    let dir = TestDir::new();
    let started = json!({"kind": "run-started", "run": "a", "version": "0.1.0", "profile": "smoke",
        "image": "localhost/workspace:1", "cases": 1, "cluster": []});
    let failed = json!({"kind": "case-finished", "id": "POD-03", "name": "podman::runs",
        "suite": "podman", "title": "It runs", "level": "core", "duration_ms": 1,
        "verdict": {"verdict": "fail", "message": "\nexpected `1`\nobserved `2`"}});
    let line = |event| json!({"schema": 1, "at": "2026-01-02T03:04:05Z", "event": event});
    let log = format!("{}\n{}\n", line(started), line(failed));
    let log = dir.write("report/events.jsonl", &log);
    let directory = log.trim_end_matches("/events.jsonl").to_owned();
    let archive = write_archive(Path::new(&directory), Vec::new()).expect("it can be written");
    fs::write(dir.path("report.tar.gz"), archive).expect("it can be written");

    let written = dir.nestcheck(["expect", "report.tar.gz"]);

    written.exits(0);
    assert!(written.stdout.contains("observed `2`"), "{written}");
    for same in [directory, log] {
        assert_eq!(dir.nestcheck(["expect", &same]).stdout, written.stdout);
    }
}

#[test]
fn a_file_is_written_from_a_run_and_understood_once_it_has_reasons() {
    let dir = TestDir::new();
    let failed = json!({"verdict": "fail", "message": "it's \u{1b}[31mdenied: [a]"});
    let blocked = json!({"verdict": "blocked", "reason": "no gate", "remedy": "turn it on"});
    let passed = json!({"verdict": "pass"});
    let cases = [("POD-03", failed), ("ISO-04", blocked), ("ID-01", passed)];
    let directory = report(&dir, &cases);
    let kubeconfig = dir.kubeconfig(&Kubeconfig::to("https://127.0.0.1:1"));
    for (arguments, subjects) in [
        (&[][..], &["case: POD-03"][..]),
        (&["--blocked"], &["case: ISO-04", "case: POD-03"]),
        (&["--by", "cause"], &["cause: C-"]),
        (&["--by", "cause", "--blocked"], &["cause: C-", "cause: C-"]),
    ] {
        let written = dir.nestcheck(["expect", &directory].iter().chain(arguments));
        written.exits(0);
        assert_eq!(written.stderr, "", "{written}");
        let entries: Vec<_> =
            written.stdout.lines().filter_map(|line| line.strip_prefix("- ")).collect();
        assert_eq!(entries.len(), subjects.len(), "{written}");
        let fits = |(entry, subject): (&&str, &&str)| entry.starts_with(*subject);
        assert!(entries.iter().zip(subjects).all(fits), "{written}");
        assert!(!written.stdout.contains('\u{1b}'), "{written}");
        let file = dir.write("known.yaml", &written.stdout);
        let run = ["run", "--kubeconfig", &kubeconfig, "--expect", &file];
        dir.nestcheck(run).refuses(2, &["has only a placeholder as its reason"]);
        dir.write("known.yaml", &written.stdout.replace("TODO", "issue 7"));
        dir.nestcheck(run).refuses(4, &["127.0.0.1"]);
    }
    let empty = report(&TestDir::new(), &[]);
    dir.nestcheck(["expect", &empty]).refuses(2, &["events.jsonl"]);
    dir.nestcheck(["expect", &directory, "--by", "suite"]).refuses(2, &["suite", "case, cause"]);
}
