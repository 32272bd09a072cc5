//! Clusters whose nodes differ in their architecture: where pods of a run go, and where there is no probe.

use harness::facts::own_architecture;
use serde_json::Value;
use suites::fixtures::PROBES;
use test_support::{
    Finished, Kubeconfig, Permissions, ServerBehaviour, TestDir, many_nodes, serve,
};

use super::dry_run::{cluster, dry_run_of, json};

/// An architecture that there is no probe for.
const OTHER: &str = "s390x";

const CLUSTER: &str = "kind-1.36";

/// A dry run on a cluster of kind that has a node of each of these architectures.
fn dry_run_on(architectures: &[&str], options: &[&str]) -> Finished {
    let (nodes, permissions) = (nodes_of(architectures), Some(Permissions::All));
    let behaviour = ServerBehaviour { nodes, permissions, ..ServerBehaviour::default() };
    dry_run_of(CLUSTER, behaviour, options)
}

fn nodes_of(architectures: &[&str]) -> Vec<Value> {
    let mut nodes = many_nodes(&cluster(CLUSTER), architectures.len());
    for (node, architecture) in nodes.iter_mut().zip(architectures) {
        node["status"]["nodeInfo"]["architecture"] = (*architecture).into();
        node["metadata"]["labels"]["kubernetes.io/arch"] = (*architecture).into();
    }
    nodes
}

/// The rows of the proofs: node and verdict, `runs` for one that would be made.
fn proofs(preview: &Value) -> Vec<(String, String)> {
    let cases = preview["cases"].as_array().expect("a list");
    let of_nodes = cases.iter().filter_map(|case| {
        let node = case["id"].as_str()?.strip_prefix("NODE-01.")?;
        let verdict = if case["runs"] == true { "runs" } else { case["verdict"].as_str()? };
        Some((node.to_owned(), verdict.to_owned()))
    });
    of_nodes.collect()
}

fn has_object(preview: &Value, kind: &str, name: &str) -> bool {
    let objects = preview["objects"].as_array().expect("a list");
    objects.iter().any(|it| it["kind"] == kind && it["name"] == name)
}

#[test]
fn pods_keep_to_one_architecture_and_the_header_says_so() {
    let own = own_architecture();
    let single = dry_run_on(&[own, own], &["POD-03"]);
    single.exits(0);
    assert!(!single.stdout.contains("architecture"), "{single}");

    let mixed = dry_run_on(&[OTHER, own, OTHER], &["POD-03"]);
    mixed.exits(0);
    let line = format!("{own}, not that of other nodes ({OTHER}: 2): `--node-selector");
    assert!(mixed.stdout.contains(&line), "{mixed}");
    assert!(mixed.stdout.contains("node node-1"), "the facts are about this node alone: {mixed}");
}

#[test]
fn a_node_without_a_probe_is_never_green() {
    let own = own_architecture();
    let options = ["--every-node", "nodes", "-o", "json"];
    let preview = json(&dry_run_on(&[own, OTHER], &options));
    let row = |node: &str, verdict: &str| (node.to_owned(), verdict.to_owned());
    assert_eq!(proofs(&preview), [row("node-0", "runs"), row("node-1", "blocked")], "{preview}");
    assert!(preview.to_string().contains("no probe for the node's architecture, s390x"));
}

#[test]
fn a_proof_on_another_architecture_has_files_of_its_own() {
    let own = own_architecture();
    let Some(other) = PROBES.iter().map(|probe| probe.architecture).find(|it| *it != own) else {
        println!("this build has one probe only");
        return;
    };
    let map = format!("nestcheck-{other}");
    let options = ["POD-03", "nodes", "-o", "json"];
    let without = json(&dry_run_on(&[own, own, other], &options));
    assert!(has_object(&without, "ConfigMap", "nestcheck"), "{without}");
    assert!(!has_object(&without, "ConfigMap", &map), "no pod goes there: {without}");

    let every = [&options[..], &["--every-node"]].concat();
    let with = json(&dry_run_on(&[own, own, other], &every));
    assert!(proofs(&with).iter().all(|(_, verdict)| verdict == "runs"), "{with}");
    assert!(has_object(&with, "ConfigMap", "nestcheck"), "{with}");
    assert!(has_object(&with, "ConfigMap", &map), "{with}");
}

#[test]
fn preflight_says_that_there_is_no_probe() {
    let nodes = nodes_of(&[OTHER]);
    let (address, _) = serve(cluster(CLUSTER), ServerBehaviour { nodes, ..Default::default() });
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to(&address));
    let finished = dir.nestcheck(["preflight", "--kubeconfig", &path]);
    assert!(finished.stdout.contains("no   a probe for the nodes\n"), "{finished}");
    assert!(finished.stdout.contains("their architecture is s390x"), "{finished}");
}

#[test]
fn a_cluster_without_a_node_for_a_probe_is_a_usage_error() {
    let own = own_architecture();
    let selector = format!("kubernetes.io/arch={OTHER}");
    for (architectures, options) in [
        (&[OTHER][..], &["POD-03"][..]),
        (&[own, OTHER], &["--node-selector", &selector, "POD-03"]),
    ] {
        let refused = dry_run_on(architectures, options);
        let message = "this program has no probe for the nodes: their architecture is s390x";
        refused.refuses(2, &[message]).hints(&["--node-selector", "nestcheck --version"]);
    }
}
