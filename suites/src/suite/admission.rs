//! ADM: what the API server must refuse.

use harness::{
    engine::{Case, CaseKind, Context},
    facts::{
        Facts,
        requirement::{Administrator, KubernetesMinor, Requirement, UnmaskedProc, UserNamespaces},
    },
    sandbox::PodSecurity,
    verdict::{CaseResult, Level},
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimVolumeSource, SELinuxOptions, Volume, VolumeDevice,
};

use super::{
    NESTED, NESTED_ELSEWHERE,
    gate::{PROC_MOUNT, expect_accepted, expect_relaxed, is_relaxed, unmask},
};
use crate::{
    fixtures::{HOST_USERS, NESTED_POD},
    steps::{evaluate_refusal, expect_kept, expect_refusal, expect_refusal_by_server},
};

const WITH_BLOCK_DEVICE_CHECK: &[&dyn Requirement] =
    &[&UserNamespaces, &UnmaskedProc, &KubernetesMinor(34)];

/// Level baseline allows the SELinux type `container_engine_t` from policy version 1.31 on.
const WITH_SELINUX_TYPE: &[&dyn Requirement] = &[
    &UserNamespaces,
    &UnmaskedProc,
    &KubernetesMinor(31),
    &Administrator("another namespace of the run's own"),
];

inventory::submit!(Case {
    id: "ADM-01",
    suite: "admission",
    name: "refuses_unmasked_proc_without_user_namespace",
    title: "`procMount: Unmasked` is refused without `hostUsers: false`",
    why: "An unmasked /proc in the node's own user namespace is the shortest way from a container \
          to the node. The API server has to refuse this combination itself, because no SCC \
          checks `procMount`.",
    fix: "Update the API server to 1.30 or newer and enable both gates. With ProcMountType alone, \
          the server keeps the field and does not check it.",
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(refuses_unmasked_proc_without_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn refuses_unmasked_proc_without_user_namespace(cx: Context) -> CaseResult {
    for host_users in [None, Some(true)] {
        let mut pod = cx.manifest(&NESTED_POD)?;
        pod.spec.get_or_insert_default().host_users = host_users;
        let name = format!("answer to Unmasked with hostUsers {host_users:?}");
        let words = ["`hostUsers` must be false to use `Unmasked`"];
        expect_refusal_by_server(&cx, &name, &pod, 422, &words).await?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ADM-02",
    suite: "admission",
    name: "refuses_host_namespaces_with_user_namespace",
    title: "The node's network, process and IPC namespaces are refused with `hostUsers: false`",
    why: "A user namespace protects little if the pod shares the node's network, processes or \
          IPC.",
    fix: "Update the API server. If it accepts `hostNetwork` alone, the gate \
          UserNamespacesHostNetworkSupport is on: disable it unless you need it. The case does not \
          look at `hostNetwork` if the API server's metrics say that the gate is on.",
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(refuses_host_namespaces_with_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn refuses_host_namespaces_with_user_namespace(cx: Context) -> CaseResult {
    for &field in host_namespaces_to_refuse(cx.facts()) {
        let mut pod = cx.manifest(&NESTED_POD)?;
        let spec = pod.spec.get_or_insert_default();
        spec.host_network = Some(field == "hostNetwork");
        spec.host_pid = Some(field == "hostPID");
        spec.host_ipc = Some(field == "hostIPC");
        // Kubernetes 1.32 says `pod.Spec.HostUsers`, later ones `hostUsers`.
        let name = format!("answer to {field} with hostUsers false");
        expect_refusal_by_server(&cx, &name, &pod, 422, &["ostUsers` is false"]).await?;
    }
    Ok(())
}

/// The fields for the node's own namespaces that the server must refuse. Where somebody turned on the
/// gate that permits the node's network, it must not refuse that one.
fn host_namespaces_to_refuse(facts: &Facts) -> &'static [&'static str] {
    match facts.server_host_network_gate.value() {
        Some(true) => &["hostPID", "hostIPC"],
        _ => &["hostNetwork", "hostPID", "hostIPC"],
    }
}

inventory::submit!(Case {
    id: "ADM-04",
    suite: "admission",
    name: "refuses_nested_pod_in_restricted_namespace",
    title: "A nested pod is refused in a namespace that enforces Pod Security level restricted",
    why: "Administrators choose the level restricted where nothing may go wrong. A nested pod \
          needs more than it permits. A namespace that admits one does not enforce the level in \
          its label.",
    fix: "Check that the admission plugin PodSecurity is on, and that no exemption lists the \
          user, the namespace or the runtime class.",
    requires: NESTED_ELSEWHERE,
    kind: CaseKind::Live(|cx| Box::pin(refuses_nested_pod_in_restricted_namespace(cx))),
    ..Case::DEFAULT
});

async fn refuses_nested_pod_in_restricted_namespace(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&NESTED_POD)?;
    // A server that refuses or strips the pod anywhere would pass too; this proves that it is the
    // namespace that matters.
    expect_kept(&cx, &NESTED_POD, &pod).await?;
    pod.metadata.namespace =
        Some(cx.sandbox().namespaces().enforcing(PodSecurity::Restricted).await?);
    let fields = [
        "violates PodSecurity \"restricted",
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
    ];
    expect_refusal(&cx, "answer in a restricted namespace", &pod, 403, &fields).await
}

// Nested containers work without it where the namespace's level is privileged.
inventory::submit!(Case {
    id: "ADM-05",
    suite: "admission",
    name: "admits_nested_pod_in_baseline_namespace_by_gate_or_version",
    title: "Pod Security level baseline admits OpenShift's nested pod only if the gate or the \
        version permits it",
    why: "Baseline is the strictest level in which OpenShift's nested pod can run. The gate or \
          the version decides whether it may. A cluster that behaves differently surprises \
          anyone who moves workspaces to it.",
    fix: "Compare the gate UserNamespacesPodSecurityStandards, the policy version in the \
          namespace's labels, and the SELinux type (allowed from v1.31 on) with the message.",
    level: Level::Extended,
    requires: WITH_SELINUX_TYPE,
    kind: CaseKind::Live(|cx| Box::pin(
        admits_nested_pod_in_baseline_namespace_by_gate_or_version(cx)
    )),
    ..Case::DEFAULT
});

async fn admits_nested_pod_in_baseline_namespace_by_gate_or_version(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.namespace =
        Some(cx.sandbox().namespaces().enforcing(PodSecurity::Baseline).await?);
    let spec = pod.spec.get_or_insert_default();
    // What a workspace has elsewhere, and what its SCC gives it on OpenShift.
    let context = spec.security_context.get_or_insert_default();
    (context.seccomp_profile, context.app_armor_profile) = (None, None);
    context.se_linux_options = Some(SELinuxOptions {
        type_: Some("container_engine_t".to_owned()),
        ..SELinuxOptions::default()
    });
    for container in &mut spec.containers {
        container.security_context.get_or_insert_default().proc_mount = None;
    }
    expect_accepted(&cx, "answer to a masked /proc in level baseline", &pod).await?;
    unmask(&mut pod);
    let name = "answer to a nested pod in level baseline";
    expect_relaxed(&cx, name, &pod, &PROC_MOUNT, is_relaxed(cx.facts())).await
}

// Kubernetes refuses it from 1.34 on (kubernetes #132868); before, it means nothing.
inventory::submit!(Case {
    id: "ADM-03",
    suite: "admission",
    name: "refuses_block_devices_with_user_namespace",
    title: "A raw block volume is refused with `hostUsers: false`",
    why: "The kernel cannot map the ids on a raw block device, so a pod with one sees the node's \
          ids on it. Kubernetes refuses such pods from 1.34 on.",
    fix: "Update the API server to 1.34 or newer. Before, don't give volumes with mode Block to \
          workspaces.",
    level: Level::Extended,
    requires: WITH_BLOCK_DEVICE_CHECK,
    kind: CaseKind::Live(|cx| Box::pin(refuses_block_devices_with_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn refuses_block_devices_with_user_namespace(cx: Context) -> CaseResult {
    let mut pod = cx.manifest(&NESTED_POD)?;
    let spec = pod.spec.get_or_insert_default();
    spec.volumes.get_or_insert_default().push(Volume {
        name: "disk".to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: "disk".to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    });
    for container in &mut spec.containers {
        container
            .volume_devices
            .get_or_insert_default()
            .push(VolumeDevice { name: "disk".to_owned(), device_path: "/dev/disk".to_owned() });
    }
    let words = ["volumeDevices", "ostUsers"];
    expect_refusal_by_server(&cx, "answer to volumeDevices", &pod, 422, &words).await
}

inventory::submit!(Case {
    id: "ADM-06",
    suite: "admission",
    name: "keeps_isolation_of_running_pods",
    title: "`hostUsers` and `procMount` of an existing pod cannot be changed",
    why: "If users could change a pod after admission, the API server would admit it with \
          isolation and run it without.",
    fix: "This is a bug of the API server, or of an aggregated API server in its place: report \
          it.",
    requires: NESTED,
    pods: &[&NESTED_POD, &HOST_USERS],
    kind: CaseKind::Live(|cx| Box::pin(keeps_isolation_of_running_pods(cx))),
    ..Case::DEFAULT
});

async fn keeps_isolation_of_running_pods(cx: Context) -> CaseResult {
    let (nested, control) = futures::try_join!(cx.pod(&NESTED_POD), cx.pod(&HOST_USERS))?;
    let mut pod = nested.object().clone();
    for container in &mut pod.spec.get_or_insert_default().containers {
        container.security_context.get_or_insert_default().proc_mount = Some("Default".to_owned());
    }
    let words = ["pod updates may not change fields other than"];
    let answer = cx.admission().dry_run_replace(&pod).await?;
    evaluate_refusal(&cx, "answer to another procMount", answer, 422, &words)?;
    // The control's SCC says nothing of user namespaces, so that the API server decides.
    let mut pod = control.object().clone();
    pod.spec.get_or_insert_default().host_users = Some(false);
    let answer = cx.admission().dry_run_replace(&pod).await?;
    evaluate_refusal(&cx, "answer to another hostUsers", answer, 422, &words)
}

#[cfg(test)]
mod tests {
    use harness::facts::Fact;

    use super::*;
    use crate::suite::static_checks::tests::kubernetes;

    #[test]
    fn the_nodes_network_is_not_looked_at_only_where_its_gate_is_on() {
        let with = |server_host_network_gate| {
            let facts = Facts { server_host_network_gate, ..kubernetes() };
            host_namespaces_to_refuse(&facts).contains(&"hostNetwork")
        };
        assert!(!with(Fact::known(true, "metrics")));
        assert!(with(Fact::known(false, "metrics")));
        assert!(with(Fact::unknown("403")));
    }
}
