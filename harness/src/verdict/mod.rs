//! How a case and a run can end, and the events that say so.

pub mod event;
mod failure;
mod outcome;
mod signature;
mod step;
mod texts;

pub use failure::{CaseResult, Failure, ensure};
pub use outcome::{Circumstances, Level, Outcome, Verdict, decide};
pub use signature::{Hint, SignatureId};
pub use step::Step;
