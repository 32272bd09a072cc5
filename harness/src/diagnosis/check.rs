//! The checks whose failure has a known cause.

use crate::sandbox::pod_template::ADMITTED_BY;

/// A check whose failure has a known cause. Where several fail, the first of this order decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckId {
    /// Podman uses the storage driver `overlay`.
    StorageDriver,
    /// The SCC is stored as it was applied.
    StoredScc,
    /// The pod is stored with `hostUsers: false`.
    StoredHostUsers,
    /// The pod is stored with `procMount: Unmasked`.
    StoredProcMount,
    /// The pod has a range of user ids of its own.
    UidMap,
    /// The requested SCC admitted the pod.
    AdmittedBy,
    /// No network of podman's has an address of the cluster.
    PodmanSubnets,
    /// The user's ranges in /etc/subuid and /etc/subgid can be mapped.
    SubordinateIds,
    /// newuidmap and newgidmap may write maps.
    IdHelpers,
    /// The bounding set has exactly the capabilities that were asked for.
    BoundingCapabilities,
    /// Programs can gain capabilities.
    NoNewPrivs,
    /// /proc is not masked.
    Proc,
    /// A process of the pod can make a user namespace and mount in it.
    InnerNamespace,
    /// /dev/fuse can be used.
    Fuse,
    /// /dev/net/tun can be used.
    Tun,
    /// A deleted workspace is gone.
    WorkspaceDeletion,
}

impl CheckId {
    /// The check's name in events and messages. A control that expects the opposite has the same
    /// name, but not the id.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StorageDriver => "storage driver",
            Self::StoredScc => "stored SCC",
            Self::StoredHostUsers => "stored hostUsers",
            Self::StoredProcMount => "stored procMount",
            Self::UidMap => "/proc/self/uid_map",
            Self::AdmittedBy => ADMITTED_BY,
            Self::PodmanSubnets => "podman's networks and the cluster's addresses",
            Self::SubordinateIds => "/etc/subuid and /etc/subgid",
            Self::IdHelpers => "newuidmap and newgidmap",
            Self::BoundingCapabilities => "bounding capabilities",
            Self::NoNewPrivs => "no_new_privs",
            Self::Proc => "mounts at /proc",
            Self::InnerNamespace => "mount in a new user namespace",
            Self::Fuse => "/dev/fuse",
            Self::Tun => "/dev/net/tun",
            Self::WorkspaceDeletion => "a deleted workspace",
        }
    }

    /// The check of this id with another name, where one case has several.
    #[must_use]
    pub const fn named(self, text: &str) -> CheckName<'_> {
        CheckName { text, id: Some(self) }
    }
}

/// The name of a check, with its id where its failure has a known cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckName<'a> {
    /// The name as it is printed.
    pub text: &'a str,
    /// The check, where signatures know it.
    pub id: Option<CheckId>,
}

impl From<CheckId> for CheckName<'static> {
    fn from(id: CheckId) -> Self {
        Self { text: id.name(), id: Some(id) }
    }
}

impl<'a> From<&'a str> for CheckName<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, id: None }
    }
}

impl<'a> From<&'a String> for CheckName<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}
