//! The architecture of a run: which probe its pods get, and what becomes of nodes without one.

use harness::{
    Result,
    engine::{OfNode, RunConfig, plan::Entry},
    facts::{ARCHITECTURE_LABEL, Facts},
    sandbox::{Architectures, Candidates},
    verdict::{Place, Verdict},
};

/// Chooses the architecture of a run, and the other nodes that are proven if each node is.
///
/// # Errors
///
/// No node has an architecture with a probe.
pub(super) fn choose(facts: &Facts, config: &RunConfig) -> Result<Architectures> {
    let selector = &config.sandbox.placement.node_selector;
    let candidates = Candidates {
        nodes: &facts.nodes,
        selected: selector.get(ARCHITECTURE_LABEL).map(String::as_str),
        probes: config.sandbox.files.iter().filter_map(|file| file.architecture).collect(),
    };
    let mut chosen = candidates.choose()?;
    if config.every_node.is_none() {
        chosen.others.clear();
    }
    Ok(chosen)
}

/// Blocks the proofs of nodes without a probe.
pub(super) fn settle(proofs: &mut [Entry], chosen: &Architectures) {
    for proof in proofs.iter_mut().filter(|proof| proof.settled.is_none()) {
        let OfNode::This(node) = proof.case.of_node else { continue };
        let Some(architecture) = chosen.without_probe.get(&node.name) else { continue };
        let reason =
            format!("this program has no probe for the node's architecture, {architecture}");
        let remedy = "take a program with this probe (`nestcheck --version` says which ones a build \
                      lacks, and why), or leave the node out with `--node-selector`";
        proof.settled = Some(Verdict::blocked(reason, remedy).at(Place::Node));
    }
}

/// Lets the pods of the run go to nodes of its architecture alone. From then on the facts are about those.
pub(super) fn enter(chosen: Architectures, facts: &mut Facts, config: &mut RunConfig) {
    chosen.keep_nodes(facts);
    if chosen.is_asked_for {
        let selector = &mut config.sandbox.placement.node_selector;
        selector.insert(ARCHITECTURE_LABEL.to_owned(), chosen.of_run.clone());
    }
    config.sandbox.architectures = chosen;
}
