//! Why cases fail: what each verdict names, and what a run has in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Repair, SignatureId};
use crate::base::place::Place;

/// What is known of the cause of one case's verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Attribution {
    /// The known failure; left out where there is none.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureId>,
    /// What is wrong, in one line.
    pub wrong: String,
    /// Where it is wrong.
    #[serde(default)]
    pub place: Place,
    /// What to do about it; left out where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What has to change, for `nestcheck remedy`; left out where that is not known.
    #[schemars(with = "Vec<String>")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<Repair>,
}

impl Attribution {
    /// A requirement that is unmet at this place.
    pub(super) fn unmet(wrong: &str, place: Place, fix: &str) -> Self {
        Self { wrong: wrong.to_owned(), place, fix: Some(fix.to_owned()), ..Self::default() }
    }
}

/// Why one or more cases did not pass, with its fix.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Cause {
    /// The cause's id: that of the known failure, or else one that is the same in each run.
    pub id: String,
    /// The known failure; left out where there is none.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureId>,
    /// What is wrong, in one line.
    pub wrong: String,
    /// Where it is wrong.
    #[serde(default)]
    pub place: Place,
    /// What was seen of it in the first of its cases, in one line.
    pub evidence: String,
    /// What to do about it; left out where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What has to change, for `nestcheck remedy`; left out where that is not known.
    #[schemars(with = "Vec<String>")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<Repair>,
    /// The ids of the cases that it explains.
    pub cases: Vec<String>,
    /// How many of them are core cases.
    pub core: usize,
}
