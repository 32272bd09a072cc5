//! The page's sections about cases.

use maud::{Markup, html};

use super::prose::{self, Prose};
use crate::{
    report::{
        causes::{CausesOfCases, cases as explained_cases, evidence, explains, origin},
        details::{hint, last_commands, message, others, retry, wait},
        iterations::iterations,
        model::{CaseReport, Report},
        text::{counted, seconds, shell},
    },
    verdict::{
        Cause, Level, Verdict,
        event::{CommandFinished, TruthCheck},
    },
};

/// What failed, broke or was interrupted, with everything that is known of it.
pub(super) fn troubles(report: &Report) -> Markup {
    let mut troubles: Vec<_> = report.cases.iter().filter(|case| case.is_trouble()).collect();
    if troubles.is_empty() {
        return Markup::default();
    }
    let is_fail = |case: &CaseReport| matches!(case.case.verdict, Verdict::Fail { .. });
    troubles.sort_by_key(|case| (case.case.level == Level::Informing, !is_fail(case)));
    let listed = CausesOfCases::of(report);
    html! {
        section {
            h2 { "To look at" }
            @for case in troubles { (trouble(&listed, case)) }
        }
    }
}

fn trouble(causes: &CausesOfCases<'_>, report: &CaseReport) -> Markup {
    let case = &report.case;
    let listed = causes.cause_of(&case.id);
    let is_reported = listed.is_some_and(|listed| listed.fix.is_some());
    html! {
        article class=(class(&case.verdict)) id={ "case-" (case.id) } {
            h3 { span.id { (case.id) } " " (Prose(&case.title)) }
            p.meta {
                (verdict(&case.verdict)) " " code { (case.name) } " "
                span {
                    (case.level.name())
                    @if case.level == Level::Informing { ", not decisive" }
                }
                " " time { (seconds(case.duration_ms)) }
            }
            p.message { (Prose(&message(&case.verdict))) }
            @if let Some(hint) = hint(&case.verdict).filter(|_| !is_reported) {
                p.fix { b { "To fix" } " " (Prose(hint)) }
            }
            @if let Some(listed) = listed {
                p.fix { b { "Cause" } " " a href={ "#cause-" (listed.id) } { (listed.id) } }
            }
            (retries(report))
            @if !report.truth_checks.is_empty() { (truth_checks(&report.truth_checks)) }
            (commands(report))
            (files(report))
        }
    }
}

fn retries(report: &CaseReport) -> Markup {
    html! {
        @if let Some(text) = iterations(report) {
            details.iterations {
                summary.why { (text) }
                ol {
                    @for iteration in &report.iterations {
                        li value=(iteration.number) {
                            (verdict(&iteration.verdict)) " "
                            time { (seconds(iteration.duration_ms)) }
                            @if let Some(report) = &iteration.report {
                                " in " code { (report) }
                            }
                            @if iteration.verdict != Verdict::Pass {
                                " " (Prose(&message(&iteration.verdict)))
                            }
                        }
                    }
                }
            }
        }
        @if let Some(others) = others(report) { p.why { (Prose(&others)) } }
        @for retried in &report.retries { p.why { (Prose(&retry(retried))) } }
        @for hit in &report.disruptions { p.why { (Prose(&wait(hit))) } }
    }
}

/// Links to the files about the case; `summarize` has left out what is not the name of one.
fn files(report: &CaseReport) -> Markup {
    let Some(evidence) = &report.evidence else { return Markup::default() };
    html! {
        p.files {
            b { "Files" }
            @for file in &evidence.files {
                " " a href={ (evidence.directory) "/" (file.name) } { (file.name) }
            }
        }
        @for missing in &evidence.missing { p.why { "Missing evidence: " (missing) } }
    }
}

/// Why cases did not pass, each cause once with its fix.
pub(super) fn causes(report: &Report) -> Markup {
    if report.causes.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Causes" }
            @for cause in &report.causes {
                article class=(tone(report, cause)) id={ "cause-" (cause.id) } {
                    h3 { (prose::headline(&cause.wrong)) }
                    p.meta { span.id { (origin(cause)) } " " span { (explains(report, cause)) } }
                    @if let Some(evidence) = evidence(cause) {
                        p.message { b { "Seen" } " " (Prose(evidence)) }
                    }
                    @if let Some(fix) = &cause.fix { p.fix { b { "To fix" } " " (Prose(fix)) } }
                    p.ids { @for id in &cause.cases { (case_id(report, id)) " " } }
                }
            }
        }
    }
}

/// The style of a cause: that of a failure unless it only blocks.
fn tone(report: &Report, cause: &Cause) -> &'static str {
    let is_trouble = explained_cases(report, cause).any(CaseReport::is_trouble);
    if is_trouble { "fail" } else { "blocked" }
}

/// A case's id, which leads to what is known of it where there is more.
fn case_id(report: &Report, id: &str) -> Markup {
    let is_trouble = report.cases.iter().any(|case| case.case.id == id && case.is_trouble());
    html! {
        @if is_trouble {
            a.id href={ "#case-" (id) } { (id) }
        } @else {
            span.id { (id) }
        }
    }
}

/// Every case, by suite.
pub(super) fn suites(report: &Report) -> Markup {
    if report.cases.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Every case" }
            @for cases in report.cases.chunk_by(|a, b| a.case.suite == b.case.suite) {
                (suite(cases))
            }
        }
    }
}

fn suite(cases: &[CaseReport]) -> Markup {
    let name = cases.first().map_or("", |case| case.case.suite.as_str());
    let passed = cases.iter().filter(|case| case.case.verdict == Verdict::Pass).count();
    html! {
        .suite {
            h3 { (name) " " small { (passed) " of " (cases.len()) " passed" } }
            table {
                thead {
                    tr { @for head in ["Id", "Case", "Verdict", "Time"] { th scope="col" { (head) } } }
                }
                tbody { @for case in cases { (row(case)) } }
            }
        }
    }
}

fn row(report: &CaseReport) -> Markup {
    let case = &report.case;
    let needs_reason =
        matches!(case.verdict, Verdict::KnownIssue { .. } | Verdict::NotApplicable { .. });
    html! {
        tr {
            td.id { (case.id) }
            td.title {
                (title(report))
                @if needs_reason { p.why { (Prose(&message(&case.verdict))) } }
                (retries(report))
            }
            td.result {
                @if report.is_trouble() {
                    a href={ "#case-" (case.id) } { (verdict(&case.verdict)) }
                } @else {
                    (verdict(&case.verdict))
                }
            }
            td.time { @if ran(report) { (seconds(case.duration_ms)) } }
        }
    }
}

/// The case's title, with the truth checks to open below it.
fn title(report: &CaseReport) -> Markup {
    let checks = &report.truth_checks;
    html! {
        @if checks.is_empty() {
            (Prose(&report.case.title))
            @if report.case.verdict == Verdict::Pass {
                " " small { "no truth check is in the log" }
            }
        } @else {
            details {
                summary {
                    (Prose(&report.case.title)) " "
                    small { (counted(checks.len(), "truth check")) }
                }
                (truth_checks(checks))
            }
        }
    }
}

/// Whether the case ran at all, so that its duration means something.
fn ran(report: &CaseReport) -> bool {
    report.started.is_some() || report.case.duration_ms > 0
}

pub(in crate::report) fn verdict(verdict: &Verdict) -> Markup {
    let name = match verdict {
        Verdict::NotApplicable { .. } => "not applicable",
        Verdict::KnownIssue { .. } => "known issue",
        other => other.name(),
    };
    html! { span.verdict.(class(verdict)) { (name) } }
}

fn class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail { .. } => "fail",
        Verdict::Blocked { .. } => "blocked",
        Verdict::Error { .. } | Verdict::Interrupted => "error",
        Verdict::KnownIssue { .. } => "known",
        Verdict::NotApplicable { .. } => "quiet",
    }
}

fn truth_checks(checks: &[TruthCheck]) -> Markup {
    html! {
        ul.checks {
            @for check in checks {
                li.(if check.holds { "holds" } else { "broken" }) {
                    span.what { (Prose(&check.name)) } " "
                    span.sign { @if check.holds { "holds" } @else { "does not hold" } } " "
                    // What was seen is the proof; what was expected is news only where it differs.
                    @if !check.holds || check.expected != check.observed {
                        span.pair { i { "expected" } " " code { (check.expected) } } " "
                    }
                    span.pair { i { "observed" } " " code { (check.observed) } }
                }
            }
        }
    }
}

fn commands(report: &CaseReport) -> Markup {
    let (earlier, shown) = last_commands(report);
    html! {
        @if earlier > 0 { p.why { (counted(earlier, "earlier command")) " left out" } }
        @for command in shown { (one_command(command)) }
    }
}

fn one_command(command: &CommandFinished) -> Markup {
    let outputs = [("standard output", &command.stdout), ("standard error", &command.stderr)];
    html! {
        // A command that ended well is seldom the one to read.
        details.command open[command.exit_code != 0] {
            summary { code { (shell(&command.command)) } }
            p.meta {
                span { "exit code " (command.exit_code) } " "
                span { "pod " (command.pod) } " "
                time { (seconds(command.duration_ms)) }
            }
            @for (label, output) in outputs.into_iter().filter(|(_, output)| !output.is_empty()) {
                pre aria-label=(label) { (output) }
            }
        }
    }
}
