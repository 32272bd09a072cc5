//! Waits for a pod by watching it and its events; knows what will never get better.

use std::{future::ready, time::Duration};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};

use super::start_failures::{StartFailures, failed_init};
use crate::{
    base::text::one_line,
    diagnosis::{self, Symptom},
    verdict::Failure,
};

/// When the events about a pod begin to be of interest. A pod whose image is on the node is ready
/// by then, and its events would only have been two more requests.
const EVENTS_AFTER: Duration = Duration::from_secs(2);

/// Waits until the pod's own containers are ready and returns the pod. Others, which somebody added
/// on its way, need not be.
///
/// # Errors
///
/// A reason that is known never to pass, told as soon as it is seen, or one that the kubelet tells
/// again and again; otherwise the deadline with the last reason seen.
pub(super) async fn await_ready(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    own: &[String],
    limit: Duration,
) -> Result<Pod, Failure> {
    let name = pod.name_any();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let fields = format!("involvedObject.name={name}");
    // A pod that somebody else made may be ready already, and then nothing of it changes.
    let known = stream::once(ready(Ok(pod.clone())));
    let api = pods.clone();
    let mut pods = known.chain(watch_from(&pods, pod)).boxed();
    let events = stream::once(tokio::time::sleep(EVENTS_AFTER))
        .flat_map(|()| watch(events.clone(), &fields));
    let mut events = events.boxed();
    let mut last = "nothing was heard of it".to_owned();
    let mut starts = StartFailures::default();
    let wait = async {
        loop {
            let progress = tokio::select! {
                Some(change) = pods.next() => {
                    let pod = change?;
                    match failed_init(&name, own, &pod) {
                        Some(init) => return Err(init.with_log(&api).await),
                        None => evaluate_pod(&name, own, pod),
                    }
                }
                Some(change) = events.next() => {
                    let event = change?;
                    starts.add(&event);
                    match evaluate_event(&name, &event) {
                        Progress::Waiting(_) if starts.are_hopeless() => {
                            return Err(starts.failure(&name));
                        }
                        progress => progress,
                    }
                }
                else => return Err(Failure::harness("the watches of the pod ended")),
            };
            match progress {
                Progress::Ready(pod) => return Ok(*pod),
                Progress::Never(failure) => return Err(failure),
                Progress::Waiting(Some(reason)) => last = reason,
                Progress::Waiting(None) => {}
            }
        }
    };
    match tokio::time::timeout(limit, wait).await {
        Ok(result) => result,
        Err(_elapsed) if starts.are_any() => Err(starts.failure(&name)),
        Err(_elapsed) => Err(Failure::harness(format!(
            "the pod `{name}` was not ready within {} s (`--pod-timeout`): {last}",
            limit.as_secs()
        ))),
    }
}

/// Watches an object's changes since it was as given: one request instead of the list and the
/// watch of [`watch`], which takes over where that one ends or is refused.
fn watch_from<K>(api: &Api<K>, object: &K) -> impl Stream<Item = Result<K, Failure>> + use<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let fields = format!("metadata.name={}", object.name_any());
    let version = object.resource_version().unwrap_or_default();
    let (first, parameters) = (api.clone(), WatchParams::default().fields(&fields));
    stream::once(async move { first.watch(&parameters, &version).await })
        .filter_map(|started| async { started.ok() })
        .flat_map(StreamExt::boxed)
        .take_while(|change| ready(matches!(change, Ok(change) if !is_error(change))))
        .filter_map(|change| {
            ready(match change {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Some(Ok(object)),
                _ => None,
            })
        })
        .chain(watch(api.clone(), &fields))
}

fn is_error<K>(change: &WatchEvent<K>) -> bool {
    matches!(change, WatchEvent::Error(_))
}

/// Watches one object's changes, and starts again after a broken connection. A refusal is final.
pub(super) fn watch<K>(api: Api<K>, fields: &str) -> impl Stream<Item = Result<K, Failure>> + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(fields);
    watcher(api, config).default_backoff().filter_map(|event| async {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                Some(Ok(object))
            }
            Ok(_) => None,
            Err(error) if is_final(&error) => {
                Some(Err(Failure::harness(format!("failed to watch: {error}"))))
            }
            Err(error) => {
                tracing::debug!(%error, "the watch broke and is made again");
                None
            }
        }
    })
}

fn is_final(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return false;
    };
    matches!(status.code, 401 | 403 | 404)
}

/// What a change of a pod or an event about it means.
enum Progress {
    /// The pod is ready.
    Ready(Box<Pod>),
    /// Not yet; the reason, if one is given.
    Waiting(Option<String>),
    /// It never will be.
    Never(Failure),
}

/// Decides from the pod's status.
fn evaluate_pod(name: &str, own: &[String], pod: Pod) -> Progress {
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
    if let Some(failure) =
        containers.iter().find_map(|container| evaluate_container(name, container))
    {
        return Progress::Never(failure);
    }
    if status.phase.as_deref() == Some("Failed") {
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

/// Decides from a container's state whether its pod can ever be ready.
fn evaluate_container(pod: &str, container: &ContainerStatus) -> Option<Failure> {
    let state = container.state.as_ref()?;
    if let Some(ended) = &state.terminated {
        let why =
            one_line(ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("no reason"));
        let hint = diagnosis::explain(Symptom::Start(&why), None);
        return Some(
            Failure::product(format!(
                "the container `{}` of pod `{pod}` ended with exit code {}: {why}",
                container.name, ended.exit_code,
            ))
            .with_hint(hint),
        );
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = one_line(waiting.message.as_deref().unwrap_or_default());
    match reason {
        "ErrImageNeverPull" | "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" => {
            Some(Failure::harness(format!(
                "the image `{}` can't be had ({reason}): {message}",
                container.image
            )))
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "CrashLoopBackOff" => Some(
            Failure::product(format!(
                "the container `{}` of pod `{pod}` can't be started ({reason}): {message}",
                container.name
            ))
            .with_hint(diagnosis::explain(Symptom::Start(&message), None)),
        ),
        _ => None,
    }
}

/// Decides from an event about the pod. The kubelet tries to make a sandbox for ever, so a
/// failure is final only where its message is known to be; others may pass, such as a network
/// plugin that is not ready yet.
fn evaluate_event(pod: &str, event: &Event) -> Progress {
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
        _ => Progress::Waiting(Some(format!("{reason}: {message}"))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateWaiting, PodStatus,
    };

    use super::*;

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

    fn waiting(reason: &str) -> ContainerState {
        ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.into()),
                message: Some("because".into()),
            }),
            ..ContainerState::default()
        }
    }

    #[test]
    fn a_running_pod_is_ready_when_its_containers_are() {
        let running = ContainerState {
            running: Some(ContainerStateRunning::default()),
            ..ContainerState::default()
        };
        assert!(matches!(
            evaluate_pod("w", &[], pod("Running", true, running.clone())),
            Progress::Ready(_)
        ));
        assert!(matches!(
            evaluate_pod("w", &[], pod("Running", false, running)),
            Progress::Waiting(_)
        ));
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
            state: Some(waiting("CrashLoopBackOff")),
            ..ContainerStatus::default()
        };
        let status = pod.status.get_or_insert_default();
        status.container_statuses.get_or_insert_default().insert(0, crashing);
        let own = ["tools".to_owned()];
        assert!(matches!(evaluate_pod("w", &own, pod.clone()), Progress::Ready(_)));
        assert!(matches!(evaluate_pod("w", &["proxy".to_owned()], pod), Progress::Never(_)));
    }

    #[test]
    fn a_missing_image_is_not_the_products_failure() {
        for reason in ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"] {
            let Progress::Never(failure) =
                evaluate_pod("w", &[], pod("Pending", false, waiting(reason)))
            else {
                panic!("{reason} never passes")
            };
            assert!(
                matches!(failure, Failure::Harness { message } if message.contains("localhost/nope:1"))
            );
        }
    }

    #[test]
    fn creating_is_waited_for() {
        let progress = evaluate_pod("w", &[], pod("Pending", false, waiting("ContainerCreating")));
        assert!(matches!(progress, Progress::Waiting(None)));
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
        let Progress::Never(Failure::Product { message, hint }) = evaluate_event("w", &event)
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
