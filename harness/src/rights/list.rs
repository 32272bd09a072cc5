//! The rights that a run needs, and why.

use super::{Need, Resource, Right, Scope, Target};
use crate::facts::Flavour;

/// The API group of security context constraints.
const SECURITY: &str = "security.openshift.io";

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

const fn of_run(group: &'static str, name: &'static str) -> Target {
    resource(Scope::Run, group, name, None)
}

const READ_SERVER: &str = "What the cluster is, and what its API server says of its feature gates.";
const READ_NODES: &str = "What the nodes, their kubelets and their runtimes can do.";
const DRY_RUN: &str =
    "Dry runs that show which fields of a pod the API server keeps; nothing is stored by them.";
const NAMESPACES: &str = "The throwaway namespaces and what is in them. Their names are not known before, so these \
     rights can't be narrowed to them.";
const GRANT_EDIT: &str = "The ordinary user gets ClusterRole `edit` in the throwaway namespaces. Whoever may `bind` it \
     need not have its rights.";

const OF_ITS_OWN: &str = "The run's own security context constraint, and the ClusterRole that lets \
                          the ordinary user use it. Neither is in a namespace.";
const READY: &str = "Waits until a throwaway namespace is ready for pods.";
const PAST_CONSTRAINT: &str =
    "Dry runs of pods that the run's own constraint would refuse before the API server does.";

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
        why: DRY_RUN,
        verbs: &["create"],
        targets: &[resource(Scope::Namespace("default"), "", "pods", None)],
    },
    Entry {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create", "delete", "get", "list", "watch"],
        targets: &[cluster("", "namespaces")],
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
        targets: &[of_run("", "pods")],
    },
    Entry {
        need: Need::Run,
        why: NAMESPACES,
        verbs: &["create"],
        targets: &[of_run(RBAC, "rolebindings")],
    },
    Entry {
        need: Need::Run,
        why: GRANT_EDIT,
        verbs: &["bind"],
        targets: &[Target::Resource(Resource {
            group: RBAC,
            resource: "clusterroles",
            subresource: None,
            name: Some("edit"),
            scope: Scope::Cluster,
        })],
    },
];

/// What is done besides where security context constraints decide about pods.
const WITH_SCC: &[Entry] = &[
    Entry {
        need: Need::Run,
        why: OF_ITS_OWN,
        verbs: &["create", "delete", "list"],
        targets: &[cluster(SECURITY, "securitycontextconstraints"), cluster(RBAC, "clusterroles")],
    },
    Entry {
        need: Need::Run,
        why: "Only who may use a security context constraint can let others use it. The name is \
              not known before. It is less than `escalate`, which allows to grant anything, and \
              nothing new for one who may create such constraints.",
        verbs: &["use"],
        targets: &[cluster(SECURITY, "securitycontextconstraints")],
    },
    Entry {
        need: Need::Run,
        why: READY,
        verbs: &["list", "watch"],
        targets: &[of_run("", "serviceaccounts")],
    },
    Entry {
        need: Need::Run,
        why: PAST_CONSTRAINT,
        verbs: &["create"],
        targets: &[of_run("", "pods")],
    },
    Entry {
        need: Need::Run,
        why: "What is refused after the grant of a throwaway namespace was removed.",
        verbs: &["delete"],
        targets: &[of_run(RBAC, "rolebindings")],
    },
    Entry {
        need: Need::Run,
        why: "Whom the cluster lets use its own constraints for nested containers.",
        verbs: &["list"],
        targets: &[
            cluster(RBAC, "clusterrolebindings"),
            cluster(RBAC, "rolebindings"),
            cluster(RBAC, "roles"),
        ],
    },
];

/// The rights that a run needs on a flavour, in the order in which they are told.
#[must_use]
pub fn rights(flavour: Flavour) -> Vec<Right> {
    let parts: &[&[Entry]] = match flavour {
        Flavour::Kubernetes => &[EVERYWHERE],
        Flavour::MicroShift | Flavour::OpenShift => &[EVERYWHERE, WITH_SCC],
    };
    parts.iter().flat_map(|entries| entries.iter()).flat_map(Entry::rights).collect()
}

impl Entry {
    fn rights(&self) -> impl Iterator<Item = Right> {
        self.targets.iter().flat_map(move |&target| {
            let right = move |&verb| Right { verb, target, need: self.need, why: self.why };
            self.verbs.iter().map(right)
        })
    }
}
