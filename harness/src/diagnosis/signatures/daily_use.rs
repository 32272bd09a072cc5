//! Failures that come only after a while with podman: by what it leaves behind, by limits that are
//! used up, by networks, by old files, and by a newer podman. Found in reports of users, with the
//! words that they quote.

use super::{ANYTHING, Signature, Texts};
use crate::{
    diagnosis::predicates,
    verdict::{Place, SignatureId},
};

/// podman ends with the first up to 5.6, and with the second from 5.7 on (podman,
/// `pkg/domain/infra/abi/system_linux.go`).
const STALE_PAUSE_PROCESS: Texts = &[
    &["invalid internal status, try resetting the pause process"],
    &["invalid internal status, unable to create a new pause process"],
];

/// The kernel's EAGAIN of clone(2), by Go's runtime, by the C library for Go, by bash, dash, crun and
/// conmon.
const NO_PROCESS: Texts = &[
    &["pthread_create failed: Resource temporarily unavailable"],
    &["failed to create new OS thread", "errno=11"],
    &["fork: ", "esource temporarily unavailable"],
    &["fork failed", "esource temporarily unavailable"],
    &["fork/exec", "esource temporarily unavailable"],
    &["clone:", "esource temporarily unavailable"],
    &["clone(", "esource temporarily unavailable"],
    &["Cannot fork"],
];

/// What the kernel answers where a module is missing: ENOENT for a chain or an expression of a kind
/// that it does not know, EOPNOTSUPP for a family.
const RULES_REFUSED: Texts = &[
    &["Could not process rule: No such file or directory"],
    &["Could not process rule: Operation not supported"],
];

const NETNS_DENIED: Texts = &[
    &["netns dir open: Permission denied"],
    &["Couldn't open network namespace", "Permission denied"],
];

/// What a command in the pod wrote.
pub(super) const OUTPUTS: &[Signature] = &[
    Signature::new(
        SignatureId::F44,
        Place::Image,
        STALE_PAUSE_PROCESS,
        "podman's run root outlived the processes that it describes: it lies on a volume that is \
         kept when a container restarts, or podman's processes were killed",
        "keep `/tmp/storage-run-UID`, or the directory of XDG_RUNTIME_DIR, on the container's own \
         file system, or remove it in the entrypoint; that, or `podman system migrate`, repairs the pod",
    ),
    Signature::new(
        SignatureId::F44,
        Place::Image,
        &[&["boot ID differs from cached boot ID"]],
        "podman's run root is of another boot or another node: it lies on a volume that outlives \
         the pod",
        "keep `/tmp/storage-run-UID`, or the directory of XDG_RUNTIME_DIR, on the container's own \
         file system, or remove it in the entrypoint",
    ),
    Signature::new(
        SignatureId::F45,
        Place::Node,
        &[&["keyring", "isk quota exceeded"], &["session key", "isk quota exceeded"]],
        "the pod's user has used up its quota of kernel keys, of which each container takes one",
        "raise `kernel.keys.maxkeys` and `kernel.keys.maxbytes` on the node, or set `keyring = \
         false` in containers.conf",
    ),
    Signature::new(
        SignatureId::F46,
        Place::Node,
        NO_PROCESS,
        "the pod may have no more processes: its containers share one limit",
        "raise `podPidsLimit` of the kubelet (OpenShift: a KubeletConfig), or the runtime's limit \
         and `ulimit -u`; or run fewer containers at once",
    ),
    Signature::new(
        SignatureId::F33,
        Place::Image,
        &[&["netavark", "iptables: No such file or directory"]],
        "the image lacks `iptables`, which this netavark uses",
        "install nftables and set `firewall_driver = \"nftables\"` in containers.conf",
    ),
    Signature::new(
        SignatureId::F47,
        Place::Node,
        RULES_REFUSED,
        "the node's kernel lacks a module that netavark's rules need, and a pod can't load it",
        "load `nf_tables`, `nft_ct`, `nft_fib_inet`, `nft_masq` and `nft_chain_nat` on the node \
         (/etc/modules-load.d); until then set `firewall_driver = \"none\"` in containers.conf",
    ),
    Signature::new(
        SignatureId::F49,
        Place::Image,
        &[&["slirp4netns support has been removed"]],
        "podman 6 has no slirp4netns",
        "use `--network=pasta`, which is the default; `podman system migrate` converts the \
         containers that exist",
    ),
    Signature::new(
        SignatureId::F49,
        Place::Node,
        &[&["Cgroups v1 not supported"]],
        "podman 6 does not run on a node with cgroup v1, nor where /sys/fs/cgroup is not of cgroup \
         v2",
        "use nodes with cgroup v2; the kubelet of Kubernetes 1.35 requires it by default, and so \
         does OpenShift from 4.19 on",
    ),
    Signature::new(
        SignatureId::F50,
        Place::Cluster,
        &[&["setxattr", "containers/storage", "peration not supported"]],
        "the volume of podman's storage has no extended attributes for users",
        "use a volume of ext4 or xfs: tmpfs has them from Linux 6.6 on, NFS often not",
    ),
    Signature::new(
        SignatureId::F51,
        Place::Image,
        &[&["exceeded num_locks"]],
        "podman's locks are used up: each container, pod and volume takes one, also those of \
         earlier sessions on a kept volume",
        "remove them with `podman system prune --volumes`, raise `num_locks` in containers.conf, \
         then run `podman system renumber`",
    ),
    Signature::new(
        SignatureId::F52,
        Place::Unknown,
        &[
            &["/dev/stdout", "ermission denied"],
            &["/dev/stderr", "ermission denied"],
            &["/proc/1/fd/1", "ermission denied"],
            &["/proc/1/fd/2", "ermission denied"],
            &["/proc/self/fd/1", "ermission denied"],
            &["/proc/self/fd/2", "ermission denied"],
        ],
        "the container's output belongs to an id that is not mapped, so programs that open it by \
         name fail",
        "update what started the container: for the pod, containerd 2.0 with runc 1.2 or crun, or \
         CRI-O with crun; for containers in it, crun and conmon of the image; `tty: true` is a \
         workaround for the pod",
    ),
    Signature::new(
        SignatureId::F53,
        Place::Cluster,
        &[&["too large for defined data type"]],
        "files on the volume belong to ids that the pod does not have, those of a pod without a \
         user namespace",
        "give them to the pod's user once, with `chown` in a pod with `hostUsers: true`",
    ),
    Signature::new(
        SignatureId::F15,
        Place::Node,
        NETNS_DENIED,
        "SELinux keeps pasta from the network namespace's directory",
        "update passt's policy, or use `--network=host` or `none`",
    )
    .given(predicates::selinux_enforces),
    Signature::new(
        SignatureId::F15,
        Place::Node,
        NETNS_DENIED,
        "a security policy of the node keeps pasta from the network namespace: SELinux, or the \
         AppArmor profile `passt`, which applies in unconfined containers too",
        "update passt's policy on the node, or unload the profile there (`apparmor_parser -R`); or \
         use `--network=host` or `none`",
    ),
];

/// podman's networks are on addresses of the cluster.
pub(super) const OVERLAPPING_SUBNETS: &[Signature] = &[Signature::new(
    SignatureId::F48,
    Place::Image,
    ANYTHING,
    "a network of podman's overlaps the cluster's pods, services or name servers, so its \
     containers can't reach them",
    "set `default_subnet_pools` in containers.conf to a range that the cluster does not use, and \
     create the network again",
)];

#[cfg(test)]
mod tests {
    use crate::{
        diagnosis::{CheckId, Diagnosis, Symptom, diagnose},
        verdict::SignatureId,
    };

    fn reported(symptom: Symptom<'_>) -> Diagnosis {
        diagnose(symptom, None).unwrap_or_else(|| panic!("{symptom:?} is not known"))
    }

    /// What users reported, and the cause of it.
    const REPORTED: &[(&str, SignatureId)] = &[
        // podman issue 20697, and pull request 27604.
        (
            "level=error msg=\"invalid internal status, try resetting the pause process with \
                 \\\"/usr/bin/podman system migrate\\\": could not find any running process: no such \
                 process\"",
            SignatureId::F44,
        ),
        (
            "Error: fatal error, invalid internal status, unable to create a new pause process: \
                 cannot find a running process. Try running \"podman system migrate\" and if that \
                 doesn't work reboot to recover",
            SignatureId::F44,
        ),
        (
            "Error: current system boot ID differs from cached boot ID; an unhandled reboot has \
                 occurred. Please delete directories \"/tmp/storage-run-1000/containers\" and \
                 \"/tmp/storage-run-1000/libpod/tmp\" and re-run Podman",
            SignatureId::F44,
        ),
        // podman issues 23784 and 13363.
        (
            "Error: crun: create keyring `1e42b038`: Disk quota exceeded: OCI runtime error",
            SignatureId::F45,
        ),
        (
            "container init caused: join session keyring: create session key: disk quota \
                 exceeded: unknown",
            SignatureId::F45,
        ),
        ("bash: fork: retry: Resource temporarily unavailable", SignatureId::F46),
        ("sh: 6: Cannot fork", SignatureId::F46),
        ("runtime: failed to create new OS thread (have 8 already; errno=11)", SignatureId::F46),
        (
            "runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort",
            SignatureId::F46,
        ),
        // netavark issues 1057 and 1495.
        (
            "internal:0:0-0: Error: Could not process rule: No such file or directory\nError: \
                 netavark: nftables error: \"nft\" did not return successfully while applying ruleset",
            SignatureId::F47,
        ),
        ("Error: netavark: iptables: No such file or directory (os error 2)", SignatureId::F33),
        ("Error: netavark: nftables error: unable to execute nft", SignatureId::F33),
        // podman 6, `pkg/specgen/namespaces.go` and `libpod/networking_linux.go`.
        (
            "Error: slirp4netns support has been removed, use --network=pasta instead; for \
                 existing containers, run `podman system migrate`",
            SignatureId::F49,
        ),
        ("level=fatal msg=\"Cgroups v1 not supported\"", SignatureId::F49),
        (
            "lsetxattr /home/user/.local/share/containers/storage/overlay/l/diff: operation not \
                 supported",
            SignatureId::F50,
        ),
        (
            "Error: allocating lock for new container: allocation failed; exceeded num_locks \
                 (2048)",
            SignatureId::F51,
        ),
        // containerd issue 10598.
        ("sh: can't create /dev/stderr: Permission denied", SignatureId::F52),
        ("open() \"/dev/stdout\" failed (13: Permission denied)", SignatureId::F52),
        ("touch: /kept/x: Value too large for defined data type", SignatureId::F53),
        // podman issue 22681.
        (
            "Error: pasta failed with exit code 1:\nCouldn't open network namespace \
                 /run/user/1000/netns/netns-6d: Permission denied",
            SignatureId::F15,
        ),
        // tektoncd/pipeline issue 890.
        ("Error during unshare(CLONE_NEWUSER): Invalid argument", SignatureId::F08),
        (
            "User namespaces are not enabled in /proc/sys/user/max_user_namespaces.",
            SignatureId::F08,
        ),
    ];

    #[test]
    fn what_users_report_is_known_by_its_words() {
        for (text, expected) in REPORTED {
            assert_eq!(reported(Symptom::Output(text)).id, *expected, "{text}");
        }
        let console = "runc create failed: unable to start container process: error during \
                       container init: open /dev/console: operation not permitted";
        assert_eq!(reported(Symptom::Start(console)).id, SignatureId::F54);
        let check = Symptom::Check { id: CheckId::PodmanSubnets, observed: "10.89.0.0/24" };
        assert_eq!(reported(check).id, SignatureId::F48);
    }

    #[test]
    fn the_two_ends_of_a_run_root_have_two_causes() {
        let stale = reported(Symptom::Output(
            "invalid internal status, try resetting the pause process with \"podman system migrate\"",
        ));
        let rebooted = reported(Symptom::Output("boot ID differs from cached boot ID"));
        assert!(stale.cause.contains("when a container restarts"), "{stale}");
        assert!(rebooted.cause.contains("another boot"), "{rebooted}");
    }

    #[test]
    fn other_words_of_the_same_programs_are_not_known() {
        for text in [
            "Error: netavark: nftables error: permission denied",
            "create keyring `x`: Operation not permitted",
            "open /proc/self/fd/7: permission denied",
            "cat: /dev/console: Permission denied",
        ] {
            assert_eq!(diagnose(Symptom::Output(text), None), None, "{text}");
        }
    }
}
