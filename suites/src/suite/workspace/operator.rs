//! The operator, its webhooks and its configuration.

use harness::{
    base::text::one_line,
    cluster::ask,
    engine::{Case, CaseKind, Context},
    sandbox::{NESTED_CONFIG, labels, old_workspace_resource, workspace_resource},
    verdict::{CaseResult, Failure},
    workload::workspace::prepare,
};
use kube::{
    Api, Error as KubeError, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::{Value, json};

use super::{INSTALLED, NESTED, WITH_WORKSPACES, at, configured::AS_CONFIGURED};
use crate::steps::request;

// Not blocked where the operator is not at work: that is what it is about.
inventory::submit!(Case {
    id: "WS-04",
    suite: "workspace",
    name: "operator_answers",
    title: "The operator has a ready pod, and its admission and conversion webhooks answer",
    why: "Every workspace passes the operator's webhooks, and old ones its conversion. While the \
          webhooks do not answer, nobody can create, start or change a workspace. The webhook \
          for `pods/exec` fails closed, so without a webhook server users cannot enter any pod.",
    fix: "Run `kubectl get deployments,pods -n` with the operator's namespace. Both \
          `devworkspace-controller-manager` and `devworkspace-webhook-server` must be available. \
          If they are, compare the CA bundles of the webhook configurations \
          `controller.devfile.io` and of the CRD `devworkspaces.workspace.devfile.io` with the \
          serving certificates.",
    flavours: WITH_WORKSPACES,
    profiles: AS_CONFIGURED,
    requires: INSTALLED,
    kind: CaseKind::Live(|cx| Box::pin(operator_answers(cx))),
    ..Case::DEFAULT
});

async fn operator_answers(cx: Context) -> CaseResult {
    let operator =
        cx.facts().devspaces.operator.value().cloned().ok_or_else(|| {
            Failure::harness("the DevWorkspace Operator's Deployment is not known")
        })?;
    let pods = if operator.is_available { "some" } else { "none" };
    let place = format!("ready pods of the operator in namespace `{}`", operator.namespace);
    cx.check(&place, "some", pods, operator.is_available)?;

    let old = stored(
        &cx,
        "ws-04-old",
        &old_workspace_resource(),
        &json!([
            {"container": {"name": "tools", "image": "unused"}},
        ]),
    )
    .await?;
    cx.check(
        "label `controller.devfile.io/creator`, set by the webhook",
        "the user's id",
        old.labels().get("controller.devfile.io/creator").map_or("absent", String::as_str),
        old.labels().get("controller.devfile.io/creator").is_some_and(|id| !id.is_empty()),
    )?;
    let converted = read(&cx, "ws-04-old", &workspace_resource()).await?;
    let first = "/spec/template/components/0";
    cx.check_equal(
        "name of a component of v1alpha1, read as v1alpha2",
        "tools",
        &at(&converted, &format!("{first}/name")),
    )?;
    stored(
        &cx,
        "ws-04-new",
        &workspace_resource(),
        &json!([
            {"name": "tools", "container": {"image": "unused"}},
        ]),
    )
    .await?;
    let converted = read(&cx, "ws-04-new", &old_workspace_resource()).await?;
    cx.check_equal(
        "name of a component of v1alpha2, read as v1alpha1",
        "tools",
        &at(&converted, &format!("{first}/container/name")),
    )
}

/// Creates a workspace that is not started. A webhook or a conversion that does not answer is the
/// product's failure here.
async fn stored(
    cx: &Context,
    name: &str,
    version: &ApiResource,
    components: &Value,
) -> Result<DynamicObject, Failure> {
    let sandbox = cx.sandbox();
    let namespace = sandbox.namespace();
    let mut workspace = DynamicObject::new(name, version).within(namespace);
    workspace.metadata.labels = Some(labels(sandbox.run()));
    workspace.data = json!({"spec": {"started": false, "template": {"components": components}}});
    sandbox.ledger().intend("DevWorkspace", Some(namespace), name).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(sandbox.user().clone(), namespace, version);
    let params = PostParams::default();
    let answer =
        ask("create a DevWorkspace", || sandbox.as_granted(|| api.create(&params, &workspace)));
    let answer = answer.await?;
    let reported = match &answer {
        Ok(_) => "stored".to_owned(),
        Err(KubeError::Api(status)) => one_line(&status.message),
        Err(error) => one_line(&error.to_string()),
    };
    cx.check(&format!("DevWorkspace of {}", version.version), "stored", reported, answer.is_ok())?;
    answer.map_err(|error| Failure::product(error.to_string()))
}

async fn read(cx: &Context, name: &str, version: &ApiResource) -> Result<Value, Failure> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(cx.sandbox().user().clone(), cx.sandbox().namespace(), version);
    Ok(request("read a DevWorkspace", || api.get(name)).await?.data)
}

inventory::submit!(Case {
    id: "WS-02",
    suite: "workspace",
    name: "configuration_is_kept",
    title: "The API server stores every field of the operator's configuration for nested \
        containers",
    why: "One place configures nested containers in workspaces: a DevWorkspaceOperatorConfig with \
          `hostUsers`, `podSecurityContext`, `containerSecurityContext`, and `podAnnotations` or \
          `runtimeClassName` for devices. If \
          the operator's CRD lacks one of these fields, the API server drops it silently, and \
          every workspace then lacks it.",
    fix: "Update the DevWorkspace Operator to 0.37 or newer, and its CRDs too: `hostUsers` is \
          missing before. Check whether an admission policy changes \
          `devworkspaceoperatorconfigs.controller.devfile.io`.",
    flavours: WITH_WORKSPACES,
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(configuration_is_kept(cx))),
    ..Case::DEFAULT
});

/// The fields of the configuration that make workspaces nested. A run's way to devices decides which of
/// those about them it needs.
const FIELDS: [&str; 5] = [
    "hostUsers",
    "podAnnotations",
    "runtimeClassName",
    "podSecurityContext",
    "containerSecurityContext",
];

async fn configuration_is_kept(cx: Context) -> CaseResult {
    prepare(cx.sandbox()).await?;
    let configs = cx.sandbox().workspaces().configs_of(cx.sandbox().user());
    let stored = request("read the operator's configuration", || configs.get(NESTED_CONFIG));
    let stored = stored.await?;
    let asked = cx.sandbox().workspaces().nested_settings();
    let is_asked = |field: &&str| asked.get(*field).is_some();
    for field in FIELDS.into_iter().filter(is_asked) {
        let asked = at(&asked, &format!("/{field}"));
        let kept = at(&stored.data, &format!("/config/workspace/{field}"));
        cx.check_equal(&format!("stored {field}"), &asked, &kept)?;
    }
    Ok(())
}
