//! What was lost under a run, who was hit by it, and when.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::exec_error::Lost;

/// A time in which something was lost that a run needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Disruption {
    /// Who was lost; left out in the log of an older nestcheck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// The node's name, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Since when, by the clock of the machine that runs nestcheck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when; left out where it did not come back, or nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What was seen of it.
    pub reason: String,
}

impl Disruption {
    /// Who was lost, in words.
    #[must_use]
    pub fn subject(&self) -> String {
        match (self.lost, &self.node) {
            (Some(Lost::Node), Some(node)) => format!("the node `{node}`"),
            (Some(lost), _) => lost.to_string(),
            (None, _) => "something".to_owned(),
        }
    }

    /// How long it lasted, in milliseconds, where both ends are known.
    #[must_use]
    pub fn duration_ms(&self) -> Option<u64> {
        let duration = self.until?.duration_since(self.since?);
        Some(u64::try_from(duration.as_millis()).unwrap_or(0))
    }
}

/// Who was lost and when, in one line without what was seen.
impl fmt::Display for Disruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |at: Timestamp| at.strftime("%H:%M:%S").to_string();
        write!(f, "{} was lost", self.subject())?;
        match (self.since, self.until) {
            (Some(since), Some(until)) => {
                write!(f, " from {} to {} UTC", clock(since), clock(until))?;
                let seconds = self.duration_ms().unwrap_or_default() / 1000;
                write!(f, " ({seconds} s)")
            }
            (Some(since), None) => write!(f, " at {} UTC", clock(since)),
            (None, _) => Ok(()),
        }
    }
}

/// What a disruption did to a case.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// A command waited before it began.
    Waited,
    /// The case was retried.
    Retried,
    /// The case has no verdict on the product.
    Undecided,
}

impl Effect {
    /// The effect in words: what the case did.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waited => "waited",
            Self::Retried => "retried",
            Self::Undecided => "undecided",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_lost_and_when_is_one_line() {
        let at = |text: &str| Some(text.parse().expect("a time"));
        let node = Disruption {
            lost: Some(Lost::Node),
            node: Some("worker-1".into()),
            since: at("2026-11-24T09:30:14.2Z"),
            until: at("2026-11-24T09:30:26.9Z"),
            reason: "no sign of life".into(),
        };
        assert_eq!(
            node.to_string(),
            "the node `worker-1` was lost from 09:30:14 to 09:30:26 UTC (12 s)"
        );
        let server = Disruption { lost: Some(Lost::ApiServer), until: None, ..node };
        assert_eq!(server.to_string(), "the API server was lost at 09:30:14 UTC");
        assert_eq!(Disruption::default().to_string(), "something was lost");
    }
}
