//! The run as one self-contained page: no scripts, nothing fetched, readable without its style.
//!
//! Some servers (Jenkins) show pages without their style sheet, so the markup alone must read
//! well: headings, lists, tables, and verdicts as words. The macro of maud escapes every value, so
//! text of a pod can't become markup.

mod cases;
mod expectations;
mod prose;

use maud::{DOCTYPE, Markup, html};

pub(super) use self::{
    cases::verdict,
    prose::{Prose, trusted},
};
use super::{
    iterations::repeated,
    model::Report,
    sentence::{self, disruptions, further_reasons, headline, outcome_name},
    text::{counted, seconds, spoken},
};
use crate::verdict::Outcome;

/// Should an escape ever be missed, a pod's text still runs and fetches nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The style of every page.
pub(super) const STYLE: &str = include_str!("html/style.css");

/// A page with this title, style and body, which fetches nothing.
pub(super) fn page(title: &str, styles: &[&'static str], body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " · nestcheck" }
                style { @for style in styles { (trusted(style)) } }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// The run as `index.html`.
#[must_use]
pub fn html(report: &Report) -> String {
    let body = html! {
        (header(report))
        main {
            (cases::causes(report))
            (cases::troubles(report))
            (cases::suites(report))
            (expectations::table(report))
            (steps(report))
        }
        (footer(report))
    };
    page(outcome_name(report.outcome), &[STYLE], &body)
}

/// The style of an outcome, by how much it should worry.
pub(super) fn tone(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Conformant) => "good",
        Some(Outcome::Partial | Outcome::Interrupted { .. }) => "doubt",
        Some(Outcome::NotConformant | Outcome::Error | Outcome::Leaked) | None => "bad",
    }
}

fn header(report: &Report) -> Markup {
    let headline = headline(report);
    let mut reasons = further_reasons(report);
    reasons.extend(disruptions(report));
    reasons.extend(sentence::expectations(report));
    html! {
        header class=(tone(report.outcome)) {
            p.brand {
                "nestcheck"
                @if let Some(run) = &report.run { " " span { "profile " (run.profile) } }
            }
            h1 {
                b { (headline.outcome) }
                span.colon { ":" } " " span { (headline.meaning) }
            }
            @if !reasons.is_empty() {
                ul.reasons { @for reason in reasons { li { (Prose(&reason)) } } }
            }
            (counts(report))
            (facts(report))
        }
    }
}

fn counts(report: &Report) -> Markup {
    /// The styles of the entries of `Counts::entries`, in its order.
    const TONES: [&str; 7] = ["pass", "fail", "error", "error", "blocked", "known", "quiet"];

    let shown = || report.counts.entries().into_iter().zip(TONES).filter(|((_, n), _)| *n > 0);
    let total = report.counts.total();
    html! {
        @if total == 0 {
            p.legend { "The log holds no case" }
        } @else {
            .bar aria-hidden="true" {
                @for ((_, count), tone) in shown() { i class=(tone) style={ "flex-grow:" (count) } {} }
            }
            ul.legend {
                li { b { (total) } @if total == 1 { " case" } @else { " cases" } }
                @for ((name, count), tone) in shown() { li class=(tone) { b { (count) } " " (name) } }
            }
        }
    }
}

fn facts(report: &Report) -> Markup {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(run) = &report.run {
        rows.extend(run.cluster.iter().map(|(name, value)| (name.as_str(), value.clone())));
        rows.push(("image", run.image.clone()));
        rows.extend(repeated(report).map(|often| ("repeated", often)));
    }
    if let Some(started) = report.started {
        rows.push(("started", started.strftime("%Y-%m-%d %H:%M UTC").to_string()));
        rows.push(("took", spoken(report.duration_ms)));
    }
    html! {
        dl.facts {
            @for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                div { dt { (fact_name(name)) } dd { (Prose(value)) } }
            }
        }
    }
}

/// The fact's name. That of a node holds the node's own name, which may be `node` too.
fn fact_name(name: &str) -> Markup {
    html! {
        @match name.strip_prefix("node ") {
            Some("node") => "node",
            Some(node) => { "node " code { (node) } },
            None => (name),
        }
    }
}

fn steps(report: &Report) -> Markup {
    if report.steps.is_empty() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Around the cases" }
            ol.steps {
                @for step in &report.steps {
                    li {
                        span { (step.step) } " "
                        @if step.failure.is_some() {
                            span.verdict.error { "failed" }
                        } @else {
                            span.verdict.pass { "done" }
                        }
                        " " time { (seconds(step.duration_ms)) }
                        @if let Some(failure) = &step.failure { p { (Prose(failure)) } }
                    }
                }
            }
        }
    }
}

fn footer(report: &Report) -> Markup {
    html! {
        footer {
            p {
                @if let Some(run) = &report.run {
                    "Run " code { (run.run) } ", nestcheck " (run.version) ", "
                    (counted(run.cases, "case")) " planned. "
                }
                "Made from " code { "events.jsonl" } ", which holds everything."
            }
        }
    }
}
