//! The comparison as a short summary in Markdown.

use std::fmt::Write as _;

use super::{
    CaseRow, Cell, Change, Comparison, Rows,
    matrix::{GROUPS, day, durations, headline, missing, note, outcome, verdict, worse_runs},
};
use crate::report::{
    details::message,
    markdown::{code, escaped, escaped_in_table},
    text::{line, spoken},
};

/// CI systems cut long summaries off.
const MOST_ROWS: usize = 200;

/// The most that a table repeats of a text.
const EXCERPT: usize = 200;

/// The comparison as Markdown: a table of the runs, then one for each kind of change.
#[must_use]
pub fn markdown(comparison: &Comparison, rows: Rows) -> String {
    let sign = if comparison.is_worse() { "❌" } else { "✅" };
    let mut page = format!("## {sign} {}\n\n", escaped(&headline(comparison)));
    page.push_str("| | report | cluster | started | took | outcome |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for run in &comparison.runs {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            run.label,
            code(&run.name),
            code(&run.cluster),
            day(run),
            spoken(run.duration_ms),
            outcome(run)
        );
    }
    for (change, heading) in GROUPS {
        page.push_str(&group(comparison, change, heading, rows));
    }
    page.push_str(&list("Slower or faster", durations(comparison)));
    page.push_str(&causes(comparison, rows));
    page.push_str(&facts(comparison, rows));
    page
}

fn group(comparison: &Comparison, change: Change, heading: &str, rows: Rows) -> String {
    let runs = if change == Change::Worse { worse_runs(comparison) } else { Vec::new() };
    let is_pair = comparison.runs.len() == 2;
    if is_pair && change == Change::Missing && rows == Rows::Different {
        return list(heading, missing(comparison));
    }
    let table: Vec<_> = comparison.rows(change, rows).map(cells).collect();
    if runs.is_empty() && table.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### {heading}\n\n");
    if let Some(note) = note(change) {
        let _ = writeln!(text, "{}.\n", escaped(note));
    }
    for run in runs {
        let _ = writeln!(text, "- {}\n", escaped(&run));
    }
    text.push_str(&self::table("case", comparison, table));
    text
}

fn cells(row: &CaseRow) -> (String, Vec<String>) {
    let shown = |cell: &Option<Cell>| {
        let name = verdict(cell.as_ref());
        match cell.as_ref().map(|cell| cell.change) {
            Some(change @ (Change::Worse | Change::NewFailure)) => {
                let why = cell.as_ref().map(|cell| message(&cell.verdict)).unwrap_or_default();
                let why = escaped_in_table(&line(&why, EXCERPT));
                let why = if why.is_empty() { why } else { format!("<br>{why}") };
                format!("**{name}** ({}){why}", change.name())
            }
            Some(change @ (Change::Better | Change::Other)) => {
                format!("{name} ({})", change.name())
            }
            _ => name.to_owned(),
        }
    };
    let title = format!("{} {}", code(&row.id), escaped_in_table(&line(&row.title, EXCERPT)));
    (title, row.cells.iter().map(shown).collect())
}

/// A table with a column for each run; nothing without rows.
fn table(first: &str, comparison: &Comparison, rows: Vec<(String, Vec<String>)>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let labels: Vec<_> = comparison.runs.iter().map(|run| run.label.as_str()).collect();
    let mut text = format!("| {first} | {} |\n", labels.join(" | "));
    let _ = writeln!(text, "| --- {}|", "| --- ".repeat(labels.len()));
    let more = rows.len().saturating_sub(MOST_ROWS);
    for (title, cells) in rows.into_iter().take(MOST_ROWS) {
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    }
    if more > 0 {
        let _ = writeln!(text, "\n… and {more} more");
    }
    text
}

fn list(heading: &str, lines: Vec<String>) -> String {
    let mut text = String::new();
    for (number, line) in lines.into_iter().enumerate().take(MOST_ROWS) {
        if number == 0 {
            let _ = write!(text, "\n### {heading}\n\n");
        }
        let _ = writeln!(text, "- {}", escaped(&line));
    }
    text
}

fn causes(comparison: &Comparison, rows: Rows) -> String {
    let shown = comparison.causes.iter().filter(|row| rows == Rows::All || !row.is_same());
    let cells = shown.map(|row| {
        let title = format!("{} {}", code(&row.id), escaped_in_table(&line(&row.wrong, EXCERPT)));
        (title, row.cases.iter().map(|cases| cases.len().to_string()).collect())
    });
    section("Causes, with the number of their cases", table("cause", comparison, cells.collect()))
}

fn facts(comparison: &Comparison, rows: Rows) -> String {
    let shown = comparison.facts.iter().filter(|row| rows == Rows::All || !row.is_same());
    let cells = shown.map(|row| {
        let value = |value: &Option<String>| {
            value.as_deref().map_or_else(|| "–".to_owned(), |value| code(&line(value, EXCERPT)))
        };
        (escaped_in_table(&row.name), row.values.iter().map(value).collect())
    });
    section("Facts", table("fact", comparison, cells.collect()))
}

fn section(heading: &str, content: String) -> String {
    if content.is_empty() { content } else { format!("\n### {heading}\n\n{content}") }
}
