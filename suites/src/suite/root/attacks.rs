//! The attacks that are made from all places at once.

use fixtures::{NESTED_POD, PRIVILEGED};
use harness::{
    case::{Case, CaseKind, CaseResult},
    context::Context,
    outcome::Level,
    workload::Command,
};
use probe::AttemptName;

use super::escape_attempts::{EVERYWHERE, Place, refuses};
use crate::{suite::NESTED, toolbox::known};

// Many kernels of appliances have no modules, so this is not needed for conformance.
inventory::submit!(Case {
    id: "ROOT-04A",
    suite: "root",
    name: "loads_no_kernel_module",
    title: "A kernel module can't be loaded",
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(follows_process_1_nowhere(cx))),
    ..Case::DEFAULT
});

async fn follows_process_1_nowhere(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let declared = workspace.object().spec.as_ref().and_then(|spec| spec.containers.first());
    let declared = declared.and_then(|container| container.command.clone()).unwrap_or_default();
    let command = known(&workspace.facts().process_1_command)?;
    cx.check_equal("command of process 1", &declared.join(" "), &command.join(" "))?;
    refuses(&cx, EVERYWHERE, &[AttemptName::EnterMountNamespaceOfProcess1]).await
}

inventory::submit!(Case {
    id: "ROOT-07A",
    suite: "root",
    name: "gains_nothing_as_user_0",
    title: "The pod's user can't become user 0",
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
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
    why: "",
    fix: "",
    requires: NESTED,
    pods: &[&NESTED_POD, &PRIVILEGED],
    kind: CaseKind::Live(|cx| Box::pin(finds_no_token(cx))),
    ..Case::DEFAULT
});

async fn finds_no_token(cx: Context) -> CaseResult {
    /// Where every pod would have it (kubernetes, `plugin/pkg/admission/serviceaccount`).
    const FOLDER: &str = "/var/run/secrets/kubernetes.io";
    let workspace = cx.pod(&NESTED_POD).await?;
    let list = Command::shell("list tokens", "ls -A \"$1\" 2>/dev/null || true", [FOLDER]);
    cx.check_equal("files of the service account", "", &workspace.output(&list).await?)?;
    let control = cx.pod(&PRIVILEGED).await;
    let seen = match &control {
        Ok(control) => control.output(&list).await?,
        Err(failure) => format!("no such pod, so its absence shows little: {}", failure.message()),
    };
    cx.check("files of the service account in a pod that asks", "serviceaccount", seen, true)
}
