//! Roles that grant rights, as YAML for `kubectl apply`.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::api::ObjectMeta;

use super::{
    Addition, guard, permissions,
    preamble::{comment, preamble},
};
use crate::{
    Result,
    base::manifest,
    cluster::permission::{Permission, Resource, Rule, Scope, Target},
    facts::{Flavour, PERMISSIONS_OF_KUBELETS},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// A service account for those who have no user for a run yet: it is made with its rights.
pub const ACCOUNT: &str = "system:serviceaccount:default:nestcheck";

/// The user's name in the YAML where the server does not say who the caller is.
pub(super) const UNKNOWN_USER: &str = "NAME";

/// The name of the objects.
const NAME: &str = "nestcheck";

/// All that gives a user the least privileges for `nestcheck run` and `nestcheck preflight` on a
/// flavour, for `kubectl apply`: each right with its reason, those in a namespace that is known
/// before only there, and what somebody asked for besides. `ci/*/rbac.yaml` are its output.
///
/// # Errors
///
/// None in practice: the objects are written as YAML.
pub fn objects(flavour: Flavour, user: &str, additions: &[Addition]) -> Result<String> {
    let mut permissions = permissions(flavour);
    if additions.contains(&Addition::KubeletMetrics) {
        permissions.extend(PERMISSIONS_OF_KUBELETS.iter().flat_map(Rule::permissions));
    }
    let namespace_of = |permission: &Permission| match permission.target {
        Target::Resource(Resource { scope: Scope::Namespace(namespace), .. }) => Some(namespace),
        _ => None,
    };
    let namespaces: BTreeSet<_> = permissions.iter().filter_map(namespace_of).collect();
    let mut parts = vec![preamble(flavour, user, additions)];
    if user == ACCOUNT {
        parts[0].push_str(&account_in("default")?);
    }
    for place in std::iter::once(None).chain(namespaces.into_iter().map(Some)) {
        let here: Vec<_> = permissions
            .iter()
            .copied()
            .filter(|permission| namespace_of(permission) == place)
            .collect();
        parts.push(role_in(place, &here)?);
        parts.push(binding_in(place, user)?);
    }
    if additions.contains(&Addition::Guard) {
        parts.push(guard::objects(NAME, user, &permissions)?);
    }
    Ok(parts.join("---\n"))
}

/// The service account [`ACCOUNT`] in this namespace.
pub(super) fn account_in(namespace: &str) -> Result<String> {
    let metadata = ObjectMeta { namespace: Some(namespace.to_owned()), ..named(NAME) };
    manifest::print(&ServiceAccount { metadata, ..ServiceAccount::default() })
}

fn role_in(namespace: Option<&str>, permissions: &[Permission]) -> Result<String> {
    let metadata = ObjectMeta { namespace: namespace.map(str::to_owned), ..named(NAME) };
    let head = match namespace {
        None => manifest::print(&ClusterRole { metadata, ..ClusterRole::default() })?,
        Some(_) => manifest::print(&Role { metadata, rules: None })?,
    };
    Ok(head + &explained(permissions)?)
}

pub(super) fn binding_in(namespace: Option<&str>, user: &str) -> Result<String> {
    let metadata = ObjectMeta { namespace: namespace.map(str::to_owned), ..named(NAME) };
    let subjects = Some(vec![subject(user)]);
    let role_ref = |kind: &str| RoleRef {
        api_group: Some(GROUP.to_owned()),
        kind: kind.to_owned(),
        name: NAME.to_owned(),
    };
    match namespace {
        None => {
            let role_ref = role_ref("ClusterRole");
            manifest::print(&ClusterRoleBinding { metadata, role_ref, subjects })
        }
        Some(_) => manifest::print(&RoleBinding { metadata, role_ref: role_ref("Role"), subjects }),
    }
}

/// The rules for rights, each with its reason.
pub(super) fn explained(permissions: &[Permission]) -> Result<String> {
    let mut text = String::from("rules:\n");
    for section in permissions.chunk_by(|one, next| one.why == next.why) {
        text.push_str(&comment(section[0].why));
        text.push_str(&manifest::print(&rules(section))?);
    }
    Ok(text)
}

/// The same rights as one role, with those in a namespace given everywhere: it can be bound with one
/// command.
///
/// # Errors
///
/// None in practice: the role is written as YAML.
pub fn role(flavour: Flavour) -> Result<String> {
    let empty = ClusterRole { metadata: named(NAME), ..ClusterRole::default() };
    Ok(manifest::print(&empty)? + &explained(&permissions(flavour))?)
}

/// A role with exactly these rights, and its binding to a user.
///
/// The name is made from both: a role that grants something else has another name, so applying it
/// takes nothing away that was granted before.
///
/// # Errors
///
/// None in practice: the objects are written as YAML.
pub(super) fn grant(user: &str, permissions: &[Permission]) -> Result<String> {
    let rules = rules(permissions);
    let name = name_of(user, &rules)?;
    let role = ClusterRole { metadata: named(&name), rules: Some(rules), ..ClusterRole::default() };
    let binding = ClusterRoleBinding {
        metadata: named(&name),
        role_ref: RoleRef {
            api_group: Some(GROUP.to_owned()),
            kind: "ClusterRole".to_owned(),
            name,
        },
        subjects: Some(vec![subject(user)]),
    };
    Ok(format!("{}---\n{}", manifest::print(&role)?, manifest::print(&binding)?))
}

/// As [`grant`], in one namespace.
///
/// # Errors
///
/// None in practice: the objects are written as YAML.
pub(super) fn grant_in(namespace: &str, user: &str, permissions: &[Permission]) -> Result<String> {
    role_to(namespace, Some(user), rules(permissions))
}

/// A role of a namespace with these rules, and its binding to a user.
///
/// # Errors
///
/// None in practice: the objects are written as YAML.
pub(super) fn role_to(
    namespace: &str,
    user: Option<&str>,
    rules: Vec<PolicyRule>,
) -> Result<String> {
    let user = user.unwrap_or(UNKNOWN_USER);
    let name = name_of(user, &rules)?;
    let (role, binding) = role_and_binding(namespace, &name, user, rules);
    Ok(format!("{}---\n{}", manifest::print(&role)?, manifest::print(&binding)?))
}

/// A role of a namespace with this name and these rules, and its binding to a user.
pub(crate) fn role_and_binding(
    namespace: &str,
    name: &str,
    user: &str,
    rules: Vec<PolicyRule>,
) -> (Role, RoleBinding) {
    let metadata = ObjectMeta { namespace: Some(namespace.to_owned()), ..named(name) };
    let (api_group, kind) = (Some(GROUP.to_owned()), "Role".to_owned());
    let binding = RoleBinding {
        metadata: metadata.clone(),
        role_ref: RoleRef { api_group, kind, name: name.to_owned() },
        subjects: Some(vec![subject(user)]),
    };
    (Role { metadata, rules: Some(rules) }, binding)
}

/// A name for a role with these rules for this user.
fn name_of(user: &str, rules: &[PolicyRule]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    manifest::print(&rules)?.hash(&mut hasher);
    Ok(format!("nestcheck-{:08x}", hasher.finish() >> 32))
}

pub(super) fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// The subject of a user. Service accounts are users too, whose names say where they are.
fn subject(user: &str) -> Subject {
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => Subject {
            kind: "ServiceAccount".to_owned(),
            name: name.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        },
        None => Subject {
            api_group: Some(GROUP.to_owned()),
            kind: "User".to_owned(),
            name: user.to_owned(),
            ..Subject::default()
        },
    }
}

/// The rules that grant these rights and no others: one for rights that differ only in the verb,
/// and one for resources with the same verbs.
fn rules(permissions: &[Permission]) -> Vec<PolicyRule> {
    let mut by_target: Vec<(Target, BTreeSet<&str>)> = Vec::new();
    for permission in permissions {
        match by_target.iter_mut().find(|(target, _)| *target == permission.target) {
            Some((_, verbs)) => {
                verbs.insert(permission.verb);
            }
            None => by_target.push((permission.target, BTreeSet::from([permission.verb]))),
        }
    }
    let mut rules: Vec<PolicyRule> = Vec::new();
    for (target, verbs) in by_target {
        let rule = rule(target, &verbs);
        match rules.iter_mut().find(|other| differ_in_targets(other, &rule)) {
            Some(other) => {
                join(&mut other.resources, rule.resources);
                join(&mut other.non_resource_urls, rule.non_resource_urls);
            }
            None => rules.push(rule),
        }
    }
    rules
}

fn rule(target: Target, verbs: &BTreeSet<&str>) -> PolicyRule {
    let verbs = verbs.iter().map(ToString::to_string).collect();
    let one = |text: &str| Some(vec![text.to_owned()]);
    match target {
        Target::Url(path) => {
            PolicyRule { non_resource_urls: one(path), verbs, ..PolicyRule::default() }
        }
        Target::Resource(resource) => PolicyRule {
            api_groups: one(resource.group),
            resources: one(&resource.path()),
            resource_names: resource.name.and_then(one),
            non_resource_urls: None,
            verbs,
        },
    }
}

fn differ_in_targets(one: &PolicyRule, other: &PolicyRule) -> bool {
    one.verbs == other.verbs
        && one.api_groups == other.api_groups
        && one.resource_names == other.resource_names
}

fn join(list: &mut Option<Vec<String>>, more: Option<Vec<String>>) {
    if let Some(more) = more {
        let list = list.get_or_insert_default();
        list.extend(more);
        list.sort();
        list.dedup();
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};

    use super::*;
    use crate::sandbox::rbac::preamble::WIDTH;

    /// `NESTCHECK_WRITE_ROLES=1` writes the files instead.
    #[test]
    fn the_published_roles_are_what_a_run_needs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // That of `deploy/namespace.yaml`.
        let in_cluster = "system:serviceaccount:nestcheck:nestcheck";
        for (file, flavour, account) in [
            ("ci/kind/rbac.yaml", Flavour::Kubernetes, ACCOUNT),
            ("ci/openshift/rbac.yaml", Flavour::OpenShift, ACCOUNT),
            ("deploy/rbac.yaml", Flavour::Kubernetes, in_cluster),
            ("deploy/rbac-openshift.yaml", Flavour::OpenShift, in_cluster),
        ] {
            let role = objects(flavour, account, &[]).expect("it is written");
            if env::var_os("NESTCHECK_WRITE_ROLES").is_some() {
                fs::create_dir_all(root.join(file).parent().expect("it is in a directory"))
                    .and_then(|()| fs::write(root.join(file), &role))
                    .expect("it can be written");
            }
            let published = fs::read_to_string(root.join(file)).unwrap_or_default();
            assert_eq!(published, role, "{file}: write it with NESTCHECK_WRITE_ROLES=1");
        }
    }

    #[test]
    fn what_is_in_a_known_namespace_is_granted_only_there() {
        let text = objects(Flavour::Kubernetes, "alice", &[]).expect("it is written");
        let parts: Vec<_> = text.split("---\n").collect();
        assert!(!text.contains("ServiceAccount"), "{text}");
        let everywhere: ClusterRole = manifest::parse("r", parts[1]).expect("it is a ClusterRole");
        let in_default: Role = manifest::parse("r", parts[3]).expect("it is a Role");
        assert_eq!(in_default.metadata.namespace.as_deref(), Some("default"));
        let leases = |rules: Option<Vec<PolicyRule>>| {
            let resources = rules.unwrap_or_default().into_iter().filter_map(|rule| rule.resources);
            resources.flatten().filter(|resource| resource == "leases").count()
        };
        assert_eq!((leases(everywhere.rules), leases(in_default.rules)), (0, 1));
        for binding in [parts[2], parts[4]] {
            assert!(binding.contains("kind: User\n  name: alice\n"), "{binding}");
        }
        assert_eq!(parts.len(), 5);
    }

    #[test]
    fn a_role_has_every_right_once_and_says_why() {
        for flavour in [Flavour::Kubernetes, Flavour::MicroShift, Flavour::OpenShift] {
            let permissions = permissions(flavour);
            for (index, permission) in permissions.iter().enumerate() {
                let again = permissions[..index].iter().find(|other| {
                    other.verb == permission.verb && other.target == permission.target
                });
                assert_eq!(again, None, "{flavour}: {permission} is there twice");
                assert!(permission.why.ends_with('.'), "{permission}");
            }
            let role = role(flavour).expect("it is written");
            assert!(role.lines().all(|line| line.len() <= WIDTH && !line.contains('*')), "{role}");
        }
    }

    #[test]
    fn permissions_with_the_same_verbs_share_a_rule() {
        let role: ClusterRole =
            manifest::parse("r", &role(Flavour::OpenShift).expect("it is written"))
                .expect("it is a role");
        let granted = |verb: &str, group: &str, resource: &str| {
            role.rules.iter().flatten().any(|rule| {
                let has = |list: &Option<Vec<String>>, text: &str| {
                    list.iter().flatten().any(|item| item == text)
                };
                rule.verbs.iter().any(|item| item == verb)
                    && has(&rule.api_groups, group)
                    && has(&rule.resources, resource)
            })
        };
        assert!(granted("create", "", "serviceaccounts/token"));
        assert!(granted("bind", GROUP, "clusterroles"));
        assert!(granted("use", "security.openshift.io", "securitycontextconstraints"));
        assert!(!granted("escalate", GROUP, "clusterroles"));
        assert!(!granted("get", "", "secrets"));
    }

    #[test]
    fn a_grant_is_two_objects_for_the_very_user() {
        let permissions = permissions(Flavour::Kubernetes);
        let text =
            grant("system:serviceaccount:ci:nightly", &permissions[..2]).expect("it is written");
        let (role, binding) = text.split_once("---\n").expect("there are two");
        let role: ClusterRole = manifest::parse("role", role).expect("it is a role");
        let binding: ClusterRoleBinding = manifest::parse("binding", binding).expect("it binds");
        assert_eq!(role.metadata.name.as_ref(), Some(&binding.role_ref.name));
        assert_eq!(role.rules.map(|rules| rules.len()), Some(1));
        let subject = &binding.subjects.expect("it has one")[0];
        assert_eq!((subject.kind.as_str(), subject.name.as_str()), ("ServiceAccount", "nightly"));
        assert_eq!(subject.namespace.as_deref(), Some("ci"));

        let again =
            grant("system:serviceaccount:ci:nightly", &permissions[..2]).expect("it is written");
        assert_eq!(again, text, "applying it twice changes nothing");
        let other = grant("alice", &permissions[..3]).expect("it is written");
        assert!(other.contains("kind: User\n  name: alice\n"), "{other}");
        let name = binding.role_ref.name;
        assert!(!other.contains(&name), "another grant may not replace this one: {other}");
    }
}
