//! Workspaces of the DevWorkspace Operator: made as the ordinary user, awaited by watch.

use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, Error as KubeError, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{Workload, image_group, ready::watch, restricted, verify_ready};
use crate::{
    base::text::one_line,
    cluster::{Answer, Refusal, ask, call, describe, exec_error::is_start_lost},
    diagnosis::{self, Symptom},
    sandbox::{
        NESTED_CONFIG, Sandbox, WORKSPACE_ID_LABEL, create_or_find, pod_template::PodTemplate,
    },
    verdict::Failure,
};

/// What became of a workspace that was started.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its phase: `Running`, `Failed`, or the one in which it stayed.
    pub phase: String,
    /// What the operator says.
    pub message: String,
    /// The last warning about its pods and what makes them, which the operator may not know of.
    pub warning: Option<String>,
    /// The object.
    pub object: DynamicObject,
}

impl Settled {
    /// The workspace's id, which is the name of its Deployment.
    #[must_use]
    pub fn id(&self) -> &str {
        let id = self.object.data.pointer("/status/devworkspaceId");
        id.and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// Phase, message and warning in one sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        let warning = self.warning.as_deref().map_or_else(String::new, |it| format!("; {it}"));
        format!("it is {}: {}{warning}", self.phase, self.message)
    }
}

/// Makes the run's namespace ready for workspaces, once.
///
/// # Errors
///
/// What the server refuses, or a pod that shows the image's group and does not start.
pub async fn prepare(sandbox: &Sandbox) -> Result<(), Failure> {
    sandbox.workspaces().prepare(Box::pin(image_group::read(sandbox))).await
}

/// Makes the workspace of a template and proves that its pod is what the template promises.
pub(super) async fn provision(
    sandbox: &Sandbox,
    template: &PodTemplate,
) -> Result<Workload, Failure> {
    prepare(sandbox).await?;
    let workspace = sandbox.workspaces().manifest(template, template.name, NESTED_CONFIG)?;
    let created = create(sandbox, &workspace).await?.map_err(|refusal| {
        let hint = diagnosis::explain(Symptom::Refusal(&refusal.message), None);
        Failure::product(format!(
            "the workspace `{}` is refused: {}",
            template.name, refusal.message
        ))
        .with_hint(hint)
    })?;
    let settled = settle(sandbox, &created, sandbox.timeouts().pod).await?;
    let pod = running_pod(sandbox, &settled).await?;
    verify_ready(sandbox, template, &pod).await
}

/// Creates a workspace as the ordinary user.
///
/// # Errors
///
/// Anything but an answer: a refusal is an answer.
pub async fn create(
    sandbox: &Sandbox,
    workspace: &DynamicObject,
) -> Result<Answer<DynamicObject>, Failure> {
    let name = workspace.name_any();
    sandbox.ledger().intend("DevWorkspace", Some(sandbox.namespace()), &name).await?;
    let api = sandbox.workspaces().of(sandbox.user());
    let what = format!("create DevWorkspace `{name}`");
    let answer = ask(&what, || sandbox.as_granted(|| create_or_find(&api, workspace))).await?;
    answered(&what, answer)
}

/// A refusal of what was asked is an answer; a broken API is not.
///
/// # Errors
///
/// A broken API.
pub fn answered<T>(what: &str, answer: Result<T, KubeError>) -> Result<Answer<T>, Failure> {
    match answer {
        Ok(stored) => Ok(Ok(stored)),
        Err(error) => {
            Refusal::from_error(&error).map(Err).ok_or_else(|| describe(what, &error).into())
        }
    }
}

/// Waits until a workspace runs or has failed, and no longer than `limit`. The operator does not
/// hear that a pod's sandbox can't be made, so the events are watched too: one of them that is
/// known never to pass ends the wait.
///
/// # Errors
///
/// A watch that is refused, a workspace that nothing is heard of, or one that failed because its
/// container runtime was away (a loss).
pub async fn settle(
    sandbox: &Sandbox,
    created: &DynamicObject,
    limit: Duration,
) -> Result<Settled, Failure> {
    let name = created.name_any();
    reach(sandbox, &name, limit, &["Running", "Failed", "Error"]).await
}

/// Stops a workspace as the ordinary user, and waits until the operator says that it is stopped,
/// and no longer than `limit`.
///
/// # Errors
///
/// A change that is refused, or as [`settle`].
pub async fn stop(sandbox: &Sandbox, name: &str, limit: Duration) -> Result<Settled, Failure> {
    set_started(sandbox, name, false).await?;
    reach(sandbox, name, limit, &["Stopped", "Failed", "Error"]).await
}

/// Starts a workspace that was stopped, as the ordinary user, and waits as [`settle`] does.
///
/// # Errors
///
/// A change that is refused, or as [`settle`].
pub async fn start(sandbox: &Sandbox, name: &str, limit: Duration) -> Result<Settled, Failure> {
    set_started(sandbox, name, true).await?;
    reach(sandbox, name, limit, &["Running", "Failed", "Error"]).await
}

async fn set_started(sandbox: &Sandbox, name: &str, started: bool) -> Result<(), Failure> {
    let api = sandbox.workspaces().of(sandbox.user());
    let patch = json!({"spec": {"started": started}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let what = format!("set `started: {started}` of DevWorkspace `{name}`");
    call(&what, || api.patch(name, &params, &patch)).await?;
    Ok(())
}

/// Waits until a workspace is in one of these phases.
async fn reach(
    sandbox: &Sandbox,
    name: &str,
    limit: Duration,
    phases: &[&str],
) -> Result<Settled, Failure> {
    let api = sandbox.workspaces().of(sandbox.user());
    let mut changes = watch(api, &format!("metadata.name={name}")).boxed();
    let mut warnings = warnings(sandbox).boxed();
    let mut last: Option<Settled> = None;
    let mut received: Vec<Event> = Vec::new();
    let wait = async {
        loop {
            tokio::select! {
                Some(change) = changes.next() => last = Some(settled(change?)),
                Some(event) = warnings.next() => received.push(event?),
                else => return Err(Failure::harness("the watches of the workspace ended")),
            }
            let Some(now) = &mut last else { continue };
            let mut mine = received.iter().filter(|event| is_about(now.id(), event));
            now.warning = mine.rfind(|event| !is_about_pull_secret(event)).map(describe_event);
            let is_final =
                received.iter().any(|event| is_about(now.id(), event) && is_hopeless(event));
            if is_final || phases.contains(&now.phase.as_str()) {
                return Ok(());
            }
        }
    };
    let waited = tokio::time::timeout(limit, wait).await;
    if let Ok(Err(failure)) = waited {
        return Err(failure);
    }
    match last {
        Some(last) if is_lost(&last) => Err(Failure::lost(format!(
            "the node of workspace `{name}` was lost: {}",
            last.describe()
        ))),
        Some(last) => Ok(last),
        None => Err(Failure::harness(format!("nothing was heard of the workspace `{name}`"))),
    }
}

/// The pod of a workspace that runs.
///
/// # Errors
///
/// A failure of the product where it does not run, with what the operator and the events say.
pub async fn running_pod(sandbox: &Sandbox, settled: &Settled) -> Result<Pod, Failure> {
    let name = settled.object.name_any();
    if settled.phase != "Running" {
        let reported = settled.describe();
        let hint = diagnosis::explain(Symptom::Start(&reported), None);
        let message = format!("the workspace `{name}` does not run: {reported}");
        if let Some(blocked) = restricted::not_created(&message) {
            return Err(blocked);
        }
        return Err(Failure::product(message).with_hint(hint));
    }
    let pods: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let mine = ListParams::default().labels(&format!("{WORKSPACE_ID_LABEL}={}", settled.id()));
    let found = call("list the workspace's pods", || pods.list(&mine)).await?.items;
    let mut live = found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    live.next().ok_or_else(|| {
        Failure::product(format!("the workspace `{name}` is Running, and it has no pod"))
    })
}

/// Whether a workspace failed because its container runtime was away: the operator gives it up where
/// the kubelet goes on trying.
fn is_lost(settled: &Settled) -> bool {
    let reported = settled.describe();
    ["Failed", "Error"].contains(&settled.phase.as_str())
        && diagnosis::explain(Symptom::Start(&reported), None).is_none()
        && is_start_lost(&reported)
}

pub(super) fn settled(object: DynamicObject) -> Settled {
    let text = |pointer: &str| {
        let text = object.data.pointer(pointer).and_then(serde_json::Value::as_str);
        one_line(text.unwrap_or_default())
    };
    let (phase, message) = (text("/status/phase"), text("/status/message"));
    Settled { phase, message, warning: None, object }
}

/// Warnings of the namespace. Those about one workspace can't be asked for: its id is part of the
/// names of what they are about.
fn warnings(sandbox: &Sandbox) -> impl Stream<Item = Result<Event, Failure>> + use<> {
    let events: Api<Event> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    watch(events, "type=Warning")
}

fn is_about(id: &str, event: &Event) -> bool {
    let name = event.involved_object.name.as_deref().unwrap_or_default();
    !id.is_empty() && name.starts_with(id)
}

/// A secret that is missing does not keep a pod from starting; where its image can't be had without
/// it, another event says so.
fn is_about_pull_secret(event: &Event) -> bool {
    event.reason.as_deref() == Some("FailedToRetrieveImagePullSecret")
}

fn describe_event(event: &Event) -> String {
    let text = |field: &Option<String>| one_line(field.as_deref().unwrap_or_default());
    format!("{}: {}", text(&event.reason), text(&event.message))
}

/// Whether the kubelet will try for ever what is known never to work.
fn is_hopeless(event: &Event) -> bool {
    let reason = event.reason.as_deref().unwrap_or_default();
    let message = one_line(event.message.as_deref().unwrap_or_default());
    matches!(reason, "FailedCreatePodSandBox" | "FailedSync")
        && diagnosis::explain(Symptom::Start(&message), None).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(name: &str, reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "type": "Warning", "reason": reason, "message": message,
            "involvedObject": {"name": name},
        }))
        .expect("an event")
    }

    #[test]
    fn events_are_a_workspaces_by_its_id() {
        let event = warning("workspaceab12-7c5-x", "Failed", "no");
        assert!(is_about("workspaceab12", &event));
        assert!(!is_about("workspacecd34", &event));
        assert!(!is_about("", &event), "a workspace without an id yet has none");
    }

    #[test]
    fn a_sandbox_that_can_never_be_made_is_hopeless() {
        let message =
            "the feature gate \"UserNamespacesSupport\" is disabled: can't set spec.HostUsers";
        assert!(is_hopeless(&warning("w", "FailedCreatePodSandBox", message)));
        assert!(!is_hopeless(&warning("w", "FailedCreatePodSandBox", "network is not ready")));
        assert!(!is_hopeless(&warning("w", "BackOff", message)));
    }

    #[test]
    fn a_workspace_that_failed_while_the_runtime_was_away_decides_nothing() {
        let lost = |phase: &str, message: &str, warning: Option<&str>| {
            let object = json!({
                "apiVersion": "workspace.devfile.io/v1alpha2", "kind": "DevWorkspace",
                "metadata": {"name": "w"},
                "status": {"phase": phase, "message": message},
            });
            let settled = settled(serde_json::from_value(object).expect("an object"));
            is_lost(&Settled { warning: warning.map(str::to_owned), ..settled })
        };
        let reported = "Container tools has state CreateContainerError";
        let away =
            "Failed: Error: rpc error: code = Unavailable desc = error reading from server: EOF";
        assert!(lost("Failed", reported, Some(away)));
        assert!(!lost("Running", reported, Some(away)));
        assert!(!lost("Failed", reported, Some("Failed: because")));
        let known = format!("{away}: /dev/kmsg is not in allowed_devices");
        assert!(!lost("Failed", reported, Some(&known)), "its cause is known");
    }

    #[test]
    fn phase_message_and_warning_are_reported() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "workspace.devfile.io/v1alpha2", "kind": "DevWorkspace",
            "metadata": {"name": "w"},
            "status": {"phase": "Failed", "message": "no\nway", "devworkspaceId": "workspace1"},
        }))
        .expect("an object");
        let mut settled = settled(object);
        assert_eq!(settled.id(), "workspace1");
        settled.warning = Some("BackOff: because".to_owned());
        assert_eq!(settled.describe(), "it is Failed: no way; BackOff: because");
    }
}
