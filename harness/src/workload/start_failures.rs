//! Why a pod does not start, where no text is known: what the kubelet reports again and again, and init
//! containers that fail.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{Api, ResourceExt, api::LogParams};

use super::progress::{Progress, evaluate_container};
use crate::{
    base::{
        redact,
        text::{is_random_id, one_line, without_words},
    },
    diagnosis::{self, Symptom},
    verdict::{Attribution, Failure, Hint, Place, SignatureId},
};

/// How often the kubelet must have failed in the same way before it is taken for its last word. It
/// tries every 10 to 15 s (kubernetes, `pkg/kubelet/pod_workers.go`), and a network that comes up
/// with the node is there by then.
const HOPELESS: i32 = 4;

/// How much of an init container's log a message shows.
const LOG_LINES: i64 = 4;
const LOG_BYTES: usize = 400;

/// The kubelet's failures to start a pod, by their messages.
#[derive(Debug, Default)]
pub(super) struct StartFailures {
    /// By the message without its ids: how often each event reported it.
    seen: BTreeMap<String, BTreeMap<String, i32>>,
    last: Option<String>,
}

impl StartFailures {
    /// Takes an event about the pod.
    pub(super) fn add(&mut self, event: &Event) {
        let reason = event.reason.as_deref().unwrap_or_default();
        if !matches!(reason, "FailedCreatePodSandBox" | "FailedSync") {
            return;
        }
        let message = one_line(event.message.as_deref().unwrap_or_default());
        let series = event.series.as_ref().and_then(|series| series.count);
        let count = series.or(event.count).unwrap_or(1);
        let counts = self.seen.entry(without_ids(&message)).or_default();
        counts.insert(event.name_any(), count);
        self.last = Some(format!("({reason}): {message}"));
    }

    /// Whether there was one.
    pub(super) fn are_any(&self) -> bool {
        self.last.is_some()
    }

    /// Whether the same failure came again and again.
    pub(super) fn are_hopeless(&self) -> bool {
        self.seen.values().any(|counts| counts.values().sum::<i32>() >= HOPELESS)
    }

    /// The failure, in the kubelet's words. Why a node does not start a pod is the cluster's doing.
    pub(super) fn failure(&self, pod: &str) -> Failure {
        let said = self.last.as_deref().unwrap_or_default();
        let hint = diagnosis::explain(Symptom::Start(said), None);
        let unknown = || {
            Hint::from(
                "no known cause: the kubelet's and the container runtime's log on the pod's node \
                 tell more",
            )
        };
        Failure::product(format!("the pod `{pod}` can't be started {said}"))
            .with_hint(Some(hint.unwrap_or_else(unknown)))
    }
}

/// A message without what differs each time: ids of sandboxes, numbers.
fn without_ids(message: &str) -> String {
    without_words(message, |word| is_random_id(word) || word.parse::<u64>().is_ok())
}

/// An init container that failed.
pub(super) struct FailedInit {
    pod: String,
    container: String,
    failure: Failure,
}

/// The init container by which a pod never starts.
pub(super) fn failed_init(pod: &str, own: &[String], object: &Pod) -> Option<FailedInit> {
    let statuses = object.status.as_ref()?.init_container_statuses.as_deref()?;
    let failed = |status: &ContainerStatus| {
        // A runtime that is away says nothing of the pod.
        if matches!(evaluate_container(pod, status, false), Some(Progress::Away(_))) {
            return None;
        }
        let what = describe_failure(status)?;
        let name = &status.name;
        let message = format!("the init container `{name}` of pod `{pod}` {what}");
        let hint = if own.contains(name) {
            diagnosis::explain(Symptom::Start(&what), None)
        } else {
            let fix = "exempt namespaces with the label `app.kubernetes.io/managed-by: nestcheck` \
                       from whatever adds it";
            Some(Hint::from(Attribution {
                signature: Some(SignatureId::F42),
                wrong: format!("the init container `{name}` was not in the pod that was sent"),
                place: Place::Policy,
                fix: Some(fix.to_owned()),
                ..Attribution::default()
            }))
        };
        let failure = Failure::product(message).with_hint(hint);
        Some(FailedInit { pod: pod.to_owned(), container: name.clone(), failure })
    };
    statuses.iter().find_map(failed)
}

/// How an init container failed; none where it did not, or may still end well.
fn describe_failure(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    if let Some(ended) = state.terminated.as_ref().filter(|ended| ended.exit_code != 0) {
        let why = ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("no reason");
        return Some(format!("ended with exit code {}: {}", ended.exit_code, one_line(why)));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let is_final = matches!(
        reason,
        "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "CrashLoopBackOff"
            | "ErrImageNeverPull"
            | "ImagePullBackOff"
            | "InvalidImageName"
    );
    let message = one_line(waiting.message.as_deref().unwrap_or_default());
    is_final.then(|| format!("can't be started ({reason}): {message}"))
}

impl FailedInit {
    /// The failure with the end of the container's log, as far as there is one.
    pub(super) async fn with_log(self, pods: &Api<Pod>) -> Failure {
        let params = LogParams {
            container: Some(self.container),
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        match pods.logs(&self.pod, &params).await {
            Ok(log) if !log.trim().is_empty() => {
                let log = one_line(&redact::clean(log.as_bytes(), LOG_BYTES));
                self.failure.adding(&format!("its log ends with: {log}"))
            }
            _ => self.failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, count: i32, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "involvedObject": {}, "type": "Warning", "count": count,
            "reason": "FailedCreatePodSandBox", "message": message,
        }))
        .expect("it is an event")
    }

    #[test]
    fn a_failure_that_repeats_is_the_kubelets_last_word() {
        let mut starts = StartFailures::default();
        let unknown = "Failed to create pod sandbox: rpc error: sandbox \"0123456789abcdef\": no";
        for (name, count, hopeless) in [("a", 1, false), ("a", 3, false), ("b", 1, true)] {
            starts.add(&event(name, count, &unknown.replace("abc", name)));
            assert_eq!(starts.are_hopeless(), hopeless, "{name} {count}");
        }
        let Failure::Product { message, hint, .. } = starts.failure("w") else {
            panic!("product's")
        };
        assert!(message.contains("can't be started (FailedCreatePodSandBox)"), "{message}");
        assert!(hint.is_some_and(|hint| hint.text.contains("log on the pod's node")));
    }

    #[test]
    fn failures_that_differ_are_waited_for() {
        let mut starts = StartFailures::default();
        assert!(!starts.are_any());
        for message in ["no network", "no space", "no image", "no memory", "no luck"] {
            starts.add(&event(message, 1, message));
        }
        assert!(starts.are_any() && !starts.are_hopeless());
    }

    fn init(name: &str, state: &serde_json::Value) -> Pod {
        let statuses = json!([{"name": name, "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": state}]);
        serde_json::from_value(json!({"status": {"initContainerStatuses": statuses}}))
            .expect("it is a pod")
    }

    #[test]
    fn an_init_container_that_fails_is_named_and_one_that_ended_well_is_not() {
        let own = ["setup".to_owned()];
        let failed = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let found = failed_init("w", &own, &init("istio-init", &failed)).expect("it failed");
        let Failure::Product { message, hint, .. } = found.failure else { panic!("the product's") };
        assert!(message.contains("`istio-init` of pod `w` ended with exit code 1"), "{message}");
        assert_eq!(hint.and_then(|hint| hint.signature()), Some(SignatureId::F42));
        let ours = failed_init("w", &own, &init("setup", &failed)).expect("it failed");
        assert!(matches!(ours.failure, Failure::Product { hint: None, .. }));
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        assert!(failed_init("w", &own, &init("istio-init", &ended)).is_none());
        let runs = json!({"running": {}});
        assert!(failed_init("w", &own, &init("istio-proxy", &runs)).is_none());
    }
}
