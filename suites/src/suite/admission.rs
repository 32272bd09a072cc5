//! ADM: what the API server must refuse.

use super::{NESTED, core_case};
use crate::toolbox::{expect_kept, expect_refusal};
use fixtures::WORKSPACE;
use harness::{
    case::{Case, CaseResult},
    context::Context,
};

pub(crate) const CASES: &[Case] = &[
    core_case!(
        "ADM-01",
        "admission",
        refuses_unmasked_proc_without_user_namespace,
        "`procMount: Unmasked` is refused without `hostUsers: false`",
        NESTED,
        &[]
    ),
    core_case!(
        "ADM-02",
        "admission",
        refuses_host_namespaces_with_user_namespace,
        "The node's network, process and IPC namespaces are refused with `hostUsers: false`",
        NESTED,
        &[]
    ),
    core_case!(
        "ADM-04",
        "admission",
        refuses_nested_pod_in_restricted_namespace,
        "A nested pod is refused in a namespace that enforces Pod Security level restricted",
        NESTED,
        &[]
    ),
];

async fn refuses_unmasked_proc_without_user_namespace(cx: Context) -> CaseResult {
    for host_users in [None, Some(true)] {
        let mut pod = cx.manifest(&WORKSPACE)?;
        pod.spec.get_or_insert_default().host_users = host_users;
        let name = format!("answer to Unmasked with hostUsers {host_users:?}");
        expect_refusal(&cx, &name, &pod, 422, &["`hostUsers` must be false to use `Unmasked`"])
            .await?;
    }
    Ok(())
}

async fn refuses_host_namespaces_with_user_namespace(cx: Context) -> CaseResult {
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        let mut pod = cx.manifest(&WORKSPACE)?;
        let spec = pod.spec.get_or_insert_default();
        spec.host_network = Some(field == "hostNetwork");
        spec.host_pid = Some(field == "hostPID");
        spec.host_ipc = Some(field == "hostIPC");
        // Kubernetes 1.32 says `pod.Spec.HostUsers`, later ones `hostUsers`.
        let name = format!("answer to {field} with hostUsers false");
        expect_refusal(&cx, &name, &pod, 422, &["ostUsers` is false"]).await?;
    }
    Ok(())
}

async fn refuses_nested_pod_in_restricted_namespace(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&WORKSPACE)?;
    // A server that refuses or strips the pod anywhere would pass too; this proves that it is the
    // namespace that matters.
    expect_kept(&cx, &WORKSPACE, &pod).await?;
    pod.metadata.namespace = Some(cx.namespace_enforcing("restricted").await?);
    let fields = [
        "violates PodSecurity \"restricted",
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
    ];
    expect_refusal(&cx, "answer in a restricted namespace", &pod, 403, &fields).await
}
