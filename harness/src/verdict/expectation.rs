//! Failures that a person expects: the entries of a file of expectations, and what became of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A verdict that a person may expect. An error is never among them: it says nothing of the
/// product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedVerdict {
    /// The case fails.
    #[default]
    Fail,
    /// The case is blocked.
    Blocked,
}

impl ExpectedVerdict {
    /// The verdict's name, as reports and files print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Blocked => "blocked",
        }
    }
}

/// Why a case that did not pass is a known issue: a person expects it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Acceptance {
    /// The verdict that the case would have without the expectation.
    pub verdict: ExpectedVerdict,
    /// The reason that the person gave.
    pub reason: String,
    /// The line of the entry in the file of expectations, from 1.
    pub line: usize,
}

/// An entry of a file of expectations, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ExpectationEntry {
    /// The id of the case; left out where the entry is about a cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The id of the cause; left out where the entry is about a case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The verdict that is expected.
    #[serde(default)]
    pub verdict: ExpectedVerdict,
    /// The regular expression that the message matches; left out where any message does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it is expected.
    pub reason: String,
    /// The only flavour to which it applies; left out where it applies to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavour: Option<String>,
    /// The only versions to which it applies, such as `>=4.19 <4.21`; left out where it applies to
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// The last day on which it applies; left out where it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl ExpectationEntry {
    /// The id of the case or the cause that it is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.case.as_deref().or(self.cause.as_deref()).unwrap_or_default()
    }
}

/// What became of an entry in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectationState {
    /// One or more cases did not pass as it says: they are known issues.
    Used,
    /// Nothing fails any more as it says: the entry can go.
    Stale,
    /// Something fails, but not as it says.
    NoMatch,
    /// Its last day is over, so it was not used.
    Expired,
    /// It is for other clusters, or its cases had no verdict in this run.
    NotChecked,
}

impl ExpectationState {
    /// The state in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Stale => "stale",
            Self::NoMatch => "no match",
            Self::Expired => "expired",
            Self::NotChecked => "not checked",
        }
    }

    /// Whether somebody has to change the entry.
    #[must_use]
    pub fn needs_change(self) -> bool {
        match self {
            Self::Stale | Self::NoMatch | Self::Expired => true,
            Self::Used | Self::NotChecked => false,
        }
    }
}

/// An entry of a file of expectations, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ExpectationResult {
    /// The line of the entry in the file, from 1.
    pub line: usize,
    /// The entry.
    #[serde(flatten)]
    pub entry: ExpectationEntry,
    /// What became of it.
    pub state: ExpectationState,
    /// The ids of the cases that did not pass as it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
    /// Why it was not used; left out where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a file of expectations in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ExpectationReport {
    /// Whether an entry that somebody has to change makes the run not conformant (`--strict`).
    #[serde(default)]
    pub strict: bool,
    /// The entries, in the order of the file.
    pub entries: Vec<ExpectationResult>,
}

impl ExpectationReport {
    /// Whether the run had no file of expectations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that somebody has to change.
    pub fn to_change(&self) -> impl Iterator<Item = &ExpectationResult> {
        self.entries.iter().filter(|entry| entry.state.needs_change())
    }

    /// Whether the entries alone make the run not conformant.
    #[must_use]
    pub fn fails_run(&self) -> bool {
        self.strict && self.to_change().next().is_some()
    }
}
