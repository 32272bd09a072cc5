//! What a case and a run came to.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acceptance, Attribution, Place, Repair, SignatureId};
use crate::Error;

/// How much a case weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Needed for conformance.
    Core,
    /// Counts against conformance when it fails, but may be blocked.
    Extended,
    /// Reported, never decisive.
    Informing,
}

impl Level {
    /// Every level, the one that weighs most first.
    pub const ALL: [Self; 3] = [Self::Core, Self::Extended, Self::Informing];

    /// The level's name, as the reports print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Extended => "extended",
            Self::Informing => "informing",
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = Self::ALL.into_iter().find(|level| level.name() == text);
        named.ok_or_else(|| {
            Error::usage(format!("unknown level `{text}`"))
                .with_hint("the levels are `core`, `extended` and `informing`")
        })
    }
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The assertion holds, proven in the pod.
    Pass,
    /// The product does not do what the case asserts.
    Fail {
        /// What was expected and what was seen instead.
        message: String,
        /// The cause and the fix, if the symptom is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// What is known of the cause; left out where nothing is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Box<Attribution>>,
    },
    /// A requirement is unmet, so the case did not run.
    Blocked {
        /// Which requirement, and where that was read.
        reason: String,
        /// What would meet it.
        remedy: String,
        /// What is known of the cause; left out where nothing is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Box<Attribution>>,
    },
    /// The case is about another kind of cluster.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// An expected failure: nestcheck recognises it by its signature, or a person expects it.
    KnownIssue {
        /// The known failure; `Unknown` where a person expects one that has no signature.
        #[schemars(with = "String")]
        signature: SignatureId,
        /// What was seen.
        message: String,
        /// What is known of the cause; left out where nestcheck itself knows the issue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Box<Attribution>>,
        /// Who expects it and why; left out where nestcheck itself knows the issue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expectation: Option<Box<Acceptance>>,
    },
    /// The harness or the infrastructure broke; the product was not judged.
    Error {
        /// What broke.
        message: String,
    },
    /// The run was interrupted while the case ran or waited.
    Interrupted,
}

impl Verdict {
    /// The product does not do what the case asserts.
    #[must_use]
    pub fn fail(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Fail { message: message.into(), hint: hint.map(str::to_owned), cause: None }
    }

    /// A requirement is unmet.
    #[must_use]
    pub fn blocked(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Blocked { reason: reason.into(), remedy: remedy.into(), cause: None }
    }

    /// An issue that nestcheck itself knows.
    #[must_use]
    pub fn known_issue(signature: SignatureId, message: impl Into<String>) -> Self {
        Self::KnownIssue { signature, message: message.into(), cause: None, expectation: None }
    }

    /// A failure, or a requirement that is unmet, that a person expects.
    #[must_use]
    pub fn expected(
        message: impl Into<String>,
        cause: Attribution,
        expectation: Acceptance,
    ) -> Self {
        Self::KnownIssue {
            signature: cause.signature.unwrap_or(SignatureId::Unknown),
            message: message.into(),
            cause: Some(Box::new(cause)),
            expectation: Some(Box::new(expectation)),
        }
    }

    /// Adds the place to a requirement that is unmet.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        if let Self::Blocked { reason, remedy, cause } = &mut self {
            *cause = Some(Box::new(Attribution::unmet(reason, place, remedy)));
        }
        self
    }

    /// Adds what has to change to a requirement that is unmet at a known place.
    #[must_use]
    pub fn repaired_by(mut self, repairs: Vec<Repair>) -> Self {
        if let Self::Blocked { cause: Some(cause), .. } = &mut self {
            cause.repairs = repairs;
        }
        self
    }

    /// What is known of the cause.
    #[must_use]
    pub fn cause(&self) -> Option<&Attribution> {
        match self {
            Self::Fail { cause, .. }
            | Self::Blocked { cause, .. }
            | Self::KnownIssue { cause, .. } => cause.as_deref(),
            _ => None,
        }
    }

    /// The verdict's name, as the reports print it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::Blocked { .. } => "blocked",
            Self::NotApplicable { .. } => "not-applicable",
            Self::KnownIssue { .. } => "known-issue",
            Self::Error { .. } => "error",
            Self::Interrupted => "interrupted",
        }
    }

    /// How far the verdict is from a pass: of several verdicts of a case, the one that is furthest
    /// stands.
    #[must_use]
    pub fn badness(&self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::NotApplicable { .. } => 1,
            Self::KnownIssue { .. } => 2,
            Self::Blocked { .. } => 3,
            Self::Interrupted => 4,
            Self::Error { .. } => 5,
            Self::Fail { .. } => 6,
        }
    }

    /// What was seen or why the case did not run, where there is something to say.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Pass | Self::Interrupted => None,
            Self::Fail { message, .. }
            | Self::KnownIssue { message, .. }
            | Self::Error { message } => Some(message),
            Self::Blocked { reason, .. } | Self::NotApplicable { reason } => Some(reason),
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every core case passed and nothing that ran failed.
    Conformant,
    /// At least one case failed.
    NotConformant,
    /// Nothing failed, but a core case could not run, or a case because the image lacks a program:
    /// never green.
    Partial,
    /// The harness or the infrastructure broke.
    Error,
    /// Something that the run created could not be removed.
    Leaked,
    /// A signal ended the run.
    Interrupted {
        /// The signal's number, 2 or 15.
        signal: u8,
    },
}

impl Outcome {
    /// The process's exit code: 0, 1, 3, 4, 5, or 128 plus the signal's number.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Conformant => 0,
            Self::NotConformant => 1,
            Self::Partial => 3,
            Self::Error => 4,
            Self::Leaked => 5,
            Self::Interrupted { signal } => 128_u8.saturating_add(signal),
        }
    }

    /// How bad it is, in the order of the exit codes that win: of several outcomes the worst stands.
    #[must_use]
    pub fn badness(self) -> u8 {
        match self {
            Self::Conformant => 0,
            Self::Partial => 1,
            Self::NotConformant => 2,
            Self::Error => 3,
            Self::Leaked => 4,
            Self::Interrupted { .. } => 5,
        }
    }

    /// The worse of two outcomes.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        if other.badness() > self.badness() { other } else { self }
    }

    /// The outcome's name, as the reports print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conformant => "conformant",
            Self::NotConformant => "not conformant",
            Self::Partial => "partial",
            Self::Error => "error",
            Self::Leaked => "leaked",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}

/// What happened around the cases.
#[expect(clippy::struct_excessive_bools, reason = "each happens on its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The number of the signal that ended the run.
    pub signal: Option<u8>,
    /// Something that the run created is still there.
    pub leaked: bool,
    /// A step outside the cases broke.
    pub broken: bool,
    /// No case passed that acted in the cluster, only such as judge what was read.
    pub only_evaluated: bool,
    /// Somebody has to change an entry of the file of expectations, and asked that this fails the
    /// run.
    pub expectations_fail: bool,
}

/// Decides a run's outcome: the worst that applies, in the order interrupted, leaked, error, not
/// conformant, partial.
///
/// A run in which no case passed that acted in the cluster is partial: a run of nothing proves
/// nothing, and reading proves nothing about pods.
#[must_use]
pub fn decide<'a>(
    verdicts: impl IntoIterator<Item = (Level, &'a Verdict)>,
    circumstances: Circumstances,
) -> Outcome {
    let (mut passed, mut failed, mut errors, mut core_missing) = (0_u32, 0_u32, 0_u32, 0_u32);
    for (level, verdict) in verdicts {
        match (verdict, level) {
            (Verdict::Pass, _) => passed += 1,
            (Verdict::Fail { .. }, Level::Core | Level::Extended) => failed += 1,
            (Verdict::Error { .. } | Verdict::Interrupted, Level::Core | Level::Extended) => {
                errors += 1;
            }
            // The image of the next arm does not get green where somebody expects it.
            (Verdict::Blocked { .. } | Verdict::KnownIssue { .. }, Level::Core)
            | (Verdict::KnownIssue { signature: SignatureId::F43, .. }, Level::Extended) => {
                core_missing += 1;
            }
            // An image without a program that podman needs is never green, whichever cases show it.
            (Verdict::Blocked { cause: Some(cause), .. }, Level::Extended)
                if cause.signature == Some(SignatureId::F43) =>
            {
                core_missing += 1;
            }
            _ => {}
        }
    }
    if let Some(signal) = circumstances.signal {
        Outcome::Interrupted { signal }
    } else if circumstances.leaked {
        Outcome::Leaked
    } else if circumstances.broken || errors > 0 {
        Outcome::Error
    } else if failed > 0 || circumstances.expectations_fail {
        Outcome::NotConformant
    } else if core_missing > 0 || passed == 0 || circumstances.only_evaluated {
        Outcome::Partial
    } else {
        Outcome::Conformant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail() -> Verdict {
        Verdict::fail("no", None)
    }

    fn blocked() -> Verdict {
        Verdict::blocked("gate off", "turn it on")
    }

    #[test]
    fn an_image_that_lacks_a_program_is_never_green() {
        let cause = Attribution { signature: Some(SignatureId::F43), ..Attribution::default() };
        let lacks = Verdict::from(crate::verdict::Failure::blocked_by("no `nft`", cause));
        let passed = (Level::Core, Verdict::Pass);
        assert_eq!(of(&[passed.clone(), (Level::Extended, lacks)]), Outcome::Partial);
        assert_eq!(of(&[passed, (Level::Extended, blocked())]), Outcome::Conformant);
    }

    #[test]
    fn an_image_that_lacks_a_program_is_never_green_even_if_somebody_expects_it() {
        let cause = Attribution { signature: Some(SignatureId::F43), ..Attribution::default() };
        let reason = "the next image has it".to_owned();
        let verdict = crate::verdict::ExpectedVerdict::Blocked;
        let expected =
            Verdict::expected("no `nft`", cause, Acceptance { verdict, reason, line: 1 });
        let cases = [(Level::Core, Verdict::Pass), (Level::Extended, expected)];
        assert_eq!(of(&cases), Outcome::Partial);
    }

    #[test]
    fn strict_expectations_fail_a_run_unless_it_is_worse() {
        let strict = Circumstances { expectations_fail: true, ..Circumstances::default() };
        let of = |verdict: Verdict, circumstances| decide([(Level::Core, &verdict)], circumstances);
        assert_eq!(of(Verdict::Pass, strict), Outcome::NotConformant);
        assert_eq!(of(blocked(), strict), Outcome::NotConformant);
        assert_eq!(of(Verdict::Error { message: "lost".into() }, strict), Outcome::Error);
        assert_eq!(of(Verdict::Pass, Circumstances { leaked: true, ..strict }), Outcome::Leaked);
    }

    fn of(verdicts: &[(Level, Verdict)]) -> Outcome {
        decide(verdicts.iter().map(|(level, verdict)| (*level, verdict)), Circumstances::default())
    }

    #[test]
    fn passes_alone_are_conformant() {
        assert_eq!(of(&[(Level::Core, Verdict::Pass)]), Outcome::Conformant);
    }

    #[test]
    fn a_run_of_nothing_is_never_green() {
        assert_eq!(of(&[]), Outcome::Partial);
        let not_applicable = Verdict::NotApplicable { reason: "other flavour".into() };
        assert_eq!(of(&[(Level::Core, not_applicable)]), Outcome::Partial);
    }

    #[test]
    fn a_run_that_only_read_is_never_green() {
        let verdicts = [(Level::Core, Verdict::Pass)];
        let each = || verdicts.iter().map(|(level, verdict)| (*level, verdict));
        let only_evaluated = Circumstances { only_evaluated: true, ..Circumstances::default() };
        assert_eq!(decide(each(), only_evaluated), Outcome::Partial);
    }

    #[test]
    fn a_blocked_core_case_makes_a_run_partial_and_a_blocked_extended_one_does_not() {
        let pass = (Level::Core, Verdict::Pass);
        assert_eq!(of(&[pass.clone(), (Level::Core, blocked())]), Outcome::Partial);
        assert_eq!(of(&[pass, (Level::Extended, blocked())]), Outcome::Conformant);
    }

    #[test]
    fn the_worst_wins() {
        let error = Verdict::Error { message: "node lost".into() };
        let all = [(Level::Core, blocked()), (Level::Core, fail()), (Level::Core, error)];
        assert_eq!(of(&all[..2]), Outcome::NotConformant);
        assert_eq!(of(&all), Outcome::Error);
        let each = || all.iter().map(|(level, verdict)| (*level, verdict));
        let leaked = Circumstances { leaked: true, ..Circumstances::default() };
        assert_eq!(decide(each(), leaked), Outcome::Leaked);
        let interrupted = Circumstances { signal: Some(15), ..leaked };
        assert_eq!(decide(each(), interrupted).exit_code(), 143);
    }

    #[test]
    fn an_informing_failure_does_not_decide() {
        assert_eq!(
            of(&[(Level::Core, Verdict::Pass), (Level::Informing, fail())]),
            Outcome::Conformant
        );
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            (Outcome::Conformant, 0),
            (Outcome::NotConformant, 1),
            (Outcome::Partial, 3),
            (Outcome::Error, 4),
            (Outcome::Leaked, 5),
            (Outcome::Interrupted { signal: 2 }, 130),
        ];
        for (outcome, code) in codes {
            assert_eq!(outcome.exit_code(), code, "{}", outcome.name());
        }
    }
}
