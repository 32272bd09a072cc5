//! The SCCs that the cluster ships, and who may use them.

use harness::{
    cluster::Refusal,
    diagnosis::{self, CheckId, Symptom},
    engine::{Case, CaseKind, Context},
    facts::requirement::Administrator,
    sandbox::{
        Identity,
        pod_template::{ADMITTED_BY, REQUIRED_SCC},
    },
    verdict::{CaseResult, Failure, Level, SignatureId},
    workload::truth,
};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    WITH_OWN_SCC,
    reference::{EARLY, lacks_ids},
    workspace,
};
use crate::{fixtures::NESTED_POD, steps::request, suite::OPENSHIFT};

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
    requires: &[&Administrator("the grants of the whole cluster")],
    kind: CaseKind::Live(|cx| Box::pin(grants_nested_container_to_nobody_by_default(cx))),
    ..Case::DEFAULT
});

async fn grants_nested_container_to_nobody_by_default(cx: Context) -> CaseResult {
    if let Some(shipped) = cx.facts().sccs.value()
        && !shipped.contains_key(NESTED_CONTAINER)
    {
        return Err(lacking_nested_container());
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

// A run and its workspaces bring an SCC of their own, so a cluster can do without it.
inventory::submit!(Case {
    id: "SCC-P05",
    suite: "scc",
    name: "admits_user_1000_by_the_shipped_nested_container",
    title: "The shipped SCC `nested-container` admits a pod with a user namespace as user 1000",
    why: "OpenShift ships `nested-container` for pods like this one, and images of workspaces have \
          user 1000. Early z-streams ship the SCC without its user ids. It then refuses user 1000, \
          and gives a pod that names no user an id that its user namespace does not have. The case \
          reports a known issue there.",
    fix: "Update to a later z-stream (OCPBUGS-77004), or bring an SCC of your own with \
          `uidRangeMin` and `uidRangeMax`. Elsewhere restore the SCC, see SCC-01.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(admits_user_1000_by_the_shipped_nested_container(cx))),
    ..Case::DEFAULT
});

async fn admits_user_1000_by_the_shipped_nested_container(cx: Context) -> CaseResult {
    let stored = cx.facts().sccs.value().and_then(|sccs| sccs.get(NESTED_CONTAINER)).cloned();
    let Some(stored) = stored else { return Err(lacking_nested_container()) };
    let mut pod = workspace(&cx)?;
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(REQUIRED_SCC.to_owned(), NESTED_CONTAINER.to_owned());
    // Nobody else may use it, and the run grants only its own.
    let admitted = match cx.admission().dry_run_as(Identity::Administrator, &pod).await? {
        Ok(admitted) => admitted,
        Err(refusal) if lacks_ids(&stored) => {
            let Refusal { message, .. } = refusal;
            let message = format!("`{NESTED_CONTAINER}` refuses user 1000: {EARLY}: {message}");
            return Err(Failure::known_issue(SignatureId::F39, message));
        }
        Err(refusal) => {
            let hint = diagnosis::explain(Symptom::Refusal(&refusal.message), None);
            let what = format!("`{NESTED_CONTAINER}` refuses user 1000: {}", refusal.message);
            return Err(Failure::product(what).with_hint(hint));
        }
    };
    let admitted_by = admitted.annotations().get(ADMITTED_BY).map_or("absent", String::as_str);
    cx.check_equal(CheckId::AdmittedBy, NESTED_CONTAINER, admitted_by)?;
    for check in truth::of_object(&NESTED_POD, &admitted) {
        cx.check(check.name, &check.expected, check.observed, check.holds)?;
    }
    Ok(())
}

fn lacking_nested_container() -> Failure {
    Failure::blocked(
        format!("the cluster has no SCC `{NESTED_CONTAINER}`"),
        "use OpenShift 4.20 or newer, which ships it",
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
