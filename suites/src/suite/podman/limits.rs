//! POD-14: what needs control groups or systemd, of which a pod usually has none. A refusal that
//! says so is a known issue; the same request that works is a pass, whatever the cluster.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level, SignatureId},
    workload::{Command, Output},
};
use probe::Mount;

use super::remove;
use crate::{
    fixtures::NESTED_POD,
    steps::{known, podman, podman_run, scratch_image, shell_image},
    suite::NESTED,
};

/// The signature of a pod whose control groups its user can't write, and that has no systemd.
const SIGNATURE: SignatureId = SignatureId::F28;

/// What podman and crun write where control groups are of version 1, which has none for users.
const OF_VERSION_1: [&str; 3] = [
    "Resource limits are not supported and ignored",
    "containers on rootless containers with cgroup V1",
    "is not supported for cgroupv1",
];

/// What podman, crun and any program write of control groups that they can't use, whatever the
/// reason: the pod's mounts tell whether it is that of the known issue.
const OF_ANY_REASON: [&str; 4] =
    ["does not have a cgroup", "the requested cgroup controller", "cgroup.freeze", "sys/fs/cgroup"];

/// The known issue that an output tells of.
fn known_issue(workspace: &PodHandle, output: &Output) -> CaseResult {
    let are_read_only = are_read_only(known(&workspace.facts().mounts)?);
    let written = String::from_utf8_lossy(&output.stderr);
    match written.lines().find(|line| is_known(line, are_read_only)) {
        Some(line) => Err(Failure::known_issue(SIGNATURE, line.trim())),
        None => Ok(()),
    }
}

fn is_known(line: &str, are_read_only: bool) -> bool {
    let has = |words: &[&str]| words.iter().any(|words| line.contains(words));
    has(&OF_VERSION_1) || (are_read_only && has(&OF_ANY_REASON))
}

/// Whether the pod can write to none of its control groups. Those of version 1 are mounted in a
/// directory that is none itself.
fn are_read_only(mounts: &[Mount]) -> bool {
    let is_group = |mount: &&Mount| ["cgroup", "cgroup2"].contains(&mount.fs_type.as_str());
    mounts.iter().filter(is_group).all(Mount::is_read_only)
}

inventory::submit!(Case {
    id: "POD-14A",
    suite: "podman",
    name: "limits_memory_and_processors",
    title: "A container with --memory and --cpus stays within these limits",
    why: "Without limits, one container can use all of the workspace's memory and end it. A pod's \
          user cannot write to the pod's control groups, so podman refuses the limits or warns \
          that it ignores them. That is a known issue if control groups have version 1 or are \
          mounted read-only. It is a failure if podman silently drops a limit, or refuses it \
          although the pod may write.",
    fix: "Use control groups version 2 and let the pod write to its own. With CRI-O that is the \
          annotation `io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw`, from 1.35 on \
          `cgroup2-mount-hierarchy-rw.crio.io`, where the node's handler allows it. With containerd \
          2.1 or newer it is `cgroup_writable = true` of the runtime. Until then, set limits on the \
          pod itself.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(limits_memory_and_processors(cx))),
    ..Case::DEFAULT
});

async fn limits_memory_and_processors(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    // By the files of version 2 of control groups, else by those of version 1.
    let script = "
        cd /sys/fs/cgroup
        if [ -e cgroup.controllers ]; then
            cat memory.max cpu.max
        else
            cat memory/memory.limit_in_bytes
            echo \"$(cat cpu/cpu.cfs_quota_us)\" \"$(cat cpu/cpu.cfs_period_us)\"
        fi
    ";
    let options = ["--name=pod-14a", "--memory=64m", "--cpus=0.5"];
    let output = workspace.run(&podman_run(&options, &image, &["sh", "-euc", script])).await?;
    let limits = output.text();
    if output.exit_code == 0 && limits == LIMITS {
        return cx.check_equal("limits of memory and processors", LIMITS, &limits);
    }
    known_issue(&workspace, &output)?;
    let output = output.exits(0)?;
    cx.check_equal("limits of memory and processors", LIMITS, &output.text())
}

/// 64 MiB, and half of each period.
const LIMITS: &str = "67108864\n50000 100000";

inventory::submit!(Case {
    id: "POD-14B",
    suite: "podman",
    name: "pauses_a_container",
    title: "A container is paused and continues after `podman unpause`",
    why: "Some tools pause a container while they copy its volumes. The container then needs its \
          own control group, which a pod usually cannot provide.",
    fix: "See POD-14A. Until then, stop and start the container.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(pauses_a_container(cx))),
    ..Case::DEFAULT
});

async fn pauses_a_container(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let name = "pod-14b";
    let detach = ["run", "--detach", "--replace", "--network=none", "--name", name, &image];
    workspace.output(&podman(&detach)).await?;
    let paused = workspace.run(&podman(&["pause", name])).await?;
    if paused.exit_code != 0 {
        remove(&workspace, &[name]).await?;
        known_issue(&workspace, &paused)?;
    }
    paused.exits(0)?;
    let state = podman(&["inspect", "--format={{.State.Status}}", name]);
    cx.check_equal("state after pause", "paused", &workspace.output(&state).await?)?;
    workspace.output(&podman(&["unpause", name])).await?;
    cx.check_equal("state after unpause", "running", &workspace.output(&state).await?)?;
    remove(&workspace, &[name]).await
}

/// Runs a container with this command of the probe as its health check.
async fn with_health_check(cx: &Context, name: &str, check: &str) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let check = format!("--health-cmd={check}");
    let run = ["run", "--detach", "--replace", "--network=none", "--name", name, &check];
    let options = ["--health-interval=1s", "--health-retries=1", &image];
    workspace.output(&podman(&[&run[..], &options].concat())).await.map(drop)
}

inventory::submit!(Case {
    id: "POD-14C",
    suite: "podman",
    name: "checks_health_when_asked",
    title: "A requested health check runs in the container and distinguishes healthy from \
        unhealthy",
    why: "Compose files wait for healthy services. Without systemd, the waiting program has to \
          run the health check itself, and the check must work.",
    fix: "If it fails for all containers, check whether `podman exec` works (POD-09); a health \
          check uses it.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(checks_health_when_asked(cx))),
    ..Case::DEFAULT
});

async fn checks_health_when_asked(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let names = ["pod-14c-good", "pod-14c-bad"];
    with_health_check(&cx, names[0], r#"["/probe", "exit", "0"]"#).await?;
    with_health_check(&cx, names[1], r#"["/probe", "exit", "1"]"#).await?;
    for (name, code, health) in [(names[0], "0", "healthy"), (names[1], "1", "unhealthy")] {
        let asked = workspace.run(&podman(&["healthcheck", "run", name])).await?;
        let what = format!("exit code of the health check of {name}");
        cx.check_equal(&what, code, &asked.exit_code.to_string())?;
        let inspect = podman(&["inspect", "--format={{.State.Health.Status}}", name]);
        cx.check_equal(&format!("health of {name}"), health, &workspace.output(&inspect).await?)?;
    }
    remove(&workspace, &names).await
}

inventory::submit!(Case {
    id: "POD-14D",
    suite: "podman",
    name: "checks_health_by_itself",
    title: "A health check with an interval runs by itself",
    why: "Podman leaves repeated health checks to systemd timers. A pod has no systemd, so \
          nothing repeats the checks. That is a known issue.",
    fix: "Check with `podman healthcheck run`. In compose files omit `condition: \
          service_healthy`: it waits forever.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(checks_health_by_itself(cx))),
    ..Case::DEFAULT
});

async fn checks_health_by_itself(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let name = "pod-14d";
    with_health_check(&cx, name, r#"["/probe", "exit", "0"]"#).await?;
    // Twice the interval; podman asks a timer of systemd for it.
    let wait = ["timeout", "2", "podman", "wait", "--condition=healthy", name];
    let waited = workspace.run(&Command::new(wait)).await?;
    let script = "test -S \"${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/systemd/private\"";
    let has_systemd = Command::shell("look for the user's systemd", script, [""; 0]);
    let has_systemd = workspace.run(&has_systemd).await?.exit_code == 0;
    let state = podman(&["inspect", "--format={{.State.Status}} {{.State.Health.Status}}", name]);
    let state = workspace.run(&state).await?.text();
    remove(&workspace, &[name]).await?;
    // The container must run and have no health yet: one that ended is not known to.
    let is_unchecked = waited.exit_code == TIMED_OUT && state == "running starting";
    match waited.exit_code {
        0 => cx.check_equal("health after two intervals", "healthy", "healthy"),
        _ if is_unchecked && !has_systemd => Err(Failure::known_issue(
            SIGNATURE,
            "the health check did not run within two intervals: the pod has no systemd of the \
             user's, whose timers podman uses",
        )),
        code => {
            let observed = format!("exit code {code} of `podman wait`, and `{state}`");
            cx.check("health after two intervals", "healthy", observed, false)
        }
    }
}

/// The exit code of timeout(1) where it ended the command.
const TIMED_OUT: i32 = 124;

inventory::submit!(Case {
    id: "POD-14E",
    suite: "podman",
    name: "lets_systemd_manage_control_groups",
    title: "A container for systemd may create its own control groups",
    why: "Containers that start systemd, such as tests of system packages, must create control \
          groups. Their failure is a known issue only if the pod's own control groups are \
          mounted read-only.",
    fix: "See POD-14A. Until then, run such tests on a separate machine.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(lets_systemd_manage_control_groups(cx))),
    ..Case::DEFAULT
});

async fn lets_systemd_manage_control_groups(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let script = "
        cd /sys/fs/cgroup
        if [ -e cgroup.controllers ]; then
            mkdir /sys/fs/cgroup/nestcheck
        else
            mkdir /sys/fs/cgroup/systemd/nestcheck
        fi
        echo made
    ";
    let options = ["--name=pod-14e", "--systemd=always"];
    let output = workspace.run(&podman_run(&options, &image, &["sh", "-euc", script])).await?;
    if output.exit_code != 0 {
        known_issue(&workspace, &output)?;
    }
    let made = output.exits(0)?.text();
    cx.check_equal("a control group of the container's own", "made", &made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fs_type: &str, mount_point: &str, mode: &str) -> Mount {
        Mount {
            mount_point: mount_point.into(),
            root: "/".into(),
            fs_type: fs_type.into(),
            source: "cgroup".into(),
            options: vec![mode.into()],
            super_options: vec!["rw".into()],
        }
    }

    #[test]
    fn a_refusal_is_known_only_where_the_pods_control_groups_are_read_only() {
        let refused = "mkdir: cannot create directory '/sys/fs/cgroup/nestcheck': No space left";
        assert!(is_known(refused, true));
        assert!(!is_known(refused, false));
        let of_version_1 = "can not pause containers on rootless containers with cgroup V1";
        assert!(is_known(of_version_1, false));
        assert!(!is_known("Error: no such container", true));
    }

    #[test]
    fn one_control_group_that_can_be_written_is_enough() {
        let system = mount("sysfs", "/sys", "rw");
        let whole = mount("cgroup2", "/sys/fs/cgroup", "ro");
        assert!(are_read_only(&[system.clone(), whole]));
        assert!(are_read_only(&[system]), "none at all");
        let directory = mount("tmpfs", "/sys/fs/cgroup", "rw");
        let memory = |mode| mount("cgroup", "/sys/fs/cgroup/memory", mode);
        assert!(are_read_only(&[directory.clone(), memory("ro")]), "version 1");
        assert!(!are_read_only(&[directory, memory("ro"), memory("rw")]));
    }
}
