//! User namespaces for pods.

use super::{
    Decision, Requirement,
    gate::{decide_server_gate, gate_off, unknown_gate},
};
use crate::{
    base::repair::Repair,
    facts::{Fact, Facts, Gate, Node},
};

/// Pods get a user namespace with `hostUsers: false`: the gate on the API server and on the
/// kubelets, and a runtime that can.
#[derive(Clone, Copy, Debug)]
pub struct UserNamespaces;

impl UserNamespaces {
    /// What `nestcheck preflight` calls it.
    pub const TITLE: &str = "user namespaces for pods";

    const GATE: Gate = Gate::UserNamespacesSupport;
}

impl Requirement for UserNamespaces {
    fn describe(&self) -> String {
        "user namespaces for pods (gate UserNamespacesSupport, runtime, kernel)".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        let of_server = decide_server_gate(facts, Self::GATE);
        if of_server != Decision::Met {
            return of_server;
        }
        let nodes = facts.nodes.value().map_or(&[][..], Vec::as_slice);
        if let Some((names, source, _)) = lacking(nodes, |node| &node.kubelet_gate) {
            return gate_off(facts, Self::GATE, &format!("kubelet of {names}"), &source);
        }
        if let Some((names, source, node)) = lacking(nodes, |node| &node.user_namespaces) {
            return Decision::unmet(
                format!(
                    "the runtime {} of {names} can't make user namespaces (read from: {source})",
                    node.runtime
                ),
                "use containerd 2.0, CRI-O 1.25 or newer, with crun 1.9 or runc 1.2 or newer",
            );
        }
        Decision::Met
    }

    fn repairs(&self, facts: &Facts) -> Vec<Repair> {
        let nodes = facts.nodes.value().map_or(&[][..], Vec::as_slice);
        if decide_server_gate(facts, Self::GATE) != Decision::Met {
            vec![Repair::Gates]
        } else if lacking(nodes, |node| &node.kubelet_gate).is_some() {
            vec![Repair::KubeletGate]
        } else {
            // Only another runtime helps.
            Vec::new()
        }
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        let of_server = unknown_gate(facts, Self::GATE);
        of_server.or_else(|| facts.nodes.why_unknown()).map(str::to_owned)
    }
}

/// The nodes of which a fact is known to be false: their names in words, where that was read, and
/// the first of them.
fn lacking(nodes: &[Node], fact: impl Fn(&Node) -> &Fact<bool>) -> Option<(String, String, &Node)> {
    const NAMED: usize = 3;
    let lacking: Vec<_> = nodes.iter().filter(|node| fact(node).value() == Some(&false)).collect();
    let first = *lacking.first()?;
    let names: Vec<_> = lacking.iter().take(NAMED).map(|node| format!("`{}`", node.name)).collect();
    let noun = if lacking.len() == 1 { "node" } else { "nodes" };
    let more = match lacking.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let source = fact(first).source().unwrap_or_default().to_owned();
    Some((format!("{noun} {}{more}", names.join(", ")), source, first))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    /// The facts of an able cluster with another first node.
    fn with_first_node(change: impl FnOnce(&mut Node)) -> Facts {
        let mut facts = able();
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            change(&mut nodes[0]);
        }
        facts
    }

    #[test]
    fn several_nodes_are_named_and_many_are_counted() {
        let mut facts = able();
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            let mut lacking = nodes[0].clone();
            lacking.kubelet_gate = off();
            for number in 1..=5 {
                nodes.push(Node { name: format!("worker-{number}"), ..lacking.clone() });
            }
        }
        let reported = reason(UserNamespaces.decide(&facts));
        let names = "kubelet of nodes `worker-1`, `worker-2`, `worker-3` and 2 more";
        assert!(reported.contains(names), "{reported}");
    }

    #[test]
    fn each_gate_is_named_with_its_component() {
        let facts = Facts { keeps_host_users: off(), ..able() };
        let reported = reason(UserNamespaces.decide(&facts));
        assert!(reported.contains("UserNamespacesSupport is off on the API server"), "{reported}");

        let facts = with_first_node(|node| node.kubelet_gate = off());
        let reported = reason(UserNamespaces.decide(&facts));
        let words = "UserNamespacesSupport is off on the kubelet of node";
        assert!(reported.contains(words), "{reported}");
    }

    #[test]
    fn an_unable_runtime_is_named() {
        let facts = with_first_node(|node| node.user_namespaces = off());
        let reported = reason(UserNamespaces.decide(&facts));
        assert!(reported.contains("containerd://2.4.2"), "{reported}");
    }

    #[test]
    fn nothing_is_said_about_what_could_not_be_read() {
        assert_eq!(UserNamespaces.unknown(&able()), None);
        let facts = Facts { keeps_host_users: Fact::unknown("403"), ..able() };
        assert_eq!(UserNamespaces.unknown(&facts), None, "a metric is left");
        let facts = Facts { server_user_namespaces_gate: Fact::unknown("metrics"), ..facts };
        assert_eq!(UserNamespaces.unknown(&facts).as_deref(), Some("403"));
        let facts = Facts { nodes: Fact::unknown("403"), ..able() };
        assert_eq!(UserNamespaces.unknown(&facts).as_deref(), Some("403"));
    }
}
