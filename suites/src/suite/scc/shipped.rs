//! The SCCs that the cluster ships, and who may use them.

use harness::{
    engine::{Case, CaseKind, Context},
    verdict::{CaseResult, Failure, Level},
};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::{Api, ResourceExt, api::ListParams};

use crate::{steps::request, suite::OPENSHIFT};

const NESTED_CONTAINER: &str = "nested-container";

/// Groups that everybody is in, or nobody in particular.
const EVERYBODY: [&str; 3] =
    ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];

// Extended, because an administrator may have granted it on purpose.
inventory::submit!(Case {
    id: "SCC-03",
    suite: "scc",
    name: "grants_nested_container_to_nobody_by_default",
    title: "The shipped SCC `nested-container` is not granted to a group that contains everybody",
    why: "`nested-container` lets a user run as root inside the pod. Grant it to the users who \
          need it, not to everybody who can log in.",
    fix: "Remove the named group from the SCC and from the bindings to \
          `system:openshift:scc:nested-container`.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    kind: CaseKind::Live(|cx| Box::pin(grants_nested_container_to_nobody_by_default(cx))),
    ..Case::DEFAULT
});

async fn grants_nested_container_to_nobody_by_default(cx: Context) -> CaseResult {
    if let Some(shipped) = cx.facts().sccs.value()
        && !shipped.contains_key(NESTED_CONTAINER)
    {
        return Err(Failure::blocked(
            format!("the cluster has no SCC `{NESTED_CONTAINER}`"),
            "use OpenShift 4.20 or newer, which ships it",
        ));
    }
    let admin = cx.sandbox().admin();
    let all = ListParams::default();
    let (roles, namespaced_roles) =
        (Api::<ClusterRole>::all(admin.clone()), Api::<Role>::all(admin.clone()));
    let (bindings, namespaced_bindings) =
        (Api::<ClusterRoleBinding>::all(admin.clone()), Api::<RoleBinding>::all(admin.clone()));
    let (roles, namespaced_roles, bindings, namespaced_bindings) = futures::try_join!(
        request("list ClusterRoles", || roles.list(&all)),
        request("list Roles", || namespaced_roles.list(&all)),
        request("list ClusterRoleBindings", || bindings.list(&all)),
        request("list RoleBindings", || namespaced_bindings.list(&all)),
    )?;
    let granting: Vec<String> = roles
        .items
        .iter()
        .filter(|role| grants(role.rules.as_deref().unwrap_or_default()))
        .map(ResourceExt::name_any)
        .collect();
    let granting_here: Vec<(String, String)> = namespaced_roles
        .items
        .iter()
        .filter(|role| grants(role.rules.as_deref().unwrap_or_default()))
        .map(|role| (role.namespace().unwrap_or_default(), role.name_any()))
        .collect();
    let cluster_wide = bindings
        .items
        .iter()
        .filter(|binding| granting.contains(&binding.role_ref.name))
        .flat_map(|binding| binding.subjects.iter().flatten());
    let is_granting = |namespace: &str, role: &RoleRef| match role.kind.as_str() {
        "ClusterRole" => granting.contains(&role.name),
        _ => granting_here.iter().any(|(n, name)| n == namespace && *name == role.name),
    };
    let in_namespaces = namespaced_bindings
        .items
        .iter()
        .filter(|binding| is_granting(&binding.namespace().unwrap_or_default(), &binding.role_ref))
        .flat_map(|binding| binding.subjects.iter().flatten());
    let subjects: Vec<&Subject> = cluster_wide.chain(in_namespaces).collect();
    let shown: Vec<_> =
        subjects.iter().map(|subject| format!("{} {}", subject.kind, subject.name)).collect();
    let observed = if shown.is_empty() { "nobody".to_owned() } else { shown.join(", ") };
    let broad = |subject: &&Subject| {
        subject.kind == "Group"
            && EVERYBODY.iter().any(|group| {
                subject.name == *group || subject.name.starts_with("system:serviceaccounts:")
            })
    };
    cx.check(
        "subjects with a grant by name",
        "no group that everybody is in",
        observed,
        !subjects.iter().any(broad),
    )
}

/// Whether rules grant the use of the SCC by its name. Rights to everything, as an administrator
/// has them, are not meant.
fn grants(rules: &[PolicyRule]) -> bool {
    rules.iter().any(|rule| {
        let names = rule.resource_names.as_deref().unwrap_or_default();
        names.iter().any(|name| name == NESTED_CONTAINER)
            && rule.verbs.iter().any(|verb| verb == "use" || verb == "*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], names: &[&str]) -> PolicyRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        PolicyRule {
            verbs: owned(verbs),
            resource_names: Some(owned(names)),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn only_a_right_to_use_it_by_name_is_a_grant() {
        assert!(grants(&[rule(&["use"], &["nested-container"])]));
        assert!(grants(&[rule(&["*"], &["other", "nested-container"])]));
        assert!(!grants(&[rule(&["get"], &["nested-container"])]));
        assert!(!grants(&[rule(&["*"], &[])]));
    }
}
