//! What the run's SCC must refuse, one field at a time: the pod is the workspace but for that field.

use harness::{
    engine::{Case, CaseKind, Context},
    verdict::CaseResult,
};
use k8s_openapi::{
    api::core::v1::{
        CSIVolumeSource, Capabilities, ContainerPort, EphemeralVolumeSource, HostPathVolumeSource,
        NFSVolumeSource, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, Pod, PodSpec,
        SELinuxOptions, SeccompProfile, SecurityContext, Volume, VolumeResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{WITH_OWN_SCC, container, decided_by, scc, workspace};
use crate::{steps::expect_refusal, suite::WITH_SCCS};

/// A field of the SCC, and what it must be for the pod to be refused.
#[derive(Clone, Copy)]
struct Decisive(&'static str, &'static str);

impl Decisive {
    /// Changes the workspace pod and expects that it is refused in these words.
    async fn refuses(
        self,
        cx: &Context,
        what: &str,
        words: &[&str],
        change: impl FnOnce(&mut Pod),
    ) -> CaseResult {
        let Self(field, must_be) = self;
        scc(cx)?;
        let mut pod = workspace(cx)?;
        change(&mut pod);
        let words: Vec<_> = ["unable to validate against any security context constraint"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        let answer = expect_refusal(cx, &format!("answer to {what}"), &pod, 403, &words).await;
        decided_by(field, must_be, answer)
    }
}

fn spec(pod: &mut Pod) -> &mut PodSpec {
    pod.spec.get_or_insert_default()
}

fn context(pod: &mut Pod) -> &mut SecurityContext {
    container(pod).security_context.get_or_insert_default()
}

const USER_NAMESPACE: Decisive = Decisive("userNamespaceLevel", "`RequirePodLevel`");

const NO_USER_NAMESPACE: [&str; 1] = ["Host Users must be set to false"];

inventory::submit!(Case {
    id: "SCC-05",
    suite: "scc",
    name: "refuses_pod_that_is_silent_on_user_namespace",
    title: "A pod without `hostUsers` is refused",
    why: "Users easily forget the field. An SCC for nested containers must refuse a pod that does \
          not request a user namespace. Otherwise the pod gets the capabilities on the node \
          itself.",
    fix: "Set `userNamespaceLevel: RequirePodLevel` in the SCC. If you set it and the API server \
          dropped it, see PRE-07.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_pod_that_is_silent_on_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn refuses_pod_that_is_silent_on_user_namespace(cx: Context) -> CaseResult {
    USER_NAMESPACE
        .refuses(&cx, "no hostUsers", &NO_USER_NAMESPACE, |pod| {
            spec(pod).host_users = None;
            // Otherwise the API server itself would refuse the pod.
            context(pod).proc_mount = None;
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-06",
    suite: "scc",
    name: "refuses_pod_in_host_user_namespace",
    title: "A pod with `hostUsers: true` is refused",
    why: "The SCC must also refuse a pod that explicitly requests the node's user namespace.",
    fix: "Set `userNamespaceLevel: RequirePodLevel` in the SCC. If you set it and the API server \
          dropped it, see PRE-07.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_pod_in_host_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn refuses_pod_in_host_user_namespace(cx: Context) -> CaseResult {
    USER_NAMESPACE
        .refuses(&cx, "hostUsers true", &NO_USER_NAMESPACE, |pod| {
            spec(pod).host_users = Some(true);
            context(pod).proc_mount = None;
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-07",
    suite: "scc",
    name: "refuses_other_users",
    title: "A pod that runs as root or as another user is refused",
    why: "The image's /etc/subuid works for one predictable user. Root in the pod would own the \
          pod's files, and other users would have no subordinate ids.",
    fix: "Set `runAsUser: {type: MustRunAs, uid: 1000}` in the SCC.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_other_users(cx))),
    ..Case::DEFAULT
});

async fn refuses_other_users(cx: Context) -> CaseResult {
    let decisive = Decisive("runAsUser", "`MustRunAs` with uid 1000");
    for user in [0, 1001] {
        let what = format!("runAsUser {user}");
        decisive
            .refuses(&cx, &what, &["runAsUser", "must be: 1000"], |pod| {
                let context = context(pod);
                context.run_as_user = Some(user);
                context.run_as_non_root = None;
            })
            .await?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "SCC-08",
    suite: "scc",
    name: "refuses_other_capabilities",
    title: "A pod that adds SYS_ADMIN, NET_ADMIN or MKNOD is refused",
    why: "Rootless podman needs SETUID and SETGID only. Every other capability weakens the \
          isolation of the user namespace.",
    fix: "Leave only SETUID and SETGID (and CHOWN, with Dev Spaces) in `allowedCapabilities`.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_other_capabilities(cx))),
    ..Case::DEFAULT
});

async fn refuses_other_capabilities(cx: Context) -> CaseResult {
    let decisive = Decisive("allowedCapabilities", "SETUID and SETGID, no more and no less");
    for capability in ["SYS_ADMIN", "NET_ADMIN", "MKNOD"] {
        let what = format!("capability {capability}");
        decisive
            .refuses(&cx, &what, &[capability, "capability may not be added"], |pod| {
                let capabilities =
                    context(pod).capabilities.get_or_insert_with(Capabilities::default);
                capabilities.add.get_or_insert_default().push(capability.to_owned());
            })
            .await?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "SCC-09",
    suite: "scc",
    name: "refuses_privileged_container",
    title: "A privileged container is refused",
    why: "A privileged container has all devices and no security profile. Nested containers never \
          need it.",
    fix: "Set `allowPrivilegedContainer: false` in the SCC.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_privileged_container(cx))),
    ..Case::DEFAULT
});

async fn refuses_privileged_container(cx: Context) -> CaseResult {
    let words = ["Privileged containers are not allowed"];
    Decisive("allowPrivilegedContainer", "false")
        .refuses(&cx, "a privileged container", &words, |pod| {
            context(pod).privileged = Some(true);
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-10",
    suite: "scc",
    name: "refuses_host_paths",
    title: "A pod with a hostPath volume is refused",
    why: "A hostPath volume in a workspace gives the node's files to a developer.",
    fix: "Set `allowHostDirVolumePlugin: false` and remove `hostPath` from `volumes`.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_host_paths(cx))),
    ..Case::DEFAULT
});

async fn refuses_host_paths(cx: Context) -> CaseResult {
    let words = ["hostPath volumes are not allowed to be used"];
    Decisive("allowHostDirVolumePlugin", "false, and `volumes` without `hostPath`")
        .refuses(&cx, "a hostPath volume", &words, |pod| {
            let source = HostPathVolumeSource { path: "/etc".to_owned(), type_: None };
            add_volume(pod, Volume { host_path: Some(source), ..Volume::default() });
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-11",
    suite: "scc",
    name: "refuses_host_namespaces_and_ports",
    title: "A pod with the node's network, PID or IPC namespace, or with a host port, is refused",
    why: "In the node's network, a workspace reaches services that listen on localhost there. In \
          the node's PID namespace, it sees the arguments of all programs. On a port of the \
          node, it can replace a service.",
    fix: "Set `allowHostNetwork`, `allowHostPID`, `allowHostIPC` and `allowHostPorts` to false.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_host_namespaces_and_ports(cx))),
    ..Case::DEFAULT
});

async fn refuses_host_namespaces_and_ports(cx: Context) -> CaseResult {
    let words = ["Host network is not allowed to be used"];
    Decisive("allowHostNetwork", "false")
        .refuses(&cx, "hostNetwork", &words, |pod| spec(pod).host_network = Some(true))
        .await?;
    let words = ["Host PID is not allowed to be used"];
    Decisive("allowHostPID", "false")
        .refuses(&cx, "hostPID", &words, |pod| spec(pod).host_pid = Some(true))
        .await?;
    let words = ["Host IPC is not allowed to be used"];
    Decisive("allowHostIPC", "false")
        .refuses(&cx, "hostIPC", &words, |pod| spec(pod).host_ipc = Some(true))
        .await?;
    let words = ["Host ports are not allowed to be used"];
    Decisive("allowHostPorts", "false")
        .refuses(&cx, "a hostPort", &words, |pod| {
            container(pod).ports.get_or_insert_default().push(ContainerPort {
                container_port: 8080,
                host_port: Some(8080),
                ..ContainerPort::default()
            });
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-12",
    suite: "scc",
    name: "refuses_root_group",
    title: "A pod with group 0 as fsGroup or supplemental group is refused",
    why: "Files of group 0 are common on volumes and in images. A workspace with that group can \
          read files of others.",
    fix: "Set `fsGroup` and `supplementalGroups` to `MustRunAs` with the range 1000–65534.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_root_group(cx))),
    ..Case::DEFAULT
});

async fn refuses_root_group(cx: Context) -> CaseResult {
    const RANGE: &str = "`MustRunAs` with the range 1000-65534";
    let words = ["fsGroup", "0 is not an allowed group"];
    Decisive("fsGroup", RANGE)
        .refuses(&cx, "fsGroup 0", &words, |pod| {
            spec(pod).security_context.get_or_insert_default().fs_group = Some(0);
        })
        .await?;
    let words = ["supplementalGroups", "0 is not an allowed group"];
    Decisive("supplementalGroups", RANGE)
        .refuses(&cx, "supplemental group 0", &words, |pod| {
            spec(pod).security_context.get_or_insert_default().supplemental_groups = Some(vec![0]);
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-13",
    suite: "scc",
    name: "refuses_other_selinux_types",
    title: "A pod with another SELinux type is refused",
    why: "The type `container_engine_t` may only mount file systems in its own namespaces. \
          SELinux does not confine `spc_t` at all.",
    fix: "Set `seLinuxContext: {type: MustRunAs, seLinuxOptions: {type: container_engine_t}}`.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_other_selinux_types(cx))),
    ..Case::DEFAULT
});

async fn refuses_other_selinux_types(cx: Context) -> CaseResult {
    let decisive = Decisive("seLinuxContext", "`MustRunAs` with type `container_engine_t`");
    for name in ["spc_t", "container_t"] {
        let words = ["seLinuxOptions.type", "must be container_engine_t"];
        let what = format!("SELinux type {name}");
        decisive
            .refuses(&cx, &what, &words, |pod| {
                let options =
                    SELinuxOptions { type_: Some(name.to_owned()), ..SELinuxOptions::default() };
                context(pod).se_linux_options = Some(options);
            })
            .await?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "SCC-14",
    suite: "scc",
    name: "refuses_explicit_seccomp_profile",
    title: "A pod that chooses its seccomp profile is refused",
    why: "The administrator chooses the runtime's default profile. An SCC without a list of \
          profiles leaves no choice to users, who would otherwise choose none.",
    fix: "Leave `seccompProfiles` empty in the SCC, and don't set a profile in the workspace's \
          pod.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_explicit_seccomp_profile(cx))),
    ..Case::DEFAULT
});

async fn refuses_explicit_seccomp_profile(cx: Context) -> CaseResult {
    Decisive("seccompProfiles", "absent")
        .refuses(&cx, "seccomp profile Unconfined", &["seccomp"], |pod| {
            let profile =
                SeccompProfile { type_: "Unconfined".to_owned(), localhost_profile: None };
            context(pod).seccomp_profile = Some(profile);
        })
        .await
}

inventory::submit!(Case {
    id: "SCC-15",
    suite: "scc",
    name: "refuses_other_volume_types",
    title: "A pod with a volume of another type is refused",
    why: "Nobody has checked whether the unlisted types of volumes work with mapped ids.",
    fix: "List in `volumes` only configMap, downwardAPI, emptyDir, persistentVolumeClaim, \
          projected and secret.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_other_volume_types(cx))),
    ..Case::DEFAULT
});

async fn refuses_other_volume_types(cx: Context) -> CaseResult {
    const TYPES: &str =
        "configMap, downwardAPI, emptyDir, persistentVolumeClaim, projected and secret";
    let csi = CSIVolumeSource { driver: "nestcheck.invalid".to_owned(), ..Default::default() };
    let nfs = NFSVolumeSource {
        server: "nestcheck.invalid".to_owned(),
        path: "/".to_owned(),
        ..Default::default()
    };
    let volumes = [
        ("csi", Volume { csi: Some(csi), ..Volume::default() }),
        ("nfs", Volume { nfs: Some(nfs), ..Volume::default() }),
        ("ephemeral", Volume { ephemeral: Some(ephemeral()), ..Volume::default() }),
    ];
    for (name, volume) in volumes {
        let words = format!("{name} volumes are not allowed to be used");
        let what = format!("a volume of type {name}");
        Decisive("volumes", TYPES)
            .refuses(&cx, &what, &[words.as_str()], |pod| add_volume(pod, volume))
            .await?;
    }
    Ok(())
}

/// A claim that is made for the pod alone.
fn ephemeral() -> EphemeralVolumeSource {
    let requests = [("storage".to_owned(), Quantity("1Mi".to_owned()))];
    let pvc = PersistentVolumeClaimTemplate {
        spec: PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests.into()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    EphemeralVolumeSource { volume_claim_template: Some(pvc) }
}

fn add_volume(pod: &mut Pod, volume: Volume) {
    let volume = Volume { name: "forbidden".to_owned(), ..volume };
    spec(pod).volumes.get_or_insert_default().push(volume);
}
