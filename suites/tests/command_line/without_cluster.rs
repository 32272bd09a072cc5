//! What works without a cluster: lists, completions, the man page and the help.

use std::{fs, process::Stdio};

use serde_json::Value;
use test_support::{Running, TestDir};

use super::nestcheck;

/// The ids that `list` prints.
fn listed(arguments: &[&str]) -> Vec<String> {
    let finished = nestcheck(&[&["list"], arguments].concat());
    finished.exits(0);
    assert_eq!(finished.stderr, "", "{finished}");
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    finished.stdout.lines().map(first).collect()
}

#[test]
fn list_shows_every_case_with_id_name_and_sentence() {
    let finished = nestcheck(&["list"]);
    finished.exits(0);
    let cases = suites::cases();
    assert_eq!(finished.stdout.lines().count(), cases.len());
    for case in cases {
        let line = finished.stdout.lines().find(|line| line.starts_with(&format!("{} ", case.id)));
        let line = line.unwrap_or_else(|| panic!("{} is missing", case.id));
        assert!(line.contains(&case.path()) && line.ends_with(case.title), "{line}");
    }
}

#[test]
fn images_are_listed_for_a_mirror() {
    let image = format!("registry.example/dev/workspace@sha256:{:0>64}", "abc");
    let text = nestcheck(&["images", "--image", &image]);
    text.exits(0);
    assert_eq!(text.stdout, format!("{image}\n"), "every other image is built in pods");
    let mirrors =
        nestcheck(&["images", "--image", &image, "--mirror", "mirror.example/dev/workspace"]);
    mirrors.exits(0);
    assert!(mirrors.stdout.starts_with("apiVersion: config.openshift.io/v1\n"), "{mirrors}");
    let tag = ["images", "--image", "registry.example/a:1", "--mirror", "mirror.example/a"];
    nestcheck(&tag).refuses(2, &["is not named by its digest"]).hints(&["@sha256:"]);
    nestcheck(&["images"]).refuses(2, &["--image"]);
}

#[test]
fn list_in_json_has_the_same_cases() {
    let finished = nestcheck(&["list", "-o", "json"]);
    finished.exits(0);
    let cases: Vec<Value> = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let ids: Vec<_> = cases.iter().map(|case| case["id"].as_str().unwrap_or_default()).collect();
    assert_eq!(ids, listed(&[]));
    for case in &cases {
        for field in ["name", "suite", "level", "title"] {
            assert!(case[field].as_str().is_some_and(|text| !text.is_empty()), "{case}");
        }
    }
}

#[test]
fn list_takes_filters_profiles_and_shards() {
    assert_eq!(listed(&["POD-03"]), ["POD-03"]);
    assert_eq!(listed(&["pod-03"]), ["POD-03"]);
    assert_eq!(listed(&["podman::builds_and"]), ["POD-03"]);
    let podman = listed(&["podman"]);
    assert!(podman.len() > 3 && podman.iter().all(|id| id.starts_with("POD-")), "{podman:?}");
    let others = listed(&["!podman"]);
    assert_eq!(podman.len() + others.len(), listed(&[]).len());
    assert_eq!(listed(&["podman", "!podman"]), [""; 0]);
    let smoke = listed(&["--profile", "smoke"]);
    assert!((3..10).contains(&smoke.len()), "{smoke:?}");
    for profile in ["openshift", "microshift", "kubernetes"] {
        assert!(listed(&["--profile", profile]).len() >= 30, "{profile}");
    }
}

#[test]
fn the_shards_of_list_are_a_partition() {
    for count in [1, 2, 3, 7] {
        let shards =
            (1..=count).flat_map(|index| listed(&["--shard", &format!("{index}/{count}")]));
        let mut together: Vec<_> = shards.collect();
        together.sort();
        let mut all = listed(&[]);
        all.sort();
        assert_eq!(together, all, "{count} shards");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = TestDir::new();
    for arguments in [&["list"][..], &["list", "-o", "json"], &["man"], &["--help"]] {
        // A pipe whose reader is gone: what `| head -1` leaves behind once it has its line.
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let mut command = dir.command(arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let dir = TestDir::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = dir.command(["list"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.starts_with("error: failed to write to standard output"), "{said}");
    assert!(said.contains("\nhint: "), "{said}");
}

#[test]
fn completions_are_made_for_every_shell() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef nestcheck"),
        ("fish", "complete -c nestcheck"),
        ("elvish", "nestcheck"),
        ("powershell", "nestcheck"),
    ] {
        let finished = nestcheck(&["completions", shell]);
        finished.exits(0);
        assert!(finished.stdout.contains(word) && finished.stdout.contains("report-dir"));
        assert_eq!(finished.stderr, "");
    }
}

#[test]
fn the_man_page_and_the_help_name_every_command_and_the_exit_codes() {
    let man = nestcheck(&["man"]);
    man.exits(0);
    assert!(man.stdout.contains(".TH nestcheck"), "{man}");
    let help = nestcheck(&["--help"]);
    help.exits(0);
    for page in [&man.stdout, &help.stdout] {
        let commands = ["preflight", "list", "run", "report", "expect", "completions"];
        for word in commands.into_iter().chain(["0 conformant", "5 leaked", "129", "130", "143"]) {
            // roff breaks lines at will and escapes dashes.
            assert!(page.replace('\n', " ").contains(word), "`{word}` is not in {page}");
        }
    }
    for command in ["preflight", "list", "run", "report", "expect", "completions", "man"] {
        let help = nestcheck(&[command, "--help"]);
        help.exits(0);
        assert!(help.stdout.contains("Usage: nestcheck"), "{help}");
        assert_eq!(help.stderr, "");
    }
    let version = nestcheck(&["--version"]);
    version.exits(0);
    let first = concat!("nestcheck ", env!("CARGO_PKG_VERSION"), "\nprobes for nodes of: ");
    assert!(version.stdout.starts_with(first), "{version}");
    let short = nestcheck(&["-V"]);
    assert_eq!(short.stdout, concat!("nestcheck ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"), ("TERM", "xterm-256color")] {
        let dir = TestDir::new();
        for arguments in [&["run"][..], &["--help"], &["list"], &["list", "nope"], &["rn"]] {
            let mut command = dir.command(arguments);
            let finished = Running::start({
                command.env(name, value);
                command
            })
            .finish();
            assert!(!finished.stdout.contains('\u{1b}'), "{finished}");
            assert!(!finished.stderr.contains('\u{1b}'), "{finished}");
        }
    }
}
