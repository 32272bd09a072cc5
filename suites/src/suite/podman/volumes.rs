//! POD-12: what containers share with the workspace and keep.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure},
    workload::Command,
};
use probe::IdRange;

use super::expect_error;
use crate::{
    fixtures::NESTED_POD,
    steps::{inner_map, known, podman, podman_run, shell_image},
    suite::NESTED,
};

/// The owner outside of a container's user 1234 and group 4321, by the maps that podman must make.
fn owner_outside(workspace: &PodHandle) -> Result<String, Failure> {
    let facts = workspace.facts();
    let user = known(&facts.user_name)?.clone().unwrap_or_default();
    let outside = |map: Vec<IdRange>, id: u32| {
        let found = map.iter().find_map(|range| range.to_outside(id));
        found.map_or_else(|| "unmapped".to_owned(), |id| id.to_string())
    };
    let users = inner_map(known(&facts.subordinate_uids)?, &user, facts.effective_uid);
    let groups = inner_map(known(&facts.subordinate_gids)?, &user, facts.effective_gid);
    Ok(format!("{}:{}", outside(users, 1234), outside(groups, 4321)))
}

inventory::submit!(Case {
    id: "POD-12A",
    suite: "podman",
    name: "keeps_files_in_a_named_volume",
    title: "A named volume keeps files and owners from one container to the next, and can be \
        removed",
    why: "A project's databases keep their data in named volumes. The files must outlive the \
          container, with the owners that the container gave them, and the workspace must be \
          able to delete the volume.",
    fix: "Keep podman's storage on a volume whose file system supports id-mapped mounts and other \
          owners (ext4, xfs, not NFS). /etc/subuid and /etc/subgid must contain one range of the \
          user inside the pod's map.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(keeps_files_in_a_named_volume(cx))),
    ..Case::DEFAULT
});

async fn keeps_files_in_a_named_volume(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let (volume, mount) = ("pod-12a", "--volume=pod-12a:/data");
    workspace.output(&podman(&["volume", "create", "--ignore", volume])).await?;
    let write = "echo kept > /data/file && chown 1234:4321 /data/file";
    workspace.output(&podman_run(&[mount], &image, &["sh", "-c", write])).await?;
    let read = "cat /data/file && stat -c %u:%g /data/file";
    let kept = workspace.output(&podman_run(&[mount], &image, &["sh", "-c", read])).await?;
    cx.check_equal("content and owner in the next container", "kept\n1234:4321", &kept)?;
    let script = "
        directory=$(podman volume inspect --format '{{.Mountpoint}}' \"$1\")
        stat -c %u:%g \"$directory/file\"
    ";
    let outside = Command::shell("look at the volume's file", script, [volume]);
    let owner = workspace.output(&outside).await?;
    cx.check_equal("owner in the workspace", &owner_outside(&workspace)?, &owner)?;
    workspace.output(&podman(&["volume", "rm", volume])).await?;
    let rest = workspace.run(&podman(&["volume", "exists", volume])).await?.exit_code;
    cx.check_equal("exit code of `volume exists` after rm", "1", &rest.to_string())
}

/// Makes an empty directory in the workspace, with one file of the user's, and returns its path.
async fn directory(workspace: &PodHandle, name: &str) -> Result<String, Failure> {
    let script = "
        directory=${TMPDIR:-/tmp}/nestcheck-$1
        podman unshare rm -rf \"$directory\"
        mkdir \"$directory\"
        echo outside > \"$directory/file\"
        echo \"$directory\"
    ";
    workspace.output(&Command::shell("make a directory", script, [name])).await
}

inventory::submit!(Case {
    id: "POD-12B",
    suite: "podman",
    name: "shares_a_folder_with_the_workspace",
    title: "A directory of the workspace is shared with a container, and both see the owners that the \
         map says",
    why: "Containers work on a project's source code in a directory of the workspace. The \
          developer must own the files that the container's root creates, or the editor cannot \
          save them. Files of the container's other users belong to ids of the developer's \
          range.",
    fix: "Compare /etc/subuid with `podman unshare cat /proc/self/uid_map`. The first line must \
          map 0 to the user's own id.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(shares_a_directory_with_the_workspace(cx))),
    ..Case::DEFAULT
});

async fn shares_a_directory_with_the_workspace(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let path = directory(&workspace, "pod-12b").await?;
    let script = "
        cat /data/file
        stat -c %u:%g /data /data/file
        echo by-root > /data/by-root
        echo by-1234 > /data/by-1234
        chown 1234:4321 /data/by-1234
    ";
    let mount = format!("--volume={path}:/data");
    let inside = workspace.output(&podman_run(&[&mount], &image, &["sh", "-euc", script])).await?;
    cx.check_equal("file of the workspace, seen inside", "outside\n0:0\n0:0", &inside)?;
    let script = "cat \"$1/by-root\" \"$1/by-1234\"; stat -c %u:%g \"$1/by-root\" \"$1/by-1234\"";
    let outside = Command::shell("look at the directory", script, [&path]);
    let facts = workspace.facts();
    let own = format!("{}:{}", facts.effective_uid, facts.effective_gid);
    let expected = format!("by-root\nby-1234\n{own}\n{}", owner_outside(&workspace)?);
    let observed = workspace.output(&outside).await?;
    cx.check_equal("files of the container, seen outside", &expected, &observed)?;
    // Only inside may the user remove what belongs to its other ids.
    workspace.output(&podman(&["unshare", "rm", "-rf", &path])).await.map(drop)
}

inventory::submit!(Case {
    id: "POD-12C",
    suite: "podman",
    name: "relabels_a_shared_folder",
    title: "A directory is shared with the options :z and :Z, whether or not there is SELinux",
    why: "Most instructions for podman on Fedora and RHEL mount directories with `:z` or `:Z`. In \
          a pod, podman cannot change the label, and without SELinux there is none. In both \
          cases the container must still start.",
    fix: "On SELinux hosts run the pod as `container_engine_t`, and let the namespace set the MCS \
          level. The volume's file system must support labels.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(3),
    kind: CaseKind::Live(|cx| Box::pin(relabels_a_shared_directory(cx))),
    ..Case::DEFAULT
});

async fn relabels_a_shared_directory(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let path = directory(&workspace, "pod-12c").await?;
    for option in ["z", "Z"] {
        let mount = format!("--volume={path}:/data:{option}");
        let script = format!("cat /data/file && echo {option} > /data/written");
        let run = podman_run(&[&mount], &image, &["sh", "-c", &script]);
        let inside = workspace.output(&run).await?;
        cx.check_equal(&format!("file seen inside with :{option}"), "outside", &inside)?;
        let written = workspace.output(&Command::new(["cat", &format!("{path}/written")])).await?;
        cx.check_equal(&format!("file written with :{option}"), option, &written)?;
    }
    workspace.output(&Command::new(["rm", "-r", &path])).await.map(drop)
}

inventory::submit!(Case {
    id: "POD-12D",
    suite: "podman",
    name: "holds_files_in_memory",
    title: "A tmpfs in a container has the requested size and leaves nothing behind",
    why: "Test suites put databases into memory with `--tmpfs`, and expect them to be small and \
          to disappear with the container. That needs a mount in the container's user namespace.",
    fix: "Use the seccomp and AppArmor profiles Unconfined on containerd, and the type \
          `container_engine_t` on SELinux hosts.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(holds_files_in_memory(cx))),
    ..Case::DEFAULT
});

async fn holds_files_in_memory(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let script = "
        while read -r _ _ _ _ point rest; do
            case $point in /memory) echo \"$rest\";; esac
        done < /proc/self/mountinfo
        ls /memory
        echo x > /memory/file
    ";
    let options = ["--name=pod-12d", "--tmpfs=/memory:size=1m"];
    // The second sees whether the first has left a file.
    for number in ["first", "second"] {
        let run = podman_run(&options, &image, &["sh", "-euc", script]);
        let seen = workspace.output(&run).await?;
        let holds = seen.lines().count() == 1
            && seen.contains(" - tmpfs tmpfs ")
            && seen.contains("size=1024k");
        let name = format!("mount at /memory and its files in the {number} container");
        cx.check(&name, "a tmpfs of 1024k without files", &seen, holds)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "POD-12E",
    suite: "podman",
    name: "keeps_what_is_read_only",
    title: "A read-only volume, a read-only directory and a read-only root can be read and not \
         written",
    why: "A read-only mount protects the sources from tools that only check them. If podman \
          silently drops the option, nobody notices until a file is gone.",
    fix: "Look for a `podman` wrapper or a containers.conf that changes mount options. Otherwise \
          report it to podman with the storage driver that `podman info` names.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(keeps_what_is_read_only(cx))),
    ..Case::DEFAULT
});

async fn keeps_what_is_read_only(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let path = directory(&workspace, "pod-12e").await?;
    let volume = "pod-12e";
    workspace.output(&podman(&["volume", "create", "--ignore", volume])).await?;
    let (of_directory, of_volume) =
        (format!("{path}:/directory:ro"), format!("{volume}:/volume:ro"));
    let options =
        ["--read-only", "--volume", of_directory.as_str(), "--volume", of_volume.as_str()];
    let read = workspace.output(&podman_run(&options, &image, &["cat", "/directory/file"])).await?;
    cx.check_equal("file of a read-only directory", "outside", &read)?;
    // All at once: each must be refused, and nothing else must be.
    let targets = ["/directory/file", "/volume/file", "/srv/file", "/tmp/file"];
    let touch = podman_run(&options, &image, &[&["touch"], &targets[..]].concat());
    let output = workspace.run(&touch).await?;
    let refused = targets.map(|path| format!("'{path}': Read-only file system"));
    let words: Vec<_> = refused[..3].iter().map(String::as_str).collect();
    expect_error(&cx, "writing to what is read-only", &output, &words)?;
    // podman keeps /tmp writable in a read-only root, so that programs go on working.
    let allowed = !String::from_utf8_lossy(&output.stderr).contains("/tmp/file");
    cx.check("writing to /tmp in a read-only root", "allowed", allowed.to_string(), allowed)?;
    workspace.output(&podman(&["volume", "rm", volume])).await.map(drop)
}
