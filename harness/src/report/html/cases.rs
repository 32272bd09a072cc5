//! The page's sections about cases.

use super::page::Page;
use crate::{
    event::{CommandFinished, TruthCheck},
    outcome::{Level, Verdict},
    report::{
        details::{hint, last_commands, message, retry},
        junit::level_name,
        model::{CaseReport, Report},
        sentence::blocked_groups,
        text::{counted, seconds, shell},
    },
};

/// What failed, broke or was interrupted, with everything that is known of it.
pub(super) fn troubles(page: &mut Page, report: &Report) {
    let mut troubles: Vec<_> = report.cases.iter().filter(|case| case.is_trouble()).collect();
    if troubles.is_empty() {
        return;
    }
    let is_fail = |case: &CaseReport| matches!(case.case.verdict, Verdict::Fail { .. });
    troubles.sort_by_key(|case| (case.case.level == Level::Informing, !is_fail(case)));
    page.raw("<section>\n<h2>To look at</h2>\n");
    for case in troubles {
        trouble(page, case);
    }
    page.raw("</section>\n");
}

fn trouble(page: &mut Page, report: &CaseReport) {
    let case = &report.case;
    page.raw("<article class=\"").raw(class(&case.verdict)).raw("\" id=\"case-").text(&case.id);
    page.raw("\">\n<h3><span class=\"id\">").text(&case.id).raw("</span> ").prose(&case.title);
    page.raw("</h3>\n<p class=\"meta\">");
    verdict(page, &case.verdict);
    page.raw(" <code>").text(&case.name).raw("</code> <span>").raw(level_name(case.level));
    if case.level == Level::Informing {
        page.raw(", not decisive");
    }
    page.raw("</span> <time>").text(&seconds(case.duration_ms)).raw("</time></p>\n");
    page.raw("<p class=\"message\">").prose(&message(&case.verdict)).raw("</p>\n");
    if let Some(hint) = hint(&case.verdict) {
        page.raw("<p class=\"fix\"><b>To fix</b> ").prose(hint).raw("</p>\n");
    }
    retries(page, report);
    if !report.truth_checks.is_empty() {
        truth_checks(page, &report.truth_checks);
    }
    commands(page, report);
    files(page, report);
    page.raw("</article>\n");
}

fn retries(page: &mut Page, report: &CaseReport) {
    for retried in &report.retries {
        page.raw("<p class=\"why\">").prose(&retry(retried)).raw("</p>\n");
    }
}

/// Links to the files about the case; `summarize` has left out what is no name of one.
fn files(page: &mut Page, report: &CaseReport) {
    let Some(evidence) = &report.evidence else { return };
    page.raw("<p class=\"files\"><b>Files</b>");
    for file in &evidence.files {
        page.raw(" <a href=\"").text(&evidence.directory).raw("/").text(&file.name).raw("\">");
        page.text(&file.name).raw("</a>");
    }
    page.raw("</p>\n");
    for missing in &evidence.missing {
        page.raw("<p class=\"why\">Missing evidence: ").text(missing).raw("</p>\n");
    }
}

/// The blocked cases by reason, with the remedy once.
pub(super) fn blocked(page: &mut Page, report: &Report) {
    let groups = blocked_groups(report);
    if groups.is_empty() {
        return;
    }
    page.raw("<section>\n<h2>Blocked</h2>\n");
    for group in groups {
        page.raw("<article class=\"blocked\">\n<h3>").prose(group.reason).raw("</h3>\n");
        if !group.remedy.is_empty() {
            page.raw("<p class=\"fix\"><b>To unblock</b> ").prose(group.remedy).raw("</p>\n");
        }
        page.raw("<p class=\"ids\">").text(&counted(group.ids.len(), "case")).raw(": ");
        for id in group.ids {
            page.raw("<span class=\"id\">").text(id).raw("</span> ");
        }
        page.raw("</p>\n</article>\n");
    }
    page.raw("</section>\n");
}

/// Every case, by suite.
pub(super) fn suites(page: &mut Page, report: &Report) {
    if report.cases.is_empty() {
        return;
    }
    page.raw("<section>\n<h2>Every case</h2>\n");
    for cases in report.cases.chunk_by(|a, b| a.case.suite == b.case.suite) {
        suite(page, cases);
    }
    page.raw("</section>\n");
}

fn suite(page: &mut Page, cases: &[CaseReport]) {
    let name = cases.first().map_or("", |case| case.case.suite.as_str());
    let passed = cases.iter().filter(|case| case.case.verdict == Verdict::Pass).count();
    page.raw("<div class=\"suite\">\n<h3>").text(name).raw(" <small>").number(passed);
    page.raw(" of ").number(cases.len()).raw(" passed</small></h3>\n<table>\n<thead><tr>");
    page.raw("<th scope=\"col\">Id</th><th scope=\"col\">Case</th>");
    page.raw("<th scope=\"col\">Verdict</th><th scope=\"col\">Time</th></tr></thead>\n<tbody>\n");
    for case in cases {
        row(page, case);
    }
    page.raw("</tbody>\n</table>\n</div>\n");
}

fn row(page: &mut Page, report: &CaseReport) {
    let case = &report.case;
    page.raw("<tr><td class=\"id\">").text(&case.id).raw("</td><td class=\"title\">");
    if report.truth_checks.is_empty() {
        page.prose(&case.title);
        if case.verdict == Verdict::Pass {
            page.raw(" <small>no truth check is in the log</small>");
        }
    } else {
        page.raw("<details><summary>").prose(&case.title).raw(" <small>");
        page.text(&counted(report.truth_checks.len(), "truth check")).raw("</small></summary>\n");
        truth_checks(page, &report.truth_checks);
        page.raw("</details>");
    }
    if matches!(case.verdict, Verdict::KnownIssue { .. } | Verdict::NotApplicable { .. }) {
        page.raw("<p class=\"why\">").prose(&message(&case.verdict)).raw("</p>");
    }
    retries(page, report);
    page.raw("</td><td class=\"result\">");
    if report.is_trouble() {
        page.raw("<a href=\"#case-").text(&case.id).raw("\">");
        verdict(page, &case.verdict);
        page.raw("</a>");
    } else {
        verdict(page, &case.verdict);
    }
    page.raw("</td><td class=\"time\">");
    if ran(report) {
        page.text(&seconds(case.duration_ms));
    }
    page.raw("</td></tr>\n");
}

/// Whether the case ran at all, so that its duration means something.
fn ran(report: &CaseReport) -> bool {
    report.started.is_some() || report.case.duration_ms > 0
}

fn verdict(page: &mut Page, verdict: &Verdict) {
    page.raw("<span class=\"verdict ").raw(class(verdict)).raw("\">");
    page.raw(match verdict {
        Verdict::NotApplicable { .. } => "not applicable",
        Verdict::KnownIssue { .. } => "known issue",
        other => other.name(),
    });
    page.raw("</span>");
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

fn truth_checks(page: &mut Page, checks: &[TruthCheck]) {
    page.raw("<ul class=\"checks\">\n");
    for check in checks {
        page.raw(if check.holds { "<li class=\"holds\">" } else { "<li class=\"broken\">" });
        page.raw("<span class=\"what\">").text(&check.name).raw("</span> ");
        page.raw("<span class=\"sign\">");
        page.raw(if check.holds { "holds" } else { "does not hold" }).raw("</span>\n");
        // What was seen is the proof; what was expected is news only where it differs.
        if !check.holds || check.expected != check.observed {
            page.raw("<span class=\"pair\"><i>expected</i> <code>").text(&check.expected);
            page.raw("</code></span>\n");
        }
        page.raw("<span class=\"pair\"><i>observed</i> <code>").text(&check.observed);
        page.raw("</code></span></li>\n");
    }
    page.raw("</ul>\n");
}

fn commands(page: &mut Page, report: &CaseReport) {
    let (earlier, shown) = last_commands(report);
    if earlier > 0 {
        page.raw("<p class=\"why\">").text(&counted(earlier, "earlier command"));
        page.raw(" left out</p>\n");
    }
    for command in shown {
        one_command(page, command);
    }
}

fn one_command(page: &mut Page, command: &CommandFinished) {
    // A command that ended well is seldom the one to read.
    page.raw(if command.exit_code == 0 { "<details" } else { "<details open" });
    page.raw(" class=\"command\"><summary><code>").text(&shell(&command.command));
    page.raw("</code></summary>\n<p class=\"meta\"><span>exit code ");
    page.text(&command.exit_code.to_string()).raw("</span> <span>pod ").text(&command.pod);
    page.raw("</span> <time>").text(&seconds(command.duration_ms)).raw("</time></p>\n");
    for (label, output) in
        [("standard output", &command.stdout), ("standard error", &command.stderr)]
    {
        if !output.is_empty() {
            page.raw("<pre aria-label=\"").raw(label).raw("\">").text(output).raw("</pre>\n");
        }
    }
    page.raw("</details>\n");
}
