//! The run as one self-contained page: no scripts, nothing fetched, readable without its style.
//!
//! Some servers (Jenkins) show pages without their style sheet, so the markup alone must read
//! well: headings, lists, tables, and verdicts as words.

mod cases;
mod page;

use self::page::Page;
use super::{
    model::Report,
    sentence::{headline, outcome_name, reasons, retried},
    text::{counted, seconds, spoken},
};
use crate::outcome::Outcome;

/// The run as `index.html`.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = Page::default();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    // Should an escape ever be missed, a pod's text still runs and fetches nothing.
    page.raw("<meta http-equiv=\"Content-Security-Policy\" ");
    page.raw("content=\"default-src 'none'; style-src 'unsafe-inline'\">\n");
    page.raw("<title>").text(outcome_name(report.outcome)).raw(" · nestcheck</title>\n<style>\n");
    page.raw(include_str!("html/style.css")).raw("</style>\n</head>\n<body>\n");
    header(&mut page, report);
    page.raw("<main>\n");
    cases::troubles(&mut page, report);
    cases::blocked(&mut page, report);
    cases::suites(&mut page, report);
    steps(&mut page, report);
    page.raw("</main>\n");
    footer(&mut page, report);
    page.raw("</body>\n</html>\n");
    page.finish()
}

/// The style of an outcome, by how much it should worry.
fn tone(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Conformant) => "good",
        Some(Outcome::Partial | Outcome::Interrupted { .. }) => "doubt",
        Some(Outcome::NotConformant | Outcome::Error | Outcome::Leaked) | None => "bad",
    }
}

fn header(page: &mut Page, report: &Report) {
    page.raw("<header class=\"").raw(tone(report.outcome)).raw("\">\n<p class=\"brand\">nestcheck");
    if let Some(run) = &report.run {
        page.raw(" <span>profile ").text(&run.profile).raw("</span>");
    }
    let headline = headline(report);
    // The verdict stands out, its explanation follows in the same sentence.
    let (verdict, rest) = headline.split_once(':').unwrap_or((&headline, ""));
    page.raw("</p>\n<h1><b>").text(verdict).raw("</b>");
    if !rest.is_empty() {
        page.raw("<span class=\"colon\">:</span> <span>").text(rest.trim_start()).raw("</span>");
    }
    page.raw("</h1>\n");
    let mut reasons = reasons(report);
    reasons.extend(retried(report));
    if !reasons.is_empty() {
        page.raw("<ul class=\"reasons\">\n");
        for reason in reasons {
            page.raw("<li>").prose(&reason).raw("</li>\n");
        }
        page.raw("</ul>\n");
    }
    counts(page, report);
    facts(page, report);
    page.raw("</header>\n");
}

fn counts(page: &mut Page, report: &Report) {
    /// The styles of the entries of `Counts::entries`, in its order.
    const TONES: [&str; 7] = ["pass", "fail", "error", "error", "blocked", "known", "quiet"];

    let shown = || report.counts.entries().into_iter().zip(TONES).filter(|((_, n), _)| *n > 0);
    if report.counts.total() == 0 {
        page.raw("<p class=\"legend\">The log holds no case</p>\n");
        return;
    }
    page.raw("<div class=\"bar\" aria-hidden=\"true\">");
    for ((_, count), tone) in shown() {
        page.raw("<i class=\"").raw(tone).raw("\" style=\"flex-grow:").number(count).raw("\"></i>");
    }
    page.raw("</div>\n<ul class=\"legend\">\n<li><b>").number(report.counts.total());
    page.raw("</b> ").raw(if report.counts.total() == 1 { "case" } else { "cases" }).raw("</li>\n");
    for ((name, count), tone) in shown() {
        page.raw("<li class=\"").raw(tone).raw("\"><b>").number(count).raw("</b> ").raw(name);
        page.raw("</li>\n");
    }
    page.raw("</ul>\n");
}

fn facts(page: &mut Page, report: &Report) {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(run) = &report.run {
        rows.extend(run.cluster.iter().map(|(name, value)| (name.as_str(), value.clone())));
        rows.push(("image", run.image.clone()));
    }
    if let Some(started) = report.started {
        rows.push(("started", started.strftime("%Y-%m-%d %H:%M UTC").to_string()));
        rows.push(("took", spoken(report.duration_ms)));
    }
    page.raw("<dl class=\"facts\">\n");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        page.raw("<div><dt>").text(name).raw("</dt><dd>").text(value).raw("</dd></div>\n");
    }
    page.raw("</dl>\n");
}

fn steps(page: &mut Page, report: &Report) {
    if report.steps.is_empty() {
        return;
    }
    page.raw("<section>\n<h2>Around the cases</h2>\n<ol class=\"steps\">\n");
    for step in &report.steps {
        page.raw("<li><span>").text(&step.step).raw("</span> ");
        if let Some(failure) = &step.failure {
            page.raw("<span class=\"verdict error\">failed</span> <time>");
            page.text(&seconds(step.duration_ms)).raw("</time>\n<p>").prose(failure).raw("</p>");
        } else {
            page.raw("<span class=\"verdict pass\">done</span> <time>");
            page.text(&seconds(step.duration_ms)).raw("</time>");
        }
        page.raw("</li>\n");
    }
    page.raw("</ol>\n</section>\n");
}

fn footer(page: &mut Page, report: &Report) {
    page.raw("<footer>\n<p>");
    if let Some(run) = &report.run {
        page.raw("Run <code>").text(&run.run).raw("</code>, nestcheck ").text(&run.version);
        page.raw(", ").text(&counted(run.cases, "case")).raw(" planned. ");
    }
    page.raw("Made from <code>events.jsonl</code>, which holds everything.</p>\n</footer>\n");
}
