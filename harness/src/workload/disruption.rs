//! Whether what a case saw may be judged: a product that failed while its node or the API server
//! was lost was not tried.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{Command, PROBE, run_in};
use crate::{
    Error,
    cluster::{call_within, retry},
    sandbox::Sandbox,
    verdict::Failure,
};

/// How long one look may take: a healthy server answers within milliseconds.
pub(crate) const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// How long an API server may be away before a run gives it up: a restart of a control plane node
/// takes about a minute.
const RETURN_DEADLINE: Duration = Duration::from_secs(90);

/// The pods of a case that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspects {
    /// Those that were ready before it began: it has no reason to end them.
    pub(crate) ready: Vec<String>,
    /// Those that may never have been there, or that the case may have deleted.
    pub(crate) others: Vec<String>,
    /// Whether something did not end in time: then a pod that was ready must still answer.
    pub(crate) is_late: bool,
}

/// What was lost under a case: the API server, one of its pods, or a node. None where nothing was,
/// so that what was seen is the product's.
pub(crate) async fn find(sandbox: &Sandbox, suspects: &Suspects) -> Option<String> {
    if let Err(error) = is_there(sandbox.admin()).await {
        return Some(format!("the API server can't be asked: {error}"));
    }
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let mut nodes: Vec<String> = Vec::new();
    for name in suspects.ready.iter().chain(&suspects.others) {
        let was_ready = suspects.ready.contains(name);
        match call_within(LOOK_DEADLINE, "look at the pod", || api.get_opt(name)).await {
            Err(error) => return Some(format!("the API server can't be asked: {error}")),
            Ok(None) if was_ready => {
                return Some(format!("the pod `{name}` was deleted meanwhile"));
            }
            Ok(None) => {}
            Ok(Some(pod)) => {
                if let Some(what) = disruption_reason(&pod, was_ready) {
                    return Some(what);
                }
                if was_ready && suspects.is_late && !answers(&api, &pod).await {
                    return Some(format!("the pod `{name}` does not answer any more"));
                }
                nodes.extend(pod.spec.and_then(|spec| spec.node_name));
            }
        }
    }
    nodes.sort();
    nodes.dedup();
    for node in &nodes {
        match look_at_node(sandbox.admin(), node).await {
            Err(error) => return Some(format!("the API server can't be asked: {error}")),
            Ok(node) => {
                if let Some(what) = node.as_ref().and_then(unready_reason) {
                    return Some(what);
                }
            }
        }
    }
    None
}

/// Whether a command in a pod still comes to an end: a node that died is called ready for 40 s more
/// (kubernetes `--node-monitor-grace-period`), and a silent connection tells nothing.
async fn answers(api: &Api<Pod>, pod: &Pod) -> bool {
    let command = Command::new([PROBE, "facts"]).within(LOOK_DEADLINE);
    // A command that ends badly is an answer too: the pod may be out of processes by itself.
    !matches!(run_in(api, pod, &command).await, Err(Failure::Lost { .. } | Failure::Timeout { .. }))
}

async fn is_there(admin: &Client) -> Result<(), Error> {
    let asked =
        call_within(LOOK_DEADLINE, "ask the API server again", || admin.apiserver_version()).await;
    asked.map(drop)
}

async fn look_at_node(admin: &Client, name: &str) -> Result<Option<Node>, Error> {
    let api: Api<Node> = Api::all(admin.clone());
    // A list, because that is the right that a run has.
    let this = ListParams::default().fields(&format!("metadata.name={name}"));
    let list = call_within(LOOK_DEADLINE, "look at the node", || api.list(&this)).await?;
    Ok(list.items.into_iter().next())
}

/// Waits until the API server answers again, but not for ever.
///
/// # Errors
///
/// It does not come back.
pub(crate) async fn until_server_returns(admin: &Client) -> Result<(), Error> {
    let asked =
        retry::with_backoff(RETURN_DEADLINE, |_: &Error| Some(Duration::ZERO), || is_there(admin));
    asked.await
}

/// What ended a pod that its case did not: an eviction, the loss of its node, and its deletion where
/// the case has no reason to delete it.
pub(super) fn disruption_reason(pod: &Pod, is_shared: bool) -> Option<String> {
    let name = pod.name_any();
    if is_shared && pod.metadata.deletion_timestamp.is_some() {
        return Some(format!("the pod `{name}` was deleted meanwhile"));
    }
    let status = pod.status.as_ref()?;
    // kubernetes `pkg/apis/core/types.go`, `DisruptionTarget`: set before a pod is ended for a
    // reason that is not its own.
    let mut conditions = status.conditions.iter().flatten();
    let target = conditions.find(|c| c.type_ == "DisruptionTarget" && c.status == "True");
    if let Some(condition) = target {
        let reason = condition.reason.as_deref().unwrap_or("no reason");
        return Some(format!("the pod `{name}` was disrupted: {reason}"));
    }
    let reason = status.reason.as_deref()?;
    ["Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "NodeAffinity"]
        .contains(&reason)
        .then(|| format!("the pod `{name}` was ended from outside: {reason}"))
}

/// Why a node can't be trusted with a verdict.
fn unready_reason(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    let why = ready.message.as_deref().or(ready.reason.as_deref()).unwrap_or("no reason");
    (ready.status != "True").then(|| format!("the node `{}` is not ready: {why}", node.name_any()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(metadata: Value, status: &Value) -> Pod {
        let mut metadata = metadata;
        metadata["name"] = json!("workspace");
        serde_json::from_value(
            json!({"metadata": metadata, "spec": {"containers": []}, "status": status}),
        )
        .expect("it is a pod")
    }

    #[test]
    fn a_pod_that_was_ended_from_outside_is_no_evidence() {
        let running = json!({"phase": "Running"});
        assert_eq!(disruption_reason(&pod(json!({}), &running), true), None);
        let deleted = json!({"deletionTimestamp": "2026-11-24T09:30:00Z"});
        assert!(disruption_reason(&pod(deleted.clone(), &running), true).is_some());
        assert_eq!(disruption_reason(&pod(deleted, &running), false), None, "by its case");
        let evicted = json!({"phase": "Failed", "reason": "Evicted"});
        assert!(
            disruption_reason(&pod(json!({}), &evicted), false)
                .is_some_and(|t| t.contains("Evicted"))
        );
        let disrupted = json!({"phase": "Running", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"},
        ]});
        let reported =
            disruption_reason(&pod(json!({}), &disrupted), false).expect("it was disrupted");
        assert!(reported.contains("DeletionByTaintManager"), "{reported}");
    }

    #[test]
    fn a_pod_that_fails_by_itself_is_evidence() {
        let killed = json!({"phase": "Failed", "reason": "Error"});
        assert_eq!(disruption_reason(&pod(json!({}), &killed), true), None);
    }

    #[test]
    fn a_node_is_trusted_only_while_it_is_ready() {
        let node = |status: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": "worker-1"},
                "status": {"conditions": [
                    {"type": "DiskPressure", "status": "False"},
                    {"type": "Ready", "status": status, "message": "the kubelet is away"},
                ]},
            }))
            .expect("it is a node")
        };
        assert_eq!(unready_reason(&node("True")), None);
        for status in ["False", "Unknown"] {
            let reported = unready_reason(&node(status)).expect("it is not ready");
            assert_eq!(reported, "the node `worker-1` is not ready: the kubelet is away");
        }
    }
}
