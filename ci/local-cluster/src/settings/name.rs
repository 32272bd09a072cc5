//! The name of a cluster.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The name of a cluster: a DNS label of at most 30 characters, because it becomes part of a host
/// name and of a cgroup's name.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    const LONGEST: usize = 30;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if text.is_empty() || text.len() > Self::LONGEST || !text.chars().all(inner) || !edges {
            return Err(Error::usage(format!(
                "invalid cluster name `{text}`: it takes 1 to {} lower case letters, digits and inner dashes",
                Self::LONGEST
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ClusterName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["nestcheck", "a", "a-1"] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good}");
        }
        let long = "a".repeat(31);
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", long.as_str()] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }
}
