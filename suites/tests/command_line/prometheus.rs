//! The metrics of a run and the rule of `deploy/alert.yaml`, as Prometheus reads them: its own tool
//! `promtool` checks both. Without it these tests say so and check nothing; `ci/test` installs it.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]
#![expect(clippy::print_stderr, reason = "who reads the test learns what was not checked")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use test_support::TestDir;

use super::compare::{events, report};

const RULE: &str = include_str!("../../../deploy/alert.yaml");

/// Runs promtool with this input; none where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else {
        eprintln!("skipped: `promtool` of Debian's package `prometheus` is not installed");
        return None;
    };
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it is read");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it can be waited for");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn prometheus_understands_the_metrics_of_a_run() {
    let dir = TestDir::new();
    let run = report(&dir, "run", &events("a", "POD-03", "fail"));
    let metrics = dir.nestcheck(["report", &run, "--format", "prometheus", "--exit-zero"]);
    metrics.exits(0);
    if let Some((is_good, said)) = promtool(&["check", "metrics"], &metrics.stdout) {
        assert!(is_good && said.is_empty(), "{said}");
        let (is_good, _) = promtool(&["check", "metrics"], "nestcheck 1 x\n").expect("installed");
        assert!(!is_good, "it finds what is wrong");
    }
}

/// The alerts that an administrator gets after each night.
const NIGHTS: &str = "
rule_files: [alert.yaml]
evaluation_interval: 1h
tests:
- interval: 1h
  input_series:
  - {series: 'nestcheck_run_outcome{outcome=\"conformant\"}', values: '1x10 0x10'}
  - {series: 'nestcheck_run_finished_timestamp_seconds', values: '0x20'}
  alert_rule_test:
  - {eval_time: 9h, alertname: NestcheckNotConformant}
  - eval_time: 13h
    alertname: NestcheckNotConformant
    exp_alerts: [{exp_labels: {severity: warning, outcome: conformant}, exp_annotations: &said {
      summary: Rootless containers may not work in workspaces any more,
      description: 'See the log of the last job of the CronJob nestcheck, and `nestcheck remedy` for what fixes it.'}}]
- interval: 1h
  input_series:
  - {series: 'nestcheck_run_outcome{outcome=\"conformant\"}', values: '1x40'}
  - {series: 'nestcheck_run_finished_timestamp_seconds', values: '0x40'}
  alert_rule_test:
  - {eval_time: 25h, alertname: NestcheckNotConformant}
  - {eval_time: 29h, alertname: NestcheckNotConformant,
     exp_alerts: [{exp_labels: {severity: warning}, exp_annotations: *said}]}
- interval: 1h
  input_series: []
  alert_rule_test:
  - {eval_time: 2h, alertname: NestcheckNotConformant,
     exp_alerts: [{exp_labels: {severity: warning}, exp_annotations: *said}]}
";

#[test]
fn the_rule_fires_after_a_bad_night_a_missing_one_and_before_the_first() {
    let dir = TestDir::new();
    let rule = dir.write("alert.yaml", RULE);
    let nights = dir.write("nights.yaml", NIGHTS);
    for arguments in [["check", "rules", &rule], ["test", "rules", &nights]] {
        if let Some((is_good, said)) = promtool(&arguments, "") {
            assert!(is_good, "{said}");
        }
    }
}
