//! POD-17 and POD-18: what is used up when containers come and go, or are many.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside},
    verdict::{CaseResult, Level},
    workload::Command,
};

use super::need_program;
use crate::{fixtures::NESTED_POD, suite::NESTED};

/// More than the keys that the kernel gives an ordinary user (`kernel.keys.maxkeys`, 200), of which
/// each container takes one.
const MANY: &str = "250";

/// How long they may take: four times what they take on two busy cores, and less than the case has.
const LIMIT: Duration = Duration::from_secs(100);

/// Runs containers one after the other in podman's user namespace, with the least that the probe
/// needs, and prints what is left: containers and mounts.
const SEQUENCE: &str = r#"
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
    mkdir "$directory/rootfs"
    cp /nestcheck/probe "$directory/rootfs/probe"
    cd "$directory"
    cat > config.json <<'END'
{
  "ociVersion": "1.0.2",
  "process": {"user": {"uid": 0, "gid": 0}, "args": ["/probe", "exit", "0"], "cwd": "/"},
  "root": {"path": "rootfs"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
  ],
  "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]}
}
END
    number=1
    while [ "$number" -le "$1" ]; do
        crun --cgroup-manager=disabled --root "$directory/state" run "nestcheck-$number" || {
            echo "container $number of $1 did not run" >&2
            exit 1
        }
        number=$((number + 1))
    done
    ls "$directory/state"
    while read -r _ _ _ _ point _; do
        case $point in "$directory"/*) echo "mount $point" ;; esac
    done < /proc/self/mountinfo
"#;

inventory::submit!(Case {
    id: "POD-17",
    suite: "podman",
    name: "runs_250_one_after_the_other",
    title: "250 containers run one after the other and leave no mounts behind",
    why: "A developer starts some hundred containers in a week, and a test suite does so in a \
          minute. Each takes a kernel key and mounts. If they are not given back, nothing \
          starts any more until the node is rebooted: an ordinary user has 200 keys. The \
          case starts the containers with crun, podman's OCI runtime, in podman's user namespace, \
          because podman itself would need minutes for them.",
    fix: "`Disk quota exceeded` means the user's keys: raise `kernel.keys.maxkeys` on the node, or \
          set `keyring = false` in containers.conf. If mounts remain, update crun.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(8),
    kind: CaseKind::Live(|cx| Box::pin(runs_250_one_after_the_other(cx))),
    ..Case::DEFAULT
});

async fn runs_250_one_after_the_other(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    need_program(&workspace, "crun", "install crun, which podman prefers").await?;
    let run = ["podman", "unshare", "sh", "-euc", SEQUENCE, "run 250 containers", MANY];
    let remains = workspace.run(&Command::new(run).within(LIMIT)).await?.exits(0)?.text();
    cx.check_equal("what 250 containers leave behind", "", &remains)
}

/// What a project of some dozen containers takes: each has a process of its own and one or two of
/// conmon's, and podman has a dozen threads while it starts one.
const PROCESSES: &str = "500";

inventory::submit!(Case {
    id: "POD-18",
    suite: "podman",
    name: "has_room_for_500_processes",
    title: "A pod may run 500 processes at once",
    why: "All containers in a workspace share the pod's limit of processes and threads. At the \
          limit, fork(2) fails with EAGAIN in whatever program comes next, and podman aborts with \
          a long stack trace. The pod cannot see the limit: it belongs to the cgroup above its \
          own.",
    fix: "Raise `podPidsLimit` in the kubelet's configuration (OpenShift: `podPidsLimit` of a \
          KubeletConfig; 4096 is the default there), `pids_limit` of CRI-O, and the user's `ulimit \
          -u`.",
    level: Level::Informing,
    requires: NESTED,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(5),
    kind: CaseKind::Live(|cx| Box::pin(has_room_for_500_processes(cx))),
    ..Case::DEFAULT
});

async fn has_room_for_500_processes(cx: Context) -> CaseResult {
    // A pod of its own: at a limit, the commands of other cases would fail.
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("pod-18".to_owned());
    let workspace = cx.provision_pod(&NESTED_POD, &pod).await?;
    let script = "
        number=0
        started=
        trap 'echo \"$number\"; echo \"$number processes\" >&2; kill $started' EXIT
        while [ \"$number\" -lt \"$1\" ]; do
            sleep 60 &
            started=\"$started $!\"
            number=$((number + 1))
        done
    ";
    let start = Command::shell("start processes", script, [PROCESSES]);
    cx.check_equal("processes at once", PROCESSES, &workspace.output(&start).await?)
}
