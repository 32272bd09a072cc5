//! NODE: each node by itself.

use std::time::Duration;

use harness::{
    diagnosis::Absence,
    engine::{Case, CaseKind, Context, OfNode},
    verdict::{CaseResult, Failure},
};

use super::ASKING_FOR_DEVICES;
use crate::{
    fixtures::NESTED_POD,
    steps::{on_node, podman_run, shell_image},
};

inventory::submit!(Case {
    id: "NODE-01",
    suite: "nodes",
    name: "runs_nested_containers",
    title: "The node starts an isolated nested pod with its devices, which builds and runs an image",
    why: "The pods of a run use one or two nodes, and a workspace may start on any of them. One node \
          with an older kernel, a kubelet that missed the feature gate or a runtime without the devices \
          is enough for workspaces that fail now and then. With `--every-node`, each node therefore \
          gets its own pod, which must have its own ids, an unmasked /proc and the devices, and must \
          build and run an image.",
    fix: "The title of the case says how the node differs from most. Let it take on their version and \
          configuration, or keep workspaces away from it (`nodeSelector`, taints). The ID, ISO and POD \
          cases explain the failure.",
    by_flavour: false,
    requires: ASKING_FOR_DEVICES,
    of_node: OfNode::Each,
    expected: Duration::from_secs(8),
    kind: CaseKind::Live(|cx| Box::pin(runs_nested_containers(cx))),
    ..Case::DEFAULT
});

async fn runs_nested_containers(cx: Context) -> CaseResult {
    let node = cx.node()?;
    let pod = cx.manifest(&NESTED_POD)?;
    let name = pod.metadata.name.unwrap_or_default();
    prove(&cx, name.trim_start_matches("dry-run-"), node)
        .await
        .map_err(|failure| at(failure, &format!("on node `{node}`")))
}

/// Proves a node with a pod of its own. The pod's truth checks prove its isolation; a container of an
/// image that was built there, that it is of use.
pub(super) async fn prove(cx: &Context, name: &str, node: &str) -> CaseResult {
    let mut pod = cx.manifest_for_node(&NESTED_POD, node)?;
    pod.metadata.name = Some(name.to_owned());
    let pod = cx.provision_pod(&NESTED_POD, &on_node(pod, node)).await?;
    cx.check_equal(&format!("node of the pod for `{node}`"), node, pod.node().unwrap_or_default())?;
    // No other pod of the node has them or lacks them, so the node is at fault.
    if let Some(Absence { reason, diagnosis }) = pod.absence() {
        return Err(Failure::product(reason).with_hint(Some(*diagnosis)));
    }
    let image = shell_image(&pod).await?;
    // The image has a shell, and no other program.
    let said = pod.output(&podman_run(&[], &image, &["sh", "-c", "echo here"])).await?;
    cx.check_equal(&format!("output of a container on `{node}`"), "here", &said)
}

/// A failure with the place where it was seen.
pub(super) fn at(failure: Failure, place: &str) -> Failure {
    match failure {
        Failure::Harness { message } => Failure::harness(format!("{message}; {place}")),
        other => other.adding(place),
    }
}
