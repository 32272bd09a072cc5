//! GATE: the API server keeps the fields that its feature gates guard, and nobody says otherwise.

mod pod_security;
mod static_checks;

use harness::{
    engine::{Case, CaseKind, Context, Profile},
    facts::{
        Gate,
        requirement::{UnmaskedProc, UserNamespaces},
    },
    verdict::{CaseResult, Failure},
};
use k8s_openapi::api::core::v1::Pod;
pub(crate) use pod_security::{PROC_MOUNT, expect_accepted, expect_relaxed, is_relaxed, unmask};

use crate::fixtures::NESTED_POD;

inventory::submit!(Case {
    id: "GATE-01",
    suite: "gate",
    name: "keeps_host_users",
    title: "The API server keeps `hostUsers: false`",
    why: "With the gate UserNamespacesSupport off, the API server silently stores a pod without \
          `hostUsers: false`. The pod then runs with the node's own ids.",
    fix: "Enable UserNamespacesSupport on the API server. It is on by default from Kubernetes \
          1.33 and OpenShift 4.20. Before, use `--feature-gates=UserNamespacesSupport=true` or \
          the feature set TechPreviewNoUpgrade.",
    profiles: &[Profile::Smoke],
    requires: &[&UserNamespaces],
    kind: CaseKind::Live(|cx| Box::pin(keeps_host_users(cx))),
    ..Case::DEFAULT
});

async fn keeps_host_users(cx: Context) -> CaseResult {
    let stored = dry_run_workspace(&cx).await?;
    let host_users = stored.spec.and_then(|spec| spec.host_users);
    cx.check(
        "hostUsers as it would be stored",
        "false",
        host_users.map_or("absent".to_owned(), |value| value.to_string()),
        host_users == Some(false),
    )
    .map_err(|failure| turn_on(failure, Gate::UserNamespacesSupport))
}

inventory::submit!(Case {
    id: "GATE-02",
    suite: "gate",
    name: "keeps_unmasked_proc_mount",
    title: "The API server keeps `procMount: Unmasked`",
    why: "With the gate ProcMountType off, the API server silently resets `procMount` to Default. \
          Inside the pod, podman cannot mount a fresh /proc for its containers.",
    fix: "Enable ProcMountType on the API server. It is on by default from Kubernetes 1.33 and \
          OpenShift 4.20. Before, use `--feature-gates=ProcMountType=true` or the feature set \
          TechPreviewNoUpgrade.",
    profiles: &[Profile::Smoke],
    requires: &[&UnmaskedProc],
    kind: CaseKind::Live(|cx| Box::pin(keeps_unmasked_proc_mount(cx))),
    ..Case::DEFAULT
});

async fn keeps_unmasked_proc_mount(cx: Context) -> CaseResult {
    let stored = dry_run_workspace(&cx).await?;
    let proc_mount = stored
        .spec
        .and_then(|spec| spec.containers.into_iter().next())
        .and_then(|container| container.security_context)
        .and_then(|context| context.proc_mount)
        .unwrap_or_else(|| "absent".to_owned());
    cx.check("procMount as it would be stored", "Unmasked", &proc_mount, proc_mount == "Unmasked")
        .map_err(|failure| turn_on(failure, Gate::ProcMountType))
}

fn turn_on(failure: Failure, gate: Gate) -> Failure {
    let hint = format!("the API server dropped it: turn the feature gate {gate} on there");
    failure.with_hint(Some(hint))
}

async fn dry_run_workspace(cx: &Context) -> Result<Pod, Failure> {
    let pod = cx.manifest(&NESTED_POD)?;
    cx.admission().dry_run(&pod).await?.map_err(|refusal| {
        Failure::product(format!("the workspace pod is refused: {}", refusal.message))
    })
}
