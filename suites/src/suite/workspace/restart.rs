//! A workspace that is stopped and started again.

use fixtures::DEVWORKSPACE;
use harness::{
    case::{Case, CaseResult},
    context::Context,
    outcome::Level,
    requirement::Requirement,
    sandbox::nested_settings,
    workload::workspace::{running_pod, start, stop},
};
use serde_json::{Value, json};

use super::{
    case,
    making::{SETTLES, made},
};
use crate::{
    suite::weighing,
    toolbox::{podman, podman_run, shell_image},
};

pub(crate) const CASES: &[Case] = &[weighing(
    Case {
        requires: WITH_STORAGE,
        ..case(
            "WS-12",
            "keeps_images_over_a_stop",
            "What podman has stored on a claim is there and usable after a workspace was stopped",
            &[],
            |cx| Box::pin(keeps_images_over_a_stop(cx)),
        )
    },
    Level::Extended,
)];

/// What a nested workspace needs that keeps something.
const WITH_STORAGE: &[Requirement] = &[
    Requirement::WorkspaceOperator,
    Requirement::Workspaces,
    Requirement::UserNamespaces,
    Requirement::UnmaskedProc,
    Requirement::Devices,
    Requirement::StorageClass,
];

const NAME: &str = "ws-12";

async fn keeps_images_over_a_stop(cx: Context) -> CaseResult {
    let settled = made(&cx, NAME, nested_settings(), keep_storage).await?;
    let pod = running_pod(cx.sandbox(), &settled).await?;
    let before = cx.examine(&DEVWORKSPACE, &pod).await?;
    let image = shell_image(&before).await?;
    let identify = podman(&["image", "inspect", "--format={{.Id}}", &image]);
    let stored = before.output(&identify).await?;

    let stopped = stop(cx.sandbox(), NAME, SETTLES).await?;
    cx.check("phase", "Stopped", stopped.tell(), stopped.phase == "Stopped")?;
    let started = start(cx.sandbox(), NAME, SETTLES).await?;
    let next = running_pod(cx.sandbox(), &started).await?;
    let uids =
        (pod.metadata.uid.unwrap_or_default(), next.metadata.uid.clone().unwrap_or_default());
    cx.check("pod", "another than before", uids.1.clone(), uids.0 != uids.1)?;
    let after = cx.examine(&DEVWORKSPACE, &next).await?;
    cx.check_equal("image in the new pod", &stored, &after.output(&identify).await?)?;
    // Its files must still be root's to a container, whatever range the pod got this time.
    let run = podman_run(&[], &image, &["stat", "-c", "%u:%g", "/bin/touch"]);
    cx.check_equal("owner of a file of the image", "0:0", &after.output(&run).await?)
}

/// Lets the workspace keep podman's storage on a claim of its own.
fn keep_storage(template: &mut Value) {
    template["attributes"]["controller.devfile.io/storage-type"] = "per-workspace".into();
    let components = template["components"].as_array_mut();
    for component in components.into_iter().flatten() {
        if component["name"] == "storage" {
            component["volume"] = json!({"size": "1Gi"});
        }
    }
}
