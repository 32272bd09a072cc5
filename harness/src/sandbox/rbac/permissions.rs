//! The rights that a run needs, and why.

use super::{Need, Permission, Resource, Scope, Target};
use crate::facts::Flavour;

/// The API group of SCCs.
const SECURITY: &str = "security.openshift.io";

/// The API group of OpenShift's configuration.
const CONFIG: &str = "config.openshift.io";

/// The API group of roles and their bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

/// Rights that a run needs for one reason, as in a `PolicyRule`: each verb on each target.
struct Entry {
    need: Need,
    why: &'static str,
    verbs: &'static [&'static str],
    targets: &'static [Target],
}

/// A resource and its subresource, all objects of it.
const fn resource(
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
) -> Target {
    Target::Resource(Resource { group, resource, subresource, name: None, scope })
}

const fn cluster(group: &'static str, name: &'static str) -> Target {
    resource(Scope::Cluster, group, name, None)
}

const fn named(
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    name: &'static str,
) -> Target {
    Target::Resource(Resource { group, resource, subresource: None, name: Some(name), scope })
}

const fn of_run(group: &'static str, name: &'static str) -> Target {
    resource(Scope::Run, group, name, None)
}

const READ_SERVER: &str = "Reads what the cluster is, and the feature gates of its API server.";
const READ_NODES: &str = "Reads what the nodes, their kubelets and their runtimes support.";
const AROUND_PODS: &str = "Reads the StorageClasses for workspaces, and the webhooks that may change or refuse their \
     pods.";
const DRY_RUN: &str =
    "Dry runs show which fields of a pod the API server keeps. They store nothing.";
const REPORTED: &str = "Reads the settings of the workspace operators for nested containers.";
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

/// What is read and done on every flavour.
const EVERYWHERE: &[Entry] = &[
    Entry {
        need: Need::Read,
        why: READ_SERVER,
        verbs: &["get"],
        targets: &[Target::Url("/apis"), Target::Url("/version"), Target::Url("/metrics")],
    },
    Entry { need: Need::Read, why: READ_NODES, verbs: &["list"], targets: &[cluster("", "nodes")] },
    Entry {
        need: Need::Read,
        why: READ_NODES,
        verbs: &["get"],
        targets: &[resource(Scope::Cluster, "", "nodes", Some("proxy"))],
    },
    Entry {
        need: Need::Read,
        why: READ_NODES,
        verbs: &["list"],
        targets: &[cluster("node.k8s.io", "runtimeclasses")],
    },
    Entry {
        need: Need::Read,
        why: AROUND_PODS,
        verbs: &["list"],
        targets: &[
            cluster("storage.k8s.io", "storageclasses"),
            cluster("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
            cluster("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ],
    },
    Entry {
        need: Need::Read,
        why: DRY_RUN,
        verbs: &["create"],
        targets: &[resource(Scope::Namespace("default"), "", "pods", None)],
    },
    Entry {
        need: Need::Read,
        why: REPORTED,
        verbs: &["list"],
        targets: &[cluster("org.eclipse.che", "checlusters")],
    },
    Entry {
        need: Need::Read,
        why: REPORTED,
        verbs: &["list"],
        targets: &[cluster("controller.devfile.io", "devworkspaceoperatorconfigs")],
    },
    Entry {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create", "delete", "get", "list", "watch"],
        targets: &[cluster("", "namespaces")],
    },
    Entry {
        need: Need::Run,
        why: RECORD,
        verbs: &["create", "delete", "get", "list"],
        targets: &[resource(Scope::Namespace("default"), "coordination.k8s.io", "leases", None)],
    },
    Entry {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create"],
        targets: &[
            of_run("", "configmaps"),
            of_run("", "serviceaccounts"),
            resource(Scope::Run, "", "serviceaccounts", Some("token")),
        ],
    },
    Entry {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["deletecollection"],
        targets: &[of_run("", "persistentvolumeclaims"), of_run("", "pods")],
    },
    Entry {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create"],
        targets: &[of_run(RBAC, "rolebindings")],
    },
    Entry {
        need: Need::Run,
        why: RECLAIMED,
        verbs: &["list", "watch"],
        targets: &[cluster("", "persistentvolumes")],
    },
    Entry {
        need: Need::Run,
        why: GRANT_EDIT,
        verbs: &["bind"],
        targets: &[named(Scope::Cluster, RBAC, "clusterroles", "edit")],
    },
];

const RELEASE: &str = "Reads the release, its feature gates, and whether a rollout is in progress.";
const SCHEMA: &str = "Reads whether an SCC can require a user namespace.";

/// What is read besides on OpenShift.
const ON_OPENSHIFT: &[Entry] = &[
    Entry {
        need: Need::Read,
        why: RELEASE,
        verbs: &["get"],
        targets: &[named(Scope::Cluster, CONFIG, "clusterversions", "version")],
    },
    Entry {
        need: Need::Read,
        why: RELEASE,
        verbs: &["get"],
        targets: &[named(Scope::Cluster, CONFIG, "featuregates", "cluster")],
    },
    Entry {
        need: Need::Read,
        why: RELEASE,
        verbs: &["list"],
        targets: &[cluster("machineconfiguration.openshift.io", "machineconfigpools")],
    },
];

/// What is read besides on MicroShift, which has no API for its release.
const ON_MICROSHIFT: &[Entry] = &[Entry {
    need: Need::Read,
    why: "Reads the release.",
    verbs: &["get"],
    targets: &[named(Scope::Namespace("kube-public"), "", "configmaps", "microshift-version")],
}];

/// What is read and done besides where SCCs decide about pods.
const WITH_SCC: &[Entry] = &[
    Entry {
        need: Need::Read,
        why: SCHEMA,
        verbs: &["get"],
        targets: &[named(
            Scope::Cluster,
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "securitycontextconstraints.security.openshift.io",
        )],
    },
    Entry {
        need: Need::Run,
        why: OF_ITS_OWN,
        verbs: &["create", "delete", "list"],
        targets: &[cluster(SECURITY, "securitycontextconstraints"), cluster(RBAC, "clusterroles")],
    },
    Entry {
        need: Need::Run,
        why: "Only a user who may use an SCC can let others use it. Its name is not known in \
              advance. This is less than `escalate`, which permits any grant, and adds nothing \
              for a user who may create such SCCs.",
        verbs: &["use"],
        targets: &[cluster(SECURITY, "securitycontextconstraints")],
    },
    Entry {
        need: Need::Run,
        why: READY,
        verbs: &["list", "watch"],
        targets: &[of_run("", "serviceaccounts")],
    },
    Entry { need: Need::Run, why: PAST_SCC, verbs: &["create"], targets: &[of_run("", "pods")] },
    Entry {
        need: Need::Read,
        why: IN_CONTROL,
        verbs: &["create", "get"],
        targets: &[resource(Scope::Run, "", "pods", Some("exec"))],
    },
    Entry {
        need: Need::Run,
        why: "Removes the grant of a throwaway namespace, to prove that new pods are then refused.",
        verbs: &["delete"],
        targets: &[of_run(RBAC, "rolebindings")],
    },
    Entry {
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

/// What is read and done besides where the DevWorkspace Operator makes workspaces. The workspaces
/// themselves are the ordinary user's, whom the operator's own part of ClusterRole `edit` lets make
/// them.
const WITH_WORKSPACES: &[Entry] = &[
    Entry {
        need: Need::Read,
        why: "Reads whether the DevWorkspace Operator runs, and which service account needs \
              `use` on the run's own SCC. Without it the run has no workspace cases.",
        verbs: &["list"],
        targets: &[cluster("apps", "deployments")],
    },
    Entry {
        need: Need::Run,
        why: "Creates configurations of the DevWorkspace Operator for the run's workspaces, if \
              the operator is installed.",
        verbs: &["create"],
        targets: &[of_run("controller.devfile.io", "devworkspaceoperatorconfigs")],
    },
    Entry {
        need: Need::Run,
        why: "Deletes the workspaces before their namespace.",
        verbs: &["deletecollection"],
        targets: &[of_run("workspace.devfile.io", "devworkspaces")],
    },
];

/// All rights that a run may need on a flavour, in the order in which they are told.
#[must_use]
pub fn permissions(flavour: Flavour) -> Vec<Permission> {
    of_run_with(flavour, true)
}

/// The rights that a run needs on a flavour, with cases in workspaces or without them.
#[must_use]
pub fn of_run_with(flavour: Flavour, workspaces: bool) -> Vec<Permission> {
    let parts: &[&[Entry]] = match flavour {
        Flavour::Kubernetes => &[EVERYWHERE],
        Flavour::MicroShift => &[EVERYWHERE, ON_MICROSHIFT, WITH_SCC],
        Flavour::OpenShift if workspaces => &[EVERYWHERE, ON_OPENSHIFT, WITH_SCC, WITH_WORKSPACES],
        Flavour::OpenShift => &[EVERYWHERE, ON_OPENSHIFT, WITH_SCC],
    };
    parts.iter().flat_map(|entries| entries.iter()).flat_map(Entry::permissions).collect()
}

impl Entry {
    fn permissions(&self) -> impl Iterator<Item = Permission> {
        self.targets.iter().flat_map(move |&target| {
            let permission =
                move |&verb| Permission { verb, target, need: self.need, why: self.why };
            self.verbs.iter().map(permission)
        })
    }
}
