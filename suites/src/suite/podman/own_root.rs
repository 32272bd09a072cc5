//! POD-19: podman's storage on the root file system of the workspace's container, as in a workspace
//! whose devfile has no volume for it.

use std::time::Duration;

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    fixtures::NESTED_POD,
    steps::{podman, podman_run, scratch_image, shell_image},
    suite::WITH_DEVICES,
};

/// The name of the pod, and of its volume that the case takes away.
const NAME: &str = "pod-19";
const VOLUME: &str = "storage";

inventory::submit!(Case {
    id: "POD-19",
    suite: "podman",
    name: "stores_on_the_containers_own_root",
    title: "In a pod without a volume for podman's storage, podman builds and runs on an overlay",
    why: "Dev Spaces gives a workspace no volume for podman's storage unless its devfile has one. \
          Then the storage is on the root file system of the workspace's container, which is an \
          overlay itself. The kernel cannot put its overlay on top of that one, so podman needs \
          fuse-overlayfs and /dev/fuse. Without them podman fails, or it uses the driver vfs, \
          which copies the whole image for each layer.",
    fix: "Install fuse-overlayfs in the workspace image, and give the pod /dev/fuse (annotations \
          `io.kubernetes.cri-o.Devices` and `devices.crio.io` on CRI-O, a RuntimeClass on \
          containerd). If storage.conf sets `driver = \"vfs\"`, set `driver = \"overlay\"`. Or \
          mount a volume at `~/.local/share/containers`: in a devfile, a component of type \
          `volume`.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(8),
    kind: CaseKind::Live(|cx| Box::pin(stores_on_the_containers_own_root(cx))),
    ..Case::DEFAULT
});

async fn stores_on_the_containers_own_root(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some(NAME.to_owned());
    remove_volume(&mut pod);
    let workspace = cx.provision_pod(&NESTED_POD, &pod).await?;
    let driver = says(&workspace, "{{.Store.GraphDriverName}}").await?;
    cx.check_equal(CheckId::StorageDriver, "overlay", &driver)?;
    let storage = says(&workspace, "{{.Store.GraphRoot}}").await?;
    let devices = Command::new(["stat", "--format=%d", "/", &storage]);
    let devices = workspace.output(&devices).await?;
    let (root, own) = devices.split_once('\n').unwrap_or_default();
    if root != own {
        let reason = format!("the image declares a volume for podman's storage, {storage}");
        return Err(Failure::not_applicable(reason));
    }
    cx.check_equal("file system of podman's storage", root, own)?;

    let scratch = scratch_image(&workspace).await?;
    let print = podman_run(&[], &scratch, &["/probe", "print", "it runs"]);
    cx.check_equal("output of a container", "it runs", &workspace.output(&print).await?)?;
    let shell = shell_image(&workspace).await?;
    // A file of the image is given away and another one deleted; the next container sees neither.
    let change = "chown 1234:4321 /bin/id; rm /bin/touch; stat -c %u:%g /bin/id";
    let changed = workspace.output(&podman_run(&[], &shell, &["sh", "-euc", change])).await?;
    cx.check_equal("owner of a file that was given away", "1234:4321", &changed)?;
    let look = "stat -c %u:%g /bin/id; command -v touch";
    let next = workspace.output(&podman_run(&[], &shell, &["sh", "-euc", look])).await?;
    cx.check_equal("the same files in the next container", "0:0\n/bin/touch", &next)
}

/// What podman says of its storage, by a path in its answer.
async fn says(workspace: &PodHandle, path: &str) -> Result<String, Failure> {
    workspace.output(&podman(&["info", "--format", path])).await
}

/// Takes the volume of podman's storage away.
fn remove_volume(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    spec.volumes.get_or_insert_default().retain(|volume| volume.name != VOLUME);
    for container in &mut spec.containers {
        container.volume_mounts.get_or_insert_default().retain(|mount| mount.name != VOLUME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::RENDER;

    #[test]
    fn the_pod_has_no_volume_for_podmans_storage_and_all_else() {
        let whole = NESTED_POD.pod(&RENDER).expect("a pod");
        let mut pod = whole.clone();
        remove_volume(&mut pod);

        let count = |pod: &Pod| {
            let spec = pod.spec.as_ref().expect("a spec");
            let mounts = spec.containers[0].volume_mounts.as_deref().unwrap_or_default();
            (spec.volumes.as_deref().unwrap_or_default().len(), mounts.len())
        };
        let (volumes, mounts) = count(&whole);
        assert_eq!(count(&pod), (volumes - 1, mounts - 1));
    }
}
