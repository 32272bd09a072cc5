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
    Api, Client, Error as KubeError,
    api::{ObjectMeta, PostParams},
};

use super::Fact;
use crate::{
    base::error::one_line,
    cluster::{
        call,
        permission::{Need, Rule, Rules, Scope, resource},
    },
};

pub(super) const PERMISSIONS: Rules = &[Rule {
    need: Need::Read,
    why: "Dry runs show which fields of a pod the API server keeps. They store nothing.",
    verbs: &["create"],
    targets: &[resource(Scope::Namespace(NAMESPACE), "", "pods", None)],
}];

/// The namespace of the dry run; nothing is stored in it.
const NAMESPACE: &str = "default";

const SOURCE: &str = "dry-run create, read back";

/// What the server said of the pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// It would store this.
    Stored(Box<Pod>),
    /// It refused the pod.
    Refused {
        /// The HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// It did not answer, for this reason.
    Unread(String),
}

/// Creates the pod as a dry run.
pub(super) async fn ask(client: &Client) -> Answer {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let params = PostParams { dry_run: true, field_manager: None };
    let pod = pod();
    let answer = call("dry-run the creation of a pod", || async {
        match api.create(&params, &pod).await {
            Ok(pod) => Ok(Answer::Stored(Box::new(pod))),
            Err(KubeError::Api(status)) if matches!(status.code, 403 | 422) => {
                Ok(Answer::Refused { code: status.code, message: one_line(&status.message) })
            }
            Err(error) => Err(error),
        }
    });
    answer.boxed().await.unwrap_or_else(|error| Answer::Unread(error.to_string()))
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
                name: "preflight".to_owned(),
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
pub(super) fn keeps_host_users(answer: &Answer, minor: u32) -> Fact<bool> {
    match answer {
        Answer::Stored(pod) => {
            let kept = pod.spec.as_ref().and_then(|spec| spec.host_users);
            Fact::known(kept == Some(false), SOURCE)
        }
        Answer::Refused { .. } if is_invalid_without_host_users(answer) => refused(false, answer),
        Answer::Refused { .. } if is_too_privileged(answer) && minor >= 30 => refused(true, answer),
        _ => unread(answer),
    }
}

/// Whether the server keeps `procMount: Unmasked`.
pub(super) fn keeps_proc_mount(answer: &Answer) -> Fact<bool> {
    match answer {
        Answer::Stored(pod) => {
            let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
            let kept = container
                .and_then(|container| container.security_context.as_ref())
                .and_then(|context| context.proc_mount.as_deref());
            Fact::known(kept == Some("Unmasked"), SOURCE)
        }
        Answer::Refused { .. }
            if is_invalid_without_host_users(answer) || is_too_privileged(answer) =>
        {
            refused(true, answer)
        }
        _ => unread(answer),
    }
}

/// Validation saw `procMount` without `hostUsers` (kubernetes, `pkg/apis/core/validation`).
fn is_invalid_without_host_users(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { code: 422, message }
        if message.contains("`hostUsers` must be false to use `Unmasked`"))
}

/// Pod Security saw `procMount` after validation (`k8s.io/pod-security-admission`,
/// `policy/check_procMount.go`).
fn is_too_privileged(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { code: 403, message }
        if message.contains("violates PodSecurity") && message.contains("procMount"))
}

fn refused(kept: bool, answer: &Answer) -> Fact<bool> {
    let by = if is_too_privileged(answer) { "Pod Security" } else { "validation" };
    Fact::known(kept, format!("dry-run create, refused by {by}"))
}

fn unread(answer: &Answer) -> Fact<bool> {
    match answer {
        Answer::Refused { code, message } => {
            Fact::unknown(format!("failed to dry-run the creation of a pod: {message} ({code})"))
        }
        Answer::Unread(reason) => Fact::unknown(reason.clone()),
        Answer::Stored(_) => Fact::unknown("the server's answer has no pod"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(answer: &Answer) -> (Option<bool>, Option<bool>) {
        let host_users = keeps_host_users(answer, 32);
        (host_users.value().copied(), keeps_proc_mount(answer).value().copied())
    }

    fn refused_with(code: u16, message: &str) -> Answer {
        Answer::Refused { code, message: message.to_owned() }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        assert_eq!(facts(&Answer::Stored(Box::new(pod()))), (Some(true), Some(true)));
        let mut dropped = pod();
        if let Some(spec) = &mut dropped.spec {
            spec.host_users = None;
            if let Some(context) = &mut spec.containers[0].security_context {
                context.proc_mount = Some("Default".to_owned());
            }
        }
        assert_eq!(facts(&Answer::Stored(Box::new(dropped))), (Some(false), Some(false)));
        assert_eq!(facts(&Answer::Stored(Box::default())), (Some(false), Some(false)));
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
            Answer::Unread("no answer within 30 s".to_owned()),
        ] {
            assert_eq!(facts(&answer), (None, None), "{answer:?}");
        }
        let answer = refused_with(403, "cannot create resource");
        let Fact::Unknown { reason } = keeps_proc_mount(&answer) else { panic!("{answer:?}") };
        assert!(reason.contains("cannot create resource (403)"), "{reason}");
    }
}
