//! The run as a short summary in Markdown, for the page of a CI job.

use std::{collections::HashMap, fmt::Write as _};

use super::{
    causes::{CausesOfCases, evidence, explains, origin},
    details::{details_below_causes, message},
    iterations::repeated,
    model::{CaseReport, Report},
    sentence::{disruptions, expectations, further_reasons, headline},
    text::{counted, is_inside, line, names, spoken},
};
use crate::verdict::{Outcome, Verdict};

/// CI systems cut long summaries off, so this one stays short.
const MOST_FAILURES: usize = 20;

/// The most of a failure's message that its heading repeats.
const EXCERPT: usize = 160;

/// CI systems cut long summaries off, so only the first causes are in it.
const MOST_CAUSES: usize = 20;

/// How many ids a cause names.
const MOST_NAMES: usize = 12;

/// The run as Markdown: outcome, causes, counts, failures.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let sign = if report.outcome == Some(Outcome::Conformant) { "✅" } else { "❌" };
    let mut page = format!("## {sign} {}\n\n", escaped(&headline(report).to_string()));
    if let Some(run) = &report.run {
        let _ = writeln!(
            page,
            "Profile {} · run {} · nestcheck {} · {}{}\n",
            code(&run.profile),
            code(&run.run),
            escaped(&run.version),
            spoken(report.duration_ms),
            repeated(report).map_or_else(String::new, |text| format!(" · {text}"))
        );
    }
    page.push_str(&causes_of(report));
    let texts = further_reasons(report).into_iter().chain(disruptions(report));
    for text in texts.chain(expectations(report)).chain(accepted(report)) {
        let _ = writeln!(page, "- {}", escaped(&text));
    }
    page.push_str(&counts(report));
    page.push_str(&cluster(report));
    page.push_str(&failures(report));
    page
}

fn counts(report: &Report) -> String {
    let (mut heads, mut rule, mut row) = (String::new(), String::new(), String::new());
    let total = [("cases", report.counts.total())];
    for (name, count) in total.into_iter().chain(report.counts.entries()) {
        if count > 0 || matches!(name, "cases" | "passed" | "failed") {
            let _ = write!(heads, "| {name} ");
            rule.push_str("| ---: ");
            let _ = write!(row, "| {count} ");
        }
    }
    format!("\n{heads}|\n{rule}|\n{row}|\n")
}

fn cluster(report: &Report) -> String {
    let mut text = String::new();
    let Some(run) = &report.run else { return text };
    let head = if is_inside(run) { "machine" } else { "cluster" };
    for (name, value) in &run.cluster {
        if text.is_empty() {
            let _ = write!(text, "\n| {head} | |\n| --- | --- |\n");
        }
        let _ = writeln!(text, "| {} | {} |", escaped_in_table(name), code(value));
    }
    text
}

fn failures(report: &Report) -> String {
    let troubles: Vec<_> = report.cases.iter().filter(|case| case.is_trouble()).collect();
    let mut text = String::new();
    if !troubles.is_empty() {
        text.push_str("\n### To look at\n");
    }
    let causes = CausesOfCases::of(report);
    let groups = without_equal_errors(&causes, &troubles);
    for (case, others) in groups.iter().take(MOST_FAILURES) {
        let verdict = &case.case.verdict;
        let details = details_below_causes(case, causes.cause_of(&case.case.id));
        // A fence that the text can't close.
        let fence = "`".repeat(longest_run(&details, '`').max(2) + 1);
        let others = match others.as_slice() {
            [] => String::new(),
            ids => {
                let count = counted(ids.len(), "case");
                format!(
                    " and {count} with the same error ({})",
                    names(ids.iter().copied(), MOST_NAMES)
                )
            }
        };
        let _ = write!(
            text,
            "\n<details>\n<summary><b>{} {}</b> {}{}: {}</summary>\n\n{fence}text\n{details}\n{fence}\n\n</details>\n",
            verdict.name(),
            entities(&case.case.id),
            entities(&case.case.name),
            entities(&others),
            entities(&line(&message(verdict), EXCERPT)),
        );
    }
    if let Some(more @ 1..) = groups.len().checked_sub(MOST_FAILURES) {
        let _ = writeln!(text, "\n… and {more} more in the full report");
    }
    text
}

/// The cases to look at. Errors of one cause are one of them, with the ids of the others.
fn without_equal_errors<'a>(
    causes: &CausesOfCases<'a>,
    troubles: &[&'a CaseReport],
) -> Vec<(&'a CaseReport, Vec<&'a str>)> {
    let cause = |case: &CaseReport| match case.case.verdict {
        Verdict::Error { .. } => causes.cause_of(&case.case.id).map(|cause| cause.id.as_str()),
        _ => None,
    };
    let mut groups: Vec<(&CaseReport, Vec<&str>)> = Vec::new();
    let mut of_cause = HashMap::new();
    for case in troubles {
        let known = cause(case).map(|id| *of_cause.entry(id).or_insert(groups.len()));
        match known.and_then(|group| groups.get_mut(group)) {
            Some((_, others)) => others.push(&case.case.id),
            None => groups.push((case, Vec::new())),
        }
    }
    groups
}

/// The cases whose failure a person expects, with the reason.
fn accepted(report: &Report) -> impl Iterator<Item = String> {
    report.cases.iter().filter_map(|case| match &case.case.verdict {
        Verdict::KnownIssue { expectation: Some(it), .. } => {
            Some(format!("{} is expected: {}", case.case.id, line(&it.reason, EXCERPT)))
        }
        _ => None,
    })
}

/// Why cases did not pass, each cause once.
fn causes_of(report: &Report) -> String {
    let mut text = String::new();
    for (number, cause) in report.causes.iter().enumerate().take(MOST_CAUSES) {
        if number == 0 {
            text.push_str("### Causes\n\n");
        }
        let (wrong, origin) = (escaped(&cause.wrong), escaped(&origin(cause)));
        let explained = explains(report, cause);
        let ids = names(cause.cases.iter().map(String::as_str), MOST_NAMES);
        let _ = writeln!(text, "{}. **{wrong}** ({origin})<br>", number + 1);
        let _ = write!(text, "   {explained}: {}", escaped(&ids));
        if let Some(evidence) = evidence(cause) {
            let _ = write!(text, "<br>\n   Seen: {}", escaped(evidence));
        }
        if let Some(fix) = &cause.fix {
            let _ = write!(text, "<br>\n   **Fix:** {}", escaped(&line(fix, usize::MAX)));
        }
        text.push('\n');
    }
    if let Some(more @ 1..) = report.causes.len().checked_sub(MOST_CAUSES) {
        let _ = writeln!(text, "\n… and {more} more in the full report");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Text that Markdown shows as it is, but for code in single backticks, which nestcheck's own
/// messages use.
pub(super) fn escaped(text: &str) -> String {
    escape(text, "|")
}

/// As [`escaped`], for a cell of a table: there `|` ends even code.
pub(super) fn escaped_in_table(text: &str) -> String {
    escape(text, r"\|")
}

/// `pipe` stands for `|` in code.
fn escape(text: &str, pipe: &str) -> String {
    // Runs of several backticks nest in ways that a one-pass reader gets wrong, so they are text.
    let has_code = text.matches('`').count().is_multiple_of(2) && longest_run(text, '`') == 1;
    let mut in_code = false;
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '`' if has_code => {
                in_code = !in_code;
                result.push('`');
            }
            '|' if in_code => result.push_str(pipe),
            other if in_code => result.push(other),
            '<' => result.push_str("&lt;"),
            '&' => result.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '@' | '|' => {
                result.push('\\');
                result.push(character);
            }
            other => result.push(other),
        }
    }
    result
}

/// Text inside of HTML that stands in Markdown.
fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "&#96;")
}

/// Text as code on a line, in a table too.
pub(super) fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text, '`') + 1);
    let space = if text.contains('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "\\|"))
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|character| character != of).map(str::len).max().unwrap_or(0)
}
