//! How a case and a run can end, and the events that say so.

mod cause;
mod disruption;
pub mod event;
mod expectation;
mod failure;
mod outcome;
mod signature;
mod step;
mod texts;

pub use cause::{Attribution, Cause};
pub use disruption::{Disruption, Effect};
pub use expectation::{
    Acceptance, ExpectationEntry, ExpectationReport, ExpectationResult, ExpectationState,
    ExpectedVerdict,
};
pub use failure::{CaseResult, Failure, Loss, ensure};
pub use outcome::{Circumstances, Level, Outcome, Verdict, decide};
pub use signature::{Hint, SignatureId};
pub use step::Step;

pub use crate::base::{place::Place, repair::Repair};
