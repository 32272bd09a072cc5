//! Whole runs of static cases on recorded clusters: what expectations make of them, and where their
//! reports go.

use std::{ffi::OsStr, fs};

use harness::verdict::{ExpectationReport, ExpectationState, Outcome, event::EventKind};
use test_support::{Finished, Kubeconfig, Report, Running, ServerBehaviour, TestDir, serve};

use super::recorded;

/// A cluster on which SCC-01, an extended case, fails and PRE-01 passes.
const FAILS: &str = "microshift-4.21-gate-off";

/// Runs cases on a recorded cluster with this environment.
pub(super) fn run(
    dir: &TestDir,
    cluster: &str,
    arguments: &[&str],
    env: &[(&str, &OsStr)],
) -> Finished {
    let all = recorded();
    let cluster = all.iter().find(|it| it.name == cluster).expect("it is recorded");
    let (address, _) = serve(cluster.clone(), ServerBehaviour::default());
    let kubeconfig = dir.kubeconfig(&Kubeconfig::to(&address));
    let fixed = ["run", "--kubeconfig", &kubeconfig];
    let mut command = dir.command(fixed.iter().chain(arguments));
    command.envs(env.iter().copied());
    Running::start(command).finish()
}

/// Runs cases with expectations.
fn expect(cluster: &str, text: &str, arguments: &[&str]) -> (Finished, Report) {
    let dir = TestDir::new();
    let file = dir.write("known.yaml", text);
    let arguments: Vec<_> = ["--expect", &file].iter().chain(arguments).copied().collect();
    let finished = run(&dir, cluster, &arguments, &[]);
    (finished, dir.report())
}

fn expectations(report: &Report) -> ExpectationReport {
    let found = report.events().find_map(|event| match event {
        EventKind::RunFinished { expectations, .. } => Some(expectations.clone()),
        _ => None,
    });
    found.expect("every log has an end")
}

#[test]
fn an_expected_failure_is_a_known_issue_and_fails_the_run_no_more() {
    let text = "- case: SCC-01\n  message: '`restricted-v3`'\n  reason: issue 7\n  flavour: \
                microshift\n  versions: '>=4.21 <4.22'\n";
    let cases = ["SCC-01", "PRE-01"];
    let dir = TestDir::new();
    run(&dir, FAILS, &cases, &[]).exits(1);
    assert_eq!(dir.report().ids("fail"), ["SCC-01"]);

    let (finished, report) = expect(FAILS, text, &cases);

    // Static cases alone prove nothing in pods.
    finished.exits(3).says(&["KNOWN ISSUE", "(expected: issue 7)", "1 expectation: 1 used"]);
    assert_eq!(report.ids("known-issue"), ["SCC-01"]);
    let case = &report.json("/cases").as_array().expect("cases")[1];
    assert_eq!(
        (&case["id"], &case["expectation"]["reason"]),
        (&"SCC-01".into(), &"issue 7".into())
    );
    assert_eq!(expectations(&report).entries[0].cases, ["SCC-01"]);
}

#[test]
fn a_failure_that_is_not_as_expected_stays_one() {
    for text in [
        "- {case: SCC-01, message: another, reason: x}",
        "- {case: SCC-01, verdict: blocked, reason: x}",
        "- {case: SCC-01, until: 2020-01-01, reason: x}",
        "- {case: SCC-01, flavour: openshift, reason: x}",
        "- {case: SCC-01, flavour: microshift, versions: '<4.21', reason: x}",
    ] {
        let (finished, report) = expect(FAILS, text, &["SCC-01", "PRE-01"]);
        finished.exits(1);
        assert_eq!(report.ids("fail"), ["SCC-01"], "{text}");
    }
}

#[test]
fn a_blocked_core_case_stays_partial_if_it_is_expected() {
    let text = "- {case: PRE-02, verdict: blocked, reason: old}";
    let (finished, report) = expect("openshift-4.18", text, &["PRE-01", "PRE-02"]);
    finished.exits(3).says(&["1 core case with a known issue: PRE-02"]);
    assert_eq!(report.ids("known-issue"), ["PRE-02"]);
    assert_eq!(report.outcome(), Outcome::Partial);
}

#[test]
fn entries_that_need_a_change_fail_a_strict_run_only() {
    let stale = "- {case: PRE-01, reason: x}";
    let (finished, report) = expect(FAILS, stale, &["PRE-01"]);
    finished.exits(3).says(&["expectation `PRE-01` of line 1, stale: PRE-01 passes"]);
    assert_eq!(expectations(&report).entries[0].state, ExpectationState::Stale);

    let (finished, report) = expect(FAILS, stale, &["PRE-01", "--strict"]);
    finished.exits(1).says(&["no case fails, but the expectations must change (`--strict`)"]);
    assert_eq!(report.json("/expectations/strict"), true);

    let elsewhere = "- {case: POD-03, reason: x}\n- {case: PRE-01, flavour: openshift, reason: x}";
    let (finished, report) = expect(FAILS, elsewhere, &["PRE-01", "--strict"]);
    finished.exits(3).says(&["2 expectations: 2 not checked"]);
    let states: Vec<_> = expectations(&report).entries.iter().map(|it| it.state).collect();
    assert_eq!(states, [ExpectationState::NotChecked; 2]);
}

#[test]
fn a_file_that_a_run_wrote_accepts_its_failures() {
    let dir = TestDir::new();
    run(&dir, FAILS, &["SCC-01", "PRE-01"], &[]).exits(1);
    let directory = dir.path("nestcheck-report").display().to_string();
    for by in ["case", "cause"] {
        let written = dir.nestcheck(["expect", &directory, "--by", by]);
        written.exits(0);
        let text = written.stdout.replace("TODO", "issue 7");
        let (finished, report) = expect(FAILS, &text, &["SCC-01", "PRE-01", "--strict"]);
        finished.exits(3);
        assert_eq!(report.ids("known-issue"), ["SCC-01"], "{text}");
    }
}

#[test]
fn reports_go_where_a_person_and_the_ci_system_want_them() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("artifacts")).expect("it can be made");
    let artifacts = dir.path("artifacts");
    let summary = dir.path("summary.md");
    let env =
        [("GITHUB_STEP_SUMMARY", summary.as_os_str()), ("ARTIFACT_DIR", artifacts.as_os_str())];
    let reports = ["--report", "json=a.json", "--report", "prometheus=-", "--dialect", "gitlab"];
    let arguments: Vec<_> = ["PRE-01"].iter().chain(&reports).copied().collect();

    let finished = run(&dir, FAILS, &arguments, &env);

    finished.exits(3);
    assert!(finished.stdout.starts_with("# HELP nestcheck_run_info"), "{finished}");
    let text = |name: &str| fs::read_to_string(dir.path(name)).expect("it can be read");
    assert_eq!(text("a.json"), text("nestcheck-report/report.json"));
    assert!(text("summary.md").starts_with("## "), "{}", text("summary.md"));
    assert_eq!(text("artifacts/nestcheck.html"), text("nestcheck-report/index.html"));
    assert_eq!(fs::read_dir(&artifacts).expect("a directory").count(), 2);

    let silent = TestDir::new();
    let arguments = ["PRE-01", "--no-ci"];
    let summary = silent.path("summary.md");
    run(&silent, FAILS, &arguments, &[("GITHUB_STEP_SUMMARY", summary.as_os_str())]).exits(3);
    assert!(!summary.exists());

    let missing = TestDir::new();
    let nowhere = OsStr::new("/no/such/folder");
    let finished = run(&missing, FAILS, &["PRE-01"], &[("ARTIFACT_DIR", nowhere)]);
    finished.exits(3).says(&["warning: failed to write to `/no/such/folder` of `$ARTIFACT_DIR`"]);
}
