//! From a symptom to its cause and its cure.
//!
//! The signatures are those of failures that have been seen before. Some symptoms have several
//! causes: `newuidmap` is refused in the same words whether a range leaves the pod's ids or a
//! capability is missing. What the probe found in the pod tells them apart.

mod absence;
mod causes;
mod check;
mod expectation;
mod missing_image;
mod predicates;
mod repairs;
mod signatures;

use std::fmt;

pub use absence::Absence;
pub use causes::{cause_among, causes, exact_cause, is_cause_of};
pub use check::{CheckId, CheckName};
pub use expectation::{EXPRESSION_LIMIT, Expectations, PLACEHOLDER, Situation};
pub(crate) use missing_image::missing_image;
use probe::Facts;

use crate::verdict::{Attribution, Hint, Place, SignatureId};

/// What went wrong, and where it was seen: the same words mean another thing elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum Symptom<'a> {
    /// The API server's refusal of an object.
    Refusal(&'a str),
    /// Why a pod does not start: an event about it, or its containers' state.
    Start(&'a str),
    /// What a command in the pod wrote before it failed.
    Output(&'a str),
    /// Why a case has no verdict on the product.
    Error(&'a str),
    /// A check that does not hold.
    Check {
        /// Which one.
        id: CheckId,
        /// What was observed.
        observed: &'a str,
    },
}

/// The cause of a failure, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The known failure.
    pub id: SignatureId,
    /// Where it is wrong.
    pub place: Place,
    /// What is wrong.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.cause, self.fix, self.id)
    }
}

impl From<Diagnosis> for Attribution {
    fn from(diagnosis: Diagnosis) -> Self {
        let Diagnosis { id, place, cause, fix } = diagnosis;
        Self {
            signature: Some(id),
            wrong: cause.to_owned(),
            place,
            fix: Some(fix.to_owned()),
            repairs: repairs::repairs(&diagnosis).to_vec(),
        }
    }
}

impl From<Diagnosis> for Hint {
    fn from(diagnosis: Diagnosis) -> Self {
        Attribution::from(diagnosis).into()
    }
}

/// The cause and the cure of a symptom, where they are known. With the facts of the pod it was
/// seen in, causes with the same symptom are told apart.
#[must_use]
pub fn diagnose(symptom: Symptom<'_>, facts: Option<&Facts>) -> Option<Diagnosis> {
    signatures::find(symptom, facts).map(|signature| signature.diagnosis)
}

/// As [`diagnose`], as a hint for a failure.
#[must_use]
pub fn explain(symptom: Symptom<'_>, facts: Option<&Facts>) -> Option<Hint> {
    diagnose(symptom, facts).map(Hint::from)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::facts_of_tests;
