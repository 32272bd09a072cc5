//! What only somebody who acts in the cluster finds out.

use harness::{
    engine::{Case, CaseKind, Context},
    facts::{
        pod_admission::PodAdmission,
        requirement::{Administrator, Requirement, UnmaskedProc, UserNamespaces},
    },
    sandbox::{USER, WORKSPACE_ID_LABEL},
    verdict::{CaseResult, Failure, Level},
    workload::{Command, PROBE, mutation, truth::show_reading},
};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::Namespace,
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};
use probe::Reading;

use crate::{
    fixtures::{HOST_USERS, NESTED_POD},
    steps::{is_nfs, readable, request},
    suite::NESTED,
};

/// What an ordinary user may not do outside of the run's namespaces: verb, API group, resource,
/// and namespace.
const NOT_ALLOWED: [(&str, &str, &str, Option<&str>); 3] = [
    ("create", "", "pods", Some("default")),
    ("list", "", "nodes", None),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings", None),
];

/// What a case about the user of the cases needs.
const AS_AN_ORDINARY_USER: &[&dyn Requirement] =
    &[&UserNamespaces, &UnmaskedProc, &Administrator("a user of the run's own")];

// As every case that acts they need a cluster on which it makes sense to act.
inventory::submit!(Case {
    id: "PRE-09",
    suite: "preflight",
    name: "acts_as_an_ordinary_user",
    title: "The cases act as the run's own user, who has no permissions outside the run's \
        namespaces",
    why: "“Works” must mean “works for a developer”. If the cases acted as an administrator, or \
          if every service account had more permissions than usual, a pass would prove nothing \
          about an ordinary user.",
    fix: "Remove the RoleBinding or ClusterRoleBinding that gives permissions to a group such as \
          `system:serviceaccounts` or `system:authenticated`. `kubectl auth can-i --list \
          --as=system:serviceaccount:NAMESPACE:user` shows them.",
    requires: AS_AN_ORDINARY_USER,
    kind: CaseKind::Live(|cx| Box::pin(acts_as_an_ordinary_user(cx))),
    ..Case::DEFAULT
});

async fn acts_as_an_ordinary_user(cx: Context) -> CaseResult {
    let sandbox = cx.sandbox();
    let (caller, user) = futures::try_join!(who(sandbox.admin()), who(sandbox.user()))?;
    let account = format!("system:serviceaccount:{}:{USER}", sandbox.namespace());
    cx.check_equal("the user that the cases act as", &account, &user)?;
    let expected = "another than the cases' user";
    cx.check("the user of the kubeconfig", expected, format!("`{caller}`"), caller != user)?;
    // The same user may do this in the run's namespace: there every pod is created by it.
    let pod = cx.manifest(&NESTED_POD)?;
    let answer = cx.admission().dry_run(&pod).await?;
    let observed =
        answer.as_ref().map_or_else(|refusal| refusal.message.clone(), |_| "allowed".to_owned());
    cx.check("create pods in the run's namespace", "allowed", observed, answer.is_ok())?;
    let asked = NOT_ALLOWED.map(|(verb, group, resource, namespace)| {
        may(sandbox.user(), verb, group, resource, namespace)
    });
    let answers = futures::future::try_join_all(asked).await?;
    for ((verb, _, resource, namespace), allowed) in NOT_ALLOWED.iter().zip(answers) {
        let place = namespace.map(|name| format!(" in `{name}`")).unwrap_or_default();
        let observed = if allowed { "allowed" } else { "denied" };
        cx.check(&format!("{verb} {resource}{place}"), "denied", observed, !allowed).map_err(
            |failure| {
                let hint = "a binding gives rights to every user or service account; what works \
                            for them may not work for an ordinary user";
                failure.with_hint(Some(hint))
            },
        )?;
    }
    Ok(())
}

/// Who a client is to the server.
async fn who(client: &Client) -> Result<String, Failure> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, question) = (PostParams::default(), SelfSubjectReview::default());
    let answer = request("ask who the caller is", || api.create(&params, &question)).await?;
    let user = answer.status.and_then(|status| status.user_info?.username);
    user.ok_or_else(|| Failure::harness("the server does not say who the caller is"))
}

async fn may(
    client: &Client,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: Option<&str>,
) -> Result<bool, Failure> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let params = PostParams::default();
    let answer = request("review the user's access", || api.create(&params, &question)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

inventory::submit!(Case {
    id: "PRE-10",
    suite: "preflight",
    name: "has_an_image_for_the_node",
    title: "The workspace image can be pulled and matches the node's architecture",
    why: "If the image is for another processor, or the nodes cannot pull it, every pod fails for \
          a reason unrelated to nested containers.",
    fix: "Give an image for the nodes' architecture with `--image`. Without access to a registry, \
          load the image on the nodes first.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(has_an_image_for_the_node(cx))),
    ..Case::DEFAULT
});

async fn has_an_image_for_the_node(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = NESTED_POD.image_id_of(workspace.object());
    let observed = image.as_deref().unwrap_or("none");
    cx.check("image of the pod", "one that the node has", observed, image.is_some())?;
    // Where foreign programs are emulated they run too, but neither podman nor its containers
    // work. The probe runs natively, so it tells what the node's programs look like.
    let probe = machine_of(&workspace.output(&head(PROBE)).await?);
    let shell = machine_of(&workspace.output(&head("/bin/sh")).await?);
    let name = "processor that the image's programs are made for";
    let expected = format!("{}, as the probe's", show_machine(probe));
    cx.check(name, &expected, show_machine(shell), probe.is_some() && shell == probe)
}

/// Prints the first bytes of a program, one decimal number each.
fn head(path: &str) -> Command {
    Command::new(["od", "-An", "-v", "-tu1", "-N20", path])
}

/// The processor that a program is made for: `e_machine`, a number of 16 bits at byte 18 (elf(5)),
/// in the byte order that byte 5 tells.
fn machine_of(head: &str) -> Option<u16> {
    let bytes: Vec<u8> = head.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let machine = [*bytes.get(18)?, *bytes.get(19)?];
    match bytes.get(..6)? {
        [0x7f, b'E', b'L', b'F', _, 1] => Some(u16::from_le_bytes(machine)),
        [0x7f, b'E', b'L', b'F', _, 2] => Some(u16::from_be_bytes(machine)),
        _ => None,
    }
}

fn show_machine(machine: Option<u16>) -> String {
    match machine {
        Some(22) => "s390x".to_owned(),
        Some(21) => "ppc64le".to_owned(),
        Some(62) => "amd64".to_owned(),
        Some(183) => "arm64".to_owned(),
        Some(other) => format!("ELF machine {other}"),
        None => "not an ELF program".to_owned(),
    }
}

inventory::submit!(Case {
    id: "PRE-11",
    suite: "preflight",
    name: "has_storage_whose_ids_can_be_mapped",
    title: "A StorageClass exists, and at least one is not backed by NFS",
    why: "The kernel cannot id-map files on NFS. A cluster whose only storage is NFS can run \
          nested containers, but not a workspace with a persistent home.",
    fix: "Offer a StorageClass with block storage or local disks and ext4 or xfs, and make it the \
          default.",
    level: Level::Informing,
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(has_storage_whose_ids_can_be_mapped(cx))),
    ..Case::DEFAULT
});

async fn has_storage_whose_ids_can_be_mapped(cx: Context) -> CaseResult {
    let api: Api<StorageClass> = Api::all(cx.sandbox().admin().clone());
    let all = ListParams::default();
    let classes = readable("list StorageClasses", || api.list(&all)).await?;
    if classes.items.is_empty() {
        return Err(Failure::blocked(
            "the cluster has no StorageClass, so workspaces can't keep anything (read from: \
             StorageClasses)",
            "install a provisioner whose volumes lie on ext4, xfs or btrfs",
        ));
    }
    let reported: Vec<_> = classes
        .items
        .iter()
        .map(|class| format!("`{}` by {}", class.name_any(), class.provisioner))
        .collect();
    let holds = classes.items.iter().any(|class| !is_nfs(&class.provisioner));
    let expected = "at least one that is not NFS";
    cx.check("StorageClasses", expected, reported.join(", "), holds).map_err(|failure| {
        let hint = "the ids of volumes on NFS can't be mapped, so pods with them don't start in a \
                    user namespace";
        failure.with_hint(Some(hint))
    })
}

inventory::submit!(Case {
    id: "PRE-12",
    suite: "preflight",
    name: "asks_no_webhook_about_pods",
    title: "No admission webhook and no admission policy intercepts new pods",
    why: "An admission webhook or policy that changes pods can add a sidecar without isolation or \
          remove a field that the nested pod needs. One that validates pods may follow the Pod \
          Security Standard of before user namespaces. It then causes the failure, or the pass.",
    fix: "Exclude namespaces with the label `app.kubernetes.io/managed-by: nestcheck` from the \
          webhook or from the policy's binding, or keep it in mind when you read failures.",
    level: Level::Informing,
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(asks_no_webhook_about_pods(cx))),
    ..Case::DEFAULT
});

async fn asks_no_webhook_about_pods(cx: Context) -> CaseResult {
    let admin = cx.sandbox().admin();
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let name = cx.sandbox().namespace();
    let namespace = readable("read the namespace", || namespaces.get(name)).await?;
    let admission = PodAdmission::read(admin).await;
    if let Some(reason) = admission.unread.first() {
        return Err(Failure::blocked(reason, "use a kubeconfig whose user may read it"));
    }
    // The DevWorkspace Operator's own is part of what the cases in workspaces are about.
    let asked = admission
        .plugins
        .iter()
        .filter(|it| it.sees(Some(namespace.labels()), None) && !it.is_only_of(WORKSPACE_ID_LABEL));
    let asked: Vec<_> = asked.map(ToString::to_string).collect();
    let observed = if asked.is_empty() { "none".to_owned() } else { asked.join(", ") };
    let what = "webhooks and policies about new pods";
    cx.check(what, "none", observed, asked.is_empty()).map_err(|failure| {
        let hint = "they may change or refuse the pods of workspaces, in the namespaces that they \
                    select; where they do, the failure of another case says so";
        failure.with_hint(Some(hint))
    })
}

// The added container fails nothing by itself; where it does, the failure of another case says so.
inventory::submit!(Case {
    id: "PRE-14",
    suite: "preflight",
    name: "finds_only_its_own_containers_in_its_pods",
    title: "Nothing adds a container or an init container to the pods of users",
    why: "A sidecar injector adds containers to the pods of users, without their isolation: they \
          share the pod's network, and often its volumes. Injectors also add init containers that \
          need capabilities which a pod in a user namespace does not have, so the pod never starts.",
    fix: "Exempt the namespaces of workspaces from the injector, or the pods with its own label or \
          annotation (Istio: `sidecar.istio.io/inject: \"false\"`).",
    level: Level::Informing,
    requires: NESTED,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(finds_only_its_own_containers_in_its_pods(cx))),
    ..Case::DEFAULT
});

async fn finds_only_its_own_containers_in_its_pods(cx: Context) -> CaseResult {
    let pod = cx.pod(&NESTED_POD).await?;
    let sent = cx.sandbox().pod(&NESTED_POD)?;
    let added = mutation::added(&sent, pod.object());
    let observed = if added.is_empty() { "none".to_owned() } else { mutation::show_added(&added) };
    match cx.check("containers that were not sent", "none", observed, added.is_empty()) {
        Ok(()) => Ok(()),
        Err(failure) => {
            let hint =
                "an admission webhook or policy adds it: exempt the namespaces of workspaces";
            let failure = failure.with_hint(Some(hint));
            Err(cx.admission().explain_change(&sent, pod.object(), failure).await)
        }
    }
}

// What podman can do decides, see POD-03; this tells why it can't.
inventory::submit!(Case {
    id: "PRE-13",
    suite: "preflight",
    name: "has_kernel_settings_that_allow_user_namespaces",
    title: "The nodes' kernel settings let ordinary users create user namespaces",
    why: "Podman creates its own user namespace inside the pod's. Kernel settings of the node can \
          forbid that to ordinary users, whatever the pod's permissions are.",
    fix: "On the named node, set `user.max_user_namespaces` above 0, \
          `kernel.unprivileged_userns_clone` to 1 and \
          `kernel.apparmor_restrict_unprivileged_userns` to 0, where they exist.",
    level: Level::Informing,
    requires: NESTED,
    pods: &[&HOST_USERS],
    kind: CaseKind::Live(|cx| Box::pin(has_kernel_settings_that_allow_user_namespaces(cx))),
    ..Case::DEFAULT
});

async fn has_kernel_settings_that_allow_user_namespaces(cx: Context) -> CaseResult {
    // In the node's own user namespace: a pod's has limits of its own.
    let pod = cx.pod(&HOST_USERS).await?;
    let sysctls = &pod.facts().sysctls;
    let settings = [
        ("user.max_user_namespaces", "above 0", &sysctls.max_user_namespaces, 1..=u64::MAX, false),
        (
            "kernel.unprivileged_userns_clone",
            "1 or absent",
            &sysctls.unprivileged_userns_clone,
            1..=1,
            true,
        ),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "0 or absent",
            &sysctls.apparmor_restrict_unprivileged_userns,
            0..=0,
            true,
        ),
    ];
    for (name, expected, reading, good, may_be_absent) in settings {
        let holds = match reading {
            Reading::Known(value) => good.contains(value),
            Reading::Unknown { reason } if reason.is_any_of(&["ENOENT"]) => may_be_absent,
            Reading::Unknown { reason } => {
                return Err(Failure::blocked(
                    format!("the setting `{name}` of the node can't be read: {reason}"),
                    "see `sysctl -a` on the node",
                ));
            }
        };
        let observed = match reading.reason() {
            Some(_) => "absent".to_owned(),
            None => show_reading(reading, ToString::to_string),
        };
        cx.check(name, expected, observed, holds).map_err(|failure| {
            failure.with_hint(Some(format!("set it on the node with `sysctl {name}`")))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_processor_is_read_from_its_first_bytes() {
        let head = |order: u8, machine: [u8; 2]| {
            let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, order];
            bytes.resize(18, 0);
            bytes.extend(machine);
            bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join("  ")
        };
        assert_eq!(show_machine(machine_of(&head(1, [62, 0]))), "amd64");
        assert_eq!(show_machine(machine_of(&head(1, [183, 0]))), "arm64");
        assert_eq!(show_machine(machine_of(&head(2, [0, 22]))), "s390x");
        assert_eq!(machine_of("35 33 47 98"), None, "a script");
        assert_eq!(machine_of("od: /bin/sh: Permission denied"), None);
    }

    #[test]
    fn nfs_is_known_by_its_provisioners_name() {
        assert!(is_nfs("nfs.csi.k8s.io") && is_nfs("k8s-sigs.io/nfs-subdir-external-provisioner"));
        assert!(!is_nfs("ebs.csi.aws.com") && !is_nfs("rancher.io/local-path"));
    }
}
