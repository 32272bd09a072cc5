//! Failures by what somebody else put into the run's namespaces: ResourceQuotas, LimitRanges and
//! NetworkPolicies. They say nothing about nested containers, so they are named and no more.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};

use super::Output;
use crate::{
    diagnosis::{self, Diagnosis, Symptom},
    facts::restriction::{Direction, Restrictions},
    sandbox::Sandbox,
    verdict::{Attribution, Failure, Hint, Place, SignatureId},
};

/// What to do about an object that is made for each new namespace.
const EXEMPT: &str = "let whatever creates it leave out namespaces with the label \
                      `app.kubernetes.io/managed-by: nestcheck`";

/// A refusal by a quota or a LimitRange of the namespace: the case is blocked. None where the message
/// is about something else.
#[must_use]
pub fn refusal(what: &str, message: &str) -> Option<Failure> {
    let known = diagnosis::diagnose(Symptom::Refusal(message), None).filter(is_of_namespace)?;
    Some(Failure::blocked_by(format!("{what} is refused: {message}"), known.into()))
}

/// A refusal by what a plain user can't change of a given namespace: its level of Pod Security, and the
/// SCCs that the user may use. None where the message is about something else.
pub(crate) fn refusal_in_given(what: &str, message: &str) -> Option<Failure> {
    let remedy = if message.contains("violates PodSecurity") {
        "name a namespace with `--namespace` whose label `pod-security.kubernetes.io/enforce` is \
         `privileged`"
    } else if message.contains("unable to validate against any security context constraint") {
        "let an administrator grant the user an SCC for nested containers, and name it with `--scc \
         cluster:NAME`"
    } else {
        return None;
    };
    Some(Failure::blocked(format!("{what} is refused: {message}"), remedy).at(Place::Policy))
}

/// As [`refusal`], with the quotas or LimitRanges of the namespace.
pub(crate) async fn explain_refusal(
    client: &Client,
    namespace: &str,
    what: &str,
    message: &str,
) -> Option<Failure> {
    let known = diagnosis::diagnose(Symptom::Refusal(message), None).filter(is_of_namespace)?;
    let found = Restrictions::read(client, namespace).await;
    let named = match known.id {
        SignatureId::F60 => found.quotas(),
        _ => found.limit_ranges(),
    };
    let mut reason = format!("{what} is refused: {message}");
    if !named.is_empty() {
        let _ = write!(reason, "; the namespace has {}", named.join("; "));
    }
    Some(Failure::blocked_by(reason, known.into()))
}

/// A pod that a controller could not create, by its message: as [`refusal`].
pub(super) fn not_created(message: &str) -> Option<Failure> {
    let known = diagnosis::diagnose(Symptom::Start(message), None).filter(is_of_namespace)?;
    Some(Failure::blocked_by(message, known.into()))
}

fn is_of_namespace(known: &Diagnosis) -> bool {
    matches!(known.id, SignatureId::F60 | SignatureId::F61)
}

/// Where LimitRanger writes what it set on a pod, and how that begins (kubernetes,
/// `plugin/pkg/admission/limitranger`).
const SET_BY_LIMIT_RANGE: &str = "kubernetes.io/limit-ranger";
const BEGINNING: &str = "LimitRanger plugin set: ";

/// The limit of a container that a LimitRange set because the pod had none.
fn default_limit(pod: &Pod, container: &str, resource: &str) -> Option<String> {
    let set = pod.annotations().get(SET_BY_LIMIT_RANGE)?.strip_prefix(BEGINNING)?;
    let end = format!(" limit for container {container}");
    let mut limits = set.split("; ").filter_map(|part| part.strip_suffix(&end));
    limits.find(|resources| resources.split(", ").any(|it| it == resource))?;
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let limits = containers.find(|it| it.name == container)?.resources.as_ref()?.limits.as_ref()?;
    limits.get(resource).map(|limit| limit.0.clone())
}

/// The cause of a container's lack of memory, where a LimitRange limits it.
pub(super) fn lack_of_memory(pod: &Pod, container: &str) -> Option<Hint> {
    let limit = default_limit(pod, container, "memory")?;
    Some(Hint::from(Attribution {
        signature: Some(SignatureId::F61),
        wrong: format!(
            "a LimitRange of the namespace limits the memory of container `{container}` to {limit}, \
             because the pod sets no limit"
        ),
        place: Place::Policy,
        fix: Some(format!("raise the default limit of memory in the LimitRange, or {EXEMPT}")),
        ..Attribution::default()
    }))
}

/// Adds the cause to the failure of a pod of which a container has too little memory to begin with.
pub(super) fn explain_start(pod: &Pod, failure: Failure) -> Failure {
    let Failure::Product { message, hint: None, .. } = &failure else { return failure };
    let is_named = |name: &str| message.contains(&format!("`{name}`"));
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let killed = containers.find(|container| is_named(&container.name));
    let killed = killed.filter(|_| message.contains("OOMKilled"));
    let hint = killed.and_then(|container| lack_of_memory(pod, &container.name));
    failure.or_with_hint(hint)
}

/// As [`lack_of_memory`], for a command of which a process was killed while the container goes on.
pub(super) fn killed_process(pod: &Pod, container: &str, output: &Output) -> Option<Attribution> {
    const KILLED: i32 = 137;
    let written = String::from_utf8_lossy(&output.stderr);
    let says_so = ["signal: killed", "exit status 137"].iter().any(|it| written.contains(it));
    // Their exit code is the container's, which something else may have killed.
    let of_container = ["run", "exec", "start", "wait", "stop", "kill", "rm"];
    let mut words = output.command.split_whitespace().skip_while(|word| *word != "podman").skip(1);
    let is_of_container = words.next().is_some_and(|word| of_container.contains(&word));
    if !says_so && (output.exit_code != KILLED || is_of_container) {
        return None;
    }
    lack_of_memory(pod, container).and_then(|hint| hint.cause.map(|cause| *cause))
}

/// Words for a command that did not end in time in a container whose processors a LimitRange limits.
pub(super) fn slow_container(pod: &Pod, container: &str) -> Option<String> {
    let limit = default_limit(pod, container, "cpu")?;
    Some(format!(
        "a LimitRange of the namespace limits container `{container}` to {limit} of processors"
    ))
}

/// The NetworkPolicies of others that restrict traffic from a pod to another one, or from a pod alone.
pub(crate) async fn policies_between(
    sandbox: &Sandbox,
    from: &Pod,
    to: Option<&Pod>,
) -> Option<Attribution> {
    let found = Restrictions::read(sandbox.user(), sandbox.namespace()).await;
    let mut selected = Vec::new();
    let ends = [(Some(from), Direction::Egress), (to, Direction::Ingress)];
    for (pod, direction) in ends {
        let Some(pod) = pod else { continue };
        for policy in found.policies_of(pod.labels(), direction) {
            selected.push(format!("{policy} restricts {direction} of pod `{}`", pod.name_any()));
        }
    }
    if selected.is_empty() {
        return None;
    }
    Some(Attribution {
        signature: Some(SignatureId::F62),
        wrong: format!(
            "a NetworkPolicy that nestcheck did not create selects its pods: {}",
            selected.join(", ")
        ),
        place: Place::Policy,
        fix: Some(format!(
            "allow traffic between the pods of the namespace and to the cluster's DNS and services, \
             or {EXEMPT}"
        )),
        ..Attribution::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limited() -> Pod {
        let set = "LimitRanger plugin set: cpu, memory request for container tools; cpu, memory \
                   limit for container tools; memory limit for init container setup";
        serde_json::from_value(json!({
            "metadata": {"annotations": {SET_BY_LIMIT_RANGE: set}},
            "spec": {"containers": [{"name": "tools",
                "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}}},
                {"name": "proxy", "resources": {"limits": {"memory": "1Gi"}}}]},
        }))
        .expect("it is a pod")
    }

    #[test]
    fn a_level_and_an_scc_of_a_given_namespace_block() {
        let levels = "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": \
                      allowPrivilegeEscalation != false";
        let sccs = "pods \"p\" is forbidden: unable to validate against any security context \
                    constraint: [provider \"x\": Forbidden: not usable by user or serviceaccount]";
        for (message, word) in [(levels, "enforce"), (sccs, "--scc cluster:NAME")] {
            let Some(Failure::Blocked { reason, remedy, .. }) = refusal_in_given("it", message)
            else {
                panic!("it blocks: {message}")
            };
            assert!(reason.contains(message) && remedy.contains(word), "{remedy}");
        }
        assert!(refusal_in_given("it", "hostUsers must be false").is_none());
    }

    #[test]
    fn a_limit_that_a_limit_range_set_is_known_by_the_annotation() {
        let pod = limited();
        assert_eq!(default_limit(&pod, "tools", "memory").as_deref(), Some("64Mi"));
        assert_eq!(default_limit(&pod, "tools", "cpu").as_deref(), Some("100m"));
        assert_eq!(default_limit(&pod, "proxy", "memory"), None, "its own");
        assert_eq!(default_limit(&pod, "setup", "memory"), None, "it has ended");
        assert_eq!(default_limit(&Pod::default(), "tools", "memory"), None);
    }

    #[test]
    fn a_killed_process_is_named_only_where_a_limit_range_limits_its_container() {
        let output = |exit_code, stderr: &str| Output {
            command: "podman build".to_owned(),
            exit_code,
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
            duration: std::time::Duration::ZERO,
            facts: None,
            blame: None,
        };
        let named = |pod: &Pod, output: &Output| killed_process(pod, "tools", output).is_some();
        assert!(named(&limited(), &output(137, "")));
        assert!(named(&limited(), &output(1, "error building: exit status 137")));
        assert!(!named(&limited(), &output(1, "no such file")));
        let stopped = Output { command: "podman wait web".to_owned(), ..output(137, "") };
        assert!(!named(&limited(), &stopped), "it is the container's own exit code");
        assert!(!named(&Pod::default(), &output(137, "")));
        let killed = killed_process(&limited(), "tools", &output(137, "")).expect("a cause");
        assert_eq!((killed.signature, killed.place), (Some(SignatureId::F61), Place::Policy));
        assert!(killed.wrong.contains("memory of container `tools` to 64Mi"), "{killed:?}");
    }

    #[test]
    fn a_container_that_is_killed_before_it_is_ready_names_the_limit_range() {
        let killed =
            || Failure::product("the container `tools` ended with exit code 137: OOMKilled");
        let signature = |failure: Failure| match failure {
            Failure::Product { hint: Some(hint), .. } => hint.signature(),
            _ => None,
        };
        assert_eq!(signature(explain_start(&limited(), killed())), Some(SignatureId::F61));
        assert_eq!(signature(explain_start(&Pod::default(), killed())), None);
        assert_eq!(signature(explain_start(&limited(), Failure::product("exit code 1"))), None);
    }

    #[test]
    fn a_refusal_by_a_quota_or_a_limit_range_blocks() {
        for (message, id) in [
            (
                "pods \"workspace\" is forbidden: exceeded quota: compute, requested: pods=1, used: \
                 pods=3, limited: pods=3",
                SignatureId::F60,
            ),
            (
                "pods \"workspace\" is forbidden: failed quota: compute: must specify limits.cpu \
                 for: tools",
                SignatureId::F60,
            ),
            (
                "pods \"workspace\" is forbidden: [maximum memory usage per Pod is 1Gi. No limit is \
                 specified, maximum cpu usage per Pod is 1. No limit is specified]",
                SignatureId::F61,
            ),
            (
                "persistentvolumeclaims \"keep\" is forbidden: maximum storage usage per \
                 PersistentVolumeClaim is 1Gi, but request is 2Gi",
                SignatureId::F61,
            ),
        ] {
            let Some(Failure::Blocked { reason, cause: Some(cause), .. }) =
                refusal("the pod `workspace`", message)
            else {
                panic!("{message} does not block")
            };
            assert_eq!((cause.signature, cause.place), (Some(id), Place::Policy), "{message}");
            assert!(reason.contains(message), "{reason}");
            let created = not_created(&format!("it is Failed: FailedCreate: {message}"));
            assert!(matches!(created, Some(Failure::Blocked { .. })), "{created:?}");
            let broke = diagnosis::diagnose(Symptom::Error(message), None);
            assert_eq!(broke.map(|it| it.id), Some(id), "in provision");
        }
        let others = [
            "pods \"workspace\" is forbidden: violates PodSecurity \"restricted:latest\"",
            "admission webhook \"quota.example\" denied the request: pods \"w\" is forbidden: \
             exceeded quota: of ours",
        ];
        for message in others {
            assert_eq!(refusal("the pod `workspace`", message), None, "{message}");
        }
    }
}
