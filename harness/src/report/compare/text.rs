//! The comparison as text for a terminal.

use std::fmt::Write as _;

use super::{
    CaseRow, Change, Comparison, Rows,
    matrix::{self, GROUPS, day, durations, headline, missing, note, outcome, verdict, worse_runs},
};
use crate::report::{details::message, text::line};

/// The most that a line repeats of a message.
const EXCERPT: usize = 200;

/// The comparison as text.
#[must_use]
pub fn text(comparison: &Comparison, rows: Rows) -> String {
    let mut text = format!("{}\n\n", headline(comparison));
    for run in &comparison.runs {
        let (label, name, outcome, day) = (&run.label, &run.name, outcome(run), day(run));
        let _ = writeln!(text, "{label}  {name}: {outcome}, {day}");
        if !run.cluster.is_empty() {
            let _ = writeln!(text, "{:1$}  {2}", "", label.len(), run.cluster);
        }
    }
    for (change, heading) in GROUPS {
        text.push_str(&group(comparison, change, heading, rows));
    }
    text.push_str(&list("Slower or faster", durations(comparison)));
    text.push_str(&causes(comparison, rows));
    text.push_str(&facts(comparison, rows));
    text
}

fn group(comparison: &Comparison, change: Change, heading: &str, rows: Rows) -> String {
    let is_pair = comparison.runs.len() == 2;
    if is_pair && change == Change::Missing && rows == Rows::Different {
        return list(heading, missing(comparison));
    }
    let cases: Vec<_> = comparison.rows(change, rows).collect();
    let mut lines = if change == Change::Worse { worse_runs(comparison) } else { Vec::new() };
    if !is_pair && !cases.is_empty() {
        lines.push(columns("", comparison.runs.iter().map(|run| run.label.clone())));
    }
    for row in cases {
        let said = if is_pair { pair(row) } else { several(row) };
        lines.push(said.trim_end().to_owned());
        lines.extend(why(comparison, row).into_iter().map(|why| format!("    {why}")));
    }
    if let (Some(note), false) = (note(change), lines.is_empty()) {
        lines.insert(0, format!("({note})"));
    }
    list(heading, lines)
}

/// A heading with its lines; nothing without lines.
fn list(heading: &str, lines: Vec<String>) -> String {
    let mut text = String::new();
    for (number, line) in lines.into_iter().enumerate() {
        if number == 0 {
            let _ = writeln!(text, "\n{heading}");
        }
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A case in two runs: `POD-03 pass -> fail`.
fn pair(row: &CaseRow) -> String {
    let [before, after] = [0, 1].map(|run| row.cells.get(run).and_then(Option::as_ref));
    let change = match (before, after) {
        (Some(_), Some(_)) if row.change == Change::Same => verdict(before).to_owned(),
        _ => format!("{} -> {}", verdict(before), verdict(after)),
    };
    format!("{:11} {change:24} {} ({})", row.id, row.name, row.level.name())
}

/// A case in several runs, a column each.
fn several(row: &CaseRow) -> String {
    columns(&row.id, row.cells.iter().map(|cell| shown(row, cell.as_ref())))
}

/// A verdict, and what changed where that is not what the heading says.
fn shown(row: &CaseRow, cell: Option<&super::Cell>) -> String {
    let verdict = verdict(cell);
    match cell.map(|cell| cell.change) {
        Some(change) if change != row.change && change < Change::Missing => {
            format!("{verdict} ({})", change.name())
        }
        _ => verdict.to_owned(),
    }
}

fn columns(first: &str, cells: impl Iterator<Item = String>) -> String {
    let mut text = format!("{first:11}");
    for cell in cells {
        let _ = write!(text, " {cell:22}");
    }
    text.trim_end().to_owned()
}

/// What the last run with a changed verdict says of it, on one line.
fn why(comparison: &Comparison, row: &CaseRow) -> Option<String> {
    let changed = |cell: &&super::Cell| cell.change == row.change && row.change < Change::Missing;
    let cell = row.cells.iter().flatten().rev().find(changed)?;
    if let Some(cause) = cell.cause.and_then(|cause| comparison.causes.get(cause)) {
        return Some(format!("{}: {}", cause.id, line(&cause.wrong, EXCERPT)));
    }
    let message = line(&message(&cell.verdict), EXCERPT);
    (!message.is_empty()).then_some(message)
}

fn causes(comparison: &Comparison, rows: Rows) -> String {
    let shown = comparison.causes.iter().filter(|row| rows == Rows::All || !row.is_same());
    let lines = shown.flat_map(|row| {
        let counts = comparison.runs.iter().zip(&row.cases);
        let counts = counts.map(|(run, cases)| format!("{}: {}", run.label, cases.len()));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let title = format!("{} {}", row.id, line(&row.wrong, EXCERPT));
        [title, format!("    cases in {counts}")]
    });
    list("Causes", lines.collect())
}

fn facts(comparison: &Comparison, rows: Rows) -> String {
    let shown = comparison.facts.iter().filter(|row| rows == Rows::All || !row.is_same());
    let lines = shown.flat_map(|row| {
        let values = comparison.runs.iter().zip(&row.values);
        let values = values.map(|(run, value)| {
            let value = value.as_deref().unwrap_or("–");
            format!("    {}  {}", run.label, line(value, matrix::VALUE))
        });
        std::iter::once(row.name.clone()).chain(values).collect::<Vec<_>>()
    });
    list("Facts", lines.collect())
}
