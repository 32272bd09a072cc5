//! The run as metrics in the text format of Prometheus, for the textfile collector of its node
//! exporter, or for a push gateway.

use std::fmt::{Display, Write as _};

use super::{
    model::Report,
    sentence::outcome_name,
    text::{NAME_LIMIT, line},
};
use crate::verdict::{Level, Outcome, Verdict};

/// The outcomes in the order of the exit codes; `died` is that of a log without its end.
const OUTCOMES: [&str; 7] =
    ["conformant", "not conformant", "partial", "error", "leaked", "interrupted", "died"];

/// The run as metrics.
#[must_use]
pub fn prometheus(report: &Report) -> String {
    let mut page = Page::default();
    page.head("nestcheck_run_info", "What was run; the value is always 1.");
    if let Some(run) = &report.run {
        let labels = [
            ("run", run.run.as_str()),
            ("version", &run.version),
            ("profile", &run.profile),
            ("image", &run.image),
        ];
        page.sample(&labels, 1);
    }
    page.head(
        "nestcheck_run_is_part",
        "1 if the run had only some cases of its profile, or was a sample.",
    );
    page.sample(&[], u8::from(report.run.as_ref().is_none_or(|run| run.is_part)));
    page.head("nestcheck_run_outcome", "1 for the outcome of the run, 0 for the others.");
    let outcome = outcome_name(report.outcome);
    for name in OUTCOMES {
        let label = name.replace(' ', "-");
        page.sample(&[("outcome", &label)], u8::from(name == outcome));
    }
    if let Some(code) = report.outcome.map(Outcome::exit_code) {
        page.head("nestcheck_run_exit_code", "The exit code of the run.");
        page.sample(&[], code);
    }
    page.head("nestcheck_run_duration_seconds", "How long the run took.");
    page.sample(&[], seconds(report.duration_ms));
    if let Some(finished) = report.finished {
        page.head("nestcheck_run_finished_timestamp_seconds", "When the run ended.");
        page.sample(&[], finished.as_second());
    }
    page.head("nestcheck_cases", "The number of cases by verdict.");
    let counts = &report.counts;
    for (verdict, count) in [
        ("pass", counts.pass),
        ("fail", counts.fail),
        ("blocked", counts.blocked),
        ("not-applicable", counts.not_applicable),
        ("known-issue", counts.known_issue),
        ("error", counts.error),
        ("interrupted", counts.interrupted),
    ] {
        page.sample(&[("verdict", verdict)], count);
    }
    page.head("nestcheck_core_case_passed", "Whether a core case that applies here passed.");
    let applies = |verdict: &Verdict| !matches!(verdict, Verdict::NotApplicable { .. });
    let core = report.cases.iter().map(|case| &case.case);
    for case in core.filter(|case| case.level == Level::Core && applies(&case.verdict)) {
        let labels = [("id", case.id.as_str()), ("case", case.name.as_str())];
        page.sample(&labels, u8::from(case.verdict == Verdict::Pass));
    }
    page.head("nestcheck_expectations_to_change", "Expectations that somebody has to change.");
    page.sample(&[], report.expectations.to_change().count());
    page.text
}

/// A duration, exactly: Prometheus reads decimal numbers.
fn seconds(duration_ms: u64) -> String {
    format!("{}.{:03}", duration_ms / 1000, duration_ms % 1000)
}

/// A page of metrics; each sample is one of the last head.
#[derive(Default)]
struct Page {
    text: String,
    metric: &'static str,
}

impl Page {
    fn head(&mut self, metric: &'static str, help: &str) {
        let _ = writeln!(self.text, "# HELP {metric} {help}\n# TYPE {metric} gauge");
        self.metric = metric;
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let label = |(name, value): &(&str, &str)| {
            let value = line(value, NAME_LIMIT).replace('\\', r"\\").replace('"', "\\\"");
            format!("{name}=\"{value}\"")
        };
        let labels: Vec<_> = labels.iter().map(label).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}{labels} {value}", self.metric);
    }
}
