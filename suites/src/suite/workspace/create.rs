//! Workspaces that are made otherwise, or can't be made.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, PodHandle, parse_probe},
    sandbox::asking_for_devices,
    verdict::{CaseResult, Failure, Level},
    workload::{
        Command, PROBE,
        workspace::{Settled, create, prepare, running_pod, settle},
    },
};
use serde_json::{Value, json};

use super::{NESTED, WITH_DEVICES, WITH_WORKSPACES, run::host_users};
use crate::{
    fixtures::{DEVWORKSPACE, STORAGE},
    suite::{
        OPENSHIFT,
        identity::{check_inner_maps, check_subordinate_ids},
    },
};

inventory::submit!(Case {
    id: "WS-08",
    suite: "workspace",
    name: "tells_every_container_whatever_the_devfile_overrides",
    title: "Both containers of a devfile with its own overrides have HOST_USERS=false and usable \
        ids",
    why: "A devfile may have several containers and its own overrides. Each container of a \
          component must receive HOST_USERS, have subordinate ids inside the pod's range, and \
          have podman map them: a developer runs podman in any of them. The case does not test a \
          devfile with a parent, or containers with different images.",
    fix: "Update the DevWorkspace Operator to 0.40 or newer. Remove `env` from \
          `container-overrides`, where it is not allowed. For ids see `ID-05` and `ID-07`.",
    flavours: WITH_WORKSPACES,
    requires: NESTED,
    expected: Duration::from_secs(9),
    kind: CaseKind::Live(|cx| Box::pin(reports_every_container_whatever_the_devfile_overrides(cx))),
    ..Case::DEFAULT
});

async fn reports_every_container_whatever_the_devfile_overrides(cx: Context) -> CaseResult {
    let settled = made(&cx, "ws-08", nested_settings(&cx).await?, |template| {
        let mut second = template["components"][0].clone();
        second["name"] = "second".into();
        let overrides = &mut second["attributes"]["container-overrides"];
        overrides["resources"]["limits"]["memory"] = "1Gi".into();
        // Storage of its own: two podmans can't share one from two PID namespaces.
        second["container"]["volumeMounts"] = json!([
            {"name": "second-storage", "path": STORAGE},
            {"name": "second-scratch", "path": "/tmp"},
        ]);
        let volumes = ["second-storage", "second-scratch"]
            .map(|name| json!({"name": name, "volume": {"ephemeral": true}}));
        if let Some(components) = template["components"].as_array_mut() {
            components.push(second);
            components.extend(volumes);
        }
    });
    let pod = running_pod(cx.sandbox(), &settled.await?).await?;
    let workspace = cx.verify_ready(&DEVWORKSPACE, &pod).await?;
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
    cx.check_equal("containers", "tools, second", &names.join(", "))?;
    for container in &containers {
        let name = format!("HOST_USERS of container `{}`", container.name);
        cx.check_equal(&name, "false", &host_users(container))?;
    }
    for container in &containers {
        has_ids_that_podman_can_map(&cx, &workspace, &container.name).await?;
    }
    Ok(())
}

/// What ID-05 and ID-07 say, in this container.
async fn has_ids_that_podman_can_map(
    cx: &Context,
    workspace: &PodHandle,
    container: &str,
) -> CaseResult {
    let ask = async |command: &[&str]| -> Result<probe::Facts, Failure> {
        let command = Command::new(command.iter().copied()).in_container(container);
        parse_probe(&workspace.run(&command).await?.exits(0)?)
    };
    let of = format!(" of container `{container}`");
    let facts = ask(&[PROBE, "facts"]).await?;
    check_subordinate_ids(cx, &facts, &of)?;
    let inner = ask(&["podman", "unshare", PROBE, "facts"]).await?;
    check_inner_maps(cx, &facts, &inner, &of)
}

inventory::submit!(Case {
    id: "WS-16",
    suite: "workspace",
    name: "failure_is_told",
    title: "A workspace that cannot start is Failed with a readable message, and nestcheck finds \
        the event behind it",
    why: "A workspace that cannot start must report that. The operator names only the container \
          and its state. An event that most users never see explains why the runtime refused, so \
          the report shows both.",
    fix: "If the phase is not Failed, see `ignoredUnrecoverableEvents` and `progressTimeout` in \
          the operator's configuration.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    requires: WITH_DEVICES,
    pods: &[&DEVWORKSPACE],
    expected: Duration::from_secs(3),
    kind: CaseKind::Live(|cx| Box::pin(failure_is_reported(cx))),
    ..Case::DEFAULT
});

async fn failure_is_reported(cx: Context) -> CaseResult {
    // Where no device comes at all, none is refused.
    cx.pod(&DEVWORKSPACE).await?;
    let mut settings = nested_settings(&cx).await?;
    settings["podAnnotations"] = asking_for_devices("/dev/kmsg");
    let settled = made(&cx, "ws-16", settings, |_| {}).await?;
    cx.check_equal("phase of a workspace with a forbidden device", "Failed", &settled.phase)?;
    cx.check(
        "message of the operator",
        "the reason of the container, CreateContainerError",
        settled.message.clone(),
        settled.message.contains("CreateContainerError"),
    )?;
    let warning = settled.warning.unwrap_or_else(|| "none".to_owned());
    cx.check(
        "event of its pod",
        "that the device is not in allowed_devices",
        warning.clone(),
        warning.contains("allowed_devices"),
    )
}

inventory::submit!(Case {
    id: "WS-17",
    suite: "workspace",
    name: "toggle_off_makes_no_nested_workspace",
    title: "With container-run disabled, a new workspace gets no user namespace and its SCC \
        refuses it",
    why: "After an administrator disables container-run, no workspace may have SETUID and SETGID \
          in the node's own user namespace. An SCC that requires a user namespace refuses such \
          workspaces.",
    fix: "Set `userNamespaceLevel: RequirePodLevel` in the SCC. If the cluster's CRD lacks the \
          field, delete the SCC as well.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    requires: NESTED,
    expected: Duration::from_secs(9),
    kind: CaseKind::Live(|cx| Box::pin(setting_off_makes_no_nested_workspace(cx))),
    ..Case::DEFAULT
});

async fn setting_off_makes_no_nested_workspace(cx: Context) -> CaseResult {
    let mut settings = nested_settings(&cx).await?;
    if let Some(fields) = settings.as_object_mut() {
        fields.remove("hostUsers");
        fields.remove("containerSecurityContext");
    }
    let settled = made(&cx, "ws-17", settings, |_| {}).await?;
    let words = "Host Users must be set to false";
    let reported = settled.describe();
    let holds = settled.phase == "Failed" && reported.contains(words);
    cx.check("a new workspace", &format!("Failed with “{words}”"), reported, holds)
}

inventory::submit!(Case {
    id: "WS-09",
    suite: "workspace",
    name: "records_a_user_namespace_by_overrides",
    title: "A workspace that sets hostUsers only with pod-overrides does not get HOST_USERS, as \
        documented",
    why: "A devfile may set `hostUsers: false` with `pod-overrides`, without the operator's \
          configuration. The pod then has a user namespace, but the operator does not set \
          HOST_USERS in its containers, so images choose subordinate ids that do not fit. The \
          case records that this version does so.",
    fix: "Nothing is broken. Use the operator's configuration for workspaces that run containers.",
    level: Level::Informing,
    flavours: WITH_WORKSPACES,
    requires: NESTED,
    expected: Duration::from_secs(7),
    kind: CaseKind::Live(|cx| Box::pin(records_a_user_namespace_by_overrides(cx))),
    ..Case::DEFAULT
});

async fn records_a_user_namespace_by_overrides(cx: Context) -> CaseResult {
    let mut settings = nested_settings(&cx).await?;
    if let Some(fields) = settings.as_object_mut() {
        fields.remove("hostUsers");
    }
    let settled = made(&cx, "ws-09", settings, |template| {
        template["attributes"]["pod-overrides"] = json!({"spec": {"hostUsers": false}});
    });
    let pod = running_pod(cx.sandbox(), &settled.await?).await?;
    cx.verify_ready(&DEVWORKSPACE, &pod).await?;
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let name = format!("HOST_USERS of container `{}`", container.name);
        cx.check_equal(&name, "absent", &host_users(container))?;
    }
    Ok(())
}

/// What makes the operator's pods nested ones in this run.
pub(super) async fn nested_settings(cx: &Context) -> Result<Value, Failure> {
    prepare(cx.sandbox()).await?;
    Ok(cx.sandbox().workspaces().nested_settings())
}

/// Makes a workspace of this name with a configuration of its own, and waits what becomes of it.
pub(super) async fn made(
    cx: &Context,
    name: &str,
    settings: Value,
    change: impl FnOnce(&mut Value) + Send,
) -> Result<Settled, Failure> {
    let sandbox = cx.sandbox();
    prepare(sandbox).await?;
    sandbox.workspaces().config(name, settings).await?;
    let mut workspace = sandbox.workspaces().manifest(&DEVWORKSPACE, name, name)?;
    change(&mut workspace.data["spec"]["template"]);
    let created = create(sandbox, &workspace).await?.map_err(|refusal| {
        Failure::product(format!("the workspace `{name}` is refused: {}", refusal.message))
    })?;
    // The operator alone waits 5 s for pull secrets, and images may have to be pulled.
    let settled = settle(sandbox, &created, sandbox.timeouts().pod);
    cx.outside_deadline(Box::pin(settled)).await
}
