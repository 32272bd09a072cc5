//! POD-16: podman after the container or the pod in which it ran has ended.

use std::time::Duration;

use harness::{
    cluster::{NotSeen, watch_until},
    engine::{Case, CaseKind, Context, PodHandle},
    facts::requirement::{DefaultStorageClass, Requirement, UnmaskedProc, UserNamespaces},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaimVolumeSource, Pod};
use kube::{Api, ResourceExt};

use super::remove;
use crate::{
    fixtures::NESTED_POD,
    steps::{delete_pod, on_node_of, podman, podman_run, pvc, scratch_image},
    suite::NESTED,
};

inventory::submit!(Case {
    id: "POD-16A",
    suite: "podman",
    name: "works_after_a_restart_in_place",
    title: "podman works after the workspace's container restarted in the same pod",
    why: "The kubelet restarts a workspace's container when its first process ends, for example \
          when it used up its memory. The pod's volumes stay, and the container's own file system \
          is new. podman must notice that its containers ended, and must be able to start them \
          again. If its run root is on a volume, it looks for processes that no longer exist, \
          and every command fails until somebody runs `podman system migrate`.",
    fix: "Mount no volume at /tmp or at the directory of XDG_RUNTIME_DIR, or remove \
          `/tmp/storage-run-UID` in the image's entrypoint. The storage itself \
          (`~/.local/share/containers`) may be on a volume.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(12),
    kind: CaseKind::Live(|cx| Box::pin(works_after_a_restart_in_place(cx))),
    ..Case::DEFAULT
});

async fn works_after_a_restart_in_place(cx: Context) -> CaseResult {
    let name = "pod-16a";
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some(name.to_owned());
    pod.spec.get_or_insert_default().restart_policy = Some("Always".to_owned());
    let before = cx.provision_pod(&NESTED_POD, &pod).await?;
    let image = scratch_image(&before).await?;
    start(&cx, &before, &image, name).await?;
    let after = restarted(&cx, &before).await?;
    continues(&cx, &after, &image, name).await
}

/// Starts a container that runs until it is ended.
async fn start(cx: &Context, workspace: &PodHandle, image: &str, name: &str) -> CaseResult {
    let run = ["run", "--detach", "--network=none", "--name", name, image, "/probe", "pause"];
    workspace.output(&podman(&run)).await?;
    cx.check_equal("state before", "running", &state(workspace, name).await?)
}

async fn state(workspace: &PodHandle, name: &str) -> Result<String, Failure> {
    workspace.output(&podman(&["inspect", "--format={{.State.Status}}", name])).await
}

/// Expects that podman knows that a container of before has ended, starts it again, and runs another.
async fn continues(cx: &Context, workspace: &PodHandle, image: &str, name: &str) -> CaseResult {
    let seen = state(workspace, name).await?;
    let has_ended = ["exited", "created"].contains(&seen.as_str());
    cx.check("state after", "exited, or created anew", seen, has_ended)?;
    workspace.output(&podman(&["start", name])).await?;
    cx.check_equal("state after start", "running", &state(workspace, name).await?)?;
    let run = podman_run(&[], image, &["/probe", "print", "works"]);
    cx.check_equal("another container", "works", &workspace.output(&run).await?)?;
    remove(workspace, &[name]).await
}

/// The pod after its container's first process ended and the kubelet started it again.
async fn restarted(cx: &Context, before: &PodHandle) -> Result<PodHandle, Failure> {
    // Only when the command has reported its own end: with process 1 all others end.
    let script = "
        (
            while kill -0 \"$PPID\"; do sleep 0.1; done
            sleep 0.3
            # Process 1 may be the entrypoint, which waits for this one.
            for process in /proc/[0-9]*; do
                if [ \"$(tr '\\0' ' ' < \"$process/cmdline\")\" = '/nestcheck/probe pause ' ]; then
                    kill -TERM \"${process#/proc/}\"
                fi
            done
            kill -TERM 1
        ) > /dev/null 2>&1 &
    ";
    before.output(&Command::shell("end process 1 soon", script, [""; 0])).await?;
    let (sandbox, name) = (cx.sandbox(), before.name());
    let limit = sandbox.timeouts().pod;
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let earlier = first(before.object()).map_or(0, |status| status.restart_count);
    let is_restarted = |status: &ContainerStatus| status.restart_count > earlier && status.ready;
    let is_back = |pod: Option<&Pod>| pod.is_some_and(|pod| first(pod).is_some_and(is_restarted));
    match cx.outside_deadline(Box::pin(watch_until(&api, &name, is_back, limit))).await {
        Ok(Some(pod)) => {
            cx.check("the pod", "the same", pod.name_any(), pod.uid() == before.object().uid())?;
            cx.verify_ready(&NESTED_POD, &pod).await
        }
        Ok(None) => Err(Failure::lost(format!("the pod `{name}` is gone"))),
        Err(NotSeen::Broken(message)) => {
            Err(Failure::lost(format!("failed to watch the pod `{name}`: {message}")))
        }
        Err(NotSeen::Late) => Err(Failure::product(format!(
            "the kubelet did not restart the container of the pod `{name}` within {} s",
            limit.as_secs()
        ))),
    }
}

fn first(pod: &Pod) -> Option<&ContainerStatus> {
    let container = &pod.spec.as_ref()?.containers.first()?.name;
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == *container)
}

/// What a pod needs that keeps podman's storage.
const WITH_STORAGE: &[&dyn Requirement] = &[&UserNamespaces, &UnmaskedProc, &DefaultStorageClass];

inventory::submit!(Case {
    id: "POD-16B",
    suite: "podman",
    name: "continues_with_storage_of_an_earlier_pod",
    title: "podman in a new pod continues with the containers that an earlier pod kept on a PVC",
    why: "A workspace that keeps podman's storage on a PVC finds images and containers of the day \
          before. They are of a pod that no longer exists, and perhaps of another node. podman \
          must notice that the containers ended, and must start them again. Kept locks, a run \
          root of another boot, or files with other owners prevent that.",
    fix: "Keep only `~/.local/share/containers` on the PVC, not /tmp and not the directory of \
          XDG_RUNTIME_DIR. Set `fsGroupChangePolicy: OnRootMismatch`: otherwise the kubelet gives \
          the files of every layer to another group when the pod starts. If owners differ, see \
          VOL-04.",
    level: Level::Extended,
    requires: WITH_STORAGE,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(12),
    kind: CaseKind::Live(|cx| Box::pin(continues_with_storage_of_an_earlier_pod(cx))),
    ..Case::DEFAULT
});

async fn continues_with_storage_of_an_earlier_pod(cx: Context) -> CaseResult {
    let name = "pod-16b";
    pvc(&cx, name, "ReadWriteOnce", None).await?;
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some(name.to_owned());
    keep_storage(&mut pod, name);
    let first = cx.provision_pod(&NESTED_POD, &pod).await?;
    let image = scratch_image(&first).await?;
    start(&cx, &first, &image, name).await?;
    let pod = on_node_of(pod, &first);
    delete_pod(&cx, &first).await?;
    let second = cx.provision_pod(&NESTED_POD, &pod).await?;
    let (one, other) = (first.object().uid(), second.object().uid());
    cx.check("the pod", "another", other.clone().unwrap_or_default(), one != other)?;
    continues(&cx, &second, &image, name).await
}

/// Puts the claim in the place of the emptyDir of podman's storage.
fn keep_storage(pod: &mut Pod, pvc: &str) {
    let spec = pod.spec.get_or_insert_default();
    let context = spec.security_context.get_or_insert_default();
    context.fs_group_change_policy = Some("OnRootMismatch".to_owned());
    let volumes = spec.volumes.get_or_insert_default();
    for volume in volumes.iter_mut().filter(|volume| volume.name == "storage") {
        volume.empty_dir = None;
        volume.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
            claim_name: pvc.to_owned(),
            ..PersistentVolumeClaimVolumeSource::default()
        });
    }
}
