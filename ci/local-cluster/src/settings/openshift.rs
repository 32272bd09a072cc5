//! What a user can choose about a cluster of the flavour `openshift`.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Gates, KubernetesVersion};
use crate::error::Error;

/// A release of OpenShift.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub enum Release {
    /// Kubernetes 1.31. The feature gates are off in feature set Default, and nestcheck refuses the
    /// release.
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
    /// Kubernetes 1.36. The feature gates are locked, and `FeatureGate` does not list them.
    #[serde(rename = "5.0")]
    #[value(name = "5.0")]
    V5_0,
}

impl Release {
    /// All releases.
    pub const ALL: [Self; 4] = [Self::V4_18, Self::V4_19, Self::V4_20, Self::V5_0];

    /// The release as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4_18 => "4.18",
            Self::V4_19 => "4.19",
            Self::V4_20 => "4.20",
            Self::V5_0 => "5.0",
        }
    }

    /// The version that the cluster's `ClusterVersion` names. Any patch release would do: nothing
    /// else of a cluster depends on it.
    pub fn version(self, z_stream: ZStream) -> &'static str {
        match (self, z_stream) {
            (Self::V4_18, _) => "4.18.21",
            (Self::V4_19, _) => "4.19.9",
            (Self::V4_20, ZStream::Early) => "4.20.1",
            (Self::V4_20, ZStream::Latest) => "4.20.30",
            (Self::V5_0, _) => "5.0.1",
        }
    }

    /// The minor version of Kubernetes that a real cluster of this release has.
    pub fn kubernetes_minor(self) -> &'static str {
        match self {
            Self::V4_18 => "31",
            Self::V4_19 => "32",
            Self::V4_20 => "33",
            Self::V5_0 => "36",
        }
    }

    /// The version of Kubernetes that runs. Each version costs minutes to build, so releases share
    /// one whose gates can be what the release's are.
    pub fn control_plane(self) -> KubernetesVersion {
        match self {
            Self::V4_18 | Self::V4_19 | Self::V4_20 => KubernetesVersion::V1_32_5,
            Self::V5_0 => KubernetesVersion::V1_37_2,
        }
    }

    /// The feature gates as this release has them in a feature set, as in the
    /// `payload-manifests/featuregates` of openshift/api of the release's time.
    pub fn gates(self, feature_set: FeatureSet) -> Gates {
        match (self, feature_set) {
            (Self::V4_18 | Self::V4_19, FeatureSet::Default) => Gates::None,
            _ => Gates::All,
        }
    }

    /// The gates that `CustomNoUpgrade` turns on by name: those of user namespaces, where the
    /// release's `FeatureGate` still has them (openshift/api b6544bf18 removed them).
    pub fn lists_gates(self) -> bool {
        self != Self::V5_0
    }

    /// Checks that the release had such patch releases.
    pub fn check(self, z_stream: ZStream) -> Result<(), Error> {
        if z_stream == ZStream::Early && self != Self::V4_20 {
            return Err(Error::usage(format!(
                "`--z-stream early` is known of release 4.20 only, not of {}",
                self.as_str()
            ))
            .with_hint("add `--release 4.20`, or leave `--z-stream` out"));
        }
        Ok(())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())?;
        let programs = self.control_plane();
        if programs.minor() == self.kubernetes_minor() {
            return Ok(());
        }
        write!(
            formatter,
            " (on Kubernetes {programs}; the real release has 1.{})",
            self.kubernetes_minor()
        )
    }
}

/// Which patch releases of a release. The SCCs that a release ships have changed within it
/// (cluster-kube-apiserver-operator, `bindata/bootkube/scc-manifests`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ZStream {
    /// The newest.
    #[default]
    Latest,
    /// The first ones: their `nested-container` has no range of user ids, and their `restricted-v3`
    /// is granted to nobody.
    Early,
}

impl ZStream {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn is_latest(&self) -> bool {
        *self == Self::Latest
    }
}

/// The feature set of a cluster: `spec.featureSet` of its `FeatureGate`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum FeatureSet {
    /// The defaults of a cluster.
    #[default]
    Default,
    /// Everything that may become default. Such a cluster can't be upgraded.
    TechPreviewNoUpgrade,
    /// The default and the three gates of user namespaces by name. Such a cluster can't be
    /// upgraded.
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
        assert_eq!(Release::V5_0.gates(FeatureSet::Default), Gates::All);
    }

    #[test]
    fn another_minor_version_of_kubernetes_is_named() {
        let text = "4.20 (on Kubernetes 1.32.5; the real release has 1.33)";
        assert_eq!(Release::V4_20.to_string(), text);
        assert_eq!(Release::V4_19.to_string(), "4.19");
    }

    #[test]
    fn only_4_20_has_an_early_z_stream() {
        assert!(Release::V4_20.check(ZStream::Early).is_ok());
        let error = Release::V4_19.check(ZStream::Early).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(Release::V4_19.check(ZStream::Latest).is_ok());
    }
}
