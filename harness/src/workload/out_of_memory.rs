//! A container that the kernel killed because it used up its memory. That is the pod's own end, not
//! a disruption.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, ResourceExt};

use super::disruption::LOOK_DEADLINE;
use crate::cluster::watch_until;

/// Whether the kubelet reports that a container, which has just been killed, used up its memory.
/// `pod` is the pod when it was ready. The kubelet reports an end a moment after the command's
/// stream has ended; false if it reports none in time.
pub(super) async fn killed(api: &Api<Pod>, pod: &Pod, container: &str) -> bool {
    let name = pod.name_any();
    let before = status(pod, container).map_or(0, |status| status.restart_count);
    let has_ended = |status: &ContainerStatus| {
        status.restart_count > before
            || status.state.as_ref().is_some_and(|state| state.terminated.is_some())
    };
    let ended =
        |pod: Option<&Pod>| pod.and_then(|pod| status(pod, container)).is_some_and(has_ended);
    // On the heap: it is a part of every command's future.
    match Box::pin(watch_until(api, &name, ended, LOOK_DEADLINE)).await {
        Ok(Some(pod)) => {
            let status = status(&pod, container);
            status.and_then(last_end).is_some_and(|reason| reason == "OOMKilled")
        }
        _ => false,
    }
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let mut statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    statuses.find(|status| status.name == container)
}

/// Why the container ended last.
fn last_end(status: &ContainerStatus) -> Option<&str> {
    [&status.state, &status.last_state]
        .into_iter()
        .find_map(|state| state.as_ref()?.terminated.as_ref()?.reason.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, state: &Value, last_state: &Value) -> Pod {
        let status = json!({"name": name, "image": "i", "imageID": "i", "ready": false,
            "restartCount": 1, "state": state, "lastState": last_state});
        serde_json::from_value(json!({"status": {"containerStatuses": [status]}}))
            .expect("it is a pod")
    }

    fn ended(reason: &str) -> Value {
        json!({"terminated": {"exitCode": 137, "reason": reason}})
    }

    fn reason(pod: &Pod) -> Option<&str> {
        status(pod, "tools").and_then(last_end)
    }

    #[test]
    fn the_last_end_of_the_commands_own_container_counts() {
        let running = json!({"running": {}});
        assert_eq!(reason(&pod("tools", &ended("OOMKilled"), &json!({}))), Some("OOMKilled"));
        assert_eq!(reason(&pod("tools", &running, &ended("OOMKilled"))), Some("OOMKilled"));
        assert_eq!(reason(&pod("tools", &ended("Error"), &ended("OOMKilled"))), Some("Error"));
        assert_eq!(reason(&pod("tools", &running, &json!({}))), None);
        assert_eq!(reason(&pod("sidecar", &ended("OOMKilled"), &json!({}))), None);
        assert_eq!(reason(&Pod::default()), None);
    }
}
