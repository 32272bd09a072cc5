//! Volumes of the cluster's storage, which outlive pods.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use harness::{
    engine::{Case, CaseKind, Context, PodHandle},
    facts::requirement::{DefaultStorageClass, Requirement, UnmaskedProc, UserNamespaces},
    verdict::{CaseResult, Failure, Level, SignatureId},
    workload::Command,
};
use k8s_openapi::api::{
    core::v1::{Event, HostPathVolumeSource, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};

use super::{OF_ROOT, OWNERS, stat};
use crate::{
    fixtures::KEEPER,
    steps::{delete_pod, differ, is_nfs, keep_on, known, on_node_of, pvc, readable},
    suite::NESTED,
};

/// What a pod needs that keeps files.
pub(super) const WITH_STORAGE: &[&dyn Requirement] =
    &[&UserNamespaces, &UnmaskedProc, &DefaultStorageClass];

/// How often a pod is made again that got the range of its predecessor. The kubelet takes a random
/// one of 110 (kubernetes, `pkg/kubelet/userns`), so it happens.
const TRIES: usize = 4;

inventory::submit!(Case {
    id: "VOL-04",
    suite: "volumes",
    name: "keeps_files_for_the_next_pod",
    title: "Files on a PVC still belong to the user in the next pod, which has another range of \
         ids",
    why: "After a restart, a workspace has other ids on the node. Its files must not change: the \
          disk stores the user's own id, and each pod's mounts map it. Otherwise every restart \
          would lock users out of their own files.",
    fix: "See VOL-01 for the file system under the StorageClass's volumes. If the files belong to \
          65534 or to a high id, the runtime changes the stored ids instead of mapping the \
          mounts: upgrade it.",
    requires: WITH_STORAGE,
    pods: &[&KEEPER],
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(keeps_files_for_the_next_pod(cx))),
    ..Case::DEFAULT
});

async fn keeps_files_for_the_next_pod(cx: Context) -> CaseResult {
    pvc(&cx, "vol-04", "ReadWriteOnce", None).await?;
    let mut pod = keep_on(cx.manifest(&KEEPER)?, "vol-04");
    pod.metadata.name = Some("vol-04".to_owned());
    let first = cx.provision_pod(&KEEPER, &pod).await?;
    cx.check_equal("owner and group of the volume", OF_ROOT, &stat(&first, "/kept").await?)?;
    let script = "echo first > /kept/file && stat -c %u:%g /kept/file";
    let write = Command::shell("write a file", script, [""; 0]);
    cx.check_equal("owner and group of a new file", OWNERS, &first.output(&write).await?)?;

    let pod = on_node_of(pod, &first);
    let second = next(&cx, &pod, &first).await?;
    let script = "
        stat -c %u:%g /kept/file
        echo second >> /kept/file
        cat /kept/file
    ";
    let read = Command::shell("read and write the file again", script, [""; 0]);
    let seen = second.run(&read).await?;
    let expected = format!("{OWNERS}\nfirst\nsecond");
    cx.check_equal("owner, group and content in the next pod", &expected, &seen.text())
}

/// The pod after another one, which is deleted, and with another range of ids.
async fn next(cx: &Context, pod: &Pod, first: &PodHandle) -> Result<PodHandle, Failure> {
    let range = known(&first.facts().uid_map)?;
    let mut last = first.clone();
    for _ in 1..TRIES {
        delete_pod(cx, &last).await?;
        last = cx.provision_pod(&KEEPER, pod).await?;
        if known(&last.facts().uid_map)? != range {
            break;
        }
    }
    differ(cx, first, &last)?;
    Ok(last)
}

inventory::submit!(Case {
    id: "VOL-05",
    suite: "volumes",
    name: "shares_files_between_two_pods",
    title: "Two pods with different ranges of ids share a PVC, and both see the same owners",
    why: "Two workspaces that share a volume have different ids on the node at the same time. \
          Both must see and write files with the same owner.",
    fix: "See VOL-04. Network file systems that cannot be id-mapped don't work at all: see \
          VOL-06.",
    level: Level::Extended,
    requires: WITH_STORAGE,
    pods: &[&KEEPER],
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(shares_files_between_two_pods(cx))),
    ..Case::DEFAULT
});

async fn shares_files_between_two_pods(cx: Context) -> CaseResult {
    pvc(&cx, "vol-05", "ReadWriteMany", None).await?;
    let named = |name: &str| -> Result<Pod, Failure> {
        let mut pod = keep_on(cx.manifest(&KEEPER)?, "vol-05");
        pod.metadata.name = Some(name.to_owned());
        Ok(pod)
    };
    let first = named("vol-05-first")?;
    let first = tokio::select! {
        pod = cx.provision_pod(&KEEPER, &first) => pod?,
        failure = refused(&cx, "vol-05") => return Err(failure),
    };
    // Only on one node ranges can be compared.
    let second = on_node_of(named("vol-05-second")?, &first);
    let second = cx.provision_pod(&KEEPER, &second).await?;
    differ(&cx, &first, &second)?;
    let script = "echo \"$1\" >> /kept/file && stat -c %u:%g /kept/file && cat /kept/file";
    for (place, pod, seen) in [
        ("first", &first, "first"),
        ("second", &second, "first\nsecond"),
        ("first again", &first, "first\nsecond\nfirst again"),
    ] {
        let write = Command::shell("write the shared file", script, [place]);
        let observed = pod.run(&write).await?.text();
        cx.check_equal(
            &format!("the file in the {place}"),
            &format!("{OWNERS}\n{seen}"),
            &observed,
        )?;
    }
    Ok(())
}

/// Waits until a claim's provisioner refuses it, if it ever does, and says so.
async fn refused(cx: &Context, pvc: &str) -> Failure {
    let sandbox = cx.sandbox();
    let api: Api<Event> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let pvc = sandbox.name_of(pvc);
    let fields = format!("involvedObject.name={pvc},reason=ProvisioningFailed");
    let config = watcher::Config::default().fields(&fields);
    let mut refusals = watcher(api, config).default_backoff().touched_objects().boxed();
    loop {
        // A watch that breaks is made again; one that is refused tells nothing, and the pod does.
        if let Ok(Some(event)) = refusals.try_next().await {
            let words = event.message.unwrap_or_default();
            return Failure::not_applicable(format!(
                "the default StorageClass has no volumes for several pods: {words}"
            ));
        }
    }
}

inventory::submit!(Case {
    id: "VOL-06",
    suite: "volumes",
    name: "diagnoses_storage_whose_ids_can_not_be_mapped",
    title: "A pod on storage whose ids can't be mapped does not start, and the event says why",
    why: "The kernel cannot map the ids of volumes on NFS and some other file systems. A pod with \
          such a volume waits forever or fails with a message that only kernel developers \
          understand. nestcheck must report the cause.",
    fix: "If nestcheck reports another cause, or none, compare the pod's events with the \
          signature F16, and report the events.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&KEEPER],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(diagnoses_storage_whose_ids_can_not_be_mapped(cx))),
    ..Case::DEFAULT
});

async fn diagnoses_storage_whose_ids_can_not_be_mapped(cx: Context) -> CaseResult {
    let mut pod = keep_on(cx.manifest(&KEEPER)?, "vol-06");
    pod.metadata.name = Some("vol-06".to_owned());
    let storage = match class_of_nfs(&cx).await? {
        Some(class) => {
            pvc(&cx, "vol-06", "ReadWriteOnce", Some(&class)).await?;
            format!("StorageClass `{class}`")
        }
        // Every node has it, and the kernel maps none of its ids (it has no FS_ALLOW_IDMAP).
        None if cx.sandbox().scc().is_none() => {
            let path = "/sys/kernel";
            put_path(&mut pod, path);
            format!("{path} of the node")
        }
        None => {
            return Err(Failure::not_applicable(
                "no StorageClass is one of NFS, and no pod may mount a path of the node",
            ));
        }
    };
    match cx.provision_pod(&KEEPER, &pod).await {
        Err(Failure::Product { hint: Some(hint), .. })
            if hint.signature() == Some(SignatureId::F16) =>
        {
            cx.check(&format!("diagnosis of a pod on {storage}"), "F16", hint.text, true)
        }
        Err(other) => Err(other),
        Ok(_) => {
            Err(Failure::not_applicable(format!("the node's kernel can map the ids of {storage}")))
        }
    }
}

async fn class_of_nfs(cx: &Context) -> Result<Option<String>, Failure> {
    let api: Api<StorageClass> = Api::all(cx.sandbox().admin().clone());
    let all = ListParams::default();
    let classes = readable("list StorageClasses", || api.list(&all)).await?;
    let class = classes.items.into_iter().find(|class| is_nfs(&class.provisioner));
    Ok(class.map(|class| class.name_any()))
}

/// Puts a path of the node in the place of the claim.
fn put_path(pod: &mut Pod, path: &str) {
    let volumes = pod.spec.get_or_insert_default().volumes.get_or_insert_default();
    for volume in volumes.iter_mut().filter(|volume| volume.persistent_volume_claim.is_some()) {
        volume.persistent_volume_claim = None;
        let source =
            HostPathVolumeSource { path: path.to_owned(), ..HostPathVolumeSource::default() };
        volume.host_path = Some(source);
    }
}
