//! What the reports that people read say of a cause.

use std::collections::{HashMap, HashSet};

use super::{
    model::{CaseReport, Report},
    text::counted,
};
use crate::{
    base::text::one_line,
    diagnosis,
    verdict::{Cause, Place, SignatureId, Step, Verdict, event::StepFinished},
};

/// The cause in one line: what is wrong, its id, and where it is wrong.
pub(super) fn title(cause: &Cause) -> String {
    format!("{} ({})", cause.wrong, origin(cause))
}

/// The cause's id, and where it is wrong, where that is known.
pub(super) fn origin(cause: &Cause) -> String {
    match cause.place {
        Place::Unknown => cause.id.clone(),
        place => format!("{}, {}", cause.id, place.name()),
    }
}

/// What was seen of it, unless that is only what is wrong.
pub(super) fn evidence(cause: &Cause) -> Option<&str> {
    let evidence = cause.evidence.as_str();
    (!evidence.is_empty() && evidence != one_line(&cause.wrong)).then_some(evidence)
}

/// How many cases it explains: `explains 47 failures, 31 of them core`.
pub(super) fn explains(report: &Report, cause: &Cause) -> String {
    let verdicts = || cases(report, cause).map(|case| explained(case, cause));
    let count = |wanted: fn(&Verdict) -> bool| verdicts().filter(|it| wanted(it)).count();
    let parts = [
        (count(|it| matches!(it, Verdict::Fail { .. })), "failure"),
        (count(|it| matches!(it, Verdict::Error { .. })), "error"),
        (count(|it| matches!(it, Verdict::Interrupted)), "interrupted case"),
        (count(|it| matches!(it, Verdict::Blocked { .. })), "blocked case"),
        (count(|it| matches!(it, Verdict::KnownIssue { .. })), "known issue"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, noun)| counted(count, noun)).collect();
    let core = match (cause.cases.len(), cause.core) {
        (_, 0) => "none of them core".to_owned(),
        (1, _) => "a core case".to_owned(),
        (all, core) if all == core => "all of them core".to_owned(),
        (_, core) => format!("{core} of them core"),
    };
    let core = if cause.cases.len() == 1 && cause.core == 0 { "not core" } else { &core };
    format!("explains {}, {core}", parts.join(" and "))
}

/// The verdict of a case that a cause explains: the one that stands, or that of an iteration.
fn explained<'a>(of: &'a CaseReport, cause: &Cause) -> &'a Verdict {
    let mut verdicts = of.verdicts();
    verdicts.find(|it| diagnosis::is_cause_of(cause, it)).unwrap_or(&of.case.verdict)
}

/// The causes of the cases of a report, for who asks for many of them.
pub(super) struct CausesOfCases<'a>(HashMap<&'a str, &'a Cause>);

impl<'a> CausesOfCases<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let mut of_id: HashMap<&str, Vec<&Cause>> = HashMap::new();
        for cause in &report.causes {
            for id in &cause.cases {
                of_id.entry(id).or_default().push(cause);
            }
        }
        let own = report.cases.iter().filter_map(|case| {
            let causes = of_id.get(case.case.id.as_str())?.iter().copied();
            let cause = diagnosis::cause_among(causes, Some(&case.case.verdict))?;
            Some((case.case.id.as_str(), cause))
        });
        Self(own.collect())
    }

    /// As [`Report::cause_of`].
    pub(super) fn cause_of(&self, id: &str) -> Option<&'a Cause> {
        self.0.get(id).copied()
    }
}

/// The cases that a cause explains.
pub(super) fn cases<'a>(
    report: &'a Report,
    cause: &'a Cause,
) -> impl Iterator<Item = &'a CaseReport> {
    let ids: HashSet<_> = cause.cases.iter().collect();
    report.cases.iter().filter(move |case| ids.contains(&case.case.id))
}

/// Whether the run never got a pod because its image is missing. Then little else is of interest.
pub(super) fn lacks_image(report: &Report) -> bool {
    let is_missing = |cause: &Cause| cause.signature == Some(SignatureId::F55);
    let is_ready =
        |step: &StepFinished| matches!(step.step, Step::Pod { .. }) && step.failure.is_none();
    report.causes.first().is_some_and(is_missing) && !report.steps.iter().any(is_ready)
}
