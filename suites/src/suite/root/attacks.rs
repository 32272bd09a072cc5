//! The attacks that are made from all places at once.

use fixtures::{NESTED_POD, PRIVILEGED};
use harness::{
    case::{Case, CaseResult},
    context::Context,
    workload::Command,
};
use probe::AttemptName;

use super::escape_attempts::{EVERYWHERE, Place, refuses};
use crate::{
    suite::{NESTED, core_case, extended_case},
    toolbox::known,
};

pub(crate) const CASES: &[Case] = &[
    // Many kernels of appliances have no modules, so this is not needed for conformance.
    extended_case!(
        "ROOT-04A",
        "root",
        loads_no_kernel_module,
        "A kernel module can't be loaded",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-04B",
        "root",
        sees_no_programs_of_the_kernel,
        "The BPF programs in the kernel can't be listed",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-04C",
        "root",
        measures_nothing_of_the_kernel,
        "The kernel's own work can't be measured",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-04D",
        "root",
        restarts_nothing,
        "The node can't be restarted",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-04E",
        "root",
        renames_nothing,
        "The pod has a host name of its own, not the node's, and can't change it",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-04F",
        "root",
        sets_no_clock,
        "The node's clock can't be set",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-05A",
        "root",
        mounts_no_disk,
        "A file system that lies on a block device can't be mounted",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-05B",
        "root",
        follows_process_1_nowhere,
        "Process 1 is the pod's own, and its mounts can't be entered",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-07A",
        "root",
        gains_nothing_as_user_0,
        "The pod's user can't become user 0",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-07B",
        "root",
        leaves_no_user_namespace,
        "The user namespace around the pod's can't be entered",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-08A",
        "root",
        reads_no_memory_and_no_disk,
        "The node's memory and its disk can't be opened, not even by a node made for them",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    // A kernel may be without it, so this is not needed for conformance.
    extended_case!(
        "ROOT-08B",
        "root",
        reads_no_memory_of_the_kernel,
        "The kernel's memory, /proc/kcore, can't be opened",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-09",
        "root",
        signals_no_other_pod,
        "A process of another pod can't be signalled",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
    core_case!(
        "ROOT-10",
        "root",
        finds_no_token,
        "A pod that asks for no token of its service account has none",
        NESTED,
        &[&NESTED_POD, &PRIVILEGED]
    ),
];

async fn loads_no_kernel_module(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::LoadModule]).await
}

async fn sees_no_programs_of_the_kernel(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::ListBpfPrograms]).await
}

async fn measures_nothing_of_the_kernel(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::MeasureKernel]).await
}

async fn restarts_nothing(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::Reboot]).await
}

async fn renames_nothing(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // A pod on the node's network has the node's name too.
    cx.check_equal("host name in the pod", &workspace.name(), &workspace.facts().hostname)?;
    refuses(&cx, EVERYWHERE, &[AttemptName::SetHostName]).await
}

async fn sets_no_clock(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::SetClock]).await
}

async fn mounts_no_disk(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::MountBlockDevice]).await
}

async fn follows_process_1_nowhere(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let declared = workspace.object().spec.as_ref().and_then(|spec| spec.containers.first());
    let declared = declared.and_then(|container| container.command.clone()).unwrap_or_default();
    let command = known(&workspace.facts().process_1_command)?;
    cx.check_equal("command of process 1", &declared.join(" "), &command.join(" "))?;
    refuses(&cx, EVERYWHERE, &[AttemptName::EnterMountNamespaceOfProcess1]).await
}

async fn gains_nothing_as_user_0(cx: Context) -> CaseResult {
    // In a container of podman's, user 0 is only the pod's user again: see ROOT-01.
    refuses(&cx, &[Place::Pod], &[AttemptName::BecomeRoot]).await
}

async fn leaves_no_user_namespace(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::EnterParentUserNamespace]).await
}

async fn reads_no_memory_and_no_disk(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::OpenDevMem, AttemptName::OpenDisk]).await
}

async fn reads_no_memory_of_the_kernel(cx: Context) -> CaseResult {
    refuses(&cx, EVERYWHERE, &[AttemptName::OpenKcore]).await
}

async fn signals_no_other_pod(cx: Context) -> CaseResult {
    // With all privileges a container shares the pod's process ids, and the pod's own processes are
    // others' to it.
    refuses(&cx, &[Place::Pod, Place::Root], &[AttemptName::SignalOtherPods]).await
}

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
