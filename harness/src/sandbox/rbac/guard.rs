//! The admission policy that confines the user of a run.
//!
//! RBAC can't limit a permission to names that are not known in advance, so the printed role lets its
//! user write in every namespace. An admission policy can: the names of all namespaces of runs begin
//! with the same words. It is made from the permissions of the role, and covers whatever else the user
//! may write.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation, Variable,
};
use kube::api::ObjectMeta;

use crate::{
    Result,
    base::manifest,
    cluster::permission::{Need, Permission, Resource, Scope, Target},
    facts::pod_admission::GUARD_LABEL,
};

/// What the names of all namespaces of runs, and of all objects outside of them, begin with.
const PREFIX: &str = "nestcheck-";

/// What a refused user reads.
const MESSAGE: &str = "the policy `nestcheck` confines this user to the namespaces `nestcheck-*` \
     (`nestcheck preflight --print-rbac --with guard`)";

/// Questions about the caller's own permissions, which store nothing.
const REVIEWS: &str = "request.resource.group in ['authentication.k8s.io', 'authorization.k8s.io'] && \
     request.resource.resource.startsWith('selfsubject')";

/// The policy for a user with these permissions, and its binding, as YAML.
pub(super) fn objects(name: &str, user: &str, permissions: &[Permission]) -> Result<String> {
    let metadata = || ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(GUARD_LABEL.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    };
    let policy = ValidatingAdmissionPolicy {
        metadata: metadata(),
        spec: Some(spec(user, permissions)),
        ..ValidatingAdmissionPolicy::default()
    };
    let binding = ValidatingAdmissionPolicyBinding {
        metadata: metadata(),
        spec: ValidatingAdmissionPolicyBindingSpec {
            policy_name: name.to_owned(),
            validation_actions: vec!["Deny".to_owned()],
            ..ValidatingAdmissionPolicyBindingSpec::default()
        },
    };
    Ok(format!("{}---\n{}", manifest::print(&policy)?, manifest::print(&binding)?))
}

fn spec(user: &str, permissions: &[Permission]) -> ValidatingAdmissionPolicySpec {
    let all = || Some(vec!["*".to_owned()]);
    let variable = |name: &str, expression: &str| Variable {
        name: name.to_owned(),
        expression: expression.to_owned(),
    };
    ValidatingAdmissionPolicySpec {
        failure_policy: Some("Fail".to_owned()),
        match_constraints: Some(MatchResources {
            resource_rules: Some(vec![NamedRuleWithOperations {
                api_groups: all(),
                api_versions: all(),
                operations: all(),
                resources: Some(vec!["*/*".to_owned()]),
                ..NamedRuleWithOperations::default()
            }]),
            ..MatchResources::default()
        }),
        match_conditions: Some(vec![MatchCondition {
            name: "is-the-user-of-nestcheck".to_owned(),
            expression: format!("request.userInfo.username == {}", text(user)),
        }]),
        // An empty name or namespace is left out of the request. `namespace` is a word of CEL itself.
        variables: Some(vec![
            variable("targetNamespace", "has(request.namespace) ? request.namespace : ''"),
            variable("name", "has(request.name) ? request.name : ''"),
            variable("subresource", "has(request.subResource) ? request.subResource : ''"),
        ]),
        validations: Some(vec![Validation {
            expression: allowed(permissions).join(" ||\n"),
            message: Some(MESSAGE.to_owned()),
            reason: Some("Forbidden".to_owned()),
            ..Validation::default()
        }]),
        ..ValidatingAdmissionPolicySpec::default()
    }
}

/// What the user may do, an expression each.
fn allowed(permissions: &[Permission]) -> Vec<String> {
    let mut allowed = vec![
        format!("variables.targetNamespace.startsWith('{PREFIX}')"),
        // Nothing is stored. The facts are read so, in the namespace `default`.
        "(has(request.dryRun) && request.dryRun)".to_owned(),
        format!("({REVIEWS})"),
    ];
    for expression in permissions.iter().filter_map(outside) {
        if !allowed.contains(&expression) {
            allowed.push(expression);
        }
    }
    allowed
}

/// What a permission lets a run do outside of its namespaces; none where that is only to read, to grant,
/// or to rehearse.
fn outside(permission: &Permission) -> Option<String> {
    let Target::Resource(resource) = permission.target else { return None };
    match (permission.verb, resource) {
        // A connection through the API server. Only the page of metrics is read.
        ("get", Resource { resource: "nodes", subresource: Some("proxy"), .. }) => {
            Some(format!("({} && object.path == '/metrics')", is(&resource)))
        }
        ("create" | "delete", Resource { scope, .. })
            if scope != Scope::Run && permission.need == Need::Run =>
        {
            Some(format!("({} && variables.name.startsWith('{PREFIX}'))", is(&resource)))
        }
        _ => None,
    }
}

/// Whether a request is about a resource.
fn is(resource: &Resource) -> String {
    let mut terms = vec![
        format!("request.resource.group == '{}'", resource.group),
        format!("request.resource.resource == '{}'", resource.resource),
        format!("variables.subresource == '{}'", resource.subresource.unwrap_or_default()),
    ];
    if let Scope::Namespace(namespace) = resource.scope {
        terms.push(format!("variables.targetNamespace == '{namespace}'"));
    }
    terms.join(" && ")
}

/// A text as CEL writes it: as JSON does.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::permission::Rule,
        facts::{Flavour, PERMISSIONS_OF_KUBELETS},
        sandbox::{self, rbac::permissions},
    };

    #[test]
    fn the_guard_knows_every_object_that_a_run_makes_outside_of_its_namespaces() {
        let made = |flavour| {
            let expressions = allowed(&permissions(flavour));
            let with_names = expressions.iter().filter(|it| it.contains("variables.name."));
            let resource = |it: &String| {
                let rest = it.split("request.resource.resource == '").nth(1);
                rest.and_then(|rest| rest.split('\'').next()).unwrap_or_default().to_owned()
            };
            with_names.map(resource).collect::<Vec<_>>()
        };
        assert_eq!(made(Flavour::Kubernetes), ["namespaces", "leases"]);
        assert_eq!(
            made(Flavour::OpenShift),
            ["namespaces", "leases", "securitycontextconstraints", "clusterroles"]
        );
        assert!(sandbox::namespace_of("abc").starts_with(PREFIX));
    }

    #[test]
    fn a_permission_to_grant_or_to_rehearse_opens_nothing() {
        let expressions = allowed(&permissions(Flavour::OpenShift)).join("\n");
        for words in ["'pods'", "rolebindings", "serviceaccounts", "proxy", "configmaps"] {
            assert!(!expressions.contains(words), "{words} is in {expressions}");
        }
    }

    #[test]
    fn only_the_page_of_metrics_is_read_through_a_kubelet() {
        let metrics: Vec<_> = PERMISSIONS_OF_KUBELETS.iter().flat_map(Rule::permissions).collect();
        let expressions = allowed(&metrics);
        let last = expressions.last().expect("there are some");
        assert!(last.contains("'proxy' && object.path == '/metrics'"), "{last}");
    }

    #[test]
    fn a_users_name_can_not_end_the_expression() {
        let spec = spec("a\" || \"\\", &[]);
        let condition = &spec.match_conditions.expect("there is one")[0];
        assert_eq!(condition.expression, r#"request.userInfo.username == "a\" || \"\\""#);
    }
}
