//! Pod Security asks less of pods with a user namespace, by a feature gate of the API server and
//! from Kubernetes 1.35 on by itself (KEP-127; `k8s.io/pod-security-admission`, `policy`).

use harness::{
    engine::{Case, CaseKind, Context},
    facts::{Facts, Gate},
    sandbox::PodSecurity,
    verdict::{CaseResult, Failure, Level},
};
use k8s_openapi::api::core::v1::{Pod, PodSecurityContext, PodSpec, SeccompProfile};

use crate::{
    fixtures::MASKED_PROC,
    steps::{dry_run_past_scc, expect_refusal_by_server},
    suite::NESTED_ELSEWHERE,
};

/// The first minor version of Kubernetes in which the relaxation needs no gate, and level
/// restricted has a check of its own for `procMount`.
const BY_ITSELF: u32 = 35;

const RUN_AS_NON_ROOT: [&str; 2] = ["violates PodSecurity \"restricted", "runAsNonRoot != true"];

/// What Pod Security says of a pod that unmasks /proc.
pub(crate) const PROC_MOUNT: [&str; 2] = ["violates PodSecurity", "procMount"];

/// Whether Pod Security asks less of pods with a user namespace; none where that is not known.
pub(crate) fn is_relaxed(facts: &Facts) -> Option<bool> {
    if facts.version.minor >= BY_ITSELF {
        return Some(true);
    }
    let evidence = facts.evidence(Gate::UserNamespacesPodSecurityStandards);
    evidence.first().map(|strongest| strongest.on)
}

// Nested containers work without it where the namespace's level is privileged.
inventory::submit!(Case {
    id: "GATE-07",
    suite: "gate",
    name: "relaxes_run_as_non_root_by_gate_or_version",
    title: "Pod Security level restricted permits root in a pod with a user namespace only if the \
        gate or the version does",
    why: "The Pod Security level restricted requires that a pod does not run as root. With a user \
          namespace, root is harmless, and the level permits it from Kubernetes 1.35 on, or with \
          a gate. A cluster that permits root to other pods as well is unsafe.",
    fix: "Compare the gate UserNamespacesPodSecurityStandards and the policy version in the \
          namespace's labels with the message. Permission without a user namespace is a bug of \
          the API server.",
    level: Level::Extended,
    requires: NESTED_ELSEWHERE,
    kind: CaseKind::Live(|cx| Box::pin(relaxes_run_as_non_root_by_gate_or_version(cx))),
    ..Case::DEFAULT
});

async fn relaxes_run_as_non_root_by_gate_or_version(cx: Context) -> CaseResult {
    let mut pod =
        hardened(&cx, cx.sandbox().namespaces().enforcing(PodSecurity::Restricted).await?)?;
    expect_accepted(&cx, "answer to a hardened pod", &pod).await?;
    set_run_as_non_root(&mut pod, None);
    let mut control = pod.clone();
    spec(&mut control).host_users = None;
    let name = "answer to runAsNonRoot unset in the node's user namespace";
    expect_refusal_by_server(&cx, name, &control, 403, &RUN_AS_NON_ROOT).await?;
    let name = "answer to runAsNonRoot unset with hostUsers false";
    expect_relaxed(&cx, name, &pod, &RUN_AS_NON_ROOT, is_relaxed(cx.facts())).await
}

inventory::submit!(Case {
    id: "GATE-08",
    suite: "gate",
    name: "relaxes_proc_mount_by_gate_or_version",
    title: "Pod Security level baseline permits an unmasked /proc with a user namespace only if \
        the gate or the version does; level restricted refuses it from 1.35 on",
    why: "A nested pod has to unmask /proc. If the level baseline permitted that without a user \
          namespace, every pod could reach the node's kernel settings.",
    fix: "Compare the gate UserNamespacesPodSecurityStandards and the policy version in the \
          namespace's labels with the message. Until they agree, use namespaces with level \
          privileged and an SCC.",
    level: Level::Extended,
    requires: NESTED_ELSEWHERE,
    kind: CaseKind::Live(|cx| Box::pin(relaxes_proc_mount_by_gate_or_version(cx))),
    ..Case::DEFAULT
});

async fn relaxes_proc_mount_by_gate_or_version(cx: Context) -> CaseResult {
    let relaxed = is_relaxed(cx.facts());
    let mut pod = hardened(&cx, cx.sandbox().namespaces().enforcing(PodSecurity::Baseline).await?)?;
    expect_accepted(&cx, "answer to a masked /proc in level baseline", &pod).await?;
    unmask(&mut pod);
    let name = "answer to an unmasked /proc in level baseline";
    expect_relaxed(&cx, name, &pod, &PROC_MOUNT, relaxed).await?;

    let mut pod =
        hardened(&cx, cx.sandbox().namespaces().enforcing(PodSecurity::Restricted).await?)?;
    expect_accepted(&cx, "answer to a masked /proc in level restricted", &pod).await?;
    unmask(&mut pod);
    // Before it had a check of its own, level restricted took over what baseline lets pass.
    let is_certain = cx.facts().version.minor >= BY_ITSELF || relaxed == Some(false);
    let relaxed = is_certain.then_some(false);
    let name = "answer to an unmasked /proc in level restricted";
    expect_relaxed(&cx, name, &pod, &PROC_MOUNT, relaxed).await
}

fn spec(pod: &mut Pod) -> &mut PodSpec {
    pod.spec.get_or_insert_default()
}

/// A pod with a user namespace that level restricted accepts.
fn hardened(cx: &Context, namespace: String) -> Result<Pod, Failure> {
    let mut pod = cx.manifest(&MASKED_PROC)?;
    pod.metadata.namespace = Some(namespace);
    let profile = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    spec(&mut pod).security_context = Some(PodSecurityContext {
        seccomp_profile: Some(profile),
        ..PodSecurityContext::default()
    });
    for container in &mut spec(&mut pod).containers {
        let context = container.security_context.get_or_insert_default();
        // SCC admission sets `runAsNonRoot` where a user is named that is not root.
        (context.run_as_user, context.run_as_group) = (None, None);
    }
    set_run_as_non_root(&mut pod, Some(true));
    Ok(pod)
}

fn set_run_as_non_root(pod: &mut Pod, value: Option<bool>) {
    for container in &mut spec(pod).containers {
        container.security_context.get_or_insert_default().run_as_non_root = value;
    }
}

pub(crate) fn unmask(pod: &mut Pod) {
    for container in &mut spec(pod).containers {
        let context = container.security_context.get_or_insert_default();
        context.proc_mount = Some("Unmasked".to_owned());
    }
}

/// Expects that the server would store a pod with its user namespace, so that a refusal of a
/// changed one is due to the change.
pub(crate) async fn expect_accepted(cx: &Context, name: &str, pod: &Pod) -> CaseResult {
    expect_relaxed(cx, name, pod, &[], Some(true)).await
}

/// Expects that Pod Security accepts a pod where it asks less of it, and otherwise refuses it with
/// these words. Where that is not known, it must be one of the two, and the check tells which.
pub(crate) async fn expect_relaxed(
    cx: &Context,
    name: &str,
    pod: &Pod,
    words: &[&str],
    relaxed: Option<bool>,
) -> CaseResult {
    let (accepted, observed) = match dry_run_past_scc(cx, pod).await? {
        Ok(stored) => {
            let (sent, stored) = (isolation(pod, pod), isolation(&stored, pod));
            if stored == sent {
                (Some(true), "accepted".to_owned())
            } else {
                (None, format!("accepted, but with {}", describe_isolation(&stored)))
            }
        }
        Err(refusal) => {
            let foreign = foreign_containers(&refusal.message, pod);
            if !foreign.is_empty() {
                return Err(Failure::blocked(
                    format!(
                        "Pod Security refuses containers that were not sent: {}",
                        foreign.join(", ")
                    ),
                    "see PRE-14: exempt the namespace from whatever adds them",
                ));
            }
            let reported = words.iter().all(|word| refusal.message.contains(word));
            let is_pod_security = refusal.code == 403 && !words.is_empty() && reported;
            let observed = format!("{}: {}", refusal.code, refusal.message);
            (is_pod_security.then_some(false), observed)
        }
    };
    let refused = format!("403 with “{}”", words.join("”, “"));
    let expected = match relaxed {
        Some(true) => "accepted".to_owned(),
        Some(false) => refused,
        None => format!("accepted, or {refused}"),
    };
    let holds = accepted.is_some() && relaxed.is_none_or(|relaxed| accepted == Some(relaxed));
    cx.check(name, &expected, observed, holds).map_err(|failure| {
        let hint = "Pod Security asks less of pods with a user namespace by the API server's \
                    feature gate UserNamespacesPodSecurityStandards, from Kubernetes 1.35 on by \
                    itself";
        failure.with_hint(Some(hint))
    })
}

/// The containers that Pod Security names in a refusal, as `container "a" must`, and that were not
/// sent.
fn foreign_containers<'a>(refusal: &'a str, sent: &Pod) -> Vec<&'a str> {
    let is_sent = |name: &&str| {
        let mut sent = sent.spec.iter().flat_map(|spec| &spec.containers);
        sent.any(|container| container.name == **name)
    };
    let places = refusal.match_indices("container").map(|(start, _)| &refusal[start..]);
    let named = places.filter_map(|place| place.split_once(" must")).flat_map(|(names, _)| {
        // Every second part is in quotes.
        names.split('"').skip(1).step_by(2)
    });
    let mut foreign: Vec<_> = named.filter(|name| !is_sent(name)).collect();
    foreign.sort_unstable();
    foreign.dedup();
    foreign
}

/// The fields that a server without a gate drops: a pod that lost one is another pod. Only the
/// containers that were sent count, in the order in which they were sent.
fn isolation(pod: &Pod, sent: &Pod) -> (bool, Vec<bool>) {
    let Some(spec) = &pod.spec else { return (false, Vec::new()) };
    let is_unmasked = |name: &String| {
        let container = spec.containers.iter().find(|it| it.name == *name);
        let context = container.and_then(|container| container.security_context.as_ref());
        context.is_some_and(|context| context.proc_mount.as_deref() == Some("Unmasked"))
    };
    let sent = sent.spec.iter().flat_map(|spec| &spec.containers);
    let is_unmasked = sent.map(|container| is_unmasked(&container.name));
    (spec.host_users == Some(false), is_unmasked.collect())
}

fn describe_isolation((own_users, unmasked): &(bool, Vec<bool>)) -> String {
    let users = if *own_users { "false" } else { "not false" };
    let proc_mount = if unmasked.contains(&true) { "Unmasked" } else { "Default" };
    format!("hostUsers {users} and procMount {proc_mount}")
}

#[cfg(test)]
mod tests {
    use harness::facts::{Fact, KubernetesVersion};

    use super::*;
    use crate::suite::static_checks::tests::kubernetes;

    #[test]
    fn the_gate_decides_until_the_version_does() {
        assert_eq!(is_relaxed(&kubernetes()), Some(false));
        let on = Facts { server_pod_security_gate: Fact::known(true, "test"), ..kubernetes() };
        assert_eq!(is_relaxed(&on), Some(true));
        let unread = Facts { server_pod_security_gate: Fact::unknown("403"), ..kubernetes() };
        assert_eq!(is_relaxed(&unread), None);
        let version = KubernetesVersion { minor: 35, full: "v1.35.0".into() };
        assert_eq!(is_relaxed(&Facts { version, ..unread }), Some(true));
    }

    #[test]
    fn a_pod_that_lost_its_isolation_is_another_pod() {
        let mut pod = Pod::default();
        spec(&mut pod).host_users = Some(false);
        spec(&mut pod).containers.push(k8s_openapi::api::core::v1::Container::default());
        let masked = isolation(&pod, &pod);
        unmask(&mut pod);
        let unmasked = isolation(&pod, &pod);
        assert_ne!(masked, unmasked);
        spec(&mut pod).host_users = None;
        assert_ne!(isolation(&pod, &pod), unmasked);
    }

    #[test]
    fn a_refusal_of_a_container_that_was_not_sent_names_it() {
        let mut sent = Pod::default();
        spec(&mut sent).containers.push(k8s_openapi::api::core::v1::Container {
            name: "tools".to_owned(),
            ..Default::default()
        });
        let refusal = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": \
                       allowPrivilegeEscalation != false (containers \"tools\", \"proxy\" must \
                       set it), runAsNonRoot != true (pod or container \"tools\" must set it), \
                       procMount (container \"tools\" must not set procMount to \"Unmasked\")";
        assert_eq!(foreign_containers(refusal, &sent), ["proxy"]);
        assert_eq!(foreign_containers(&refusal.replace(", \"proxy\"", ""), &sent), [""; 0]);
    }

    #[test]
    fn a_container_that_somebody_added_makes_no_other_pod() {
        let mut sent = Pod::default();
        spec(&mut sent).host_users = Some(false);
        let container = |name: &str| k8s_openapi::api::core::v1::Container {
            name: name.to_owned(),
            ..Default::default()
        };
        spec(&mut sent).containers.push(container("tools"));
        unmask(&mut sent);
        let mut stored = sent.clone();
        spec(&mut stored).containers.insert(0, container("proxy"));
        assert_eq!(isolation(&stored, &sent), isolation(&sent, &sent));
    }
}
