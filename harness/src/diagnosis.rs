//! Known symptoms, their causes and their cures.

/// A symptom that has been seen before.
struct Signature {
    /// The text that gives it away; all parts must be there.
    symptom: &'static [&'static str],
    /// The cause and what to do about it.
    explanation: &'static str,
}

/// From the most specific to the most general.
const SIGNATURES: [Signature; 21] = [
    Signature {
        symptom: &["newuidmap", "10000 65536", "Operation not permitted"],
        explanation: "the range in /etc/subuid leaves the pod's 65536 ids: the image must have \
                      `user:1001:64535` in /etc/subuid and /etc/subgid (F01)",
    },
    Signature {
        symptom: &["newuidmap", "Could not set caps"],
        explanation: "AppArmor or no_new_privs holds newuidmap back: use an unconfined AppArmor \
                      profile and `allowPrivilegeEscalation: true` (F03)",
    },
    Signature {
        symptom: &["write to uid_map failed: Invalid argument"],
        explanation: "ranges in /etc/subuid overlap: leave one line a user (F04)",
    },
    Signature {
        symptom: &["newuidmap", "Operation not permitted"],
        explanation: "newuidmap may not write the map: the pod needs the capabilities SETUID and \
                      SETGID and `allowPrivilegeEscalation: true`, and the image needs file \
                      capabilities on newuidmap and newgidmap (F02)",
    },
    Signature {
        symptom: &["potentially insufficient UIDs or GIDs available in user namespace"],
        explanation: "the image has ids beyond the range in /etc/subuid: widen the range (F06)",
    },
    Signature {
        symptom: &["no subuid ranges found for user"],
        explanation: "/etc/subuid has no line for the pod's user (F07)",
    },
    Signature {
        symptom: &["cannot clone: Operation not permitted"],
        explanation: "the seccomp profile, AppArmor or `user.max_user_namespaces` forbids inner \
                      user namespaces (F08)",
    },
    Signature {
        symptom: &["mount", "proc", "Operation not permitted"],
        explanation: "/proc is masked: the pod needs `procMount: Unmasked` and the cluster the \
                      feature gate ProcMountType (F09)",
    },
    Signature {
        symptom: &["ping_group_range", "Read-only file system"],
        explanation: "/proc is masked: the pod needs `procMount: Unmasked` (F10)",
    },
    Signature {
        symptom: &["fuse: device not found"],
        explanation: "the pod has no /dev/fuse (F12)",
    },
    Signature {
        symptom: &["/dev/net/tun", "No such file or directory"],
        explanation: "the pod has no /dev/net/tun (F13)",
    },
    Signature {
        symptom: &["/dev/net/tun", "Permission denied"],
        explanation: "SELinux or the device's mode forbids /dev/net/tun: use the type \
                      container_engine_t, and mode 0666 on the node (F14)",
    },
    Signature {
        symptom: &["does not support user namespaces"],
        explanation: "the node's runtime can't make user namespaces: use containerd 2.0 or CRI-O \
                      1.25 or newer (F17)",
    },
    Signature {
        symptom: &["UserNamespacesSupport", "is disabled", "HostUsers"],
        explanation: "the feature gate UserNamespacesSupport is off on the node's kubelet: turn it \
                      on there too, or finish the rollout of the machine config (F18)",
    },
    Signature {
        symptom: &["idmap"],
        explanation: "a volume's file system or the kernel can't map ids: use ext4, xfs or tmpfs \
                      and Linux 6.3 or newer (F16)",
    },
    Signature {
        symptom: &[
            "unable to validate against any security context",
            "capability may not be added",
        ],
        explanation: "the constraint's field `allowedCapabilities` lacks it: it must list SETUID \
                      and SETGID (F21)",
    },
    Signature {
        symptom: &["unable to validate against any security context", "Host Users must be set"],
        explanation: "the constraint requires a user namespace (`userNamespaceLevel`), and the pod \
                      came to admission without `hostUsers: false` (F21)",
    },
    Signature {
        symptom: &["unable to validate against any security context", "allowPrivilegeEscalation"],
        explanation: "the constraint's field `allowPrivilegeEscalation` must be true, or newuidmap \
                      gains no capability (F21)",
    },
    Signature {
        symptom: &["not usable by user or serviceaccount"],
        explanation: "neither the user nor the pod's service account may `use` the constraint: \
                      bind a role that allows it (F21)",
    },
    Signature {
        symptom: &["nftables error: unable to execute nft"],
        explanation: "the image lacks `nft`, which netavark needs: install nftables",
    },
    Signature {
        symptom: &["not supported over overlayfs"],
        explanation: "podman's storage lies on an overlay: mount an emptyDir on \
                      ~/.local/share/containers, or give the pod /dev/fuse (F31)",
    },
];

/// The cause and the cure of a symptom, where they are known.
#[must_use]
pub fn explain(symptom: &str) -> Option<&'static str> {
    SIGNATURES
        .iter()
        .find(|signature| signature.symptom.iter().all(|part| symptom.contains(part)))
        .map(|signature| signature.explanation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_refusal_names_the_gate() {
        let told = explain(
            "Failed to create pod sandbox: the feature gate \"UserNamespacesSupport\" is disabled: \
             can't set spec.HostUsers",
        );
        assert!(told.is_some_and(|text| text.contains("kubelet")));
    }

    #[test]
    fn a_range_outside_the_map_is_told_from_a_missing_capability() {
        let command = "newuidmap 12 0 1000 1 1 10000 65536: write to uid_map failed: Operation not \
                       permitted";
        assert!(explain(command).is_some_and(|text| text.contains("F01")));
        let command = command.replace("10000 65536", "1001 64535");
        assert!(explain(&command).is_some_and(|text| text.contains("F02")));
    }

    #[test]
    fn a_refusal_by_a_constraint_names_the_field_that_decides() {
        let refusal = "pods \"w\" is forbidden: unable to validate against any security context \
                       constraint: provider x: .containers[0].capabilities.add: Invalid value: \
                       \"SETGID\": capability may not be added";
        assert!(explain(refusal).is_some_and(|text| text.contains("`allowedCapabilities`")));
    }

    #[test]
    fn an_unknown_symptom_is_not_explained() {
        assert_eq!(explain("something else"), None);
    }
}
