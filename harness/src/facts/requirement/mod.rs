//! What a case needs from the cluster, decided from facts alone: one file for each requirement.
//!
//! A case lists what it needs: `requires: &[&UserNamespaces, &KubernetesMinor(34)]`.

mod administrator;
mod default_storage_class;
mod devices;
mod gate;
mod kubernetes_minor;
mod node_access;
mod supported_release;
mod unmasked_proc;
mod user_namespace_level;
mod user_namespaces;
mod workspace_operator;

use std::{any::Any, fmt::Debug};

pub use administrator::Administrator;
pub use default_storage_class::DefaultStorageClass;
pub use devices::{DeviceRequests, Devices};
pub use kubernetes_minor::KubernetesMinor;
pub use node_access::NodeAccess;
pub use supported_release::SupportedRelease;
pub use unmasked_proc::UnmaskedProc;
pub use user_namespace_level::UserNamespaceLevel;
pub use user_namespaces::UserNamespaces;
pub use workspace_operator::{InstalledWorkspaceOperator, ReadyWorkspaceOperator};

use crate::{
    base::{place::Place, repair::Repair},
    facts::Facts,
};

/// Something that a case needs from the cluster, and all that is said about it.
pub trait Requirement: Any + Debug + Send + Sync {
    /// What is needed, as a noun phrase for people; a case is blocked without it.
    fn describe(&self) -> String;

    /// Decides whether the cluster with these facts meets the requirement.
    ///
    /// A fact that is unknown meets it: the cases prove what they assert in the pod, and a
    /// missing permission to read must not hide what a cluster can do. Of several facts about one
    /// thing the strongest decides, see [`Facts::evidence`].
    fn decide(&self, facts: &Facts) -> Decision;

    /// Why nothing can be said about the requirement, where the facts that decide it are unknown.
    /// [`Self::decide`] lets a case try then; a statement about the cluster must not be made.
    fn unknown(&self, _facts: &Facts) -> Option<String> {
        None
    }

    /// Why only a pod can tell whether the requirement is met, where the facts do not speak against
    /// it. A statement about the cluster must say so; it is not a reason to doubt the cluster.
    fn to_be_tried(&self, _facts: &Facts) -> Option<String> {
        None
    }

    /// Where something is wrong if the requirement is not met.
    fn place(&self) -> Place {
        Place::Cluster
    }

    /// What has to change where the requirement is not met, for `nestcheck remedy`; nothing where
    /// only a person can tell.
    fn repairs(&self, _facts: &Facts) -> Vec<Repair> {
        Vec::new()
    }

    /// Whether the requirement says anything about this kind of cluster.
    fn concerns(&self, _facts: &Facts) -> bool {
        true
    }
}

/// Whether a case that requires all of these requires an `R`.
#[must_use]
pub fn includes<R: Requirement>(requires: &[&dyn Requirement]) -> bool {
    requires.iter().any(|&requirement| (requirement as &dyn Any).is::<R>())
}

/// Whether a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is met, or nothing known speaks against it: then what happens in the pod decides.
    Met,
    /// It is not met.
    Unmet {
        /// What is missing, and where that was read.
        reason: String,
        /// What would help.
        remedy: String,
    },
}

impl Decision {
    fn unmet(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unmet { reason: reason.into(), remedy: remedy.into() }
    }
}

/// What has to change for all of these that are not met, each change once.
#[must_use]
pub fn repairs<'a>(
    requirements: impl IntoIterator<Item = &'a dyn Requirement>,
    facts: &Facts,
) -> Vec<Repair> {
    let mut all = Vec::new();
    for requirement in requirements {
        if requirement.decide(facts) != Decision::Met {
            all.extend(requirement.repairs(facts));
        }
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
pub(crate) mod tests;
