//! UPG: what is said of old clusters, mixed ones, and those that are being changed.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, CheckResult, Context},
    facts::{
        Configured, Fact, Facts, Gate, Node, NodeGroup, Rollout,
        support::{Reason, Support},
    },
    sandbox::pod_template::{Isolation, PodTemplate},
    verdict::{CaseResult, Failure, Level, event::TruthCheck},
    workload::truth::{check, is_pod_map, show_map, show_reading},
};
use probe::{CapabilitySets, Reading};

use super::{
    OPENSHIFT, WITH_SCCS,
    static_checks::{always, at_rest, known, lacking, nodes, not_applicable},
};
use crate::fixtures::NESTED_POD;

/// The workspace, whatever the cluster makes of it.
const ADMITTED: PodTemplate =
    PodTemplate { name: "admitted", isolation: Isolation::Unchecked, devices: false, ..NESTED_POD };

// On a cluster whose SCCs can't require a user namespace, only a run without preflight gets
// so far; it is red anyway.
inventory::submit!(Case {
    id: "UPG-02",
    suite: "upgrade",
    name: "gives_every_admitted_pod_a_user_namespace",
    title: "A pod that the run's SCC admits has its own user namespace",
    why: "If the cluster's schema lacks the decisive field, the SCC for nested containers admits \
          pods that share the node's ids, with SETUID and SETGID. That is worse than no support.",
    fix: "Delete the SCC on this cluster, or update to a release whose schema has \
          `userNamespaceLevel`; see PRE-07.",
    level: Level::Informing,
    flavours: WITH_SCCS,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(gives_every_admitted_pod_a_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn gives_every_admitted_pod_a_user_namespace(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&ADMITTED)?;
    pod.metadata.name = Some(ADMITTED.name.to_owned());
    for container in &mut pod.spec.get_or_insert_default().containers {
        // Without a user namespace the API server would refuse it before the SCC is asked.
        container.security_context.get_or_insert_default().proc_mount = None;
    }
    let admitted = cx.provision_pod(&ADMITTED, &pod).await?;
    let map = &admitted.facts().uid_map;
    let observed = show_reading(map, |map| show_map(map));
    let holds = map.known().is_some_and(|map| is_pod_map(map));
    let expected = "a range of the pod's own above the node's ids";
    cx.check("/proc/self/uid_map of an admitted pod", expected, &observed, holds)
        .map_err(|_| finding(&cx, &observed, &admitted.facts().capabilities))
}

/// A pod with capabilities that are harmless in a user namespace got them on the node.
fn finding(cx: &Context, map: &str, capabilities: &Reading<CapabilitySets>) -> Failure {
    const LEVEL: &str = "userNamespaceLevel";
    let scc = cx.sandbox().scc();
    let lost = scc.is_some_and(|it| it.differences.iter().any(|lost| lost.field == LEVEL));
    let stored = if lost { "is stored without" } else { "has no effect by its" };
    let name = scc.map_or("", |scc| &scc.name);
    let bounding = show_reading(capabilities, |sets| sets.bounding.to_string());
    Failure::product(format!(
        "security finding: the SCC `{name}` {stored} `{LEVEL}` and admits a pod with SETUID \
         and SETGID into the node's user namespace (its /proc/self/uid_map is {map}, its bounding \
         capabilities are {bounding})"
    ))
    .with_hint(Some(
        "make no SCC for nested containers here and remove those that were made: use \
         OpenShift 4.20 or newer, where the API server keeps the field and requires what it says",
    ))
}

/// What must be among the reasons: what it is about, and words of the reason.
struct Expected(&'static str, String);

inventory::submit!(Case {
    id: "UPG-01",
    suite: "upgrade",
    name: "tells_unsupported_with_every_reason",
    title: "nestcheck reports a cluster without nested containers as unsupported, with each reason and a \
         remedy",
    why: "For an unsupported cluster, nestcheck reports every reason with its remedy, not just \
          the first failure that occurs.",
    fix: "Read the reasons. Each one names what is missing, where nestcheck read it, and what to \
          do.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(reports_unsupported_with_every_reason),
    ..Case::DEFAULT
});

fn reports_unsupported_with_every_reason(facts: &Facts) -> CheckResult {
    let support = Support::of(facts);
    let Support::Unsupported { reasons } = &support else {
        return not_applicable("nothing that is known makes this cluster unsupported");
    };
    let mut checks = vec![check("verdict", "unsupported", "unsupported", true)];
    checks.extend(expected_reasons(facts).into_iter().map(|Expected(what, words)| {
        let reported = reasons.iter().find(|reason| reason.reason.contains(&words));
        let observed = reported.map_or("not reported", |reason| &reason.reason);
        check(what, &format!("reported with `{words}`"), observed, reported.is_some())
    }));
    let silent = |reason: &&Reason| reason.reason.is_empty() || reason.remedy.is_empty();
    let observed = match reasons.iter().find(silent) {
        Some(reason) => format!("none for `{}`", reason.reason),
        None => format!("{} of {}", reasons.len(), reasons.len()),
    };
    let holds = !reasons.iter().any(|reason| silent(&reason));
    checks.push(check("reasons with a remedy", "all", observed, holds));
    CheckResult::of(checks, "nestcheck is wrong about this cluster: report it as a bug")
}

/// The reasons that must be told, straight from what was read.
fn expected_reasons(facts: &Facts) -> Vec<Expected> {
    let no = |fact: &Fact<bool>| fact.value() == Some(&false);
    let mut expected = Vec::new();
    let release = facts.release.value().and_then(Option::as_ref);
    if let Some(release) = release.filter(|release| !release.at_least(4, 19)) {
        expected.push(Expected("the old release", format!("{release} is older than")));
    }
    if no(&facts.keeps_host_users) {
        let words = format!("{} is off on the API server", Gate::UserNamespacesSupport);
        expected.push(Expected("the dropped `hostUsers`", words));
    } else if let Some(node) =
        facts.nodes.value().and_then(|nodes| nodes.iter().find(|node| no(&node.kubelet_gate)))
    {
        let words = format!("`{}`", node.name);
        expected.push(Expected("the kubelet without the gate", words));
    }
    if no(&facts.keeps_proc_mount) {
        let words = format!("{} is off on the API server", Gate::ProcMountType);
        expected.push(Expected("the reset `procMount`", words));
    }
    if no(&facts.scc_schema) {
        let words = "lacks `userNamespaceLevel`".to_owned();
        expected.push(Expected("the pruned field of SCCs", words));
        if facts.sccs.value().is_some_and(|all| !all.contains_key("nested-container")) {
            let words = "none for nested containers is shipped".to_owned();
            expected.push(Expected("the missing `nested-container`", words));
        }
    }
    expected
}

inventory::submit!(Case {
    id: "UPG-03",
    suite: "upgrade",
    name: "warns_of_feature_sets_that_prevent_updates",
    title: "nestcheck warns when only a feature set that prevents updates supports nested containers",
    why: "A cluster with a preview feature set works today and can never be updated. nestcheck \
          supports it with a warning.",
    fix: "Use OpenShift 4.20 or newer with the feature set Default for a cluster that you want to \
          keep.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(warns_of_feature_sets_that_prevent_updates),
    ..Case::DEFAULT
});

fn warns_of_feature_sets_that_prevent_updates(facts: &Facts) -> CheckResult {
    always(|| {
        let set = known(&facts.feature_set)?;
        if !set.prevents_upgrades() {
            return Err(not_applicable(format!("the feature set {set} prevents no updates")));
        }
        let support = Support::of(facts);
        let (observed, holds) = match &support {
            Support::SupportedNotUpgradable { why } => (format!("supported, but {why}"), true),
            Support::Supported => ("supported".to_owned(), false),
            Support::Unsupported { .. } | Support::Inconclusive { .. } => {
                return Err(lacking(&support));
            }
        };
        let expected = "supported, with a warning that the cluster can't be updated";
        let checks = vec![check("verdict", expected, observed, holds)];
        Ok(CheckResult::of(checks, "nestcheck is wrong about this cluster: report it as a bug"))
    })
}

// That nodes differ is no failure by itself, but what works on one may not on another.
inventory::submit!(Case {
    id: "UPG-04",
    suite: "upgrade",
    name: "has_nodes_that_are_alike",
    title: "All nodes have the same versions, gates and runtime",
    why: "If nodes have different versions, a verdict holds only for the nodes on which the pods \
          ran.",
    fix: "Finish the update, or unpause the machine config pool that lags behind. Run nestcheck \
          again when all nodes have the same version.",
    level: Level::Informing,
    kind: CaseKind::Static(has_nodes_that_are_equal),
    ..Case::DEFAULT
});

fn has_nodes_that_are_equal(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let nodes = nodes(facts)?;
        if let [only] = nodes {
            return Err(not_applicable(format!("`{}` is the only node", only.name)));
        }
        let groups = NodeGroup::all(nodes);
        let usual = groups.first().and_then(|group| group.nodes.first());
        let checks = groups.iter().filter_map(|group| Some(compare(group, usual?))).collect();
        let hint = "what was proven on one node may not hold on another: let the nodes take on \
                    the same version and configuration, or keep workspaces on nodes that are alike";
        Ok(CheckResult::of(checks, hint))
    })
}

/// Compares nodes that are alike with the usual ones.
fn compare(group: &NodeGroup<'_>, usual: &Node) -> TruthCheck {
    let differences = group.nodes.first().map(|node| node.differences(usual)).unwrap_or_default();
    let observed =
        if differences.is_empty() { "like most".to_owned() } else { differences.join("; ") };
    let noun = if group.nodes.len() == 1 { "node" } else { "nodes" };
    check(&format!("{noun} {}", group.names()), "like most nodes", observed, differences.is_empty())
}

inventory::submit!(Case {
    id: "UPG-09",
    suite: "upgrade",
    name: "takes_no_unlisted_gate_for_off",
    title: "nestcheck does not report an unlisted feature gate as off",
    why: "Newer releases no longer list the gates, because nobody can disable them. If nestcheck \
          read a missing gate as “off”, it would call every new cluster unsupported.",
    fix: "This is a bug of nestcheck or of the API server's metrics: report it with the output of \
          `nestcheck preflight -o json`.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(takes_no_unlisted_gate_for_off),
    ..Case::DEFAULT
});

fn takes_no_unlisted_gate_for_off(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let gates = known(&facts.configured_gates)?;
        let mut unlisted = Gate::ALL
            .into_iter()
            .filter(|gate| gates.of(*gate) == Configured::NotListed)
            .peekable();
        if unlisted.peek().is_none() {
            return Err(not_applicable("the FeatureGate lists every gate"));
        }
        let support = Support::of(facts);
        let checks = unlisted.map(|gate| {
            let words = format!("{gate} is off");
            let reported = support.reasons().iter().find(|reason| reason.reason.contains(&words));
            // What a component does or says itself may still be told.
            let read = [facts.behaviour(gate), Some(facts.server_gate(gate))];
            let seen = read.into_iter().flatten().any(|fact| fact.value() == Some(&false))
                || facts.nodes.value().is_some_and(|nodes| {
                    nodes.iter().any(|node| node.kubelet_gate.value() == Some(&false))
                });
            let observed = reported.map_or("not said to be off", |reason| &reason.reason);
            let expected = "off only where a component itself shows it";
            check(&format!("{gate}, not listed"), expected, observed, reported.is_none() || seen)
        });
        let hint = "nestcheck is wrong about this cluster: report it as a bug";
        Ok(CheckResult::of(checks.collect(), hint))
    })
}

inventory::submit!(Case {
    id: "UPG-10",
    suite: "upgrade",
    name: "makes_no_verdict_during_a_rollout",
    title: "During a rollout nestcheck gives no verdict about the cluster",
    why: "During a rollout the answer changes from minute to minute, so nestcheck must not give \
          one.",
    fix: "Wait for the rollout to end and run nestcheck again.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Static(makes_no_verdict_during_a_rollout),
    ..Case::DEFAULT
});

fn makes_no_verdict_during_a_rollout(facts: &Facts) -> CheckResult {
    always(|| {
        let Rollout::InProgress { what } = known(&facts.rollout)? else {
            return Err(not_applicable("no rollout is in progress"));
        };
        let support = Support::of(facts);
        let is_inconclusive = matches!(support, Support::Inconclusive { rollout: true, .. });
        let verdict = if is_inconclusive { "inconclusive" } else { "another" };
        let reported = what.iter().all(|what| support.reasons().iter().any(|r| r.reason == *what));
        let checks = vec![
            check("verdict", "inconclusive", verdict, is_inconclusive),
            check("what is rolled out", "reported", what.join("; "), reported),
        ];
        Ok(CheckResult::of(checks, "nestcheck is wrong about this cluster: report it as a bug"))
    })
}

#[cfg(test)]
mod tests {
    use harness::facts::{ConfiguredGates, FeatureSet, Release};

    use super::*;
    use crate::suite::static_checks::tests::{
        evaluate, expect, kubernetes, node, openshift, openshift_4_19, updating, with_nodes,
    };

    #[test]
    fn an_unsupported_cluster_is_reported_with_every_reason() {
        expect("UPG-01", &openshift_4_19(), "pass", "");
        let checks = evaluate("UPG-01", &openshift_4_19()).checks;
        let names: Vec<_> = checks.iter().map(|check| &check.name).collect();
        let reported = [
            "verdict",
            "the dropped `hostUsers`",
            "the reset `procMount`",
            "the pruned field of SCCs",
            "the missing `nested-container`",
            "reasons with a remedy",
        ];
        assert_eq!(names, reported);
        expect("UPG-01", &openshift("4.20.1", FeatureSet::Default), "not-applicable", "nothing");
        expect("UPG-01", &updating(openshift_4_19()), "not-applicable", "nothing");
        expect("UPG-01", &kubernetes(), "not-applicable", "kubernetes");
        let old =
            Facts { release: Fact::known(Release::parse("4.18.2"), "test"), ..openshift_4_19() };
        expect("UPG-01", &old, "pass", "");
        let mut lacking = node("two");
        lacking.kubelet_gate = Fact::known(false, "test");
        let paused =
            with_nodes(openshift("4.20.1", FeatureSet::Default), vec![node("one"), lacking]);
        expect("UPG-01", &paused, "pass", "");
    }

    #[test]
    fn a_feature_set_that_prevents_updates_is_reported_where_it_works() {
        for set in [FeatureSet::TechPreviewNoUpgrade, FeatureSet::CustomNoUpgrade] {
            expect("UPG-03", &openshift("4.19.7", set.clone()), "pass", "");
            expect("UPG-03", &openshift("4.18.7", set), "blocked", "4.18.7 is older");
        }
        expect("UPG-03", &openshift_4_19(), "not-applicable", "Default");
        let unread = Facts { feature_set: Fact::unknown("403"), ..openshift_4_19() };
        expect("UPG-03", &unread, "blocked", "403");
        let tech_preview = openshift("4.19.7", FeatureSet::TechPreviewNoUpgrade);
        expect("UPG-03", &updating(tech_preview), "blocked", "being updated");
    }

    #[test]
    fn each_node_that_differs_is_named_with_what_differs() {
        expect("UPG-04", &kubernetes(), "not-applicable", "`one`");
        let equal = with_nodes(kubernetes(), vec![node("one"), node("two")]);
        expect("UPG-04", &equal, "pass", "");
        let (mut old, mut off) = (node("old"), node("off"));
        old.kubelet = "v1.32.9".into();
        old.kernel = "5.14.0-362.8.1.el9_3.x86_64".into();
        off.kubelet_gate = Fact::known(false, "test");
        let mixed = with_nodes(kubernetes(), vec![old, node("one"), node("two"), off]);
        let reported = "node `old`: expected like most nodes, observed kubelet v1.32.9, not v1.33.5; \
                    kernel 5.14.0-362";
        expect("UPG-04", &mixed, "fail", reported);
        let checks = evaluate("UPG-04", &mixed).checks;
        assert!(!checks[2].holds && checks[2].observed == "kubelet gate off, not on", "{checks:?}");
        assert!(checks[0].holds && checks[0].name == "nodes `one`, `two`", "{checks:?}");
        let mut silent = node("two");
        silent.kubelet_gate = Fact::unknown("403");
        expect("UPG-04", &with_nodes(kubernetes(), vec![node("one"), silent]), "pass", "");
        let unread = Facts { nodes: Fact::unknown("403"), ..kubernetes() };
        expect("UPG-04", &unread, "blocked", "403");
    }

    fn listing(listed: Configured) -> Facts {
        let gates = ConfiguredGates {
            user_namespaces_support: listed,
            proc_mount_type: listed,
            user_namespaces_pod_security_standards: listed,
        };
        let configured_gates = Fact::known(gates, "FeatureGate `cluster`");
        Facts { configured_gates, ..openshift("4.23.0", FeatureSet::Default) }
    }

    #[test]
    fn a_gate_that_is_not_listed_is_not_off() {
        expect("UPG-09", &listing(Configured::NotListed), "pass", "");
        expect("UPG-09", &listing(Configured::Enabled), "not-applicable", "lists every gate");
        let dropped = Facts {
            keeps_host_users: Fact::known(false, "dry run"),
            ..listing(Configured::NotListed)
        };
        expect("UPG-09", &dropped, "pass", "");
        let unread = Facts { configured_gates: Fact::unknown("403"), ..dropped };
        expect("UPG-09", &unread, "blocked", "403");
    }

    #[test]
    fn a_rollout_makes_no_verdict() {
        expect("UPG-10", &updating(openshift_4_19()), "pass", "");
        let at_rest = openshift("4.20.1", FeatureSet::Default);
        expect("UPG-10", &at_rest, "not-applicable", "no rollout");
        let unread = Facts { rollout: Fact::unknown("403"), ..at_rest };
        expect("UPG-10", &unread, "blocked", "403");
    }
}
