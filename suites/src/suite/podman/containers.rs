//! POD: what podman is, and the containers that it runs.

use std::{ops::RangeInclusive, time::Duration};

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, Inside, PodHandle, Profile, parse_probe},
    verdict::{CaseResult, Failure, Level},
    workload::{
        Command,
        truth::{show_map, show_reading},
    },
};
use probe::ProcessIdentity;

use crate::{
    fixtures::NESTED_POD,
    steps::{build, build_with, inner_map, known, podman, podman_run, scratch_image, shell_image},
    suite::NESTED,
};

inventory::submit!(Case {
    id: "POD-01",
    suite: "podman",
    name: "knows_that_it_is_rootless",
    title: "podman reports rootless operation, overlay storage, crun and netavark",
    why: "With the storage driver vfs, every layer is a full copy, and an image of one gigabyte \
          fills the disk in a few builds. Without crun and netavark, other features fail later \
          and with less clear errors.",
    fix: "Mount an emptyDir or a volume at podman's storage directory, or provide /dev/fuse and \
          fuse-overlayfs. Install crun, netavark and aardvark-dns in the image and set \
          `cgroup_manager = \"cgroupfs\"` in containers.conf.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Anywhere,
    kind: CaseKind::Live(|cx| Box::pin(knows_that_it_is_rootless(cx))),
    ..Case::DEFAULT
});

async fn knows_that_it_is_rootless(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let info = workspace.output(&podman(&["info", "--format=json"])).await?;
    let info: serde_json::Value = serde_json::from_str(&info)
        .map_err(|error| Failure::product(format!("`podman info` is not JSON: {error}")))?;
    let value = |pointer: &str| match info.pointer(pointer) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "absent".to_owned(),
    };
    cx.check_equal("rootless", "true", &value("/host/security/rootless"))?;
    cx.check_equal(CheckId::StorageDriver, "overlay", &value("/store/graphDriverName"))?;
    // podman names the runtime only where it has both.
    let cause = ["crun", "conmon"].into_iter().find_map(|program| workspace.lacks(program));
    let runtime = cx.check_equal("OCI runtime", "crun", &value("/host/ociRuntime/name"));
    runtime.map_err(|failure| failure.or_with_hint(cause))?;
    cx.check_equal("network backend", "netavark", &value("/host/networkBackend"))?;
    cx.check_equal("cgroup manager", "cgroupfs", &value("/host/cgroupManager"))
}

inventory::submit!(Case {
    id: "POD-03",
    suite: "podman",
    name: "builds_and_runs_a_scratch_image",
    title: "An image built from scratch runs, and podman returns its exit code",
    why: "The smallest proof that nested containers work: an image from scratch, a container from \
          it, and its exit code. If this case fails, ignore the other results of this suite.",
    fix: "The diagnosis under the case names the cause. See ID-05 and ID-06 for `newuidmap`, \
          ISO-01 for `mount proc`, POD-01 for storage.",
    profiles: &[Profile::Smoke],
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Unmasked,
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(builds_and_runs_a_scratch_image(cx))),
    ..Case::DEFAULT
});

/// The exit codes of `podman run` itself, where the container did not start (podman-run(1), "Exit
/// Status").
const OF_PODMAN: RangeInclusive<i32> = 125..=127;

async fn builds_and_runs_a_scratch_image(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = build(&workspace, "scratch", "pod-03").await?;
    for code in [0, 42] {
        let exit = podman_run(&[], &image, &["/probe", "exit", &code.to_string()]);
        let mut output = workspace.run(&exit).await?;
        if OF_PODMAN.contains(&output.exit_code) {
            output = output.exits(code)?;
        }
        cx.check_equal("exit code", &code.to_string(), &output.exit_code.to_string())?;
    }
    Ok(())
}

/// Owners as the layers' Containerfile says.
const OWNERS: &str = "1234:4321 /srv/greeting\n60000:60001 /srv/open/by-root\n1234:4321 \
                      /srv/open/by-1234\n2345:5432 /srv/open/by-2345";

inventory::submit!(Case {
    id: "POD-06",
    suite: "podman",
    name: "builds_in_layers_as_several_users",
    title: "An image build with several layers and users works in both isolation modes",
    why: "Real builds run commands as root and as other users, and copy files with other owners. \
          Each owner has to be one of the subordinate ids, and both isolation modes of buildah \
          have to work.",
    fix: "Give the user at least 64535 subordinate ids (ID-05), and keep the storage on a file \
          system that can be id-mapped, not on NFS.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(23),
    kind: CaseKind::Live(|cx| Box::pin(builds_in_layers_as_several_users(cx))),
    ..Case::DEFAULT
});

async fn builds_in_layers_as_several_users(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    shell_image(&workspace).await?;
    // A build in isolation chroot has the network of its caller, and takes no other.
    for (isolation, network) in [("oci", "none"), ("chroot", "host")] {
        let tag = format!("pod-06-{isolation}");
        // Without the cache: the second build would otherwise take the layers of the first.
        let options = [
            format!("--isolation={isolation}"),
            format!("--network={network}"),
            "--no-cache".into(),
        ];
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let image = build_with(&workspace, "layers", &tag, &options).await?;
        let stat = podman_run(
            &["--user=0"],
            &image,
            &[
                "sh",
                "-c",
                "stat -c '%u:%g %n' /srv/greeting /srv/open/by-root /srv/open/by-1234 \
                           /srv/open/by-2345; cat /srv/greeting; id -u",
            ],
        );
        let observed = workspace.output(&stat).await?;
        let expected = format!("{OWNERS}\nhello from a layer\n0");
        cx.check_equal(&format!("owners with isolation {isolation}"), &expected, &observed)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "POD-07",
    suite: "podman",
    name: "gives_root_inside",
    title: "A container's root is user 0 inside, may change owners there, and has the map that \
        podman reports",
    why: "Images expect to run as root: to install packages, to change owners. Root in the \
          container is the pod's ordinary user, and the map must show that.",
    fix: "See ID-05 and ID-07. `chown` fails if the subordinate range is too short or not mapped.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(gives_root_inside(cx))),
    ..Case::DEFAULT
});

async fn gives_root_inside(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let script = "touch /srv/mine && chown 1234:4321 /srv/mine && stat -c %u:%g /srv/mine && id -u";
    let observed = workspace.output(&podman_run(&[], &image, &["sh", "-c", script])).await?;
    cx.check_equal("owner of a file given away, and user", "1234:4321\n0", &observed)?;

    let facts = workspace.facts();
    let user = known(&facts.user_name)?.clone().unwrap_or_default();
    let expected = inner_map(known(&facts.subordinate_uids)?, &user, facts.effective_uid);
    let image = scratch_image(&workspace).await?;
    let inner = workspace.run(&podman_run(&[], &image, &["/probe", "facts"])).await?.exits(0)?;
    let inner: probe::Facts = parse_probe(&inner)?;
    let observed = show_reading(&inner.uid_map, |map| show_map(map));
    cx.check_equal("map of the container", &show_map(&expected), &observed)
}

inventory::submit!(Case {
    id: "POD-08",
    suite: "podman",
    name: "runs_as_another_user",
    title: "A container runs as the requested user, and as the caller's own user with keep-id",
    why: "Images run as their own users. `--userns=keep-id` keeps the developer as owner of files \
          in a mounted project.",
    fix: "See ID-05: the requested user has to be within the subordinate range.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(3),
    kind: CaseKind::Live(|cx| Box::pin(runs_as_another_user(cx))),
    ..Case::DEFAULT
});

async fn runs_as_another_user(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let facts = workspace.facts();
    let own = format!("{}:{}", facts.effective_uid, facts.effective_gid);
    for (option, expected) in
        [("--user=1000:2000", "1000:2000"), ("--userns=keep-id", &own), ("--user=0", "0:0")]
    {
        let run = podman_run(&[option], &image, &["/probe", "id"]);
        let identity: ProcessIdentity = parse_probe(&workspace.run(&run).await?.exits(0)?)?;
        let observed = format!("{}:{}", identity.uid, identity.gid);
        cx.check_equal(&format!("identity with {option}"), expected, &observed)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "POD-09",
    suite: "podman",
    name: "runs_container_through_its_life",
    title: "A detached container can be inspected, read, entered, restarted, stopped and removed",
    why: "Developers start services detached, inspect them, enter them, restart them and stop \
          them. Without a systemd session, podman must use cgroupfs and its own log driver.",
    fix: "Set `cgroup_manager = \"cgroupfs\"`, `events_logger = \"file\"` and `log_driver = \
          \"k8s-file\"` in containers.conf of the image. A container that ignores the stop \
          signal needs a handler for it.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(9),
    kind: CaseKind::Live(|cx| Box::pin(runs_container_through_its_life(cx))),
    ..Case::DEFAULT
});

async fn runs_container_through_its_life(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let name = "pod-09";
    let detach = podman(&[
        "run",
        "--detach",
        "--network=none",
        "--name",
        name,
        &image,
        "/probe",
        "serve",
        "--port",
        "8080",
        "--text",
        "x",
    ]);
    workspace.output(&detach).await?;
    let state = |format: &'static str| inspect(&workspace, name, format);
    cx.check_equal("state", "running", &state("{{.State.Status}}").await?)?;
    let logs = workspace.output(&podman(&["logs", name])).await?;
    cx.check_equal("logs", "listening on 0.0.0.0:8080", &logs)?;
    let entered = podman(&["exec", name, "/probe", "get", "http://127.0.0.1:8080/"]);
    cx.check_equal("answer to an exec inside", "x", &workspace.output(&entered).await?)?;
    workspace.output(&podman(&["stop", "--time=5", name])).await?;
    let stopped = state("{{.State.Status}} {{.State.ExitCode}}").await?;
    cx.check_equal("state after stop", "exited 0", &stopped)?;
    workspace.output(&podman(&["start", name])).await?;
    cx.check_equal("state after start", "running", &state("{{.State.Status}}").await?)?;
    workspace.output(&podman(&["kill", "--signal=KILL", name])).await?;
    workspace.output(&podman(&["wait", name])).await?;
    let killed = state("{{.State.Status}} {{.State.ExitCode}}").await?;
    cx.check_equal("state after kill", "exited 137", &killed)?;
    workspace.output(&podman(&["rm", name])).await?;
    let rest = workspace.run(&podman(&["container", "exists", name])).await?.exit_code;
    cx.check_equal("exit code of `container exists` after rm", "1", &rest.to_string())
}

async fn inspect(workspace: &PodHandle, name: &str, format: &str) -> Result<String, Failure> {
    workspace.output(&Command::new(["podman", "inspect", "--format", format, name])).await
}

inventory::submit!(Case {
    id: "POD-11",
    suite: "podman",
    name: "runs_ten_at_once",
    title: "Ten containers that start at the same time run side by side",
    why: "A project of microservices starts a dozen containers at once. They compete for podman's \
          locks, its database and the pod's processes.",
    fix: "Look at the pod's limits of processes (`podPidsLimit` of the kubelet) and memory, then \
          at `num_locks` in containers.conf.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(5),
    kind: CaseKind::Live(|cx| Box::pin(runs_ten_at_once(cx))),
    ..Case::DEFAULT
});

async fn runs_ten_at_once(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let script = "
        for number in 0 1 2 3 4 5 6 7 8 9; do
            podman run --detach --replace --network=none --name \"pod-11-$number\" \"$1\" &
        done > /dev/null
        wait
        podman ps --filter name=pod-11- --sort names --format '{{.Names}} {{.State}}'
        podman rm --force --time=0 --filter name=pod-11- > /dev/null
        podman ps --all --filter name=pod-11- --format '{{.Names}} remains'
    ";
    let states = workspace.output(&Command::shell("run ten", script, [&image])).await?;
    let expected: Vec<_> = (0..10).map(|number| format!("pod-11-{number} running")).collect();
    cx.check_equal("containers", &expected.join("\n"), &states)
}
