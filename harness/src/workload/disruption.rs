//! Whether what a case saw may be judged: a product that failed while its node or the API server
//! was lost was not tried.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{Command, PROBE, node_of, run_in};
use crate::{
    Error,
    cluster::{call_within, exec_error::Lost, is_forbidden, retry},
    sandbox::Sandbox,
    verdict::{Failure, Loss},
};

/// How long one look may take: a healthy server answers within milliseconds.
pub(crate) const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// How long an API server may be away before a run gives it up: a restart of a control plane node
/// takes about a minute.
pub(super) const RETURN_DEADLINE: Duration = Duration::from_secs(90);

/// The pods of a case that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspects {
    /// Those that were ready before it began, as they were then: it has no reason to end them.
    pub(crate) ready: Vec<Pod>,
    /// Those that may never have been there, or that the case may have deleted.
    pub(crate) others: Vec<String>,
    /// Whether something did not end in time: then the nodes of the pods must still answer.
    pub(crate) is_late: bool,
}

/// What was lost under a case: the API server, one of its pods, or a node. None where nothing was,
/// so that what was seen is the product's.
pub(crate) async fn find(sandbox: &Sandbox, suspects: &Suspects) -> Option<Loss> {
    let server = |error: Error| {
        let message = format!("the API server can't be asked: {error}");
        Some(Loss { who: Lost::ApiServer, node: None, message })
    };
    if let Err(error) = is_there(sandbox.admin()).await {
        return server(error);
    }
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let mut nodes: Vec<String> = Vec::new();
    let ready = suspects.ready.iter().map(|pod| (pod.name_any(), Some(pod)));
    let others = suspects.others.iter().map(|name| (name.clone(), None));
    for (name, before) in ready.chain(others) {
        let now = match call_within(LOOK_DEADLINE, "look at the pod", || api.get_opt(&name)).await {
            Err(error) => return server(error),
            Ok(now) => now,
        };
        let lost_pod = |message| {
            let node = before.and_then(node_of).map(str::to_owned);
            Some(Loss { who: Lost::Pod, node, message })
        };
        let Some(pod) = now else {
            if before.is_some() {
                return lost_pod(format!("the pod `{name}` was deleted meanwhile"));
            }
            continue;
        };
        let reason =
            disruption_reason(&pod, before.is_some()).or_else(|| change_reason(&pod, before?));
        if let Some(message) = reason {
            return lost_pod(message);
        }
        // A pod that the case may have ended itself has no reason to answer.
        if suspects.is_late
            && (before.is_some() || is_running(&pod))
            && let Some(loss) = silence(&api, &pod, before.is_some()).await
        {
            return Some(loss);
        }
        nodes.extend(node_of(&pod).map(str::to_owned));
    }
    nodes.sort();
    nodes.dedup();
    for name in nodes {
        match look_at_node(sandbox.admin(), &name).await {
            Err(error) => return server(error),
            Ok(node) => {
                if let Some(message) = node.as_ref().and_then(unready_reason) {
                    return Some(Loss { who: Lost::Node, node: Some(name), message });
                }
            }
        }
    }
    None
}

/// What is lost if a command in a pod does not end any more: a node that died is called
/// ready for 40 s more (kubernetes `--node-monitor-grace-period`), and a silent connection tells
/// nothing. None where it ends: one that ends badly is an answer too, for the pod may be out of
/// processes by itself.
async fn silence(api: &Api<Pod>, pod: &Pod, was_ready: bool) -> Option<Loss> {
    let command = Command::new([PROBE, "id"]).within(LOOK_DEADLINE);
    let loss = match run_in(api, pod, &command).await {
        Err(Failure::Lost(loss)) if was_ready || loss.who != Lost::Pod => loss,
        Err(Failure::Timeout { message, .. }) => {
            Loss { who: Lost::Node, node: node_of(pod).map(str::to_owned), message }
        }
        _ => return None,
    };
    let message = format!("the pod `{}` does not answer: {}", pod.name_any(), loss.message);
    Some(Loss { message, ..loss })
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// Asks the API server for the least.
///
/// # Errors
///
/// It does not answer.
pub(super) async fn is_there(admin: &Client) -> Result<(), Error> {
    let asked =
        call_within(LOOK_DEADLINE, "ask the API server again", || admin.apiserver_version()).await;
    asked.map(drop)
}

async fn look_at_node(admin: &Client, name: &str) -> Result<Option<Node>, Error> {
    let api: Api<Node> = Api::all(admin.clone());
    // A list, because that is the right that a run has.
    let this = ListParams::default().fields(&format!("metadata.name={name}"));
    let list = call_within(LOOK_DEADLINE, "look at the node", || async {
        match api.list(&this).await {
            // Who may not look learns nothing of it: that is not a loss of the server.
            Err(error) if is_forbidden(&error) => Ok(None),
            list => list.map(Some),
        }
    });
    Ok(list.await?.and_then(|list| list.items.into_iter().next()))
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

/// Why a pod is not the one any more that it was before a case began, which has no reason for that.
fn change_reason(pod: &Pod, before: &Pod) -> Option<String> {
    let name = pod.name_any();
    if pod.uid() != before.uid() {
        return Some(format!("another pod took the place of `{name}` meanwhile"));
    }
    let container = restarted(pod, before)?;
    Some(format!("the container `{container}` of pod `{name}` was restarted"))
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

/// A container that restarted meanwhile for another reason than its own memory.
fn restarted<'a>(pod: &'a Pod, before: &Pod) -> Option<&'a str> {
    let statuses = |pod: &'_ Pod| {
        let status = pod.status.clone().unwrap_or_default();
        status.container_statuses.unwrap_or_default()
    };
    let before = statuses(before);
    let mut now = pod.status.as_ref()?.container_statuses.iter().flatten();
    let restarted = now.find(|status| {
        let known = before.iter().find(|known| known.name == status.name);
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let reason = last.and_then(|ended| ended.reason.as_deref());
        status.restart_count > known.map_or(0, |known| known.restart_count)
            && reason != Some("OOMKilled")
    });
    Some(restarted?.name.as_str())
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
    fn a_pod_that_restarted_or_was_replaced_is_no_evidence() {
        let with = |restarts: i32, reason: &str| {
            let container = json!({"name": "tools", "image": "i", "imageID": "i", "ready": true,
                "restartCount": restarts, "lastState": {"terminated": {"exitCode": 137, "reason": reason}}});
            pod(json!({"uid": "a"}), &json!({"phase": "Running", "containerStatuses": [container]}))
        };
        let before = with(1, "Error");
        assert_eq!(change_reason(&before, &before), None);
        let restarted = change_reason(&with(2, "Error"), &before);
        assert!(restarted.is_some_and(|reason| reason.contains("`tools`")));
        assert_eq!(change_reason(&with(2, "OOMKilled"), &before), None, "by its case");
        let mut other = with(0, "Error");
        other.metadata.uid = Some("b".into());
        assert!(change_reason(&other, &before).is_some());
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
