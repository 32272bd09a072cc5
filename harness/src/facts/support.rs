//! Whether a cluster supports nested containers: a pure function of its facts.
//!
//! What the cluster does counts more than what its components say of themselves, that more than
//! what is configured, and that more than what a release does by default ([`Facts::evidence`]).
//! An unknown fact never makes a cluster unsupported.

use schemars::JsonSchema;
use serde::Serialize;

use crate::facts::{
    Evidence, FIRST_DEFAULT, Fact, Facts, FeatureSet, Flavour, Gate, Rollout,
    requirement::{
        Decision, Devices, Requirement, SupportedRelease, UnmaskedProc, UserNamespaceLevel,
        UserNamespaces,
    },
};

/// What a cluster must meet to support nested containers, with its title, in the order of reports.
pub const REQUIREMENTS: [(&str, &dyn Requirement); 5] = [
    (SupportedRelease::TITLE, &SupportedRelease),
    (UserNamespaces::TITLE, &UserNamespaces),
    (UnmaskedProc::TITLE, &UnmaskedProc),
    (UserNamespaceLevel::TITLE, &UserNamespaceLevel),
    (Devices::TITLE, &Devices),
];

/// What to do where nothing can be said.
pub const REMEDY_OF_UNKNOWN: &str =
    "use a kubeconfig whose user may read it, or let `nestcheck run` try it in pods";

/// Whether a cluster supports nested containers, as far as reading can tell.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Support {
    /// It does.
    Supported,
    /// It does, at the price that it can't be updated to another minor release.
    SupportedNotUpgradable {
        /// What prevents updates.
        why: String,
    },
    /// It does not.
    Unsupported {
        /// Everything that is missing.
        reasons: Vec<Reason>,
    },
    /// Nothing can be said now.
    Inconclusive {
        /// Why not.
        reasons: Vec<Reason>,
        /// Whether that is because the cluster is being changed. Otherwise facts are unknown, and
        /// cases find out in pods.
        rollout: bool,
    },
}

/// Why a cluster does not support nested containers, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Reason {
    /// What is missing, and where that was read.
    pub reason: String,
    /// What would help.
    pub remedy: String,
}

impl Support {
    /// Judges a cluster by its facts.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        if let Some(Rollout::InProgress { what }) = facts.rollout.value() {
            let reason = |what: &String| Reason {
                reason: what.clone(),
                remedy: "wait until the cluster is at rest, then ask again".to_owned(),
            };
            let reasons = what.iter().map(reason).collect();
            return Self::Inconclusive { reasons, rollout: true };
        }
        let requirements = || REQUIREMENTS.iter().map(|(_, requirement)| requirement);
        let unmet = requirements().filter_map(|requirement| match requirement.decide(facts) {
            Decision::Met => None,
            Decision::Unmet { reason, remedy } => Some(Reason { reason, remedy }),
        });
        let reasons: Vec<_> = unmet.collect();
        if !reasons.is_empty() {
            return Self::Unsupported { reasons };
        }
        let unknown = requirements().filter_map(|requirement| requirement.unknown(facts));
        let mut reasons: Vec<Reason> = Vec::new();
        for reason in unknown {
            // One refusal may hide several facts.
            if !reasons.iter().any(|known| known.reason == reason) {
                reasons.push(Reason { reason, remedy: REMEDY_OF_UNKNOWN.to_owned() });
            }
        }
        match (reasons.is_empty(), prevents_upgrades(facts)) {
            (false, _) => Self::Inconclusive { reasons, rollout: false },
            (true, Some(why)) => Self::SupportedNotUpgradable { why },
            (true, None) => Self::Supported,
        }
    }

    /// Whether nested containers are supported, upgradable or not.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        matches!(self, Self::Supported | Self::SupportedNotUpgradable { .. })
    }

    /// Everything that speaks against support, or why nothing can be said.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Unsupported { reasons } | Self::Inconclusive { reasons, .. } => reasons,
            Self::Supported | Self::SupportedNotUpgradable { .. } => &[],
        }
    }

    /// The reason and remedy that every case is blocked with that acts in the cluster; none where
    /// cases may try.
    #[must_use]
    pub fn block(&self) -> Option<(String, String)> {
        let (Self::Unsupported { reasons } | Self::Inconclusive { reasons, rollout: true }) = self
        else {
            return None;
        };
        let reported = reasons.iter().map(|reason| reason.reason.as_str());
        let remedies = reasons.iter().map(|reason| reason.remedy.as_str());
        Some((joined(reported), joined(remedies)))
    }
}

/// The texts, each once.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct.join("; ")
}

/// What prevents updates, of that which makes nested containers work. Where the feature set could
/// not be read, a release whose default set has the gates off tells it.
fn prevents_upgrades(facts: &Facts) -> Option<String> {
    if let Some(set) = facts.feature_set.value() {
        let why = format!("the feature set {set} prevents updates to another minor release");
        return set.prevents_upgrades().then_some(why);
    }
    let is_openshift = facts.flavour.value() == Some(&Flavour::OpenShift);
    let release = facts.installed().filter(|release| {
        let (major, minor) = FIRST_DEFAULT;
        is_openshift && !release.at_least(major, minor)
    })?;
    let on = facts.evidence(Gate::UserNamespacesSupport).first().is_some_and(|first| first.on);
    on.then(|| {
        format!(
            "OpenShift {release} has the gate on only in a feature set that prevents updates to \
             another minor release"
        )
    })
}

/// What is said of the same thing in different ways. Each is a finding: somebody is wrong.
#[must_use]
pub fn contradictions(facts: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    for gate in Gate::ALL {
        let evidence = facts.evidence(gate);
        let lost = facts.lost_on_the_way(gate);
        found.extend(lost.map(|source| {
            let field = if gate == Gate::ProcMountType { "procMount" } else { "hostUsers" };
            format!("{gate} can't be off, but pods lose `{field}` on their way ({source})")
        }));
        if let Some((first, rest)) = evidence.split_first() {
            found.extend(
                rest.iter()
                    .filter(|other| other.on != first.on && Some(other.source.as_str()) != lost)
                    .map(|other| format!("{gate} is {}, but {}", say(first), say(other))),
            );
        }
    }
    found.extend(kubelets_against_configuration(facts));
    found.extend(schema_against_release(facts));
    found
}

fn say(evidence: &Evidence) -> String {
    let state = if evidence.on { "on" } else { "off" };
    format!("{state} by the {}", evidence.source)
}

fn kubelets_against_configuration(facts: &Facts) -> Vec<String> {
    let gate = Gate::UserNamespacesSupport;
    let Fact::Known { value: gates, source } = &facts.configured_gates else { return Vec::new() };
    let Some(configured) = gates.of(gate).is_on() else { return Vec::new() };
    let nodes = facts.nodes.value().into_iter().flatten();
    nodes
        .filter_map(|node| {
            let observed = *node.kubelet_gate.value()?;
            let configured = Evidence { on: configured, source: source.clone() };
            let place = node.kubelet_gate.source().unwrap_or_default();
            let source = format!("{place} of node `{}`", node.name);
            let observed = Evidence { on: observed, source };
            (observed.on != configured.on)
                .then(|| format!("{gate} is {}, but {}", say(&observed), say(&configured)))
        })
        .collect()
}

fn schema_against_release(facts: &Facts) -> Option<String> {
    let has = *facts.scc_schema.value()?;
    let release = facts.installed()?;
    let (major, minor) = FIRST_DEFAULT;
    // Before, other feature sets may have it.
    let is_default = match &facts.feature_set {
        Fact::Known { value: set, .. } => matches!(set, FeatureSet::Default | FeatureSet::Okd),
        Fact::Unknown { .. } => false,
        Fact::NotApplicable { .. } => true,
    };
    let expected = release.at_least(major, minor);
    if !expected && !is_default {
        return None;
    }
    let (state, table) = if has { ("has", "lacks") } else { ("lacks", "has") };
    (has != expected).then(|| {
        format!(
            "the schema of SCCs {state} `userNamespaceLevel`, which \
             release {release} {table}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Release, requirement::tests::able};

    fn openshift(version: &str, set: FeatureSet) -> Facts {
        Facts {
            flavour: Fact::known(Flavour::OpenShift, "test"),
            release: Fact::known(Release::parse(version), "test"),
            feature_set: Fact::known(set, "test"),
            scc_schema: Fact::known(true, "test"),
            rollout: Fact::known(Rollout::None, "test"),
            ..able()
        }
    }

    fn off() -> Fact<bool> {
        Fact::known(false, "dry run")
    }

    #[test]
    fn an_able_cluster_is_supported_and_blocks_nothing() {
        let support = Support::of(&able());
        assert_eq!(support, Support::Supported);
        assert_eq!(support.block(), None);
        assert_eq!(Support::of(&openshift("4.20.1", FeatureSet::Default)), Support::Supported);
    }

    #[test]
    fn a_feature_set_that_prevents_updates_is_reported() {
        for set in [FeatureSet::TechPreviewNoUpgrade, FeatureSet::CustomNoUpgrade] {
            let support = Support::of(&openshift("4.19.7", set.clone()));
            let Support::SupportedNotUpgradable { why } = support else { panic!("{support:?}") };
            assert!(why.contains(&set.to_string()), "{why}");
        }
        let unread = Facts {
            feature_set: Fact::unknown("403"),
            ..openshift("4.19.7", FeatureSet::TechPreviewNoUpgrade)
        };
        let support = Support::of(&unread);
        assert!(matches!(support, Support::SupportedNotUpgradable { .. }), "{support:?}");
    }

    #[test]
    fn an_old_release_is_unsupported_whatever_its_gates() {
        let facts = openshift("4.18.20", FeatureSet::TechPreviewNoUpgrade);
        let support = Support::of(&facts);
        assert_eq!(support.reasons().len(), 1, "{support:?}");
        assert!(support.reasons()[0].reason.contains("4.18.20 is older than 4.19"));
        let (_, remedy) = support.block().expect("it blocks");
        assert_eq!(remedy, "use OpenShift 4.20 or newer");
    }

    #[test]
    fn every_reason_is_reported_and_each_remedy_once() {
        let facts = Facts {
            keeps_host_users: off(),
            keeps_proc_mount: off(),
            scc_schema: off(),
            sccs: Fact::known(std::collections::BTreeMap::new(), "test"),
            ..openshift("4.19.7", FeatureSet::Default)
        };
        let (reason, remedy) = Support::of(&facts).block().expect("it blocks");
        for words in ["UserNamespacesSupport", "ProcMountType", "userNamespaceLevel", "shipped"] {
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(remedy.matches("TechPreviewNoUpgrade").count(), 1, "{remedy}");
        assert!(remedy.contains("can't be updated to another minor release"), "{remedy}");
    }

    #[test]
    fn a_rollout_makes_no_verdict_and_blocks() {
        let what = vec!["the MachineConfigPool `worker` is updating".to_owned()];
        let facts = Facts {
            rollout: Fact::known(Rollout::InProgress { what }, "test"),
            keeps_host_users: off(),
            ..openshift("4.19.7", FeatureSet::Default)
        };
        let support = Support::of(&facts);
        assert!(matches!(support, Support::Inconclusive { rollout: true, .. }), "{support:?}");
        assert!(support.block().is_some_and(|(reason, _)| reason.contains("`worker`")));
    }

    #[test]
    fn what_is_unknown_blocks_nothing() {
        let facts = Facts {
            keeps_host_users: Fact::unknown("403"),
            server_user_namespaces_gate: Fact::unknown("403"),
            nodes: Fact::unknown("403"),
            ..able()
        };
        let support = Support::of(&facts);
        assert!(matches!(support, Support::Inconclusive { rollout: false, .. }), "{support:?}");
        assert_eq!(support.reasons().len(), 1, "one refusal is told once");
        assert_eq!(support.block(), None);
    }

    #[test]
    fn contradictions_are_found() {
        assert_eq!(contradictions(&able()), [""; 0]);
        let facts = Facts {
            server_user_namespaces_gate: off(),
            scc_schema: off(),
            ..openshift("4.20.1", FeatureSet::Default)
        };
        let found = contradictions(&facts);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("UserNamespacesSupport is on by the test, but off"), "{found:?}");
        assert!(found[1].contains("lacks `userNamespaceLevel`, which release 4.20.1 has"));
    }
}
