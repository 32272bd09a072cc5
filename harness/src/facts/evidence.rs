//! What speaks for a feature gate of the API server being on or off, strongest first.

use super::{Fact, Facts, FeatureSet, Flavour, Gate, Release};

/// The first release of OpenShift whose gates can be on.
pub(crate) const FIRST_OPENSHIFT: (u32, u32) = (4, 19);

/// The first release of OpenShift and MicroShift whose gates are on by default (openshift/api,
/// `payload-manifests/featuregates`; microshift, `pkg/config/apiserver.go`).
pub(crate) const FIRST_DEFAULT: (u32, u32) = (4, 20);

/// The first minor version of Kubernetes whose gates are locked on (KEP-127, KEP-4265).
const LOCKED_SINCE: u32 = 36;

/// The first release of MicroShift whose administrator may turn `ProcMountType` off, with
/// `apiServer.featureGates`; the other two gates stay on (microshift, `pkg/config/apiserver.go`).
pub(crate) const FIRST_WITH_FREE_GATES: (u32, u32) = (4, 21);

/// The Kubernetes version of OpenShift 4.N is 1.(N + 13). OpenShift 5.0 has that of 4.23, so this
/// says nothing of a release after 4.23.
const MINORS_APART: u32 = 13;

/// Something that was read, and speaks for a gate being on or off.
///
/// Not a [`Fact`](super::Fact): evidence is always known. What could not be read is not evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the gate is on, by this evidence.
    pub on: bool,
    /// Where that was read.
    pub source: String,
}

impl Evidence {
    fn new(on: bool, source: &str) -> Self {
        Self { on, source: source.to_owned() }
    }
}

impl Facts {
    /// What is known of a gate of the API server, strongest first: that the release locks it on,
    /// what the server does with the field that the gate guards, what it says of itself, what is
    /// configured, and what the release does by default. Only the release can't be wrong about a
    /// server that was not asked. Where it locks a gate on, a field that is lost was changed by
    /// somebody else on its way.
    #[must_use]
    pub fn evidence(&self, gate: Gate) -> Vec<Evidence> {
        let locked = self.locked(gate);
        let by_release = if locked.is_some() { None } else { self.by_release(gate) };
        let read = [self.behaviour(gate), Some(self.server_gate(gate))].into_iter().flatten();
        let read = read.filter_map(|fact| Some(Evidence::new(*fact.value()?, fact.source()?)));
        let configured = self.configured_gates.value().and_then(|gates| gates.of(gate).is_on());
        let configured = configured.zip(self.configured_gates.source());
        let configured = configured.map(|(on, source)| Evidence::new(on, source));
        locked.into_iter().chain(read).chain(configured).chain(by_release).collect()
    }

    /// That nobody can turn a gate off, where the version of Kubernetes says so.
    fn locked(&self, gate: Gate) -> Option<Evidence> {
        let minor = self.version.minor;
        let is_locked = gate != Gate::UserNamespacesPodSecurityStandards && minor >= LOCKED_SINCE;
        is_locked.then(|| Evidence { on: true, source: format!("table of Kubernetes 1.{minor}") })
    }

    /// Whether nobody can turn a gate of the API server off.
    #[must_use]
    pub fn is_locked(&self, gate: Gate) -> bool {
        self.locked(gate).is_some()
    }

    /// Where a gate is locked on and the field that it guards is lost: how that was seen.
    #[must_use]
    pub fn lost_on_the_way(&self, gate: Gate) -> Option<&str> {
        match self.behaviour(gate)? {
            Fact::Known { value: false, source } if self.is_locked(gate) => Some(source),
            _ => None,
        }
    }

    /// Whether the API server keeps the fields of a pod's isolation: it did, or it can't do
    /// otherwise.
    #[must_use]
    pub fn keeps_isolation(&self) -> bool {
        [Gate::UserNamespacesSupport, Gate::ProcMountType].into_iter().all(|gate| {
            let keeps = self.behaviour(gate).and_then(Fact::value);
            self.is_locked(gate) || keeps == Some(&true)
        })
    }

    /// What the release alone says of a gate, where the administrator has no say in it.
    fn by_release(&self, gate: Gate) -> Option<Evidence> {
        let table = |on, what: String| Evidence { on, source: format!("table of {what}") };
        match self.flavour.value()? {
            Flavour::Kubernetes => {
                // Pod Security asks less from 1.35 on; the other gates may be turned off until
                // they are locked.
                let minor = self.version.minor;
                let is_on = gate == Gate::UserNamespacesPodSecurityStandards && minor >= 35;
                is_on.then(|| table(true, format!("Kubernetes 1.{minor}")))
            }
            Flavour::MicroShift => {
                let release = self.installed()?;
                let is_since = |(major, minor)| release.at_least(major, minor);
                let is_free = gate == Gate::ProcMountType && is_since(FIRST_WITH_FREE_GATES);
                let what = || format!("MicroShift {}.{}", release.major, release.minor);
                (is_since(FIRST_DEFAULT) && !is_free).then(|| table(true, what()))
            }
            Flavour::OpenShift => {
                let (release, set) = (self.installed()?, self.feature_set.value()?);
                let Release { major, minor, .. } = release;
                let what = format!("OpenShift {major}.{minor}, feature set {set}");
                by_feature_set(release, set).map(|on| table(on, what))
            }
        }
    }

    /// The installed release of OpenShift or MicroShift, if it is known.
    pub(crate) fn installed(&self) -> Option<&Release> {
        self.release.value().and_then(Option::as_ref)
    }

    /// Whether the release is this one or later; by the version of Kubernetes where it could not
    /// be read and that is enough for a yes.
    pub(crate) fn is_at_least(&self, (major, minor): (u32, u32)) -> Option<bool> {
        match self.installed() {
            Some(release) => Some(release.at_least(major, minor)),
            None => (self.version.minor >= minor + MINORS_APART).then_some(true),
        }
    }
}

/// The gates of a release by its feature set; none where the administrator chooses them.
fn by_feature_set(release: &Release, set: &FeatureSet) -> Option<bool> {
    let (major, minor) = FIRST_DEFAULT;
    match set {
        FeatureSet::Default | FeatureSet::Okd if release.at_least(major, minor) => Some(true),
        // 4.18 is the first release that has all three.
        FeatureSet::Default if release.at_least(4, 18) => Some(false),
        FeatureSet::TechPreviewNoUpgrade | FeatureSet::DevPreviewNoUpgrade
            if release.at_least(4, 18) =>
        {
            Some(true)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Configured, ConfiguredGates, KubernetesVersion, requirement::tests::able};

    fn on_or_off(facts: &Facts, gate: Gate) -> Vec<bool> {
        facts.evidence(gate).iter().map(|evidence| evidence.on).collect()
    }

    #[test]
    fn the_strongest_comes_first() {
        let gates = ConfiguredGates {
            user_namespaces_support: Configured::Disabled,
            proc_mount_type: Configured::NotListed,
            user_namespaces_pod_security_standards: Configured::Enabled,
        };
        let facts = Facts {
            flavour: Fact::known(Flavour::OpenShift, "test"),
            release: Fact::known(Release::parse("4.20.1"), "test"),
            feature_set: Fact::known(FeatureSet::Default, "test"),
            server_user_namespaces_gate: Fact::known(false, "test"),
            server_pod_security_gate: Fact::unknown("403"),
            configured_gates: Fact::known(gates, "test"),
            ..able()
        };
        assert_eq!(on_or_off(&facts, Gate::UserNamespacesSupport), [true, false, false, true]);
        assert_eq!(on_or_off(&facts, Gate::ProcMountType), [true, true, true]);
        let third = Gate::UserNamespacesPodSecurityStandards;
        assert_eq!(on_or_off(&facts, third), [true, true]);
    }

    #[test]
    fn a_default_that_a_flag_can_change_is_no_evidence() {
        let unread = |minor| Facts {
            version: KubernetesVersion { minor, full: format!("v1.{minor}.0") },
            keeps_host_users: Fact::unknown("403"),
            server_user_namespaces_gate: Fact::unknown("403"),
            ..able()
        };
        for minor in [30, 32, 33, 35] {
            let evidence = unread(minor).evidence(Gate::UserNamespacesSupport);
            assert!(evidence.is_empty(), "1.{minor}: {evidence:?}");
        }
        assert_eq!(on_or_off(&unread(36), Gate::UserNamespacesSupport), [true]);
    }

    #[test]
    fn a_lost_field_says_nothing_of_a_gate_that_is_locked() {
        let lost = |minor| Facts {
            version: KubernetesVersion { minor, full: format!("v1.{minor}.0") },
            keeps_host_users: Fact::known(false, "dry run"),
            ..able()
        };
        let gate = Gate::UserNamespacesSupport;
        assert_eq!(lost(35).evidence(gate).first().map(|first| first.on), Some(false));
        assert_eq!(lost(36).evidence(gate).first().map(|first| first.on), Some(true));
        assert_eq!(lost(35).lost_on_the_way(gate), None);
        assert_eq!(lost(36).lost_on_the_way(gate), Some("dry run"));
        assert!(!lost(35).keeps_isolation() && lost(36).keeps_isolation());
        assert!(crate::facts::support::Support::of(&lost(36)).is_supported());
    }

    #[test]
    fn a_feature_set_decides_from_4_18_on() {
        let table = |version, set| by_feature_set(&Release::parse(version).expect("good"), &set);
        assert_eq!(table("4.17.9", FeatureSet::TechPreviewNoUpgrade), None);
        assert_eq!(table("4.18.9", FeatureSet::Default), Some(false));
        assert_eq!(table("4.19.0", FeatureSet::DevPreviewNoUpgrade), Some(true));
        assert_eq!(table("4.19.0", FeatureSet::CustomNoUpgrade), None);
        assert_eq!(table("4.20.0", FeatureSet::Default), Some(true));
        assert_eq!(table("4.20.0", FeatureSet::CustomNoUpgrade), None);
        assert_eq!(table("4.22.0", FeatureSet::Okd), Some(true));
    }

    #[test]
    fn microshift_leaves_one_gate_to_its_administrator_from_4_21_on() {
        let by_release = |version, gate| {
            let facts = Facts {
                flavour: Fact::known(Flavour::MicroShift, "test"),
                release: Fact::known(Release::parse(version), "test"),
                ..able()
            };
            facts.by_release(gate).map(|evidence| evidence.on)
        };
        for version in ["4.20.3", "4.21.0", "5.0.0"] {
            assert_eq!(by_release(version, Gate::UserNamespacesSupport), Some(true), "{version}");
        }
        assert_eq!(by_release("4.19.7", Gate::UserNamespacesSupport), None);
        assert_eq!(by_release("4.20.3", Gate::ProcMountType), Some(true));
        assert_eq!(by_release("4.21.0", Gate::ProcMountType), None);
    }

    #[test]
    fn the_version_of_kubernetes_can_only_confirm_a_release() {
        let openshift = |minor| Facts {
            version: KubernetesVersion { minor, full: String::new() },
            release: Fact::unknown("403"),
            ..able()
        };
        assert_eq!(openshift(33).is_at_least(FIRST_DEFAULT), Some(true));
        assert_eq!(openshift(32).is_at_least(FIRST_DEFAULT), None);
        assert_eq!(openshift(32).is_at_least(FIRST_OPENSHIFT), Some(true));
    }
}
