//! Which probe the pods of a run get: a probe runs on one architecture, and nodes may differ in it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::api::core::v1::Pod;

use super::pod_template::FILES_VOLUME;
use crate::{
    Error, Result,
    facts::{ARCHITECTURE_LABEL, AskedArchitecture, Fact, Facts, Node, Taint, own_architecture},
};

/// The architecture of a run's nodes, and those of the nodes that are proven besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architectures {
    /// The architecture whose probe the pods get.
    pub of_run: String,
    /// Whether pods have to ask for it, because they could run on other nodes.
    pub is_asked_for: bool,
    /// The nodes of other architectures with a probe, each with its own: only a proof of the
    /// node has a pod there.
    pub others: BTreeMap<String, String>,
    /// The nodes without a probe, each with its architecture. No pod goes there.
    pub without_probe: BTreeMap<String, String>,
}

impl Default for Architectures {
    /// That of this program alone.
    fn default() -> Self {
        Self::only(own_architecture())
    }
}

/// What decides about the architecture of a run.
#[derive(Debug)]
pub struct Candidates<'a> {
    /// The nodes that the selector chooses.
    pub nodes: &'a Fact<Vec<Node>>,
    /// The architecture that the selector itself names.
    pub selected: Option<&'a str>,
    /// The architectures with a probe.
    pub probes: BTreeSet<&'a str>,
}

impl Candidates<'_> {
    /// Chooses the architecture of most nodes that take the pods, of those with a probe. Where
    /// the nodes are not known, it is the selected one, or else that of this program, and pods ask for it.
    ///
    /// # Errors
    ///
    /// No node has an architecture with a probe.
    pub fn choose(&self) -> Result<Architectures> {
        let Fact::Known { value: nodes, .. } = self.nodes else { return self.choose_blindly() };
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for node in nodes.iter().filter(|node| may_take_pods(node) && is_known(node)) {
            *counts.entry(&node.architecture).or_default() += 1;
        }
        let with_probe = counts.iter().filter(|(name, _)| self.probes.contains(**name));
        // Of as many nodes, the first name.
        let most = with_probe.max_by_key(|(name, count)| (**count, Reverse(**name)));
        let mut chosen = match most {
            Some((name, _)) => Architectures::only(name),
            None if counts.is_empty() => Architectures::default(),
            None => {
                let names: Vec<_> = counts.into_keys().collect();
                return Err(self.no_probe(&names.join(", ")));
            }
        };
        chosen.is_asked_for = counts.len() > 1;
        for node in nodes.iter().filter(|it| is_known(it) && it.architecture != chosen.of_run) {
            let has_probe = self.probes.contains(node.architecture.as_str());
            let place = if has_probe { &mut chosen.others } else { &mut chosen.without_probe };
            place.insert(node.name.clone(), node.architecture.clone());
        }
        Ok(chosen)
    }

    fn choose_blindly(&self) -> Result<Architectures> {
        match self.selected {
            Some(name) if !self.probes.contains(name) => Err(self.no_probe(name)),
            Some(name) => Ok(Architectures::only(name)),
            None => Ok(Architectures { is_asked_for: true, ..Architectures::default() }),
        }
    }

    fn no_probe(&self, architectures: &str) -> Error {
        let probes: Vec<_> = self.probes.iter().copied().collect();
        let probes = probes.join(", ");
        Error::usage(format!(
            "this program has no probe for the nodes: their architecture is {architectures}, and it has \
             probes for {probes}"
        ))
        .with_hint(
            "choose other nodes with `--node-selector`, or take a program with this probe: `nestcheck \
             --version` says which ones a build lacks, and why",
        )
    }
}

impl Architectures {
    fn only(name: &str) -> Self {
        Self {
            of_run: name.to_owned(),
            is_asked_for: false,
            others: BTreeMap::new(),
            without_probe: BTreeMap::new(),
        }
    }

    /// Leaves in the facts only the nodes to which the pods of cases go, where they ask for an architecture.
    pub fn keep_nodes(&self, facts: &mut Facts) {
        if !self.is_asked_for {
            return;
        }
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        if let Fact::Known { value: nodes, .. } = &mut facts.nodes {
            nodes.retain(|node| {
                let stays = !is_known(node) || node.architecture == self.of_run;
                if !stays {
                    *others.entry(node.architecture.clone()).or_default() += 1;
                }
                stays
            });
        }
        facts.architecture = Some(AskedArchitecture { name: self.of_run.clone(), others });
    }

    /// The architectures whose files the run needs, each once, and the name of the `ConfigMap` of each.
    pub(super) fn maps(&self) -> Vec<(&str, String)> {
        let others: BTreeSet<_> = self.others.values().map(String::as_str).collect();
        let others = others.into_iter().map(|name| (name, map_of(name)));
        [(self.of_run.as_str(), FILES_VOLUME.to_owned())].into_iter().chain(others).collect()
    }

    /// Gives a pod for a node of another architecture the probe of that one.
    pub(super) fn suit(&self, pod: &mut Pod, node: &str) {
        let Some(architecture) = self.others.get(node) else { return };
        let Some(spec) = &mut pod.spec else { return };
        if let Some(asked) =
            spec.node_selector.as_mut().and_then(|labels| labels.get_mut(ARCHITECTURE_LABEL))
        {
            asked.clone_from(architecture);
        }
        let maps = spec.volumes.iter_mut().flatten().filter_map(|it| it.config_map.as_mut());
        for map in maps.filter(|map| map.name == FILES_VOLUME) {
            map.name = map_of(architecture);
        }
    }
}

fn map_of(architecture: &str) -> String {
    format!("{FILES_VOLUME}-{architecture}")
}

/// Whether a node takes the pods of the run, or will when it is back.
fn may_take_pods(node: &Node) -> bool {
    let keeps_off = |taint: &Taint| taint.keeps_pods_off() && taint.is_permanent();
    !node.taints.iter().any(keeps_off)
}

/// Whether the node's kubelet has reported its architecture.
fn is_known(node: &Node) -> bool {
    !node.architecture.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOTH: [&str; 2] = ["amd64", "arm64"];

    fn nodes(architectures: &[&str]) -> Vec<Node> {
        let node = |(number, architecture): (usize, &&str)| Node {
            name: format!("node-{number}"),
            architecture: (*architecture).to_owned(),
            ..Node::default()
        };
        architectures.iter().enumerate().map(node).collect()
    }

    fn choose(nodes: Vec<Node>, probes: &[&str]) -> Result<Architectures> {
        let nodes = &Fact::known(nodes, "nodes");
        let probes = probes.iter().copied().collect();
        Candidates { nodes, selected: None, probes }.choose()
    }

    fn unread(selected: Option<&str>) -> Result<Architectures> {
        Candidates { nodes: &Fact::unknown("403"), selected, probes: BOTH.into() }.choose()
    }

    fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nodes_of_one_architecture_get_its_probe_and_pods_ask_for_nothing() {
        for name in BOTH {
            assert_eq!(choose(nodes(&[name, name]), &BOTH).ok(), Some(Architectures::only(name)));
        }
        // Nothing tells against this program's own.
        for unsaid in [nodes(&[]), nodes(&["", ""])] {
            assert_eq!(choose(unsaid, &BOTH).ok(), Some(Architectures::default()));
        }
    }

    #[test]
    fn where_nodes_differ_pods_ask_for_the_architecture_of_most_that_has_a_probe() {
        for (architectures, of_run) in [
            (&["amd64", "arm64", "arm64"][..], "arm64"),
            (&["arm64", "amd64"], "amd64"),
            (&["s390x", "s390x", "arm64"], "arm64"),
        ] {
            let chosen = choose(nodes(architectures), &BOTH).expect("there is a probe");
            assert_eq!((&*chosen.of_run, chosen.is_asked_for), (of_run, true), "{architectures:?}");
        }
        let chosen = choose(nodes(&["amd64", "arm64", "s390x", "amd64"]), &BOTH).expect("a probe");
        assert_eq!(chosen.others, pairs(&[("node-1", "arm64")]));
        assert_eq!(chosen.without_probe, pairs(&[("node-2", "s390x")]));
    }

    #[test]
    fn a_node_that_somebody_reserved_does_not_count_and_one_that_comes_back_does() {
        let tainted = |key: &str| {
            let mut all = nodes(&["amd64", "arm64", "arm64"]);
            for node in &mut all[1..] {
                let (key, effect) = (key.to_owned(), "NoSchedule".to_owned());
                node.taints = vec![Taint { key, value: String::new(), effect }];
            }
            choose(all, &BOTH).expect("there is a probe")
        };
        let reserved = tainted("example.com/reserved");
        assert_eq!((&*reserved.of_run, reserved.is_asked_for), ("amd64", false));
        let late = tainted("node.kubernetes.io/not-ready");
        assert_eq!((&*late.of_run, late.is_asked_for), ("arm64", true));
    }

    #[test]
    fn nodes_without_a_probe_are_a_usage_error_that_names_both_sides() {
        let error =
            choose(nodes(&["s390x", "ppc64le", "s390x"]), &["amd64"]).expect_err("no probe");
        assert_eq!(error.kind().exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("is ppc64le, s390x, and it has probes for amd64"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--node-selector")), "{error:?}");
        assert!(unread(Some("s390x")).is_err());
    }

    #[test]
    fn pods_ask_for_this_programs_architecture_where_the_nodes_are_not_known() {
        let blind = unread(None).expect("a choice");
        assert_eq!((&*blind.of_run, blind.is_asked_for), (own_architecture(), true));
        assert_eq!(unread(Some("arm64")).ok(), Some(Architectures::only("arm64")));
    }

    #[test]
    fn the_facts_are_about_the_nodes_that_pods_go_to() {
        let all = nodes(&["amd64", "arm64", "arm64", "s390x"]);
        let mut facts = Facts { nodes: Fact::known(all.clone(), "nodes"), ..Facts::default() };
        choose(all.clone(), &BOTH).expect("a probe").keep_nodes(&mut facts);

        assert_eq!(facts.nodes.value().map(Vec::as_slice), Some(&all[1..3]));
        let asked = facts.architecture.expect("the pods ask");
        let others = BTreeMap::from([("amd64".to_owned(), 1), ("s390x".to_owned(), 1)]);
        assert_eq!(asked, AskedArchitecture { name: "arm64".to_owned(), others });

        let mut single = Facts::default();
        Architectures::only("amd64").keep_nodes(&mut single);
        assert_eq!(single, Facts::default());
    }

    #[test]
    fn a_pod_on_a_node_of_another_architecture_gets_that_ones_probe() {
        let mut pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [],
            "nodeSelector": {"pool": "a", ARCHITECTURE_LABEL: "amd64"},
            "volumes": [{"name": "nestcheck", "configMap": {"name": FILES_VOLUME}},
                        {"name": "own", "configMap": {"name": "own"}}],
        }}))
        .expect("a pod");
        let chosen = choose(nodes(&["amd64", "amd64", "arm64", "arm64"]), &BOTH).expect("a probe");
        let before = pod.clone();

        chosen.suit(&mut pod, "node-1");
        assert_eq!(pod, before, "a node of the run's own");
        chosen.suit(&mut pod, "node-2");

        let spec = pod.spec.expect("a spec");
        let labels = spec.node_selector.expect("labels");
        assert_eq!(labels, pairs(&[("pool", "a"), (ARCHITECTURE_LABEL, "arm64")]));
        let volumes = spec.volumes.into_iter().flatten();
        let maps: Vec<_> = volumes.filter_map(|it| it.config_map).map(|map| map.name).collect();
        assert_eq!(maps, ["nestcheck-arm64", "own"]);
        let names = [("amd64", "nestcheck".to_owned()), ("arm64", "nestcheck-arm64".to_owned())];
        assert_eq!(chosen.maps(), names, "each map once");
    }
}
