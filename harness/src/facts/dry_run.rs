//! Which fields the API server keeps, found by a pod that is never stored.
//!
//! One create with both fields, as a dry run, is answered like a real one. The server works in
//! this order (kubernetes, `endpoints/handlers/create.go` and `registry/generic/registry/store.go`
//! of `k8s.io/apiserver`): mutating admission, SCCs of OpenShift among it; the strategy
//! drops the fields whose gate is off (`pkg/api/pod/util.go`, `dropDisabledFields`); validation;
//! validating admission, Pod Security among it. So a refusal tells what was left of the pod when
//! it was refused:
//!
//! | answer | `hostUsers` | `procMount` |
//! | --- | --- | --- |
//! | stored | as read back | as read back |
//! | 422, "`hostUsers` must be false to use `Unmasked`" | dropped | kept |
//! | 403 by Pod Security that names `procMount` | kept (from 1.30, which validates it) | kept |
//! | any other refusal | unknown | unknown |

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{Fact, Lookup};
use crate::cluster::{
    Answer, Refusal, call,
    permission::{Need, Rule, Rules, Scope, resource},
};

pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: "Dry runs show which fields of a pod the API server keeps. They store nothing.",
    verbs: &["create"],
    targets: &[resource(Scope::Namespace(NAMESPACE), "", "pods", None)],
}];

/// The namespace of the dry run, where no other is given; nothing is stored in it.
pub(super) const NAMESPACE: &str = "default";

/// The name of the pod's container.
const CONTAINER: &str = "preflight";

const PLACE: &str = "dry run of pods";

const SOURCE: &str = "dry-run create, read back";

/// What the server said of the pod: what it would store, or why it refused.
pub(super) type Dried = Lookup<Answer<Box<Pod>>>;

/// Creates the pod as a dry run in a namespace.
pub(super) async fn ask(client: &Client, namespace: &str) -> Dried {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { dry_run: true, field_manager: None };
    let pod = pod();
    let answer = call("dry-run the creation of a pod", || async {
        match api.create(&params, &pod).await {
            Ok(pod) => Ok(Ok(Box::new(pod))),
            Err(error) => Refusal::from_error(&error).map(Err).ok_or(error),
        }
    });
    answer.boxed().await.into()
}

/// A pod that is only ever dry-run. Apart from `procMount` it satisfies the Pod Security Standard
/// `restricted`, which MicroShift enforces in every namespace, and the SCC that every user
/// of OpenShift may use.
fn pod() -> Pod {
    let security = SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        proc_mount: Some("Unmasked".to_owned()),
        ..SecurityContext::default()
    };
    let seccomp = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    Pod {
        metadata: ObjectMeta {
            generate_name: Some("nestcheck-preflight-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            host_users: Some(false),
            automount_service_account_token: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                seccomp_profile: Some(seccomp),
                ..PodSecurityContext::default()
            }),
            containers: vec![Container {
                name: CONTAINER.to_owned(),
                image: Some("nestcheck.invalid/preflight".to_owned()),
                security_context: Some(security),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

/// Whether the server keeps `hostUsers: false`; `minor` is its own minor version.
pub(super) fn keeps_host_users(dried: &Dried, minor: u32) -> Fact<bool> {
    dried.fact(PLACE, |answer| match answer {
        Ok(pod) => {
            let kept = pod.spec.as_ref().and_then(|spec| spec.host_users);
            Fact::known(kept == Some(false), SOURCE)
        }
        Err(refusal) if is_invalid_without_host_users(refusal) => kept_or_not(false, refusal),
        Err(refusal) if is_too_privileged(refusal) && minor >= 30 => kept_or_not(true, refusal),
        Err(refusal) => unknown(refusal),
    })
}

/// Whether the server keeps `procMount: Unmasked`.
pub(super) fn keeps_proc_mount(dried: &Dried) -> Fact<bool> {
    dried.fact(PLACE, |answer| match answer {
        Ok(pod) => {
            // Somebody may add another container before it.
            let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let container = containers.find(|container| container.name == CONTAINER);
            let kept = container
                .and_then(|container| container.security_context.as_ref())
                .and_then(|context| context.proc_mount.as_deref());
            Fact::known(kept == Some("Unmasked"), SOURCE)
        }
        Err(refusal) if is_invalid_without_host_users(refusal) || is_too_privileged(refusal) => {
            kept_or_not(true, refusal)
        }
        Err(refusal) => unknown(refusal),
    })
}

/// Validation saw `procMount` without `hostUsers` (kubernetes, `pkg/apis/core/validation`).
fn is_invalid_without_host_users(refusal: &Refusal) -> bool {
    refusal.code == 422 && refusal.message.contains("`hostUsers` must be false to use `Unmasked`")
}

/// Pod Security saw `procMount` after validation (`k8s.io/pod-security-admission`,
/// `policy/check_procMount.go`).
fn is_too_privileged(Refusal { code, message }: &Refusal) -> bool {
    *code == 403 && message.contains("violates PodSecurity") && message.contains("procMount")
}

fn kept_or_not(kept: bool, refusal: &Refusal) -> Fact<bool> {
    let by = if is_too_privileged(refusal) { "Pod Security" } else { "validation" };
    Fact::known(kept, format!("dry-run create, refused by {by}"))
}

fn unknown(Refusal { code, message }: &Refusal) -> Fact<bool> {
    Fact::unknown(format!("failed to dry-run the creation of a pod: {message} ({code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(dried: &Dried) -> (Option<bool>, Option<bool>) {
        let host_users = keeps_host_users(dried, 32);
        (host_users.value().copied(), keeps_proc_mount(dried).value().copied())
    }

    fn refused_with(code: u16, message: &str) -> Dried {
        Lookup::Found(Err(Refusal { code, message: message.to_owned() }))
    }

    #[test]
    fn what_is_stored_is_read_back() {
        assert_eq!(facts(&Lookup::Found(Ok(Box::new(pod())))), (Some(true), Some(true)));
        let mut dropped = pod();
        if let Some(spec) = &mut dropped.spec {
            spec.host_users = None;
            if let Some(context) = &mut spec.containers[0].security_context {
                context.proc_mount = Some("Default".to_owned());
            }
        }
        assert_eq!(facts(&Lookup::Found(Ok(Box::new(dropped)))), (Some(false), Some(false)));
        assert_eq!(facts(&Lookup::Found(Ok(Box::default()))), (Some(false), Some(false)));
    }

    #[test]
    fn validation_reports_that_only_host_users_was_dropped() {
        let answer = refused_with(
            422,
            "Pod \"nestcheck-preflight-x\" is invalid: \
             spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": \
             `hostUsers` must be false to use `Unmasked`",
        );
        assert_eq!(facts(&answer), (Some(false), Some(true)));
    }

    #[test]
    fn pod_security_reports_that_both_were_kept() {
        let answer = refused_with(
            403,
            "pods \"nestcheck-preflight-x\" is forbidden: violates PodSecurity \
             \"restricted:latest\": procMount (container \"preflight\" must not set \
             securityContext.procMount to \"Unmasked\")",
        );
        assert_eq!(facts(&answer), (Some(true), Some(true)));
        // Before 1.30 validation does not ask for `hostUsers`.
        assert_eq!(keeps_host_users(&answer, 29).value(), None);
    }

    #[test]
    fn any_other_refusal_says_nothing_and_is_quoted() {
        for answer in [
            refused_with(403, "pods is forbidden: User \"x\" cannot create resource \"pods\""),
            refused_with(
                403,
                "pods \"x\" is forbidden: unable to validate against any security context \
                 constraint: [provider \"anyuid\": Forbidden: not usable by user]",
            ),
            refused_with(403, "violates PodSecurity \"restricted:latest\": seccompProfile"),
            refused_with(403, "admission webhook \"policy\" denied: procMount"),
            refused_with(422, "spec.hostUsers: Forbidden"),
            Lookup::Failed("no answer within 30 s".to_owned()),
        ] {
            assert_eq!(facts(&answer), (None, None), "{answer:?}");
        }
        let answer = refused_with(403, "cannot create resource");
        let Fact::Unknown { reason } = keeps_proc_mount(&answer) else { panic!("{answer:?}") };
        assert!(reason.contains("cannot create resource (403)"), "{reason}");
    }
}
