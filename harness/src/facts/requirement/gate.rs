//! What the requirements have in common that are about feature gates.

use super::Decision;
use crate::facts::{Evidence, FIRST_DEFAULT, FIRST_WITH_FREE_GATES, Fact, Facts, Flavour, Gate};

pub(super) fn decide_server_gate(facts: &Facts, gate: Gate) -> Decision {
    match facts.evidence(gate).into_iter().next() {
        Some(Evidence { on: false, source }) => gate_off(facts, gate, "API server", &source),
        _ => Decision::Met,
    }
}

pub(super) fn unknown_gate(facts: &Facts, gate: Gate) -> Option<&str> {
    let is_unknown = facts.evidence(gate).is_empty();
    facts.behaviour(gate).filter(|_| is_unknown).and_then(Fact::why_unknown)
}

pub(super) fn gate_off(facts: &Facts, gate: Gate, component: &str, source: &str) -> Decision {
    let remedy = match facts.flavour.value() {
        Some(Flavour::OpenShift | Flavour::MicroShift) => remedy(facts, component),
        _ => format!(
            "turn {gate} on for the API server and every kubelet (`--feature-gates={gate}=true`); \
             it is on by default from Kubernetes 1.33 and OpenShift 4.20"
        ),
    };
    Decision::unmet(
        format!("the feature gate {gate} is off on the {component} (read from: {source})"),
        remedy,
    )
}

/// What helps where OpenShift or MicroShift lacks what later releases have by default.
pub(super) fn remedy(facts: &Facts, component: &str) -> String {
    let (major, minor) = FIRST_DEFAULT;
    let is_default = facts.is_at_least(FIRST_DEFAULT) == Some(true);
    match facts.flavour.value() {
        Some(Flavour::MicroShift) if facts.is_at_least(FIRST_WITH_FREE_GATES) == Some(true) => {
            "use the feature gates that MicroShift sets by itself: take those of \
             `apiServer.featureGates` out of its configuration"
                .to_owned()
        }
        Some(Flavour::MicroShift) if is_default => format!(
            "see who changes pods on their way to the API server: MicroShift {major}.{minor} turns \
             the gate on by itself and has no setting for it"
        ),
        Some(Flavour::MicroShift) => format!("use MicroShift {major}.{minor} or newer"),
        _ if component.starts_with("kubelet") => "see whether the node's MachineConfigPool, or \
             its NodePool where HyperShift hosts the control plane, is paused or degraded, and let \
             it take on the cluster's feature gates"
            .to_owned(),
        _ if is_default => "take the feature gate out of `customNoUpgrade.disabled` in the \
             FeatureGate `cluster`"
            .to_owned(),
        _ => format!(
            "use OpenShift {major}.{minor} or newer; or set `featureSet: TechPreviewNoUpgrade` in \
             the FeatureGate `cluster`, which can't be undone and after which the cluster can't be \
             updated to another minor release"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::facts::{KubernetesVersion, Release};

    #[test]
    fn the_remedy_names_the_setting_of_microshift_only_where_it_has_it() {
        let given = |version: &str| {
            let facts = Facts {
                flavour: Fact::known(Flavour::MicroShift, "test"),
                release: Fact::known(Release::parse(version), "test"),
                version: KubernetesVersion { minor: 33, full: "v1.33.4".to_owned() },
                ..able()
            };
            remedy(&facts, "API server")
        };
        assert!(given("4.21.0").contains("`apiServer.featureGates`"), "{}", given("4.21.0"));
        assert!(given("4.20.3").contains("has no setting for it"), "{}", given("4.20.3"));
        assert_eq!(given("4.19.7"), "use MicroShift 4.20 or newer");
    }
}
