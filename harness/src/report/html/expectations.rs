//! The page's section about the failures that a person expects.

use maud::{Markup, html};

use super::prose::Prose;
use crate::{
    report::model::Report,
    verdict::{ExpectationResult, ExpectationState},
};

/// Every entry of the file of expectations, and what became of it.
pub(super) fn table(report: &Report) -> Markup {
    let entries = &report.expectations.entries;
    if entries.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Expectations" }
            .suite {
                table {
                    thead {
                        tr {
                            @for head in ["Of", "Reason", "State", "Line"] { th scope="col" { (head) } }
                        }
                    }
                    tbody { @for entry in entries { (row(entry)) } }
                }
            }
        }
    }
}

fn row(result: &ExpectationResult) -> Markup {
    let entry = &result.entry;
    let bounds = [&entry.flavour, &entry.versions].into_iter().flatten();
    let bounds = bounds.map(String::as_str).collect::<Vec<_>>().join(" ");
    html! {
        tr {
            td.id { (entry.subject()) }
            td.title {
                (Prose(&entry.reason))
                p.why {
                    "Expected: " (entry.verdict.name())
                    @if let Some(message) = &entry.message { ", message " code { (message) } }
                    @if !bounds.is_empty() { ", on " (bounds) }
                    @if let Some(until) = &entry.until { ", until " (until) }
                }
                @if let Some(detail) = &result.detail { p.why { (Prose(detail)) } }
                @if !result.cases.is_empty() { p.why { "Cases: " (result.cases.join(", ")) } }
            }
            td.result { span.verdict.(class(result.state)) { (result.state.name()) } }
            td.time { (result.line) }
        }
    }
}

fn class(state: ExpectationState) -> &'static str {
    match state {
        ExpectationState::Used => "known",
        ExpectationState::Stale | ExpectationState::NoMatch | ExpectationState::Expired => "fail",
        ExpectationState::NotChecked => "quiet",
    }
}
