//! The recipes for CI systems, and what kind and MicroShift need. The shell parts of the recipes
//! run here as their systems run them: with a stub in the place of nestcheck, and with the program on
//! a cluster on which everything works (`NESTCHECK_TEST_KUBECONFIG`, made by `ci/test`).

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod checkers;
mod clusters;
mod systems;

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use systems::{ALL, GITHUB, GITLAB, Inputs, JENKINS, PROW, System, TEKTON, path, read, text, yaml};
use test_support::{Finished, Live, Running, TestDir};

/// What a recipe says where a run ends with an exit code.
const RESULTS: [(i32, &str); 7] = [
    (1, "not conformant: a case failed"),
    (2, "bad input"),
    (3, "partial: a core case was blocked"),
    (4, "infrastructure error: the cluster is unreachable"),
    (5, "infrastructure error: the run left objects"),
    (127, "did not start"),
    (143, "interrupted"),
];

/// A directory in which a program is `nestcheck`.
fn dir_with(program: &Path) -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("bin")).expect("it can be made");
    // A link, because a file that was just written may still be open in a process of another test.
    symlink(program, dir.path("bin/nestcheck")).expect("it can be made");
    dir
}

/// A directory with the stub, whose runs end with this exit code.
fn stub(code: i32) -> TestDir {
    let dir = dir_with(&path("suites/tests/recipes/stub"));
    dir.write("code", &code.to_string());
    dir.write("signal", "none");
    dir
}

/// The arguments of each call of the stub, each in brackets.
fn calls(dir: &TestDir) -> Vec<String> {
    read(dir, "calls").lines().map(str::to_owned).collect()
}

/// Expects the JUnit file, the summary and the archive of a run.
#[track_caller]
fn has_reports(system: &System, dir: &TestDir, finished: &Finished) {
    let name = system.name;
    let junit = read(dir, system.junit);
    let dialect = format!("--format junit --dialect {}\n", system.dialect);
    assert!(junit.starts_with("report ") && junit.ends_with(&dialect), "{name}: {junit}{finished}");
    let summary = read(dir, system.summary);
    assert!(summary.ends_with("--format markdown\n"), "{name}: {summary}{finished}");
    assert_eq!(read(dir, &system.archive()), "archive\n", "{name}: {finished}");
}

/// Expects that a recipe says how the run ended. Jenkins does it in Groovy.
#[track_caller]
fn says(system: &System, finished: &Finished, words: &str) {
    let said = finished.stdout.contains(words) || finished.stderr.contains(words);
    assert!(said || system.name == JENKINS.name, "`{words}` is not in {finished}");
}

#[test]
fn each_result_has_its_exit_code_a_message_and_reports() {
    for system in ALL {
        let dir = stub(0);
        let finished = system.run(&dir, &[], &[]);
        finished.exits(0);
        has_reports(&system, &dir, &finished);
        for (code, words) in RESULTS {
            let dir = stub(code);
            let finished = system.run(&dir, &[], &[]);
            finished.exits(code);
            has_reports(&system, &dir, &finished);
            says(&system, &finished, words);
        }
    }
}

#[test]
fn a_partial_run_passes_where_the_input_allows_it() {
    for system in ALL.iter().filter(|system| system.name != JENKINS.name) {
        let dir = stub(3);
        let allowed = system.run(&dir, &[("allow-partial", "true")], &[]);
        allowed.exits(0);
        has_reports(system, &dir, &allowed);
        says(system, &allowed, "partial: a core case was blocked");
        for code in [1, 4, 5] {
            system.run(&stub(code), &[("allow-partial", "true")], &[]).exits(code);
        }
    }
}

#[test]
fn a_run_without_a_report_leaves_none_of_an_earlier_run() {
    // A step of Prow has an empty directory.
    for system in ALL.iter().filter(|system| system.name != PROW.name) {
        for code in [2, 4] {
            let dir = stub(0);
            system.run(&dir, &[], &[]).exits(0);
            fs::remove_file(dir.path(system.summary)).expect("there is a summary");
            dir.write("code", &code.to_string());
            dir.write("no-report", "");

            let finished = system.run(&dir, &[], &[]);

            finished.exits(code);
            for file in [system.junit, system.summary, &system.archive()] {
                assert!(!dir.path(file).exists(), "{}: {file}: {finished}", system.name);
            }
        }
    }
}

#[test]
fn a_missing_program_is_not_taken_for_a_result() {
    for system in ALL {
        let missing = [("nestcheck", "/no/such/nestcheck")];
        let finished = system.run(&TestDir::new(), &missing, &[]);
        finished.exits(127);
        says(&system, &finished, "did not start");
    }
}

#[test]
fn the_archive_of_a_release_is_unpacked() {
    for system in ALL {
        let dir = stub(0);
        fs::remove_dir_all(dir.path("bin")).expect("it can be removed");
        let bin = dir.path("nestcheck-0.1.0-x/bin");
        fs::create_dir_all(&bin).expect("it can be made");
        symlink(path("suites/tests/recipes/stub"), bin.join("nestcheck")).expect("it can be made");
        // As `ci/release` lays it out.
        let packed = Command::new("tar")
            .args(["-czf", "a release.tar.gz", "--dereference", "nestcheck-0.1.0-x"])
            .current_dir(dir.path("."))
            .status();
        assert!(packed.expect("tar is installed").success());

        let finished = system.run(&dir, &[("nestcheck", "a release.tar.gz")], &[]);

        finished.exits(0);
        has_reports(&system, &dir, &finished);
    }
}

#[test]
fn a_signal_ends_the_run_before_the_script() {
    // GitHub leaves a cancelled job no time for this.
    for (system, signal) in [(GITLAB, "all"), (JENKINS, "all"), (TEKTON, "all"), (PROW, "script")] {
        let dir = stub(0);
        dir.write("signal", signal);
        let finished = system.run(&dir, &[], &[]);
        finished.exits(143);
        has_reports(&system, &dir, &finished);
        says(&system, &finished, "interrupted");
    }
}

#[test]
fn inputs_are_arguments_and_never_commands() {
    const WORDS: &str = "podman !POD-06 $(touch${IFS}made) `touch made` ; touch made\n* 'x y'";
    const IMAGE: &str = "a\" ; touch made ; \" $(touch made)";
    for system in ALL {
        let dir = stub(0);
        let finished = system.run(&dir, &[("arguments", WORDS), ("image", IMAGE)], &[]);
        finished.exits(0);
        let run = calls(&dir).remove(0);
        let words = WORDS.split_whitespace().collect::<Vec<_>>().join("][");
        assert!(run.ends_with(&format!("[{words}]")), "{}: {run}", system.name);
        // GitLab passes a variable of nestcheck's.
        let image = format!("[--image][{IMAGE}]");
        assert!(run.contains(&image) || system.name == GITLAB.name, "{}: {run}", system.name);
        assert!(!dir.path("made").exists(), "{}", system.name);
    }
}

#[test]
fn no_script_has_an_expression_in_it_and_each_passes_shellcheck() {
    for system in ALL {
        let script = system.script();
        for expression in ["${{", "$(params.", "$(workspaces.", "$(results."] {
            assert!(!script.contains(expression), "{}: {expression}", system.name);
        }
        assert!(script.lines().any(|line| line == "set -euo pipefail"), "{}", system.name);
        assert!(script.lines().count() < 60, "{} is long", system.name);
        let dir = TestDir::new();
        let mut shellcheck = Command::new("shellcheck");
        shellcheck.args(["--norc", "--shell=bash", &dir.write("script", &script)]);
        // `ci/lint` installs it.
        Running::start(shellcheck).finish().exits(0);
    }
}

#[test]
fn no_recipe_downloads_anything() {
    for file in ALL.map(|system| system.file).into_iter().chain(["ci/prow/nestcheck-commands.sh"]) {
        let recipe = text(file);
        for word in ["://", "curl", "wget"] {
            assert!(!recipe.contains(word), "{file} has `{word}`");
        }
    }
}

#[test]
fn github_shows_annotations_and_takes_no_commands_from_a_cluster() {
    for (code, words) in RESULTS {
        let dir = stub(code);
        let finished = GITHUB.run(&dir, &[], &[]);
        let last = finished.stdout.lines().last().unwrap_or_default();
        let end = format!("(exit code {code})");
        assert!(last.starts_with("::error title=nestcheck::"), "{finished}");
        assert!(last.contains(words) && last.ends_with(&end), "{finished}");
        assert_eq!(read(&dir, "github-output"), format!("exit-code={code}\n"));
        let lines: Vec<_> = finished.stdout.lines().collect();
        let token = lines[0].strip_prefix("::stop-commands::").expect("commands are stopped");
        assert_eq!(lines[1..3], ["::error::text of the cluster", &format!("::{token}::")]);
    }
    let partial = GITHUB.run(&stub(3), &[("allow-partial", "true")], &[]);
    assert!(partial.stdout.contains("\n::warning title=nestcheck::partial"), "{partial}");
    assert!(!partial.stdout.contains("::error title"), "{partial}");
}

#[test]
fn gitlab_collects_the_reports() {
    let file = yaml(GITLAB.file);
    let artifacts = &file[".nestcheck"]["artifacts"];
    assert_eq!(artifacts["when"], "always");
    assert_eq!(artifacts["reports"]["junit"], GITLAB.junit);
    let paths = artifacts["paths"].as_array().expect("a list");
    assert!(paths.iter().any(|path| path == GITLAB.report));
    assert!(paths.iter().any(|path| *path == GITLAB.archive()));
}

#[test]
fn jenkins_makes_a_partial_build_unstable_and_others_fail() {
    let groovy = text(JENKINS.file);
    let (_, groovy) = groovy.split_once("switch (code)").expect("Groovy decides");
    for (code, words) in RESULTS.into_iter().filter(|(code, _)| *code <= 5) {
        let (_, from) = groovy.split_once(&format!("case {code}:")).expect("the code is known");
        let (case, _) = from.split_once("break").expect("a case ends");
        assert!(case.contains(words) && case.contains("error("), "{code}: {case}");
        assert_eq!(case.contains("unstable("), code == 3, "{case}");
    }
    assert!(groovy.contains(&format!("junit testResults: '{}'", JENKINS.junit)));
}

#[test]
fn tekton_gives_the_exit_code_and_the_outcome() {
    for (code, outcome) in [
        (0, "conformant"),
        (1, "not-conformant"),
        (2, "bad-input"),
        (3, "partial"),
        (4, "infrastructure-error"),
        (5, "leaked"),
        (143, "interrupted"),
    ] {
        let dir = stub(code);
        TEKTON.run(&dir, &[], &[]).exits(code);
        assert_eq!(read(&dir, "tekton-exit-code"), code.to_string());
        assert_eq!(read(&dir, "tekton-outcome"), outcome);
    }
}

#[test]
fn a_kubeconfig_is_named_where_the_recipe_takes_one() {
    let dir = stub(0);
    GITHUB.run(&dir, &[("kubeconfig", "a kubeconfig")], &[]).exits(0);
    assert!(calls(&dir)[0].starts_with("[run][--kubeconfig][a kubeconfig]"), "{:?}", calls(&dir));
    let dir = stub(0);
    dir.write("secret/kubeconfig", "");
    TEKTON.run(&dir, &[], &[]).exits(0);
    let named = format!("[run][--kubeconfig][{}]", dir.path("secret/kubeconfig").display());
    assert!(calls(&dir)[0].starts_with(&named), "{:?}", calls(&dir));
    for system in ALL {
        let dir = stub(0);
        system.run(&dir, &[], &[]).exits(0);
        assert!(!calls(&dir)[0].contains("--kubeconfig"), "{:?}", calls(&dir));
    }
}

#[test]
fn prow_shows_each_case_once_and_uses_the_proxy_of_the_cluster() {
    let dir = stub(0);
    dir.write("shared/proxy-conf.sh", "touch \"$HOME/proxy\"\n");
    PROW.run(&dir, &[], &[]).exits(0);
    assert!(dir.path("proxy").exists());
    assert!(!dir.path("artifacts/nestcheck/junit.xml").exists());
}

/// Runs two cases with a recipe on the cluster, and expects what its system shows.
#[track_caller]
fn passes_on_a_cluster(system: &System) {
    const CASES: [&str; 2] = ["ID-01", "GATE-01"];
    let (cluster, dir) = (Live::take(), dir_with(Path::new(env!("CARGO_BIN_EXE_nestcheck"))));
    let cases = CASES.join(" ");
    let inputs: &Inputs = &[("arguments", &cases)];
    let mut variables = vec![("KUBECONFIG", cluster.kubeconfig())];
    if system.name == TEKTON.name {
        dir.write("secret/kubeconfig", &cluster.own_kubeconfig().text());
        variables.clear();
    }

    let finished = system.run(&dir, inputs, &variables);

    finished.exits(0);
    let junit = read(&dir, system.junit);
    let parsed = quick_junit::Report::deserialize_from_str(&junit).expect("it is JUnit");
    assert_eq!((parsed.failures, parsed.errors), (0, 0), "{junit}");
    assert!(CASES.iter().all(|id| junit.contains(id)), "{junit}");
    assert_eq!(junit.contains("lp-ocp-compat--"), system.dialect == "openshift", "{junit}");
    let summary = read(&dir, system.summary);
    assert!(summary.starts_with("## ") && summary.contains("Conformant"), "{summary}");
    // GitHub shows no larger ones.
    assert!(summary.len() < 1024 * 1024);
    let archive = fs::read(dir.path(&system.archive())).expect("there is an archive");
    assert!(archive.starts_with(&[0x1f, 0x8b]), "it is not gzip");
    cluster.is_clean();
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_recipe_of_github_passes_on_a_cluster() {
    passes_on_a_cluster(&GITHUB);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_recipe_of_gitlab_passes_on_a_cluster() {
    passes_on_a_cluster(&GITLAB);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_recipe_of_tekton_passes_on_a_cluster() {
    passes_on_a_cluster(&TEKTON);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_recipe_of_prow_passes_on_a_cluster() {
    passes_on_a_cluster(&PROW);
}
