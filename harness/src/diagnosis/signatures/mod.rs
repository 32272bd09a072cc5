//! The table of signatures. The ids up to F32 are those of the fact sheet's list of known failure
//! modes; from F33 on they are nestcheck's own, found on local clusters.
//!
//! A table is read from its beginning: the more specific comes first, and where the texts are the
//! same, what has a clue.

pub(super) mod cluster;
mod daily_use;
mod operator;
pub(super) mod pod;
mod podman;
mod setup;

use probe::Facts;

use super::{Diagnosis, Symptom};
use crate::verdict::{Place, SignatureId};

/// Texts that give a failure away: any of them, each with all its parts.
type Texts = &'static [&'static [&'static str]];

/// Every text.
const ANYTHING: Texts = &[&[]];

/// A failure that has been seen before.
pub(super) struct Signature {
    texts: Texts,
    /// What must be so in the pod besides; with it, the signature fits only where facts are known.
    predicate: Option<fn(&Facts) -> bool>,
    pub(super) diagnosis: Diagnosis,
}

impl Signature {
    const fn new(
        id: SignatureId,
        place: Place,
        texts: Texts,
        cause: &'static str,
        fix: &'static str,
    ) -> Self {
        Self::of(Diagnosis { id, place, cause, fix }, texts)
    }

    const fn of(diagnosis: Diagnosis, texts: Texts) -> Self {
        Self { texts, predicate: None, diagnosis }
    }

    const fn given(self, predicate: fn(&Facts) -> bool) -> Self {
        Self { predicate: Some(predicate), ..self }
    }

    fn fits(&self, text: &str, facts: Option<&Facts>) -> bool {
        // Parts of different lines are of different messages.
        let has = |parts: &[&str]| {
            let fits = |line: &str| parts.iter().all(|part| line.contains(part));
            // No text has no lines, and nothing to be looked for is in it.
            parts.is_empty() || text.lines().any(fits)
        };
        self.texts.iter().any(|parts| has(parts))
            && self.predicate.is_none_or(|predicate| facts.is_some_and(predicate))
    }
}

/// The first signature that fits.
pub(super) fn find(symptom: Symptom<'_>, facts: Option<&Facts>) -> Option<&'static Signature> {
    let (tables, text) = match symptom {
        Symptom::Refusal(text) => ([cluster::REFUSALS, &[], &[]], text),
        Symptom::Start(text) => ([cluster::STARTS, &[], &[]], text),
        Symptom::Check { id, observed } => ([cluster::checks(id), &[], &[]], observed),
        Symptom::Output(text) => ([setup::OUTPUTS, podman::OUTPUTS, daily_use::OUTPUTS], text),
        Symptom::Error(text) => ([cluster::ERRORS, &[], &[]], text),
    };
    tables.into_iter().flatten().find(|signature| signature.fits(text, facts))
}
