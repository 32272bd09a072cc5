//! What the run's SCC gives to the pods that it admits.

use std::time::Duration;

use harness::{
    cluster::{NotSeen, watch_until},
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context},
    sandbox::{Grant, pod_template::ADMITTED_BY},
    verdict::{CaseResult, Failure, Level, SignatureId},
    workload::restricted,
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{Namespace, Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta},
};

use super::{WITH_OWN_SCC, container, decided_by, scc, workspace};
use crate::{
    fixtures::NESTED_POD,
    steps::request,
    suite::{OPENSHIFT, WITH_SCCS},
};

/// The annotation that says by whose right a pod was admitted (apiserver-library-go,
/// `securitycontextconstraints/sccadmission`).
const SUBJECT_TYPE: &str = "security.openshift.io/validated-scc-subject-type";

inventory::submit!(Case {
    id: "SCC-P01",
    suite: "scc",
    name: "admits_pod_of_user_who_may_use_it",
    title: "This SCC, and not another one, admits the pod of a user who may use it",
    why: "This is the intended path: the user with a grant for the SCC gets the pod, admitted \
          with this SCC and not with another one that happens to fit.",
    fix: "Grant `use` on the SCC to the user with a Role and RoleBinding in the namespace, and \
          set `openshift.io/required-scc` on the pod.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(admits_pod_of_user_who_may_use_it(cx))),
    ..Case::DEFAULT
});

async fn admits_pod_of_user_who_may_use_it(cx: Context) -> CaseResult {
    let running = cx.pod(&NESTED_POD).await?;
    let name = &scc(&cx)?.name;
    cx.check_equal(CheckId::AdmittedBy, name, annotation(running.object(), ADMITTED_BY))?;
    // The pod's own account may use the SCC too; with one that may not, it is the user's
    // right that counts.
    let mut pod = workspace(&cx)?;
    pod.spec.get_or_insert_default().service_account_name = Some("default".to_owned());
    let stored = cx.admission().dry_run(&pod).await?.map_err(|refusal| {
        let message = refusal.message;
        Failure::product(format!("a pod of an account without the right is refused: {message}"))
    })?;
    let by_user = annotation(&stored, ADMITTED_BY);
    cx.check_equal("openshift.io/scc by the user's right", name, by_user)?;
    expect_right_of(&cx, "user", &stored)
}

/// Expects that a pod was admitted by the right of its user or of its service account. The API
/// server says so from OpenShift 4.20 on.
fn expect_right_of(cx: &Context, subject: &str, pod: &Pod) -> CaseResult {
    let observed = annotation(pod, SUBJECT_TYPE);
    let release = cx.facts().release.value().and_then(Option::as_ref);
    let is_silent = observed == "absent" && release.is_none_or(|release| !release.at_least(4, 20));
    if is_silent { Ok(()) } else { cx.check_equal(SUBJECT_TYPE, subject, observed) }
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> &'a str {
    pod.annotations().get(name).map_or("absent", String::as_str)
}

// What plain pods with a user namespace are admitted by. `restricted-v3` is shipped from 4.20 on,
// and `restricted-v2`, which is as strict, comes before it by name.
inventory::submit!(Case {
    id: "SCC-P04",
    suite: "scc",
    name: "admits_plain_pod_with_user_namespace_by_a_restricted_constraint",
    title: "`restricted-v2` or `restricted-v3` admits a plain pod with a user namespace, and the \
        pod keeps it",
    why: "Any user may request a user namespace. One of the two strictest SCCs must admit a pod \
          that requests nothing else. If another SCC admits it, somebody changed the order of \
          SCCs, and with it what all pods may do.\n\n\
          A pod with a user namespace has 65536 ids. `restricted-v2` gives it an id of the \
          namespace, far above: the API server admits the pod, and the runtime cannot start it. \
          The case reports that as a known issue. An id from 65536 on by another SCC is a \
          failure.",
    fix: "Look for an SCC with a priority that every user may use (`oc get scc`), and for changes \
          to `restricted-v2` and `restricted-v3` (SCC-01). In pods with a user namespace, ask for \
          `restricted-v3` with the annotation `openshift.io/required-scc`.",
    level: Level::Extended,
    flavours: OPENSHIFT,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(admits_plain_pod_with_user_namespace_by_a_restricted_scc(
        cx
    ))),
    ..Case::DEFAULT
});

async fn admits_plain_pod_with_user_namespace_by_a_restricted_scc(cx: Context) -> CaseResult {
    let mut pod = workspace(&cx)?;
    // In a namespace without the run's grant, only what everybody may use is left.
    pod.metadata.namespace = Some(cx.provision_namespace(Grant::Nothing).await?);
    pod.metadata.annotations = None;
    let spec = pod.spec.get_or_insert_default();
    (spec.security_context, spec.service_account_name) = (None, None);
    container(&mut pod).security_context = None;
    let stored = cx.admission().dry_run(&pod).await?.map_err(|refusal| {
        Failure::product(format!("a plain pod is refused: {}", refusal.message))
    })?;
    let host_users = show(stored.spec.as_ref().and_then(|spec| spec.host_users.as_ref()));
    cx.check_equal("stored hostUsers", "false", &host_users)?;
    let admitted_by = annotation(&stored, ADMITTED_BY);
    let holds = ["restricted-v2", "restricted-v3"].contains(&admitted_by);
    cx.check(CheckId::AdmittedBy, "`restricted-v2` or `restricted-v3`", admitted_by, holds)?;
    let foreign = foreign_ids(&stored);
    if !foreign.is_empty() && admitted_by == "restricted-v2" {
        // It knows nothing of user namespaces, and comes before `restricted-v3` by name.
        return Err(Failure::known_issue(
            SignatureId::F40,
            format!(
                "`restricted-v2` gives the pod {}, which its user namespace does not have, so it \
                 can't start: ask for `restricted-v3` with `openshift.io/required-scc`, or set \
                 `runAsUser` and `fsGroup` below {POD_IDS}",
                foreign.join(", ")
            ),
        ));
    }
    let observed = if foreign.is_empty() { "none".to_owned() } else { foreign.join(", ") };
    let name = format!("injected ids from {POD_IDS} on");
    cx.check(&name, "none", observed, foreign.is_empty()).map_err(|failure| {
        let hint = format!(
            "the SCC `{admitted_by}` gives ids that the pod's user namespace does not have: its \
             `runAsUser`, `fsGroup` and `supplementalGroups` need ranges below {POD_IDS}"
        );
        failure.with_hint(Some(hint))
    })
}

/// How many ids a pod in a user namespace has, unless the kubelet's `idsPerPod` says otherwise
/// (KEP-127).
const POD_IDS: i64 = 65_536;

/// The ids in a pod that its user namespace does not have, with their fields.
fn foreign_ids(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let of_pod = spec.security_context.unwrap_or_default();
    let of_containers = spec.containers.into_iter().chain(spec.init_containers.unwrap_or_default());
    let of_containers = of_containers.filter_map(|it| it.security_context).flat_map(|context| {
        [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)]
    });
    let groups = of_pod.supplemental_groups.unwrap_or_default().into_iter();
    let mut foreign: Vec<_> = [
        ("runAsUser", of_pod.run_as_user),
        ("runAsGroup", of_pod.run_as_group),
        ("fsGroup", of_pod.fs_group),
    ]
    .into_iter()
    .chain(groups.map(|group| ("supplementalGroups", Some(group))))
    .chain(of_containers)
    .filter_map(|(field, id)| Some((field, id?)))
    .filter(|(_, id)| *id >= POD_IDS)
    .map(|(field, id)| format!("{field} {id}"))
    .collect();
    foreign.dedup();
    foreign
}

inventory::submit!(Case {
    id: "SCC-P02",
    suite: "scc",
    name: "fills_in_what_the_pod_leaves_out",
    title: "The SCC sets user 1000, the groups, and the SELinux type and level in a pod that sets \
        none of them",
    why: "A developer's pod sets as few fields as possible. The SCC always sets the same user, \
          groups and SELinux label, and the image relies on them.",
    fix: "Compare the SCC with the reference in `fixtures/scc`: `runAsUser`, `fsGroup`, \
          `supplementalGroups` and `seLinuxContext` have to name one value or the start of a \
          range.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    kind: CaseKind::Live(|cx| Box::pin(fills_in_what_the_pod_leaves_out(cx))),
    ..Case::DEFAULT
});

async fn fills_in_what_the_pod_leaves_out(cx: Context) -> CaseResult {
    scc(&cx)?;
    let mut pod = workspace(&cx)?;
    pod.spec.get_or_insert_default().security_context = None;
    container(&mut pod).security_context = None;
    let mut stored = cx.admission().dry_run(&pod).await?.map_err(|refusal| {
        Failure::product(format!("a pod that sets nothing is refused: {}", refusal.message))
    })?;
    let of_pod = stored.spec.clone().and_then(|spec| spec.security_context).unwrap_or_default();
    let of_container = container(&mut stored).security_context.clone().unwrap_or_default();
    let run_as_user = show(of_container.run_as_user.as_ref());
    let user = cx.check_equal("injected runAsUser", "1000", &run_as_user);
    decided_by("runAsUser", "`MustRunAs` with uid 1000", user)?;
    let non_root = show(of_container.run_as_non_root.as_ref());
    let non_root = cx.check_equal("injected runAsNonRoot", "true", &non_root);
    decided_by("runAsUser", "`MustRunAs` with uid 1000", non_root)?;
    let range = "`MustRunAs` with the range 1000-65534";
    let fs_group = show(of_pod.fs_group.as_ref());
    decided_by("fsGroup", range, cx.check_equal("injected fsGroup", "1000", &fs_group))?;
    let groups = of_pod.supplemental_groups.unwrap_or_default();
    let groups = groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let groups = cx.check_equal("injected supplementalGroups", "1000", &groups);
    decided_by("supplementalGroups", range, groups)?;
    // A pod-level setting reaches every container that has none of its own.
    let selinux = of_container.se_linux_options.or(of_pod.se_linux_options).unwrap_or_default();
    let type_ = show(selinux.type_.as_ref());
    let type_ = cx.check_equal("injected seLinuxOptions.type", "container_engine_t", &type_);
    decided_by("seLinuxContext", "`MustRunAs` with type `container_engine_t`", type_)?;
    let expected = cx.sandbox().selinux_level().unwrap_or("absent");
    let level = show(selinux.level.as_ref());
    let level = cx.check_equal("injected seLinuxOptions.level", expected, &level);
    decided_by("seLinuxContext", "without a level, so that the namespace's counts", level)?;
    let capabilities = of_container.capabilities.unwrap_or_default();
    let added = capabilities.add.unwrap_or_default().join(", ");
    let added = cx.check_equal("injected capabilities", "", &added);
    decided_by("defaultAddCapabilities", "empty", added)?;
    let read_only = of_container.read_only_root_filesystem.unwrap_or_default().to_string();
    let read_only = cx.check_equal("injected readOnlyRootFilesystem", "false", &read_only);
    decided_by("readOnlyRootFilesystem", "false", read_only)
}

fn show<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "absent".to_owned(), ToString::to_string)
}

inventory::submit!(Case {
    id: "SCC-P03",
    suite: "scc",
    name: "admits_pods_of_service_account",
    title: "The service account's permission admits a Deployment's pod, and the pod is nested",
    why: "A workspace is a Deployment, so a controller creates its pods. Only the permissions of \
          the pod's service account count, not the user's.",
    fix: "Bind the Role with `use` on the SCC to the service account of the workspace. The \
          DevWorkspace Operator does so for `controller.devfile.io/scc`.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(admits_pods_of_service_account(cx))),
    ..Case::DEFAULT
});

async fn admits_pods_of_service_account(cx: Context) -> CaseResult {
    let sandbox = cx.sandbox();
    let pod = workspace(&cx)?;
    let name = "deployed-workspace";
    let labels = [("nestcheck/deployment".to_owned(), name.to_owned())];
    let mut metadata = ObjectMeta { annotations: pod.metadata.annotations, ..Default::default() };
    metadata.labels = Some(labels.clone().into());
    let mut spec = pod.spec.unwrap_or_default();
    // A Deployment's pods are always restarted.
    spec.restart_policy = None;
    let deployment = Deployment {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: DeploymentSpec {
            selector: LabelSelector {
                match_labels: Some(labels.into()),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) },
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    };
    let deployments: Api<Deployment> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let object = serde_json::to_value(&deployment).and_then(serde_json::from_value);
    let object = object
        .map_err(|error| Failure::harness(format!("the Deployment cannot be created: {error}")))?;
    cx.create_in_namespace(object).await?;
    let limit = sandbox.timeouts().pod;
    let available = watch_until(&deployments, name, is_available_or_failed, limit);
    match cx.outside_deadline(Box::pin(available)).await {
        Ok(seen) => {
            if let Some(refusal) = seen.as_ref().and_then(failure_of) {
                let what = "the Deployment's pod";
                return Err(restricted::refusal(what, refusal).unwrap_or_else(|| {
                    Failure::product(format!("the Deployment gets no pod: {refusal}"))
                }));
            }
        }
        // Its pod tells why.
        Err(NotSeen::Late) => {}
        Err(NotSeen::Broken(message)) => {
            return Err(Failure::lost(format!("failed to watch the Deployment: {message}")));
        }
    }
    let pods: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let mine = ListParams::default().labels(&format!("nestcheck/deployment={name}"));
    let list = request("list the Deployment's pods", || pods.list(&mine)).await?;
    let Some(deployed) = list.items.first() else {
        let seconds = limit.as_secs();
        return Err(Failure::product(format!("the Deployment got no pod within {seconds} s")));
    };
    let expected = &scc(&cx)?.name;
    cx.check_equal(CheckId::AdmittedBy, expected, annotation(deployed, ADMITTED_BY))?;
    expect_right_of(&cx, "serviceaccount", deployed)?;
    // Ready and proven to be nested, as any other workspace.
    cx.verify_ready(&NESTED_POD, deployed).await.map(drop)
}

fn condition<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a str> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let holds = |condition: &&k8s_openapi::api::apps::v1::DeploymentCondition| {
        condition.type_.as_deref() == Some(type_) && condition.status.as_deref() == Some("True")
    };
    conditions.iter().find(holds).map(|condition| condition.message.as_deref().unwrap_or_default())
}

fn failure_of(deployment: &Deployment) -> Option<&str> {
    condition(deployment, "ReplicaFailure")
}

fn is_available_or_failed(deployment: Option<&Deployment>) -> bool {
    deployment.is_some_and(|deployment| {
        condition(deployment, "Available").is_some() || failure_of(deployment).is_some()
    })
}

inventory::submit!(Case {
    id: "SCC-19",
    suite: "scc",
    name: "leaves_pod_security_labels_alone",
    title: "The namespace keeps its Pod Security labels, because it opted out of label syncing",
    why: "OpenShift sets a namespace's Pod Security labels from the SCCs that its users may use. \
          If labels changed during a run, its verdicts would change, so the run's namespaces opt \
          out. OpenShift has to respect that.",
    fix: "Find out who writes the labels (`managedFields` of the namespace). The label \
          `security.openshift.io/scc.podSecurityLabelSync: \"false\"` has to stop the syncer.",
    flavours: WITH_SCCS,
    requires: WITH_OWN_SCC,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(leaves_pod_security_labels_alone(cx))),
    ..Case::DEFAULT
});

async fn leaves_pod_security_labels_alone(cx: Context) -> CaseResult {
    // By now the syncer has had the time to see the namespace's grants.
    cx.pod(&NESTED_POD).await?;
    let namespaces: Api<Namespace> = Api::all(cx.sandbox().admin().clone());
    let name = cx.sandbox().namespace();
    let namespace = request("read the namespace", || namespaces.get(name)).await?;
    for (label, expected) in [
        ("pod-security.kubernetes.io/enforce", "privileged"),
        ("security.openshift.io/scc.podSecurityLabelSync", "false"),
    ] {
        let observed = namespace.labels().get(label).map_or("absent", String::as_str);
        cx.check_equal(label, expected, observed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_that_a_user_namespace_does_not_have_are_named_with_their_fields() {
        let pod = |spec: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": spec})).expect("it is a pod")
        };
        let injected = pod(json!({
            "securityContext": {"fsGroup": 1_000_740_000, "supplementalGroups": [1000, 65_536]},
            "initContainers": [{"name": "i", "securityContext": {"runAsGroup": 70_000}}],
            "containers": [
                {"name": "a", "securityContext": {"runAsUser": 1_000_740_000}},
                {"name": "b", "securityContext": {"runAsUser": 1_000_740_000}},
            ],
        }));
        assert_eq!(
            foreign_ids(&injected),
            [
                "fsGroup 1000740000",
                "supplementalGroups 65536",
                "runAsUser 1000740000",
                "runAsGroup 70000"
            ]
        );
        let good = pod(json!({
            "securityContext": {"fsGroup": 65_535},
            "containers": [{"name": "a", "securityContext": {"runAsUser": 0}}],
        }));
        assert_eq!(foreign_ids(&good), [""; 0]);
    }
}
