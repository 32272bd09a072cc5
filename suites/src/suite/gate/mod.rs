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
    let (sent, stored) = dry_run_workspace(&cx).await?;
    let host_users = stored.spec.as_ref().and_then(|spec| spec.host_users);
    let observed = host_users.map_or("absent".to_owned(), |value| value.to_string());
    let kept =
        cx.check("hostUsers as it would be stored", "false", observed, host_users == Some(false));
    explained(&cx, Gate::UserNamespacesSupport, (&sent, &stored), kept).await
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
    let (sent, stored) = dry_run_workspace(&cx).await?;
    let proc_mount = NESTED_POD
        .container_of(&stored)
        .and_then(|container| container.security_context.as_ref())
        .and_then(|context| context.proc_mount.as_deref())
        .unwrap_or("absent");
    let name = "procMount as it would be stored";
    let kept = cx.check(name, "Unmasked", proc_mount, proc_mount == "Unmasked");
    explained(&cx, Gate::ProcMountType, (&sent, &stored), kept).await
}

/// Adds to a failure why the field of a gate is lost: by the gate, or by somebody who changes pods.
async fn explained(
    cx: &Context,
    gate: Gate,
    (sent, stored): (&Pod, &Pod),
    kept: CaseResult,
) -> CaseResult {
    let Err(failure) = kept else { return Ok(()) };
    let hint = if cx.facts().is_locked(gate) {
        format!("the feature gate {gate} can't be off in this release: something changes pods")
    } else {
        format!("the API server dropped it: turn the feature gate {gate} on there")
    };
    let failure = failure.with_hint(Some(hint));
    Err(cx.admission().explain_change(sent, stored, failure).await)
}

/// The workspace's pod as it is sent, and as it would be stored.
async fn dry_run_workspace(cx: &Context) -> Result<(Pod, Pod), Failure> {
    let pod = cx.manifest(&NESTED_POD)?;
    match cx.admission().dry_run(&pod).await? {
        Ok(stored) => Ok((pod, stored)),
        Err(refusal) => Err(cx.admission().explain_refusal(&pod, &refusal).await),
    }
}
