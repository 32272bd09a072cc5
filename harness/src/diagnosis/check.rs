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
        }
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
