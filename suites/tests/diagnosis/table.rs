//! What is broken, what then goes wrong, and the diagnosis that must be told.

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context},
    sandbox::{
        PodSecurity,
        pod_template::{Isolation, PodTemplate},
    },
    verdict::{CaseResult, Failure, SignatureId},
    workload::Command,
};
use k8s_openapi::api::core::v1::Pod;
use suites::{
    fixtures::NESTED_POD,
    steps::{expect_kept, podman},
};

use crate::breakage as broken;

/// A workspace that is broken in one way.
pub struct Fixture {
    /// The case that fails.
    pub case: Case,
    /// The known failure.
    pub diagnosis: SignatureId,
    /// Words of the cause that only this one has.
    pub cause: &'static str,
    /// Files that must be among the evidence.
    pub shows: &'static [&'static str],
}

/// What can be seen of a pod that runs.
const RUNNING: &[&str] = &[
    "nodes.json",
    "pod-1.events.txt",
    "pod-1.ids.txt",
    "pod-1.mounts.txt",
    "pod-1.object.json",
    "pod-1.podman-info.json",
    "pod-1.probe.json",
    "pod-1.processes.txt",
];

/// What can be seen of a pod that does not start.
const NOT_STARTED: &[&str] = &["nodes.json", "pod-1.events.txt", "pod-1.object.json"];

/// What can be seen where there is no pod.
const NO_POD: &[&str] = &["nodes.json"];

/// What is done in the pod until something fails.
enum Act {
    /// A shell script, with [`IMAGE`] before it.
    Script(&'static str),
    /// Nothing: it does not even start.
    Starts,
    /// The storage driver is compared with the one that is expected.
    ComparesDriver,
    /// It is asked for in a namespace with a stricter Pod Security level.
    IsRefused,
}

/// An image `t` of the probe, built in the pod.
const IMAGE: &str = "
    context=$(mktemp -d)
    cp -L /nestcheck/images/scratch/Containerfile /nestcheck/probe \"$context\"
    podman build --quiet --tag t \"$context\"
";

const NO_NETWORK: &str = "podman run --rm --network=none t /probe exit 0";

const OWNERS: &str = "
    printf 'FROM scratch\\nCOPY --chown=60000:60000 probe /probe\\n' > \"$context/owners\"
    podman build --quiet --tag t2 --file \"$context/owners\" \"$context\"
";

const PASTA: &str = "podman run --rm --network=pasta t /probe exit 0";

const BRIDGE: &str = "
    podman network create bridge-of-test
    podman run --rm --network=bridge-of-test t /probe exit 0
";

const NAMES: &str = "
    podman network create names-of-test
    podman run --detach --name web --network=names-of-test t /probe pause
    podman run --rm --network=names-of-test t /probe resolve web
";

const PAUSE: &str = "
    podman run --detach --name paused --network=none t /probe pause
    podman pause paused
";

/// Ends podman's processes behind its back, as a restart of the container does, and keeps its run
/// root, as a volume at /tmp does.
const RESTART: &str = "
    podman run --detach --network=none t /probe pause
    kill -KILL \"$(cat /tmp/storage-run-*/libpod/tmp/pause.pid)\"
    for process in /proc/[0-9]*; do
        if read -r name 2> /dev/null < \"$process/comm\" && [ \"$name\" = conmon ]; then
            kill -KILL \"${process#/proc/}\"
        fi
    done
    podman ps
";

const REBOOT: &str = "
    for file in /tmp/storage-run-*/libpod/tmp/alive; do echo another > \"$file\"; done
    podman ps
";

const NO_PROCESSES: &str = "bash -c 'ulimit -u 8; podman info'";

const NO_INNER_NAMESPACE: &str = "
    unshare --user --map-root-user sh -c \\
        'echo 0 > /proc/sys/user/max_user_namespaces; buildah unshare true'
";

/// The output of podman's namespace belongs to its root, and the program is of another user.
const OUTPUT_OF_ANOTHER: &str = "podman unshare setpriv --reuid=5 sh -c 'echo x > /dev/stderr'";

/// Breaks the workspace and does what then fails.
async fn produce(cx: Context, isolation: Isolation, breaks: fn(&mut Pod), act: Act) -> CaseResult {
    let template = PodTemplate { isolation, ..NESTED_POD };
    let mut pod = cx.manifest(&template)?;
    breaks(&mut pod);
    if matches!(act, Act::IsRefused) {
        pod.metadata.namespace =
            Some(cx.sandbox().namespaces().enforcing(PodSecurity::Restricted).await?);
        return expect_kept(&cx, &template, &pod).await;
    }
    let workspace = cx.provision_pod(&template, &pod).await?;
    match act {
        Act::Script(script) => {
            let script = format!("{IMAGE}{script}");
            let none: [&str; 0] = [];
            workspace.output(&Command::shell("use podman", &script, none)).await?;
        }
        Act::ComparesDriver => {
            let format = "--format={{.Store.GraphDriverName}}";
            let driver = workspace.output(&podman(&["info", format])).await?;
            cx.check_equal(CheckId::StorageDriver, "overlay", &driver)?;
        }
        Act::Starts | Act::IsRefused => {}
    }
    let reported = cx.check("workspace", "works", "works", true);
    reported.and(Err(Failure::harness("nothing failed")))
}

const fn case(id: &'static str, name: &'static str, kind: CaseKind) -> Case {
    Case { id, suite: "broken", name, title: "A broken workspace fails", kind, ..Case::DEFAULT }
}

macro_rules! fixtures {
    ($($id:literal $breaks:ident $isolation:ident $act:expr => $diagnosis:ident $cause:literal,)*) => {
        &[$(Fixture {
            case: case($id, stringify!($breaks), CaseKind::Live(|cx| {
                Box::pin(produce(cx, Isolation::$isolation, broken::$breaks, $act))
            })),
            diagnosis: SignatureId::$diagnosis,
            cause: $cause,
            shows: match $act {
                Act::Script(_) | Act::ComparesDriver => RUNNING,
                Act::Starts => NOT_STARTED,
                Act::IsRefused => NO_POD,
            },
        },)*]
    };
}

/// Every fixture.
pub const FIXTURES: &[Fixture] = fixtures! {
    // Ids.
    "X-01" usual_range Nested Act::Script(NO_NETWORK) => F01 "leaves the pod's 65536 ids",
    "X-02" far_range Nested Act::Script(NO_NETWORK) => F01 "leaves the pod's ids",
    "X-03" overlapping_ranges Nested Act::Script(NO_NETWORK) => F04 "overlap",
    "X-04" duplicate_ranges Nested Act::Script(NO_NETWORK) => F04 "overlap",
    "X-05" own_id Nested Act::Script(NO_NETWORK) => F04 "the user's own id",
    "X-06" no_range Nested Act::Script(OWNERS) => F07 "no line for the pod's user",
    "X-07" range_of_another Nested Act::Script(OWNERS) => F07 "of another user",
    "X-08" nameless_user Nested Act::Script(OWNERS) => F07 "no line in /etc/passwd",
    "X-09" tiny_range Nested Act::Script(OWNERS) => F06 "too few ids",
    "X-10" short_range Nested Act::Script(OWNERS) => F06 "ids beyond the range",
    // Privileges.
    "X-11" no_capabilities Nested Act::Script(NO_NETWORK) => F02 "lacks the capabilities",
    "X-12" no_new_privileges Nested Act::Script(NO_NETWORK) => F02 "no_new_privs",
    "X-13" helper_without_capabilities Nested Act::Script(NO_NETWORK) => F02 "lost its file capabilities",
    "X-14" setuid_helper Nested Act::Script(NO_NETWORK) => F02 "is setuid",
    "X-15" no_newuidmap Nested Act::Script(NO_NETWORK) => F43 "lacks `newuidmap`",
    "X-16" default_seccomp Nested Act::Script(NO_NETWORK) => F08 "seccomp profile forbids",
    "X-17" masked_proc UserNamespace Act::Script("podman run --rm --network=host t /probe exit 0") => F09 "/proc is masked",
    "X-18" masked_proc UserNamespace Act::Script(NO_NETWORK) => F10 "settings are read-only",
    "X-19" nothing Nested Act::Script("podman run --rm --network=none '--sysctl=net.ipv4.ping_group_range=0 2000000' t /probe exit 0") => F11 "groups that are not mapped",
    "X-20" nothing Nested Act::Script(PAUSE) => F28 "no cgroup of its own",
    // Devices and networks.
    "X-21" no_fuse Nested Act::Script(NO_NETWORK) => F12 "has no /dev/fuse",
    "X-22" private_fuse Nested Act::Script(NO_NETWORK) => F12 "not for everybody",
    "X-23" forbidden_fuse Nested Act::Script(NO_NETWORK) => F12 "cgroup does not allow",
    "X-24" no_devices Nested Act::Script(PASTA) => F13 "has no /dev/net/tun",
    "X-25" private_tun Nested Act::Script(PASTA) => F14 "not for everybody",
    "X-27" no_nft Nested Act::Script(BRIDGE) => F43 "lacks `nft`",
    "X-28" no_aardvark Nested Act::Script(NAMES) => F43 "lacks `aardvark-dns`",
    // Storage.
    "X-29" vfs Nested Act::ComparesDriver => F34 "`vfs`",
    "X-30" read_only_storage Nested Act::Script("") => F36 "read-only",
    "X-31" storage_of_another Nested Act::Script("") => F27 "does not belong to the pod's user",
    "X-32" storage_on_overlay Nested Act::Script("") => F31 "on an overlay",
    "X-33" config_of_another Nested Act::Script("") => F26 "belongs to somebody else",
    // Daily use.
    "X-38" nothing Nested Act::Script(RESTART) => F44 "when a container restarts",
    "X-39" nothing Nested Act::Script(REBOOT) => F44 "another boot",
    "X-40" nothing Nested Act::Script(NO_PROCESSES) => F46 "no more processes",
    "X-41" nothing Nested Act::Script(OUTPUT_OF_ANOTHER) => F52 "an id that is not mapped",
    "X-42" nothing Nested Act::Script(NO_INNER_NAMESPACE) => F08 "inner user namespaces",
    // Pods that do not start.
    "X-34" volume_without_idmap Nested Act::Starts => F16 "can't map the ids",
    "X-35" runtime_without_user_namespaces Nested Act::Starts => F17 "can't make user namespaces",
    "X-36" no_such_program Nested Act::Starts => F35 "lacks the program",
    "X-37" nothing Nested Act::IsRefused => F30 "Pod Security level",
};
