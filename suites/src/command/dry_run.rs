//! `nestcheck run --dry-run`: what a run would do.

use std::fmt::Write;

use harness::{
    Result,
    base::redact,
    engine::preview::{PlannedCase, Preview},
    sandbox::{ObjectCreator, PlannedObject},
    verdict::{Outcome, Verdict},
};

use super::{arguments::OutputFormat, print, print_text};
use crate::session::Session;

/// How the role is printed that grants what is missing, to a user of the cluster or of one namespace.
fn grant(namespace: Option<&str>) -> String {
    let place = namespace.map_or_else(String::new, |name| format!(" --namespace {name}"));
    format!(
        "an administrator grants what is missing with `nestcheck preflight --print-rbac=USER{place} | \
         kubectl apply -f -`"
    )
}

/// Prints what the run would do, and returns the exit code that it would have at best.
///
/// # Errors
///
/// The API server does not answer, or the text cannot be written.
pub(super) async fn print_preview(session: &Session, format: OutputFormat) -> Result<u8> {
    let preview = session.preview().await?;
    match format {
        OutputFormat::Text => print_text(&text(&preview, session.given()))?,
        OutputFormat::Json => print(redact::clean_document(&preview)?.as_bytes())?,
    };
    Ok(preview.outcome().exit_code())
}

fn text(preview: &Preview, namespace: Option<&str>) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for (name, value) in preview.cluster() {
        let _ = writeln!(text, "{name:18} {value}");
    }
    text.push('\n');
    text.push_str(&cases(preview));
    text.push_str(&objects(preview));
    text.push_str(&permissions(preview, namespace));
    text.push_str(&conclusion(preview));
    text
}

/// A line for each case, by suite and id. What is said of several cases is said once.
fn cases(preview: &Preview) -> String {
    let mut sorted: Vec<_> = preview.cases().iter().collect();
    sorted.sort_by_key(|case| (&case.suite, &case.id));
    let mut text = String::new();
    let mut reported: Vec<&str> = Vec::new();
    for case in sorted {
        let word = case.verdict.as_ref().map_or("run", word);
        let _ = writeln!(text, "{word:15} {:8} {}", case.id, case.name);
        let Some(message) = case.verdict.as_ref().and_then(Verdict::message) else { continue };
        if !reported.contains(&message) {
            reported.push(message);
            let _ = writeln!(text, "{:15} {message}", "");
            if let Some(hint) = hint(case) {
                let _ = writeln!(text, "{:15} hint: {hint}", "");
            }
        }
    }
    text
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::NotApplicable { .. } => "not applicable",
        Verdict::KnownIssue { .. } => "known issue",
        other => other.name(),
    }
}

fn hint(case: &PlannedCase) -> Option<&str> {
    match case.verdict.as_ref()? {
        Verdict::Fail { hint, .. } => hint.as_deref(),
        Verdict::Blocked { remedy, .. } => Some(remedy),
        _ => None,
    }
}

fn objects(preview: &Preview) -> String {
    let mut text = String::new();
    for (head, creator) in [
        ("The run would create (ID: its id):", ObjectCreator::Run),
        ("Cases may create, as far as they need it:", ObjectCreator::Case),
    ] {
        let objects = preview.objects().iter().filter(|object| object.creator == creator);
        for (number, object) in objects.enumerate() {
            if number == 0 {
                let _ = writeln!(text, "\n{head}");
            }
            text.push_str(&line_of(object));
        }
    }
    if text.is_empty() { "\nThe run would create nothing.\n".to_owned() } else { text }
}

fn line_of(object: &PlannedObject) -> String {
    let image = object.image.as_ref().map_or_else(String::new, |image| format!("  image {image}"));
    format!("{:26} {object}{image}\n", object.kind)
}

fn permissions(preview: &Preview, namespace: Option<&str>) -> String {
    let mut text = String::new();
    let all = preview.permissions();
    if all.is_empty() {
        return text;
    }
    text.push_str("\nThe run would use these permissions:\n");
    for permission in all {
        let mark = match (permission.granted, permission.required) {
            (true, _) => "yes",
            (false, true) => "no",
            (false, false) => "?",
        };
        let _ = writeln!(text, "{mark:4} {}", permission.permission);
        if !permission.granted {
            let without =
                if permission.required { "the run cannot begin" } else { "a fact stays unknown" };
            let _ = writeln!(text, "     {} Without it, {without}.", permission.why);
        }
    }
    if all.iter().any(|permission| !permission.granted) {
        let _ = writeln!(text, "     hint: {}", grant(namespace));
    }
    text
}

fn conclusion(preview: &Preview) -> String {
    let runs = preview.cases().iter().filter(|case| case.runs).count();
    let all = preview.cases().len();
    let often = match preview.iterations() {
        1 => String::new(),
        often => format!(", {often} times each"),
    };
    let outcome = preview.outcome();
    let best = match outcome {
        Outcome::Error => "the run cannot begin: permissions are missing".to_owned(),
        other => format!("the best outcome is {}", other.name()),
    };
    format!(
        "\n{runs} of {all} cases of profile {} would run{often}; {best} (exit code {})\n",
        preview.profile(),
        outcome.exit_code()
    )
}
