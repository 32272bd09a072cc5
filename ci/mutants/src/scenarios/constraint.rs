//! Broken constraints, and what they are granted to.

use crate::mutant::Scenario;

pub(super) const ALL: &[Scenario] = &[];
