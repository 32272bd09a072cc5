//! Who may use an SCC: those with a grant, in the namespace of the grant.

use std::time::Duration;

use harness::{
    base::text::yes_or_no,
    cluster::retry,
    engine::{Case, CaseKind, Context},
    sandbox::{
        GRANT, GRANT_DEADLINE, Grant, Identity, UNGRANTED_USER, USER, pod_template::REQUIRED_SCC,
    },
    verdict::{CaseResult, Failure},
};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::Pod,
    rbac::v1::RoleBinding,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use super::{WITH_OWN_SCC, scc, workspace};
use crate::{
    steps::{expect_refusal_as, request},
    suite::WITH_SCCS,
};

/// SCCs that would give a user more than a workspace may have.
const POWERFUL: [&str; 6] =
    ["privileged", "anyuid", "hostaccess", "hostmount-anyuid", "hostnetwork", "hostnetwork-v2"];

inventory::submit!(Case {
    id: "SCC-04",
    suite: "scc",
    name: "grants_no_powerful_constraint",
    title: "The ordinary user may not use any shipped SCC that gives power over the node",
    why: "If the ordinary user could use `privileged` or `anyuid`, no pass would mean anything: \
          the cases would work for reasons that do not hold for a developer.",
    fix: "Remove the binding that grants the named SCC to a group of all users or service \
          accounts.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(grants_no_powerful_scc(cx))),
    ..Case::DEFAULT
});

async fn grants_no_powerful_scc(cx: Context) -> CaseResult {
    let own = scc(&cx)?.name.clone();
    // A review that says no to everything would pass too; this proves that it knows a grant.
    let granted = |allowed: &bool| *allowed;
    let allowed = may_use(&cx, &own, granted).await?;
    cx.check(&format!("may use `{own}`"), "yes", yes_or_no(allowed), allowed)?;
    for name in POWERFUL {
        let allowed = may_use(&cx, name, |_| true).await?;
        cx.check(&format!("may use `{name}`"), "no", yes_or_no(allowed), !allowed)?;
    }
    Ok(())
}

/// Asks the API server, as the user, whether it may use an SCC in the run's namespace. An answer
/// that is not `final_` is asked for again while a grant may be new to the authorizer.
async fn may_use(
    cx: &Context,
    name: &str,
    final_: impl Fn(&bool) -> bool + Send + Sync,
) -> Result<bool, Failure> {
    may_use_in(cx, cx.sandbox().namespace(), name, final_).await
}

async fn may_use_in(
    cx: &Context,
    namespace: &str,
    name: &str,
    final_: impl Fn(&bool) -> bool + Send + Sync,
) -> Result<bool, Failure> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cx.sandbox().user().clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some("security.openshift.io".to_owned()),
                resource: Some("securitycontextconstraints".to_owned()),
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                verb: Some("use".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let params = PostParams::default();
    let ask = || async {
        let asked = request("review the user's access", || reviews.create(&params, &review)).await;
        let allowed = asked.map_err(Asked::Failed)?.status.is_some_and(|status| status.allowed);
        if final_(&allowed) { Ok(allowed) } else { Err(Asked::NotYet(allowed)) }
    };
    let not_yet = |error: &Asked| matches!(error, Asked::NotYet(_)).then_some(Duration::ZERO);
    match retry::with_backoff(GRANT_DEADLINE, not_yet, ask).await {
        Ok(allowed) | Err(Asked::NotYet(allowed)) => Ok(allowed),
        Err(Asked::Failed(failure)) => Err(failure),
    }
}

/// What came of a question that may have to be asked again.
enum Asked {
    /// It can't be asked.
    Failed(Failure),
    /// The answer may yet change.
    NotYet(bool),
}

const NOT_USABLE: &str = "not usable by user or serviceaccount";

inventory::submit!(Case {
    id: "SCC-16",
    suite: "scc",
    name: "refuses_user_without_grant",
    title: "A user without a grant for the SCC cannot use it",
    why: "The permission to use an SCC limits nested containers to selected users. Without a \
          grant, the API server has to refuse.",
    fix: "Look for the binding that grants the SCC to everybody: `oc adm policy who-can use scc \
          NAME`.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_user_without_grant(cx))),
    ..Case::DEFAULT
});

async fn refuses_user_without_grant(cx: Context) -> CaseResult {
    scc(&cx)?;
    let mut pod = workspace(&cx)?;
    // An account with a grant would let the ungranted user's pod in.
    pod.spec.get_or_insert_default().service_account_name = Some(UNGRANTED_USER.to_owned());
    expect_refusal_as(
        &cx,
        Identity::Ungranted,
        "answer to the ungranted user",
        &pod,
        403,
        &[NOT_USABLE],
    )
    .await
}

inventory::submit!(Case {
    id: "SCC-17",
    suite: "scc",
    name: "refuses_constraint_that_is_not_there_or_not_granted",
    title: "A pod that requires an SCC is refused if the SCC does not exist or its user may not \
        use it",
    why: "If a pod requests an SCC by name, no other SCC may silently admit it. The pod would run \
          with permissions that its author did not see.",
    fix: "This is a bug of SCC admission, or the plugin is missing: report it with the message.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_scc_that_is_not_there_or_not_granted(cx))),
    ..Case::DEFAULT
});

async fn refuses_scc_that_is_not_there_or_not_granted(cx: Context) -> CaseResult {
    scc(&cx)?;
    for (name, words) in [("nestcheck-no-such-scc", "not found"), ("privileged", NOT_USABLE)] {
        let mut pod = workspace(&cx)?;
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(REQUIRED_SCC.to_owned(), name.to_owned());
        let what = format!("answer to required SCC `{name}`");
        expect_refusal_as(&cx, Identity::User, &what, &pod, 403, &[words]).await?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "SCC-18",
    suite: "scc",
    name: "grants_in_one_namespace_only",
    title: "A grant with a RoleBinding is valid in its namespace only",
    why: "Developers get the grant in their own namespace. If it held elsewhere, a developer \
          could start a workspace in another team's namespace.",
    fix: "Grant with a RoleBinding in the namespace, not with a ClusterRoleBinding and not in the \
          SCC's `users` or `groups`.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(grants_in_one_namespace_only(cx))),
    ..Case::DEFAULT
});

async fn grants_in_one_namespace_only(cx: Context) -> CaseResult {
    let own = scc(&cx)?.name.clone();
    let mut pod = workspace(&cx)?;
    let elsewhere = cx.provision_namespace(Grant::Nothing).await?;
    accepted(&cx, "answer in the namespace of the grant", &pod).await?;
    pod.metadata.namespace = Some(elsewhere.clone());
    let what = "answer in another namespace";
    expect_refusal_as(&cx, Identity::User, what, &pod, 403, &[NOT_USABLE]).await?;
    let allowed = may_use_in(&cx, &elsewhere, &own, |_| true).await?;
    cx.check(&format!("may use `{own}` elsewhere"), "no", yes_or_no(allowed), !allowed)
}

async fn accepted(cx: &Context, what: &str, pod: &Pod) -> CaseResult {
    let (observed, holds) = match cx.admission().dry_run(pod).await? {
        Ok(_) => ("accepted".to_owned(), true),
        Err(refusal) => (format!("{}: {}", refusal.code, refusal.message), false),
    };
    cx.check(what, "accepted", observed, holds)
}

inventory::submit!(Case {
    id: "END-07",
    suite: "teardown",
    name: "refuses_after_grant_is_removed",
    title: "After the grant is removed, a new pod is refused",
    why: "Removing a grant must take effect at once. Otherwise administrators cannot stop what \
          they allowed.",
    fix: "Look for a second binding that still grants the SCC. If removal takes more than a few \
          seconds, the API server has a stale cache.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(refuses_after_grant_is_removed(cx))),
    ..Case::DEFAULT
});

async fn refuses_after_grant_is_removed(cx: Context) -> CaseResult {
    scc(&cx)?;
    let mut pod = workspace(&cx)?;
    let namespace = cx.provision_namespace(Grant::UseScc).await?;
    pod.metadata.namespace = Some(namespace.clone());
    pod.spec.get_or_insert_default().service_account_name = Some(USER.to_owned());
    accepted(&cx, "answer with the grant", &pod).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(cx.sandbox().admin().clone(), &namespace);
    let params = DeleteParams::default();
    request("remove the grant", || bindings.delete(GRANT, &params)).await?;
    // The authorizer learns of it by a watch of its own.
    let answer = retry::with_backoff(
        GRANT_DEADLINE,
        |answer: &Option<Failure>| answer.is_none().then_some(Duration::ZERO),
        || async {
            match cx.admission().dry_run_as(Identity::User, &pod).await {
                Ok(Ok(_accepted)) => Err(None),
                Ok(Err(refusal)) => Ok(refusal),
                Err(failure) => Err(Some(failure)),
            }
        },
    );
    let (observed, holds) = match answer.await {
        Ok(refusal) => {
            let holds = refusal.code == 403 && refusal.message.contains(NOT_USABLE);
            (format!("{}: {}", refusal.code, refusal.message), holds)
        }
        Err(None) => (format!("accepted for {} s more", GRANT_DEADLINE.as_secs()), false),
        Err(Some(failure)) => return Err(failure),
    };
    cx.check("answer without the grant", &format!("403 with “{NOT_USABLE}”"), observed, holds)
}
