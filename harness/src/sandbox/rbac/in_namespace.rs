//! The permissions of a run in a given namespace (`nestcheck run --namespace`): those of a plain user who
//! may create pods there, and none outside of it.

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::Namespace,
    rbac::v1::{PolicyRule, Role},
};
use kube::{Api, Client, api::PostParams};

use super::{
    cluster_role::{account_in, binding_in, explained, named, role_to},
    preamble::comment,
    review::caller,
};
use crate::{
    Error, Result,
    base::manifest,
    cluster::{
        Cluster, call, is_forbidden,
        permission::{Need, Permission, Rule, Rules, Scope, of_run, resource},
        status_code,
    },
    facts::Flavour,
};

/// The API group of SCCs.
const SECURITY: &str = "security.openshift.io";

/// The SCC for nested containers that OpenShift ships from 4.20 on
/// (cluster-kube-apiserver-operator, `bindata/bootkube/scc-manifests`).
pub const SHIPPED_SCC: &str = "nested-container";

const PODS: &str = "Creates the pods of the cases, waits until they are ready, and deletes them. The cases \
     replace a pod in dry runs only.";
const COMMANDS: &str = "Runs the commands of the cases in these pods.";
const FILES: &str = "Gives the pods the probe, and a Secret and a volume where a case is about them. The run \
     reads no Secret.";
const RECORD: &str =
    "Records each run, so that `nestcheck sweep --namespace` finds the leftovers of killed runs.";
const POLICIES: &str = "Isolates one pod of a case from another one.";
const EVENTS: &str = "Reads why a pod does not start.";
const EVIDENCE: &str =
    "Collects the evidence of failed cases, and what restricts pods of this namespace.";

/// What is done in the namespace.
const RULES: Rules = &[
    Rule {
        need: Need::Run,
        why: PODS,
        verbs: &["create", "delete", "get", "list", "update", "watch"],
        targets: &[of_run("", "pods")],
    },
    Rule {
        need: Need::Run,
        why: COMMANDS,
        verbs: &["create", "get"],
        targets: &[resource(Scope::Run, "", "pods", Some("exec"))],
    },
    Rule {
        need: Need::Run,
        why: FILES,
        verbs: &["create", "delete", "list"],
        targets: &[of_run("", "configmaps")],
    },
    Rule {
        need: Need::Run,
        why: FILES,
        verbs: &["create", "delete", "list", "watch"],
        targets: &[of_run("", "persistentvolumeclaims")],
    },
    Rule {
        need: Need::Run,
        why: FILES,
        verbs: &["create", "delete"],
        targets: &[of_run("", "secrets")],
    },
    Rule {
        need: Need::Run,
        why: RECORD,
        verbs: &["create", "delete", "get", "list"],
        targets: &[of_run("coordination.k8s.io", "leases")],
    },
    Rule {
        need: Need::Run,
        why: POLICIES,
        verbs: &["create", "delete", "list"],
        targets: &[of_run("networking.k8s.io", "networkpolicies")],
    },
    Rule {
        need: Need::Run,
        why: EVENTS,
        verbs: &["list", "watch"],
        targets: &[of_run("", "events")],
    },
    Rule {
        need: Need::Read,
        why: EVIDENCE,
        verbs: &["get"],
        targets: &[resource(Scope::Run, "", "pods", Some("log")), of_run("", "namespaces")],
    },
    Rule {
        need: Need::Read,
        why: EVIDENCE,
        verbs: &["list"],
        targets: &[of_run("", "limitranges"), of_run("", "resourcequotas")],
    },
];

/// The permissions of a run in a given namespace.
#[must_use]
pub fn permissions_in_namespace() -> Vec<Permission> {
    RULES.iter().flat_map(Rule::permissions).collect()
}

/// All that gives a user the permissions for a run in a namespace, for `kubectl apply`. The user is
/// `None` for a new service account of the namespace.
///
/// # Errors
///
/// None in practice: the objects are written as YAML.
pub fn objects_in_namespace(
    flavour: Flavour,
    namespace: &str,
    user: Option<&str>,
) -> Result<String> {
    let own = format!("system:serviceaccount:{namespace}:nestcheck");
    let mut text = preamble(flavour, namespace);
    if user.is_none() {
        text.push_str(&account_in(namespace)?);
    }
    text.push_str("---\n");
    text.push_str(&role(namespace)?);
    if matches!(flavour, Flavour::OpenShift | Flavour::MicroShift) {
        text.push_str(&comment(
            "Gives the pods of the cases the SCC that they test. For another one, replace the name \
             and give it to the run with `--scc cluster:NAME`.",
        ));
        text.push_str(&manifest::print(&vec![use_of(SHIPPED_SCC)])?);
    }
    text.push_str("---\n");
    text.push_str(&binding_in(Some(namespace), user.unwrap_or(&own))?);
    Ok(text)
}

fn role(namespace: &str) -> Result<String> {
    let mut metadata = named("nestcheck");
    metadata.namespace = Some(namespace.to_owned());
    let head = manifest::print(&Role { metadata, rules: None })?;
    Ok(head + &explained(&permissions_in_namespace())?)
}

/// The rule by which somebody may use an SCC.
pub(crate) fn use_of(scc: &str) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![SECURITY.to_owned()]),
        resources: Some(vec!["securitycontextconstraints".to_owned()]),
        resource_names: Some(vec![scc.to_owned()]),
        verbs: vec!["use".to_owned()],
        non_resource_urls: None,
    }
}

fn preamble(flavour: Flavour, namespace: &str) -> String {
    let product = flavour.product();
    let paragraphs = [
        format!(
            "The permissions that `nestcheck run --namespace {namespace}` needs on {product}, \
             printed with `nestcheck preflight --print-rbac --namespace {namespace}`. Apply them \
             with `kubectl apply -f FILE`. The run acts as this user, also in the cases."
        ),
        "What a user with these permissions can do: create pods in this namespace, and so act as \
         its service accounts and mount its Secrets, as everybody who may create pods there; run \
         commands in every pod of the namespace; delete its pods, PVCs, ConfigMaps, Secrets and \
         NetworkPolicies. Nothing outside of the namespace. The ClusterRole `edit`, bound in the \
         namespace, has as much."
            .to_owned(),
    ];
    let text = paragraphs.map(|paragraph| comment(&paragraph));
    text.join("#\n")
}

/// Makes sure that a run can be in a namespace: that it is there and not about to end, and that the
/// caller may use the SCC.
///
/// # Errors
///
/// That it can't, with what to do.
pub async fn check_namespace(cluster: &Cluster, namespace: &str, scc: Option<&str>) -> Result<()> {
    let client = cluster.admin();
    let api: Api<Namespace> = Api::all(client.clone());
    let what = format!("read namespace `{namespace}`");
    let found = call(&what, || async {
        match api.get_opt(namespace).await {
            // Then its pods tell: who may create them knows the namespace.
            Err(error) if is_forbidden(&error) => Ok(None),
            Err(error) if status_code(&error) == Some(404) => Ok(Some(None)),
            found => found.map(Some),
        }
    });
    match found.await? {
        Some(None) => {
            return Err(Error::usage(format!("the cluster has no namespace `{namespace}`"))
                .with_hint(
                    "name one that is there with `--namespace NAME`: nestcheck creates none",
                ));
        }
        Some(Some(object)) if object.metadata.deletion_timestamp.is_some() => {
            return Err(Error::usage(format!("namespace `{namespace}` is being deleted"))
                .with_hint("wait until it is gone and make it anew, or name another one"));
        }
        _ => {}
    }
    match scc {
        Some(scc) if !may_use(client, namespace, scc).await? => {
            let user = caller(client).await;
            let who =
                user.as_ref().map_or("the caller".to_owned(), |user| format!("user `{user}`"));
            let message = format!("{who} may not use SCC `{scc}` in namespace `{namespace}`");
            let yaml = role_to(namespace, user.as_deref(), vec![use_of(scc)])?;
            Err(Error::infrastructure(message).with_hint(format!(
                "name one that the user may use with `--scc cluster:NAME`, or let an administrator \
                 grant it with `kubectl apply -f FILE`, FILE being:\n\n{}",
                yaml.trim_end()
            )))
        }
        _ => Ok(()),
    }
}

async fn may_use(client: &Client, namespace: &str, scc: &str) -> Result<bool> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let attributes = ResourceAttributes {
        group: Some(SECURITY.to_owned()),
        resource: Some("securitycontextconstraints".to_owned()),
        name: Some(scc.to_owned()),
        namespace: Some(namespace.to_owned()),
        verb: Some("use".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        non_resource_attributes: None,
    };
    let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let what = format!("ask whether the caller may use SCC `{scc}`");
    let params = PostParams::default();
    let answer = call(&what, || api.create(&params, &question)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::RoleBinding;

    use super::*;

    #[test]
    fn the_role_is_of_the_namespace_and_reads_no_secrets() {
        let text = objects_in_namespace(Flavour::Kubernetes, "team-a", Some("alice"))
            .expect("it is written");
        let parts: Vec<_> = text.split("---\n").collect();
        assert_eq!(parts.len(), 3, "{text}");
        let role: Role = manifest::parse("role", parts[1]).expect("a Role");
        assert_eq!(role.metadata.namespace.as_deref(), Some("team-a"));
        let has = |rule: &PolicyRule, verb: &str, resource: &str| {
            rule.verbs.iter().any(|it| it == verb)
                && rule.resources.iter().flatten().any(|it| it == resource)
        };
        let rules = role.rules.unwrap_or_default();
        let grants = |verb: &str, resource: &str| rules.iter().any(|it| has(it, verb, resource));
        assert!(grants("create", "pods") && grants("create", "secrets"));
        for verb in ["get", "list", "watch"] {
            assert!(!grants(verb, "secrets"), "{verb}");
        }
        assert!(rules.iter().all(|rule| !rule.verbs.contains(&"*".to_owned())));
        let binding: RoleBinding = manifest::parse("binding", parts[2]).expect("a RoleBinding");
        assert_eq!(binding.metadata.namespace.as_deref(), Some("team-a"));
        assert_eq!(binding.role_ref.kind, "Role");
        assert!(!text.contains("ClusterRoleBinding"), "{text}");
    }

    #[test]
    fn on_openshift_the_role_has_the_shipped_scc() {
        let text = objects_in_namespace(Flavour::OpenShift, "team-a", None).expect("it is written");
        assert!(text.contains("nested-container") && text.contains("- use"), "{text}");
        assert!(text.contains("kind: ServiceAccount"), "{text}");
        let parts: Vec<_> = text.split("---\n").collect();
        let role: Role = manifest::parse("role", parts[1]).expect("a Role");
        let last = role.rules.unwrap_or_default().pop().expect("a rule");
        assert_eq!(last.resource_names, Some(vec![SHIPPED_SCC.to_owned()]));
    }
}
