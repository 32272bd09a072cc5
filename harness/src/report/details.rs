//! One case's evidence as plain text, shared by every format that prints text.

use std::fmt::Write as _;

use super::{
    iterations::iterations,
    model::CaseReport,
    text::{seconds, shell},
};
use crate::verdict::{
    Cause, ExpectedVerdict, Verdict,
    event::{CaseDisrupted, CaseRetried, CommandFinished, TruthCheck},
};

/// The most commands that a case shows; the last ones tell why it ended.
const MOST_COMMANDS: usize = 20;

/// The verdict's message: what went wrong, or why it was not tried.
pub(super) fn message(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail { message, .. } | Verdict::Error { message } => message.clone(),
        Verdict::Blocked { reason, .. } => format!("blocked: {reason}"),
        Verdict::NotApplicable { reason } => format!("not applicable: {reason}"),
        Verdict::KnownIssue { message, expectation: Some(expectation), .. } => {
            let what = match expectation.verdict {
                ExpectedVerdict::Fail => "known issue",
                ExpectedVerdict::Blocked => "known issue, blocked",
            };
            format!("{what}: {message} (expected: {})", expectation.reason)
        }
        Verdict::KnownIssue { signature, message, expectation: None, .. } => {
            format!("known issue {signature}: {message}")
        }
        Verdict::Interrupted => "the run ended before the case did".to_owned(),
    }
}

/// What the reader can do about the verdict, if that is known.
pub(super) fn hint(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Fail { hint, .. } => hint.as_deref(),
        Verdict::Blocked { remedy, .. } => Some(remedy.as_str()),
        _ => None,
    }
    .filter(|hint| !hint.is_empty())
}

/// A case's message, hint, truth checks and commands, as plain text.
#[must_use]
pub fn details(case: &CaseReport) -> String {
    details_with(case, hint(&case.case.verdict).map(|hint| format!("hint: {hint}")))
}

/// As [`details`], below a list of causes: the cause's id replaces a hint that the list has.
pub(super) fn details_below_causes(case: &CaseReport, listed: Option<&Cause>) -> String {
    let pointer = listed.map(|listed| format!("cause: {}", listed.id));
    let hint = hint(&case.case.verdict).map(|hint| format!("hint: {hint}"));
    let is_reported = listed.is_some_and(|listed| listed.fix.is_some());
    let parts: Vec<_> = pointer.into_iter().chain(hint.filter(|_| !is_reported)).collect();
    details_with(case, (!parts.is_empty()).then(|| parts.join("\n")))
}

fn details_with(case: &CaseReport, fix: Option<String>) -> String {
    let mut parts = vec![message(&case.case.verdict)];
    parts.extend(fix);
    parts.extend(iterations(case));
    parts.extend(others(case));
    parts.extend(case.retries.iter().map(retry));
    parts.extend(case.disruptions.iter().map(wait));
    parts.extend(evidence(case));
    parts.extend(files(case));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// What other reports say of the case, where reports were joined and do not agree.
pub(super) fn others(case: &CaseReport) -> Option<String> {
    let others = case.other_results.iter();
    let others: Vec<_> =
        others.map(|other| format!("{} in `{}`", other.verdict, other.report)).collect();
    let start = if case.is_flaky() { "it did not hold every time" } else { "other reports differ" };
    (!others.is_empty()).then(|| format!("{start}: {}", others.join(", ")))
}

/// An attempt that a disruption ended.
pub(super) fn retry(retried: &CaseRetried) -> String {
    let CaseRetried { attempt, disruption, .. } = retried;
    format!("attempt {attempt} had no verdict: {disruption}: {}", disruption.reason)
}

/// Another disruption that hit the case.
pub(super) fn wait(hit: &CaseDisrupted) -> String {
    let CaseDisrupted { effect, disruption, .. } = hit;
    format!("{}: {disruption}: {}", effect.name(), disruption.reason)
}

/// Truth checks and commands, if there are any.
pub(super) fn evidence(case: &CaseReport) -> Vec<String> {
    let mut parts = Vec::new();
    if !case.truth_checks.is_empty() {
        let checks: Vec<String> = case.truth_checks.iter().map(check).collect();
        parts.push(format!("truth checks:\n{}", indented(&checks.join("\n"), 2)));
    }
    if !case.commands.is_empty() {
        let (earlier, shown) = last_commands(case);
        let mut commands: Vec<String> = shown.iter().map(command).collect();
        if earlier > 0 {
            commands.insert(0, format!("({earlier} earlier commands left out)"));
        }
        parts.push(format!("commands:\n{}", indented(&commands.join("\n"), 2)));
    }
    parts
}

/// Where the files about it are, if there are any.
pub(super) fn files(case: &CaseReport) -> Option<String> {
    let evidence = case.evidence.as_ref()?;
    let mut text = format!("files about it in {} of the report directory:", evidence.directory);
    for file in &evidence.files {
        let _ = write!(text, "\n  {} ({} bytes)", file.name, file.bytes);
    }
    for missing in &evidence.missing {
        let _ = write!(text, "\n  missing: {missing}");
    }
    Some(text)
}

/// How many commands are left out, and the ones that are not.
pub(super) fn last_commands(case: &CaseReport) -> (usize, &[CommandFinished]) {
    let earlier = case.commands.len().saturating_sub(MOST_COMMANDS);
    (earlier, &case.commands[earlier..])
}

/// The proofs of a pass, one line each.
pub(super) fn proofs(case: &CaseReport) -> String {
    if case.truth_checks.is_empty() {
        return "no truth check is in the log".to_owned();
    }
    case.truth_checks.iter().map(check).collect::<Vec<_>>().join("\n")
}

fn check(check: &TruthCheck) -> String {
    if check.holds {
        format!("ok {}: {}", check.name, check.observed)
    } else {
        format!(
            "NOT {}\n  expected: {}\n  observed: {}",
            check.name, check.expected, check.observed
        )
    }
}

fn command(command: &CommandFinished) -> String {
    let mut text = format!("$ {}\n", shell(&command.command));
    let (pod, code) = (&command.pod, command.exit_code);
    let _ = write!(text, "  exit code {code} in pod {pod} after {}", seconds(command.duration_ms));
    for (name, output) in [("stdout", &command.stdout), ("stderr", &command.stderr)] {
        if !output.is_empty() {
            let _ = write!(text, "\n  {name}:\n{}", indented(output, 4));
        }
    }
    text
}

/// Indents each line that is not empty.
pub(super) fn indented(text: &str, by: usize) -> String {
    let indent = |line: &str| {
        if line.is_empty() { String::new() } else { format!("{:by$}{line}", "") }
    };
    text.lines().map(indent).collect::<Vec<_>>().join("\n")
}
