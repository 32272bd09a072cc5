//! What a cluster is and can do, found by reading. Every fact says where it was read, and a fact
//! that could not be read is unknown with the reason, never false.

mod architecture;
mod cluster_id;
mod device;
mod devspaces;
mod dry_run;
mod evidence;
mod feature_gate;
mod gather;
mod kubelets;
mod lookup;
mod metrics;
mod node;
mod node_kind;
mod platform;
pub mod pod_admission;
mod pool;
mod release;
pub mod requirement;
pub mod restriction;
mod rollout;
mod scc;
mod storage;
mod summary;
pub mod support;
pub mod webhook;

use std::fmt;

pub use architecture::{ARCHITECTURE_LABEL, AskedArchitecture, own_architecture};
pub use device::{
    CDI_ANNOTATION, ChosenRoute, DEVICE_ANNOTATIONS, DEVICE_PATHS, DEVICES_V1, DEVICES_V2,
    DeviceRoute, Knows, devices_in, devices_value, show_runtime,
};
pub use devspaces::{
    CheCluster, ClusterSettings, ConfigName, DevSpaces, FaultyObject, Finding, PodSettings,
    RunConfiguration, Severity, State, Switch, WorkspaceConfig, WorkspaceOperator,
};
pub(crate) use devspaces::{GLOBAL_CONFIG, OF_OPERATOR as PERMISSIONS_OF_OPERATOR};
pub use evidence::Evidence;
pub(crate) use evidence::{FIRST_DEFAULT, FIRST_OPENSHIFT, FIRST_WITH_FREE_GATES};
pub use feature_gate::{Configured, ConfiguredGates, FeatureSet};
pub(crate) use gather::{
    PERMISSIONS, PERMISSIONS_OF_KUBELETS, PERMISSIONS_ON_MICROSHIFT, PERMISSIONS_ON_OPENSHIFT,
};
pub use gather::{gather, gather_in};
use lookup::{Lookup, items, text};
pub use node::{Node, Taint, UnschedulableNode};
pub use node_kind::{NodeGroup, NodeKind};
pub use platform::Platform;
pub(crate) use pool::WORKER;
pub use release::Release;
pub use rollout::Rollout;
pub(crate) use scc::PERMISSIONS as PERMISSIONS_OF_SCCS;
pub use scc::{Sccs, allowed_capabilities};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// A fact and where it was read, or why it could not be.
///
/// A pod's own [`probe::Reading`] is another type: the probe is a static program without this
/// library, its readings all have the same source, and in a pod everything is applicable.
///
/// ```
/// use harness::facts::Fact;
///
/// let runtime = Fact::known("cri-o://1.34.1".to_owned(), "status of node `worker`");
/// let is_crio = runtime.map(|runtime| runtime.starts_with("cri-o://"));
/// assert_eq!(is_crio.value(), Some(&true));
/// assert_eq!(is_crio.source(), Some("status of node `worker`"));
///
/// // A fact that could not be read is unknown, never false.
/// let unread: Fact<bool> = Fact::unknown("GET /api/v1/nodes is forbidden");
/// assert_eq!(unread.value(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Fact_of_{T}")]
pub enum Fact<T> {
    /// It was read.
    Known {
        /// What was read.
        value: T,
        /// Where, as a noun phrase.
        source: String,
    },
    /// It could not be read.
    Unknown {
        /// Why.
        reason: String,
    },
    /// This kind of cluster has no such thing.
    NotApplicable {
        /// Why not.
        reason: String,
    },
}

impl<T> Fact<T> {
    /// A fact that was read at `source`.
    pub fn known(value: T, source: impl Into<String>) -> Self {
        Self::Known { value, source: source.into() }
    }

    /// A fact that could not be read.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// The value, if it is known.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } | Self::NotApplicable { .. } => None,
        }
    }

    /// Where it was read.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Known { source, .. } => Some(source),
            Self::Unknown { .. } | Self::NotApplicable { .. } => None,
        }
    }

    /// Why it could not be read; none where it was, or where there is nothing to read.
    pub fn why_unknown(&self) -> Option<&str> {
        match self {
            Self::Unknown { reason } => Some(reason),
            Self::Known { .. } | Self::NotApplicable { .. } => None,
        }
    }

    /// The fact with another value, if it is known.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known { value, source } => Fact::Known { value: change(value), source },
            Self::Unknown { reason } => Fact::Unknown { reason },
            Self::NotApplicable { reason } => Fact::NotApplicable { reason },
        }
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::unknown("it was not read")
    }
}

/// What kind of cluster it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// OpenShift Container Platform or OKD.
    OpenShift,
    /// MicroShift: OpenShift's SCCs and routes without its configuration API.
    MicroShift,
    /// Any other Kubernetes, kind included.
    Kubernetes,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenShift => "openshift",
            Self::MicroShift => "microshift",
            Self::Kubernetes => "kubernetes",
        })
    }
}

impl Flavour {
    /// The product's name.
    #[must_use]
    pub fn product(self) -> &'static str {
        match self {
            Self::OpenShift => "OpenShift",
            Self::MicroShift => "MicroShift",
            Self::Kubernetes => "Kubernetes",
        }
    }
}

/// A feature gate that has to do with nested containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub enum Gate {
    /// `spec.hostUsers: false` gives a pod a user namespace (KEP-127).
    UserNamespacesSupport,
    /// `procMount: Unmasked` leaves /proc unmasked (KEP-4265).
    ProcMountType,
    /// Pod Security asks less of pods with a user namespace (KEP-127). Nested containers work
    /// without it in namespaces whose level is `privileged`.
    UserNamespacesPodSecurityStandards,
}

impl Gate {
    /// Every gate.
    pub const ALL: [Self; 3] = [
        Self::UserNamespacesSupport,
        Self::ProcMountType,
        Self::UserNamespacesPodSecurityStandards,
    ];

    /// Its name, as components spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespacesSupport => "UserNamespacesSupport",
            Self::ProcMountType => "ProcMountType",
            Self::UserNamespacesPodSecurityStandards => "UserNamespacesPodSecurityStandards",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The API server's version.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct KubernetesVersion {
    /// The minor version, such as 32.
    pub minor: u32,
    /// The whole version, such as `v1.32.5`.
    pub full: String,
}

/// What was read about a cluster; by default nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Facts {
    /// The API server's address.
    pub server: String,
    /// The uid of the namespace `kube-system`, which identifies the cluster whatever its address is.
    pub cluster_id: Fact<String>,
    /// What kind of cluster it is.
    pub flavour: Fact<Flavour>,
    /// The API server's version.
    pub version: KubernetesVersion,
    /// The release of OpenShift or MicroShift that is installed; none on other clusters.
    pub release: Fact<Option<Release>>,
    /// OpenShift's set of feature gates. Only OpenShift has one.
    pub feature_set: Fact<FeatureSet>,
    /// OpenShift's feature gates as configured for the installed release.
    pub configured_gates: Fact<ConfiguredGates>,
    /// Whether the cluster may be updated; the source quotes what speaks against it. OpenShift
    /// only.
    pub upgradeable: Fact<bool>,
    /// Whether an update is under way. OpenShift only.
    pub rollout: Fact<Rollout>,
    /// Whether an SCC can require a user namespace
    /// (`userNamespaceLevel`). Not applicable where there are no SCCs.
    pub scc_schema: Fact<bool>,
    /// The SCCs. Serialised as their names only.
    #[serde(rename = "constraints", serialize_with = "names_of")]
    #[schemars(with = "Fact<Vec<String>>")]
    pub sccs: Fact<Sccs>,
    /// Whether the API server keeps `hostUsers: false`.
    pub keeps_host_users: Fact<bool>,
    /// Whether the API server keeps `procMount: Unmasked`.
    pub keeps_proc_mount: Fact<bool>,
    /// What the API server says of its own gate `UserNamespacesSupport`.
    pub server_user_namespaces_gate: Fact<bool>,
    /// What the API server says of its own gate `ProcMountType`.
    pub server_proc_mount_gate: Fact<bool>,
    /// What the API server says of its own gate `UserNamespacesPodSecurityStandards`.
    pub server_pod_security_gate: Fact<bool>,
    /// What the API server says of its gate `UserNamespacesHostNetworkSupport`, with which a pod may
    /// share the node's network although it has a user namespace.
    pub server_host_network_gate: Fact<bool>,
    /// The nodes that pods may be scheduled on.
    pub nodes: Fact<Vec<Node>>,
    /// The other nodes, as far as the nodes are known.
    pub unschedulable_nodes: Vec<UnschedulableNode>,
    /// The architecture that the pods of a run ask for; none where all nodes have the same. The nodes are
    /// then those that have it.
    #[serde(skip)]
    pub architecture: Option<AskedArchitecture>,
    /// How a pod is to ask for its devices; none where the cluster offers no way. An annotation is
    /// only a candidate, see [`Facts::devices_to_try`].
    pub device_route: Fact<Option<DeviceRoute>>,
    /// The default `StorageClass`: a PVC without a class gets it. None where there is no default.
    pub default_storage: Fact<Option<String>>,
    /// What the operators of workspaces were told.
    #[serde(rename = "toggle")]
    pub devspaces: DevSpaces,
}

impl Facts {
    /// What the API server does with the field that a gate guards; none where no field shows it.
    #[must_use]
    pub fn behaviour(&self, gate: Gate) -> Option<&Fact<bool>> {
        match gate {
            Gate::UserNamespacesSupport => Some(&self.keeps_host_users),
            Gate::ProcMountType => Some(&self.keeps_proc_mount),
            Gate::UserNamespacesPodSecurityStandards => None,
        }
    }

    /// What the API server says of its own gate.
    #[must_use]
    pub fn server_gate(&self, gate: Gate) -> &Fact<bool> {
        match gate {
            Gate::UserNamespacesSupport => &self.server_user_namespaces_gate,
            Gate::ProcMountType => &self.server_proc_mount_gate,
            Gate::UserNamespacesPodSecurityStandards => &self.server_pod_security_gate,
        }
    }

    /// Why only a pod can tell whether devices come by [`Self::device_route`]; none where reading
    /// tells.
    #[must_use]
    pub fn devices_to_try(&self) -> Option<String> {
        device::why_to_try(&self.device_route)
    }

    /// The container runtimes of the nodes that pods may be scheduled on; none where they could not
    /// be read.
    #[must_use]
    pub fn runtimes(&self) -> Vec<String> {
        let nodes = self.nodes.value().into_iter().flatten();
        nodes.map(|node| node.runtime.clone()).collect()
    }

    /// The program that made the cluster, where its nodes name one: `kind`.
    #[must_use]
    pub fn distribution(&self) -> Option<&str> {
        let mut nodes = self.nodes.value()?.iter();
        let is_kind = |node: &Node| {
            node.provider_id.as_deref().is_some_and(|provider| provider.starts_with("kind://"))
        };
        nodes.any(is_kind).then_some("kind")
    }
}

fn names_of<S: Serializer>(sccs: &Fact<Sccs>, to: S) -> Result<S::Ok, S::Error> {
    let names = sccs.clone().map(|sccs| sccs.into_keys().collect::<Vec<_>>());
    names.serialize(to)
}
