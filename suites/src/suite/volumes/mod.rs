//! VOL: volumes of a pod whose ids are mapped. The kernel maps those of each mount too (KEP-127,
//! "idmap mounts"), so inside the owners are what they would be without a user namespace; where it
//! does not, everything belongs to 65534.

mod earlier;
mod escalation;
mod pvcs;

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, PodHandle, parse_probe},
    verdict::{CaseResult, Failure},
    workload::Command,
};
use probe::Mount;

use super::NESTED;
use crate::{
    fixtures::VOLUMES,
    steps::{build, known, podman_run},
};

/// The user that pods run as, and the `fsGroup` that they ask for.
const OWNERS: &str = "1000:2000";

/// Root, as the kubelet writes files, and the same group.
const OF_ROOT: &str = "0:2000";

inventory::submit!(Case {
    id: "VOL-01",
    suite: "volumes",
    name: "keeps_files_in_an_empty_folder",
    title: "An emptyDir belongs to the pod's fsGroup, and the user owns what it writes there",
    why: "A workspace keeps its projects in an emptyDir, and podman its images. The node's root \
          creates the emptyDir and gives it to the pod's `fsGroup`. Without id mapping, \
          everything in it belongs to 65534, and nobody can write.",
    fix: "Check that the node's file system below /var/lib/kubelet is ext4, xfs or btrfs, and \
          that the runtime maps the ids of mounts (containerd 2.0, CRI-O 1.25 or newer, with \
          crun 1.9 or runc 1.2 or newer).",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(keeps_files_in_an_empty_directory(cx))),
    ..Case::DEFAULT
});

async fn keeps_files_in_an_empty_directory(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    let mount = mount_at(&pod, "/volumes/disk")?;
    let file_system = mount.fs_type.clone();
    cx.check("file system", "not one in memory", &file_system, file_system != "tmpfs")?;
    takes_files(&cx, &pod, "/volumes/disk").await
}

inventory::submit!(Case {
    id: "VOL-02",
    suite: "volumes",
    name: "keeps_files_in_memory",
    title: "An emptyDir in memory belongs to the pod's fsGroup, and the user owns what it writes \
         there",
    why: "An emptyDir in memory is a tmpfs. The kernel maps the ids of a tmpfs only since Linux \
          6.3. ConfigMaps and Secrets use such file systems too.",
    fix: "Use Linux 6.3 or newer on the node, or a kernel with that change, such as that of RHEL \
          9.4 and newer.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(keeps_files_in_memory(cx))),
    ..Case::DEFAULT
});

async fn keeps_files_in_memory(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    let mount = mount_at(&pod, "/volumes/memory")?;
    cx.check_equal("file system", "tmpfs", &mount.fs_type)?;
    takes_files(&cx, &pod, "/volumes/memory").await
}

/// Expects that a directory belongs to root and the pod's group, and what is written to it to the user
/// and that group.
async fn takes_files(cx: &Context, pod: &PodHandle, directory: &str) -> CaseResult {
    let owner = stat(pod, directory).await?;
    cx.check_equal("owner and group of the directory", OF_ROOT, &owner)?;
    let file = format!("{directory}/written");
    let script = "echo kept > \"$1\" && cat \"$1\"";
    let write = Command::shell(format!("write {file}"), script, [&file]);
    cx.check_equal("content of a file", "kept", &pod.output(&write).await?)?;
    cx.check_equal("owner and group of the file", OWNERS, &stat(pod, &file).await?)
}

/// The user and group that a file belongs to, seen from inside; a link's target, as the files that
/// the kubelet writes are links.
async fn stat(pod: &PodHandle, path: &str) -> Result<String, Failure> {
    pod.output(&Command::new(["stat", "-L", "-c", "%u:%g", path])).await
}

fn mount_at<'a>(pod: &'a PodHandle, path: &str) -> Result<&'a Mount, Failure> {
    let mounts = known(&pod.facts().mounts)?;
    mounts
        .iter()
        .find(|mount| mount.mount_point == path)
        .ok_or_else(|| Failure::product(format!("nothing is mounted at {path}")))
}

/// What the volume's files must be: what every pod can read below /nestcheck, and what the manifest
/// has in its Secret.
const GREETING: &str = include_str!("../../../../fixtures/images/layers/greeting");
const WORD: &str = "for the group alone";

inventory::submit!(Case {
    id: "VOL-03A",
    suite: "volumes",
    name: "reads_a_config_map",
    title: "The files of a ConfigMap belong to root and the pod's fsGroup, and the user can read \
         them",
    why: "Workspaces receive settings in ConfigMaps. The node's root owns their files, and the \
          user reads them through the pod's `fsGroup`.",
    fix: "If the owner is 65534, the mount's ids are not mapped: see VOL-02. If only the group is \
          wrong, check whether something removes `fsGroup` from pods.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(reads_a_config_map(cx))),
    ..Case::DEFAULT
});

async fn reads_a_config_map(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    reads(&cx, &pod, "/volumes/config/greeting", GREETING.trim_end()).await
}

inventory::submit!(Case {
    id: "VOL-03B",
    suite: "volumes",
    name: "reads_a_secret",
    title: "The files of a Secret belong to root and the pod's fsGroup, and the user can read them",
    why: "Workspaces receive credentials in Secrets, whose modes let only owner and group read \
          them. A wrong group locks the user out. A mode for everybody reveals the secret.",
    fix: "If the owner is 65534, the mount's ids are not mapped: see VOL-02. If only the group is \
          wrong, check whether something removes `fsGroup` from pods.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(reads_a_secret(cx))),
    ..Case::DEFAULT
});

async fn reads_a_secret(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    reads(&cx, &pod, "/volumes/secret/word", WORD).await
}

inventory::submit!(Case {
    id: "VOL-03C",
    suite: "volumes",
    name: "reads_what_the_pod_is_told_of_itself",
    title: "The files of the downward API belong to root and the pod's fsGroup, and the user can \
        read them",
    why: "The downward API gives a pod its own metadata, such as its labels, as files. The \
          kubelet rewrites them after a change, with the same owner and group each time.",
    fix: "If the owner is 65534, the mount's ids are not mapped: see VOL-02. If only the group is \
          wrong, check whether something removes `fsGroup` from pods.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(reads_what_the_pod_is_reported_of_itself(cx))),
    ..Case::DEFAULT
});

async fn reads_what_the_pod_is_reported_of_itself(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    reads(&cx, &pod, "/volumes/downward/run", cx.sandbox().run()).await
}

inventory::submit!(Case {
    id: "VOL-03D",
    suite: "volumes",
    name: "reads_what_is_projected_together",
    title: "The user can read the files of a projected volume, including a service account's token",
    why: "A projected volume combines several sources in one directory, including a token of the \
          service account. The kubelet restricts a token more than other files, and the user \
          must still be able to read it.",
    fix: "If the owner is 65534, the mount's ids are not mapped: see VOL-02. If only the token is \
          unreadable, check the kubelet's version: before Kubernetes 1.30 the token's owner \
          depended on its user namespace support.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(reads_what_is_projected_together(cx))),
    ..Case::DEFAULT
});

async fn reads_what_is_projected_together(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    reads(&cx, &pod, "/volumes/projected/greeting", GREETING.trim_end()).await?;
    reads(&cx, &pod, "/volumes/projected/word", WORD).await?;
    reads(&cx, &pod, "/volumes/projected/run", cx.sandbox().run()).await?;
    // Its content is nobody's business. The kubelet may give the token to the user itself
    // (kubernetes, `pkg/volume/util`, `FsUserFrom`).
    let token = "/volumes/projected/token";
    let owner = stat(&pod, token).await?;
    cx.check("owner and group of the token", "0:2000, or 1000:2000", &owner, {
        [OF_ROOT, OWNERS].contains(&owner.as_str())
    })?;
    let length = Command::shell("read the token", "wc -c < \"$1\"", [token]);
    let length = pod.output(&length).await?;
    let holds = length.parse::<u32>().is_ok_and(|bytes| bytes > 0);
    cx.check("bytes of the token that the user can read", "some", length, holds)
}

/// Expects that a file belongs to root and the pod's group, and that the user reads this in it.
async fn reads(cx: &Context, pod: &PodHandle, path: &str, content: &str) -> CaseResult {
    let name = path.rsplit('/').next().unwrap_or(path);
    cx.check_equal(&format!("owner and group of `{name}`"), OF_ROOT, &stat(pod, path).await?)?;
    let read = pod.run(&Command::new(["cat", path])).await?;
    let observed = match read.exit_code {
        0 => read.text(),
        _ => String::from_utf8_lossy(&read.stderr).trim_end().to_owned(),
    };
    cx.check_equal(&format!("content of `{name}`"), content, &observed)
}

inventory::submit!(Case {
    id: "VOL-07A",
    suite: "volumes",
    name: "mounts_a_part_of_a_volume",
    title: "A subPath mount shows that part of the volume, and the user owns new files there",
    why: "For a subPath, the kubelet prepares a path inside the volume and the runtime mounts it, \
          with a second id mapping.",
    fix: "Read the kubelet's log for `subPath`. If the owner is 65534, the mount's ids are not \
          mapped: see VOL-01.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(mounts_a_part_of_a_volume(cx))),
    ..Case::DEFAULT
});

async fn mounts_a_part_of_a_volume(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    let script = "
        echo part > /volumes/part/file
        cat /volumes/disk/part/file 2>/dev/null || echo 'no such file'
    ";
    let write = Command::shell("write to the part and read in the whole", script, [""; 0]);
    let seen = pod.output(&write).await?;
    cx.check_equal("file of the part, seen in the whole volume", "part", &seen)?;
    let owner = stat(&pod, "/volumes/part/file").await?;
    cx.check_equal("owner and group of the file", OWNERS, &owner)
}

inventory::submit!(Case {
    id: "VOL-07B",
    suite: "volumes",
    name: "keeps_a_read_only_mount_read_only",
    title: "A read-only mount of a volume stays read-only, even if the user may write to another \
        mount of it",
    why: "A read-only volume must stay read-only when the kernel maps its ids. That takes another \
          system call (mount_setattr(2)) than an ordinary read-only mount.",
    fix: "A writable mount is a bug of the container runtime: upgrade it, and don't rely on \
          read-only mounts until then.",
    requires: NESTED,
    pods: &[&VOLUMES],
    kind: CaseKind::Live(|cx| Box::pin(keeps_a_read_only_mount_read_only(cx))),
    ..Case::DEFAULT
});

async fn keeps_a_read_only_mount_read_only(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    let script = "
        echo here > /volumes/disk/there
        cat /volumes/read-only/there
        if echo more > /volumes/read-only/there; then echo written; fi 2>&1
    ";
    let write = Command::shell("write to the read-only mount", script, [""; 0]);
    let seen = pod.output(&write).await?;
    let (read, written) = seen.split_once('\n').unwrap_or((&seen, ""));
    cx.check_equal("file of the volume, read there", "here", read)?;
    let holds = written.contains("Read-only file system");
    cx.check("write to the file there", "Read-only file system", written, holds)?;
    let options = mount_at(&pod, "/volumes/read-only")?.options.join(",");
    let holds = options.split(',').any(|option| option == "ro");
    cx.check("options of the mount", "ro", options, holds)
}

inventory::submit!(Case {
    id: "VOL-08A",
    suite: "volumes",
    name: "runs_an_image_with_volumes",
    title: "A container starts with the volumes that its image declares",
    why: "Many images declare volumes, some of them at /run. podman creates an anonymous volume \
          for each, with the image's own files and owners, and mounts it when a container \
          starts. The case tests podman's containers. It does not test a pod whose own image \
          declares `/run`, which some versions of containerd could not start in a user namespace \
          (F20): that needs a special image on the node.",
    fix: "Read the output of `podman run`. If podman cannot create the mount point, use a newer \
          crun in the image. If your own workspace image declares `/run` and fails to start with \
          `mkdirat … permission denied`, remove the `VOLUME` from it, or use a newer containerd \
          on the node.",
    requires: NESTED,
    pods: &[&VOLUMES],
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(runs_an_image_with_volumes(cx))),
    ..Case::DEFAULT
});

async fn runs_an_image_with_volumes(cx: Context) -> CaseResult {
    let pod = cx.pod(&VOLUMES).await?;
    let image = build(&pod, "volume", "volume").await?;
    let run = pod.run(&podman_run(&[], &image, &["/probe", "facts"])).await?;
    let facts: probe::Facts = parse_probe(&run.exits(0)?)?;
    let mounts = known(&facts.mounts)?;
    for path in ["/run", "/srv/data"] {
        let mount = mounts.iter().find(|mount| mount.mount_point == path);
        let observed = mount.map_or("nothing".to_owned(), |mount| mount.options.join(","));
        let holds = mount.is_some_and(|mount| !mount.is_read_only());
        cx.check(&format!("mounted at {path}"), "a volume that can be written", observed, holds)?;
    }
    Ok(())
}
