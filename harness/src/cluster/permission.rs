//! Permissions, in the words of Kubernetes RBAC. Each reader of a fact says beside its requests which
//! permissions they need; `sandbox::rbac` makes roles of them.

use std::fmt;

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

/// Permissions for one reason, as in a `PolicyRule`: each verb on each target.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Whether a run can do without them.
    pub need: Need,
    /// What a run does with them, as a sentence.
    pub why: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What they are for.
    pub targets: &'static [Target],
}

/// The rules of one reader, or of one purpose.
pub type Rules = &'static [Rule];

impl Rule {
    /// Each permission of the rule.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        self.targets.iter().flat_map(move |&target| {
            let permission =
                move |&verb| Permission { verb, target, need: self.need, why: self.why };
            self.verbs.iter().map(permission)
        })
    }
}

/// All objects of a resource and a subresource of it.
#[must_use]
pub const fn resource(
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
) -> Target {
    Target::Resource(Resource { group, resource, subresource, name: None, scope })
}

/// All objects of a resource that has no namespace.
#[must_use]
pub const fn cluster(group: &'static str, name: &'static str) -> Target {
    resource(Scope::Cluster, group, name, None)
}

/// One object of a resource.
#[must_use]
pub const fn named(
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    name: &'static str,
) -> Target {
    Target::Resource(Resource { group, resource, subresource: None, name: Some(name), scope })
}

/// All objects of a resource in the namespaces of the run.
#[must_use]
pub const fn of_run(group: &'static str, name: &'static str) -> Target {
    resource(Scope::Run, group, name, None)
}
