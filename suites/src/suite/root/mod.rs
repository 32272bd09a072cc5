//! ROOT: root inside a container has no power over the node.

mod attacks;
mod escape_attempts;

use std::time::Duration;

use escape_attempts::{EVERYWHERE, refuses};
use harness::{
    engine::{Case, CaseKind, Context, Inside, parse_probe},
    verdict::CaseResult,
    workload::{
        Command,
        truth::{FIRST_POD_ID, show_map},
    },
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use probe::{AttemptName, Mount};

use super::NESTED;
use crate::{
    fixtures::{NESTED_POD, PRIVILEGED},
    steps::{compose, known, podman_run, scratch_image},
};

inventory::submit!(Case {
    id: "ROOT-01",
    suite: "root",
    name: "is_nobody_on_the_node",
    title: "On the node, a container's root and its other users have ids above the node's own",
    why: "Podman's map and the pod's map apply one after the other. Through both, root in a \
          container must become an id on the node that belongs to nobody. The case does not test \
          the pod's own user 0, because no process of a workspace has that id; ID-01 shows the \
          range that it would be in.",
    fix: "See ID-01. If the result is below 65536, the pod has ids of the node itself.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(is_nobody_on_the_node(cx))),
    ..Case::DEFAULT
});

async fn is_nobody_on_the_node(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let run = podman_run(&[], &image, &["/probe", "facts"]);
    let inner: probe::Facts = parse_probe(&workspace.run(&run).await?.exits(0)?)?;
    cx.check_equal("user inside", "0", &inner.effective_uid.to_string())?;
    let outer = workspace.facts();
    for (name, inner, outer) in [
        ("user ids on the node", &inner.uid_map, &outer.uid_map),
        ("group ids on the node", &inner.gid_map, &outer.gid_map),
    ] {
        let composed = compose(known(inner)?, known(outer)?);
        cx.check(
            name,
            "all at or above 65536",
            composed.as_deref().map_or("not covered by the pod's map".to_owned(), show_map),
            composed.is_some_and(|map| {
                !map.is_empty() && map.iter().all(|range| range.outside >= FIRST_POD_ID)
            }),
        )?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ROOT-02",
    suite: "root",
    name: "makes_no_device_nodes",
    title: "Nobody can create device nodes, neither in the pod nor as root in a container with all \
        capabilities",
    why: "A device node gives access to a driver of the node: a disk, or memory. The kernel lets \
          only root of the first user namespace create one.",
    fix: "If an attack created a device node, the pod has no user namespace of its own, or it has \
          MKNOD there: see ID-01 and ISO-09.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(makes_no_device_nodes(cx))),
    ..Case::DEFAULT
});

async fn makes_no_device_nodes(cx: Context) -> CaseResult {
    let attempts = [AttemptName::MknodCharacter, AttemptName::MknodBlock];
    refuses(&cx, EVERYWHERE, &attempts).await
}

inventory::submit!(Case {
    id: "ROOT-03",
    suite: "root",
    name: "writes_no_kernel_settings",
    title: "The kernel's settings cannot be written, although /proc is not masked",
    why: "A nested pod does not mask /proc, so processes see the files that control the kernel. \
          The node's root owns these files, and the pod does not have that id. /sys is \
          read-only.",
    fix: "If a file was writable, the pod runs with the node's ids: see ID-01. Until you fix \
          that, don't offer `procMount: Unmasked`.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(writes_no_kernel_settings(cx))),
    ..Case::DEFAULT
});

async fn writes_no_kernel_settings(cx: Context) -> CaseResult {
    let attempts = [
        AttemptName::WriteCorePattern,
        AttemptName::WriteModprobePath,
        AttemptName::WriteSysrqTrigger,
        AttemptName::WriteKernelSysfs,
    ];
    refuses(&cx, EVERYWHERE, &attempts).await
}

/// Sockets that give power over the node.
const SOCKETS: &str = "/run/containerd/containerd.sock /run/crio/crio.sock /var/run/crio/crio.sock \
                       /run/docker.sock /var/run/docker.sock /var/lib/kubelet /host /rootfs";

inventory::submit!(Case {
    id: "ROOT-06",
    suite: "root",
    name: "sees_no_files_of_the_node",
    title: "The pod sees neither the node's file system nor a socket of its runtime or kubelet",
    why: "A path of the node, or the socket of its container runtime, bypasses every other \
          protection. Files that the runtime creates for a container belong to the pod: its \
          /etc/hosts, or CRI-O's /etc/passwd for a user that the image does not define.",
    fix: "Find out who adds the mount: a webhook, a runtime hook, or the default mounts of the \
          container runtime (`default_mounts_file`).",
    requires: NESTED,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(sees_no_files_of_the_node(cx))),
    ..Case::DEFAULT
});

async fn sees_no_files_of_the_node(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let mounts = known(&workspace.facts().mounts)?;
    let foreign: Vec<_> = mounts
        .iter()
        .filter(|mount| !belongs_to_pod(mount, workspace.object()))
        .map(|mount| format!("{} {} on {}", mount.fs_type, mount.root, mount.mount_point))
        .collect();
    cx.check_equal("mounts from outside the pod", "", &foreign.join("; "))?;
    let script = format!("for path in {SOCKETS}; do if [ -e $path ]; then echo $path; fi; done");
    let seen =
        workspace.output(&Command::shell("list paths of the node", &script, [""; 0])).await?;
    cx.check_equal("paths of the node", "", &seen)?;
    let root = known(&workspace.facts().process_1_root)?;
    cx.check(
        "root directory of process 1",
        "the pod's, with `nestcheck`",
        root.join(" "),
        root.iter().any(|name| name == "nestcheck"),
    )
}

/// Whether a mount is the pod's own: a virtual file system where every pod has one, the image, a
/// volume of this very pod, a device that every pod gets or that was asked for, or a file that the
/// runtime makes for every pod. A virtual file system elsewhere may be the node's /run or /dev.
fn belongs_to_pod(mount: &Mount, pod: &Pod) -> bool {
    const RUNTIME_FILES: [&str; 5] =
        ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets"];
    let uid = pod.uid().unwrap_or_default();
    let is = |types: &[&str]| types.contains(&mount.fs_type.as_str());
    let below = |path: &str| mount.is_at_or_below(path);
    let of_a_volume = !uid.is_empty() && mount.root.contains(&format!("/pods/{uid}/"));
    let of_the_image = is(&["overlay"]) && mount.mount_point == "/";
    let of_the_kernel = (below("/proc") && is(&["proc", "tmpfs"]))
        || (below("/sys") && is(&["sysfs", "cgroup", "cgroup2", "tmpfs"]))
        || (below("/dev") && is(&["devpts", "mqueue"]));
    let of_memory =
        is(&["tmpfs"]) && mount.root == "/" && ["/dev", "/dev/shm"].contains(&&*mount.mount_point);
    of_a_volume
        || of_the_image
        || of_the_kernel
        || of_memory
        || is_ordinary_device(mount)
        || RUNTIME_FILES.contains(&mount.mount_point.as_str())
        || is_generated(mount)
}

/// Whether a mount is the /etc/passwd or /etc/group that CRI-O writes for a container whose user or
/// group the image does not know (cri-o, `server/container_create.go`, `setupContainerUser`), in
/// that container's own directory, and not the node's file.
fn is_generated(mount: &Mount) -> bool {
    let Some(name) = mount.mount_point.strip_prefix("/etc/") else { return false };
    let of_container = mount.root.contains("-containers/");
    ["passwd", "group"].contains(&name)
        && of_container
        && mount.root.ends_with(&format!("/userdata/{name}"))
}

/// Whether a mount is a device node, and one that every pod gets (OCI runtime specification,
/// "Default Devices") or that a workspace asks for: bound from the same place of the node, or, by
/// crun in a user namespace, from a node that crun makes in a tmpfs and numbers. That it is the
/// right device is ISO-04's to show.
fn is_ordinary_device(mount: &Mount) -> bool {
    const DEVICES: [&str; 8] =
        ["/null", "/zero", "/full", "/random", "/urandom", "/tty", "/fuse", "/net/tun"];
    let Some(device) = mount.mount_point.strip_prefix("/dev") else { return false };
    let number = mount.root.strip_prefix('/').unwrap_or_default();
    let is_numbered = mount.fs_type == "tmpfs" && number.parse::<u32>().is_ok();
    DEVICES.contains(&device) && (mount.root == device || is_numbered)
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    fn mount(fs_type: &str, root: &str, mount_point: &str) -> Mount {
        Mount {
            mount_point: mount_point.into(),
            root: root.into(),
            fs_type: fs_type.into(),
            source: "x".into(),
            options: vec!["rw".into()],
            super_options: vec!["rw".into()],
        }
    }

    #[test]
    fn a_host_path_is_reported_from_the_pods_own_volumes() {
        let metadata = ObjectMeta { uid: Some("u-1".into()), ..ObjectMeta::default() };
        let pod = Pod { metadata, ..Pod::default() };
        let volume = mount("ext4", "/lib/kubelet/pods/u-1/volumes/empty/tmp", "/tmp");
        assert!(belongs_to_pod(&volume, &pod));
        let of_another = mount("ext4", "/lib/kubelet/pods/u-2/volumes/empty/tmp", "/tmp");
        assert!(!belongs_to_pod(&of_another, &pod));
        assert!(!belongs_to_pod(&mount("ext4", "/etc", "/host/etc"), &pod));
        assert!(!belongs_to_pod(&mount("overlay", "/", "/host"), &pod));
        assert!(belongs_to_pod(&mount("overlay", "/", "/"), &pod));
        assert!(!belongs_to_pod(&volume, &Pod::default()), "a pod without an id");
        assert!(!belongs_to_pod(&mount("tmpfs", "/", "/mnt"), &pod), "the node's /run");
        assert!(!belongs_to_pod(&mount("devtmpfs", "/", "/dev"), &pod), "the node's /dev");
        assert!(!belongs_to_pod(&mount("devtmpfs", "/sda", "/dev/sda"), &pod), "a disk");
        assert!(!belongs_to_pod(&mount("proc", "/", "/host/proc"), &pod), "the node's /proc");
        assert!(belongs_to_pod(&mount("devtmpfs", "/net/tun", "/dev/net/tun"), &pod));
        assert!(belongs_to_pod(&mount("tmpfs", "/", "/dev"), &pod));
        assert!(belongs_to_pod(&mount("tmpfs", "/0", "/dev/fuse"), &pod), "made by crun");
        let generated = "/containers/storage/overlay-containers/0a1b/userdata/passwd";
        assert!(belongs_to_pod(&mount("tmpfs", generated, "/etc/passwd"), &pod), "by CRI-O");
        assert!(!belongs_to_pod(&mount("tmpfs", generated, "/etc/group"), &pod), "another file");
        assert!(!belongs_to_pod(&mount("ext4", "/etc/passwd", "/etc/passwd"), &pod), "the node's");
        assert!(!belongs_to_pod(&mount("tmpfs", "/0", "/mnt"), &pod));
        assert!(!belongs_to_pod(&mount("tmpfs", "/run", "/dev/fuse"), &pod));
    }
}
