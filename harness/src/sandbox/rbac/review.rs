//! Whether the caller has the rights that a run needs, asked before anything is written.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{
        NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
        SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
        SelfSubjectRulesReviewSpec, SubjectRulesReviewStatus,
    },
    rbac::v1::{ClusterRole, PolicyRule, RoleBinding, RoleRef},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::cluster_role::{self, UNKNOWN_USER};
use crate::{
    Error, Result,
    cluster::{
        Cluster, call,
        permission::{Need, Permission, Resource, Scope, Target},
    },
};

/// How many rights are asked for at once.
const CONCURRENCY: usize = 8;

/// The name of the dry-run objects; nothing is stored.
const REHEARSAL: &str = "nestcheck-rehearsal";

/// Asks whether the caller has all `needed` rights, those of a run; `namespace` is the run's, and need not
/// exist. One request for a caller who has them.
///
/// # Errors
///
/// Rights that are missing, with the role that grants them, or a server that does not answer.
pub async fn review(cluster: &Cluster, needed: &[Permission], namespace: &str) -> Result<()> {
    review_for(cluster.admin(), needed, namespace, None).await
}

/// As [`review`], of a run in a given namespace: the role that grants what is missing is of it.
///
/// # Errors
///
/// As [`review`].
pub async fn review_in(cluster: &Cluster, needed: &[Permission], namespace: &str) -> Result<()> {
    review_for(cluster.admin(), needed, namespace, Some(namespace)).await
}

/// As [`review`]; the role that grants what is missing is of the namespace `of_role`, or of the cluster.
async fn review_for(
    client: &Client,
    needed: &[Permission],
    namespace: &str,
    of_role: Option<&str>,
) -> Result<()> {
    let rules = rules(client, namespace).await?;
    let unlisted = missing(needed, &rules);
    if !is_in_the_way(&unlisted) {
        return Ok(());
    }
    // The list is a hint, not a decision: some authorizers can't list what they allow, and it may
    // be incomplete without saying so (kubernetes `SelfSubjectRulesReview`).
    let denied = denied(client, namespace, unlisted).await?;
    if !is_in_the_way(&denied) {
        return Ok(());
    }
    Err(refusal(caller(client).await.as_deref(), of_role, &denied)?)
}

/// Those of the `needed` permissions that the caller lacks. As [`review`] it asks the server, but for
/// each of them: all reviews are requests that store nothing.
///
/// # Errors
///
/// A server that does not answer.
pub async fn lacking(
    cluster: &Cluster,
    needed: &[Permission],
    namespace: &str,
) -> Result<Vec<Permission>> {
    let client = cluster.admin();
    let rules = rules(client, namespace).await?;
    denied(client, namespace, missing(needed, &rules)).await
}

fn is_in_the_way(permissions: &[Permission]) -> bool {
    permissions.iter().any(|permission| permission.need == Need::Run)
}

/// The rights that these rules do not give.
#[must_use]
pub fn missing(permissions: &[Permission], rules: &SubjectRulesReviewStatus) -> Vec<Permission> {
    let given = |permission: &Permission| match permission.target {
        Target::Resource(resource) => {
            rules.resource_rules.iter().any(|rule| allows(rule, permission.verb, &resource))
        }
        Target::Url(path) => {
            rules.non_resource_rules.iter().any(|rule| allows_path(rule, permission.verb, path))
        }
    };
    permissions.iter().copied().filter(|permission| !given(permission)).collect()
}

/// As kubernetes `pkg/apis/rbac/v1/evaluation_helpers.go` decides: a rule with names is for
/// requests with a name, and a resource is not its subresources.
fn allows(rule: &ResourceRule, verb: &str, resource: &Resource) -> bool {
    let has = |list: &Option<Vec<String>>, matches: &dyn Fn(&str) -> bool| {
        list.iter().flatten().any(|item| matches(item))
    };
    let path = resource.path();
    let of_any = resource.subresource.map(|subresource| format!("*/{subresource}"));
    let names = rule.resource_names.as_deref().unwrap_or_default();
    matches_verb(&rule.verbs, verb)
        && has(&rule.api_groups, &|group| group == "*" || group == resource.group)
        && has(&rule.resources, &|item| {
            item == "*" || item == path || of_any.as_deref() == Some(item)
        })
        && (names.is_empty() || names.iter().any(|name| resource.name == Some(name)))
}

fn allows_path(rule: &NonResourceRule, verb: &str, path: &str) -> bool {
    let matches = |url: &String| match url.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == url,
    };
    matches_verb(&rule.verbs, verb) && rule.non_resource_urls.iter().flatten().any(matches)
}

fn matches_verb(verbs: &[String], verb: &str) -> bool {
    verbs.iter().any(|item| item == "*" || item == verb)
}

async fn rules(client: &Client, namespace: &str) -> Result<SubjectRulesReviewStatus> {
    let api: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let question = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let params = PostParams::default();
    let answer = call("ask which rights the caller has", || api.create(&params, &question));
    Ok(answer.await?.status.unwrap_or_default())
}

/// Those of the rights that the server denies when it is asked for each.
async fn denied(
    client: &Client,
    namespace: &str,
    permissions: Vec<Permission>,
) -> Result<Vec<Permission>> {
    let asked = stream::iter(permissions)
        .map(|permission| async move {
            let allowed = is_allowed(client, namespace, &permission).await?
                || permission.need == Need::Run && is_granted_otherwise(client, &permission).await;
            Ok::<_, Error>((!allowed).then_some(permission))
        })
        .buffered(CONCURRENCY);
    Ok(asked.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

async fn is_allowed(client: &Client, namespace: &str, permission: &Permission) -> Result<bool> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let spec = question(namespace, permission);
    let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let what = format!("ask whether the caller may {permission}");
    let params = PostParams::default();
    let answer = call(&what, || api.create(&params, &question)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn question(namespace: &str, permission: &Permission) -> SelfSubjectAccessReviewSpec {
    let verb = Some(permission.verb.to_owned());
    match permission.target {
        Target::Url(path) => SelfSubjectAccessReviewSpec {
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb,
            }),
            resource_attributes: None,
        },
        Target::Resource(resource) => SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(resource.group.to_owned()),
                resource: Some(resource.resource.to_owned()),
                subresource: resource.subresource.map(str::to_owned),
                name: resource.name.map(str::to_owned),
                namespace: match resource.scope {
                    Scope::Cluster => None,
                    Scope::Run => Some(namespace.to_owned()),
                    Scope::Namespace(namespace) => Some(namespace.to_owned()),
                },
                verb,
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
    }
}

/// Who has no right to `bind` a role, or to `use` what a role lets others use, may still grant it:
/// by having all rights of the role, or by `escalate`. Only the server's own check knows, so it is
/// asked by a dry run.
async fn is_granted_otherwise(client: &Client, permission: &Permission) -> bool {
    let Target::Resource(resource) = permission.target else { return false };
    let metadata = ObjectMeta { name: Some(REHEARSAL.to_owned()), ..ObjectMeta::default() };
    let params = PostParams { dry_run: true, field_manager: None };
    let rehearsed = match (permission.verb, resource.name) {
        ("bind", Some(name)) => {
            let api: Api<RoleBinding> = Api::namespaced(client.clone(), "default");
            let role_ref = RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "ClusterRole".to_owned(),
                name: name.to_owned(),
            };
            let binding = RoleBinding { metadata, role_ref, subjects: None };
            call("dry-run a RoleBinding", || api.create(&params, &binding)).await.map(drop)
        }
        ("use", None) => {
            let api: Api<ClusterRole> = Api::all(client.clone());
            let usage = PolicyRule {
                api_groups: Some(vec![resource.group.to_owned()]),
                resources: Some(vec![resource.resource.to_owned()]),
                resource_names: Some(vec![REHEARSAL.to_owned()]),
                verbs: vec![permission.verb.to_owned()],
                non_resource_urls: None,
            };
            let role = ClusterRole { metadata, rules: Some(vec![usage]), aggregation_rule: None };
            call("dry-run a ClusterRole", || api.create(&params, &role)).await.map(drop)
        }
        _ => return false,
    };
    rehearsed.is_ok()
}

/// The caller's name, where the server tells it: since Kubernetes 1.28 to everyone.
pub(super) async fn caller(client: &Client) -> Option<String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, question) = (PostParams::default(), SelfSubjectReview::default());
    let answer = call("ask who the caller is", || api.create(&params, &question)).await.ok()?;
    answer.status?.user_info?.username
}

/// What a caller learns who lacks rights that a run can't do without, in all namespaces or a given one.
fn refusal(caller: Option<&str>, namespace: Option<&str>, denied: &[Permission]) -> Result<Error> {
    let in_the_way = denied.iter().filter(|permission| permission.need == Need::Run);
    let list: Vec<_> = in_the_way.map(|permission| format!("`{permission}`")).collect();
    let (who, note) = match caller {
        Some(name) => (format!("user `{name}`"), ""),
        None => ("the caller".to_owned(), " (with the user's name for NAME)"),
    };
    let user = caller.unwrap_or(UNKNOWN_USER);
    let grant = match namespace {
        Some(namespace) => cluster_role::grant_in(namespace, user, denied)?,
        None => cluster_role::grant(user, denied)?,
    };
    let place = namespace.map(|it| format!(" in namespace `{it}`")).unwrap_or_default();
    let message = format!("{who} lacks rights that a run needs{place}: {}", list.join(", "));
    Ok(Error::infrastructure(message).with_hint(format!(
        "an administrator grants what is missing with `kubectl apply -f FILE`, FILE being{note}:\n\
         \n{}",
        grant.trim_end()
    )))
}

#[cfg(test)]
mod tests {
    use super::{super::permissions, *};
    use crate::facts::Flavour;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]) -> ResourceRule {
        ResourceRule {
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            verbs: list(verbs),
            resource_names: Some(list(names)),
        }
    }

    fn permission(verb: &'static str, resource: Resource) -> Permission {
        Permission { verb, target: Target::Resource(resource), need: Need::Run, why: "Test." }
    }

    fn resource(group: &'static str, resource: &'static str) -> Resource {
        Resource { group, resource, subresource: None, name: None, scope: Scope::Run }
    }

    /// Whether one rule gives one right.
    #[track_caller]
    fn gives(rule: &ResourceRule, verb: &'static str, resource: Resource) -> bool {
        let rules =
            SubjectRulesReviewStatus { resource_rules: vec![rule.clone()], ..Default::default() };
        missing(&[permission(verb, resource)], &rules).is_empty()
    }

    #[test]
    fn without_rules_every_right_is_missing_and_with_wildcards_none() {
        let nothing = SubjectRulesReviewStatus::default();
        let everything = SubjectRulesReviewStatus {
            resource_rules: vec![rule(&["*"], &["*"], &["*"], &[])],
            non_resource_rules: vec![NonResourceRule {
                verbs: vec!["*".into()],
                non_resource_urls: Some(list(&["*"])),
            }],
            ..Default::default()
        };
        for flavour in [Flavour::Kubernetes, Flavour::MicroShift, Flavour::OpenShift] {
            let permissions = permissions(flavour);
            assert_eq!(missing(&permissions, &nothing), permissions);
            assert_eq!(missing(&permissions, &everything), []);
        }
    }

    #[test]
    fn a_rule_gives_what_it_names_in_verb_group_and_resource() {
        let pods = rule(&["", "apps"], &["pods", "deployments"], &["get", "list"], &[]);
        assert!(gives(&pods, "get", resource("", "pods")));
        assert!(gives(&pods, "list", resource("apps", "deployments")));
        assert!(!gives(&pods, "create", resource("", "pods")));
        assert!(!gives(&pods, "get", resource("batch", "pods")));
        assert!(!gives(&pods, "get", resource("", "pod")));
        for any in [
            rule(&["*"], &["pods"], &["get"], &[]),
            rule(&[""], &["*"], &["get"], &[]),
            rule(&[""], &["pods"], &["*"], &[]),
        ] {
            assert!(gives(&any, "get", resource("", "pods")), "{any:?}");
            assert!(!gives(&any, "list", resource("apps", "deployments")), "{any:?}");
        }
        let empty = ResourceRule { verbs: vec!["*".into()], ..ResourceRule::default() };
        assert!(!gives(&empty, "get", resource("", "pods")));
    }

    #[test]
    fn a_resource_is_not_its_subresources() {
        let token = Resource { subresource: Some("token"), ..resource("", "serviceaccounts") };
        let of = |resources: &[&str]| rule(&[""], resources, &["create"], &[]);
        assert!(gives(&of(&["serviceaccounts/token"]), "create", token));
        assert!(gives(&of(&["*/token"]), "create", token));
        assert!(gives(&of(&["*"]), "create", token));
        assert!(!gives(&of(&["serviceaccounts"]), "create", token));
        assert!(!gives(&of(&["serviceaccounts/*"]), "create", token));
        assert!(!gives(&of(&["*/status"]), "create", token));
        let account = resource("", "serviceaccounts");
        assert!(!gives(&of(&["serviceaccounts/token", "*/token"]), "create", account));
    }

    #[test]
    fn a_rule_with_names_is_only_for_these() {
        let roles = resource("rbac.authorization.k8s.io", "clusterroles");
        let edit = Resource { name: Some("edit"), ..roles };
        let bind = |names: &[&str]| rule(&["*"], &["clusterroles"], &["bind"], names);
        assert!(gives(&bind(&["view", "edit"]), "bind", edit));
        assert!(gives(&bind(&[]), "bind", edit));
        assert!(!gives(&bind(&["view"]), "bind", edit));
        assert!(!gives(&bind(&["edit"]), "bind", roles));
        assert!(!gives(&bind(&["*"]), "bind", edit), "names have no wildcard");
    }

    #[test]
    fn paths_may_end_with_a_wildcard() {
        let metrics = [Permission {
            verb: "get",
            target: Target::Url("/metrics"),
            need: Need::Read,
            why: "Test.",
        }];
        let gives = |urls: &[&str], verb: &str| {
            let rule = NonResourceRule {
                verbs: vec![verb.to_owned()],
                non_resource_urls: Some(list(urls)),
            };
            let rules =
                SubjectRulesReviewStatus { non_resource_rules: vec![rule], ..Default::default() };
            missing(&metrics, &rules).is_empty()
        };
        assert!(gives(&["/version", "/metrics"], "get"));
        assert!(gives(&["/met*"], "*"));
        assert!(gives(&["*"], "get"));
        assert!(!gives(&["/metrics/*"], "get"));
        assert!(!gives(&["/metrics"], "head"));
        assert!(!gives(&["/healthz"], "get"));
    }

    #[test]
    fn a_right_that_is_only_for_reading_is_never_in_the_way() {
        let permissions = permissions(Flavour::OpenShift);
        let (read, run): (Vec<_>, Vec<_>) =
            permissions.into_iter().partition(|permission| permission.need == Need::Read);
        assert!(!is_in_the_way(&read) && is_in_the_way(&run[..1]));
    }

    #[test]
    fn a_refusal_names_the_caller_each_right_and_the_way_on() {
        let permissions = permissions(Flavour::OpenShift);
        let error = refusal(Some("alice"), None, &permissions).expect("it is written");
        let message = error.to_string();
        assert_eq!(error.kind().exit_code(), 4);
        for words in [
            "user `alice` lacks",
            "`create namespaces`",
            "`create serviceaccounts/token`",
            "`bind clusterroles.rbac.authorization.k8s.io edit`",
            "`create securitycontextconstraints.security.openshift.io`",
            "`use securitycontextconstraints.security.openshift.io`",
        ] {
            assert!(message.contains(words), "`{words}` is not in {message}");
        }
        assert!(!message.contains("nodes"), "what only can't be read is in {message}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("kubectl apply") && hint.contains("runtimeclasses"), "{hint}");
        assert!(hint.contains("name: alice"), "{hint}");

        let error = refusal(None, None, &permissions).expect("it is written");
        assert!(error.to_string().starts_with("the caller lacks"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("name: NAME")), "{error:?}");
    }

    #[test]
    fn a_refusal_in_a_given_namespace_asks_for_a_role_of_it() {
        let permissions = super::super::permissions_in_namespace();
        let error = refusal(Some("alice"), Some("team-a"), &permissions).expect("it is written");
        let message = error.to_string();
        assert!(message.contains("in namespace `team-a`: `create pods`"), "{message}");
        let hint = error.hint().unwrap_or_default();
        assert!(hint.contains("namespace: team-a") && hint.contains("kind: Role\n"), "{hint}");
        assert!(!hint.contains("ClusterRole"), "{hint}");
    }
}
