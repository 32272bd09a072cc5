//! The comparison as one self-contained page: a matrix of cases and runs, without scripts.

use maud::{Markup, html};

use super::{
    CaseRow, CauseRow, Cell, Change, ComparedRun, Comparison, FactRow, Rows,
    matrix::{GROUPS, day, durations, headline, note, outcome, worse_runs},
};
use crate::{
    report::{
        details::message,
        html::{Prose, STYLE, page, tone, verdict},
        text::{line, spoken},
    },
    verdict::Verdict,
};

/// The most that a cell repeats of a message.
const EXCERPT: usize = 200;

/// The comparison as a page.
#[must_use]
pub fn html(comparison: &Comparison, rows: Rows) -> String {
    let body = html! {
        (header(comparison))
        main {
            (cases(comparison, rows))
            (pace(comparison))
            (causes(comparison))
            (facts(comparison, rows))
        }
        footer { p { "Made from the event logs of the runs. Runs are compared with run A." } }
    };
    page(&headline(comparison), &[STYLE, include_str!("style.css")], &body)
}

fn header(comparison: &Comparison) -> Markup {
    let tone = if comparison.is_worse() { "bad" } else { "good" };
    let headline = headline(comparison);
    let (outcome, meaning) = headline.split_once(": ").unwrap_or((&headline, ""));
    html! {
        header class=(tone) {
            p.brand { "nestcheck" " " span { "comparison" } }
            h1 { b { (outcome) } @if !meaning.is_empty() { span.colon { ":" } " " span { (meaning) } } }
            ul.reasons { @for run in worse_runs(comparison) { li { (run) } } }
            .runs { @for run in &comparison.runs { (run_card(run)) } }
        }
    }
}

fn run_card(run: &ComparedRun) -> Markup {
    let counts = run.counts.entries().into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<_> = counts.map(|(name, count)| format!("{count} {name}")).collect();
    html! {
        article class=(tone(run.outcome)) {
            h3 { span.id { (run.label) } " " (Prose(&run.name)) }
            p { span.verdict { (outcome(run)) } }
            p.meta { span { (counts.join(", ")) } }
            @if !run.cluster.is_empty() { p.why { (Prose(&run.cluster)) } }
            p.why { (day(run)) ", " (spoken(run.duration_ms)) }
        }
    }
}

/// One table of all cases that are shown, by what changed.
fn cases(comparison: &Comparison, rows: Rows) -> Markup {
    let groups: Vec<_> = GROUPS
        .into_iter()
        .map(|(change, heading)| {
            (change, heading, comparison.rows(change, rows).collect::<Vec<_>>())
        })
        .filter(|(.., cases)| !cases.is_empty())
        .collect();
    if groups.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Cases" }
            table.matrix {
                (head(comparison, "Case"))
                @for (change, heading, cases) in groups {
                    tbody {
                        tr.group {
                            th scope="rowgroup" colspan=(comparison.runs.len() + 1) {
                                b { (heading) } " " small { (cases.len()) }
                                @if let Some(note) = note(change) { p.why { (note) "." } }
                            }
                        }
                        @for row in cases { (case(comparison, row)) }
                    }
                }
            }
        }
    }
}

fn head(comparison: &Comparison, first: &str) -> Markup {
    html! {
        thead {
            tr {
                th scope="col" { (first) }
                @for run in &comparison.runs {
                    th scope="col" { (run.label) " " small { (run.cluster) } " " small { (day(run)) } }
                }
            }
        }
    }
}

fn case(comparison: &Comparison, row: &CaseRow) -> Markup {
    html! {
        tr {
            th scope="row" {
                span.id { (row.id) } " " (Prose(&row.title))
                " " small { (row.level.name()) }
            }
            @for (run, cell) in comparison.runs.iter().zip(&row.cells) {
                td { span.run { (run.label) } " " (result(comparison, cell.as_ref())) }
            }
        }
    }
}

fn result(comparison: &Comparison, cell: Option<&Cell>) -> Markup {
    let Some(cell) = cell else { return html! { span.none { "does not have it" } } };
    let cause = cell.cause.and_then(|cause| comparison.causes.get(cause));
    // The table of causes says once why several cases did not pass.
    let is_shared = cause.is_some_and(|cause| cause.cases.iter().any(|cases| cases.len() > 1));
    let says_why = !matches!(cell.verdict, Verdict::Pass) && !is_shared;
    html! {
        (verdict(&cell.verdict))
        @if cell.is_cut_off { " " small { "cut off" } }
        @if cell.change < Change::Missing { " " b.change { (cell.change.name()) } }
        @if let Some(cause) = cause { " " a.id href={ "#cause-" (cause.id) } { (cause.id) } }
        @if says_why { p.why { (Prose(&line(&message(&cell.verdict), EXCERPT))) } }
    }
}

fn pace(comparison: &Comparison) -> Markup {
    let sentences = durations(comparison);
    if sentences.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Slower or faster" }
            ul { @for sentence in sentences { li { (sentence) } } }
        }
    }
}

/// All causes: the cells of cases lead to them.
fn causes(comparison: &Comparison) -> Markup {
    if comparison.causes.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Causes" }
            table.matrix {
                (head(comparison, "Cause, with its cases in each run"))
                tbody { @for row in &comparison.causes { (cause(comparison, row)) } }
            }
        }
    }
}

fn cause(comparison: &Comparison, row: &CauseRow) -> Markup {
    html! {
        tr id={ "cause-" (row.id) } {
            th scope="row" {
                span.id { (row.id) } " " (Prose(&line(&row.wrong, EXCERPT)))
                @if let Some(fix) = &row.fix { p.why { "To fix: " (Prose(&line(fix, EXCERPT))) } }
            }
            @for (run, cases) in comparison.runs.iter().zip(&row.cases) {
                td {
                    span.run { (run.label) } " "
                    @if cases.is_empty() { span.none { "no case" } } @else { span.id { (cases.join(" ")) } }
                }
            }
        }
    }
}

fn facts(comparison: &Comparison, rows: Rows) -> Markup {
    let is_shown = |row: &&FactRow| rows == Rows::All || !row.is_same();
    let shown: Vec<_> = comparison.facts.iter().filter(is_shown).collect();
    if shown.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Facts" }
            table.matrix {
                (head(comparison, "Fact"))
                tbody {
                    @for row in shown {
                        tr {
                            th scope="row" { (row.name) }
                            @for (run, value) in comparison.runs.iter().zip(&row.values) {
                                td {
                                    span.run { (run.label) } " "
                                    @match value {
                                        Some(value) => (Prose(value)),
                                        None => span.none { "unknown" },
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
