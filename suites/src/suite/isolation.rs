//! ISO: what a pod sees of the node.

use fixtures::{MASKED_PROC, WORKSPACE};
use harness::{
    case::{Case, CaseResult},
    context::Context,
    truth::{proc_mounts, show_reading},
};
use probe::{
    Capability, CapabilitySet, DeviceFacts, DeviceState, FreshProc, FreshProcOutcome,
    FreshProcStep, OpenOutcome, Reading,
};

use super::{NESTED, WITH_DEVICES, core_case};
use crate::toolbox::known;

pub(crate) const CASES: &[Case] = &[
    core_case!(
        "ISO-01",
        "isolation",
        sees_proc_unmasked,
        "A nested pod has exactly one mount at /proc, writable, with nothing masked",
        NESTED,
        &[&WORKSPACE]
    ),
    core_case!(
        "ISO-02",
        "isolation",
        sees_proc_masked_unless_asked,
        "A pod that does not ask for an unmasked /proc has it masked",
        NESTED,
        &[&WORKSPACE, &MASKED_PROC]
    ),
    core_case!(
        "ISO-04",
        "isolation",
        opens_fuse_and_tun,
        "/dev/fuse and /dev/net/tun are the right devices and can be opened",
        WITH_DEVICES,
        &[&WORKSPACE]
    ),
    core_case!(
        "ISO-09",
        "isolation",
        holds_exactly_the_declared_capabilities,
        "The bounding set is exactly SETUID and SETGID, none is effective, and helpers may gain them",
        NESTED,
        &[&WORKSPACE]
    ),
    core_case!(
        "ISO-12",
        "isolation",
        mounts_fresh_proc_in_inner_namespaces,
        "The user can mount a fresh /proc in a user and process namespace of its own",
        NESTED,
        &[&WORKSPACE, &MASKED_PROC]
    ),
];

async fn sees_proc_unmasked(cx: Context) -> CaseResult {
    let workspace = cx.pod(&WORKSPACE).await?;
    let facts: probe::Facts = workspace.probe(&["facts"]).await?;
    let mounts = known(&facts.mounts)?;
    let paths: Vec<_> = proc_mounts(mounts)
        .iter()
        .map(|mount| format!("{} {}", mount.mount_point, mount.options.join(",")))
        .collect();
    let holds = matches!(proc_mounts(mounts)[..], [only] if !only.is_read_only());
    cx.check("mounts at /proc", "one, rw", paths.join("; "), holds)
}

async fn sees_proc_masked_unless_asked(cx: Context) -> CaseResult {
    // What container runtimes mask by default (containerd `oci/spec_opts.go`); no kernel has all.
    const HIDDEN: [&str; 5] =
        ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/scsi", "/proc/timer_list"];
    // A cluster that masks /proc for everybody would pass too; this proves that asking matters.
    cx.pod(&WORKSPACE).await?;
    let control = cx.pod(&MASKED_PROC).await?;
    let facts: probe::Facts = control.probe(&["facts"]).await?;
    let masked: Vec<_> = proc_mounts(known(&facts.mounts)?)
        .into_iter()
        .filter(|mount| mount.mount_point != "/proc")
        .collect();
    let shown: Vec<_> = masked.iter().map(|mount| mount.mount_point.clone()).collect();
    let hides = masked.iter().any(|mount| HIDDEN.contains(&mount.mount_point.as_str()));
    let guards_settings =
        masked.iter().any(|mount| mount.mount_point == "/proc/sys" && mount.is_read_only());
    let expected = "/proc/keys or its like hidden, and /proc/sys read-only";
    cx.check("masked paths", expected, shown.join(", "), hides && guards_settings)
}

/// Linux `Documentation/admin-guide/devices.txt`: 10 229 is fuse, 10 200 is tun.
const DEVICES: [(&str, u64, u64); 2] = [("/dev/fuse", 10, 229), ("/dev/net/tun", 10, 200)];

async fn opens_fuse_and_tun(cx: Context) -> CaseResult {
    let facts = cx.pod(&WORKSPACE).await?.facts().clone();
    for (path, major, minor) in DEVICES {
        let device = facts.device(path);
        let is_right = device.and_then(|device| device.state.known()).is_some_and(|state| {
            matches!(state, DeviceState::Present { character: true, major: a, minor: b, .. }
                if (*a, *b) == (major, minor))
        });
        let opens = device.is_some_and(|device| device.open_read_write == OpenOutcome::Opened);
        let observed = device.map_or("not looked at".to_owned(), describe_device);
        let expected = format!("character device {major}:{minor}, opened for reading and writing");
        cx.check(path, &expected, observed, is_right && opens)?;
    }
    Ok(())
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

async fn holds_exactly_the_declared_capabilities(cx: Context) -> CaseResult {
    let facts = cx.pod(&WORKSPACE).await?.facts().clone();
    let sets = *known(&facts.capabilities)?;
    let declared = CapabilitySet::of(&[Capability::Setuid, Capability::Setgid]);
    let names = |set: CapabilitySet| {
        if set.is_empty() { "none".to_owned() } else { set.names().join(",") }
    };
    cx.check_equal("bounding capabilities", &names(declared), &names(sets.bounding))?;
    cx.check_equal("effective capabilities", "none", &names(sets.effective))?;
    cx.check(
        "no_new_privs",
        "false, so that newuidmap gets its file capabilities",
        show_reading(&facts.no_new_privs, ToString::to_string),
        facts.no_new_privs == Reading::Known(false),
    )
}

async fn mounts_fresh_proc_in_inner_namespaces(cx: Context) -> CaseResult {
    let (workspace, control) = futures::try_join!(cx.pod(&WORKSPACE), cx.pod(&MASKED_PROC))?;
    let answer: FreshProc = workspace.probe(&["mount-proc"]).await?;
    let mounted = matches!(answer.outcome, FreshProcOutcome::Allowed { process_id: 1 });
    cx.check("fresh /proc", "mounted, shows process 1", describe(&answer.outcome), mounted)?;
    // Refused where /proc is masked: only so the pass above is the work of `procMount`.
    let answer: FreshProc = control.probe(&["mount-proc"]).await?;
    let refused = matches!(
        &answer.outcome,
        FreshProcOutcome::Refused { step: FreshProcStep::MountProc, errno }
            if errno.is_permission_denied()
    );
    let observed = describe(&answer.outcome);
    cx.check("fresh /proc in the control", "refused by its mount", observed, refused)
}

fn describe(outcome: &FreshProcOutcome) -> String {
    match outcome {
        FreshProcOutcome::Allowed { process_id } => format!("mounted, shows process {process_id}"),
        FreshProcOutcome::Refused { step, errno } => format!("refused at {step:?} with {errno}"),
        FreshProcOutcome::Unavailable { reason } => format!("not attempted: {reason}"),
    }
}
