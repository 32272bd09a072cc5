//! Whether a pod will ever be ready: decisions from its status and from events about it. Pure.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Pod};

use super::disruption::disruption_reason;
use crate::{
    base::text::one_line,
    cluster::exec_error::{is_end_lost, is_pull_lost, is_start_lost},
    diagnosis::{self, Symptom},
    verdict::Failure,
};

/// What a change of a pod or an event about it means.
pub(super) enum Progress {
    /// The pod is ready.
    Ready(Box<Pod>),
    /// Not yet; the reason, if one is given.
    Waiting(Option<String>),
    /// Not yet, because the container runtime is away; the kubelet tries again.
    Away(String),
    /// It never will be.
    Never(Failure),
}

/// Decides from the pod's status. `was_away` says whether the runtime was away when it last said
/// something.
pub(super) fn evaluate_pod(name: &str, own: &[String], pod: Pod, was_away: bool) -> Progress {
    let status = pod.status.clone().unwrap_or_default();
    let mut containers = status.container_statuses.unwrap_or_default();
    if containers.iter().any(|container| own.contains(&container.name)) {
        containers.retain(|container| own.contains(&container.name));
    }
    if status.phase.as_deref() == Some("Running")
        && !containers.is_empty()
        && containers.iter().all(|container| container.ready)
    {
        return Progress::Ready(Box::new(pod));
    }
    // First of all: the containers of such a pod end too, and say nothing.
    if let Some(reason) = disruption_reason(&pod, true) {
        return Progress::Never(Failure::lost(reason));
    }
    let stays = |container: &ContainerStatus| evaluate_container(name, container, was_away);
    let has_ended = status.phase.as_deref() == Some("Failed");
    match containers.iter().find_map(stays) {
        // Nobody starts the container of this pod again.
        Some(Progress::Away(reason)) if has_ended => return Progress::Never(Failure::lost(reason)),
        Some(progress) => return progress,
        None => {}
    }
    if has_ended {
        let why = [status.reason, status.message].into_iter().flatten().collect::<Vec<_>>();
        return Progress::Never(Failure::harness(format!(
            "the pod `{name}` failed: {}",
            one_line(&why.join(": "))
        )));
    }
    let unscheduled = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .and_then(|condition| condition.message);
    Progress::Waiting(unscheduled.map(|message| one_line(&message)))
}

/// Decides from a container's state whether its pod can ever be ready. None where nothing is wrong.
pub(super) fn evaluate_container(
    pod: &str,
    container: &ContainerStatus,
    was_away: bool,
) -> Option<Progress> {
    let state = container.state.as_ref()?;
    let name = &container.name;
    if let Some(ended) = &state.terminated {
        return Some(evaluate_end(pod, name, ended));
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = one_line(waiting.message.as_deref().unwrap_or_default());
    let away = || Some(Progress::Away(format!("{reason}: {message}")));
    // The kubelet starts it again, and pauses before that.
    if reason == "CrashLoopBackOff"
        && let Some(lost) = last_loss(pod, container)
    {
        return Some(Progress::Away(lost));
    }
    match reason {
        "ErrImagePull" | "ImagePullBackOff" if is_pull_lost(&message) => away(),
        // Older kubelets do not say here why the pull failed, only at the next try.
        "ImagePullBackOff" if was_away => away(),
        "ErrImageNeverPull" | "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" => {
            let message = diagnosis::missing_image(&container.image, reason, &message);
            Some(Progress::Never(Failure::harness(message)))
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "CrashLoopBackOff" => {
            let hint = diagnosis::explain(Symptom::Start(&message), None);
            if hint.is_none() && is_start_lost(&message) {
                return away();
            }
            let failure = Failure::product(format!(
                "the container `{name}` of pod `{pod}` can't be started ({reason}): {message}"
            ));
            Some(Progress::Never(failure.with_hint(hint)))
        }
        _ => None,
    }
}

/// How the container was lost when it ended last.
fn last_loss(pod: &str, container: &ContainerStatus) -> Option<String> {
    let ended = container.last_state.as_ref()?.terminated.as_ref()?;
    match evaluate_end(pod, &container.name, ended) {
        Progress::Away(reason) => Some(reason),
        _ => None,
    }
}

/// Decides from the end of a container. One that was lost with its runtime is started again where its
/// pod wants that.
fn evaluate_end(pod: &str, container: &str, ended: &ContainerStateTerminated) -> Progress {
    let reason = ended.reason.as_deref().unwrap_or_default();
    let why = one_line(ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("no reason"));
    let hint = diagnosis::explain(Symptom::Start(&why), None);
    let message = format!(
        "the container `{container}` of pod `{pod}` ended with exit code {}: {why}",
        ended.exit_code,
    );
    // The message of another reason is the container's own.
    let is_start = matches!(reason, "StartError" | "ContainerCannotRun");
    if is_end_lost(reason) || (is_start && hint.is_none() && is_start_lost(&why)) {
        return Progress::Away(message);
    }
    Progress::Never(Failure::product(message).with_hint(hint))
}

/// Decides from an event about the pod. The kubelet tries to make a sandbox for ever, so a
/// failure is final only where its message is known to be; others may pass, such as a network
/// plugin that is not ready yet.
pub(super) fn evaluate_event(pod: &str, event: &Event) -> Progress {
    let reason = event.reason.as_deref().unwrap_or_default();
    let message = one_line(event.message.as_deref().unwrap_or_default());
    if event.type_.as_deref() != Some("Warning") {
        return Progress::Waiting(None);
    }
    match (reason, diagnosis::explain(Symptom::Start(&message), None)) {
        ("FailedCreatePodSandBox" | "FailedSync", Some(hint)) => Progress::Never(
            Failure::product(format!("the pod `{pod}` can't be started ({reason}): {message}"))
                .with_hint(Some(hint)),
        ),
        ("FailedCreatePodSandBox" | "FailedSync" | "Failed", None) if is_start_lost(&message) => {
            Progress::Away(format!("{reason}: {message}"))
        }
        // It repeats what was said before, without the reason.
        ("BackOff", _) => Progress::Waiting(None),
        _ => Progress::Waiting(Some(format!("{reason}: {message}"))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateWaiting, PodStatus,
    };

    use super::*;

    /// What a kubelet says while its runtime restarts.
    const AWAY: &str = "rpc error: code = Unavailable desc = connection error: desc = \"transport: \
         Error while dialing: dial unix /run/containerd/containerd.sock: connect: connection refused\"";

    fn pod(phase: &str, ready: bool, state: ContainerState) -> Pod {
        Pod {
            status: Some(PodStatus {
                phase: Some(phase.into()),
                container_statuses: Some(vec![ContainerStatus {
                    name: "tools".into(),
                    image: "localhost/nope:1".into(),
                    ready,
                    state: Some(state),
                    ..ContainerStatus::default()
                }]),
                ..PodStatus::default()
            }),
            ..Pod::default()
        }
    }

    fn waiting(reason: &str, message: &str) -> ContainerState {
        ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.into()),
                message: Some(message.into()),
            }),
            ..ContainerState::default()
        }
    }

    fn terminated(reason: &str, exit_code: i32, message: &str) -> ContainerState {
        ContainerState {
            terminated: Some(ContainerStateTerminated {
                reason: Some(reason.into()),
                exit_code,
                message: Some(message.into()),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        }
    }

    /// What is decided while nothing was away.
    fn decide(phase: &str, state: ContainerState) -> Progress {
        evaluate_pod("w", &[], pod(phase, false, state), false)
    }

    #[test]
    fn a_running_pod_is_ready_when_its_containers_are() {
        let running = ContainerState {
            running: Some(ContainerStateRunning::default()),
            ..ContainerState::default()
        };
        let ready = evaluate_pod("w", &[], pod("Running", true, running.clone()), false);
        assert!(matches!(ready, Progress::Ready(_)));
        assert!(matches!(decide("Running", running), Progress::Waiting(_)));
    }

    #[test]
    fn a_container_that_somebody_added_need_not_be_ready() {
        let running = ContainerState {
            running: Some(ContainerStateRunning::default()),
            ..ContainerState::default()
        };
        let mut pod = pod("Running", true, running);
        let crashing = ContainerStatus {
            name: "proxy".into(),
            state: Some(waiting("CrashLoopBackOff", "because")),
            ..ContainerStatus::default()
        };
        let status = pod.status.get_or_insert_default();
        status.container_statuses.get_or_insert_default().insert(0, crashing);
        let own = ["tools".to_owned()];
        let added = evaluate_pod("w", &own, pod.clone(), false);
        assert!(matches!(added, Progress::Ready(_)));
        let own = ["proxy".to_owned()];
        assert!(matches!(evaluate_pod("w", &own, pod, false), Progress::Never(_)));
    }

    #[test]
    fn a_missing_image_is_not_the_products_failure() {
        for reason in ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"] {
            let Progress::Never(failure) = decide("Pending", waiting(reason, "because")) else {
                panic!("{reason} never passes")
            };
            assert!(
                matches!(failure, Failure::Harness { message } if message.contains("localhost/nope:1"))
            );
        }
    }

    #[test]
    fn creating_is_waited_for() {
        let progress = decide("Pending", waiting("ContainerCreating", "because"));
        assert!(matches!(progress, Progress::Waiting(None)));
    }

    #[test]
    fn a_runtime_that_restarts_is_waited_for() {
        let reserved = "failed to reserve container name \"tools_w_0\": name \"tools_w_0\" is reserved \
             for \"9c4e\"";
        for (reason, message) in [
            ("CreateContainerError", AWAY),
            ("CreateContainerError", "context deadline exceeded"),
            ("CreateContainerError", reserved),
            ("RunContainerError", "failed to create containerd task: ttrpc: closed"),
            ("ErrImagePull", AWAY),
            ("ImagePullBackOff", AWAY),
        ] {
            let progress = decide("Pending", waiting(reason, message));
            assert!(matches!(progress, Progress::Away(_)), "{reason}: {message}");
        }
        let event = warning(AWAY);
        assert!(matches!(evaluate_event("w", &event), Progress::Away(_)));
        let back_off =
            || pod("Pending", false, waiting("ImagePullBackOff", "Back-off pulling image"));
        assert!(matches!(evaluate_pod("w", &[], back_off(), true), Progress::Away(_)));
        assert!(matches!(evaluate_pod("w", &[], back_off(), false), Progress::Never(_)));
    }

    #[test]
    fn a_container_that_can_not_be_started_is_the_products_failure() {
        for state in [
            waiting("CreateContainerError", "because"),
            waiting("CreateContainerError", "/dev/kmsg is not in allowed_devices: ttrpc: closed"),
            waiting("RunContainerError", "exec: \"sh\": executable file not found in $PATH"),
            waiting("CrashLoopBackOff", "back-off 10s restarting failed container"),
            terminated("Error", 1, "context deadline exceeded, wrote the container itself"),
            terminated("Error", 137, "killed"),
        ] {
            let progress = decide("Pending", state.clone());
            assert!(
                matches!(progress, Progress::Never(Failure::Product { .. })),
                "{state:?} is final"
            );
        }
    }

    #[test]
    fn a_container_that_was_lost_with_its_runtime_decides_nothing() {
        for state in [
            terminated("ContainerStatusUnknown", 137, "The container could not be located"),
            terminated("Unknown", 255, ""),
            terminated("StartError", 128, "failed to create containerd task: ttrpc: closed"),
        ] {
            let mut crashed = pod("Running", false, waiting("CrashLoopBackOff", "back-off 10s"));
            let status = crashed.status.as_mut().expect("a status");
            status.container_statuses.as_mut().expect("containers")[0].last_state =
                Some(state.clone());
            let again = evaluate_pod("w", &[], crashed, false);
            assert!(matches!(again, Progress::Away(_)), "{state:?}: the kubelet starts it again");
            let again = decide("Running", state.clone());
            assert!(matches!(again, Progress::Away(_)), "{state:?}");
            let ended = decide("Failed", state.clone());
            assert!(matches!(ended, Progress::Never(Failure::Lost { .. })), "{state:?}");
        }
    }

    #[test]
    fn a_pod_that_was_ended_from_outside_is_a_loss_whatever_its_container_says() {
        for reason in ["Evicted", "NodeLost", "NodeShutdown", "Terminated"] {
            let mut ended = pod("Failed", false, terminated("Error", 137, "killed"));
            ended.status.as_mut().expect("a status").reason = Some(reason.into());
            let Progress::Never(failure @ Failure::Lost { .. }) =
                evaluate_pod("w", &[], ended, false)
            else {
                panic!("{reason} is a loss")
            };
            assert!(failure.message().contains(reason), "{failure:?}");
        }
    }

    fn warning(message: &str) -> Event {
        Event {
            type_: Some("Warning".into()),
            reason: Some("FailedCreatePodSandBox".into()),
            message: Some(message.into()),
            ..Event::default()
        }
    }

    #[test]
    fn a_kubelet_without_the_gate_is_known_at_once() {
        let event = warning(
            "the feature gate \"UserNamespacesSupport\" is disabled: can't set spec.HostUsers",
        );
        let Progress::Never(Failure::Product { message, hint, .. }) = evaluate_event("w", &event)
        else {
            panic!("it never passes")
        };
        assert!(message.contains("UserNamespacesSupport"));
        assert!(hint.is_some_and(|hint| hint.text.contains("kubelet")));
    }

    #[test]
    fn a_sandbox_failure_that_may_pass_is_waited_for() {
        let event = warning("network plugin is not ready");
        assert!(matches!(evaluate_event("w", &event), Progress::Waiting(Some(_))));
    }
}
