//! What the cluster is, as a whole.

use harness::{
    engine::{Case, CaseKind, CheckResult},
    facts::{
        Facts, Flavour, Rollout, Severity,
        requirement::{
            Decision, KubernetesMinor, Requirement, SupportedRelease, UserNamespaceLevel,
        },
        support::Support,
    },
    verdict::{Level, event::TruthCheck},
    workload::truth::check,
};

use crate::suite::{
    OPENSHIFT, WITH_SCCS,
    static_checks::{
        REMEDY_OF_ROLLOUT, always, at_rest, blocked, known, nodes, not_applicable, unread, version,
    },
};

/// How many minor versions a kubelet may be older than the API server
/// (kubernetes.io/releases/version-skew-policy).
const SKEW: u32 = 3;

inventory::submit!(Case {
    id: "PRE-01",
    suite: "preflight",
    name: "is_of_a_known_kind",
    title: "The flavour of the cluster is known, with its source",
    why: "The flavour of the cluster decides which cases apply and how it admits pods. nestcheck \
          reads the flavour from the API groups that the server offers and never asks for it. A \
          wrong flag therefore cannot turn an OpenShift cluster into plain Kubernetes with \
          unchecked SCCs.",
    fix: "Look at which API groups the cluster serves (`kubectl api-versions`). A cluster with \
          `config.openshift.io` but without a ClusterVersion, or with only half of OpenShift's \
          groups, was assembled by hand.",
    kind: CaseKind::Static(is_of_a_known_kind),
    ..Case::DEFAULT
});

fn is_of_a_known_kind(facts: &Facts) -> CheckResult {
    always(|| {
        let flavour = known(&facts.flavour)?;
        let made_by = facts.distribution().map(|program| format!(", made by {program}"));
        let source = facts.flavour.source().unwrap_or_default();
        let observed =
            format!("{flavour}{} (read from: {source})", made_by.as_deref().unwrap_or_default());
        let mut checks =
            vec![check("kind of cluster", "openshift, microshift or kubernetes", observed, true)];
        if let Some(release) = facts.release.value() {
            let observed = release.as_ref().map_or("none".to_owned(), ToString::to_string);
            let (expected, holds) = match flavour {
                Flavour::OpenShift | Flavour::MicroShift => ("one", release.is_some()),
                Flavour::Kubernetes => ("none", release.is_none()),
            };
            checks.push(check("release of OpenShift or MicroShift", expected, observed, holds));
        }
        Ok(CheckResult::of(checks, "the API groups and the release are of different products"))
    })
}

// From 1.30 on the gate is beta, and the API server asks for `hostUsers: false` with Unmasked.
inventory::submit!(Case {
    id: "PRE-02",
    suite: "preflight",
    name: "has_a_version_in_scope",
    title: "The version is supported, and every kubelet is within the version skew of the API \
        server",
    why: "Before Kubernetes 1.30 the API server accepted an unmasked /proc without a user \
          namespace. A kubelet that is newer than its API server, or more than three minor \
          versions older, is unsupported.",
    fix: "Update the API server first and then the kubelets. On OpenShift use 4.19 with the \
          feature set TechPreviewNoUpgrade, or 4.20 or newer.",
    requires: &[&SupportedRelease, &KubernetesMinor(30)],
    kind: CaseKind::Static(has_a_version_in_scope),
    ..Case::DEFAULT
});

fn has_a_version_in_scope(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let server = facts.version.minor;
        let oldest = server.saturating_sub(SKEW);
        let mut checks = vec![in_scope(facts)];
        for node in nodes(facts)? {
            let Some((1, kubelet)) = version(&node.kubelet) else {
                let text = &node.kubelet;
                return Err(unread(format!("node `{}` has a kubelet `{text}`", node.name)));
            };
            checks.push(check(
                &format!("kubelet of node `{}`", node.name),
                &format!("from 1.{oldest} to 1.{server}, the API server's own"),
                &node.kubelet,
                (oldest..=server).contains(&kubelet),
            ));
        }
        let hint = "Kubernetes does not support it: update the API server first, then the \
                    kubelets, which may be three minor versions older";
        Ok(CheckResult::of(checks, hint))
    })
}

/// An older version does not get here: it is blocked.
fn in_scope(facts: &Facts) -> TruthCheck {
    let full = &facts.version.full;
    match facts.release.value() {
        Some(Some(release)) => {
            let observed = format!("{release} with Kubernetes {full}");
            check("version", "a release with nested containers", observed, true)
        }
        _ => check("version", "Kubernetes 1.30 or newer", full, true),
    }
}

// The cases that act are blocked by a rollout anyway.
inventory::submit!(Case {
    id: "PRE-03",
    suite: "preflight",
    name: "is_at_rest",
    title: "No rollout is in progress",
    why: "During the rollout of a release or of a machine configuration, some nodes are old and \
          some are new. A verdict would hold on one node only, and only for a moment.",
    fix: "Wait until the ClusterVersion no longer progresses, all machine config pools are \
          updated, and none is paused. Then run nestcheck again.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(is_at_rest),
    ..Case::DEFAULT
});

fn is_at_rest(facts: &Facts) -> CheckResult {
    always(|| match known(&facts.rollout)? {
        Rollout::InProgress { what } => Err(blocked(what.join("; "), REMEDY_OF_ROLLOUT)),
        Rollout::None => {
            let source = facts.rollout.source().unwrap_or_default();
            let observed = format!("none (read from: {source})");
            Ok(CheckResult::of(vec![check("rollout", "none", observed, true)], REMEDY_OF_ROLLOUT))
        }
    })
}

// Who may not read the schema learns it from the SCC as it is stored.
inventory::submit!(Case {
    id: "PRE-07",
    suite: "preflight",
    name: "can_require_user_namespaces",
    title: "The schema of SCCs has the field `userNamespaceLevel`",
    why: "If the CRD lacks the field `userNamespaceLevel`, the API server stores an SCC for \
          nested containers without its most important line. The SCC then admits pods in the \
          node's own user namespace with SETUID, SETGID and a weak SELinux type.",
    fix: "Use OpenShift 4.20 or newer, or 4.19 with the feature set TechPreviewNoUpgrade. On \
          older clusters, delete SCCs for nested containers.",
    level: Level::Extended,
    flavours: WITH_SCCS,
    requires: &[&SupportedRelease],
    kind: CaseKind::Static(can_require_user_namespaces),
    ..Case::DEFAULT
});

fn can_require_user_namespaces(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let has = *known(&facts.scc_schema)?;
        let release = facts.release.value().and_then(Option::as_ref);
        // Where the release should have it, it is a defect; elsewhere, what this cluster is.
        if !has
            && !release.is_some_and(|release| release.at_least(4, 20))
            && let Decision::Unmet { reason, remedy } = UserNamespaceLevel.decide(facts)
        {
            return Err(blocked(reason, remedy));
        }
        let observed = if has { "in the schema" } else { "absent" };
        let checks = vec![check("`userNamespaceLevel`", "in the schema", observed, has)];
        let hint = "the release has the field, so an older schema was applied over its own: \
                    restore the CustomResourceDefinition \
                    `securitycontextconstraints.security.openshift.io`";
        Ok(CheckResult::of(checks, hint))
    })
}

inventory::submit!(Case {
    id: "PRE-08",
    suite: "preflight",
    name: "has_operators_that_fit",
    title: "The settings of the workspace operators contradict neither the cluster nor each \
         other",
    why: "Dev Spaces and the DevWorkspace Operator write the security context of a workspace. \
          With old versions or contradictory settings, workspaces start without isolation or \
          never start. The same holds for the annotation that requests devices: OpenShift's \
          nodes need `io.kubernetes.cri-o.Devices`, MicroShift's with CRI-O 1.35 or newer need \
          `devices.crio.io`. The wrong name alone gives no device.",
    fix: "Read the finding: it names the object and the field. In most cases, set \
          `disableContainerRunCapabilities: false` on the CheCluster and let it write the \
          DevWorkspaceOperatorConfig, with DevWorkspace Operator 0.40 or newer.",
    level: Level::Informing,
    kind: CaseKind::Static(has_operators_that_fit),
    ..Case::DEFAULT
});

fn has_operators_that_fit(facts: &Facts) -> CheckResult {
    use harness::facts::State;
    always(|| {
        let state = facts.devspaces.state();
        match &state {
            State::Absent => {
                return Err(not_applicable("neither Che nor the DevWorkspace Operator is here"));
            }
            State::Unknown(reason) => return Err(unread(reason)),
            State::On(_) | State::Off(_) => {}
        }
        let mut checks =
            vec![check("containers in workspaces", "told on or off", state.to_string(), true)];
        let flavour = facts.flavour.value().copied();
        let findings =
            facts.devspaces.findings(&Support::of(facts), flavour, &facts.sccs, &facts.runtimes());
        let hint = findings.first().map(|finding| finding.remedy.clone()).unwrap_or_default();
        checks.extend(findings.iter().map(|finding| {
            let holds = finding.severity == Severity::Note;
            let name = format!("{} of the operators", finding.severity);
            check(&name, "no contradiction", finding.finding.clone(), holds)
        }));
        Ok(CheckResult::of(checks, &hint))
    })
}
