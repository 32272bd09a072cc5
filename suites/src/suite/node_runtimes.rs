//! UPG-04A: what holds on one node, asked again of each other kind of node.

use futures::future::try_join_all;
use harness::{
    engine::{Case, CaseKind, Context},
    facts::Node,
    verdict::{CaseResult, Failure, Level},
};

use super::{
    ASKING_FOR_DEVICES,
    nodes::{at, prove},
};
use crate::fixtures::NESTED_POD;

// Mostly there is one kind of node, so that nothing is asked.
inventory::submit!(Case {
    id: "UPG-04A",
    suite: "upgrade",
    name: "runs_containers_on_each_kind_of_node",
    title: "On each kind of node a pod is isolated and runs a container",
    why: "The other pods of a run use one or two nodes. A cluster whose nodes differ in kernel, \
          runtime or kubelet is only as good as its worst kind of node. Each kind therefore gets \
          its own pod, which must be isolated and run a container. The case skips nodes with \
          taints that workspaces don't tolerate.",
    fix: "Finish the update of the nodes, or keep workspaces on one kind of node (`nodeSelector`, \
          taints). The ID, ISO and POD cases explain the failure.",
    level: Level::Extended,
    requires: ASKING_FOR_DEVICES,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(runs_containers_on_each_kind_of_node(cx))),
    ..Case::DEFAULT
});

async fn runs_containers_on_each_kind_of_node(cx: Context) -> CaseResult {
    let nodes = &cx.facts().nodes;
    let nodes = nodes.value().ok_or_else(|| {
        let why = nodes.why_unknown().unwrap_or_default();
        Failure::blocked(
            format!("the nodes could not be read: {why}"),
            "let this user list nodes; see `nestcheck preflight --print-rbac`",
        )
    })?;
    let workspace = cx.pod(&NESTED_POD).await?;
    let own = workspace.node().unwrap_or_default();
    let others = other_kinds(nodes, own);
    if others.is_empty() {
        return Err(Failure::not_applicable(format!(
            "every node that takes such pods is of the kind of `{own}`, where the other cases ran"
        )));
    }
    workspace.has_devices()?;
    try_join_all(others.into_iter().enumerate().map(|(number, node)| {
        let cx = cx.clone();
        async move {
            let place = format!("on node `{}` ({})", node.name, node.describe());
            prove(&cx, &format!("upg-04a-{number}"), &node.name)
                .await
                .map_err(|failure| at(failure, &place))
        }
    }))
    .await?;
    Ok(())
}

/// The first node of each kind but that of one node, among those that take such pods.
fn other_kinds<'a>(nodes: &'a [Node], own: &str) -> Vec<&'a Node> {
    let mut known: Vec<_> = nodes.iter().filter(|node| node.name == own).map(Node::kind).collect();
    let mut others = Vec::new();
    for node in nodes.iter().filter(|node| node.takes_pods) {
        let kind = node.kind();
        if !known.contains(&kind) {
            known.push(kind);
            others.push(node);
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::static_checks::tests::node;

    #[test]
    fn each_other_kind_is_asked_once() {
        let named = |name: &str, kernel: &str| Node { kernel: kernel.to_owned(), ..node(name) };
        let mut control_plane = named("control-plane", "5");
        control_plane.takes_pods = false;
        let nodes =
            [named("a", "6"), named("b", "6"), named("c", "5"), named("d", "5"), control_plane];
        let asked = |own| -> Vec<_> {
            other_kinds(&nodes, own).iter().map(|node| node.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(asked("a"), ["c"]);
        assert_eq!(asked("d"), ["a"]);
        assert_eq!(asked(""), ["a", "c"], "it is not known where the others ran");
        assert!(other_kinds(&nodes[..2], "b").is_empty());
    }
}
