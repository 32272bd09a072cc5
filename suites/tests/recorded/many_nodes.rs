//! Clusters with many nodes: what it costs to read them, and how much they fill of a report.

use harness::{
    report::{Style, Terminal},
    verdict::event::{Event, EventKind, RunStarted},
};
use serde_json::Value;
use test_support::many_nodes;

use super::{Facts, RecordedCluster, ServerBehaviour, gather, recorded};

/// How many requests more a cluster of 1000 nodes may cost than one of 3.
const MORE_REQUESTS: usize = 20;

/// How many nodes an answer may list.
const CHUNK: usize = 250;

/// How many lines the header of a run may have.
const HEADER: usize = 20;

fn cluster(name: &str) -> RecordedCluster {
    recorded().into_iter().find(|cluster| cluster.name == name).expect("it is recorded")
}

/// The facts of a recorded cluster with other nodes, and the requests for them.
fn gather_with(name: &str, nodes: Vec<Value>) -> (Facts, Vec<String>) {
    let behaviour = ServerBehaviour { nodes, ..ServerBehaviour::default() };
    let (facts, log) = gather(&cluster(name), behaviour);
    let requests = log.lock().requests.iter().map(|(request, _)| request.clone()).collect();
    (facts.expect("the cluster is read"), requests)
}

#[test]
fn a_thousand_nodes_cost_few_requests_more_than_three() {
    for name in ["openshift-4.20", "kind-1.34"] {
        let (_, few) = gather_with(name, many_nodes(&cluster(name), 3));
        let (facts, many) = gather_with(name, many_nodes(&cluster(name), 1000));
        let nodes = facts.nodes.value().expect("the nodes are read");
        assert_eq!(nodes.len(), 1000);
        let more = many.len() - few.len();
        println!("{name}: {} requests for 3 nodes, {more} more for 1000", few.len());
        assert!(more <= MORE_REQUESTS, "{more} more: {many:?}");
        let lists = many.iter().filter(|request| *request == "GET /api/v1/nodes").count();
        assert!(lists >= 1000 / CHUNK, "not in chunks");
        // The others are known by those of their kind.
        assert!(nodes.iter().all(|node| node.kubelet_gate.value() == Some(&true)), "{name}");
    }
}

/// Nodes of three pools, of which some differ in kernel, kubelet or gate, and some take no pods.
fn motley() -> Vec<Value> {
    let mut nodes = many_nodes(&cluster("openshift-4.20"), 250);
    for (number, node) in nodes.iter_mut().enumerate() {
        let pool =
            ["worker", "infra", "master"][usize::from(number > 200) + usize::from(number > 240)];
        let annotation = "machineconfiguration.openshift.io/currentConfig";
        node["metadata"]["annotations"][annotation] =
            format!("rendered-{pool}-0123456789abcdef").into();
        match number {
            7 => node["status"]["nodeInfo"]["kernelVersion"] = "6.1.0".into(),
            8 | 9 => node["status"]["nodeInfo"]["kubeletVersion"] = "v1.31.9".into(),
            10..=30 => node["status"]["nodeInfo"]["kernelVersion"] = format!("6.2.{number}").into(),
            31 => node["spec"]["unschedulable"] = true.into(),
            _ => {}
        }
    }
    nodes
}

#[test]
fn the_header_of_a_large_cluster_is_short() {
    let (facts, _) = gather_with("openshift-4.20", motley());
    let started = EventKind::RunStarted(RunStarted {
        run: "abcdefgh".to_owned(),
        version: "0.1.0".to_owned(),
        profile: "openshift".to_owned(),
        image: "registry.example/workspace:1".to_owned(),
        cases: 130,
        is_part: false,
        profile_cases: Some(130),
        planned: Vec::new(),
        proofs: Vec::new(),
        cluster_id: None,
        repeat: None,
        platform: None,
        cluster: facts.summary(),
    });
    let mut printed = Vec::new();
    Terminal::new(&mut printed, Style::default()).event(&Event::now(started));
    let printed = String::from_utf8(printed).expect("it is text");
    assert!(printed.lines().count() <= HEADER, "{printed}");
    let line = |name: &str| {
        printed.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default()
    };
    let usual =
        line("nodes: 176 of 249 (`node-0`, `node-1`, `node-2` and 173 more): kubelet v1.33");
    assert!(usual.ends_with("machine config rendered-worker-0123456789abcdef"), "{printed}");
    let others = line("other nodes: ");
    for words in [
        "`node-201`, `node-202`, `node-203` and 37 more: machine config rendered-infra",
        "`node-8`, `node-9`: kubelet v1.31.9, not v1.33",
        "other kinds, see UPG-04",
    ] {
        assert!(others.contains(words), "{words}: {printed}");
    }
    let unschedulable: Vec<_> = facts.unschedulable_nodes.iter().map(|it| &*it.name).collect();
    assert_eq!(unschedulable, ["node-31"]);
}

#[test]
fn a_kubelet_without_the_gate_says_nothing_of_those_that_were_not_asked() {
    let (facts, _) = gather_with("openshift-4.19", many_nodes(&cluster("openshift-4.19"), 40));
    let nodes = facts.nodes.value().expect("the nodes are read");
    let off = nodes.iter().filter(|node| node.kubelet_gate.value() == Some(&false)).count();
    let unknown = nodes.iter().filter(|node| node.kubelet_gate.value().is_none()).count();
    assert_eq!((off, unknown), (16, 24));
    let last = nodes.last().and_then(|node| node.kubelet_gate.why_unknown()).unwrap_or_default();
    assert!(last.contains("not on in every kubelet of this kind"), "{last}");
}
