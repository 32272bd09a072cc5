//! Waits for a pod by watching it and its events.

use std::{
    future::ready,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};

use super::{
    progress::{Progress, evaluate_event, evaluate_pod},
    start_failures::{StartFailures, failed_init},
};
use crate::{sandbox::GRANT_DEADLINE, verdict::Failure};

/// When the events about a pod begin to be of interest. A pod whose image is on the node is ready
/// by then, and its events would only have been two more requests.
const EVENTS_AFTER: Duration = Duration::from_secs(2);

/// Waits until the pod's own containers are ready and returns the pod. Others, which somebody added
/// on its way, need not be.
///
/// # Errors
///
/// A reason that is known never to pass, returned as soon as it is seen, or one that the kubelet
/// reports again and again; otherwise the deadline with the last reason seen. That is a loss where the
/// container runtime was away at the end.
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
    let mut last = Last { reason: "nothing was heard of it".to_owned(), is_away: false };
    let mut starts = StartFailures::default();
    let wait = async {
        loop {
            let progress = tokio::select! {
                Some(change) = pods.next() => {
                    let pod = change?;
                    match failed_init(&name, own, &pod) {
                        Some(init) => return Err(init.with_log(&api).await),
                        None => evaluate_pod(&name, own, pod, last.is_away),
                    }
                }
                Some(change) = events.next() => {
                    let event = change?;
                    let progress = evaluate_event(&name, &event);
                    // A runtime that is away says nothing of the pod.
                    if !matches!(progress, Progress::Away(_)) {
                        starts.add(&event);
                    }
                    if matches!(progress, Progress::Waiting(_)) && starts.are_hopeless() {
                        return Err(starts.failure(&name));
                    }
                    progress
                }
                else => return Err(Failure::harness("the watches of the pod ended")),
            };
            match progress {
                Progress::Ready(pod) => return Ok(*pod),
                Progress::Never(failure) => return Err(failure),
                Progress::Away(reason) => last = Last { reason, is_away: true },
                Progress::Waiting(Some(reason)) => last = Last { reason, is_away: false },
                Progress::Waiting(None) => {}
            }
        }
    };
    match tokio::time::timeout(limit, wait).await {
        Ok(result) => result,
        Err(_elapsed) if starts.are_any() && !last.is_away => Err(starts.failure(&name)),
        Err(_elapsed) => Err(last.into_failure(&name, limit)),
    }
}

/// The last reason for which a pod was not ready.
struct Last {
    reason: String,
    /// Whether it is that the container runtime was away.
    is_away: bool,
}

impl Last {
    fn into_failure(self, pod: &str, limit: Duration) -> Failure {
        let message = format!(
            "the pod `{pod}` was not ready within {} s (`--pod-timeout`): {}",
            limit.as_secs(),
            self.reason
        );
        if self.is_away { Failure::lost(message) } else { Failure::harness(message) }
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

/// Watches one object's changes, and starts again after a broken connection. A refusal is final once
/// it lasts: an API server that has just started refuses what it does not know yet.
pub(super) fn watch<K>(api: Api<K>, fields: &str) -> impl Stream<Item = Result<K, Failure>> + use<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(fields);
    let mut refused: Option<Instant> = None;
    watcher(api, config).default_backoff().filter_map(move |event| {
        let is_refused = event.as_ref().is_err_and(is_refusal);
        refused = is_refused.then(|| refused.unwrap_or_else(Instant::now));
        let is_final = refused.is_some_and(|since| since.elapsed() >= GRANT_DEADLINE);
        ready(match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                Some(Ok(object))
            }
            Ok(_) => None,
            Err(error) if is_final => {
                Some(Err(Failure::harness(format!("failed to watch: {error}"))))
            }
            Err(error) => {
                tracing::debug!(%error, "the watch broke and is made again");
                None
            }
        })
    })
}

fn is_refusal(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return false;
    };
    matches!(status.code, 401 | 403 | 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_stays_away_is_a_loss() {
        let last = |is_away| Last { reason: "rpc error: code = Unavailable".to_owned(), is_away };
        let limit = Duration::from_secs(180);
        let failure = last(true).into_failure("w", limit);
        assert!(matches!(failure, Failure::Lost { .. }), "{failure:?}");
        assert!(failure.message().contains("code = Unavailable"), "{failure:?}");
        assert!(matches!(last(false).into_failure("w", limit), Failure::Harness { .. }));
    }
}
