//! Later.
use harness::case::Case;
pub(crate) const CASES: &[Case] = &[];
