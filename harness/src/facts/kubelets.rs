//! The feature gates of the kubelets, read from their metrics.
//!
//! A kubelet is asked by a connection of the API server to its node. Where there are many nodes, a
//! sample is asked, and says what holds for the nodes of the same kind.

use std::collections::BTreeSet;

use futures::{FutureExt as _, StreamExt as _, stream};
use kube::Client;

use super::{
    Fact, Gate, Node, NodeGroup,
    lookup::{Lookup, get_request},
    metrics,
};
use crate::cluster::{
    call, is_forbidden,
    permission::{Need, Rule, Rules, Scope, resource},
};

/// To read the kubelets' metrics. Roles have it only on demand: the API of a kubelet takes commands
/// for pods by the same right (kubernetes/website#54191).
pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: "Reads the feature gates of the kubelets from their metrics. The permission is not \
          read-only: the kubelet's API behind it also runs commands in any pod of the node, and \
          neither admission nor the audit log for `pods/exec` sees them.",
    verbs: &["get"],
    targets: &[resource(Scope::Cluster, "", "nodes", Some("proxy"))],
}];

/// Why the gates of the kubelets are not known to most users.
const METRICS_NOT_PERMITTED: &str =
    "the user may not read the kubelet's metrics (`get nodes/proxy`), and does not have to";

/// How many kubelets are asked at once: each page is a connection from the API server to a node,
/// and some hundred kilobytes.
const AT_ONCE: usize = 8;

/// How many kubelets are asked at all.
const MOST: usize = 16;

/// The nodes with the gates of their kubelets. Where the user may not read the metrics, only the
/// first kubelet is asked.
pub(super) async fn with_gates(client: &Client, nodes: Vec<Node>) -> Vec<Node> {
    let mut nodes = nodes;
    let sample = sample(&nodes);
    let mut asked =
        sample.iter().filter_map(|&index| Some((index, nodes.get(index)?.name.clone())));
    let Some((first, name)) = asked.next() else { return nodes };
    let page = metrics(client, name).await;
    if page == Lookup::Failed(METRICS_NOT_PERMITTED.to_owned()) {
        for node in &mut nodes {
            node.kubelet_gate = gate(&page);
        }
        return nodes;
    }
    // Of each page one line is kept.
    let read = stream::iter(asked.collect::<Vec<_>>())
        .map(|(index, name)| async move { (index, gate(&metrics(client, name).await)) });
    let others: Vec<_> = read.buffered(AT_ONCE).collect().await;
    for (index, gate) in [(first, gate(&page))].into_iter().chain(others) {
        if let Some(node) = nodes.get_mut(index) {
            node.kubelet_gate = gate;
        }
    }
    infer(&mut nodes, &sample);
    nodes
}

fn gate(page: &Lookup<String>) -> Fact<bool> {
    metrics::fact(page, Gate::UserNamespacesSupport, "kubelet")
}

async fn metrics(client: &Client, node: String) -> Lookup<String> {
    let path = format!("/api/v1/nodes/{node}/proxy/metrics");
    let page = call("read the kubelet's metrics", || async {
        match client.request_text(get_request(&path)?).await {
            Err(error) if is_forbidden(&error) => Ok(None),
            answer => answer.map(Some),
        }
    });
    match page.boxed().await {
        Ok(Some(page)) => Lookup::Found(page),
        Ok(None) => Lookup::Failed(METRICS_NOT_PERMITTED.to_owned()),
        Err(error) => Lookup::Failed(error.to_string()),
    }
}

/// The positions of the nodes whose kubelets are asked: all of a few; of many one of each kind, the
/// largest kinds first, and then others at even distances.
fn sample(nodes: &[Node]) -> BTreeSet<usize> {
    if nodes.len() <= MOST {
        return (0..nodes.len()).collect();
    }
    let groups = NodeGroup::all(nodes);
    let first_of_kinds = groups.iter().filter_map(|group| {
        let first = group.nodes.first()?;
        nodes.iter().position(|node| std::ptr::eq(node, *first))
    });
    let mut chosen: BTreeSet<_> = first_of_kinds.take(MOST).collect();
    for step in 0..MOST {
        if chosen.len() == MOST {
            break;
        }
        chosen.insert(step * nodes.len() / MOST);
    }
    chosen
}

/// Gives each node that was not asked the gate of those of its kind that were, if it is on in all of them.
/// A gate that is off says nothing about the other nodes: their own pods decide.
fn infer(nodes: &mut [Node], asked: &BTreeSet<usize>) {
    let kinds: Vec<_> = nodes.iter().map(Node::kind_without_gate).collect();
    for index in (0..nodes.len()).filter(|index| !asked.contains(index)) {
        let same_kind = || asked.iter().copied().filter(|&it| kinds.get(it) == kinds.get(index));
        let mut values: Vec<_> =
            same_kind().map(|it| nodes[it].kubelet_gate.value().copied()).collect();
        values.dedup();
        let first = same_kind().next().map(|it| nodes[it].name.clone());
        nodes[index].kubelet_gate = match (values.as_slice(), first) {
            ([Some(true)], Some(first)) => Fact::known(
                true,
                format!("kubelet metric of node `{first}`, which is of the same kind"),
            ),
            (_, None) => Fact::unknown(format!("the kubelets of only {MOST} nodes were asked")),
            _ => Fact::unknown("the gate is not on in every kubelet of this kind that was asked"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Vec<Node> {
        let node = |number| Node { name: format!("node-{number}"), ..Node::default() };
        (0..count).map(node).collect()
    }

    #[test]
    fn all_of_a_few_kubelets_are_asked_and_a_sample_of_many() {
        assert_eq!(sample(&nodes(3)).len(), 3);
        assert_eq!(sample(&nodes(MOST)).len(), MOST);
        let mut many = nodes(1000);
        many[777].kernel = "6.1".to_owned();
        let chosen = sample(&many);
        assert_eq!(chosen.len(), MOST);
        assert!(chosen.contains(&777), "the kind that has only one node is asked: {chosen:?}");
        for (number, node) in many.iter_mut().enumerate() {
            node.kernel = number.to_string();
        }
        assert_eq!(sample(&many).len(), MOST, "however many kinds there are");
    }

    #[test]
    fn a_gate_holds_for_the_nodes_of_the_same_kind_alone() {
        let on = || Fact::known(true, "test");
        let mut many = nodes(4);
        many[0].kubelet_gate = on();
        many[2].kernel = "6.1".to_owned();
        infer(&mut many, &BTreeSet::from([0]));
        assert_eq!(many[0].kubelet_gate, on());
        let source = many[1].kubelet_gate.source().unwrap_or_default();
        assert!(source.contains("`node-0`"), "{source}");
        assert_eq!(many[2].kubelet_gate.value(), None, "nobody of its kind was asked");
        // One that is off says nothing of others.
        many[0].kubelet_gate = Fact::known(false, "test");
        infer(&mut many, &BTreeSet::from([0]));
        assert_eq!(many[1].kubelet_gate.value(), None, "its pods decide");
        many[0].kubelet_gate = on();
        // Two that were asked do not agree.
        many[1].kubelet_gate = Fact::known(false, "test");
        infer(&mut many, &BTreeSet::from([0, 1]));
        assert_eq!(many[3].kubelet_gate.value(), None);
    }
}
