//! ISO-04 to ISO-06: the devices that a pod asks for, and no others.

use std::time::Duration;

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    sandbox::pod_template::ask_for_devices,
    verdict::{CaseResult, Failure},
    workload::{Command, truth::show_reading},
};
use probe::{DeviceFacts, DeviceState, OpenOutcome};

use crate::{
    fixtures::{MASKED_PROC, NESTED_POD},
    suite::{ASKING_FOR_DEVICES, WITH_DEVICES, WITH_SCCS},
};

/// Linux `Documentation/admin-guide/devices.txt`: 10 229 is fuse, 10 200 is tun.
const DEVICES: [(&str, u64, u64); 2] = [("/dev/fuse", 10, 229), ("/dev/net/tun", 10, 200)];

inventory::submit!(Case {
    id: "ISO-04",
    suite: "isolation",
    name: "opens_fuse_and_tun",
    title: "/dev/fuse and /dev/net/tun are the right devices and can be opened",
    why: "fuse-overlayfs needs /dev/fuse and rootless networks need /dev/net/tun. If the pod has \
          a device but cannot open it, podman fails with a message that does not name the \
          reason.\n\n\
          Pods request the devices with both names of CRI-O's annotation, \
          `io.kubernetes.cri-o.Devices` and `devices.crio.io`, or with a RuntimeClass. A handler \
          that does not allow the annotation drops it silently: the pod starts without devices. \
          This case then fails with that cause, which also blocks the cases that need the \
          devices.",
    fix: "On CRI-O list the annotation in the handler's `allowed_annotations`: \
          `io.kubernetes.cri-o.Devices` up to CRI-O 1.34, both names from 1.35 on. List both \
          devices in `allowed_devices`. On containerd offer a RuntimeClass whose handler adds \
          the devices (`--devices runtime-class:NAME`). The nodes' device files need mode 0666, \
          and SELinux needs `container_engine_t`.",
    requires: ASKING_FOR_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(opens_fuse_and_tun(cx))),
    ..Case::DEFAULT
});

async fn opens_fuse_and_tun(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // Of devices that were asked for and are absent the cause is known, and told with the failure.
    let describe_cause = |failure: Failure| match workspace.absence() {
        Some(absence) => failure.adding(&absence.reason).with_hint(Some(absence.diagnosis)),
        None => failure,
    };
    for (path, major, minor) in DEVICES {
        let device = workspace.facts().device(path);
        let is_right = device.and_then(|device| device.state.known()).is_some_and(|state| {
            matches!(state, DeviceState::Present { character: true, major: a, minor: b, .. }
                if (*a, *b) == (major, minor))
        });
        let opens = device.is_some_and(|device| device.open_read_write == OpenOutcome::Opened);
        let observed = device.map_or("not looked at".to_owned(), describe_device);
        let expected = format!("character device {major}:{minor}, opened for reading and writing");
        let id = if path == "/dev/fuse" { CheckId::Fuse } else { CheckId::Tun };
        let facts = workspace.facts();
        cx.check_in_pod(facts, id, &expected, observed, is_right && opens)
            .map_err(describe_cause)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ISO-05",
    suite: "isolation",
    name: "sees_no_devices_unless_asked",
    title: "A pod that does not request /dev/fuse and /dev/net/tun has neither",
    why: "A control: a pod that requests nothing gets no devices. If it got them, the request \
          would not be the reason that pods have devices. The case is blocked if requested \
          devices do not arrive.",
    fix: "Remove the devices from the runtime's defaults (`additional_devices`, the base spec of \
          the default handler).",
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD, &MASKED_PROC],
    kind: CaseKind::Live(|cx| Box::pin(sees_no_devices_unless_asked(cx))),
    ..Case::DEFAULT
});

async fn sees_no_devices_unless_asked(cx: Context) -> CaseResult {
    // A cluster that gives no devices would pass too, so the case is blocked where those that were
    // asked for are absent.
    cx.pod(&NESTED_POD).await?;
    let control = cx.pod(&MASKED_PROC).await?;
    for (path, ..) in DEVICES {
        let device = control.facts().device(path);
        let is_absent = device
            .and_then(|device| device.state.known())
            .is_some_and(|state| matches!(state, DeviceState::Absent));
        let observed = device.map_or("not looked at".to_owned(), describe_device);
        cx.check(&format!("{path} in the control"), "absent", observed, is_absent)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ISO-06",
    suite: "isolation",
    name: "gets_no_device_that_is_not_allowed",
    title: "A pod that requests another device of the node does not get it",
    why: "The method that gives /dev/fuse must not give the kernel's log or a disk. A cluster \
          that ignores every request for devices refuses none, so the case is blocked if \
          requested devices do not arrive.",
    fix: "List only /dev/fuse and /dev/net/tun in CRI-O's `allowed_devices`.",
    flavours: WITH_SCCS,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(gets_no_device_that_is_not_allowed(cx))),
    ..Case::DEFAULT
});

async fn gets_no_device_that_is_not_allowed(cx: Context) -> CaseResult {
    const FORBIDDEN: &str = "/dev/kmsg";
    devices_arrive(&cx.pod(&NESTED_POD).await?)?;
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("forbidden-device".to_owned());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.extend(ask_for_devices(FORBIDDEN));
    let (observed, holds) = match cx.provision_pod(&NESTED_POD, &pod).await {
        // Whatever else keeps the pod from starting is not the refusal.
        Err(Failure::Product { message, .. } | Failure::Timeout { message, .. })
            if message.contains("is not in allowed_devices") =>
        {
            (message, true)
        }
        Err(other) => return Err(other),
        Ok(pod) => {
            let listed = pod.output(&Command::new(["ls", "/dev"])).await?;
            let name = FORBIDDEN.trim_start_matches("/dev/");
            let is_there = listed.lines().any(|line| line == name);
            (
                format!("started, {FORBIDDEN} is {}", if is_there { "there" } else { "absent" }),
                !is_there,
            )
        }
    };
    let expected = "not started, as it is not in allowed_devices; or started without it";
    cx.check(&format!("pod that asks for {FORBIDDEN}"), expected, observed, holds)
}

/// Blocks a case about devices that do not come, unless those come that were asked for: a cluster
/// that ignores every request for devices refuses none.
fn devices_arrive(workspace: &PodHandle) -> CaseResult {
    let is_there = |path: &str| {
        let state = workspace.facts().device(path).and_then(|device| device.state.known());
        matches!(state, Some(DeviceState::Present { .. }))
    };
    let missing: Vec<_> =
        DEVICES.iter().map(|(path, ..)| *path).filter(|path| !is_there(path)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::blocked(
        format!("the workspace's pod does not show that it has {}", missing.join(", ")),
        "see ISO-04: this case says something only where requested devices come",
    ))
}

fn describe_device(device: &DeviceFacts) -> String {
    let state = show_reading(&device.state, |state| match state {
        DeviceState::Absent => "absent".to_owned(),
        DeviceState::Present { character, major, minor, mode, owner_uid } => {
            let kind = if *character { "character device" } else { "no character device" };
            format!("{kind} {major}:{minor} mode {mode} owner {owner_uid}")
        }
    });
    match &device.open_read_write {
        OpenOutcome::Opened => format!("{state}, opened"),
        OpenOutcome::Refused { errno } => format!("{state}, open refused with {errno}"),
    }
}
