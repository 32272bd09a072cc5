//! POD-01A to C and POD-10: the drivers of podman's storage, each with a store of its own, so that
//! no other case meets it.

use std::time::Duration;

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};

use super::need_program;
use crate::{
    fixtures::{NESTED_POD, STORAGE},
    steps::{podman, scratch_image, shell_image},
    suite::{NESTED, WITH_DEVICES},
};

/// A store of a case's own.
struct Store<'a> {
    workspace: &'a PodHandle,
    directory: String,
    driver: Vec<String>,
}

impl<'a> Store<'a> {
    /// An empty store of a case, with options for its driver.
    async fn empty(
        workspace: &'a PodHandle,
        case: &str,
        driver: &[&str],
    ) -> Result<Store<'a>, Failure> {
        // On the volume: overlay can't be stacked on the overlay that the image itself lies on.
        let directory = format!("{STORAGE}/nestcheck-{case}");
        let driver = driver.iter().map(|&option| option.to_owned()).collect();
        let store = Self { workspace, directory, driver };
        store.delete().await?;
        // A volume passes the pod's fsGroup on to what is made in it. That group need not be one of
        // podman's namespace, where the user has another.
        let script = "mkdir \"$1\"; chgrp \"$(id -g)\" \"$1\"; chmod g-s \"$1\"";
        let make = Command::shell("make the store's directory", script, [&store.directory]);
        workspace.output(&make).await?;
        Ok(store)
    }

    async fn delete(&self) -> Result<(), Failure> {
        let delete = podman(&["unshare", "rm", "-rf", &self.directory]);
        self.workspace.output(&delete).await.map(drop)
    }

    /// The options that make podman use the store.
    fn options(&self) -> Vec<String> {
        let root = format!("--root={}/root", self.directory);
        let run_root = format!("--runroot={}/run", self.directory);
        [root, run_root].into_iter().chain(self.driver.iter().cloned()).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let options = self.options();
        let all = ["podman"].into_iter().chain(options.iter().map(String::as_str));
        Command::new(all.chain(arguments.iter().copied()))
    }

    async fn podman(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.workspace.output(&self.command(arguments)).await
    }

    /// Copies an image of podman's usual store.
    async fn fill(&self, image: &str) -> Result<(), Failure> {
        let script = "image=$1; shift; podman save --quiet \"$image\" | podman \"$@\" load --quiet";
        let options = self.options();
        let arguments = std::iter::once(image).chain(options.iter().map(String::as_str));
        let copy = Command::shell("copy an image to the store", script, arguments);
        self.workspace.output(&copy).await.map(drop)
    }

    /// How many KiB it takes.
    async fn size(&self) -> Result<u64, Failure> {
        let measure = ["unshare", "du", "--summarize", "--block-size=1024", &self.directory];
        let text = self.workspace.output(&podman(&measure)).await?;
        let size = text.split_whitespace().next().and_then(|size| size.parse().ok());
        size.ok_or_else(|| Failure::product(format!("`du` printed `{text}`")))
    }

    /// What podman says of the driver, by a path in its answer.
    async fn says(&self, path: &str) -> Result<String, Failure> {
        self.podman(&["info", "--format", path]).await
    }
}

/// Uses a store in the ways in which drivers differ: a file of the image is given away, another one
/// is deleted, and the next container sees neither; `root` is the type of overlay that its root must
/// be, if any. Returns how many KiB a container took.
async fn use_store(
    cx: &Context,
    store: &Store<'_>,
    name: &str,
    root: Option<&str>,
) -> Result<u64, Failure> {
    let image = shell_image(store.workspace).await?;
    store.fill(&image).await?;
    let before = store.size().await?;
    // The fifth field of a mount is where it is; its type follows a dash.
    let change = "
        chown 1234:4321 /bin/id
        rm /bin/touch
        stat -c %u:%g /bin/id
        while read -r _ _ _ _ point line; do
            line=${line#*- }
            if [ \"$point\" = / ]; then echo \"${line%% *}\"; fi
        done < /proc/self/mountinfo
    ";
    let run = ["run", "--network=none", "--name", name, &image, "sh", "-euc", change];
    let seen = store.podman(&run).await?;
    // `podman run` may end before the container's root is unmounted, and a mount counts as a copy.
    // This waits for whoever is at it (podman-container-cleanup(1)).
    store.podman(&["container", "cleanup", name]).await?;
    let size = store.size().await?.saturating_sub(before);
    let (owner, root_type) = seen.split_once('\n').unwrap_or_default();
    cx.check_equal("owner of a file that was given away", "1234:4321", owner)?;
    if let Some(root) = root {
        cx.check_equal("file system of the container", root, root_type)?;
    } else {
        let is_plain = !root_type.is_empty() && !root_type.contains("overlay");
        cx.check("file system of the container", "no overlay", root_type, is_plain)?;
    }
    let look = "stat -c %u:%g /bin/id; command -v touch";
    let next = ["run", "--rm", "--network=none", &image, "sh", "-euc", look];
    let next = store.podman(&next).await?;
    cx.check_equal("the same files in the next container", "0:0\n/bin/touch", &next)?;
    store.podman(&["rm", "--all", "--force"]).await?;
    Ok(size)
}

/// Files of an image that a container takes once more, in KiB, count as a copy from here on: the
/// image has about 4 MiB.
const COPY: u64 = 2048;

inventory::submit!(Case {
    id: "POD-01A",
    suite: "podman",
    name: "stores_on_native_overlay",
    title: "On a volume the kernel's own overlay holds images and containers, which share the \
         images' files",
    why: "The kernel's own overlay is podman's fastest storage, and it needs no device. It works \
          in a user namespace since Linux 5.13, but not on top of the overlay of the workspace's \
          own root.",
    fix: "Mount an emptyDir or a volume with ext4 or xfs at podman's storage directory \
          (`~/.local/share/containers`).",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(7),
    kind: CaseKind::Live(|cx| Box::pin(stores_on_native_overlay(cx))),
    ..Case::DEFAULT
});

async fn stores_on_native_overlay(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // The empty option takes a mount program of the image's own configuration away.
    let driver = ["--storage-driver=overlay", "--storage-opt=overlay.mount_program="];
    let store = Store::empty(&workspace, "pod-01a", &driver).await?;
    cx.check_equal(
        CheckId::StorageDriver,
        "overlay",
        &store.says("{{.Store.GraphDriverName}}").await?,
    )?;
    let size = use_store(&cx, &store, "pod-01a", Some("overlay")).await?;
    cx.check("disk for a container", "less than the image", format!("{size} KiB"), size < COPY)?;
    store.delete().await
}

/// The options for fuse-overlayfs.
const FUSE: [&str; 2] =
    ["--storage-driver=overlay", "--storage-opt=overlay.mount_program=/usr/bin/fuse-overlayfs"];

inventory::submit!(Case {
    id: "POD-01B",
    suite: "podman",
    name: "stores_on_fuse_overlayfs",
    title: "With fuse-overlayfs as mount program, images and containers work as on the kernel's \
        overlay",
    why: "Workspace images such as the Universal Developer Image set fuse-overlayfs as mount \
          program if they find /dev/fuse. If the device exists but does not work, every \
          container fails to start.",
    fix: "Give the pod /dev/fuse (annotations `io.kubernetes.cri-o.Devices` and \
          `devices.crio.io`, or a RuntimeClass) with mode 0666 on the node, and install \
          fuse-overlayfs.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(stores_on_fuse_overlayfs(cx))),
    ..Case::DEFAULT
});

async fn stores_on_fuse_overlayfs(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    need_program(&workspace, "/usr/bin/fuse-overlayfs", "install fuse-overlayfs").await?;
    let store = Store::empty(&workspace, "pod-01b", &FUSE).await?;
    let size = use_store(&cx, &store, "pod-01b", Some("fuse.fuse-overlayfs")).await?;
    cx.check("disk for a container", "less than the image", format!("{size} KiB"), size < COPY)?;
    store.delete().await
}

inventory::submit!(Case {
    id: "POD-01C",
    suite: "podman",
    name: "stores_without_overlay",
    title: "The driver vfs works without an overlay, with a full copy for each container",
    why: "Images use vfs if they have no /dev/fuse. It works everywhere, but it copies the whole \
          image for each layer and each container. Disks fill and builds get slow: if `podman \
          info` names vfs, treat that as a warning.",
    fix: "This case rarely fails. Check whether the volume of podman's storage is full or \
          read-only. To replace vfs, see POD-01A and POD-01B.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(7),
    kind: CaseKind::Live(|cx| Box::pin(stores_without_overlay(cx))),
    ..Case::DEFAULT
});

async fn stores_without_overlay(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let store = Store::empty(&workspace, "pod-01c", &["--storage-driver=vfs"]).await?;
    cx.check_equal(
        CheckId::StorageDriver.name(),
        "vfs",
        &store.says("{{.Store.GraphDriverName}}").await?,
    )?;
    let size = use_store(&cx, &store, "pod-01c", None).await?;
    let expected = "a copy of the image: vfs shares nothing";
    cx.check("disk for a container", expected, format!("{size} KiB"), size >= COPY)?;
    store.delete().await
}

/// Prints what is left of a store: its layers, volumes, and processes of fuse-overlayfs. One that
/// ended has no command line.
const LEFTOVERS: &str = "
    for kind in overlay volumes overlay-containers; do
        for path in \"$1/root/$kind\"/*; do
            case ${path##*/} in
            l | '*' | *.json | *.lock) ;;
            *) echo \"$kind ${path##*/}\" ;;
            esac
        done
    done
    for directory in /proc/[0-9]*; do
        if read -r name 2> /dev/null < \"$directory/comm\" && [ \"$name\" = fuse-overlayfs ] &&
            grep -q \"$1/\" \"$directory/cmdline\"; then
            echo \"process ${directory#/proc/}\"
        fi
    done
";

inventory::submit!(Case {
    id: "POD-10",
    suite: "podman",
    name: "leaves_an_empty_store",
    title: "Podman counts what its store contains, and removing everything leaves neither files \
        nor processes",
    why: "The disk of a workspace is small. podman must report the space that it really uses. \
          Cleaning up must free it, and no fuse-overlayfs process may keep deleted files open.",
    fix: "Look for containers or mounts of another tool in the store. If processes remain, update \
          podman and fuse-overlayfs, and let the pod's first process reap its children.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    // It prunes: where the user has other stores, nothing may.
    inside: Inside::Never,
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(leaves_an_empty_store(cx))),
    ..Case::DEFAULT
});

async fn leaves_an_empty_store(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    need_program(&workspace, "/usr/bin/fuse-overlayfs", "install fuse-overlayfs").await?;
    let image = scratch_image(&workspace).await?;
    let store = Store::empty(&workspace, "pod-10", &FUSE).await?;
    store.fill(&image).await?;
    let run = ["run", "--detach", "--network=none", "--volume=pod-10:/data", "--name=pod-10"];
    store.podman(&[&run[..], &[&image]].concat()).await?;
    let count = ["system", "df", "--format={{.Type}} {{.Total}} {{.Active}}"];
    let expected = "Images 1 1\nContainers 1 1\nLocal Volumes 1 1";
    cx.check_equal("what the store holds", expected, &store.podman(&count).await?)?;
    let leftovers = ["podman", "unshare", "sh", "-euc", LEFTOVERS, "look", &store.directory];
    let leftovers = Command::new(leftovers);
    let before = workspace.output(&leftovers).await?;
    let kinds = ["overlay ", "volumes ", "process "];
    let holds = kinds.iter().all(|kind| before.contains(kind));
    cx.check("what is there before", "layers, a volume and a process", &before, holds)?;

    store.podman(&["rm", "--all", "--force", "--time=0"]).await?;
    store.podman(&["system", "prune", "--all", "--force", "--volumes"]).await?;
    let expected = "Images 0 0\nContainers 0 0\nLocal Volumes 0 0";
    cx.check_equal("what the store holds after", expected, &store.podman(&count).await?)?;
    cx.check_equal("leftovers", "", &workspace.output(&leftovers).await?)?;
    store.delete().await
}
