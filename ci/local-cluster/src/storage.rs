//! Volumes for PVCs: the one storage class of a cluster, and its provisioner. A volume is a folder
//! of the node's disk with a name that no other ever has, so what one claim has held never shows up
//! in another.
//!
//! It does what an external provisioner does
//! (kubernetes-sigs/sig-storage-lib-external-provisioner): the controller manager marks a claim
//! that wants a volume and binds the one that is made for it, and after the claim's end it releases
//! the volume, which is then deleted.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Client, Resource, ResourceExt,
    api::{Api, DeleteParams, PostParams, Preconditions},
    runtime::{
        controller::{self, Action, Controller},
        reflector::ObjectRef,
        watcher,
    },
};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    client::{Admin, bounded},
    components::NODE_NAME,
    console,
    error::Error,
};

/// The volumes, in the node.
pub const VOLUMES: &str = "/var/lib/local-cluster/volumes";

/// Their folder in the cluster's data.
pub const VOLUMES_DATA: &str = "volumes";

/// The name of the storage class.
const CLASS: &str = "local";

/// The name of the provisioner.
const PROVISIONER: &str = "local-cluster/folders";

/// How the controller manager names a PVC's provisioner (kubernetes,
/// `pkg/controller/volume/persistentvolume/util`, `AnnStorageProvisioner`).
const WANTED_OF: &str = "volume.kubernetes.io/storage-provisioner";

/// How the scheduler tells the provisioner for which node it is (the same, `AnnSelectedNode`).
const CHOSEN_NODE: &str = "volume.kubernetes.io/selected-node";

/// How a volume names its provisioner (the same, `AnnDynamicallyProvisioned`). The controller
/// manager leaves the deletion of such a volume to it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Creates the default storage class. The caller bounds the wait.
pub async fn create_class(admin: &Admin) -> Result<(), Error> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        // As kind's and MicroShift's classes: no volume before the pod that uses it.
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    admin.create(&class).await
}

/// Creates volumes for PVCs and deletes released ones, until the process ends. What fails is logged
/// and retried as long as the object needs it. `folder` is where the node's volumes are on this
/// machine.
pub fn provision(admin: &Admin, folder: PathBuf) {
    let (makes, deletes) = provisioner(&admin.client(), folder);
    tokio::spawn(makes);
    tokio::spawn(deletes);
}

/// Its two halves.
fn provisioner(
    client: &Client,
    folder: PathBuf,
) -> (impl Future<Output = ()> + use<>, impl Future<Output = ()> + use<>) {
    let provisioner = Arc::new(Provisioner {
        client: client.clone(),
        folder,
        failures: Mutex::new(BTreeMap::new()),
    });
    let (claims, volumes) = (Api::all(client.clone()), Api::all(client.clone()));
    let makes = Controller::new(claims, watcher::Config::default())
        .run(
            |claim: Arc<PersistentVolumeClaim>, provisioner| async move {
                let made = make(&provisioner.client, &provisioner.folder, &claim).await;
                provisioner.after(&*claim, made)
            },
            |claim, _, provisioner| provisioner.again(&*claim),
            Arc::clone(&provisioner),
        )
        .for_each(log_failure);
    let deletes = Controller::new(volumes, watcher::Config::default())
        .run(
            |volume: Arc<PersistentVolume>, provisioner| async move {
                let api = Api::all(provisioner.client.clone());
                let deleted = delete(&api, &provisioner.folder, &volume).await;
                provisioner.after(&*volume, deleted)
            },
            |volume, _, provisioner| provisioner.again(&*volume),
            provisioner,
        )
        .for_each(log_failure);
    (makes, deletes)
}

/// What both halves of the provisioner work with.
struct Provisioner {
    client: Client,
    folder: PathBuf,
    /// The pauses that are next after failures, by the UIDs of their objects. A lock, because both
    /// halves have it; held to read or write a pause.
    failures: Mutex<BTreeMap<String, Duration>>,
}

impl Provisioner {
    /// The pause after an object's first failure, which is doubled by each further one.
    const FIRST_PAUSE: Duration = Duration::from_millis(200);

    /// The longest pause.
    const LONGEST_PAUSE: Duration = Duration::from_secs(30);

    /// After a success: waits until the object changes.
    fn after(&self, object: &impl ResourceExt, done: Result<(), Error>) -> Result<Action, Error> {
        done?;
        let mut failures = self.failures.lock();
        failures.remove(&object.uid().unwrap_or_default());
        Ok(Action::await_change())
    }

    /// After a failure: retries with the object's next state.
    fn again(&self, object: &impl ResourceExt) -> Action {
        let mut failures = self.failures.lock();
        let next = failures.entry(object.uid().unwrap_or_default()).or_insert(Self::FIRST_PAUSE);
        let pause = *next;
        *next = (pause * 2).min(Self::LONGEST_PAUSE);
        Action::requeue(pause)
    }
}

/// Logs a failure. A broken watch is restarted, and an object that is gone needs nothing.
async fn log_failure<K: Resource>(
    done: Result<(ObjectRef<K>, Action), controller::Error<Error, watcher::Error>>,
) {
    if let Err(controller::Error::ReconcilerFailed(error, _)) = done {
        console::error(&error);
    }
}

/// Creates the volume of a PVC that waits for one.
async fn make(client: &Client, folder: &Path, claim: &PersistentVolumeClaim) -> Result<(), Error> {
    let Some(volume) = volume_of(claim)? else { return Ok(()) };
    let name = volume.name_any();
    let path = folder.join(&name);
    // For root alone, as a new file system is: `fsGroup` opens it to a pod.
    match fs::DirBuilder::new().mode(0o755).create(&path) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::path("make", &path, source));
        }
        _ => {}
    }
    let api: Api<PersistentVolume> = Api::all(client.clone());
    let action = format!("create PersistentVolume `{name}`");
    let parameters = PostParams::default();
    let request = async { Ok(api.create(&parameters, &volume).await) };
    match bounded(&action, request).await? {
        // An earlier change of the claim has made it.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        answer => answer.map(drop).map_err(|error| Error::api(action, &error)),
    }
}

/// Deletes a volume that was released, and what is in it.
async fn delete(
    api: &Api<PersistentVolume>,
    folder: &Path,
    volume: &PersistentVolume,
) -> Result<(), Error> {
    if !is_released(volume) {
        return Ok(());
    }
    let name = volume.name_any();
    let path = folder.join(&name);
    let removed = tokio::task::spawn_blocking(move || match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(Error::path("remove", &path, source))
        }
        _ => Ok(()),
    });
    removed.await.map_err(|error| Error::other(error.to_string()))??;
    let action = format!("delete PersistentVolume `{name}`");
    let parameters = DeleteParams::default()
        .preconditions(Preconditions { uid: volume.uid(), resource_version: None });
    let request = async { Ok(api.delete(&name, &parameters).await) };
    match bounded(&action, request).await? {
        // A change of the volume on its way out came in between.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        answer => answer.map(drop).map_err(|error| Error::api(action, &error)),
    }
}

/// The volume for a PVC; `None` if it has one, or wants none of this provisioner.
fn volume_of(claim: &PersistentVolumeClaim) -> Result<Option<PersistentVolume>, Error> {
    let spec = claim.spec.clone().unwrap_or_default();
    let is_wanted = value(claim.meta().annotations.as_ref(), WANTED_OF) == Some(PROVISIONER)
        && claim.meta().deletion_timestamp.is_none()
        && spec.volume_name.is_none();
    let Some(uid) = claim.uid().filter(|_| is_wanted) else { return Ok(None) };
    let name = format!("pvc-{uid}");
    // All nodes see the folders of volumes; the scheduler has chosen one of them for the pod.
    let node = value(claim.meta().annotations.as_ref(), CHOSEN_NODE).unwrap_or(NODE_NAME);
    let hostname = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    let volume = json!({
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec.resources.and_then(|it| it.requests)
                .and_then(|mut it| it.remove("storage"))},
            "accessModes": spec.access_modes,
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.storage_class_name,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace(),
                "name": claim.name_any(),
                "uid": uid,
            },
            // Not `hostPath`, which has no `fsGroup`.
            "local": {"path": format!("{VOLUMES}/{name}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
        },
    });
    serde_json::from_value(volume)
        .map(Some)
        .map_err(|error| Error::other(format!("can't make a volume for a PVC: {error}")))
}

/// Whether a volume is this provisioner's, and was released by the end of its claim.
fn is_released(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    value(volume.meta().annotations.as_ref(), PROVISIONED_BY) == Some(PROVISIONER)
        && volume.meta().deletion_timestamp.is_none()
        && phase == Some("Released")
}

fn value<'a>(annotations: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    annotations.and_then(|all| all.get(name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::Value;
    use tokio::sync::mpsc::{self, UnboundedReceiver};

    use super::*;

    /// A server that has one list for every kind, never sends a change, and fails what is to be
    /// made or deleted the first time.
    fn failing_once(items: Value) -> (Client, UnboundedReceiver<Method>) {
        let (asked, received) = mpsc::unbounded_channel();
        let has_failed = Arc::new(Mutex::new(false));
        let answer = move |request: Request<Body>| {
            let method = request.method().clone();
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
            let failure = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": "no leader", "reason": "", "code": 500});
            let (asked, has_failed) = (asked.clone(), Arc::clone(&has_failed));
            async move {
                if is_watch {
                    std::future::pending::<()>().await;
                }
                let (code, body) = if method == Method::GET {
                    (200, list)
                } else {
                    let _ = asked.send(method);
                    let first = !std::mem::replace(&mut *has_failed.lock(), true);
                    if first { (500, failure) } else { (200, json!({"metadata": {}})) }
                };
                let body = Body::from(body.to_string().into_bytes());
                let answer = Response::builder().status(code).body(body).unwrap();
                Ok::<_, std::convert::Infallible>(answer)
            }
        };
        (Client::new(tower::service_fn(answer), "default"), received)
    }

    async fn within_reason<T>(result: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), result).await.expect("it comes")
    }

    #[tokio::test]
    async fn a_volume_that_could_not_be_made_is_made_later() {
        let folder =
            std::env::temp_dir().join(format!("local-cluster-make-{}", std::process::id()));
        let claim = serde_json::to_value(claim(PROVISIONER, &Value::Null)).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let (client, mut asked) = failing_once(json!([claim]));
        let (makes, _) = provisioner(&client, folder.clone());
        let makes = tokio::spawn(makes);
        assert_eq!(within_reason(asked.recv()).await, Some(Method::POST));
        assert_eq!(within_reason(asked.recv()).await, Some(Method::POST));
        makes.abort();
        assert!(folder.join("pvc-u-1").is_dir());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_volume_that_could_not_be_deleted_is_deleted_later() {
        let volume = serde_json::to_value(volume(PROVISIONER, "Released")).unwrap();
        let (client, mut asked) = failing_once(json!([volume]));
        let (_, deletes) = provisioner(&client, "/nonexistent".into());
        let deletes = tokio::spawn(deletes);
        assert_eq!(within_reason(asked.recv()).await, Some(Method::DELETE));
        assert_eq!(within_reason(asked.recv()).await, Some(Method::DELETE));
        deletes.abort();
    }

    fn volume(provisioner: &str, phase: &str) -> PersistentVolume {
        let volume = json!({
            "metadata": {"name": "pvc-u-1", "uid": "v-1",
                "annotations": {PROVISIONED_BY: provisioner}},
            "status": {"phase": phase},
        });
        serde_json::from_value(volume).unwrap()
    }

    fn claim(provisioner: &str, volume: &Value) -> PersistentVolumeClaim {
        let claim = json!({
            "metadata": {"name": "home", "namespace": "user", "uid": "u-1",
                "annotations": {WANTED_OF: provisioner}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
                "resources": {"requests": {"storage": "1Gi"}}, "volumeName": volume},
        });
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn a_claim_gets_a_folder_of_its_own_on_the_node() {
        let volume = volume_of(&claim(PROVISIONER, &Value::Null)).unwrap().unwrap();
        let volume = serde_json::to_value(volume).unwrap();
        assert_eq!(volume["spec"]["local"]["path"], format!("{VOLUMES}/pvc-u-1"));
        assert_eq!(volume["spec"]["claimRef"]["uid"], "u-1");
        assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
        assert_eq!(volume["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    }

    #[test]
    fn a_volume_is_on_the_node_that_the_scheduler_chose() {
        let mut claim = claim(PROVISIONER, &Value::Null);
        let node = |claim: &PersistentVolumeClaim| {
            let volume = serde_json::to_value(volume_of(claim).unwrap().unwrap()).unwrap();
            volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
                [0]["values"][0]
                .clone()
        };
        assert_eq!(node(&claim), NODE_NAME);
        let annotations = claim.metadata.annotations.get_or_insert_default();
        annotations.insert(CHOSEN_NODE.to_owned(), "node-2".to_owned());
        assert_eq!(node(&claim), "node-2");
    }

    #[test]
    fn a_claim_of_another_or_with_a_volume_gets_none() {
        assert_eq!(volume_of(&claim("another", &Value::Null)).unwrap(), None);
        assert_eq!(volume_of(&claim(PROVISIONER, &json!("pvc-u-1"))).unwrap(), None);
    }

    #[test]
    fn only_its_own_volumes_are_deleted_and_only_once_released() {
        assert!(is_released(&volume(PROVISIONER, "Released")));
        assert!(!is_released(&volume(PROVISIONER, "Bound")));
        assert!(!is_released(&volume("another", "Released")));
    }
}
