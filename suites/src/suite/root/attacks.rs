//! The attacks that are made from all places at once.

use harness::{
    engine::{Case, CaseKind, Context},
    verdict::{CaseResult, Level},
    workload::Command,
};
use probe::AttemptName;

use super::escape_attempts::{EVERYWHERE, Place, refuses};
use crate::{
    fixtures::{NESTED_POD, PRIVILEGED},
    steps::known,
    suite::NESTED,
};

// Many kernels of appliances have no modules, so this is not needed for conformance.
inventory::submit!(Case {
    id: "ROOT-04A",
    suite: "root",
    name: "loads_no_kernel_module",
    title: "A kernel module can't be loaded",
    why: "A kernel module is code of the node's kernel: anyone who loads one controls the node. \
          The kernel requires CAP_SYS_MODULE in the first user namespace, which no pod with its \
          own user namespace can have.",
    fix: "If an attack loaded a module, the pod has no user namespace, or it has SYS_MODULE: see \
          ID-01 and ISO-09. A kernel without loadable modules offers no target.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(loads_no_kernel_module(cx))),
    ..Case::DEFAULT
});

async fn loads_no_kernel_module(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::LoadModule]).await
}

inventory::submit!(Case {
    id: "ROOT-04B",
    suite: "root",
    name: "sees_no_programs_of_the_kernel",
    title: "The BPF programs in the kernel can't be listed",
    why: "BPF programs run in the kernel and can see everything on the node. An ordinary process \
          must not even list them.",
    fix: "See ID-01 and ISO-09. Look for CAP_BPF or CAP_SYS_ADMIN in the pod, and set \
          `kernel.unprivileged_bpf_disabled=2` on the node.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(sees_no_programs_of_the_kernel(cx))),
    ..Case::DEFAULT
});

async fn sees_no_programs_of_the_kernel(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::ListBpfPrograms]).await
}

inventory::submit!(Case {
    id: "ROOT-04C",
    suite: "root",
    name: "measures_nothing_of_the_kernel",
    title: "The kernel's performance counters cannot be read",
    why: "Kernel performance counters reveal what other pods do, even their keys on some \
          hardware. An ordinary process may measure at most itself.",
    fix: "Set `kernel.perf_event_paranoid` to 2 or more on the node, the kernel's default. Then \
          see ID-01 and ISO-09 for CAP_PERFMON.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(measures_nothing_of_the_kernel(cx))),
    ..Case::DEFAULT
});

async fn measures_nothing_of_the_kernel(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::MeasureKernel]).await
}

inventory::submit!(Case {
    id: "ROOT-04D",
    suite: "root",
    name: "restarts_nothing",
    title: "A process in the pod cannot restart the node",
    why: "A restart of the node would end everybody's work. Root of a PID namespace may restart \
          that namespace; the pod's user may not even restart the pod's own.",
    fix: "If the restart was allowed, the pod has SYS_BOOT: see ISO-09. In a pod with the node's \
          PID namespace (`hostPID`) it restarts the node.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(restarts_nothing(cx))),
    ..Case::DEFAULT
});

async fn restarts_nothing(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::Reboot]).await
}

inventory::submit!(Case {
    id: "ROOT-04E",
    suite: "root",
    name: "renames_nothing",
    title: "The pod has its own host name, not the node's, and cannot change it",
    why: "Other programs identify the node with its host name. A pod has its own host name, and \
          its user can change neither.",
    fix: "If the pod has the node's name, it uses the node's network (`hostNetwork`): find out \
          who adds that. If an attack set the name, the pod has SYS_ADMIN: see ISO-09.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(renames_nothing(cx))),
    ..Case::DEFAULT
});

async fn renames_nothing(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // A pod on the node's network has the node's name too.
    cx.check_equal("host name in the pod", &workspace.name(), &workspace.facts().hostname)?;
    refuses(&cx, EVERYWHERE, &[AttemptName::SetHostName]).await
}

inventory::submit!(Case {
    id: "ROOT-04F",
    suite: "root",
    name: "sets_no_clock",
    title: "The node's clock can't be set",
    why: "The clock has no namespace: a process that sets it changes it for the whole node, and \
          with it the validity of certificates and tokens.",
    fix: "If setting the clock was allowed, the pod has no user namespace and has SYS_TIME: see \
          ID-01 and ISO-09.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(sets_no_clock(cx))),
    ..Case::DEFAULT
});

async fn sets_no_clock(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::SetClock]).await
}

inventory::submit!(Case {
    id: "ROOT-05A",
    suite: "root",
    name: "mounts_no_disk",
    title: "A file system on a block device cannot be mounted",
    why: "A process that may mount a file system from a block device can read the node's disk, or \
          make the kernel parse a hostile one. In a user namespace, the kernel permits only file \
          systems without a device. The case does not try an overlay of the node's directories, \
          because the pod has no path to any (ROOT-06).",
    fix: "If the mount was allowed, the pod has no user namespace and has SYS_ADMIN: see ID-01 \
          and ISO-09.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(mounts_no_disk(cx))),
    ..Case::DEFAULT
});

async fn mounts_no_disk(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::MountBlockDevice]).await
}

inventory::submit!(Case {
    id: "ROOT-05B",
    suite: "root",
    name: "follows_process_1_nowhere",
    title: "Process 1 is the pod's own, and its mounts can't be entered",
    why: "`nsenter --target 1` is the shortest escape from a privileged pod with the node's PID \
          namespace. In a nested pod, process 1 is the pod's own, so `nsenter` leads nowhere.",
    fix: "If process 1 is another process, the pod shares a PID namespace (`hostPID`, \
          `shareProcessNamespace`): find out who adds that. If an attack entered its mounts, the \
          pod has SYS_ADMIN: see ISO-09.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(follows_process_1_nowhere(cx))),
    ..Case::DEFAULT
});

async fn follows_process_1_nowhere(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let declared = NESTED_POD.container_of(workspace.object());
    let declared = declared.into_iter().flat_map(|container| [&container.command, &container.args]);
    let declared: Vec<_> = declared.flatten().flatten().cloned().collect();
    let command = known(&workspace.facts().process_1_command)?;
    // An entrypoint of the image may have started an init, with the container's arguments behind its
    // own.
    let holds = !declared.is_empty() && command.ends_with(&declared);
    let expected = format!("`{}` at its end", declared.join(" "));
    cx.check("command of process 1", &expected, command.join(" "), holds)?;
    refuses(&cx, EVERYWHERE, &[AttemptName::EnterMountNamespaceOfProcess1]).await
}

inventory::submit!(Case {
    id: "ROOT-07A",
    suite: "root",
    name: "gains_nothing_as_user_0",
    title: "The pod's user can't become user 0",
    why: "The pod's bounding set contains SETUID for newuidmap. The user's own processes must not \
          have it, or each could become user 0 of the pod.",
    fix: "See ISO-09: the effective set has to be empty. Look for ambient capabilities that a \
          runtime or a webhook adds.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(gains_nothing_as_user_0(cx))),
    ..Case::DEFAULT
});

async fn gains_nothing_as_user_0(cx: Context) -> CaseResult {
    // In a container of podman's, user 0 is only the pod's user again: see ROOT-01.
    refuses(&cx, &[Place::Pod], &[AttemptName::BecomeRoot]).await
}

inventory::submit!(Case {
    id: "ROOT-07B",
    suite: "root",
    name: "leaves_no_user_namespace",
    title: "The user namespace around the pod's can't be entered",
    why: "The pod's user namespace protects the node only if no process inside can reach the \
          namespace around it. The kernel never shows the parent of a user namespace to a \
          process inside it.",
    fix: "If the pod's user namespace has no parent, it is the node's own: see ID-01.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(leaves_no_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn leaves_no_user_namespace(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::EnterParentUserNamespace]).await
}

inventory::submit!(Case {
    id: "ROOT-08A",
    suite: "root",
    name: "reads_no_memory_and_no_disk",
    title: "The node's memory and disk cannot be opened, not even with a newly created device node",
    why: "Podman's capabilities for a container are valid in its user namespace, and useless on \
          the node's devices. The container has no device files for memory and disks, and nobody \
          can create one. The case tries it with every capability, without a seccomp filter and \
          with nothing masked. It does not use `--privileged` itself, which requires a fresh \
          /sys that a pod cannot provide.",
    fix: "If an attack opened a device, the pod is privileged or has MKNOD in the node's user \
          namespace: see ID-01 and ISO-09. Or a device plugin gives the disk to every pod.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(reads_no_memory_and_no_disk(cx))),
    ..Case::DEFAULT
});

async fn reads_no_memory_and_no_disk(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::OpenDevMem, AttemptName::OpenDisk]).await
}

// A kernel may be without it, so this is not needed for conformance.
inventory::submit!(Case {
    id: "ROOT-08B",
    suite: "root",
    name: "reads_no_memory_of_the_kernel",
    title: "The kernel's memory, /proc/kcore, can't be opened",
    why: "A nested pod does not mask /proc, so /proc/kcore exists if the kernel has it. It is the \
          kernel's memory, and only the node's root may read it.",
    fix: "If an attack opened it, the pod runs with the node's ids: see ID-01. Until you fix \
          that, don't offer `procMount: Unmasked`.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(reads_no_memory_of_the_kernel(cx))),
    ..Case::DEFAULT
});

async fn reads_no_memory_of_the_kernel(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::OpenKcore]).await
}

inventory::submit!(Case {
    id: "ROOT-09",
    suite: "root",
    name: "signals_no_other_pod",
    title: "A process of another pod can't be signalled",
    why: "Pods of one node share one kernel. Without its own PID namespace, a pod could see other \
          pods' processes and end those that run as the same id. The control has its own PID \
          namespace too. ID-10 shows, with `--node-access`, that the same signal arrives from \
          the node's PID namespace. The case does not test whether SELinux categories separate \
          two pods that share a volume: that needs nodes that enforce SELinux and two \
          namespaces.",
    fix: "If a signal arrived, the pod shares the node's PID namespace (`hostPID`): find out who \
          adds that; it is usually a webhook.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(signals_no_other_pod(cx))),
    ..Case::DEFAULT
});

async fn signals_no_other_pod(cx: Context) -> CaseResult {
    // With all privileges a container shares the pod's process ids, and the pod's own processes are
    // others' to it.
    refuses(&cx, &[Place::Pod, Place::Root], &[AttemptName::SignalOtherPods]).await
}

inventory::submit!(Case {
    id: "ROOT-10",
    suite: "root",
    name: "finds_no_token",
    title: "A pod that does not request a service account token has none",
    why: "With a service account token, every process of the pod, and every image build in it, \
          can act on the cluster. A pod that does not request a token must not get one. Network \
          policies decide which addresses a pod reaches; see POD-NET-07.",
    fix: "Set `automountServiceAccountToken: false` in the pod, and find out which webhook mounts \
          the token anyway.",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(finds_no_token(cx))),
    ..Case::DEFAULT
});

async fn finds_no_token(cx: Context) -> CaseResult {
    /// Where every pod would have it (kubernetes, `plugin/pkg/admission/serviceaccount`).
    const DIRECTORY: &str = "/var/run/secrets/kubernetes.io";
    let workspace = cx.pod(&NESTED_POD).await?;
    // Only an absent directory has no files; one that can't be read is another answer.
    let script = "if [ -e \"$1\" ]; then ls -A \"$1\"; fi";
    let list = Command::shell("list tokens", script, [DIRECTORY]);
    cx.check_equal("files of the service account", "", &workspace.output(&list).await?)?;
    let control = cx.pod(&PRIVILEGED).await;
    let seen = match &control {
        Ok(control) => control.output(&list).await?,
        Err(failure) => format!("no such pod, so its absence shows little: {}", failure.message()),
    };
    cx.check("files of the service account in a pod that asks", "serviceaccount", seen, true)
}
