//! Options of before and during a run, and their variables, without a cluster.

use test_support::{Finished, Running, TestDir};

use super::nestcheck;

/// Runs `nestcheck` with variables, and expects that it leaves nothing.
#[track_caller]
fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let dir = TestDir::new();
    let mut command = dir.command(arguments);
    command.envs(variables.iter().copied());
    let finished = Running::start(command).finish();
    assert_eq!(dir.content(), [""; 0], "{finished}");
    finished
}

fn ids(listed: &Finished) -> Vec<&str> {
    listed.exits(0);
    listed.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn levels_select_cases_and_are_a_partition() {
    let all = nestcheck(&["list"]);
    let mut sum = 0;
    for level in ["core", "extended", "informing"] {
        let listed = nestcheck(&["list", "--level", level]);
        let ids = ids(&listed);
        assert!(!ids.is_empty(), "{level}");
        sum += ids.len();
        let json = nestcheck(&["list", "--level", level, "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        let cases = json.as_array().expect("a list");
        assert!(cases.iter().all(|case| case["level"] == level), "{level}");
    }
    assert_eq!(sum, ids(&all).len());
    let two = nestcheck(&["list", "--level", "core,extended"]);
    assert!(ids(&two).len() < sum && ids(&two).len() > sum / 2);
}

#[test]
fn an_unknown_level_and_one_that_leaves_nothing_are_refused() {
    nestcheck(&["run", "--level", "must"])
        .refuses(2, &["--level", "unknown level `must`"])
        .hints(&["`core`, `extended` and `informing`"]);
    for command in ["run", "list"] {
        nestcheck(&[command, "POD-03", "--level", "informing"])
            .refuses(2, &["no selected case has the level informing"])
            .hints(&["nestcheck list"]);
    }
}

#[test]
fn what_is_not_a_number_of_iterations_is_refused() {
    for bad in ["0", "-1", "x", "", "10001"] {
        nestcheck(&["run", &format!("--repeat={bad}")]).refuses(2, &["--repeat"]);
    }
}

#[test]
fn a_run_in_a_given_namespace_says_why_it_proves_no_nodes() {
    nestcheck(&["run", "--namespace", "team-a", "--every-node"])
        .refuses(2, &["namespace `team-a`", "the permission to list nodes"])
        .hints(&["leave out `--every-node`"]);
}

#[test]
fn a_format_needs_a_dry_run() {
    nestcheck(&["run", "-o", "json"]).refuses(2, &["--dry-run"]);
}

#[test]
fn a_dry_run_needs_a_cluster_and_leaves_no_report() {
    for options in
        [&["--dry-run"][..], &["--dry-run", "-o", "json", "--fail-fast", "--repeat", "3"]]
    {
        let arguments = [&["run", "--kubeconfig", "/no/such/file"], options].concat();
        nestcheck(&arguments).refuses(2, &["kubeconfig", "/no/such/file"]);
    }
}

#[test]
fn a_variable_is_an_option_and_the_command_line_wins() {
    let smoke = nestcheck(&["list", "--profile", "smoke"]);
    let of_variable = with(&[("NESTCHECK_PROFILE", "smoke")], &["list"]);
    assert_eq!(of_variable.stdout, smoke.stdout);
    let won = with(&[("NESTCHECK_PROFILE", "smoke")], &["list", "--profile", "kubernetes"]);
    assert_eq!(won.stdout, nestcheck(&["list", "--profile", "kubernetes"]).stdout);
    let json = with(&[("NESTCHECK_OUTPUT", "json")], &["list", "POD-03"]);
    assert!(json.stdout.starts_with('['), "{json}");
    let path = ("NESTCHECK_KUBECONFIG", "/no/such/file");
    with(&[path, ("KUBECONFIG", "/another")], &["run"]).refuses(2, &["/no/such/file"]);
}

#[test]
fn a_list_in_a_variable_has_commas() {
    let variables = [("NESTCHECK_LEVEL", "core,informing")];
    let listed = with(&variables, &["list"]);
    assert_eq!(listed.stdout, nestcheck(&["list", "--level", "core,informing"]).stdout);
}

#[test]
fn an_empty_variable_is_no_option() {
    let variables = [("NESTCHECK_PROFILE", ""), ("NESTCHECK_SHARD", ""), ("NESTCHECK_LEVEL", "")];
    assert_eq!(with(&variables, &["list"]).stdout, nestcheck(&["list"]).stdout);
}

#[test]
fn a_wrong_variable_is_named() {
    for (variable, value, command) in [
        ("NESTCHECK_JOBS", "many", "run"),
        ("NESTCHECK_TIMEOUT", "soon", "inside"),
        ("NESTCHECK_FAIL_FAST", "perhaps", "run"),
        ("NESTCHECK_OUTPUT", "xml", "list"),
    ] {
        with(&[(variable, value)], &[command]).refuses(2, &[&format!("`{variable}`"), value]);
    }
    // The command line decides, and the error is about it.
    let refused = with(&[("NESTCHECK_JOBS", "4")], &["run", "--jobs", "many"]);
    refused.refuses(2, &["--jobs"]);
    assert!(!refused.stderr.contains("NESTCHECK_JOBS"), "{refused}");
}

#[test]
fn a_flag_in_the_environment_is_a_word() {
    let kubeconfig = ["run", "--kubeconfig", "/no/such/file"];
    for word in ["true", "1", "yes", "off", "0", "false"] {
        with(&[("NESTCHECK_FAIL_FAST", word)], &kubeconfig).refuses(2, &["/no/such/file"]);
    }
    // Switched off, it needs nothing and excludes nothing.
    let off = [("NESTCHECK_AS_CONFIGURED", "false")];
    with(&off, &[&kubeconfig[..], &["--profile", "smoke"]].concat()).refuses(2, &["/no/such/file"]);
}

#[test]
fn a_variable_for_runs_breaks_no_other_command() {
    let variables = [
        ("NESTCHECK_PROFILE", "openshift"),
        ("NESTCHECK_REPORT_DIR", "/no/such/directory"),
        ("NESTCHECK_OUTPUT", "json"),
        ("NESTCHECK_ALL", "true"),
    ];
    with(&variables, &["explain", "POD-03"]).exits(0);
    let kubeconfig = ["--kubeconfig", "/no/such/file"];
    for command in [&["preflight"][..], &["run"], &["sweep", "--expired"]] {
        with(&variables, &[command, &kubeconfig].concat()).refuses(2, &["/no/such/file"]);
    }
    with(&variables, &["sweep"]).refuses(2, &["--expired"]);
}

#[test]
fn help_shows_variables_without_their_values() {
    let secret = "sha256~do-not-print";
    let variables = [("NESTCHECK_PULL_SECRET", secret), ("NESTCHECK_AS", secret)];
    let help = with(&variables, &["run", "--help"]);
    help.exits(0);
    assert!(help.stdout.contains("[env: NESTCHECK_PULL_SECRET]"), "{help}");
    assert!(!help.stdout.contains(secret), "{help}");
    let page = with(&variables, &["man"]);
    assert!(!page.stdout.contains(secret), "{page}");
}
