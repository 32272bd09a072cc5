//! Which changes make a known failure go.

use super::{
    Diagnosis,
    absence::{BOTH_NAMES, NO_DEVICES_IN_CLASS, OLD_NAME, SOME_NAME},
    signatures::{cluster, pod},
};
use crate::verdict::{
    Place, Repair,
    SignatureId::{F01, F04, F05, F06, F07, F18, F21, F30, F31, F32, F33, F34, F38, F45, F46, F47},
};

/// Failures whose signature has several causes, of which each has its own repair.
const OF_CAUSES: &[(Diagnosis, &[Repair])] = &[
    (pod::NAMELESS_USER, &[Repair::NamedUser, Repair::SubordinateIds]),
    (pod::POWERLESS_HELPER, &[Repair::HelperCapabilities]),
    (pod::SETUID_HELPER, &[Repair::HelperCapabilities]),
    (pod::SYSCTL_FORBIDS_NAMESPACES, &[Repair::UserNamespaceLimit]),
    (cluster::NO_FURTHER_NAMESPACE, &[Repair::UserNamespaceLimit]),
    (pod::NO_FUSE, &[Repair::Devices]),
    (pod::NO_TUN, &[Repair::Devices]),
    (NO_DEVICES_IN_CLASS, &[Repair::Devices]),
    (OLD_NAME, &[Repair::CrioAnnotations]),
    (BOTH_NAMES, &[Repair::CrioAnnotations]),
    (SOME_NAME, &[Repair::CrioAnnotations]),
    (cluster::DROPPED_SCC_FIELD, &[Repair::Gates]),
    (cluster::DROPPED_HOST_USERS, &[Repair::Gates]),
    (cluster::DROPPED_PROC_MOUNT, &[Repair::Gates]),
];

/// The changes that make a known failure go; none where only a person can tell.
pub(super) fn repairs(diagnosis: &Diagnosis) -> &'static [Repair] {
    if let Some((_, repairs)) = OF_CAUSES.iter().find(|(known, _)| known == diagnosis) {
        return repairs;
    }
    match (diagnosis.id, diagnosis.place) {
        (F01 | F04 | F06 | F07, Place::Image) => &[Repair::SubordinateIds],
        (F05, Place::Image) => &[Repair::IdHelpers],
        (F31, _) => &[Repair::FuseOverlayfs],
        (F32, Place::Image) => &[Repair::AardvarkDns],
        (F33, Place::Image) => &[Repair::Nftables],
        (F34, Place::Image) => &[Repair::StorageDriver],
        (F18, _) => &[Repair::KubeletGate],
        (F38, _) => &[Repair::CrioDevices],
        (F45, _) => &[Repair::KernelKeys],
        (F46, _) => &[Repair::PodProcesses],
        (F47, _) => &[Repair::NetavarkModules],
        (F21, _) => &[Repair::Scc],
        (F30, _) => &[Repair::PodSecurityLevel],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Symptom, diagnose};

    #[test]
    fn each_cause_of_one_signature_has_its_own_repair() {
        assert_eq!(repairs(&pod::NO_RANGE), [Repair::SubordinateIds]);
        assert_eq!(repairs(&pod::NAMELESS_USER), [Repair::NamedUser, Repair::SubordinateIds]);
        assert_eq!(repairs(&pod::SETUID_HELPER), [Repair::HelperCapabilities]);
        assert_eq!(repairs(&pod::NO_NEW_PRIVS), [], "a setting of the pod");
        assert_eq!(repairs(&pod::FUSE_IS_PRIVATE), [], "the mode of a file on the node");
    }

    #[test]
    fn what_a_message_gives_away_has_its_repair() {
        let refusal = "pods \"x\" is forbidden: violates PodSecurity \"baseline\"";
        let found = diagnose(Symptom::Refusal(refusal), None).expect("it is known");
        assert_eq!(repairs(&found), [Repair::PodSecurityLevel]);
        let start = "failed to start noop process: no space left on device";
        let found = diagnose(Symptom::Start(start), None).expect("it is known");
        assert_eq!(repairs(&found), [Repair::UserNamespaceLimit]);
    }
}
