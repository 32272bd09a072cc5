//! A workspace that is deleted, with its files on the PVC that all workspaces of a namespace share.

use std::time::Duration;

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, PodHandle},
    sandbox::NESTED_CONFIG,
    verdict::{CaseResult, Failure, Level},
    workload::{
        Command, cleanup,
        workspace::{Settled, create, prepare, running_pod, settle, stop},
    },
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;

use super::{
    WITH_WORKSPACES,
    configured::AS_CONFIGURED,
    create::nested_settings,
    restart::{WITH_STORAGE, keep_storage},
};
use crate::{
    fixtures::{DEVWORKSPACE, KEEPER, STORAGE},
    steps::{keep_on, wait_for_end},
};

const NAME: &str = "ws-21";

inventory::submit!(Case {
    id: "WS-21",
    suite: "workspace",
    name: "is_deleted_with_its_files",
    title: "A workspace on the per-user PVC is deleted with all its files, and its finalizer goes in \
         time",
    why: "Storage type `per-user`, the default of Che, keeps all workspaces of a user on one PVC. \
          When one is deleted, a job of the operator runs `rm -rf` on its directory. The job's pod \
          gets the configured `podSecurityContext`, but not the workspace's user namespace, SCC or \
          service account. Containers leave directories of other users, which only these may enter. \
          If the job may not delete them, the workspace stays in phase Error, its namespace can't be \
          deleted and the PVC fills up. By default the kubelet gives such files to the `fsGroup` of \
          the job. `fsGroupChangePolicy: OnRootMismatch`, which images on a PVC need (WS-12), can \
          take them away from it.",
    fix: "Run `podman system reset --force` in a workspace before you delete it, or use storage type \
          `per-workspace`, whose PVC is deleted as a whole. For a workspace that is already stuck, \
          delete its directory as root in a pod on the PVC, then delete the job \
          `cleanup-<workspace id>`: the operator makes another one. Storage without `fsGroup`, such as \
          the `hostPath` volumes of kind's default StorageClass, always leaves such workspaces behind.",
    level: Level::Extended,
    flavours: WITH_WORKSPACES,
    profiles: AS_CONFIGURED,
    requires: WITH_STORAGE,
    pods: &[&KEEPER],
    expected: Duration::from_secs(15),
    kind: CaseKind::Live(|cx| Box::pin(is_deleted_with_its_files(cx))),
    ..Case::DEFAULT
});

async fn is_deleted_with_its_files(cx: Context) -> CaseResult {
    let sandbox = cx.sandbox();
    prepare(sandbox).await?;
    let config = config(&cx).await?;
    // With the last workspace the PVC would go as a whole, and no job would delete any file.
    let mut other = on_shared_pvc(&cx, "ws-21-other", config)?;
    other.data["spec"]["started"] = false.into();
    created(&cx, &other).await?;
    let workspace = created(&cx, &on_shared_pvc(&cx, NAME, config)?).await?;
    let limit = sandbox.timeouts().pod;
    let settled = cx.outside_deadline(Box::pin(settle(sandbox, &workspace, limit))).await?;
    let pod = running_pod(sandbox, &settled).await?;
    let pvc = shared_pvc(&pod)?;
    let pod = cx.verify_ready(&DEVWORKSPACE, &pod).await?;
    leave_files(&cx, &pod).await?;
    // The kubelet gives a local volume to the job's `fsGroup` only while no other pod has it mounted
    // (kubernetes, `pkg/volume/local/local.go`).
    let stopped = cx.outside_deadline(Box::pin(stop(sandbox, NAME, limit))).await?;
    cx.check("phase", "Stopped", stopped.describe(), stopped.phase == "Stopped")?;
    cx.outside_deadline(Box::pin(wait_for_end(&cx, &pod, limit))).await?;

    let deletion = Box::pin(cleanup::delete(sandbox, &settled, limit));
    let why_it_stays = cx.outside_deadline(deletion).await?;
    let expected = format!("gone within {} s", limit.as_secs());
    let is_gone = why_it_stays.is_none();
    let observed = why_it_stays.unwrap_or_else(|| "gone".to_owned());
    cx.check(CheckId::WorkspaceDeletion, &expected, observed, is_gone)?;
    has_no_directory(&cx, &pvc, &settled).await
}

/// The PVC that podman's storage is on. The operator's configuration may give it another name than the
/// default (devworkspace-operator, `pkg/provision/storage/commonStorage.go`).
fn shared_pvc(pod: &Pod) -> Result<String, Failure> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut pvcs = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    pvcs.next().map(|pvc| pvc.claim_name.clone()).ok_or_else(|| {
        Failure::product("the pod of a workspace with storage type `per-user` has no PVC")
    })
}

/// The configuration of both workspaces. No SCC admits the job's pod with a group that the configuration
/// names, so the SCC chooses the group.
async fn config(cx: &Context) -> Result<&'static str, Failure> {
    let is_of_cluster = cx.facts().devspaces.cluster_settings.is_some();
    if is_of_cluster || cx.sandbox().scc().is_none() {
        return Ok(NESTED_CONFIG);
    }
    let mut settings = nested_settings(cx).await?;
    if let Some(fields) = settings.as_object_mut() {
        fields.remove("podSecurityContext");
    }
    cx.sandbox().workspaces().config(NAME, settings).await?;
    Ok(NAME)
}

fn on_shared_pvc(cx: &Context, name: &str, config: &str) -> Result<DynamicObject, Failure> {
    let mut workspace = cx.sandbox().workspaces().manifest(&DEVWORKSPACE, name, config)?;
    keep_storage(&mut workspace.data["spec"]["template"], "per-user");
    Ok(workspace)
}

async fn created(cx: &Context, workspace: &DynamicObject) -> Result<DynamicObject, Failure> {
    create(cx.sandbox(), workspace).await?.map_err(|refusal| {
        Failure::product(format!("a workspace on the PVC is refused: {}", refusal.message))
    })
}

/// Leaves on the PVC what an inner container does: a directory that another user alone may enter.
async fn leave_files(cx: &Context, workspace: &PodHandle) -> CaseResult {
    // The volume gives the directory its own group, which podman may not have: then nobody could give it
    // away.
    let script = "
        mkdir \"$1\"
        chgrp \"$(id -g)\" \"$1\"
        chmod 700 \"$1\"
        chmod g-s \"$1\"
        podman unshare sh -ec '
            echo kept > \"$1/file\"
            chown -R 1234:4321 \"$1\"
            stat -c %u:%g \"$1\"
        ' sh \"$1\"
    ";
    let directory = format!("{STORAGE}/{NAME}");
    let leave = Command::shell("leave files of another user on the PVC", script, [&directory]);
    let left = workspace.output(&leave).await?;
    cx.check_equal("owner of a directory on the PVC", "1234:4321", &left)
}

/// Looks at the PVC in another pod.
async fn has_no_directory(cx: &Context, pvc: &str, settled: &Settled) -> CaseResult {
    let mut pod = keep_on(cx.manifest(&KEEPER)?, pvc);
    pod.metadata.name = Some(format!("{NAME}-looks"));
    let looker = cx.provision_pod(&KEEPER, &pod).await?;
    let look = Command::shell("look for the workspace's files", "ls -A /kept", [""; 0]);
    let left = looker.output(&look).await?;
    let is_gone = !left.lines().any(|name| name == settled.id());
    let observed = if left.is_empty() { "nothing".to_owned() } else { left };
    cx.check("files on the PVC", "none of the deleted workspace", observed, is_gone)
}
