//! ISO: what a pod sees of the node.

mod devices;

use std::time::Duration;

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, Inside, Profile},
    facts::{Facts, Flavour},
    verdict::{CaseResult, Failure, Level},
    workload::{
        Command,
        truth::{proc_mounts, show_reading},
    },
};
use probe::{
    Attempt, AttemptName, Capability, CapabilitySet, FreshProc, FreshProcOutcome, FreshProcStep,
    Mount, Reading,
};

use super::{
    NESTED, WITH_DEVICES, WITH_SCCS,
    podman::need_program,
    selinux::{self, Mode},
};
use crate::{
    fixtures::{MASKED_PROC, NESTED_POD},
    steps::{known, podman, podman_run, shell_image},
};

inventory::submit!(Case {
    id: "ISO-01",
    suite: "isolation",
    name: "sees_proc_unmasked",
    title: "A nested pod has exactly one mount at /proc, which is writable and not masked",
    why: "The kernel forbids a fresh /proc in an inner namespace while parts of the outer /proc \
          are masked. Every container that podman starts needs a fresh /proc.",
    fix: "Set `procMount: Unmasked` and see GATE-02. If the API server keeps the field and /proc \
          is still masked, the container runtime ignores the field: update it.",
    profiles: &[Profile::Smoke],
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(sees_proc_unmasked(cx))),
    ..Case::DEFAULT
});

async fn sees_proc_unmasked(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let facts: probe::Facts = workspace.probe(&["facts"]).await?;
    let mounts = known(&facts.mounts)?;
    let paths: Vec<_> = proc_mounts(mounts)
        .iter()
        .map(|mount| format!("{} {}", mount.mount_point, mount.options.join(",")))
        .collect();
    let holds = matches!(proc_mounts(mounts)[..], [only] if !only.is_read_only());
    cx.check_in_pod(&facts, CheckId::Proc, "one, rw", paths.join("; "), holds)
}

inventory::submit!(Case {
    id: "ISO-02",
    suite: "isolation",
    name: "sees_proc_masked_unless_asked",
    title: "A pod that does not request an unmasked /proc has a masked one",
    why: "A control: in all other pods, parts of /proc are masked. If they were not, an unmasked \
          /proc would be the cluster's default, also for pods without a user namespace.",
    fix: "Look in the container runtime's configuration for a spec without `maskedPaths`.",
    requires: NESTED,
    pods: &[&NESTED_POD, &MASKED_PROC],
    kind: CaseKind::Live(|cx| Box::pin(sees_proc_masked_unless_asked(cx))),
    ..Case::DEFAULT
});

async fn sees_proc_masked_unless_asked(cx: Context) -> CaseResult {
    // What container runtimes mask by default (containerd `oci/spec_opts.go`); no kernel has all.
    const HIDDEN: [&str; 5] =
        ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/scsi", "/proc/timer_list"];
    // A cluster that masks /proc for everybody would pass too; this proves that asking matters.
    cx.pod(&NESTED_POD).await?;
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

inventory::submit!(Case {
    id: "ISO-03",
    suite: "isolation",
    name: "sees_sys_read_only",
    title: "/sys is read-only, whether or not the pod's own cgroups are writable",
    why: "/sys contains the node's devices and the kernel's settings. A pod has it read-only. \
          Only the pod's own cgroups may be writable, for systemd and resource limits in inner \
          containers.",
    fix: "If /sys is writable, the container is privileged, or a runtime hook remounted it. Look \
          for a webhook that adds `privileged: true`, and see ISO-09.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(sees_sys_read_only(cx))),
    ..Case::DEFAULT
});

async fn sees_sys_read_only(cx: Context) -> CaseResult {
    const CGROUPS: &str = "/sys/fs/cgroup";
    let workspace = cx.pod(&NESTED_POD).await?;
    let mounts = known(&workspace.facts().mounts)?;
    let mode = |mount: &Mount| if mount.is_read_only() { "ro" } else { "rw" };
    let show = |mounts: &[&Mount]| {
        let reported = mounts.iter().map(|it| format!("{} {}", it.mount_point, mode(it)));
        reported.collect::<Vec<_>>().join("; ")
    };
    let (cgroups, others): (Vec<_>, Vec<_>) = mounts
        .iter()
        .filter(|mount| mount.is_at_or_below("/sys"))
        .partition(|mount| mount.is_at_or_below(CGROUPS));
    let guarded = others.iter().any(|mount| mount.mount_point == "/sys")
        && others.iter().all(|mount| mount.is_read_only());
    cx.check("mounts at /sys", "/sys, read-only", show(&others), guarded)?;
    // What containers inside can do with it is POD-14's to show.
    cx.check("mounts at /sys/fs/cgroup", "either mode", show(&cgroups), true)
}

inventory::submit!(Case {
    id: "ISO-10",
    suite: "isolation",
    name: "makes_namespaces_and_mounts",
    title: "The user can create a user namespace and mount a file system in it",
    why: "Podman begins every command with a user namespace and mounts in it. The default seccomp \
          profile of containerd forbids both to a process without CAP_SYS_ADMIN, and Ubuntu's \
          AppArmor denies all permissions in new user namespaces. Podman's errors then do not \
          name the cause.",
    fix: "Set `seccompProfile: {type: Unconfined}` in the pod, or a profile that permits \
          unshare(2), mount(2) and clone(2) with namespaces; CRI-O's default does. On Ubuntu set \
          `kernel.apparmor_restrict_unprivileged_userns=0` on the node; see PRE-13.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(makes_namespaces_and_mounts(cx))),
    ..Case::DEFAULT
});

async fn makes_namespaces_and_mounts(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let seccomp = show_reading(&workspace.facts().seccomp, |mode| format!("{mode:?}"));
    cx.check("seccomp", "any mode that lets the next one pass", seccomp, true)?;
    let mount = ["mount", "-t", "tmpfs", "none", "/tmp"];
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let output = workspace.run(&Command::new(unshare.into_iter().chain(mount))).await?;
    let observed = match output.exit_code {
        0 => "mounted".to_owned(),
        code => format!("exit code {code}: {}", String::from_utf8_lossy(&output.stderr).trim_end()),
    };
    let (is_mounted, name) = (output.exit_code == 0, CheckId::InnerNamespace);
    cx.check_in_pod(workspace.facts(), name, "mounted", observed, is_mounted)
}

// Not every node has AppArmor, and only a pod can tell.
inventory::submit!(Case {
    id: "ISO-11",
    suite: "isolation",
    name: "is_not_confined_by_apparmor",
    title: "No AppArmor profile blocks mounts",
    why: "containerd's default AppArmor profile denies every mount, so a nested pod must request \
          no profile. On nodes without AppArmor the case checks nothing.",
    fix: "Set `appArmorProfile: {type: Unconfined}` in the pod (Kubernetes 1.30 and newer), or \
          the annotation `container.apparmor.security.beta.kubernetes.io/NAME: unconfined` \
          before.",
    level: Level::Extended,
    flavours: &[Flavour::Kubernetes],
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(is_not_confined_by_apparmor(cx))),
    ..Case::DEFAULT
});

async fn is_not_confined_by_apparmor(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let enabled = "cat /sys/module/apparmor/parameters/enabled 2>/dev/null || true";
    let enabled = Command::shell("look for AppArmor", enabled, [""; 0]);
    let label = show_reading(&workspace.facts().security_label, |label| {
        label.clone().unwrap_or_else(|| "none".to_owned())
    });
    if workspace.output(&enabled).await? != "Y" {
        return Err(Failure::not_applicable(format!(
            "the node does not confine by AppArmor (label of the process: {label})"
        )));
    }
    // Otherwise the profile's name, with its mode in parentheses.
    cx.check_equal("AppArmor profile", "unconfined", &label)
}

inventory::submit!(Case {
    id: "ISO-13",
    suite: "isolation",
    name: "connects_by_pasta",
    title: "pasta gives a container a network interface under the node's security policy",
    why: "pasta is podman's default network since version 5. It opens /dev/net/tun and enters the \
          container's network namespace. Older SELinux policies deny this even if the device \
          exists: container-selinux before 2.246 has no rule for it. Only the start of pasta \
          shows whether a policy blocks it.",
    fix: "Read the hint. `Permission denied` on /dev/net/tun means that the nodes need a newer \
          container-selinux (F14). `No such file` means that the pod did not get the device \
          (F13); see ISO-04.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(connects_by_pasta(cx))),
    ..Case::DEFAULT
});

async fn connects_by_pasta(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let remedy = "install passt in the image; podman 5 and newer use it by default";
    need_program(&workspace, "pasta", remedy).await?;
    let facts = workspace.facts();
    let enforced = match &facts.selinux_enforcing {
        Reading::Known(true) => show_reading(&facts.security_label, |label| {
            label.clone().unwrap_or_else(|| "no label".to_owned())
        }),
        _ => "not enforced".to_owned(),
    };
    cx.check("SELinux context", "any that lets the next one pass", enforced, true)?;
    let image = shell_image(&workspace).await?;
    let run = ["run", "--rm", "--name=iso-13", "--network=pasta", &image, "cat", "/proc/net/dev"];
    let devices = workspace.output(&podman(&run)).await?;
    let names =
        devices.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()));
    let others: Vec<_> = names.filter(|name| *name != "lo").collect();
    cx.check(
        "interfaces beside the loopback",
        "at least one",
        others.join(", "),
        !others.is_empty(),
    )
}

// Not every cluster of these kinds enforces SELinux, and only a pod can tell.
inventory::submit!(Case {
    id: "ISO-07",
    suite: "isolation",
    name: "is_confined_by_selinux",
    title: "SELinux enforces its policy, and the pod has type container_engine_t and the \
        namespace's level",
    why: "SELinux is the second protection on OpenShift. The type limits what a process may do, \
          and the level separates pods of different namespaces. nestcheck reads from \
          /sys/fs/selinux/enforce whether SELinux enforces its policy. Without that file, a \
          process of the pod tries to take the type init_t: if SELinux only warns, the process \
          may.",
    fix: "Set SELinux to enforcing mode on the node, update container-selinux, and let the SCC \
          set the type; see SCC-P02.",
    level: Level::Extended,
    flavours: WITH_SCCS,
    requires: NESTED,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(is_confined_by_selinux(cx))),
    ..Case::DEFAULT
});

async fn is_confined_by_selinux(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let label = show_reading(&workspace.facts().security_label, |label| {
        label.clone().unwrap_or_else(|| "none".to_owned())
    });
    if !selinux::is_label(&label) {
        // What was injected into the object is SCC-P02's to check.
        return Err(Failure::blocked(
            format!("the node gives no SELinux labels (/proc/self/attr/current: {label})"),
            "use nodes that enforce SELinux, as OpenShift's do by default",
        ));
    }
    let level = cx.sandbox().selinux_level().unwrap_or_default();
    let expected = format!(":container_engine_t:{level}");
    let holds = !level.is_empty() && selinux::has(&label, "container_engine_t", level);
    cx.check("SELinux context", &expected, &label, holds)?;
    let name = AttemptName::ChangeSecurityLabel;
    let attempts: Vec<Attempt> = workspace.probe(&["attempt", name.as_str()]).await?;
    let attempt = attempts.first().map(|attempt| &attempt.outcome);
    match selinux::mode(&workspace.facts().selinux_enforcing, attempt) {
        Mode::Reported { enforces, how } => cx.check("SELinux", "enforced", how, enforces),
        Mode::Unknown(why) => Err(Failure::blocked(
            format!("the pod can't tell whether the node enforces SELinux: {why}"),
            "look on the node with `getenforce`",
        )),
    }
}

inventory::submit!(Case {
    id: "ISO-09",
    suite: "isolation",
    name: "holds_exactly_the_declared_capabilities",
    title: "The bounding set is exactly SETUID and SETGID, none is effective, and the helpers may \
        gain them",
    why: "The bounding set contains SETUID and SETGID so that newuidmap and newgidmap can have \
          them. The user's own processes have none. With no_new_privs, the two helpers get no \
          capabilities. A larger bounding set gives more power than intended.",
    fix: "Set `capabilities: {drop: [ALL], add: [SETUID, SETGID]}` and `allowPrivilegeEscalation: \
          true`, and look for a webhook or an SCC that adds capabilities \
          (`defaultAddCapabilities`).",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(holds_exactly_the_declared_capabilities(cx))),
    ..Case::DEFAULT
});

async fn holds_exactly_the_declared_capabilities(cx: Context) -> CaseResult {
    let facts = cx.pod(&NESTED_POD).await?.facts().clone();
    let sets = *known(&facts.capabilities)?;
    let declared = CapabilitySet::from(declared(cx.facts()));
    let names = |set: CapabilitySet| {
        if set.is_empty() { "none".to_owned() } else { set.names().join(",") }
    };
    let (expected, observed) = (names(declared), names(sets.bounding));
    cx.check_in_pod(
        &facts,
        CheckId::BoundingCapabilities,
        &format!("`{expected}`"),
        format!("`{observed}`"),
        expected == observed,
    )?;
    cx.check_equal("effective capabilities", "none", &names(sets.effective))?;
    cx.check_in_pod(
        &facts,
        CheckId::NoNewPrivs,
        "false, so that newuidmap gets its file capabilities",
        show_reading(&facts.no_new_privs, ToString::to_string),
        facts.no_new_privs == Reading::Known(false),
    )
}

/// The capabilities that the pod was given: a workspace with the cluster's settings has those.
fn declared(facts: &Facts) -> Capability {
    let settings = facts.devspaces.cluster_settings.iter();
    let added = settings.flat_map(|settings| &settings.pods.capabilities);
    let added: Capability = added.filter_map(|name| Capability::from_name(name)).collect();
    added | Capability::SETUID | Capability::SETGID
}

inventory::submit!(Case {
    id: "ISO-12",
    suite: "isolation",
    name: "mounts_fresh_proc_in_inner_namespaces",
    title: "The user can mount a fresh /proc in a new user and PID namespace",
    why: "This case does without podman what podman does for every container: it creates a user \
          namespace, a PID namespace, and a fresh /proc in them. The masked control proves that \
          `procMount` makes the difference.",
    fix: "See ISO-01. If the kernel refuses the namespace itself, set seccomp and AppArmor to \
          unconfined on containerd, and see PRE-13.",
    requires: NESTED,
    pods: &[&NESTED_POD, &MASKED_PROC],
    kind: CaseKind::Live(|cx| Box::pin(mounts_fresh_proc_in_inner_namespaces(cx))),
    ..Case::DEFAULT
});

async fn mounts_fresh_proc_in_inner_namespaces(cx: Context) -> CaseResult {
    let (workspace, control) = futures::try_join!(cx.pod(&NESTED_POD), cx.pod(&MASKED_PROC))?;
    let answer: FreshProc = workspace.probe(&["mount-proc"]).await?;
    let mounted = matches!(answer.outcome, FreshProcOutcome::Allowed { process_id: 1 });
    let (name, observed) = (CheckId::Proc.named("fresh /proc"), describe(&answer.outcome));
    cx.check_in_pod(workspace.facts(), name, "mounted, shows process 1", observed, mounted)?;
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

inventory::submit!(Case {
    id: "ISO-14",
    suite: "isolation",
    name: "opens_its_own_output",
    title: "The pod's first process and a container's can open their own output by name",
    why: "Images link their logs to /dev/stdout, and entrypoints write to /dev/stderr. Both open \
          the process's output again, and the kernel compares its owner. Early runtimes with \
          user namespaces gave the output to an id that the pod does not have. Then nginx does not \
          start, although everything else works.",
    fix: "Update the container runtime: containerd 2.0 or newer with crun or runc 1.2, or CRI-O \
          with crun. If only the container fails, update crun and conmon in the image.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(3),
    kind: CaseKind::Live(|cx| Box::pin(opens_its_own_output(cx))),
    ..Case::DEFAULT
});

async fn opens_its_own_output(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // Opened only: what is written would be in the pod's log.
    let script = "
        for number in 1 2; do
            : >> /proc/1/fd/$number
            echo $number
        done
    ";
    let open = Command::shell("open the output of process 1", script, [""; 0]);
    cx.check_equal("outputs of process 1 that open", "1\n2", &workspace.output(&open).await?)?;
    let image = shell_image(&workspace).await?;
    let script = "echo a > /dev/stdout; echo b > /proc/self/fd/1; echo c > /dev/stderr";
    for user in ["--user=0", "--user=1234"] {
        let run = podman_run(&["--name=iso-14", user], &image, &["sh", "-euc", script]);
        let written = workspace.output(&run).await?;
        cx.check_equal(&format!("output of a container with {user}"), "a\nb", &written)?;
    }
    Ok(())
}

fn describe(outcome: &FreshProcOutcome) -> String {
    match outcome {
        FreshProcOutcome::Allowed { process_id } => format!("mounted, shows process {process_id}"),
        FreshProcOutcome::Refused { step, errno } => format!("refused at {step:?} with {errno}"),
        FreshProcOutcome::Unavailable { reason } => format!("not attempted: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use harness::facts::{ClusterSettings, PodSettings};

    use super::*;
    use crate::suite::static_checks::tests::kubernetes;

    #[test]
    fn the_settings_of_the_cluster_decide_about_the_bounding_set() {
        let two = Capability::SETUID | Capability::SETGID;
        let mut facts = kubernetes();
        assert_eq!(declared(&facts), two);

        let capabilities = ["SETGID", "SETUID", "CHOWN"].map(str::to_owned).to_vec();
        let pods = PodSettings { capabilities, ..PodSettings::default() };
        let settings = ClusterSettings { pods, ..ClusterSettings::default() };
        facts.devspaces.cluster_settings = Some(settings);
        assert_eq!(declared(&facts), two | Capability::CHOWN);
    }
}
