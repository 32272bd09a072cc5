//! Failures of podman, by what it and its helpers write.

use super::{Signature, Texts, pod};
use crate::{
    diagnosis::predicates,
    verdict::{Place, SignatureId},
};

/// newuidmap(1) is not allowed to write the map. The second text is the kernel's refusal to start
/// it: its file capabilities are beyond the bounding set (capabilities(7), "Safety checking for
/// capability-dumb binaries").
const MAP_REFUSED: Texts = &[
    &["newuidmap", "write to uid_map failed: Operation not permitted"],
    &["newgidmap", "write to gid_map failed: Operation not permitted"],
    &["fork/exec", "newuidmap: operation not permitted"],
    &["fork/exec", "newgidmap: operation not permitted"],
];

const MAP_INVALID: Texts = &[
    &["write to uid_map failed: Invalid argument"],
    &["write to gid_map failed: Invalid argument"],
];

const NAMESPACE_REFUSED: Texts = &[
    &["cannot clone: Operation not permitted"],
    &["cannot clone: No space left on device"],
    // buildah's words.
    &["unshare(CLONE_NEWUSER): Operation not permitted"],
    &["unshare(CLONE_NEWUSER): Invalid argument"],
    &["unshare(CLONE_NEWUSER): No space left on device"],
    &["User namespaces are not enabled in /proc/sys/user/max_user_namespaces"],
];

/// An id of an image that the map does not have: when it is unpacked, when it is built, and when
/// it runs as that user.
const UNMAPPED_ID: Texts = &[
    &["potentially insufficient UIDs or GIDs available in user namespace"],
    &["there might not be enough IDs available in the namespace"],
    &["lchown", "invalid argument"],
    &["cannot setresuid to", "Invalid argument"],
];

const NO_RANGE: Texts = &[
    &["no subuid ranges found for user"],
    &["no subgid ranges found for"],
    // There is no such file.
    &["cannot read subids"],
];

const FUSE: Texts = &[
    &["fuse: device not found"],
    &["fuse: failed to open /dev/fuse"],
    &["fuse-overlayfs: cannot mount"],
];

const READ_ONLY_SETTINGS: Texts =
    &[&["ping_group_range", "Read-only file system"], &["accept_dad", "ead-only file system"]];

const TUN_REFUSED: Texts =
    &[&["/dev/net/tun", "Permission denied"], &["/dev/net/tun", "Operation not permitted"]];

/// What a command in the pod wrote.
pub(super) const OUTPUTS: &[Signature] = &[
    Signature::of(pod::SYSCTL_FORBIDS_NAMESPACES, NAMESPACE_REFUSED)
        .given(predicates::sysctl_forbids_namespaces),
    Signature::of(pod::SECCOMP_FORBIDS_NAMESPACES, NAMESPACE_REFUSED)
        .given(predicates::has_seccomp_filter),
    Signature::new(
        SignatureId::F08,
        Place::Node,
        NAMESPACE_REFUSED,
        "the seccomp profile, AppArmor or `user.max_user_namespaces` forbids inner user namespaces",
        "use profiles of type Unconfined, and see the node's settings",
    ),
    Signature::new(
        SignatureId::F03,
        Place::Node,
        &[&["newuidmap", "Could not set caps"], &["newgidmap", "Could not set caps"]],
        "AppArmor or no_new_privs holds newuidmap back",
        "use an unconfined AppArmor profile and `allowPrivilegeEscalation: true`",
    ),
    Signature::new(
        SignatureId::F04,
        Place::Image,
        &[&["includes the user UID"], &["includes the user GID"]],
        "a range in /etc/subuid or /etc/subgid holds the user's own id",
        "leave ranges that share no id with each other and the user, such as `user:1001:64535`",
    ),
    Signature::of(pod::RANGES_OVERLAP, MAP_INVALID).given(predicates::ranges_overlap),
    Signature::new(
        SignatureId::F04,
        Place::Image,
        MAP_INVALID,
        "the kernel does not take the map that /etc/subuid and /etc/subgid make",
        "leave ranges that share no id with each other and the user, such as `user:1001:64535`",
    ),
    Signature::of(
        pod::RANGE_LEAVES_MAP,
        &[&["newuidmap", "10000 65536", "Operation not permitted"]],
    ),
    Signature::of(pod::RANGE_LEAVES_MAP, MAP_REFUSED).given(predicates::range_leaves_map),
    Signature::of(pod::NO_NEW_PRIVS, MAP_REFUSED).given(predicates::has_no_new_privs),
    Signature::of(pod::NO_SETID, MAP_REFUSED).given(predicates::lacks_setid),
    Signature::of(
        pod::SETUID_HELPER,
        &[&["newuidmap: open of uid_map failed"], &["newgidmap: open of gid_map failed"]],
    ),
    Signature::of(pod::POWERLESS_HELPER, MAP_REFUSED).given(predicates::helper_is_powerless),
    Signature::of(pod::POWERLESS_HELPER, &[&["should have setuid or have filecaps"]]),
    Signature::of(pod::SETUID_HELPER, MAP_REFUSED).given(predicates::helper_is_setuid),
    Signature::new(
        SignatureId::F02,
        Place::Unknown,
        MAP_REFUSED,
        "newuidmap may not write the map",
        "the pod needs the capabilities SETUID and SETGID and `allowPrivilegeEscalation: true`, \
         and the image needs file capabilities on newuidmap and newgidmap",
    ),
    Signature::new(
        SignatureId::F05,
        Place::Image,
        &[
            &["newuidmap", "executable file not found"],
            &["newgidmap", "executable file not found"],
            &["fork/exec", "newuidmap: permission denied"],
        ],
        "the image lacks newuidmap or newgidmap",
        "install shadow-utils or uidmap, with file capabilities on both",
    ),
    Signature::new(
        SignatureId::F05,
        Place::Unknown,
        &[&["cannot set up namespace using"]],
        "podman could not make its user namespace with newuidmap",
        "compare /etc/subuid, the pod's uid_map, its capabilities and those of newuidmap",
    ),
    Signature::new(
        SignatureId::F26,
        Place::Cluster,
        &[&["exists and it is not owned by the current user"]],
        "a directory of the user's home belongs to somebody else",
        "give it to the pod's user, or mount the volume elsewhere",
    ),
    Signature::new(
        SignatureId::F33,
        Place::Image,
        &[&["nftables error: unable to execute nft"]],
        "the image lacks `nft`, which netavark needs",
        "install nftables",
    ),
    Signature::new(
        SignatureId::F43,
        Place::Image,
        &[&["could not find pasta"]],
        "the image lacks `pasta`",
        "install passt",
    ),
    Signature::new(
        SignatureId::F43,
        Place::Image,
        &[&["could not find slirp4netns"]],
        "the image lacks `slirp4netns`, which containers.conf or an option names",
        "use pasta, which is podman's default: remove `default_rootless_network_cmd` from \
         containers.conf",
    ),
    Signature::new(
        SignatureId::F43,
        Place::Image,
        &[&["could not find a working conmon binary"]],
        "the image lacks `conmon`",
        "install conmon",
    ),
    Signature::new(
        SignatureId::F43,
        Place::Image,
        &[&["default OCI runtime", "not found"]],
        "the image lacks the OCI runtime that containers.conf names",
        "install crun, or name another with `runtime` in containers.conf",
    ),
    Signature::new(
        SignatureId::F43,
        Place::Image,
        &[&["could not find \"netavark\""]],
        "the image lacks `netavark`",
        "install netavark",
    ),
    Signature::new(
        SignatureId::F43,
        Place::Image,
        &[&["could not find \"catatonit\""]],
        "the image lacks `catatonit`",
        "install catatonit",
    ),
    Signature::new(
        SignatureId::F31,
        Place::Cluster,
        &[&["not supported over overlayfs"]],
        "podman's storage lies on an overlay, which can't hold another one",
        "mount an emptyDir on ~/.local/share/containers, or give the pod /dev/fuse and the image \
         fuse-overlayfs",
    ),
    Signature::new(
        SignatureId::F36,
        Place::Cluster,
        &[
            &[".local/share/containers", "read-only file system"],
            &["creating runtime static files directory", "read-only file system"],
        ],
        "podman's storage is read-only",
        "mount a writable volume on ~/.local/share/containers",
    ),
    Signature::new(
        SignatureId::F27,
        Place::Cluster,
        &[
            &[".local/share/containers", "mkdir", "permission denied"],
            &["creating runtime static files directory", "permission denied"],
        ],
        "the volume of podman's storage does not belong to the pod's user",
        "set `fsGroup` to the user's group; where the volume's driver ignores it, give the volume \
         away before",
    ),
    Signature::of(pod::FUSE_IS_PRIVATE, FUSE).given(predicates::fuse_mode_shuts_out),
    Signature::of(pod::FUSE_IS_NOT_ALLOWED, FUSE).given(predicates::fuse_cgroup_shuts_out),
    Signature::of(pod::NO_FUSE, FUSE),
    Signature::of(pod::NO_TUN, &[&["/dev/net/tun", "No such file or directory"]]),
    Signature::of(pod::TUN_IS_PRIVATE, TUN_REFUSED).given(predicates::tun_mode_shuts_out),
    Signature::of(pod::TUN_IS_NOT_ALLOWED, TUN_REFUSED).given(predicates::tun_cgroup_shuts_out),
    Signature::new(
        SignatureId::F14,
        Place::Node,
        TUN_REFUSED,
        "SELinux or the device's mode forbids /dev/net/tun",
        "use the type container_engine_t of container-selinux 2.246 or newer, and mode 0666 on \
         the node",
    ),
    Signature::of(
        pod::PROC_IS_MASKED,
        &[
            &["mount `proc` to `proc`", "Operation not permitted"],
            &["mount proc to proc: Operation not permitted"],
            &["error mounting \"proc\"", "operation not permitted"],
        ],
    ),
    Signature::of(pod::PROC_IS_MASKED, READ_ONLY_SETTINGS).given(predicates::proc_is_masked),
    Signature::new(
        SignatureId::F10,
        Place::Cluster,
        READ_ONLY_SETTINGS,
        "/proc is masked, so its settings are read-only",
        "the pod needs `procMount: Unmasked`, and the cluster the feature gate ProcMountType",
    ),
    Signature::new(
        SignatureId::F11,
        Place::Image,
        &[&["ping_group_range", "Invalid argument"]],
        "the setting `net.ipv4.ping_group_range` names groups that are not mapped",
        "set `default_sysctls = []` in containers.conf, or a range within the map",
    ),
    Signature::of(pod::NAMELESS_USER, NO_RANGE).given(predicates::user_is_nameless),
    Signature::of(pod::RANGES_OF_OTHERS, NO_RANGE).given(predicates::ranges_are_others),
    Signature::of(pod::NO_RANGE, NO_RANGE),
    Signature::of(pod::NO_RANGE, UNMAPPED_ID).given(predicates::has_no_range),
    Signature::of(pod::FEW_IDS, UNMAPPED_ID).given(predicates::has_few_ids),
    Signature::new(
        SignatureId::F06,
        Place::Image,
        UNMAPPED_ID,
        "the image has ids beyond the range in /etc/subuid or /etc/subgid",
        "widen the range, or use another image",
    ),
    Signature::new(
        SignatureId::F32,
        Place::Image,
        &[&["aardvark-dns binary not found"], &["` has no address"], &["no answer about `"]],
        "names of containers are not resolved",
        "install aardvark-dns beside netavark, and use a network of the project's own",
    ),
    Signature::new(
        SignatureId::F29,
        Place::Unknown,
        &[&["oom_score_adj", "Permission denied"], &["oom_score_adj", "Invalid argument"]],
        "a nested container can't lower its `oom_score_adj`",
        "expected: leave the option out",
    ),
    Signature::new(
        SignatureId::F28,
        Place::Node,
        &[
            &["pause containers on rootless containers with cgroup V1"],
            &["does not have a cgroup"],
            &["Resource limits are not supported and ignored on cgroups V1"],
            &["not supported", "without a cgroup"],
        ],
        "the pod has no cgroup of its own to give containers limits or to pause them",
        "expected: it needs cgroup v2 and a writable cgroup for the pod",
    ),
];
