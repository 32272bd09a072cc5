//! The volumes of a run's claims, which outlive its namespaces until they are reclaimed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};

use super::is_of_run;
use crate::cluster::status_code;

/// The kind of the objects that volumes are made for.
pub(super) const CLAIM: &str = "PersistentVolumeClaim";

/// What became of the volumes of a run's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reclaimed {
    /// These are still there; none of them is a good end.
    Left(Vec<String>),
    /// The caller may not list volumes, in the server's words.
    Forbidden(String),
    /// They could not be listed for another reason.
    Unread(String),
}

/// Waits until the volumes of a run's claims are gone, no longer than `limit`. The claims
/// themselves ended with their namespaces.
pub(super) async fn await_reclaimed(admin: &Client, run: &str, limit: Duration) -> Reclaimed {
    let mut known = BTreeMap::new();
    match tokio::time::timeout(limit, watch(admin, run, &mut known)).await {
        Ok(Ok(())) => Reclaimed::Left(Vec::new()),
        Ok(Err(unread)) => unread,
        Err(_elapsed) => Reclaimed::Left(known.into_values().collect()),
    }
}

async fn watch(
    admin: &Client,
    run: &str,
    known: &mut BTreeMap<String, String>,
) -> Result<(), Reclaimed> {
    let api: Api<PersistentVolume> = Api::all(admin.clone());
    let mut changes = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut last = "nothing was heard of them".to_owned();
    let mut is_whole = false;
    while let Some(change) = changes.next().await {
        match change {
            Ok(watcher::Event::Init) => known.clear(),
            Ok(watcher::Event::InitApply(volume) | watcher::Event::Apply(volume)) => {
                if let Some(told) = of_run(&volume, run) {
                    known.insert(volume.name_any(), told);
                }
            }
            Ok(watcher::Event::InitDone) => is_whole = true,
            Ok(watcher::Event::Delete(volume)) => drop(known.remove(&volume.name_any())),
            Err(error) => {
                last = format!("failed to watch volumes: {error}");
                if is_refusal(&error) {
                    return Err(Reclaimed::Forbidden(last));
                }
            }
        }
        if is_whole && known.is_empty() {
            return Ok(());
        }
    }
    Err(Reclaimed::Unread(last))
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
fn of_run(volume: &PersistentVolume, run: &str) -> Option<String> {
    let spec = volume.spec.as_ref()?;
    let claim = spec.claim_ref.as_ref()?;
    let namespace = claim.namespace.as_deref().filter(|namespace| is_of_run(namespace, run))?;
    let status = volume.status.clone().unwrap_or_default();
    Some(format!(
        "PersistentVolume `{}` of claim `{namespace}/{}` ({}, policy {}{})",
        volume.name_any(),
        claim.name.as_deref().unwrap_or_default(),
        status.phase.as_deref().unwrap_or("without a phase"),
        spec.persistent_volume_reclaim_policy.as_deref().unwrap_or("unknown"),
        status.message.map_or_else(String::new, |message| format!(": {message}")),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_belongs_to_the_run_of_its_claims_namespace() {
        let volume = |namespace: &str| -> PersistentVolume {
            let volume = json!({
                "metadata": {"name": "pvc-1"},
                "spec": {
                    "claimRef": {"namespace": namespace, "name": "home"},
                    "persistentVolumeReclaimPolicy": "Retain",
                },
                "status": {"phase": "Released"},
            });
            serde_json::from_value(volume).expect("it is a volume")
        };
        let told = of_run(&volume("nestcheck-abc"), "abc").expect("it is the run's");
        assert_eq!(
            told,
            "PersistentVolume `pvc-1` of claim `nestcheck-abc/home` (Released, policy Retain)"
        );
        assert!(of_run(&volume("nestcheck-abc-vol"), "abc").is_some());
        assert_eq!(of_run(&volume("nestcheck-abcd"), "abc"), None);
        assert_eq!(of_run(&PersistentVolume::default(), "abc"), None);
    }
}
