//! Which nodes are alike, and how the others differ from them.

use std::fmt::Write as _;

use super::Node;
use crate::base::text::{on_or_off, yes_or_no};

/// How many nodes are named where there are more.
const NAMED: usize = 3;

/// A name, and the words for it where it is known of a node.
type Trait = (&'static str, fn(&Node) -> Option<String>);

/// What nodes are compared by. What works on one may not work on another that differs in it.
const TRAITS: [Trait; 6] = [
    ("kubelet", |node| Some(node.kubelet.clone())),
    ("runtime", |node| Some(node.runtime.clone())),
    ("kernel", |node| Some(node.kernel.clone())),
    ("operating system", |node| Some(node.operating_system.clone())),
    ("architecture", |node| Some(node.architecture.clone())),
    ("user namespaces", |node| node.user_namespaces.value().map(|yes| yes_or_no(*yes).to_owned())),
];

const GATE: Trait =
    ("kubelet gate", |node| node.kubelet_gate.value().map(|on| on_or_off(*on).to_owned()));

/// By itself it does not make nodes differ: pools have different configurations for many reasons.
const MACHINE_CONFIG: Trait = ("machine config", |node| node.machine_config.clone());

/// What makes nodes alike. Equal for two nodes of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKind(Vec<Option<String>>);

impl Node {
    /// The kind of the node: its traits and its rendered `MachineConfig`.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        let NodeKind(mut values) = self.kind_without_gate();
        values.push(GATE.1(self));
        NodeKind(values)
    }

    /// The kind as far as it is known before the kubelet was asked.
    pub(super) fn kind_without_gate(&self) -> NodeKind {
        let traits = TRAITS.iter().chain([&MACHINE_CONFIG]);
        NodeKind(traits.map(|(_, of)| of(self)).collect())
    }

    /// The node's traits in words, as far as they are known.
    #[must_use]
    pub fn describe(&self) -> String {
        let all = TRAITS.iter().chain([&GATE, &MACHINE_CONFIG]);
        let known = all.filter_map(|(name, of)| {
            let value = of(self).filter(|value| !value.is_empty())?;
            Some(format!("{name} {value}"))
        });
        known.collect::<Vec<_>>().join(", ")
    }

    /// How the node differs from another one, apart from its `MachineConfig`. What is not known of one
    /// of them does not count.
    #[must_use]
    pub fn differences(&self, usual: &Self) -> Vec<String> {
        self.differences_in(TRAITS.iter().chain([&GATE]), usual)
    }

    fn differences_in<'a>(
        &self,
        traits: impl Iterator<Item = &'a Trait>,
        usual: &Self,
    ) -> Vec<String> {
        let differ = traits.filter_map(|(name, of)| {
            let (own, usual) = (of(self)?, of(usual)?);
            (own != usual).then(|| format!("{name} {own}, not {usual}"))
        });
        differ.collect()
    }
}

/// Nodes of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGroup<'a> {
    /// The nodes, of which there is at least one, in the order in which they were listed.
    pub nodes: Vec<&'a Node>,
}

impl<'a> NodeGroup<'a> {
    /// The groups of nodes that are alike, the largest first; of equal ones, the one that was listed
    /// first.
    #[must_use]
    pub fn all(nodes: &'a [Node]) -> Vec<Self> {
        let mut groups: Vec<(NodeKind, Self)> = Vec::new();
        for node in nodes {
            let kind = node.kind();
            match groups.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, group)) => group.nodes.push(node),
                None => groups.push((kind, Self { nodes: vec![node] })),
            }
        }
        let mut groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.nodes.len()));
        groups
    }

    /// The names of its nodes, the first of many.
    #[must_use]
    pub fn names(&self) -> String {
        let names = self.nodes.iter().take(NAMED).map(|node| format!("`{}`", node.name));
        let mut text = names.collect::<Vec<_>>().join(", ");
        if let more @ 1.. = self.nodes.len().saturating_sub(NAMED) {
            // Writing to a string can't fail.
            let _ = write!(text, " and {more} more");
        }
        text
    }

    /// How its nodes differ from those of another group, in words.
    pub(super) fn against(&self, usual: &Self) -> String {
        let (Some(own), Some(usual)) = (self.nodes.first(), usual.nodes.first()) else {
            return String::new();
        };
        let all = TRAITS.iter().chain([&GATE, &MACHINE_CONFIG]);
        let differences = own.differences_in(all, usual);
        if differences.is_empty() {
            // Something is known of one of them alone.
            return "not all is known of both kinds".to_owned();
        }
        differences.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;

    fn named(name: &str) -> Node {
        Node { name: name.to_owned(), kernel: "6.12".to_owned(), ..Node::default() }
    }

    fn names(nodes: &[Node]) -> Vec<String> {
        NodeGroup::all(nodes).iter().map(NodeGroup::names).collect()
    }

    #[test]
    fn equal_nodes_are_in_one_group_and_the_largest_is_first() {
        let odd = Node { kernel: "6.1".to_owned(), ..named("odd") };
        let nodes = [odd, named("a"), named("b"), named("c"), named("d"), named("e")];
        assert_eq!(names(&nodes), ["`a`, `b`, `c` and 2 more", "`odd`"]);
        let groups = NodeGroup::all(&nodes);
        assert_eq!(groups[1].against(&groups[0]), "kernel 6.1, not 6.12");
        assert!(NodeGroup::all(&[]).is_empty());
    }

    #[test]
    fn each_trait_and_each_machine_config_makes_a_kind() {
        let changes: [fn(&mut Node); 8] = [
            |node| node.kubelet = "v1.33.1".to_owned(),
            |node| node.runtime = "cri-o://1.33.1".to_owned(),
            |node| node.kernel = "5.14".to_owned(),
            |node| node.operating_system = "Debian".to_owned(),
            |node| node.architecture = "s390x".to_owned(),
            |node| node.user_namespaces = Fact::known(false, "test"),
            |node| node.kubelet_gate = Fact::known(false, "test"),
            |node| node.machine_config = Some("rendered-infra-1".to_owned()),
        ];
        for change in changes {
            let mut other = named("other");
            change(&mut other);
            assert_eq!(names(&[named("one"), other.clone()]), ["`one`", "`other`"], "{other:?}");
        }
    }

    #[test]
    fn another_pool_alone_is_no_difference() {
        let infra = Node { machine_config: Some("rendered-infra-1".to_owned()), ..named("infra") };
        let worker =
            Node { machine_config: Some("rendered-worker-1".to_owned()), ..named("worker") };
        assert_eq!(infra.differences(&worker), [""; 0]);
        let groups = [infra, worker];
        let groups = NodeGroup::all(&groups);
        let expected = "machine config rendered-worker-1, not rendered-infra-1";
        assert_eq!(groups[1].against(&groups[0]), expected);
    }

    #[test]
    fn what_is_not_known_is_no_difference() {
        let known = Node { kubelet_gate: Fact::known(true, "test"), ..named("known") };
        assert_eq!(named("unknown").differences(&known), [""; 0]);
    }
}
