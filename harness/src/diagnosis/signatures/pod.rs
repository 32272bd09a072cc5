//! What is wrong with a pod or its image, each once. What podman writes is one sign of it, and what a
//! case reads in the pod is another; both have the same cause.

use super::{ANYTHING, Signature, Texts};
use crate::{
    diagnosis::{Diagnosis, predicates},
    verdict::{Place, SignatureId},
};

pub(super) const RANGE_LEAVES_MAP: Diagnosis = Diagnosis {
    id: SignatureId::F01,
    place: Place::Image,
    cause: "a range in /etc/subuid or /etc/subgid leaves the pod's ids",
    fix: "the image must have `user:1001:64535` in /etc/subuid and /etc/subgid",
};

pub(super) const RANGES_OVERLAP: Diagnosis = Diagnosis {
    id: SignatureId::F04,
    place: Place::Image,
    cause: "ranges in /etc/subuid or /etc/subgid overlap, or hold the user's own id",
    fix: "leave ranges that share no id with each other and the user, such as `user:1001:64535`",
};

pub(super) const FEW_IDS: Diagnosis = Diagnosis {
    id: SignatureId::F06,
    place: Place::Image,
    cause: "the user's range in /etc/subuid or /etc/subgid has too few ids for ordinary images",
    fix: "widen it to `user:1001:64535`",
};

pub(in crate::diagnosis) const NAMELESS_USER: Diagnosis = Diagnosis {
    id: SignatureId::F07,
    place: Place::Image,
    cause: "the pod's user has no line in /etc/passwd, so its ranges are not found",
    fix: "let the image's entry point write one, and make /etc/passwd writable for it",
};

pub(super) const RANGES_OF_OTHERS: Diagnosis = Diagnosis {
    id: SignatureId::F07,
    place: Place::Image,
    cause: "the lines in /etc/subuid are of another user",
    fix: "the image must have `user:1001:64535` in /etc/subuid and /etc/subgid, with the name of the \
          pod's user in /etc/passwd",
};

pub(in crate::diagnosis) const NO_RANGE: Diagnosis = Diagnosis {
    id: SignatureId::F07,
    place: Place::Image,
    cause: "/etc/subuid or /etc/subgid has no line for the pod's user",
    fix: "the image must have `user:1001:64535` in both",
};

pub(in crate::diagnosis) const NO_NEW_PRIVS: Diagnosis = Diagnosis {
    id: SignatureId::F02,
    place: Place::Policy,
    cause: "the pod runs with no_new_privs, so newuidmap gains no capability",
    fix: "set `allowPrivilegeEscalation: true`",
};

pub(super) const NO_SETID: Diagnosis = Diagnosis {
    id: SignatureId::F02,
    place: Place::Policy,
    cause: "the pod lacks the capabilities SETUID and SETGID",
    fix: "add them to the container's `capabilities`",
};

pub(in crate::diagnosis) const POWERLESS_HELPER: Diagnosis = Diagnosis {
    id: SignatureId::F02,
    place: Place::Image,
    cause: "newuidmap or newgidmap has lost its file capabilities",
    fix: "in the image, `setcap cap_setuid+ep /usr/bin/newuidmap` and `setcap cap_setgid+ep \
          /usr/bin/newgidmap`",
};

pub(in crate::diagnosis) const SETUID_HELPER: Diagnosis = Diagnosis {
    id: SignatureId::F02,
    place: Place::Image,
    cause: "newuidmap is setuid, so it runs as the pod's root, which may not do more than set ids",
    fix: "take the bit away and give file capabilities: `chmod u-s` and `setcap cap_setuid+ep`, \
          cap_setgid for newgidmap",
};

pub(in crate::diagnosis) const SYSCTL_FORBIDS_NAMESPACES: Diagnosis = Diagnosis {
    id: SignatureId::F08,
    place: Place::Node,
    cause: "a kernel setting forbids user namespaces (`user.max_user_namespaces`, \
            `kernel.unprivileged_userns_clone` or `kernel.apparmor_restrict_unprivileged_userns`)",
    fix: "change it on the node",
};

pub(super) const SECCOMP_FORBIDS_NAMESPACES: Diagnosis = Diagnosis {
    id: SignatureId::F08,
    place: Place::Cluster,
    cause: "the pod's seccomp profile forbids inner user namespaces",
    fix: "set `seccompProfile: {type: Unconfined}`: containerd's default profile forbids clone(2) and \
          unshare(2)",
};

pub(super) const PROC_IS_MASKED: Diagnosis = Diagnosis {
    id: SignatureId::F09,
    place: Place::Cluster,
    cause: "/proc is masked",
    fix: "the pod needs `procMount: Unmasked`, and the cluster the feature gate ProcMountType",
};

pub(in crate::diagnosis) const FUSE_IS_PRIVATE: Diagnosis = Diagnosis {
    id: SignatureId::F12,
    place: Place::Node,
    cause: "/dev/fuse is not for everybody on the node, and the pod gets it with that mode",
    fix: "chmod it to 0666 on the node",
};

pub(super) const FUSE_IS_NOT_ALLOWED: Diagnosis = Diagnosis {
    id: SignatureId::F12,
    place: Place::Node,
    cause: "the pod's cgroup does not allow /dev/fuse",
    fix: "let the runtime give the device, not a volume: by RuntimeClass, CDI or CRI-O's annotation",
};

pub(in crate::diagnosis) const NO_FUSE: Diagnosis = Diagnosis {
    id: SignatureId::F12,
    place: Place::Node,
    cause: "the pod has no /dev/fuse that it may use",
    fix: "give the pod the device by RuntimeClass, CDI or CRI-O's annotation, or mount an emptyDir on \
          ~/.local/share/containers and set no `mount_program`",
};

pub(super) const TUN_IS_PRIVATE: Diagnosis = Diagnosis {
    id: SignatureId::F14,
    place: Place::Node,
    cause: "/dev/net/tun is not for everybody on the node, and the pod gets it with that mode",
    fix: "chmod it to 0666 on the node",
};

pub(super) const TUN_IS_NOT_ALLOWED: Diagnosis = Diagnosis {
    id: SignatureId::F14,
    place: Place::Node,
    cause: "the pod's cgroup does not allow /dev/net/tun",
    fix: "let the runtime give the device, not a volume: by RuntimeClass, CDI or CRI-O's annotation",
};

pub(in crate::diagnosis) const NO_TUN: Diagnosis = Diagnosis {
    id: SignatureId::F13,
    place: Place::Node,
    cause: "the pod has no /dev/net/tun",
    fix: "give the pod the device by RuntimeClass, CDI or CRI-O's annotation (1.31 or newer)",
};

const fn shown_by(diagnosis: Diagnosis, predicate: fn(&probe::Facts) -> bool) -> Signature {
    Signature::of(diagnosis, ANYTHING).given(predicate)
}

/// The ranges of the user's ids are wrong.
pub(super) const SUBORDINATE_IDS: &[Signature] = &[
    shown_by(NAMELESS_USER, predicates::user_is_nameless),
    shown_by(RANGES_OF_OTHERS, predicates::ranges_are_others),
    shown_by(NO_RANGE, predicates::has_no_range),
    shown_by(RANGES_OVERLAP, predicates::ranges_overlap),
    shown_by(RANGE_LEAVES_MAP, predicates::range_leaves_map),
    shown_by(FEW_IDS, predicates::has_few_ids),
];

/// newuidmap or newgidmap may not write a map.
pub(super) const ID_HELPERS: &[Signature] = &[
    shown_by(SETUID_HELPER, predicates::helper_is_setuid),
    shown_by(POWERLESS_HELPER, predicates::helper_is_powerless),
];

/// The bounding set is another one.
pub(super) const BOUNDING_CAPABILITIES: &[Signature] =
    &[shown_by(NO_SETID, predicates::lacks_setid)];

/// execve(2) grants nothing.
pub(super) const PRIVILEGE_ESCALATION: &[Signature] =
    &[shown_by(NO_NEW_PRIVS, predicates::has_no_new_privs)];

/// /proc is not as it was asked for.
pub(super) const PROC: &[Signature] = &[shown_by(PROC_IS_MASKED, predicates::proc_is_masked)];

/// What unshare(1) writes where the kernel makes no user namespace. A mount that is refused in one has
/// other words and other reasons.
const UNSHARE_REFUSED: Texts = &[
    &["unshare failed", "Operation not permitted"],
    &["unshare failed", "No space left on device"],
];

/// A user namespace can't be made in the pod.
pub(super) const INNER_NAMESPACE: &[Signature] = &[
    Signature::of(SYSCTL_FORBIDS_NAMESPACES, UNSHARE_REFUSED)
        .given(predicates::sysctl_forbids_namespaces),
    Signature::of(SECCOMP_FORBIDS_NAMESPACES, UNSHARE_REFUSED)
        .given(predicates::has_seccomp_filter),
];

/// /dev/fuse can't be used.
pub(super) const FUSE: &[Signature] = &[
    shown_by(FUSE_IS_PRIVATE, predicates::fuse_mode_shuts_out),
    shown_by(FUSE_IS_NOT_ALLOWED, predicates::fuse_cgroup_shuts_out),
    shown_by(NO_FUSE, predicates::fuse_is_absent),
];

/// /dev/net/tun can't be used.
pub(super) const TUN: &[Signature] = &[
    shown_by(TUN_IS_PRIVATE, predicates::tun_mode_shuts_out),
    shown_by(TUN_IS_NOT_ALLOWED, predicates::tun_cgroup_shuts_out),
    shown_by(NO_TUN, predicates::tun_is_absent),
];
