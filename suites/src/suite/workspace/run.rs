//! A workspace that runs, made as the ordinary user from a devfile.

use fixtures::DEVWORKSPACE;
use harness::{
    case::{Case, CaseKind, CaseResult, Failure},
    context::Context,
    facts::{DEVICE_ANNOTATIONS, devices_value},
    pod_template::ADMITTED_BY,
    sandbox::{USER, WORKSPACE_ID_LABEL},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, PodTemplateSpec, ServiceAccount},
};
use kube::{Api, ResourceExt, api::DynamicObject};

use super::{NESTED, at};
use crate::{suite::OPENSHIFT, toolbox::request};

inventory::submit!(Case {
    id: "WS-05",
    suite: "workspace",
    name: "runs_for_an_ordinary_user",
    title: "A workspace that the ordinary user creates from a devfile reaches Running",
    why: "",
    fix: "",
    flavours: OPENSHIFT,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(runs_for_an_ordinary_user(cx))),
    ..Case::DEFAULT
});

async fn runs_for_an_ordinary_user(cx: Context) -> CaseResult {
    cx.pod(&DEVWORKSPACE).await?;
    let workspace = workspace(&cx).await?;
    cx.check_equal("phase", "Running", &at(&workspace.data, "/status/phase"))?;
    let sandbox = cx.sandbox();
    let accounts: Api<ServiceAccount> =
        Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let user = request("read the user's account", || accounts.get(USER)).await?;
    let creator = workspace.labels().get("controller.devfile.io/creator");
    let creator = creator.map_or("absent", String::as_str);
    cx.check_equal("creator, set by the webhook", &user.uid().unwrap_or_default(), creator)
}

inventory::submit!(Case {
    id: "WS-06A",
    suite: "workspace",
    name: "has_user_namespace_and_capabilities",
    title: "The workspace's Deployment and pod have a user namespace, an unmasked /proc, SETUID \
         and SETGID",
    why: "",
    fix: "",
    flavours: OPENSHIFT,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(has_user_namespace_and_capabilities(cx))),
    ..Case::DEFAULT
});

async fn has_user_namespace_and_capabilities(cx: Context) -> CaseResult {
    for (place, template) in templates(&cx).await? {
        let spec = template.spec.clone().unwrap_or_default();
        let host_users = spec.host_users.map_or_else(|| "absent".to_owned(), |it| it.to_string());
        cx.check_equal(&format!("hostUsers of the {place}"), "false", &host_users)?;
        for container in &spec.containers {
            let name = format!("container `{}` of the {place}", container.name);
            let context = container.security_context.clone().unwrap_or_default();
            let proc_mount = context.proc_mount.unwrap_or_else(|| "absent".to_owned());
            cx.check_equal(&format!("procMount of {name}"), "Unmasked", &proc_mount)?;
            let escalates = context.allow_privilege_escalation == Some(true);
            let observed = format!("{:?}", context.allow_privilege_escalation);
            cx.check(&format!("allowPrivilegeEscalation of {name}"), "true", observed, escalates)?;
            let mut added = context.capabilities.and_then(|it| it.add).unwrap_or_default();
            added.sort();
            let added = added.join(", ");
            cx.check_equal(&format!("capabilities added to {name}"), "SETGID, SETUID", &added)?;
        }
    }
    Ok(())
}

inventory::submit!(Case {
    id: "WS-06B",
    suite: "workspace",
    name: "asks_for_devices",
    title: "The workspace's Deployment and pod carry both annotations for devices",
    why: "",
    fix: "",
    flavours: OPENSHIFT,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(asks_for_devices(cx))),
    ..Case::DEFAULT
});

async fn asks_for_devices(cx: Context) -> CaseResult {
    for (place, template) in templates(&cx).await? {
        let annotations = template.metadata.unwrap_or_default().annotations.unwrap_or_default();
        for annotation in DEVICE_ANNOTATIONS {
            let devices = annotations.get(annotation).map_or("absent", String::as_str);
            let name = format!("annotation `{annotation}` of the {place}");
            cx.check_equal(&name, &devices_value(), devices)?;
        }
    }
    Ok(())
}

inventory::submit!(Case {
    id: "WS-06C",
    suite: "workspace",
    name: "is_admitted_by_its_constraint",
    title: "The requested SCC admits the workspace's pod, with its own service account and labels",
    why: "",
    fix: "",
    flavours: OPENSHIFT,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(is_admitted_by_its_scc(cx))),
    ..Case::DEFAULT
});

async fn is_admitted_by_its_scc(cx: Context) -> CaseResult {
    let pod = cx.pod(&DEVWORKSPACE).await?.object().clone();
    let id = at(&workspace(&cx).await?.data, "/status/devworkspaceId");
    let scc = cx.sandbox().scc().map_or("none", |it| it.name.as_str()).to_owned();
    let annotation = |name: &str| pod.annotations().get(name).map_or("absent", String::as_str);
    let label = |name: &str| pod.labels().get(name).map_or("absent", String::as_str);
    cx.check_equal(ADMITTED_BY, &scc, annotation(ADMITTED_BY))?;
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    cx.check_equal("service account", &format!("{id}-sa"), account.unwrap_or("absent"))?;
    cx.check_equal(WORKSPACE_ID_LABEL, &id, label(WORKSPACE_ID_LABEL))?;
    let name = "controller.devfile.io/devworkspace_name";
    cx.check_equal(name, DEVWORKSPACE.name, label(name))
}

inventory::submit!(Case {
    id: "WS-06D",
    suite: "workspace",
    name: "tells_containers_of_their_user_namespace",
    title: "Every container of a component has HOST_USERS=false",
    why: "",
    fix: "",
    flavours: OPENSHIFT,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(tells_containers_of_their_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn tells_containers_of_their_user_namespace(cx: Context) -> CaseResult {
    let pod = cx.pod(&DEVWORKSPACE).await?.object().clone();
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    cx.check(
        "containers of the workspace",
        "at least one",
        containers.len().to_string(),
        !containers.is_empty(),
    )?;
    for container in &containers {
        let name = format!("HOST_USERS of container `{}`", container.name);
        cx.check_equal(&name, "false", &host_users(container))?;
    }
    Ok(())
}

/// What a container is told of its user namespace.
pub(super) fn host_users(container: &Container) -> String {
    let mut variables = container.env.iter().flatten();
    let variable = variables.find(|variable| variable.name == "HOST_USERS");
    variable.and_then(|variable| variable.value.clone()).unwrap_or_else(|| "absent".to_owned())
}

async fn workspace(cx: &Context) -> Result<DynamicObject, Failure> {
    let api = cx.sandbox().workspaces_of(cx.sandbox().user());
    request("read the workspace", || api.get(DEVWORKSPACE.name)).await
}

/// What the operator asked for, and what became of it.
async fn templates(cx: &Context) -> Result<[(&'static str, PodTemplateSpec); 2], Failure> {
    let pod = cx.pod(&DEVWORKSPACE).await?.object().clone();
    let id = at(&workspace(cx).await?.data, "/status/devworkspaceId");
    let sandbox = cx.sandbox();
    let deployments: Api<Deployment> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let deployment = request("read the workspace's Deployment", || deployments.get(&id)).await?;
    let template = deployment.spec.template;
    let stored = PodTemplateSpec { metadata: Some(pod.metadata), spec: pod.spec };
    Ok([("Deployment", template), ("pod", stored)])
}
