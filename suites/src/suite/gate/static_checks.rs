//! What is said of the gates in different places.

use harness::{
    base::text::on_or_off,
    engine::{Case, CaseKind, CheckResult},
    facts::{Facts, Gate, Node, requirement::UserNamespaces},
    verdict::Level,
    workload::truth::check,
};

use crate::suite::{
    OPENSHIFT,
    static_checks::{always, at_rest, blocked, known, nodes, unread, version},
};

/// The first minor version of Kubernetes whose kubelets can't have the gate off (KEP-127).
const LOCKED: u32 = 36;

// All of them need rights that a run does without.
inventory::submit!(Case {
    id: "GATE-03",
    suite: "gate",
    name: "says_what_it_does",
    title: "The API server's metrics about feature gates agree with its behaviour",
    why: "If metrics and behaviour disagree, several API servers have different settings, or \
          something between them and nestcheck changes pods. Every other verdict then depends on \
          which server answered.",
    fix: "Compare `--feature-gates` of all API servers, and look for a mutating webhook on pods.",
    level: Level::Extended,
    kind: CaseKind::Static(says_what_it_does),
    ..Case::DEFAULT
});

fn says_what_it_does(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let mut checks = Vec::new();
        let mut unknown = None;
        let mut lost = None;
        for gate in Gate::ALL {
            let Some(behaviour) = facts.behaviour(gate) else { continue };
            let metric = facts.server_gate(gate);
            lost = lost.or(facts.lost_on_the_way(gate).map(|source| (gate, source)));
            if let (Some(does), Some(says)) = (behaviour.value(), metric.value()) {
                let expected = format!("{}, as it does", on_or_off(*does));
                let name = format!("{gate} in the API server's metrics");
                checks.push(check(&name, &expected, on_or_off(*says), does == says));
            } else {
                unknown = behaviour.why_unknown().or(metric.why_unknown()).or(unknown);
            }
        }
        if checks.is_empty() {
            return Err(unread(unknown.unwrap_or("the feature gates are not known")));
        }
        let hint = "several API servers with different gates answer, or a webhook changes pods: \
                    compare the API servers' `--feature-gates`";
        match lost {
            None => Ok(CheckResult::of(checks, hint)),
            Some((gate, source)) => {
                let hint = format!(
                    "{gate} can't be off in this release: an admission policy or webhook changes \
                     pods ({source})"
                );
                Ok(CheckResult::of(checks, &hint))
            }
        }
    })
}

inventory::submit!(Case {
    id: "GATE-04",
    suite: "gate",
    name: "does_what_is_configured",
    title: "The FeatureGate object agrees with the API server's behaviour",
    why: "Administrators and operators rely on the FeatureGate object. If it contradicts the API \
          server, a change was not rolled out, or somebody made it without the operator.",
    fix: "Look at the status of the ClusterOperators `config-operator` and `kube-apiserver`, and \
          wait for the rollout to end.",
    level: Level::Informing,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(does_what_is_configured),
    ..Case::DEFAULT
});

fn does_what_is_configured(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let configured = known(&facts.configured_gates)?;
        let mut checks = Vec::new();
        for gate in Gate::ALL {
            let read = [facts.behaviour(gate), Some(facts.server_gate(gate))];
            let observed = read.into_iter().flatten().find_map(|fact| fact.value().copied());
            if let Some(does) = observed {
                let configured = configured.of(gate);
                let expected =
                    format!("{}, as the API server does, or not listed", on_or_off(does));
                let holds = configured.is_on().is_none_or(|on| on == does);
                let name = format!("{gate} in the FeatureGate");
                checks.push(check(&name, &expected, configured.to_string(), holds));
            }
        }
        if checks.is_empty() {
            let reason = facts.keeps_host_users.why_unknown();
            return Err(unread(reason.unwrap_or("what the API server does is not known")));
        }
        let hint = "the API server has not taken on what is configured: see the status of the \
                    ClusterOperators `config-operator` and `kube-apiserver`";
        Ok(CheckResult::of(checks, hint))
    })
}

// A contradiction is worth a look; what the API server does is GATE-01's and GATE-02's to judge.
inventory::submit!(Case {
    id: "GATE-05",
    suite: "gate",
    name: "has_a_feature_set_that_allows_updates",
    title: "The feature set does not prevent updates of the cluster",
    why: "Before 4.20, only feature sets that permanently block updates to another minor release \
          enable the gates. Anyone who qualifies a release must know this.",
    fix: "Use OpenShift 4.20 or newer with the feature set Default. TechPreviewNoUpgrade and \
          CustomNoUpgrade cannot be reverted.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(has_a_feature_set_that_allows_updates),
    ..Case::DEFAULT
});

fn has_a_feature_set_that_allows_updates(facts: &Facts) -> CheckResult {
    always(|| {
        let set = known(&facts.feature_set)?;
        let upgradeable = known(&facts.upgradeable)?;
        let source = facts.upgradeable.source().unwrap_or_default();
        let (expected, observed, holds) = if set.prevents_upgrades() {
            let observed = format!(
                "warning: {set}, with which the cluster can't be updated to another minor release \
                 ({source})"
            );
            ("Default, or a warning", observed, true)
        } else {
            let blamed = !upgradeable && source.contains("FeatureGates");
            let state = if *upgradeable { "upgradeable" } else { "not upgradeable" };
            ("none that prevents updates", format!("{set}, {state} ({source})"), !blamed)
        };
        let checks = vec![check("feature set", expected, observed, holds)];
        let hint = "the ClusterVersion still blames a feature set that is not set: see the \
                    ClusterOperator `config-operator`";
        Ok(CheckResult::of(checks, hint))
    })
}

inventory::submit!(Case {
    id: "GATE-06",
    suite: "gate",
    name: "is_on_in_every_kubelet",
    title: "Every kubelet has the feature gate UserNamespacesSupport on",
    why: "The API server may keep the field while a kubelet has its gate off, for example in a \
          machine config pool that was paused during the change. Pods on that node never start.",
    fix: "Unpause the machine config pool, or set `featureGates: {UserNamespacesSupport: true}` \
          in the kubelet's configuration, and restart the kubelet on the named node.",
    level: Level::Extended,
    requires: &[&UserNamespaces],
    kind: CaseKind::Static(is_on_in_every_kubelet),
    ..Case::DEFAULT
});

/// What to do where the kubelets' gates are unknown, which is usual.
const OF_KUBELETS: &str = "nothing: the pods of the other cases show whether it is on. The gates of the \
     kubelets need the permission of `nestcheck preflight --print-rbac --with kubelet-metrics`, which \
     also permits commands in every pod";

/// A kubelet that has it off is blocked as a requirement that is unmet.
fn is_on_in_every_kubelet(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let mut checks = Vec::new();
        for node in nodes(facts)? {
            let name =
                format!("{} on the kubelet of node `{}`", Gate::UserNamespacesSupport, node.name);
            let (observed, holds) = match node.kubelet_gate.value() {
                Some(on) => (on_or_off(*on).to_owned(), *on),
                None if is_locked(node) => {
                    (format!("on for good in kubelet {}", node.kubelet), true)
                }
                None => {
                    let reason = node.kubelet_gate.why_unknown().unwrap_or("not known");
                    return Err(blocked(format!("node `{}`: {reason}", node.name), OF_KUBELETS));
                }
            };
            checks.push(check(&name, "on", observed, holds));
        }
        Ok(CheckResult::of(checks, "turn the feature gate on in the kubelet's configuration"))
    })
}

fn is_locked(node: &Node) -> bool {
    version(&node.kubelet).is_some_and(|version| version >= (1, LOCKED))
}

#[cfg(test)]
mod tests {
    use harness::facts::{Configured, ConfiguredGates, Fact, FeatureSet};

    use super::*;
    use crate::suite::static_checks::tests::{
        evaluate, expect, kubernetes, node, openshift, openshift_4_19, updating, with_nodes,
    };

    fn off() -> Fact<bool> {
        Fact::known(false, "test")
    }

    #[test]
    fn metrics_must_say_what_the_server_does() {
        expect("GATE-03", &kubernetes(), "pass", "");
        let both_off =
            Facts { keeps_host_users: off(), server_user_namespaces_gate: off(), ..kubernetes() };
        expect("GATE-03", &both_off, "pass", "");
        let lies = Facts { server_proc_mount_gate: off(), ..kubernetes() };
        expect("GATE-03", &lies, "fail", "ProcMountType in the API server's metrics");
        let half = Facts { server_proc_mount_gate: Fact::unknown("403"), ..kubernetes() };
        expect("GATE-03", &half, "pass", "");
        let unread = Facts { server_user_namespaces_gate: Fact::unknown("403"), ..half };
        expect("GATE-03", &unread, "blocked", "403");
    }

    fn configured(support: Configured, openshift: Facts) -> Facts {
        let gates = ConfiguredGates {
            user_namespaces_support: support,
            proc_mount_type: Configured::NotListed,
            user_namespaces_pod_security_standards: Configured::NotListed,
        };
        Facts { configured_gates: Fact::known(gates, "FeatureGate"), ..openshift }
    }

    #[test]
    fn the_server_must_do_what_is_configured_or_nothing_is() {
        let good = || openshift("4.20.1", FeatureSet::Default);
        expect("GATE-04", &configured(Configured::Enabled, good()), "pass", "");
        expect("GATE-04", &configured(Configured::NotListed, good()), "pass", "");
        expect("GATE-04", &configured(Configured::Disabled, openshift_4_19()), "pass", "");
        let named = "UserNamespacesSupport in the FeatureGate";
        expect("GATE-04", &configured(Configured::Disabled, good()), "fail", named);
        expect("GATE-04", &configured(Configured::Enabled, openshift_4_19()), "fail", named);
        let updating = updating(configured(Configured::Disabled, good()));
        expect("GATE-04", &updating, "blocked", "being updated");
        expect("GATE-04", &kubernetes(), "not-applicable", "kubernetes");
        let unread = Facts { configured_gates: Fact::unknown("403"), ..good() };
        expect("GATE-04", &unread, "blocked", "403");
        let blind = Facts {
            keeps_host_users: Fact::unknown("403"),
            keeps_proc_mount: Fact::unknown("403"),
            server_user_namespaces_gate: Fact::unknown("403"),
            server_proc_mount_gate: Fact::unknown("403"),
            server_pod_security_gate: Fact::unknown("403"),
            ..configured(Configured::Enabled, good())
        };
        expect("GATE-04", &blind, "blocked", "403");
    }

    #[test]
    fn a_feature_set_that_prevents_updates_passes_with_a_warning() {
        expect("GATE-05", &openshift_4_19(), "pass", "");
        let tech_preview = openshift("4.19.7", FeatureSet::TechPreviewNoUpgrade);
        expect("GATE-05", &tech_preview, "pass", "");
        let observed = &evaluate("GATE-05", &tech_preview).checks[0].observed;
        assert!(observed.starts_with("warning: TechPreviewNoUpgrade"), "{observed}");
        let not_upgradeable = |source| Facts {
            upgradeable: Fact::known(false, source),
            ..openshift("4.20.1", FeatureSet::Default)
        };
        expect("GATE-05", &not_upgradeable("AdminAckRequired"), "pass", "");
        let blamed = not_upgradeable("FeatureGates_RestrictedFeatureGates_TechPreviewNoUpgrade");
        expect("GATE-05", &blamed, "fail", "FeatureGates_Restricted");
        let unread = Facts { feature_set: Fact::unknown("403"), ..openshift_4_19() };
        expect("GATE-05", &unread, "blocked", "403");
    }

    #[test]
    fn every_kubelet_must_have_the_gate_on() {
        expect("GATE-06", &kubernetes(), "pass", "");
        let mut two = node("two");
        two.kubelet_gate = off();
        let one_off = with_nodes(kubernetes(), vec![node("one"), two.clone()]);
        expect("GATE-06", &one_off, "blocked", "`two`");
        two.kubelet_gate = Fact::unknown("403");
        let unread = with_nodes(kubernetes(), vec![node("one"), two.clone()]);
        expect("GATE-06", &unread, "blocked", "node `two`: 403");
        two.kubelet = "v1.36.0".into();
        expect("GATE-06", &with_nodes(kubernetes(), vec![node("one"), two]), "pass", "");
        expect("GATE-06", &with_nodes(kubernetes(), Vec::new()), "blocked", "no schedulable node");
    }
}
