//! What is broken, the cause that must be told, and the cases that are red because of it. And pods that
//! differ without being broken: with them every case passes.

use harness::{
    engine::CaseKind,
    sandbox::pod_template::Isolation,
    verdict::{Place, SignatureId},
};
use k8s_openapi::api::core::v1::Pod;

use crate::{breakage as broken, cases};

/// The cases that run in every broken pod, and pass where they are not about what is broken.
pub const ALWAYS: &[&str] = &["ID-05", "ID-06", "ISO-01", "ISO-04", "ISO-09"];

/// The cases that run in every healthy pod.
pub const SAMPLE: &[&str] =
    &["ID-05", "ID-06", "ID-07", "ISO-01", "ISO-04", "ISO-09", "ISO-10", "POD-01", "POD-03"];

/// A pod that differs from the one that cases use.
#[derive(Clone, Copy)]
pub struct PodVariant {
    /// Its id, for the ids of its cases.
    pub id: &'static str,
    /// What it has in common with no other one.
    pub name: &'static str,
    /// The change.
    pub change: fn(&mut Pod),
    /// How it is kept apart.
    pub isolation: Isolation,
    /// Whether it gets devices.
    pub devices: bool,
}

/// A workspace that is broken in one way.
pub struct Breakage {
    /// The pod.
    pub pod: PodVariant,
    /// What is done in it besides the cases, where they do not show what is broken.
    pub act: Option<Act>,
    /// The case that does it.
    pub kind: CaseKind,
    /// The signature of the cause.
    pub signature: SignatureId,
    /// Where the cause is.
    pub place: Place,
    /// Words of the cause that only this one has.
    pub words: &'static str,
    /// The cases that do not pass because of it. Those of [`ALWAYS`] that are not among them pass.
    pub red: &'static [&'static str],
    /// The cases that do not pass for another cause, which comes with the breakage.
    pub other_causes: &'static [(&'static str, SignatureId)],
}

/// What is done in the pod until something fails.
#[derive(Clone, Copy)]
pub enum Act {
    /// A shell script, with [`IMAGE`] before it.
    Script(&'static str),
    /// Nothing: it does not even start. The cases are not tried then.
    Starts,
    /// It is asked for in a namespace with a stricter Pod Security level.
    IsRefused,
}

/// An image `t` of the probe, built in the pod.
pub const IMAGE: &str = "
    context=$(mktemp -d)
    cp -L /nestcheck/images/scratch/Containerfile /nestcheck/probe \"$context\"
    podman build --quiet --tag t \"$context\"
";

const OWNERS: &str = "
    printf 'FROM scratch\\nCOPY --chown=60000:60000 probe /probe\\n' > \"$context/owners\"
    podman build --quiet --tag t2 --file \"$context/owners\" \"$context\"
";

const HOST_NETWORK: &str = "podman run --rm --network=host t /probe exit 0";

const PING_RANGE: &str = "
    podman run --rm --network=none '--sysctl=net.ipv4.ping_group_range=0 2000000' t /probe exit 0
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

/// podman rounds the number of its locks up to 32.
const LOCKS: &str = "
    for number in $(seq 40); do podman volume create \"volume-$number\"; done
";

macro_rules! breakages {
    ($($id:literal $change:ident $isolation:ident $devices:literal $act:expr
        => $signature:ident $place:ident $words:literal [$($red:literal)*]
        $(besides $($case:literal $cause:ident)*)?,)*) => {
        &[$(Breakage {
            pod: PodVariant {
                id: $id,
                name: stringify!($change),
                change: broken::$change,
                isolation: Isolation::$isolation,
                devices: $devices,
            },
            act: $act,
            kind: CaseKind::Live(|cx| cases::act(cx, $id)),
            signature: SignatureId::$signature,
            place: Place::$place,
            words: $words,
            red: &[$($red),*],
            other_causes: &[$($(($case, SignatureId::$cause)),*)?],
        },)*]
    };
}

/// Every breakage.
pub const BREAKAGES: &[Breakage] = breakages! {
    // Ids.
    "X-01" usual_range Nested true None => F01 Image "leaves the pod's ids" ["ID-05" "ID-07" "POD-01" "POD-03"],
    "X-02" far_range Nested true None => F01 Image "leaves the pod's ids" ["ID-05" "POD-03"],
    "X-03" overlapping_ranges Nested true None => F04 Image "overlap" ["ID-05" "POD-03"],
    "X-04" duplicate_ranges Nested true None => F04 Image "overlap" ["ID-05" "POD-03"],
    "X-05" own_id Nested true None => F04 Image "the user's own id" ["ID-05" "POD-03"],
    "X-06" no_range Nested true Some(Act::Script(OWNERS)) => F07 Image "no line for the pod's user" ["ID-05"],
    "X-07" range_of_another Nested true Some(Act::Script(OWNERS)) => F07 Image "of another user" ["ID-05"],
    "X-08" nameless_user Nested true Some(Act::Script(OWNERS)) => F07 Image "no line in /etc/passwd" ["ID-05"],
    "X-09" tiny_range Nested true Some(Act::Script(OWNERS)) => F06 Image "too few ids" ["ID-05"],
    "X-10" short_range Nested true Some(Act::Script(OWNERS)) => F06 Image "ids beyond the range" [],
    "X-43" usual_range_of_groups Nested true None => F01 Image "leaves the pod's ids" ["ID-05" "POD-03"],
    "X-44" user_without_name Nested true None => F58 Image "home directory" ["POD-03"]
        besides "ID-05" F07,
    // Privileges.
    "X-11" no_capabilities Nested true None => F02 Policy "lacks the capabilities" ["ID-07" "ISO-09" "POD-01" "POD-03"],
    "X-12" no_new_privileges Nested true None => F02 Policy "no_new_privs" ["ISO-09" "POD-03"],
    "X-13" helper_without_capabilities Nested true None => F02 Image "lost its file capabilities" ["ID-06" "POD-03"],
    "X-14" setuid_helper Nested true None => F02 Image "is setuid" ["ID-06" "POD-03"],
    "X-15" no_newuidmap Nested true None => F43 Image "lacks `newuidmap`" ["ID-06" "ID-07" "POD-01" "POD-03"],
    "X-45" no_newgidmap Nested true None => F43 Image "lacks `newgidmap`" ["ID-06" "POD-03"],
    "X-46" one_capability Nested true None => F02 Policy "lacks the capabilities" ["ISO-09" "POD-03"],
    "X-16" default_seccomp Nested true None => F08 Cluster "seccomp profile forbids" ["ISO-10" "POD-03"],
    "X-17" masked_proc UserNamespace true Some(Act::Script(HOST_NETWORK)) => F09 Cluster "/proc is masked" ["ISO-01" "POD-03"],
    "X-19" unchanged Nested true Some(Act::Script(PING_RANGE)) => F11 Image "groups that are not mapped" [],
    "X-20" unchanged Nested true Some(Act::Script(PAUSE)) => F28 Node "no cgroup of its own" [],
    // Devices and networks.
    "X-21" no_fuse Nested false None => F12 Node "has no /dev/fuse" ["ISO-04" "POD-03"],
    "X-22" private_fuse Nested false None => F12 Node "not for everybody" ["ISO-04" "POD-03"],
    "X-23" forbidden_fuse Nested false None => F12 Node "cgroup does not allow" ["ISO-04" "POD-03"],
    "X-24" no_devices Nested false Some(Act::Script(PASTA)) => F13 Node "has no /dev/net/tun" []
        besides "ISO-04" F12,
    "X-25" private_tun Nested false Some(Act::Script(PASTA)) => F14 Node "not for everybody" []
        besides "ISO-04" F12,
    "X-27" no_nft Nested true Some(Act::Script(BRIDGE)) => F43 Image "lacks `nft`" [],
    "X-28" no_aardvark Nested true Some(Act::Script(NAMES)) => F43 Image "lacks `aardvark-dns`" [],
    "X-47" no_pasta Nested true Some(Act::Script(PASTA)) => F43 Image "lacks `pasta`" [],
    "X-48" no_conmon Nested true None => F43 Image "lacks `conmon`" ["POD-01" "POD-03"],
    "X-49" no_runtime Nested true None => F43 Image "`crun`" ["POD-01" "POD-03"],
    "X-50" no_netavark Nested true None => F43 Image "lacks `netavark`" ["POD-01" "POD-03"],
    "X-51" failing_nft Nested true Some(Act::Script(BRIDGE)) => F47 Node "kernel lacks a module" [],
    // Storage.
    "X-29" vfs Nested true None => F34 Image "`vfs`" ["POD-01"],
    "X-30" read_only_storage Nested true None => F36 Cluster "read-only" ["POD-01" "POD-03"],
    "X-31" storage_of_another Nested true None => F27 Cluster "does not belong to the pod's user" ["POD-03"],
    "X-32" storage_on_overlay Nested true None => F31 Cluster "on an overlay" ["POD-03"],
    "X-33" config_of_another Nested true None => F26 Cluster "belongs to somebody else" ["POD-01" "POD-03"],
    "X-68" unwritable_storage Nested true None => F27 Cluster "podman's storage" ["POD-03"],
    "X-78" full_storage Nested true None => F59 Cluster "full" ["POD-03"],
    // Daily use.
    "X-38" unchanged Nested true Some(Act::Script(RESTART)) => F44 Image "when a container restarts" [],
    "X-39" unchanged Nested true Some(Act::Script(REBOOT)) => F44 Image "another boot" [],
    "X-40" unchanged Nested true Some(Act::Script(NO_PROCESSES)) => F46 Node "no more processes" [],
    "X-41" unchanged Nested true Some(Act::Script(OUTPUT_OF_ANOTHER)) => F52 Unknown "an id that is not mapped" [],
    "X-42" unchanged Nested true Some(Act::Script(NO_INNER_NAMESPACE)) => F08 Node "inner user namespaces" [],
    "X-52" few_locks Nested true Some(Act::Script(LOCKS)) => F51 Image "locks are used up" [],
    // Setup.
    "X-60" invalid_containers_conf Nested true None => F57 Image "TOML" ["ID-07" "POD-01" "POD-03"],
    "X-61" invalid_storage_conf Nested true None => F57 Image "TOML" ["POD-03"],
    "X-63" invalid_registries_conf Nested true None => F57 Image "TOML" ["POD-01"],
    "X-64" other_runtime Nested true None => F43 Image "OCI runtime" ["POD-01" "POD-03"],
    "X-69" read_only_root Nested true None => F58 Image "/tmp" ["POD-01" "POD-03"],
    "X-70" absent_home Nested true None => F58 Image "HOME" ["POD-03"],
    "X-71" absent_runtime_directory Nested true None => F58 Image "XDG_RUNTIME_DIR" ["POD-03"],
    "X-72" read_only_tmp Nested true None => F58 Image "/tmp" ["POD-01" "POD-03"],
    "X-74" read_only_var_tmp Nested true None => F58 Image "/var/tmp" ["POD-03"],
    "X-75" read_only_shm Nested true None => F58 Cluster "/dev/shm" ["POD-01" "POD-03"],
    "X-76" btrfs Nested true None => F57 Image "storage driver" ["POD-03"],
    "X-77" home_at_the_root Nested true None => F58 Image "home directory" ["POD-03"],
    // Pods that do not start.
    "X-34" volume_without_idmap Nested true Some(Act::Starts) => F16 Node "can't map the ids" [],
    "X-35" runtime_without_user_namespaces Nested false Some(Act::Starts) => F17 Node "can't make user namespaces" [],
    "X-36" no_such_program Nested true Some(Act::Starts) => F35 Image "lacks the program" [],
    "X-37" unchanged Nested true Some(Act::IsRefused) => F30 Policy "Pod Security level" [],
    "X-54" user_outside_of_the_map Nested true Some(Act::Starts) => F40 Policy "outside of its user namespace" [],
    "X-55" group_outside_of_the_map Nested true Some(Act::Starts) => F40 Policy "outside of its user namespace" [],
};

const fn healthy(id: &'static str, name: &'static str, change: fn(&mut Pod)) -> PodVariant {
    PodVariant { id, name, change, isolation: Isolation::Nested, devices: true }
}

/// Pods that differ and are not broken.
pub const HEALTHY: &[PodVariant] = &[
    healthy("Y-01", "unchanged", broken::unchanged),
    healthy("Y-02", "two_ranges", broken::two_ranges),
    healthy("Y-04", "limits_with_room", broken::limits_with_room),
    healthy("Y-05", "storage_in_memory", broken::storage_in_memory),
    healthy("Y-06", "other_environment", broken::other_environment),
    healthy("Y-07", "journal_without_systemd", broken::journal_without_systemd),
    healthy("Y-08", "cgroups_by_systemd", broken::cgroups_by_systemd),
];
