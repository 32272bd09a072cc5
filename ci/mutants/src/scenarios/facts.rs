//! Clusters that are read to be something else than the local one is.

use harness::facts::{Fact, Facts};

use crate::mutant::{Kill, Mutant, Scenario, Stage};

pub(super) const ALL: &[Scenario] = &[KIND, VERSION, HANDLER];

const KIND: Scenario = Scenario {
    name: "unknown-kind",
    stage: Stage::Facts(|facts| facts.flavour = Fact::unknown("the API groups can't be read")),
    cases: &[],
    mutants: &[Mutant {
        name: "unreadable-groups",
        breaks: "What kind of cluster it is can't be read",
        kills: &[Kill("PRE-01", "the API groups can't be read")],
    }],
    // What is unknown fails nothing.
    blocked: &["PRE-01"],
    dependants: &["SCC-01"],
};

const VERSION: Scenario = Scenario {
    name: "skew",
    stage: Stage::Facts(|facts| {
        let newer = format!("v1.{}.0", facts.version.minor + 1);
        change_nodes(facts, |node| node.kubelet.clone_from(&newer));
    }),
    cases: &[],
    mutants: &[Mutant {
        name: "newer-kubelets",
        breaks: "The kubelets are newer than the API server",
        kills: &[Kill("PRE-02", "kubelet of node")],
    }],
    blocked: &[],
    dependants: &[],
};

const HANDLER: Scenario = Scenario {
    name: "old-runtime",
    stage: Stage::Facts(|facts| {
        change_nodes(facts, |node| node.user_namespaces = Fact::known(false, "the node's status"));
    }),
    cases: &[],
    mutants: &[Mutant {
        name: "handler-without-user-namespaces",
        breaks: "The runtime handler says that it can't make user namespaces",
        kills: &[Kill("PRE-06", "can't make user namespaces")],
    }],
    // What it asserts is what it requires, too.
    blocked: &["PRE-06"],
    dependants: &["GATE-06", "PRE-05"],
};

fn change_nodes(facts: &mut Facts, change: impl Fn(&mut harness::facts::Node)) {
    if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
        nodes.iter_mut().for_each(change);
    }
}
