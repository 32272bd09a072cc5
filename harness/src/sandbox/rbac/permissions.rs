//! The permissions that a run needs, and why. Those that only read stand beside their readers, in
//! `facts`.

use crate::{
    cluster::permission::{Need, Permission, Rule, Rules, Scope, cluster, named, of_run, resource},
    facts::{self, Flavour},
    sandbox::placement,
};

/// The API group of SCCs.
const SECURITY: &str = "security.openshift.io";

/// The API group of roles and their bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

const NAMESPACES: &str = "Creates and deletes the throwaway namespaces and their content. Their names are not known \
     in advance, so RBAC cannot limit these permissions to them.";
const RECORD: &str =
    "Records each run, so that `nestcheck sweep` finds the leftovers of killed runs.";
const GRANT_EDIT: &str = "Gives the ordinary user the ClusterRole `edit` in the throwaway namespaces. A user who may \
     `bind` it does not have to hold its permissions.";

const RECLAIMED: &str =
    "Checks whether the volumes of the run's PVCs are deleted. Volumes are not in a namespace.";

const OF_ITS_OWN: &str = "Creates the run's own SCC, and the ClusterRole that lets the ordinary user use it. Neither \
     is in a namespace.";
const READY: &str = "Waits until a throwaway namespace is ready for pods.";
const PAST_SCC: &str =
    "Dry runs of pods that the run's own SCC would refuse before the API server validates them.";
const IN_CONTROL: &str = "Tries the attacks in a privileged control pod, which proves that the nested pod's \
     isolation refuses them. Without this permission the cases report that the proof is \
     missing.";

/// What is done on every flavour.
const EVERYWHERE: Rules = &[
    Rule {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create", "delete", "get", "list", "watch"],
        targets: &[cluster("", "namespaces")],
    },
    Rule {
        need: Need::Run,
        why: RECORD,
        verbs: &["create", "delete", "get", "list"],
        targets: &[resource(Scope::Namespace("default"), "coordination.k8s.io", "leases", None)],
    },
    Rule {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create"],
        targets: &[
            of_run("", "configmaps"),
            of_run("", "serviceaccounts"),
            resource(Scope::Run, "", "serviceaccounts", Some("token")),
        ],
    },
    Rule {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["deletecollection"],
        targets: &[of_run("", "persistentvolumeclaims"), of_run("", "pods")],
    },
    Rule {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create"],
        targets: &[of_run(RBAC, "rolebindings")],
    },
    Rule {
        need: Need::Run,
        why: RECLAIMED,
        verbs: &["list", "watch"],
        targets: &[cluster("", "persistentvolumes")],
    },
    Rule {
        need: Need::Run,
        why: GRANT_EDIT,
        verbs: &["bind"],
        targets: &[named(Scope::Cluster, RBAC, "clusterroles", "edit")],
    },
];

/// What else is read and done where SCCs decide about pods.
const WITH_SCC: Rules = &[
    Rule {
        need: Need::Run,
        why: OF_ITS_OWN,
        verbs: &["create", "delete", "list"],
        targets: &[cluster(SECURITY, "securitycontextconstraints"), cluster(RBAC, "clusterroles")],
    },
    Rule {
        need: Need::Run,
        why: "Only a user who may use an SCC can let others use it. Its name is not known in \
              advance. This is less than `escalate`, which permits any grant, and adds nothing \
              for a user who may create such SCCs.",
        verbs: &["use"],
        targets: &[cluster(SECURITY, "securitycontextconstraints")],
    },
    Rule {
        need: Need::Run,
        why: READY,
        verbs: &["list", "watch"],
        targets: &[of_run("", "serviceaccounts")],
    },
    Rule { need: Need::Run, why: PAST_SCC, verbs: &["create"], targets: &[of_run("", "pods")] },
    Rule {
        need: Need::Read,
        why: IN_CONTROL,
        verbs: &["create", "get"],
        targets: &[resource(Scope::Run, "", "pods", Some("exec"))],
    },
    Rule {
        need: Need::Run,
        why: "Removes the grant of a throwaway namespace, to prove that new pods are then refused.",
        verbs: &["delete"],
        targets: &[of_run(RBAC, "rolebindings")],
    },
    Rule {
        need: Need::Run,
        why: "Reads who may use the cluster's own SCCs for nested containers.",
        verbs: &["list"],
        targets: &[
            cluster(RBAC, "clusterrolebindings"),
            cluster(RBAC, "rolebindings"),
            cluster(RBAC, "roles"),
        ],
    },
];

/// What else is done where the DevWorkspace Operator makes workspaces. The workspaces
/// themselves are the ordinary user's, whom the operator's own part of ClusterRole `edit` lets make
/// them.
const WITH_WORKSPACES: Rules = &[
    Rule {
        need: Need::Run,
        why: "Creates configurations of the DevWorkspace Operator for the run's workspaces, if \
              the operator is installed.",
        verbs: &["create"],
        targets: &[of_run("controller.devfile.io", "devworkspaceoperatorconfigs")],
    },
    Rule {
        need: Need::Run,
        why: "Deletes the workspaces before their namespace.",
        verbs: &["deletecollection"],
        targets: &[of_run("workspace.devfile.io", "devworkspaces")],
    },
];

/// All permissions that a run may need on a flavour, in the order of the roles.
#[must_use]
pub fn permissions(flavour: Flavour) -> Vec<Permission> {
    of_run_with(flavour, true)
}

/// The permissions that a run needs on a flavour, with cases in workspaces or without them.
#[must_use]
pub fn of_run_with(flavour: Flavour, workspaces: bool) -> Vec<Permission> {
    let facts: &[Rules] = match flavour {
        Flavour::Kubernetes => &[],
        Flavour::MicroShift => facts::PERMISSIONS_ON_MICROSHIFT,
        Flavour::OpenShift => facts::PERMISSIONS_ON_OPENSHIFT,
    };
    let sccs: &[Rules] = match flavour {
        Flavour::Kubernetes => &[],
        Flavour::MicroShift | Flavour::OpenShift => &[facts::PERMISSIONS_OF_SCCS, WITH_SCC],
    };
    let workspaces: &[Rules] = match flavour {
        Flavour::OpenShift | Flavour::Kubernetes if workspaces => {
            &[facts::PERMISSIONS_OF_OPERATOR, WITH_WORKSPACES]
        }
        _ => &[],
    };
    [facts::PERMISSIONS, &[placement::PERMISSIONS, EVERYWHERE], facts, sccs, workspaces]
        .into_iter()
        .flatten()
        .flat_map(|rules| rules.iter())
        .flat_map(Rule::permissions)
        .collect()
}
