//! Failures that a person expects: which cases they turn into known issues, and which entries
//! somebody has to change. Pure functions.

mod load;
#[cfg(test)]
mod tests;
mod versions;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use regex::Regex;

pub use self::load::{EXPRESSION_LIMIT, PLACEHOLDER};
use self::versions::Versions;
use super::causes::{CauseKey, attribution};
use crate::{
    facts::{Facts, Flavour},
    verdict::{
        Acceptance, Attribution, ExpectationEntry, ExpectationReport, ExpectationResult,
        ExpectationState, ExpectedVerdict, Verdict, event::CaseFinished,
    },
};

/// The entries of a file of expectations.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    entries: Vec<Expectation>,
    /// Whether an entry that somebody has to change makes the run not conformant.
    pub strict: bool,
}

/// One entry, understood.
#[derive(Clone, Debug)]
struct Expectation {
    line: usize,
    entry: ExpectationEntry,
    subject: Subject,
    message: Option<Regex>,
    flavour: Option<Flavour>,
    versions: Option<Versions>,
    until: Option<Date>,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Case(String),
    Cause(CauseKey),
}

/// Where and when a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    flavour: Option<Flavour>,
    /// The release of OpenShift or MicroShift, and elsewhere the version of Kubernetes.
    version: Option<String>,
    today: Date,
}

impl Situation {
    /// The situation on a cluster with these facts, at this time.
    #[must_use]
    pub fn new(facts: &Facts, now: Timestamp) -> Self {
        let flavour = facts.flavour.value().copied();
        let version = match flavour {
            Some(Flavour::OpenShift | Flavour::MicroShift) => {
                facts.release.value().and_then(Option::as_ref).map(ToString::to_string)
            }
            Some(Flavour::Kubernetes) => Some(facts.version.full.clone()),
            None => None,
        };
        Self { flavour, version, today: now.to_zoned(TimeZone::UTC).date() }
    }

    fn describe(&self) -> String {
        let flavour =
            self.flavour.map_or_else(|| "of unknown flavour".to_owned(), |it| it.to_string());
        format!("{flavour} {}", self.version.as_deref().unwrap_or("of unknown version"))
    }
}

/// A case that did not pass, as expectations see it.
struct Observed<'a> {
    id: &'a str,
    verdict: ExpectedVerdict,
    message: &'a str,
    cause: Attribution,
}

impl<'a> Observed<'a> {
    /// A case that failed or is blocked, whether it is expected or not. What nestcheck itself knows
    /// as an issue is not among them, and an error never is.
    fn of(case: &'a CaseFinished) -> Option<Self> {
        let (verdict, message) = match &case.verdict {
            Verdict::Fail { message, .. } => (ExpectedVerdict::Fail, message),
            Verdict::Blocked { reason, .. } => (ExpectedVerdict::Blocked, reason),
            Verdict::KnownIssue { message, expectation: Some(it), .. } => (it.verdict, message),
            _ => return None,
        };
        Some(Self { id: &case.id, verdict, message, cause: attribution(&case.verdict)? })
    }
}

impl Expectation {
    /// Why the entry is not for this situation, with its state; none where it is.
    fn unused(&self, situation: &Situation) -> Option<(ExpectationState, String)> {
        let is_flavour = self.flavour.is_none() || self.flavour == situation.flavour;
        let is_version = self.versions.as_ref().is_none_or(|versions| {
            situation.version.as_deref().and_then(|version| versions.has(version)) == Some(true)
        });
        if !is_flavour || !is_version {
            let bounds = [self.entry.flavour.as_deref(), self.entry.versions.as_deref()];
            let bounds = bounds.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let detail =
                format!("it is for {bounds}, and this cluster is {}", situation.describe());
            return Some((ExpectationState::NotChecked, detail));
        }
        let until = self.until.filter(|until| *until < situation.today)?;
        Some((ExpectationState::Expired, format!("its last day was {until}")))
    }

    fn is_about(&self, observed: &Observed<'_>) -> bool {
        match &self.subject {
            Subject::Case(id) => id == observed.id,
            Subject::Cause(key) => key.includes(&observed.cause),
        }
    }

    fn fits(&self, observed: &Observed<'_>) -> bool {
        self.entry.verdict == observed.verdict
            && self.is_about(observed)
            && self.message.as_ref().is_none_or(|message| message.is_match(observed.message))
    }

    /// What became of the entry in a run.
    fn result(
        &self,
        situation: &Situation,
        cases: &[CaseFinished],
        is_whole: bool,
    ) -> ExpectationResult {
        let result = |state, cases, detail| ExpectationResult {
            line: self.line,
            entry: self.entry.clone(),
            state,
            cases,
            detail,
        };
        if let Some((state, detail)) = self.unused(situation) {
            return result(state, Vec::new(), Some(detail));
        }
        let observed: Vec<_> = cases.iter().filter_map(Observed::of).collect();
        let fitting = observed.iter().filter(|it| self.fits(it)).map(|it| it.id.to_owned());
        let mut fitting: Vec<_> = fitting.collect();
        if !fitting.is_empty() {
            fitting.sort();
            return result(ExpectationState::Used, fitting, None);
        }
        let (state, detail) = match &self.subject {
            Subject::Case(id) => self.without_its_case(id, cases),
            Subject::Cause(_) => self.without_its_cause(&observed, cases, is_whole),
        };
        result(state, Vec::new(), Some(detail))
    }

    fn without_its_case(&self, id: &str, cases: &[CaseFinished]) -> (ExpectationState, String) {
        use ExpectationState::{NoMatch, NotChecked, Stale};

        let Some(case) = cases.iter().find(|case| case.id == *id) else {
            return (NotChecked, format!("{id} was not selected"));
        };
        match (&case.verdict, Observed::of(case).map(|observed| observed.verdict)) {
            (_, Some(verdict)) if verdict == self.entry.verdict => {
                let what = if verdict == ExpectedVerdict::Fail { "fails" } else { "is blocked" };
                (NoMatch, format!("{id} {what} with another message"))
            }
            (_, Some(ExpectedVerdict::Fail)) => {
                (NoMatch, format!("{id} fails, and the entry expects that it is blocked"))
            }
            (_, Some(ExpectedVerdict::Blocked)) => (NotChecked, format!("{id} is blocked")),
            (Verdict::Pass, _) => (Stale, format!("{id} passes")),
            (Verdict::KnownIssue { signature, .. }, _) => {
                (Stale, format!("nestcheck itself knows this issue of {id} as {signature}"))
            }
            (Verdict::NotApplicable { .. }, _) => (NotChecked, format!("{id} is not applicable")),
            _ => (NotChecked, format!("{id} has no verdict")),
        }
    }

    fn without_its_cause(
        &self,
        observed: &[Observed<'_>],
        cases: &[CaseFinished],
        is_whole: bool,
    ) -> (ExpectationState, String) {
        let similar = observed.iter().find(|observed| self.is_about(observed));
        if let Some(observed) = similar {
            let detail = format!(
                "{} has this cause, but another verdict or message: {}",
                observed.id,
                observed.verdict.name()
            );
            return (ExpectationState::NoMatch, detail);
        }
        let is_undecided = |case: &CaseFinished| {
            matches!(case.verdict, Verdict::Error { .. } | Verdict::Interrupted)
        };
        if is_whole && !cases.iter().any(is_undecided) {
            (ExpectationState::Stale, "no case has this cause".to_owned())
        } else {
            let detail = "no case has this cause, and not every case of the profile has a verdict";
            (ExpectationState::NotChecked, detail.to_owned())
        }
    }
}

impl Expectations {
    /// The verdict of a case: that of the case itself, unless it is expected.
    #[must_use]
    pub fn decide(&self, situation: &Situation, case: &CaseFinished) -> Verdict {
        let expected = Observed::of(case).and_then(|observed| {
            let mut active = self.entries.iter().filter(|it| it.unused(situation).is_none());
            active.find(|entry| entry.fits(&observed)).map(|entry| (observed, entry))
        });
        let Some((observed, entry)) = expected else { return case.verdict.clone() };
        Verdict::expected(
            observed.message,
            observed.cause,
            Acceptance {
                verdict: observed.verdict,
                reason: entry.entry.reason.clone(),
                line: entry.line,
            },
        )
    }

    /// What became of the entries in a run. `is_whole` says whether all cases of the cluster's own
    /// profile could run: only then nestcheck reports a cause that no case has.
    #[must_use]
    pub fn report(
        &self,
        situation: &Situation,
        cases: &[CaseFinished],
        is_whole: bool,
    ) -> ExpectationReport {
        let results = self.entries.iter().map(|entry| entry.result(situation, cases, is_whole));
        ExpectationReport { strict: self.strict, entries: results.collect() }
    }
}
