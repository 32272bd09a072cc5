//! Failures of podman, by what it and its helpers write.

use super::{Signature, Texts};
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

const NO_RANGE: Texts = &[&["no subuid ranges found for user"], &["no subgid ranges found for"]];

const FUSE: Texts = &[
    &["fuse: device not found"],
    &["fuse: failed to open /dev/fuse"],
    &["fuse-overlayfs: cannot mount"],
];

const TUN_REFUSED: Texts =
    &[&["/dev/net/tun", "Permission denied"], &["/dev/net/tun", "Operation not permitted"]];

/// What a command in the pod wrote.
pub(super) const OUTPUTS: &[Signature] = &[
    Signature::new(
        SignatureId::F08,
        Place::Node,
        NAMESPACE_REFUSED,
        "a kernel setting forbids user namespaces (`user.max_user_namespaces`, \
         `kernel.unprivileged_userns_clone` or `kernel.apparmor_restrict_unprivileged_userns`)",
        "change it on the node",
    )
    .given(predicates::sysctl_forbids_namespaces),
    Signature::new(
        SignatureId::F08,
        Place::Cluster,
        NAMESPACE_REFUSED,
        "the pod's seccomp profile forbids inner user namespaces",
        "set `seccompProfile: {type: Unconfined}`: containerd's default profile forbids clone(2) \
         and unshare(2)",
    )
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
    Signature::new(
        SignatureId::F04,
        Place::Image,
        MAP_INVALID,
        "ranges in /etc/subuid or /etc/subgid overlap, or hold the user's own id",
        "leave ranges that share no id with each other and the user, such as `user:1001:64535`",
    )
    .given(predicates::ranges_overlap),
    Signature::new(
        SignatureId::F04,
        Place::Image,
        MAP_INVALID,
        "the kernel does not take the map that /etc/subuid and /etc/subgid make",
        "leave ranges that share no id with each other and the user, such as `user:1001:64535`",
    ),
    Signature::new(
        SignatureId::F01,
        Place::Image,
        &[&["newuidmap", "10000 65536", "Operation not permitted"]],
        "the range in /etc/subuid leaves the pod's 65536 ids",
        "the image must have `user:1001:64535` in /etc/subuid and /etc/subgid",
    ),
    Signature::new(
        SignatureId::F01,
        Place::Image,
        MAP_REFUSED,
        "a range in /etc/subuid or /etc/subgid leaves the pod's ids",
        "the image must have `user:1001:64535` in /etc/subuid and /etc/subgid",
    )
    .given(predicates::range_leaves_map),
    Signature::new(
        SignatureId::F02,
        Place::Policy,
        MAP_REFUSED,
        "the pod runs with no_new_privs, so newuidmap gains no capability",
        "set `allowPrivilegeEscalation: true`",
    )
    .given(predicates::has_no_new_privs),
    Signature::new(
        SignatureId::F02,
        Place::Policy,
        MAP_REFUSED,
        "the pod lacks the capabilities SETUID and SETGID",
        "add them to the container's `capabilities`",
    )
    .given(predicates::lacks_setid),
    Signature::new(
        SignatureId::F02,
        Place::Image,
        &[&["newuidmap: open of uid_map failed"], &["newgidmap: open of gid_map failed"]],
        "newuidmap is setuid, so it runs as the pod's root, which may not do more than set ids",
        "take the bit away and give file capabilities: `chmod u-s` and `setcap cap_setuid+ep`, \
         cap_setgid for newgidmap",
    ),
    Signature::new(
        SignatureId::F02,
        Place::Image,
        MAP_REFUSED,
        "newuidmap or newgidmap has lost its file capabilities",
        "in the image, `setcap cap_setuid+ep /usr/bin/newuidmap` and `setcap cap_setgid+ep \
         /usr/bin/newgidmap`",
    )
    .given(predicates::helper_is_powerless),
    Signature::new(
        SignatureId::F02,
        Place::Image,
        &[&["should have setuid or have filecaps"]],
        "newuidmap or newgidmap has lost its file capabilities",
        "in the image, `setcap cap_setuid+ep /usr/bin/newuidmap` and `setcap cap_setgid+ep \
         /usr/bin/newgidmap`",
    ),
    Signature::new(
        SignatureId::F02,
        Place::Image,
        MAP_REFUSED,
        "newuidmap is setuid, so it runs as the pod's root, which may not do more than set ids",
        "take the bit away and give file capabilities: `chmod u-s` and `setcap cap_setuid+ep`, \
         cap_setgid for newgidmap",
    )
    .given(predicates::helper_is_setuid),
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
    Signature::new(
        SignatureId::F12,
        Place::Node,
        FUSE,
        "/dev/fuse is not for everybody on the node, and the pod gets it with that mode",
        "chmod it to 0666 on the node",
    )
    .given(predicates::fuse_mode_shuts_out),
    Signature::new(
        SignatureId::F12,
        Place::Node,
        FUSE,
        "the pod's cgroup does not allow /dev/fuse",
        "let the runtime give the device, not a volume: by RuntimeClass, CDI or CRI-O's annotation",
    )
    .given(predicates::fuse_cgroup_shuts_out),
    Signature::new(
        SignatureId::F12,
        Place::Node,
        FUSE,
        "the pod has no /dev/fuse that it may use, and podman's storage needs it here",
        "give the pod the device by RuntimeClass, CDI or CRI-O's annotation, or mount an emptyDir \
         on ~/.local/share/containers and set no `mount_program`",
    ),
    Signature::new(
        SignatureId::F13,
        Place::Node,
        &[&["/dev/net/tun", "No such file or directory"]],
        "the pod has no /dev/net/tun",
        "give the pod the device by RuntimeClass, CDI or CRI-O's annotation (1.31 or newer)",
    ),
    Signature::new(
        SignatureId::F14,
        Place::Node,
        TUN_REFUSED,
        "/dev/net/tun is not for everybody on the node, and the pod gets it with that mode",
        "chmod it to 0666 on the node",
    )
    .given(predicates::tun_mode_shuts_out),
    Signature::new(
        SignatureId::F14,
        Place::Node,
        TUN_REFUSED,
        "the pod's cgroup does not allow /dev/net/tun",
        "let the runtime give the device, not a volume: by RuntimeClass, CDI or CRI-O's annotation",
    )
    .given(predicates::tun_cgroup_shuts_out),
    Signature::new(
        SignatureId::F14,
        Place::Node,
        TUN_REFUSED,
        "SELinux or the device's mode forbids /dev/net/tun",
        "use the type container_engine_t of container-selinux 2.246 or newer, and mode 0666 on \
         the node",
    ),
    Signature::new(
        SignatureId::F09,
        Place::Cluster,
        &[
            &["mount `proc` to `proc`", "Operation not permitted"],
            &["mount proc to proc: Operation not permitted"],
            &["error mounting \"proc\"", "operation not permitted"],
        ],
        "/proc is masked",
        "the pod needs `procMount: Unmasked`, and the cluster the feature gate ProcMountType",
    ),
    Signature::new(
        SignatureId::F10,
        Place::Cluster,
        &[&["ping_group_range", "Read-only file system"], &["accept_dad", "ead-only file system"]],
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
    Signature::new(
        SignatureId::F07,
        Place::Image,
        NO_RANGE,
        "the pod's user has no line in /etc/passwd, so its ranges are not found",
        "let the image's entry point write one, and make /etc/passwd writable for it",
    )
    .given(predicates::user_is_nameless),
    Signature::new(
        SignatureId::F07,
        Place::Image,
        NO_RANGE,
        "the lines in /etc/subuid are of another user",
        "the image must have `user:1001:64535` in /etc/subuid and /etc/subgid, with the name of \
         the pod's user in /etc/passwd",
    )
    .given(predicates::ranges_are_others),
    Signature::new(
        SignatureId::F07,
        Place::Image,
        NO_RANGE,
        "/etc/subuid or /etc/subgid has no line for the pod's user",
        "the image must have `user:1001:64535` in both",
    ),
    Signature::new(
        SignatureId::F07,
        Place::Image,
        UNMAPPED_ID,
        "/etc/subuid or /etc/subgid has no line for the pod's user, so only its own id is mapped",
        "the image must have `user:1001:64535` in both",
    )
    .given(predicates::has_no_range),
    Signature::new(
        SignatureId::F06,
        Place::Image,
        UNMAPPED_ID,
        "the user's range in /etc/subuid or /etc/subgid has too few ids for ordinary images",
        "widen it to `user:1001:64535`",
    )
    .given(predicates::has_few_ids),
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
