//! What a run may do: the rights it needs, whether the caller has them, and roles that grant them.
//!
//! The cases use none of these rights: they act as a service account that the run makes.

mod cluster_role;
mod permissions;
mod review;

use std::fmt;

pub use cluster_role::{ACCOUNT, objects, role};
pub use permissions::{of_run_with, permissions};
pub use review::{missing, review};

/// A permission as Kubernetes RBAC knows it: one verb on one resource or path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The verb, such as `create`.
    pub verb: &'static str,
    /// What it is for.
    pub target: Target,
    /// Whether a run can do without it.
    pub need: Need,
    /// What a run does with it, as a sentence.
    pub why: &'static str,
}

/// What a right is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A resource of the API.
    Resource(Resource),
    /// A path of the API server that is no resource, such as `/metrics`.
    Url(&'static str),
}

/// A resource of the API, in the words of a `PolicyRule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, such as `pods`.
    pub resource: &'static str,
    /// The subresource, such as `token`.
    pub subresource: Option<&'static str>,
    /// The one object that the right is for; none for every object.
    pub name: Option<&'static str>,
    /// Where the object is.
    pub scope: Scope,
}

/// Where the objects are that a right is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They have no namespace.
    Cluster,
    /// In the namespaces of the run, whose names are not known before.
    Run,
    /// In this namespace.
    Namespace(&'static str),
}

/// What becomes of a run without a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A fact stays unknown, and what happens in the pods decides.
    Read,
    /// It can't be made.
    Run,
}

impl Resource {
    /// The resource with its subresource, as a `PolicyRule` names them.
    #[must_use]
    pub fn path(&self) -> String {
        match self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.to_owned(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = self.name {
            write!(f, " {name}")?;
        }
        if let Scope::Namespace(namespace) = self.scope {
            write!(f, " in namespace {namespace}")?;
        }
        Ok(())
    }
}

/// As `kubectl auth can-i` takes it: `create namespaces`, `get nodes/proxy`, `get /metrics`.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            Target::Resource(resource) => write!(f, "{} {resource}", self.verb),
            Target::Url(path) => write!(f, "{} {path}", self.verb),
        }
    }
}
