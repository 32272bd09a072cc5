//! What cases that judge facts have in common.
//!
//! A pass needs a truth check that holds. Unknown facts neither pass nor fail a case, they block
//! it; and while the cluster is being changed, what it is like holds for a moment only.

use harness::{
    engine::CheckResult,
    facts::{Fact, Facts, Node, Rollout, support::Support},
    verdict::Verdict,
};

/// What to do where a fact is unknown. Unlike [`harness::facts::support::REMEDY_OF_UNKNOWN`], which
/// preflight prints, it is for a reader who has a run already.
const REMEDY_IN_RUN: &str =
    "use a kubeconfig whose user may read it; without it only what happens in pods counts";

/// What to do while the cluster is being changed.
pub(super) const REMEDY_OF_ROLLOUT: &str = "wait until the cluster is at rest, then run it again";

/// A judgement, or the one that stands in for it because it can't be made.
pub(super) type Evaluated = Result<CheckResult, CheckResult>;

/// Judges a cluster that is at rest.
pub(super) fn at_rest(facts: &Facts, evaluate: impl FnOnce() -> Evaluated) -> CheckResult {
    match facts.rollout.value() {
        Some(Rollout::InProgress { what }) => blocked(what.join("; "), REMEDY_OF_ROLLOUT),
        _ => always(evaluate),
    }
}

/// Judges a cluster whether it is at rest or not.
pub(super) fn always(evaluate: impl FnOnce() -> Evaluated) -> CheckResult {
    evaluate().unwrap_or_else(|instead| instead)
}

/// The value of a fact that a case can't do without.
pub(super) fn known<T>(fact: &Fact<T>) -> Result<&T, CheckResult> {
    match fact {
        Fact::Known { value, .. } => Ok(value),
        Fact::Unknown { reason } => Err(unread(reason)),
        Fact::NotApplicable { reason } => Err(not_applicable(reason)),
    }
}

/// The nodes, of which there must be one.
pub(super) fn nodes(facts: &Facts) -> Result<&[Node], CheckResult> {
    match known(&facts.nodes)?.as_slice() {
        [] => Err(unread("the cluster has no schedulable node")),
        nodes => Ok(nodes),
    }
}

/// The facts that decide are unknown.
pub(super) fn unread(reason: impl Into<String>) -> CheckResult {
    blocked(reason, REMEDY_IN_RUN)
}

/// Nothing can be judged, for this reason.
pub(super) fn blocked(reason: impl Into<String>, remedy: impl Into<String>) -> CheckResult {
    CheckResult::without_checks(Verdict::blocked(reason, remedy))
}

/// Blocked by what the cluster lacks.
pub(super) fn lacking(support: &Support) -> CheckResult {
    let reasons = support.reasons().iter();
    let (reasons, remedies): (Vec<_>, Vec<_>) =
        reasons.map(|reason| (reason.reason.as_str(), reason.remedy.as_str())).unzip();
    blocked(reasons.join("; "), remedies.first().copied().unwrap_or(REMEDY_IN_RUN))
}

/// The assertion has no meaning on this cluster.
pub(super) fn not_applicable(reason: impl Into<String>) -> CheckResult {
    CheckResult::without_checks(Verdict::NotApplicable { reason: reason.into() })
}

/// The first two numbers of a version, such as those of `v1.32.5` and `2.0.0-rc.1`.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').splitn(3, '.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    });
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
pub(super) mod tests {
    use harness::{
        engine::{Case, CaseKind, plan::Plan},
        facts::{DevSpaces, DeviceRoute, FeatureSet, Flavour, KubernetesVersion, Release},
    };

    use super::*;

    /// The facts of a Kubernetes cluster on which everything works. A fact that no test here is about
    /// is unknown.
    pub(crate) fn kubernetes() -> Facts {
        let yes = || Fact::known(true, "test");
        let none = || "kubernetes clusters have none".to_owned();
        Facts {
            flavour: Fact::known(Flavour::Kubernetes, "API groups"),
            version: KubernetesVersion { minor: 33, full: "v1.33.5".into() },
            release: Fact::known(None, "test"),
            feature_set: Fact::NotApplicable { reason: none() },
            configured_gates: Fact::NotApplicable { reason: none() },
            upgradeable: Fact::NotApplicable { reason: none() },
            rollout: Fact::NotApplicable { reason: none() },
            scc_schema: Fact::NotApplicable { reason: none() },
            sccs: Fact::NotApplicable { reason: none() },
            keeps_host_users: yes(),
            keeps_proc_mount: yes(),
            server_user_namespaces_gate: yes(),
            server_proc_mount_gate: yes(),
            server_pod_security_gate: Fact::known(false, "test"),
            nodes: Fact::known(vec![node("one")], "test"),
            device_route: Fact::known(Some(DeviceRoute::Annotation), "test"),
            default_storage: Fact::known(None, "test"),
            devspaces: DevSpaces::absent(),
            ..Facts::default()
        }
    }

    /// The facts of an OpenShift cluster at rest on which everything works.
    pub(crate) fn openshift(version: &str, set: FeatureSet) -> Facts {
        Facts {
            flavour: Fact::known(Flavour::OpenShift, "API groups"),
            release: Fact::known(Release::parse(version), "test"),
            upgradeable: Fact::known(!set.prevents_upgrades(), "condition `Upgradeable`"),
            feature_set: Fact::known(set, "test"),
            configured_gates: Fact::unknown("the test says nothing of them"),
            rollout: Fact::known(Rollout::None, "test"),
            scc_schema: Fact::known(true, "test"),
            sccs: Fact::unknown("the test says nothing of them"),
            ..kubernetes()
        }
    }

    /// OpenShift 4.19 as it is by default: nothing works.
    pub(crate) fn openshift_4_19() -> Facts {
        let no = || Fact::known(false, "dry run");
        Facts {
            scc_schema: no(),
            keeps_host_users: no(),
            keeps_proc_mount: no(),
            sccs: Fact::known(std::collections::BTreeMap::new(), "test"),
            ..openshift("4.19.7", FeatureSet::Default)
        }
    }

    /// A node on which everything works.
    pub(crate) fn node(name: &str) -> Node {
        Node {
            name: name.into(),
            kubelet: "v1.33.5".into(),
            runtime: "cri-o://1.33.2".into(),
            kernel: "5.14.0-570.12.1.el9_6.x86_64".into(),
            operating_system: "Red Hat Enterprise Linux CoreOS".into(),
            takes_pods: true,
            user_namespaces: Fact::known(true, "test"),
            kubelet_gate: Fact::known(true, "test"),
            ..Node::default()
        }
    }

    /// The facts of the same cluster with these nodes.
    pub(crate) fn with_nodes(facts: Facts, nodes: Vec<Node>) -> Facts {
        Facts { nodes: Fact::known(nodes, "test"), ..facts }
    }

    /// The facts of the same cluster during a rollout.
    pub(crate) fn updating(facts: Facts) -> Facts {
        let what = vec!["the ClusterVersion is being updated to 4.20.1".to_owned()];
        Facts { rollout: Fact::known(Rollout::InProgress { what }, "test"), ..facts }
    }

    /// The case with this id.
    pub(crate) fn case(id: &str) -> Case {
        let found = crate::cases().into_iter().find(|case| case.id == id);
        found.unwrap_or_else(|| panic!("there is no case {id}"))
    }

    /// What a static case makes of this cluster.
    pub(crate) fn evaluate(id: &str, facts: &Facts) -> CheckResult {
        let case = case(id);
        assert!(matches!(case.kind, CaseKind::Static(_)), "{case:?}");
        let plan = Plan::new(vec![case], facts, false);
        plan.entries[0].evaluate(facts).expect("a static case needs no run")
    }

    /// The verdict of a case about this cluster: its name, and its message if it has one.
    pub(crate) fn verdict(id: &str, facts: &Facts) -> (&'static str, String) {
        let CheckResult { checks, verdict } = evaluate(id, facts);
        let proven = !checks.is_empty() && checks.iter().all(|check| check.holds);
        assert_eq!(verdict == Verdict::Pass, proven, "{id}: {verdict:?} {checks:?}");
        (verdict.name(), verdict.message().unwrap_or_default().to_owned())
    }

    /// Expects a verdict of this name whose message has these words.
    #[track_caller]
    pub(crate) fn expect(id: &str, facts: &Facts, name: &str, words: &str) {
        let (observed, message) = verdict(id, facts);
        assert!(observed == name && message.contains(words), "{id}: {observed}: {message}");
    }

    #[test]
    fn the_numbers_of_a_version_are_read() {
        assert_eq!(version("v1.32.5"), Some((1, 32)));
        assert_eq!(version("2.0.0-rc.1"), Some((2, 0)));
        assert_eq!(version("1.33+"), Some((1, 33)));
        assert_eq!(version("6.3"), Some((6, 3)));
        assert_eq!(version("5"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn nothing_is_evaluated_while_the_cluster_is_being_changed() {
        let evaluate = || Ok(not_applicable("judged"));
        assert_eq!(at_rest(&kubernetes(), evaluate).verdict.name(), "not-applicable");
        assert_eq!(at_rest(&updating(openshift_4_19()), evaluate).verdict.name(), "blocked");
    }
}
