//! What OpenShift's `FeatureGate` says of the gates, as configured; see [`super::metrics`] for
//! what the components say themselves.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fact, Gate, Lookup, Release, items,
    release::{self, CONFIG_GROUP},
    text,
};
use crate::cluster::permission::{Need, Rule, Rules, Scope, named};

pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: release::WHY,
    verbs: &["get"],
    targets: &[named(Scope::Cluster, CONFIG_GROUP, "featuregates", "cluster")],
}];

/// OpenShift's set of feature gates (openshift/api, `config/v1/types_feature.go`).
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum FeatureSet {
    /// The gates that are on in every cluster of the release.
    Default,
    /// The gates of OKD: those of [`Self::Default`], and more. The cluster can be updated.
    Okd,
    /// Also those in technology preview. Can't be undone, and the cluster can't be updated to
    /// another minor release.
    TechPreviewNoUpgrade,
    /// Also those in developer preview, with the same loss.
    DevPreviewNoUpgrade,
    /// The gates that the administrator names, with the same loss.
    CustomNoUpgrade,
    /// One that this program does not know.
    Other(String),
}

impl FeatureSet {
    fn parse(name: &str) -> Self {
        match name {
            "" | "Default" => Self::Default,
            "OKD" => Self::Okd,
            "TechPreviewNoUpgrade" => Self::TechPreviewNoUpgrade,
            "DevPreviewNoUpgrade" => Self::DevPreviewNoUpgrade,
            "CustomNoUpgrade" => Self::CustomNoUpgrade,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether a cluster with it can't be updated to another minor release.
    #[must_use]
    pub fn prevents_upgrades(&self) -> bool {
        match self {
            Self::Default | Self::Okd => false,
            Self::Other(name) => name.ends_with("NoUpgrade"),
            _ => true,
        }
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "Default",
            Self::Okd => "OKD",
            Self::TechPreviewNoUpgrade => "TechPreviewNoUpgrade",
            Self::DevPreviewNoUpgrade => "DevPreviewNoUpgrade",
            Self::CustomNoUpgrade => "CustomNoUpgrade",
            Self::Other(name) => name,
        })
    }
}

impl From<String> for FeatureSet {
    fn from(name: String) -> Self {
        Self::parse(&name)
    }
}

impl From<FeatureSet> for String {
    fn from(set: FeatureSet) -> Self {
        set.to_string()
    }
}

/// What the `FeatureGate` says of one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Configured {
    /// It is on.
    Enabled,
    /// It is off.
    Disabled,
    /// It is not named, which says nothing: a release drops the names of gates that are on for
    /// good (`ProcMountType` with 4.22, all three with 4.23).
    NotListed,
}

impl Configured {
    /// Whether it is on; none where the gate is not named.
    #[must_use]
    pub fn is_on(self) -> Option<bool> {
        match self {
            Self::Enabled => Some(true),
            Self::Disabled => Some(false),
            Self::NotListed => None,
        }
    }
}

impl fmt::Display for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "on",
            Self::Disabled => "off",
            Self::NotListed => "not listed",
        })
    }
}

/// The gates as configured for the installed release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfiguredGates {
    /// [`Gate::UserNamespacesSupport`].
    pub user_namespaces_support: Configured,
    /// [`Gate::ProcMountType`].
    pub proc_mount_type: Configured,
    /// [`Gate::UserNamespacesPodSecurityStandards`].
    pub user_namespaces_pod_security_standards: Configured,
}

impl ConfiguredGates {
    /// What is configured for a gate.
    #[must_use]
    pub fn of(&self, gate: Gate) -> Configured {
        match gate {
            Gate::UserNamespacesSupport => self.user_namespaces_support,
            Gate::ProcMountType => self.proc_mount_type,
            Gate::UserNamespacesPodSecurityStandards => self.user_namespaces_pod_security_standards,
        }
    }
}

const PLACE: &str = "FeatureGate `cluster`";

pub(super) fn feature_set(reading: &Lookup<Value>) -> Fact<FeatureSet> {
    reading.fact(PLACE, |object| {
        let name = text(object, "/spec/featureSet").unwrap_or_default();
        Fact::known(FeatureSet::parse(name), format!("{PLACE} `spec.featureSet`"))
    })
}

/// The status has one entry a release, during an update also of the coming one, so only the
/// installed release's entry counts.
pub(super) fn configured_gates(
    reading: &Lookup<Value>,
    release: &Fact<Option<Release>>,
) -> Fact<ConfiguredGates> {
    reading.fact(PLACE, |object| {
        let version = match release {
            Fact::Known { value: Some(release), .. } => release.full.as_str(),
            Fact::Unknown { reason } => {
                return Fact::unknown(format!("the installed release is unknown: {reason}"));
            }
            _ => return Fact::unknown("the installed release is unknown"),
        };
        let mut entries = items(object, "/status/featureGates");
        let Some(entry) = entries.find(|entry| text(entry, "/version") == Some(version)) else {
            return Fact::unknown(format!("{PLACE} has no entry of release {version}"));
        };
        let has = |list: &str, gate: Gate| {
            let mut names = items(entry, list).filter_map(|gate| text(gate, "/name"));
            names.any(|name| name == gate.name())
        };
        let configured = |gate| match gate {
            gate if has("/enabled", gate) => Configured::Enabled,
            gate if has("/disabled", gate) => Configured::Disabled,
            _ => Configured::NotListed,
        };
        let gates = ConfiguredGates {
            user_namespaces_support: configured(Gate::UserNamespacesSupport),
            proc_mount_type: configured(Gate::ProcMountType),
            user_namespaces_pod_security_standards: configured(
                Gate::UserNamespacesPodSecurityStandards,
            ),
        };
        Fact::known(gates, format!("{PLACE} `status.featureGates` of release {version}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(version: &str) -> Fact<Option<Release>> {
        Fact::known(Release::parse(version), "test")
    }

    #[test]
    fn the_feature_set_is_a_name_and_none_is_the_default() {
        let set = |spec| feature_set(&Lookup::Found(json!({ "spec": spec }))).value().cloned();
        assert_eq!(set(json!({})), Some(FeatureSet::Default));
        assert_eq!(set(json!({"featureSet": ""})), Some(FeatureSet::Default));
        let tech_preview = set(json!({"featureSet": "TechPreviewNoUpgrade"}));
        assert_eq!(tech_preview, Some(FeatureSet::TechPreviewNoUpgrade));
        let okd = set(json!({"featureSet": "OKD"}));
        assert_eq!(okd, Some(FeatureSet::Okd));
        assert!(!FeatureSet::Okd.prevents_upgrades());
        let other = set(json!({"featureSet": "LatencySensitive"})).expect("it is known");
        assert_eq!(other, FeatureSet::Other("LatencySensitive".into()));
        assert!(!other.prevents_upgrades());
        assert!(FeatureSet::CustomNoUpgrade.prevents_upgrades());
    }

    #[test]
    fn only_the_installed_release_counts_and_absence_is_not_disabled() {
        let object = Lookup::Found(json!({"status": {"featureGates": [
            {"version": "4.20.1", "enabled": [{"name": "UserNamespacesSupport"}]},
            {"version": "4.19.7", "disabled": [{"name": "UserNamespacesSupport"}],
             "enabled": [{"name": "ProcMountType"}]},
        ]}}));
        let gates = configured_gates(&object, &release("4.19.7"));
        let gates = gates.value().expect("known");
        assert_eq!(gates.of(Gate::UserNamespacesSupport), Configured::Disabled);
        assert_eq!(gates.of(Gate::ProcMountType), Configured::Enabled);
        let third = gates.of(Gate::UserNamespacesPodSecurityStandards);
        assert_eq!(third, Configured::NotListed);
        assert_eq!(third.is_on(), None);

        assert_eq!(configured_gates(&object, &release("4.18.0")).value(), None);
        assert_eq!(configured_gates(&object, &Fact::unknown("403")).value(), None);
        assert_eq!(
            configured_gates(&Lookup::Failed("403".into()), &release("4.19.7")).value(),
            None
        );
    }
}
