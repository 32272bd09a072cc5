//! A workspace that runs, made as the ordinary user from a devfile.

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context},
    facts::{CDI_ANNOTATION, ClusterSettings, DEVICE_ANNOTATIONS, DeviceRoute, devices_value},
    sandbox::{USER, WORKSPACE_ID_LABEL, pod_template::ADMITTED_BY},
    verdict::{CaseResult, Failure},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, PodTemplateSpec, ServiceAccount},
};
use kube::{Api, ResourceExt, api::DynamicObject};

use super::{NESTED, WITH_WORKSPACES, at, configured::AS_CONFIGURED};
use crate::{fixtures::DEVWORKSPACE, steps::request, suite::OPENSHIFT};

inventory::submit!(Case {
    id: "WS-05",
    suite: "workspace",
    name: "runs_for_an_ordinary_user",
    title: "A workspace that the ordinary user creates from a devfile reaches Running",
    why: "This is what a developer does: start a workspace from a devfile, with only the \
          namespace's permissions and the use of one SCC. If the workspace does not reach \
          Running, there is no place for podman.",
    fix: "Read the message. It contains the operator's message and the last warning about the \
          workspace's pod, which the operator itself may not see. Usual causes: the operator's \
          service account may not `use` the SCC, or the SCC does not admit what the \
          configuration requests.",
    flavours: WITH_WORKSPACES,
    profiles: AS_CONFIGURED,
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
    why: "The operator merges its configuration, the devfile and its own defaults into a \
          Deployment. If `hostUsers: false`, `procMount: Unmasked` or one of the capabilities \
          SETUID and SETGID gets lost on the way, podman fails later with a message that names \
          none of them.",
    fix: "Compare `config.workspace` of the DevWorkspaceOperatorConfig that the workspace names \
          with the Deployment `<workspace id>`. If only the pod lacks a field, look at the \
          feature gates of the API server (`GATE-01`, `GATE-02`) and at other admission \
          webhooks.",
    flavours: WITH_WORKSPACES,
    profiles: AS_CONFIGURED,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(has_user_namespace_and_capabilities(cx))),
    ..Case::DEFAULT
});

async fn has_user_namespace_and_capabilities(cx: Context) -> CaseResult {
    let mut asked = match &cx.facts().devspaces.cluster_settings {
        Some(settings) => settings.pods.capabilities.clone(),
        None => vec!["SETGID".to_owned(), "SETUID".to_owned()],
    };
    asked.sort();
    let asked = asked.join(", ");
    for (place, template) in templates(&cx).await? {
        let spec = template.spec.clone().unwrap_or_default();
        let host_users = spec.host_users.map_or_else(|| "absent".to_owned(), |it| it.to_string());
        cx.check_equal(&format!("hostUsers of the {place}"), "false", &host_users)?;
        let own = DEVWORKSPACE.own_containers();
        for container in spec.containers.iter().filter(|it| own.contains(&it.name)) {
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
            cx.check_equal(&format!("capabilities added to {name}"), &asked, &added)?;
        }
    }
    Ok(())
}

inventory::submit!(Case {
    id: "WS-06B",
    suite: "workspace",
    name: "asks_for_devices",
    title: "The workspace's Deployment and pod ask for devices, in the way in which the cluster's \
         pods get them",
    why: "A pod that does not ask gets neither /dev/fuse nor /dev/net/tun. Storage then uses a \
          slow driver, and inner containers have no network. CRI-O's annotation has two names, and \
          the node decides which one it honours: OpenShift's nodes honour the old one, CRI-O 1.35 \
          and newer by default only the new one. nestcheck's configuration contains both. On other \
          Kubernetes it contains a RuntimeClass or a CDI annotation, or the devfile asks for \
          extended resources. With `--as-configured`, the cluster's own configuration decides.",
    fix: "With CRI-O, set `io.kubernetes.cri-o.Devices` and `devices.crio.io` to \
          `/dev/fuse,/dev/net/tun` in `config.workspace.podAnnotations`. This needs operator 0.29 \
          or newer. Elsewhere set `config.workspace.runtimeClassName`.",
    flavours: WITH_WORKSPACES,
    profiles: AS_CONFIGURED,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(asks_for_devices(cx))),
    ..Case::DEFAULT
});

async fn asks_for_devices(cx: Context) -> CaseResult {
    let settings = cx.facts().devspaces.cluster_settings.as_ref();
    let route = cx.sandbox().device_route();
    if settings.is_none() && route.is_none() {
        return Err(Failure::blocked(
            "it is not known how pods get devices here",
            "name the way with `--devices`",
        ));
    }
    for (place, template) in templates(&cx).await? {
        for asked in device_requests(settings, route, &template) {
            let name = format!("{} of the {place}", asked.what);
            cx.check_equal(&name, &asked.expected, &asked.observed)?;
        }
    }
    Ok(())
}

/// One part of how a pod asks for devices.
#[derive(Debug, PartialEq, Eq)]
struct DeviceRequest {
    what: String,
    expected: String,
    observed: String,
}

/// How a workspace's pod asks for devices, and how it should: by the annotations of the cluster's own
/// settings, or else in the way that the run has found.
fn device_requests(
    settings: Option<&ClusterSettings>,
    route: Option<&DeviceRoute>,
    template: &PodTemplateSpec,
) -> Vec<DeviceRequest> {
    let absent = || "absent".to_owned();
    let request = |what: String, expected: Option<String>, observed: Option<String>| {
        let (expected, observed) =
            (expected.unwrap_or_else(absent), observed.unwrap_or_else(absent));
        DeviceRequest { what, expected, observed }
    };
    let annotations = template.metadata.as_ref().and_then(|it| it.annotations.as_ref());
    let annotation = |name: &str, expected: Option<String>| {
        let observed = annotations.and_then(|it| it.get(name)).cloned();
        request(format!("annotation `{name}`"), expected, observed)
    };
    let of_settings = |settings: &ClusterSettings, name: &str| {
        annotation(name, settings.pods.annotations.get(name).cloned())
    };
    let spec = template.spec.as_ref();
    match (settings, route) {
        (Some(settings), _) => {
            DEVICE_ANNOTATIONS.into_iter().map(|name| of_settings(settings, name)).collect()
        }
        (None, Some(DeviceRoute::RuntimeClass(class))) => {
            let observed = spec.and_then(|spec| spec.runtime_class_name.clone());
            vec![request("runtimeClassName".to_owned(), Some(class.clone()), observed)]
        }
        (None, Some(DeviceRoute::Cdi(names))) => {
            vec![annotation(CDI_ANNOTATION, Some(names.clone()))]
        }
        (None, Some(DeviceRoute::Resource(names))) => {
            let own = DEVWORKSPACE.own_containers();
            let container =
                spec.and_then(|it| it.containers.iter().find(|it| own.contains(&it.name)));
            let limits = container.and_then(|it| it.resources.as_ref()?.limits.as_ref());
            let limit = |name: &str| {
                let observed = limits.and_then(|it| it.get(name)).map(|it| it.0.clone());
                request(format!("limit `{name}`"), Some("1".to_owned()), observed)
            };
            names.split(',').map(limit).collect()
        }
        (None, None) => Vec::new(),
        (None, Some(DeviceRoute::Annotation)) => DEVICE_ANNOTATIONS
            .into_iter()
            .map(|name| annotation(name, Some(devices_value())))
            .collect(),
    }
}

inventory::submit!(Case {
    id: "WS-06C",
    suite: "workspace",
    name: "is_admitted_by_its_constraint",
    title: "The requested SCC admits the workspace's pod, with its own service account and labels",
    why: "If another SCC than the requested one admits a workspace, it has another user, other \
          groups or other capabilities. The operator and its webhooks identify the pod's owner \
          with the labels and the service account.",
    fix: "The attribute `controller.devfile.io/scc` must name the SCC. The operator creates the \
          role `devworkspace-use-<scc>` for the workspace's account and needs `use` on the SCC \
          itself. No SCC of higher priority may fit.",
    flavours: OPENSHIFT,
    profiles: AS_CONFIGURED,
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
    cx.check_equal(CheckId::AdmittedBy, &scc, annotation(ADMITTED_BY))?;
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
    title: "Every container of a component gets HOST_USERS=false",
    why: "Workspace images choose their subordinate ids from `HOST_USERS=false`. Without it the \
          Universal Developer Image keeps `10000:65536`, which exceeds the pod's 65536 ids, and \
          every podman command ends with `newuidmap: write to uid_map failed: Operation not \
          permitted`.",
    fix: "Update the DevWorkspace Operator to 0.40 or newer, and set `hostUsers: false` in its \
          configuration, not with `pod-overrides`.",
    flavours: WITH_WORKSPACES,
    profiles: AS_CONFIGURED,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(reports_containers_of_their_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn reports_containers_of_their_user_namespace(cx: Context) -> CaseResult {
    let pod = cx.pod(&DEVWORKSPACE).await?.object().clone();
    let mut containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let own = DEVWORKSPACE.own_containers();
    containers.retain(|it| own.contains(&it.name));
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
    let api = cx.sandbox().workspaces().of(cx.sandbox().user());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn requests(route: &DeviceRoute, template: serde_json::Value) -> Vec<(String, String, String)> {
        let template = serde_json::from_value(template).expect("a pod template");
        let requests = device_requests(None, Some(route), &template);
        requests.into_iter().map(|it| (it.what, it.expected, it.observed)).collect()
    }

    fn request(what: &str, expected: &str, observed: &str) -> (String, String, String) {
        (what.to_owned(), expected.to_owned(), observed.to_owned())
    }

    #[test]
    fn each_way_to_devices_has_its_place_in_the_pod() {
        let class = DeviceRoute::RuntimeClass("nested".to_owned());
        let asked =
            requests(&class, json!({"spec": {"runtimeClassName": "other", "containers": []}}));
        assert_eq!(asked, [request("runtimeClassName", "nested", "other")]);

        let cdi = DeviceRoute::Cdi("example.com/nested=all".to_owned());
        let asked = requests(&cdi, json!({"metadata": {"annotations": {CDI_ANNOTATION: "x"}}}));
        let what = format!("annotation `{CDI_ANNOTATION}`");
        assert_eq!(asked, [request(&what, "example.com/nested=all", "x")]);

        let resource = DeviceRoute::Resource("example.com/fuse,example.com/tun".to_owned());
        let limits = json!({"limits": {"example.com/fuse": "1"}});
        let containers = json!([{"name": "injected"}, {"name": "tools", "resources": limits}]);
        let asked = requests(&resource, json!({"spec": {"containers": containers}}));
        let fuse = request("limit `example.com/fuse`", "1", "1");
        assert_eq!(asked, [fuse, request("limit `example.com/tun`", "1", "absent")]);
    }

    #[test]
    fn cri_o_is_asked_by_both_names() {
        let asked = requests(&DeviceRoute::Annotation, json!({}));
        assert_eq!(asked.len(), DEVICE_ANNOTATIONS.len());
        let are_absent = |(_, expected, observed): &(String, String, String)| {
            *expected == devices_value() && observed == "absent"
        };
        assert!(asked.iter().all(are_absent), "{asked:?}");
    }
}
