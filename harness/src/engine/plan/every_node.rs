//! The proof of each node: a case that every node has one like.

use std::{collections::BTreeSet, fmt::Write as _, str::FromStr};

use super::{Entry, Selection};
use crate::{
    Error, Result,
    engine::{Case, OfNode, ProvenNode},
    facts::{Fact, Facts, Node, NodeGroup, Taint},
    verdict::{Place, Verdict},
};

/// Which nodes are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeScope {
    /// Each node.
    All,
    /// One node of each kind.
    Kinds,
}

impl FromStr for NodeScope {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "kinds" => Ok(Self::Kinds),
            _ => Err(
                "not a choice of nodes\nhint: write `all`, or `kinds` for one node of each kind"
                    .to_owned(),
            ),
        }
    }
}

/// The nodes that a run proves one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EveryNode {
    /// Which nodes.
    pub scope: NodeScope,
    /// The ids of the cases that are run again, of a run that repeats what did not pass; none where
    /// all are run.
    pub only: Option<BTreeSet<String>>,
}

/// The proofs of nodes of a run.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// Those that this run makes.
    pub picked: Vec<Entry>,
    /// The ids of those that all shards together make, by the nodes that this one knows.
    pub of_all_shards: Vec<String>,
    /// How many there are, whether asked for or not.
    pub count: usize,
}

impl EveryNode {
    /// The proofs of the nodes, by those of these cases that each node has one like.
    ///
    /// Where no node is known, each shard has the case itself, which is blocked: none of them may pass for
    /// one without proofs.
    ///
    /// # Errors
    ///
    /// A selection without a proof. A shard may have none of them, and so may a narrowed rerun.
    pub fn proofs(
        &self,
        cases: &[Case],
        facts: &Facts,
        selection: &Selection,
        tries_blocked: bool,
    ) -> Result<Proofs> {
        let of_nodes = cases.iter().filter(|case| case.of_node == OfNode::Each);
        let all: Vec<_> =
            of_nodes.flat_map(|case| self.entries(case, facts, tries_blocked)).collect();
        let count = all.len();
        let of_all_shards = Selection { shard: None, ..selection.clone() };
        let is_rerun = |case: &Case| self.only.as_ref().is_none_or(|only| only.contains(case.id));
        let is_asked = |entry: &Entry, selection: &Selection| {
            let case = &entry.case;
            case.of_node == OfNode::Each || selection.has(case) && is_rerun(case)
        };
        let asked: Vec<_> = all.into_iter().filter(|it| is_asked(it, &of_all_shards)).collect();
        if asked.is_empty() && selection.shard.is_none() && self.only.is_none() {
            return Err(Error::usage("`--every-node` proves the nodes, and no proof is selected")
                .with_hint("leave the filters out, or add `nodes` to them"));
        }
        let of_all_shards = asked.iter().map(|it| it.case.id.to_owned()).collect();
        let picked = asked.into_iter().filter(|it| is_asked(it, selection)).collect();
        Ok(Proofs { picked, of_all_shards, count })
    }

    /// The case of each node like this one, decided by the facts of the node alone: another node that
    /// lacks something does not block it. Where no node is known, the case itself is blocked.
    #[must_use]
    pub fn entries(&self, case: &Case, facts: &Facts, tries_blocked: bool) -> Vec<Entry> {
        let nodes = match &facts.nodes {
            Fact::Known { value: nodes, .. } => nodes,
            unread => {
                let why = unread.why_unknown().unwrap_or_default();
                return vec![blocked(case, &format!("the nodes could not be read: {why}"))];
            }
        };
        let groups = NodeGroup::all(nodes);
        let usual = groups.first().and_then(|group| group.nodes.first());
        let Some(usual) = usual else {
            return vec![blocked(case, "the cluster has no schedulable node")];
        };
        let rows: Vec<(&Node, String)> = match self.scope {
            NodeScope::All => nodes.iter().map(|node| (node, String::new())).collect(),
            NodeScope::Kinds => groups.iter().filter_map(representative).collect(),
        };
        let mut of_one = Facts { nodes: Fact::default(), ..facts.clone() };
        let mut entries = Vec::new();
        for (node, others) in rows {
            let title = title(case, node, usual, &others);
            let case = of_node(case, &node.name, entries.len(), &title);
            of_one.nodes = Fact::known(vec![node.clone()], "nodes");
            let entry = match off_limits(node) {
                Some(verdict) => Entry { case, settled: Some(verdict) },
                None => Entry::new(case, &of_one, tries_blocked),
            };
            entries.push(entry);
        }
        for node in &facts.unschedulable_nodes {
            let title = format!("{}: `{}`", case.title, node.name);
            let case = of_node(case, &node.name, entries.len(), &title);
            let reason = format!("no pod comes to the node: {}", node.reason);
            entries.push(Entry { case, settled: Some(Verdict::NotApplicable { reason }) });
        }
        entries
    }
}

fn blocked(case: &Case, reason: &str) -> Entry {
    let remedy = "let this user list nodes; see `nestcheck preflight --print-rbac`";
    let verdict = Verdict::blocked(reason, remedy).at(Place::Cluster);
    Entry { case: *case, settled: Some(verdict) }
}

/// The node of a kind that is proven, and the names of the others.
fn representative<'a>(group: &NodeGroup<'a>) -> Option<(&'a Node, String)> {
    let node = group.nodes.iter().find(|node| node.takes_pods).or(group.nodes.first())?;
    let is_other = |other: &&&Node| other.name != node.name;
    let others = NodeGroup { nodes: group.nodes.iter().filter(is_other).copied().collect() };
    let others = if others.nodes.is_empty() { String::new() } else { others.names() };
    Some((node, others))
}

/// What the case of a node asserts, and how the node differs from most.
fn title(case: &Case, node: &Node, usual: &Node, others: &str) -> String {
    let mut title = format!("{}: `{}`", case.title, node.name);
    // Writing to a string can't fail.
    if !others.is_empty() {
        let _ = write!(title, ", for {others}");
    }
    let differences = node.differences(usual);
    if !differences.is_empty() {
        let _ = write!(title, " ({})", differences.join("; "));
    }
    title
}

/// The case of a node. Its texts live as long as the program, as those of every case do: a run has
/// one for each node.
fn of_node(case: &Case, node: &str, number: usize, title: &str) -> Case {
    let this = ProvenNode { name: node.to_owned(), number };
    let keep = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    Case {
        id: keep(format!("{}.{node}", case.id)),
        name: keep(format!("{}[{node}]", case.name)),
        title: keep(title.to_owned()),
        of_node: OfNode::This(Box::leak(Box::new(this))),
        ..*case
    }
}

/// Why no pod of the run is scheduled on a node: somebody reserved it, or it takes no pods now.
fn off_limits(node: &Node) -> Option<Verdict> {
    if node.takes_pods {
        return None;
    }
    let keeps_off = |taint: &&Taint| taint.keeps_pods_off();
    let taints = || node.taints.iter().filter(keeps_off);
    if let Some(taint) = taints().find(|taint| taint.is_permanent()) {
        let reason = format!(
            "the taint `{taint}` keeps the pods of the run off the node; with `--toleration {taint}` \
             it is proven too"
        );
        return Some(Verdict::NotApplicable { reason });
    }
    let taints = taints().map(|taint| format!("`{taint}`")).collect::<Vec<_>>().join(", ");
    let reason = format!("the node takes no pods now: it has the taint {taints}");
    let remedy = "bring the node back, then run the case again with `nestcheck run --rerun DIR`";
    Some(Verdict::blocked(reason, remedy).at(Place::Node))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Filters, Shard, tests::CASES},
        *,
    };
    use crate::{
        facts::{UnschedulableNode, requirement::tests::able},
        verdict::{Circumstances, Level, Outcome, decide},
    };

    const PROOF: Case =
        Case { id: "NODE-01", title: "A node works", of_node: OfNode::Each, ..CASES[0] };

    fn cluster(change: impl FnOnce(&mut Vec<Node>)) -> Facts {
        let mut facts = able();
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            let named = |name: &str| Node { name: name.to_owned(), ..nodes[0].clone() };
            *nodes = ["a", "b", "c"].map(named).to_vec();
            change(nodes);
        }
        facts
    }

    fn rows(scope: NodeScope, facts: &Facts) -> Vec<(&'static str, &'static str, String)> {
        let entries = EveryNode { scope, only: None }.entries(&PROOF, facts, false);
        let row = |entry: &Entry| {
            let settled = entry.settled.as_ref();
            let verdict = settled.map_or("runs".to_owned(), |it| {
                format!("{}: {}", it.name(), it.message().unwrap_or_default())
            });
            (entry.case.id, entry.case.title, verdict)
        };
        entries.iter().map(row).collect()
    }

    fn proofs(shard: Option<&str>, facts: &Facts) -> Proofs {
        let shard = shard.map(|text| Shard::parse(text).expect("a shard"));
        let selection = Selection { shard, ..Selection::default() };
        let every_node = EveryNode { scope: NodeScope::All, only: None };
        every_node.proofs(&[PROOF, CASES[1]], facts, &selection, false).expect("there are some")
    }

    fn ids(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.case.id).collect()
    }

    #[test]
    fn each_shard_knows_the_proofs_of_all() {
        let facts = cluster(|_| ());
        let all = proofs(None, &facts);
        assert_eq!(ids(&all.picked), ["NODE-01.a", "NODE-01.b", "NODE-01.c"]);
        assert_eq!((all.of_all_shards.len(), all.count), (3, 3));
        let shards = ["1/2", "2/2"].map(|shard| proofs(Some(shard), &facts));
        let mut picked: Vec<_> = shards.iter().flat_map(|it| ids(&it.picked)).collect();
        picked.sort_unstable();
        assert_eq!(picked, all.of_all_shards);
        assert!(shards.iter().all(|it| it.of_all_shards == all.of_all_shards));
        assert!(shards.iter().all(|it| it.picked.len() < 3), "they share them");
    }

    #[test]
    fn a_shard_that_could_not_list_the_nodes_is_never_conformant() {
        let unread = Facts { nodes: Fact::unknown("403"), ..able() };
        for shard in ["1/3", "2/3", "3/3"] {
            let proofs = proofs(Some(shard), &unread);
            assert_eq!(ids(&proofs.picked), ["NODE-01"], "{shard}");
            assert_eq!(proofs.of_all_shards, ["NODE-01"]);
            let settled = proofs.picked[0].settled.clone().expect("it is blocked");
            let verdicts = [(Level::Core, Verdict::Pass), (PROOF.level, settled)];
            let verdicts = verdicts.iter().map(|(level, verdict)| (*level, verdict));
            assert_eq!(decide(verdicts, Circumstances::default()), Outcome::Partial, "{shard}");
        }
    }

    #[test]
    fn a_selection_without_a_proof_is_refused_unless_it_is_a_part() {
        let select = |shard, only| {
            let filters = Filters::parse(&["!NODE-01".to_owned()], &[PROOF]).expect("a filter");
            let selection = Selection { filters, shard, ..Selection::default() };
            EveryNode { scope: NodeScope::All, only }.proofs(
                &[PROOF],
                &cluster(|_| ()),
                &selection,
                false,
            )
        };
        assert!(select(None, None).is_err());
        assert!(select(Some(Shard::parse("1/2").expect("a shard")), None).is_ok());
        assert!(select(None, Some(BTreeSet::new())).is_ok());
    }

    fn tainted(node: &mut Node, key: &str) {
        let taint = Taint { key: key.into(), value: String::new(), effect: "NoSchedule".into() };
        (node.taints, node.takes_pods) = (vec![taint], false);
    }

    #[test]
    fn each_node_has_a_row_with_a_name_of_its_own() {
        let rows = rows(NodeScope::All, &cluster(|nodes| nodes[2].kernel = "5.4".to_owned()));
        let runs = || "runs".to_owned();
        assert_eq!(
            rows,
            [
                ("NODE-01.a", "A node works: `a`", runs()),
                ("NODE-01.b", "A node works: `b`", runs()),
                ("NODE-01.c", "A node works: `c` (kernel 5.4, not 6.18)", runs()),
            ]
        );
        let entries = EveryNode { scope: NodeScope::All, only: None };
        let entries = entries.entries(&PROOF, &cluster(|_| ()), false);
        assert_eq!(entries[2].case.object_name(), "node-01-2");
        assert!(entries[2].case.path().ends_with("[c]"));
    }

    #[test]
    fn each_kind_has_one_row_that_names_the_others() {
        let facts = cluster(|nodes| {
            nodes[1].kernel = "5.4".to_owned();
            tainted(&mut nodes[0], "example.com/reserved");
        });
        let rows = rows(NodeScope::Kinds, &facts);
        let titles: Vec<_> = rows.iter().map(|(_, title, _)| *title).collect();
        let expected = ["A node works: `c`, for `a`", "A node works: `b` (kernel 5.4, not 6.18)"];
        assert_eq!(titles, expected, "one that takes pods stands for its kind");
    }

    #[test]
    fn a_node_that_lacks_a_gate_blocks_its_own_row_alone() {
        let facts = cluster(|nodes| nodes[1].kubelet_gate = Fact::known(false, "test"));
        let rows = rows(NodeScope::All, &facts);
        assert_eq!((&*rows[0].2, &*rows[2].2), ("runs", "runs"));
        assert!(rows[1].2.contains("is off on the kubelet of node `b`"), "{rows:?}");
        assert!(rows[1].2.starts_with("blocked"), "{rows:?}");
    }

    #[test]
    fn a_node_that_takes_no_pods_is_listed_with_the_reason() {
        let mut facts = cluster(|nodes| {
            tainted(&mut nodes[0], "node-role.kubernetes.io/master");
            tainted(&mut nodes[1], "node.kubernetes.io/not-ready");
        });
        let reason = "it is cordoned".to_owned();
        facts.unschedulable_nodes.push(UnschedulableNode {
            name: "d".into(),
            reason,
            ..Default::default()
        });
        let rows = rows(NodeScope::All, &facts);
        let starts = [
            "not-applicable: the taint `node-role.kubernetes.io/master:NoSchedule` keeps",
            // It would be proven on another day: the run is partial.
            "blocked: the node takes no pods now: it has the taint `node.kubernetes.io/not-ready",
            "runs",
            "not-applicable: no pod comes to the node: it is cordoned",
        ];
        for ((_, _, verdict), start) in rows.iter().zip(starts) {
            assert!(verdict.starts_with(start), "{verdict}");
        }
        assert_eq!(rows.len(), starts.len());
    }

    #[test]
    fn a_run_that_knows_no_node_proves_nothing() {
        let unread = Facts { nodes: Fact::unknown("403"), ..able() };
        let none = Facts { nodes: Fact::known(Vec::new(), "nodes"), ..able() };
        for (facts, words) in [(unread, "403"), (none, "no schedulable node")] {
            let rows = rows(NodeScope::All, &facts);
            assert_eq!(rows.len(), 1);
            assert!(rows[0].2.starts_with("blocked") && rows[0].2.contains(words), "{rows:?}");
        }
    }
}
