//! The verdicts that a case may have.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a case may be expected to do. Nobody expects an error or an interruption.
pub(crate) const NAMES: [&str; 5] = ["pass", "fail", "blocked", "known-issue", "not-applicable"];

/// One verdict, or several where the environment does not decide: `blocked or not-applicable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Verdicts(Vec<&'static str>);

impl Verdicts {
    /// Whether a case may have this verdict.
    #[must_use]
    pub fn has(&self, verdict: &str) -> bool {
        self.0.contains(&verdict)
    }

    /// Whether a case may have no other verdicts than these.
    pub(crate) fn is_only(&self, verdicts: &[&str]) -> bool {
        self.0.iter().all(|verdict| verdicts.contains(verdict))
    }
}

impl TryFrom<String> for Verdicts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut verdicts = Vec::new();
        for word in text.split(" or ") {
            let known = NAMES.into_iter().find(|name| *name == word).ok_or_else(|| {
                format!("unknown verdict `{word}`; use {}, with ` or ` between", NAMES.join(", "))
            })?;
            if verdicts.contains(&known) {
                return Err(format!("`{text}` has `{known}` twice; remove one"));
            }
            verdicts.push(known);
        }
        // The order means nothing.
        verdicts.sort_unstable();
        Ok(Self(verdicts))
    }
}

impl From<Verdicts> for String {
    fn from(verdicts: Verdicts) -> Self {
        verdicts.to_string()
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" or "))
    }
}
