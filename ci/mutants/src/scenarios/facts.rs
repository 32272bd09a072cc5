//! Facts that differ from those of the local cluster.

use harness::facts::{Fact, Facts};

use crate::scenario::{Kill, Mutant, Scenario, Target};

pub(super) const ALL: &[Scenario] = &[KIND, VERSION, HANDLER];

const KIND: Scenario = Scenario {
    name: "unknown-kind",
    target: Target::Facts(|facts| facts.flavour = Fact::unknown("the API groups can't be read")),
    mutants: &[Mutant {
        name: "unreadable-groups",
        breaks: "What kind of cluster it is can't be read",
        kills: &[Kill("PRE-01", "the API groups can't be read")],
    }],
    // What is unknown fails nothing.
    blocked: &["PRE-01"],
    also_affected: &["SCC-01"],
    ..Scenario::NEW
};

const VERSION: Scenario = Scenario {
    name: "skew",
    target: Target::Facts(|facts| {
        let newer = format!("v1.{}.0", facts.version.minor + 1);
        change_nodes(facts, |node| node.kubelet.clone_from(&newer));
    }),
    mutants: &[Mutant {
        name: "newer-kubelets",
        breaks: "The kubelets are newer than the API server",
        kills: &[Kill("PRE-02", "kubelet of node")],
    }],
    ..Scenario::NEW
};

const HANDLER: Scenario = Scenario {
    name: "old-runtime",
    target: Target::Facts(|facts| {
        change_nodes(facts, |node| node.user_namespaces = Fact::known(false, "the node's status"));
    }),
    mutants: &[Mutant {
        name: "handler-without-user-namespaces",
        breaks: "The runtime handler says that it can't make user namespaces",
        kills: &[Kill("PRE-06", "can't make user namespaces")],
    }],
    // What it asserts is what it requires, too.
    blocked: &["PRE-06"],
    also_affected: &["GATE-06", "PRE-05"],
    ..Scenario::NEW
};

fn change_nodes(facts: &mut Facts, change: impl Fn(&mut harness::facts::Node)) {
    if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
        nodes.iter_mut().for_each(change);
    }
}
