//! What a cluster is and can do, found by reading. Every fact says where it was read, and a fact
//! that could not be read is unknown with the reason, never false.

mod gather;
mod metrics;

use std::fmt;

use serde::Serialize;

pub use gather::gather;

/// A fact and where it was read, or why it could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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
            Self::Unknown { .. } => None,
        }
    }
}

/// What kind of cluster it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// A feature gate that nested containers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Gate {
    /// `spec.hostUsers: false` gives a pod a user namespace (KEP-127).
    UserNamespacesSupport,
    /// `procMount: Unmasked` leaves /proc unmasked (KEP-4265).
    ProcMountType,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespacesSupport => "UserNamespacesSupport",
            Self::ProcMountType => "ProcMountType",
        })
    }
}

/// The API server's version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubernetesVersion {
    /// The minor version, such as 32.
    pub minor: u32,
    /// The whole version, such as `v1.32.5`.
    pub full: String,
}

/// A node that pods may be scheduled on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Its kubelet's version.
    pub kubelet: String,
    /// Its container runtime and version, such as `containerd://2.4.2`.
    pub runtime: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its operating system's name.
    pub operating_system: String,
    /// Whether its default runtime handler can make user namespaces.
    pub user_namespaces: Fact<bool>,
    /// Whether its kubelet has the gate `UserNamespacesSupport` on.
    pub kubelet_gate: Fact<bool>,
}

/// How a pod gets /dev/fuse and /dev/net/tun here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceRoute {
    /// CRI-O's annotation `io.kubernetes.cri-o.Devices`.
    Annotation,
    /// A RuntimeClass whose handler adds them.
    RuntimeClass(String),
}

impl fmt::Display for DeviceRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation => f.write_str("annotation `io.kubernetes.cri-o.Devices`"),
            Self::RuntimeClass(name) => write!(f, "RuntimeClass `{name}`"),
        }
    }
}

/// What was read about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The API server's address.
    pub server: String,
    /// What kind of cluster it is.
    pub flavour: Fact<Flavour>,
    /// The API server's version.
    pub version: KubernetesVersion,
    /// Whether the API server keeps `hostUsers: false`.
    pub keeps_host_users: Fact<bool>,
    /// Whether the API server keeps `procMount: Unmasked`.
    pub keeps_proc_mount: Fact<bool>,
    /// What the API server says of its own gate `UserNamespacesSupport`.
    pub server_user_namespaces_gate: Fact<bool>,
    /// What the API server says of its own gate `ProcMountType`.
    pub server_proc_mount_gate: Fact<bool>,
    /// The nodes that pods may be scheduled on.
    pub nodes: Fact<Vec<Node>>,
    /// How a pod gets its devices; none where the cluster offers no way.
    pub device_route: Fact<Option<DeviceRoute>>,
}

impl Facts {
    /// The facts that a reader wants at the top of a report: name and value.
    #[must_use]
    pub fn summary(&self) -> Vec<(String, String)> {
        let mut summary = vec![
            ("server".to_owned(), self.server.clone()),
            ("flavour".to_owned(), show(&self.flavour, ToString::to_string)),
            ("version".to_owned(), self.version.full.clone()),
            ("keeps hostUsers".to_owned(), show(&self.keeps_host_users, yes_or_no)),
            ("keeps procMount".to_owned(), show(&self.keeps_proc_mount, yes_or_no)),
            (
                "devices by".to_owned(),
                show(&self.device_route, |route| {
                    route.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
                }),
            ),
        ];
        match &self.nodes {
            Fact::Known { value: nodes, .. } => {
                summary.extend(
                    nodes.iter().map(|node| (format!("node {}", node.name), describe_node(node))),
                );
            }
            Fact::Unknown { reason } => {
                summary.push(("nodes".to_owned(), format!("unknown: {reason}")));
            }
        }
        summary
    }
}

fn describe_node(node: &Node) -> String {
    format!(
        "kubelet {}, {}, kernel {}, {}, user namespaces {}, kubelet gate {}",
        node.kubelet,
        node.runtime,
        node.kernel,
        node.operating_system,
        show(&node.user_namespaces, yes_or_no),
        show(&node.kubelet_gate, |on| (if *on { "on" } else { "off" }).to_owned()),
    )
}

fn show<T>(fact: &Fact<T>, value: impl Fn(&T) -> String) -> String {
    match fact {
        Fact::Known { value: known, .. } => value(known),
        Fact::Unknown { reason } => format!("unknown: {reason}"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "passed as a function of a reference")]
fn yes_or_no(value: &bool) -> String {
    (if *value { "yes" } else { "no" }).to_owned()
}
