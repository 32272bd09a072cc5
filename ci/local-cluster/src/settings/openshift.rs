//! What a user can choose about a cluster of the flavour `openshift`.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Gates;

/// A release of OpenShift.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub enum Release {
    /// 4.19's control plane with the objects of a 4.18 cluster, because 4.18 has no
    /// programs in the components folder. Its API server answers as 1.32.
    #[serde(rename = "4.18")]
    #[value(name = "4.18")]
    V4_18,
    /// Kubernetes 1.32. The feature gates are off in feature set Default.
    #[serde(rename = "4.19")]
    #[value(name = "4.19")]
    V4_19,
    /// Kubernetes 1.33. The feature gates are on in every feature set.
    #[default]
    #[serde(rename = "4.20")]
    #[value(name = "4.20")]
    V4_20,
}

impl Release {
    /// All releases.
    pub const ALL: [Self; 3] = [Self::V4_18, Self::V4_19, Self::V4_20];

    /// The release as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4_18 => "4.18",
            Self::V4_19 => "4.19",
            Self::V4_20 => "4.20",
        }
    }

    /// The version that the cluster's `ClusterVersion` names. Any patch release
    /// would do: nothing else of a cluster depends on it.
    pub fn version(self) -> &'static str {
        match self {
            Self::V4_18 => "4.18.21",
            Self::V4_19 => "4.19.9",
            Self::V4_20 => "4.20.4",
        }
    }

    /// The release whose programs run.
    pub fn control_plane(self) -> Self {
        match self {
            Self::V4_18 | Self::V4_19 => Self::V4_19,
            Self::V4_20 => Self::V4_20,
        }
    }

    /// The version of Kubernetes that the programs report.
    pub fn kubernetes(self) -> &'static str {
        match self.control_plane() {
            Self::V4_20 => "1.33.13",
            Self::V4_18 | Self::V4_19 => "1.32.13",
        }
    }

    /// Whether the release ships the security context constraints
    /// `nested-container` and `restricted-v3` (cluster-kube-apiserver-operator,
    /// pull request 1847, first in release-4.20).
    pub fn ships_user_namespace_constraints(self) -> bool {
        self == Self::V4_20
    }

    /// The feature gates as this release has them in a feature set, as in the
    /// `payload-manifests/featuregates` of openshift/api of the release's time.
    pub fn gates(self, feature_set: FeatureSet) -> Gates {
        match (self, feature_set) {
            (Self::V4_18 | Self::V4_19, FeatureSet::Default) => Gates::None,
            _ => Gates::All,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())?;
        let programs = self.control_plane();
        if programs == *self {
            return Ok(());
        }
        write!(formatter, " (its objects on the control plane of {})", programs.as_str())
    }
}

/// The feature set of a cluster: `spec.featureSet` of its `FeatureGate`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum FeatureSet {
    /// What a cluster has that nobody has changed.
    #[default]
    Default,
    /// Everything that may become default. Such a cluster can't be upgraded.
    TechPreviewNoUpgrade,
    /// The default and the three gates of user namespaces by name. Such a cluster
    /// can't be upgraded.
    CustomNoUpgrade,
}

impl FeatureSet {
    /// All feature sets.
    pub const ALL: [Self; 3] = [Self::Default, Self::TechPreviewNoUpgrade, Self::CustomNoUpgrade];

    /// The name in the API, but for `Default`, which is empty there.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "Default",
            Self::TechPreviewNoUpgrade => "TechPreviewNoUpgrade",
            Self::CustomNoUpgrade => "CustomNoUpgrade",
        }
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_off_only_in_old_defaults() {
        assert_eq!(Release::V4_18.gates(FeatureSet::Default), Gates::None);
        assert_eq!(Release::V4_19.gates(FeatureSet::Default), Gates::None);
        assert_eq!(Release::V4_19.gates(FeatureSet::TechPreviewNoUpgrade), Gates::All);
        assert_eq!(Release::V4_18.gates(FeatureSet::CustomNoUpgrade), Gates::All);
        assert_eq!(Release::V4_20.gates(FeatureSet::Default), Gates::All);
    }

    #[test]
    fn a_borrowed_control_plane_is_named() {
        assert_eq!(Release::V4_18.to_string(), "4.18 (its objects on the control plane of 4.19)");
        assert_eq!(Release::V4_20.to_string(), "4.20");
        assert_eq!(Release::V4_18.kubernetes(), "1.32.13");
    }
}
