//! Failures of what the DevWorkspace Operator does besides the pods of workspaces.

use super::{
    Signature,
    cluster::{BY_LIMIT_RANGE, BY_QUOTA},
};
use crate::verdict::{Place, SignatureId};

/// A workspace on a shared PVC was deleted and is still there. Its observation ends with what became
/// of the cleanup job.
pub(super) const CLEANUP: &[Signature] = &[
    BY_QUOTA,
    BY_LIMIT_RANGE,
    Signature::new(
        SignatureId::F63,
        Place::Operator,
        &[&["`cleanup-", "has no pod", "security context constraint"]],
        "the pod of the operator's cleanup job is refused: it has the configured \
         `podSecurityContext`, but not the workspace's SCC, user namespace or service account",
        "take what only the workspace's SCC allows (`fsGroup`, `runAsUser`) out of \
         `podSecurityContext` and leave it to the SCC, or use storage type `per-workspace`",
    ),
    Signature::new(
        SignatureId::F63,
        Place::Operator,
        &[
            &["`cleanup-", "without a user namespace", "ermission denied"],
            &["`cleanup-", "without a user namespace", "peration not permitted"],
        ],
        "the operator's cleanup job runs outside of the workspace's user namespace, as a user who \
         may not delete the files of the ids that are mapped there",
        "run `podman system reset --force` before you delete a workspace, or use storage type \
         `per-workspace`; or let the job's group delete them: set `fsGroup`, leave \
         `fsGroupChangePolicy` at `Always`, and use a volume whose driver honours both",
    ),
];

/// What the operator says of every workspace on Kubernetes that it was not told a host name for
/// (devworkspace-operator, `controllers/controller/devworkspacerouting/solvers/basic_solver.go`).
pub(super) const NO_HOST_SUFFIX: Signature = Signature::new(
    SignatureId::F64,
    Place::Operator,
    &[&["routing.clusterHostSuffix"]],
    "the DevWorkspace Operator starts no workspace on Kubernetes before its configuration names the \
     suffix of host names",
    "set `config.routing.clusterHostSuffix` in the DevWorkspaceOperatorConfig \
     `devworkspace-operator-config` of the operator's namespace",
);

#[cfg(test)]
mod tests {
    use crate::{
        diagnosis::{CheckId, Diagnosis, Symptom, diagnose},
        verdict::{Place, SignatureId},
    };

    fn cause(observed: &str) -> Option<Diagnosis> {
        diagnose(Symptom::Check { id: CheckId::WorkspaceDeletion, observed }, None)
    }

    #[test]
    fn a_missing_host_suffix_is_the_operators() {
        let reported = "it is Failed: Failed to set up networking: basic routing requires \
                        .config.routing.clusterHostSuffix to be set in operator config";
        let found = diagnose(Symptom::Start(reported), None).expect("it is known");
        assert_eq!((found.id, found.place), (SignatureId::F64, Place::Operator));
    }

    #[test]
    fn the_cause_of_a_workspace_that_stays_is_what_became_of_the_job() {
        let refused = "it is Terminating: Cleaning up resources for deletion; job `cleanup-w` has \
                       no pod: FailedCreate: Error creating: pods \"cleanup-w-\" is forbidden: \
                       unable to validate against any security context constraint";
        let refused = cause(refused).expect("it is known");
        assert!(refused.cause.contains("is refused"), "{refused}");
        let quota = "it is Terminating: Cleaning up resources for deletion; job `cleanup-w` has no pod: \
                     FailedCreate: Error creating: pods \"cleanup-w-x\" is forbidden: exceeded quota: q";
        assert_eq!(cause(quota).expect("it is known").id, SignatureId::F60);
        let denied = "it is Error: DevWorkspace PVC cleanup job failed; job `cleanup-w` ran as user \
                      1000 without a user namespace and ended with exit code 1: rm: cannot remove \
                      '/tmp/devworkspaces/w/storage/own': Permission denied";
        let denied = cause(denied).expect("it is known");
        assert_eq!(denied.id, SignatureId::F63);
        assert!(denied.cause.contains("user namespace"), "{denied}");
        let slow = "it is Terminating: Cleaning up resources for deletion; the pod of job \
                    `cleanup-w` runs as user 1000 without a user namespace and has not ended";
        assert_eq!(cause(slow), None, "nothing is known to be wrong");
    }
}
