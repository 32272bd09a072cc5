//! The volumes of a run's claims, which outlive its namespaces until they are reclaimed.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};

use super::{
    home::{Home, is_name_of},
    is_of_run,
};
use crate::cluster::status_code;

/// The kind of the objects that volumes are made for.
pub(super) const PVC: &str = "PersistentVolumeClaim";

/// What became of the volumes of a run's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReclaimStatus {
    /// These are still there; none of them is a good end.
    Left(Vec<String>),
    /// The caller may not list volumes, in the server's words.
    Forbidden(String),
    /// They could not be listed for another reason.
    Unread(String),
}

/// Waits until the volumes of a run's claims are gone, no longer than `limit`. The claims
/// themselves ended with their namespaces.
pub(super) async fn await_reclaimed(
    admin: &Client,
    run: &str,
    home: &Home,
    limit: Duration,
) -> ReclaimStatus {
    let mut seen = Seen::default();
    match tokio::time::timeout(limit, watch(admin, run, home, &mut seen)).await {
        Ok(end) => end,
        Err(_elapsed) if seen.is_whole => ReclaimStatus::Left(seen.known.into_values().collect()),
        // That none is known says nothing of volumes that were never listed.
        Err(_elapsed) => {
            let why = seen.last_error.unwrap_or_else(|| {
                format!("no list of the volumes came within {} s", limit.as_secs())
            });
            ReclaimStatus::Unread(why)
        }
    }
}

/// What a watch of the volumes knows.
#[derive(Default)]
struct Seen {
    /// The run's volumes by their names, in words.
    known: BTreeMap<String, String>,
    /// Whether a list has come to its end, and is still good.
    is_whole: bool,
    last_error: Option<String>,
}

/// Ends when none is left, or when they may not be listed. A watch is made again after any other error, so
/// the caller bounds it.
async fn watch(admin: &Client, run: &str, home: &Home, seen: &mut Seen) -> ReclaimStatus {
    let api: Api<PersistentVolume> = Api::all(admin.clone());
    let mut changes = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(change) = changes.next().await {
        match change {
            // A new list begins: until it is whole, those that it has not named may be there too.
            Ok(watcher::Event::Init) => {
                seen.known.clear();
                seen.is_whole = false;
            }
            Ok(watcher::Event::InitApply(volume) | watcher::Event::Apply(volume)) => {
                if let Some(reported) = of_run(&volume, run, home) {
                    seen.known.insert(volume.name_any(), reported);
                }
            }
            Ok(watcher::Event::InitDone) => seen.is_whole = true,
            Ok(watcher::Event::Delete(volume)) => drop(seen.known.remove(&volume.name_any())),
            Err(error) => {
                let reported = format!("failed to watch volumes: {error}");
                if is_refusal(&error) {
                    return ReclaimStatus::Forbidden(reported);
                }
                seen.last_error = Some(reported);
            }
        }
        if seen.is_whole && seen.known.is_empty() {
            return ReclaimStatus::Left(Vec::new());
        }
    }
    ReclaimStatus::Unread("the watch of volumes ended".to_owned())
}

fn is_refusal(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            matches!(status_code(error), Some(401 | 403))
        }
        _ => false,
    }
}

/// A volume in words, if it was made for a claim of the run.
fn of_run(volume: &PersistentVolume, run: &str, home: &Home) -> Option<String> {
    let spec = volume.spec.as_ref()?;
    let pvc = spec.claim_ref.as_ref()?;
    let name = pvc.name.as_deref().unwrap_or_default();
    let is_ours = |namespace: &&str| match home.given() {
        Some(given) => given == *namespace && is_name_of(run, name),
        None => is_of_run(namespace, run),
    };
    let namespace = pvc.namespace.as_deref().filter(is_ours)?;
    let status = volume.status.clone().unwrap_or_default();
    Some(format!(
        "PersistentVolume `{}` of PVC `{namespace}/{name}` ({}, policy {}{})",
        volume.name_any(),
        status.phase.as_deref().unwrap_or("without a phase"),
        spec.persistent_volume_reclaim_policy.as_deref().unwrap_or("unknown"),
        status.message.map_or_else(String::new, |message| format!(": {message}")),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// The administrator's client of a server that gives these answers to lists of volumes, the
    /// last one again and again, and to every watch the end of its history.
    fn admin_of(lists: Vec<(u16, Value)>) -> Client {
        let asked = AtomicUsize::new(0);
        let answer = move |request: Request<Body>| {
            assert_eq!(request.uri().path(), "/api/v1/persistentvolumes");
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let (code, body) = if is_watch {
                (200, json!({"type": "ERROR", "object": status(410)}))
            } else {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                lists[number.min(lists.len() - 1)].clone()
            };
            let body = Body::from(format!("{body}\n").into_bytes());
            let response = Response::builder().status(code).body(body).expect("it is an answer");
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    fn status(code: u16) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": "the server says no", "reason": "", "code": code,
        })
    }

    fn list_of(volumes: &[Value]) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeList",
            "metadata": {"resourceVersion": "1"}, "items": volumes,
        })
    }

    fn volume_in(namespace: &str) -> Value {
        json!({
            "metadata": {"name": "pvc-1"},
            "spec": {
                "claimRef": {"namespace": namespace, "name": "home"},
                "persistentVolumeReclaimPolicy": "Retain",
            },
            "status": {"phase": "Released"},
        })
    }

    /// Longer than the first pause after an error, and shorter than the second.
    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn volumes_that_can_never_be_listed_are_not_gone() {
        let admin = admin_of(vec![(500, status(500))]);
        let end = await_reclaimed(&admin, "abc", &Home::Own, LIMIT).await;
        let ReclaimStatus::Unread(why) = end else { panic!("{end:?}") };
        assert!(why.contains("the server says no"), "{why}");
    }

    #[tokio::test]
    async fn a_list_that_begins_anew_says_nothing_before_its_end() {
        let before = list_of(&[volume_in("nestcheck-abc")]);
        let admin = admin_of(vec![(200, before), (500, status(500))]);
        let end = await_reclaimed(&admin, "abc", &Home::Own, LIMIT).await;
        assert!(matches!(end, ReclaimStatus::Unread(_)), "{end:?}");
    }

    #[tokio::test]
    async fn what_a_whole_list_has_decides() {
        let left = admin_of(vec![(200, list_of(&[volume_in("nestcheck-abc")]))]);
        let ReclaimStatus::Left(left) =
            await_reclaimed(&left, "abc", &Home::Own, Duration::from_millis(500)).await
        else {
            panic!("it can be listed")
        };
        assert_eq!(left.len(), 1, "{left:?}");
        let gone = admin_of(vec![(200, list_of(&[volume_in("nestcheck-abcd")]))]);
        assert_eq!(
            await_reclaimed(&gone, "abc", &Home::Own, LIMIT).await,
            ReclaimStatus::Left(Vec::new())
        );
    }

    #[tokio::test]
    async fn a_refusal_ends_the_wait_at_once() {
        let admin = admin_of(vec![(403, status(403))]);
        let end = await_reclaimed(&admin, "abc", &Home::Own, LIMIT).await;
        assert!(matches!(end, ReclaimStatus::Forbidden(_)), "{end:?}");
    }

    #[test]
    fn a_volume_belongs_to_the_run_of_its_pvcs_namespace() {
        let volume = |namespace: &str| -> PersistentVolume {
            serde_json::from_value(volume_in(namespace)).expect("it is a volume")
        };
        let reported =
            of_run(&volume("nestcheck-abc"), "abc", &Home::Own).expect("it is the run's");
        assert_eq!(
            reported,
            "PersistentVolume `pvc-1` of PVC `nestcheck-abc/home` (Released, policy Retain)"
        );
        assert!(of_run(&volume("nestcheck-abc-vol"), "abc", &Home::Own).is_some());
        assert_eq!(of_run(&volume("nestcheck-abcd"), "abc", &Home::Own), None);
        assert_eq!(of_run(&PersistentVolume::default(), "abc", &Home::Own), None);
        let given = Home::Given { namespace: "team-a".to_owned(), scc: None };
        assert_eq!(of_run(&volume("team-a"), "abc", &given), None, "a claim of somebody else");
        let mut own = volume("team-a");
        let pvc = own.spec.as_mut().and_then(|spec| spec.claim_ref.as_mut()).expect("a claim");
        pvc.name = Some("nestcheck-abc-home".to_owned());
        assert!(of_run(&own, "abc", &given).is_some());
    }
}
