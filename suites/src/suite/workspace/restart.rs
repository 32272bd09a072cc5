//! A workspace that is stopped and started again.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, PodHandle},
    facts::requirement::{
        DefaultStorageClass, Devices, InstalledWorkspaceOperator, ReadyWorkspaceOperator,
        Requirement, UnmaskedProc, UserNamespaces,
    },
    verdict::{CaseResult, Failure, Level},
    workload::{
        Command,
        workspace::{running_pod, start, stop},
    },
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    WITH_WORKSPACES,
    create::{made, nested_settings},
};
use crate::{
    fixtures::DEVWORKSPACE,
    steps::{differ, known, podman, podman_run, shell_image},
};

/// What a nested workspace needs that keeps something.
pub(super) const WITH_STORAGE: &[&dyn Requirement] = &[
    &InstalledWorkspaceOperator,
    &ReadyWorkspaceOperator,
    &UserNamespaces,
    &UnmaskedProc,
    &Devices,
    &DefaultStorageClass,
];

const NAME: &str = "ws-12";

inventory::submit!(Case {
    id: "WS-12",
    suite: "workspace",
    name: "keeps_images_over_a_stop",
    title: "What podman has stored on a PVC is there and usable after a workspace was stopped",
    why: "Developers stop a workspace in the evening. The next morning, podman's images must \
          still be theirs. That needs storage on a PVC whose ids mean the same in a pod with \
          another range. The case restarts the workspace until it has another range. A file of \
          root and one of user 1234 in an image must then have the same owners as before. By \
          default, the kubelet changes their groups: at each start it gives every file on a PVC \
          to the pod's `fsGroup`, which is root's group inside. The case sets \
          `fsGroupChangePolicy: OnRootMismatch`, which every workspace that keeps images needs.",
    fix: "Give the volume at `/home/user/.local/share/containers` a size instead of `ephemeral: \
          true`. If owners differ, see `VOL-04`. If only groups differ, set \
          `fsGroupChangePolicy: OnRootMismatch` in `podSecurityContext` of the operator's \
          configuration, and check whether the storage driver honours it.",
    level: Level::Extended,
    flavours: WITH_WORKSPACES,
    requires: WITH_STORAGE,
    expected: Duration::from_secs(20),
    kind: CaseKind::Live(|cx| Box::pin(keeps_images_over_a_stop(cx))),
    ..Case::DEFAULT
});

async fn keeps_images_over_a_stop(cx: Context) -> CaseResult {
    let mut settings = nested_settings(&cx).await?;
    // By default the kubelet gives every file of a volume to the `fsGroup` each time that a pod
    // starts, those in podman's layers among them (kubernetes, `pkg/volume/volume_linux.go`).
    settings["podSecurityContext"]["fsGroupChangePolicy"] = "OnRootMismatch".into();
    let settled =
        made(&cx, NAME, settings, |template| keep_storage(template, "per-workspace")).await?;
    let pod = running_pod(cx.sandbox(), &settled).await?;
    let before = cx.verify_ready(&DEVWORKSPACE, &pod).await?;
    let image = image_of_two_owners(&before).await?;
    let identify = podman(&["image", "inspect", "--format={{.Id}}", &image]);
    let stored = before.output(&identify).await?;

    let mut after = restarted(&cx, &before).await?;
    for _ in 1..TRIES {
        if known(&after.facts().uid_map)? != known(&before.facts().uid_map)? {
            break;
        }
        after = restarted(&cx, &after).await?;
    }
    differ(&cx, &before, &after)?;
    cx.check_equal("image in the new pod", &stored, &after.output(&identify).await?)?;
    // They must still be whose they were to a container, although the pod's range is another.
    let run = podman_run(&[], &image, &["stat", "-c", "%u:%g", "/bin/touch", "/bin/id"]);
    let owners = after.output(&run).await?;
    cx.check_equal("owners of two files of the image", "0:0\n1234:4321", &owners)
}

/// How often a workspace is stopped and started that gets the range of its predecessor again. The
/// kubelet takes a random one of 110 (kubernetes, `pkg/kubelet/userns`), so it happens.
const TRIES: usize = 3;

/// The pod of the workspace after it was stopped and started.
async fn restarted(cx: &Context, before: &PodHandle) -> Result<PodHandle, Failure> {
    let (sandbox, limit) = (cx.sandbox(), cx.sandbox().timeouts().pod);
    let stopped = cx.outside_deadline(Box::pin(stop(sandbox, NAME, limit))).await?;
    cx.check("phase", "Stopped", stopped.describe(), stopped.phase == "Stopped")?;
    let started = cx.outside_deadline(Box::pin(start(sandbox, NAME, limit))).await?;
    let next = running_pod(cx.sandbox(), &started).await?;
    let (old, new) = (before.object().uid(), next.uid());
    cx.check("pod", "another than before", new.clone().unwrap_or_default(), old != new)?;
    cx.verify_ready(&DEVWORKSPACE, &next).await
}

/// An image in which a file belongs to another user than root.
async fn image_of_two_owners(workspace: &PodHandle) -> Result<String, Failure> {
    let base = shell_image(workspace).await?;
    let image = "localhost/nestcheck/ws-12";
    let script = "
        podman run --replace --network=none --name \"$3\" \"$1\" chown 1234:4321 /bin/id
        podman commit --quiet \"$3\" \"$2\" > /dev/null
        podman rm \"$3\" > /dev/null
    ";
    let give = Command::shell("give a file of an image away", script, [&base, image, NAME]);
    workspace.output(&give).await?;
    Ok(image.to_owned())
}

/// Lets the workspace keep podman's storage on a PVC of this storage type.
pub(super) fn keep_storage(template: &mut Value, storage_type: &str) {
    template["attributes"]["controller.devfile.io/storage-type"] = storage_type.into();
    let components = template["components"].as_array_mut();
    for component in components.into_iter().flatten() {
        if component["name"] == "storage" {
            component["volume"] = json!({"size": "1Gi"});
        }
    }
}
