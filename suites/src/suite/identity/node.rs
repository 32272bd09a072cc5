//! Who the pod's user is on the node, seen from the node: only with `--node-access`.

use harness::{
    engine::{Case, CaseKind, Context, PodHandle},
    facts::requirement::{NodeAccess, Requirement, UnmaskedProc, UserNamespaces},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};
use kube::ResourceExt;

use crate::{
    fixtures::{INSPECTOR, NESTED_POD, STORAGE},
    steps::known,
};

/// What a look at the node needs.
const ON_THE_NODE: &[&dyn Requirement] = &[&UserNamespaces, &UnmaskedProc, &NodeAccess];

/// The pod's process 1 as the node sees it, and its files.
struct Seen {
    /// Real, effective, saved and file system user id.
    users: String,
    /// The same of the group.
    groups: String,
    /// The owner of a file in the pod's memory or on its volume, through the pod's mount.
    in_volume: String,
    /// The owner of a file in the image's layer of the container.
    in_layer: String,
    /// What became of a signal to process 1 that is never delivered (kill(2), signal 0).
    signal: String,
    /// The owner of the first file on the volume's own disk, or `elsewhere` where the kubelet's
    /// directory is.
    on_disk: String,
}

/// How the look ends where no process is the workspace's.
const NO_PROCESS: i32 = 9;

/// Finds the process whose root has the file, and which is process 1 of a PID namespace below.
const LOOK: &str = "
    pod=$1 volume=$2 layer=$3
    for process in /proc/[0-9]*; do
        [ -e \"$process/root$volume\" ] || continue
        case $(grep NSpid: \"$process/status\") in *[!0-9]1) ;; *) continue ;; esac
        sed -n 's/^Uid:[[:space:]]*//p' \"$process/status\"
        sed -n 's/^Gid:[[:space:]]*//p' \"$process/status\"
        stat --format=%u:%g \"$process/root$volume\" \"$process/root$layer\"
        if kill -0 \"${process##*/}\"; then echo sent; else echo refused; fi
        directory=/proc/1/root/var/lib/kubelet/pods/$pod/volumes/kubernetes.io~empty-dir/storage
        if [ ! -d \"$directory\" ]; then echo elsewhere; exit; fi
        stat --format=%u:%g \"$directory/${volume##*/}\"
        exit
    done
    exit 9
";

/// That the cluster makes no such pod is a fault of nobody's.
fn without_inspector(failure: Failure) -> Failure {
    match failure {
        Failure::Product { message, .. } | Failure::Timeout { message, .. } => Failure::blocked(
            format!("there is no pod to look at the node with: {message}"),
            "let the caller make privileged pods, or leave `--node-access` out",
        ),
        other => other,
    }
}

/// Makes files in the workspace and looks at them from the node.
async fn look(cx: &Context) -> Result<(PodHandle, Seen), Failure> {
    let workspace = cx.pod(&NESTED_POD).await?;
    let inspector = cx.pod(&INSPECTOR).await.map_err(without_inspector)?;
    if workspace.node() != inspector.node() {
        return Err(Failure::harness("the inspector is not on the workspace's node"));
    }
    let uid = workspace.object().uid().unwrap_or_default();
    let make = "touch \"$1\" \"$HOME/$2\" && chgrp \"$(id -g)\" \"$1\" && echo \"$HOME/$2\"";
    let (name, volume) = (format!("nestcheck-{uid}"), format!("{STORAGE}/nestcheck-{uid}"));
    let make = Command::shell("make files", make, [&volume, &name]);
    let layer = workspace.output(&make).await?;
    let look = Command::shell("look from the node", LOOK, [&uid, &volume, &layer]);
    let output = inspector.run(&look).await?;
    match output.exit_code {
        0 => {}
        NO_PROCESS => {
            let reason = "the node shows no process whose files are the workspace's";
            return Err(Failure::product(reason));
        }
        code => {
            let reported = String::from_utf8_lossy(&output.stderr);
            let reported = reported.trim_end();
            return Err(Failure::harness(format!(
                "the look from the node ended with {code}: {reported}"
            )));
        }
    }
    let text = output.text();
    let mut lines =
        text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    let mut next = || lines.next().unwrap_or_default();
    let [users, groups, in_volume, in_layer, signal, on_disk] = std::array::from_fn(|_| next());
    Ok((workspace, Seen { users, groups, in_volume, in_layer, signal, on_disk }))
}

/// The ids of the node that the workspace's user and group are.
fn outside(workspace: &PodHandle) -> Result<(u32, u32), Failure> {
    let facts = workspace.facts();
    let of = |map: &probe::Reading<Vec<probe::IdRange>>, id| {
        let outside = known(map)?.iter().find_map(|range| range.to_outside(id));
        outside.ok_or_else(|| Failure::product(format!("the pod's map does not cover {id}")))
    };
    Ok((of(&facts.uid_map, facts.effective_uid)?, of(&facts.gid_map, facts.effective_gid)?))
}

inventory::submit!(Case {
    id: "ID-09",
    suite: "identity",
    name: "owns_files_as_nobody_of_the_node",
    title: "On the node the pod's files belong to an id of the pod's range, and on the disk of an \
        id-mapped volume to the user",
    why: "The node's view of the pod counts, not the pod's own. The node must see the pod's files \
          with an owner above 65536, both in the container's layer and on a volume. On the disk \
          of an id-mapped volume, the owner stays 1000: the mount translates, and the stored id \
          does not change. The file therefore belongs to the user again in the next pod, \
          whatever its range. If the kubelet does not keep its volumes in /var/lib/kubelet, \
          nestcheck cannot inspect the disk, and the case is blocked.",
    fix: "If the node sees a file as owned by 1000 through the pod's mount, or a process as user \
          1000, the pod has no user namespace: see ID-01. If the disk stores an id of the pod's \
          range, the volume is not id-mapped: see VOL-04.",
    level: Level::Extended,
    requires: ON_THE_NODE,
    pods: &[&NESTED_POD, &INSPECTOR],
    kind: CaseKind::Live(|cx| Box::pin(owns_files_as_nobody_of_the_node(cx))),
    ..Case::DEFAULT
});

async fn owns_files_as_nobody_of_the_node(cx: Context) -> CaseResult {
    let (workspace, seen) = look(&cx).await?;
    let (user, group) = outside(&workspace)?;
    let expected = format!("{user}:{group}");
    cx.check_equal("owner of a file in the container's layer", &expected, &seen.in_layer)?;
    cx.check_equal("owner of a file in a volume, by the pod's mount", &expected, &seen.in_volume)?;
    let facts = workspace.facts();
    let inside = format!("{}:{}", facts.effective_uid, facts.effective_gid);
    if seen.on_disk == "elsewhere" {
        return Err(Failure::blocked(
            "the node has no directory of the pod's volume below /var/lib/kubelet, so its file on the \
             disk was not found; the owners that were seen are as they must be",
            "nothing needs it; compare the directory with the kubelet's `--root-dir`",
        ));
    }
    // An idmapped mount changes the ids that are seen, not those that are stored (mount_setattr(2)).
    cx.check_equal("owner of the same file on its disk", &inside, &seen.on_disk)
}

inventory::submit!(Case {
    id: "ID-10",
    suite: "identity",
    name: "runs_as_nobody_of_the_node",
    title: "On the node the pod's processes run as an id of the pod's range",
    why: "The proof of ID-01 from the other side. The kernel's process list, read on the node, \
          shows the real id of the pod's first process. A signal from there reaches the process, \
          while a signal from another pod does not: this is a control for ROOT-09.",
    fix: "If the id is 1000 or 0, the pod has no user namespace, whatever the maps in the pod \
          show: see ID-01 and GATE-06. If nestcheck finds no process, the node may keep PID \
          namespaces that its own process list does not show, as in nested clusters.",
    level: Level::Extended,
    requires: ON_THE_NODE,
    pods: &[&NESTED_POD, &INSPECTOR],
    kind: CaseKind::Live(|cx| Box::pin(runs_as_nobody_of_the_node(cx))),
    ..Case::DEFAULT
});

async fn runs_as_nobody_of_the_node(cx: Context) -> CaseResult {
    let (workspace, seen) = look(&cx).await?;
    let (user, group) = outside(&workspace)?;
    let all = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    cx.check_equal("user ids of the pod's process 1", &all(user), &seen.users)?;
    cx.check_equal("group ids of the pod's process 1", &all(group), &seen.groups)?;
    // A control of ROOT-09: what is refused to other pods is refused because of where they are.
    cx.check_equal("signal to it from the node's process ids", "sent", &seen.signal)
}
