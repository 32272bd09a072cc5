//! The words of the terminal reporter.

use std::fmt::Write as _;

use console::Style;

use crate::{
    report::{
        causes::{cases, evidence, explains, lacks_image, title},
        details::{indented, message},
        iterations::{iterations, repeated},
        model::{CaseReport, Report},
        sentence::{disruptions, expectations, further_reasons, headline, signal_name},
        text::{self, LINE_LIMIT, block, counted, is_inside, names},
    },
    verdict::{
        Cause, Disruption, Outcome, Verdict,
        event::{CaseFinished, CaseRetried, DisruptionEnded, EventKind, RunStarted, StepFinished},
    },
};

/// The width of the column of verdicts.
const COLUMN: usize = 12;

/// How far what belongs to a line is indented below it.
const INDENT: usize = COLUMN + 1;

/// How many ids of blocked cases are named.
const MOST_NAMES: usize = 12;

/// How many cases of a cause have a line of their own; of more, the ids are named.
const MOST_LINES: usize = 5;

/// Puts events into lines, in colour or not.
pub(super) struct Paint {
    good: Style,
    bad: Style,
    caution: Style,
    strong: Style,
    faint: Style,
    hint: Style,
}

impl Paint {
    pub(super) fn new(color: bool) -> Self {
        // Forced either way: the caller knows about NO_COLOR and terminals, console would guess.
        let style = || Style::new().force_styling(color);
        Self {
            good: style().green().bold(),
            bad: style().red().bold(),
            caution: style().yellow().bold(),
            strong: style().bold(),
            faint: style().dim(),
            hint: style().cyan().bold(),
        }
    }

    /// The lines of one event; none for what is reported at the end or not at all. `is_reported` says
    /// whether an earlier event had the same reason: then one line is enough.
    pub(super) fn event(
        &self,
        event: &EventKind,
        iteration: Option<u32>,
        is_reported: bool,
    ) -> String {
        match event {
            EventKind::RunStarted(run) => self.run_started(run),
            EventKind::StepFinished(step) => self.step(step, is_reported),
            EventKind::CaseRetried(retried) => self.case_retried(retried),
            EventKind::DisruptionStarted(disruption) => self.disruption_started(disruption),
            EventKind::DisruptionEnded(ended) => self.disruption_ended(ended),
            EventKind::CaseFinished(case) => self.case_finished(case, iteration, is_reported),
            EventKind::Interrupted { signal } => {
                format!(
                    "{} by {}, cleaning up\n",
                    head(&self.caution, "Interrupted"),
                    signal_name(*signal)
                )
            }
            EventKind::CaseStarted { .. }
            | EventKind::TruthChecked { .. }
            | EventKind::CaseDisrupted(_)
            | EventKind::CommandFinished(_)
            | EventKind::EvidenceCollected(_) => String::new(),
            EventKind::RunFinished { namespace, .. } => self.facts("Namespace", namespace),
        }
    }

    /// A line about what runs now.
    pub(super) fn running(&self, line: &str) -> String {
        format!("{} {line}\n", head(&self.faint, "Running"))
    }

    fn run_started(&self, run: &RunStarted) -> String {
        let mut text = format!(
            "{} {}{} of profile {} (run {}, nestcheck {})\n",
            head(&self.good, "Starting"),
            self.strong.apply_to(counted(run.cases, "case")),
            run.repeat.map_or_else(String::new, |often| format!(", {often} times each,")),
            self.strong.apply_to(&run.profile),
            run.run,
            run.version,
        );
        let word = if is_inside(run) { "Machine" } else { "Cluster" };
        text.push_str(&self.facts(word, &run.cluster));
        if !run.image.is_empty() {
            let head = head(&self.good, "Image");
            let _ = writeln!(text, "{head} {}", run.image);
        }
        text
    }

    /// Facts, a line each, the first with a word before it.
    fn facts(&self, word: &str, facts: &[(String, String)]) -> String {
        let mut text = String::new();
        let mut word = word;
        for (fact, value) in facts {
            let head = head(&self.good, std::mem::take(&mut word));
            let _ = writeln!(text, "{head} {fact}: {value}");
        }
        text
    }

    fn step(&self, step: &StepFinished, is_reported: bool) -> String {
        let (style, word) = match step.failure {
            None => (&self.good, "DONE"),
            Some(_) => (&self.bad, "ERROR"),
        };
        let mut text = format!("{} {} {}\n", head(style, word), clock(step.duration_ms), step.step);
        if let Some(failure) = step.failure.as_ref().filter(|_| !is_reported) {
            text.push_str(&below(failure));
        }
        text
    }

    fn case_finished(
        &self,
        case: &CaseFinished,
        iteration: Option<u32>,
        is_reported: bool,
    ) -> String {
        let of_iteration = iteration.map(|number| format!(" (iteration {number})"));
        let line = || self.case_line(case, of_iteration.as_deref().unwrap_or_default());
        match &case.verdict {
            // These did not run; the end tells them by reason instead of one by one.
            Verdict::Blocked { .. } | Verdict::NotApplicable { .. } => String::new(),
            Verdict::Pass => line(),
            _ if is_reported => line(),
            verdict => line() + &below(&block(&message(verdict), LINE_LIMIT)),
        }
    }

    fn case_retried(&self, retried: &CaseRetried) -> String {
        let tries = retried.attempt.saturating_add(1);
        let id = self.strong.apply_to(&retried.id);
        let text = format!("{}: {}", retried.disruption, retried.disruption.reason);
        format!("{} {id}, try {tries}\n", head(&self.caution, "RETRY")) + &below(&text)
    }

    fn disruption_started(&self, disruption: &Disruption) -> String {
        let since = disruption
            .since
            .map_or_else(String::new, |since| format!(" since {} UTC", since.strftime("%H:%M:%S")));
        let subject = self.strong.apply_to(disruption.subject());
        let head = head(&self.caution, "LOST");
        format!("{head} {subject} does not answer{since}; waiting\n") + &below(&disruption.reason)
    }

    fn disruption_ended(&self, ended: &DisruptionEnded) -> String {
        let subject = self.strong.apply_to(ended.disruption.subject());
        let seconds = ended.disruption.duration_ms().unwrap_or_default() / 1000;
        if ended.is_back {
            format!("{} {subject} is back after {seconds} s\n", head(&self.good, "BACK"))
        } else {
            let head = head(&self.bad, "GIVEN UP");
            format!("{head} {subject} is not back after {seconds} s (`--disruption-timeout`)\n")
        }
    }

    fn case_line(&self, case: &CaseFinished, more: &str) -> String {
        let (style, word) = match case.verdict {
            Verdict::Pass => (&self.good, "PASS"),
            Verdict::Fail { .. } => (&self.bad, "FAIL"),
            Verdict::Error { .. } => (&self.bad, "ERROR"),
            Verdict::Interrupted => (&self.caution, "INTERRUPTED"),
            Verdict::KnownIssue { .. } => (&self.caution, "KNOWN ISSUE"),
            Verdict::Blocked { .. } => (&self.caution, "BLOCKED"),
            Verdict::NotApplicable { .. } => (&self.faint, "N/A"),
        };
        let (id, name) = (&case.id, &case.name);
        // A case that the log cuts off has no name but its id.
        let name =
            if name == id { String::new() } else { format!(" {}", self.faint.apply_to(name)) };
        let id = self.strong.apply_to(id);
        format!("{} {} {id}{name}{more}\n", head(style, word), clock(case.duration_ms))
    }

    /// What the run came to: what a reader must look at, what was blocked, the numbers.
    pub(super) fn summary(&self, report: &Report) -> String {
        let mut text = format!("{}\n", "─".repeat(COLUMN));
        let (shown, rest) = match report.causes.split_first() {
            Some((image, rest)) if lacks_image(report) => (std::slice::from_ref(image), rest),
            _ => (report.causes.as_slice(), &[][..]),
        };
        for cause in shown {
            text.push_str(&self.cause(report, cause));
        }
        if !rest.is_empty() {
            let cases = rest.iter().map(|cause| cause.cases.len()).sum();
            let (rest, cases) = (counted(rest.len(), "other cause"), counted(cases, "case"));
            text.push_str(&below(&format!("{rest} of {cases}: see the report directory")));
        }
        let _ = writeln!(
            text,
            "{} {} {}",
            head(&self.outcome_style(report.outcome), "Summary"),
            clock(report.duration_ms),
            self.counts(report)
        );
        let style = self.outcome_style(report.outcome);
        let headline = headline(report);
        let _ = writeln!(
            text,
            "{} {}: {}",
            head(&style, "Outcome"),
            style.apply_to(headline.outcome),
            headline.meaning
        );
        let texts = further_reasons(report).into_iter().chain(disruptions(report));
        for text_below in texts.chain(expectations(report)) {
            text.push_str(&below(&text_below));
        }
        text
    }

    /// A cause, and the cases that it explains.
    fn cause(&self, report: &Report, cause: &Cause) -> String {
        let (lined, rest): (Vec<_>, Vec<_>) =
            cases(report, cause).partition(|case| has_line(&case.case.verdict));
        let is_short = lined.len() <= MOST_LINES;
        let named = lined.iter().filter(|_| !is_short).chain(&rest);
        let ids: Vec<_> = named.map(|case: &&CaseReport| case.case.id.as_str()).collect();
        let is_trouble = lined.iter().any(|case| case.is_trouble());
        let style = if is_trouble { &self.bad } else { &self.caution };
        let mut text = format!("{} {}\n", head(style, "CAUSE"), title(cause));
        let mut explained = explains(report, cause);
        if !ids.is_empty() {
            let _ = write!(explained, ": {}", names(ids, MOST_NAMES));
        }
        text.push_str(&below(&explained));
        if let Some(evidence) = evidence(cause) {
            text.push_str(&below(&format!("seen: {evidence}")));
        }
        if let Some(fix) = &cause.fix {
            text.push_str(&below(&format!("{} {fix}", self.hint.apply_to("hint:"))));
        }
        for case in lined.iter().filter(|_| is_short) {
            let iterations = iterations(case).map_or_else(String::new, |it| format!(" ({it})"));
            text.push_str(&self.case_line(&case.case, &iterations));
        }
        if lacks_image(report) { text } else { text + "\n" }
    }

    fn counts(&self, report: &Report) -> String {
        let counts = &report.counts;
        let parts: Vec<String> = counts
            .entries()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(word, count)| {
                let style = match word {
                    "passed" => &self.good,
                    "failed" | "broke" => &self.bad,
                    "not applicable" => &self.faint,
                    _ => &self.caution,
                };
                format!("{} {}", self.strong.apply_to(count), style.apply_to(word))
            })
            .collect();
        let total = self.strong.apply_to(counts.total());
        let noun = if counts.total() == 1 { "case" } else { "cases" };
        let often = repeated(report).map_or_else(String::new, |it| format!(" in {it}"));
        if parts.is_empty() {
            format!("{total} {noun}{often}")
        } else {
            format!("{total} {noun}{often}: {}", parts.join(", "))
        }
    }

    fn outcome_style(&self, outcome: Option<Outcome>) -> Style {
        match outcome {
            Some(Outcome::Conformant) => self.good.clone(),
            Some(Outcome::Partial | Outcome::Interrupted { .. }) => self.caution.clone(),
            _ => self.bad.clone(),
        }
    }
}

/// Whether a case of this verdict has a line of its own: it ran.
fn has_line(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Blocked { .. } | Verdict::NotApplicable { .. })
}

/// A word in the column of verdicts, padded before it is coloured: colours are characters too.
fn head(style: &Style, word: &str) -> String {
    style.apply_to(format!("{word:>COLUMN$}")).to_string()
}

/// A duration in the column of durations.
fn clock(duration_ms: u64) -> String {
    format!("[{:>9}]", text::seconds(duration_ms))
}

/// A text below a line, in line with its name.
fn below(text: &str) -> String {
    if text.is_empty() { String::new() } else { indented(text, INDENT) + "\n" }
}
