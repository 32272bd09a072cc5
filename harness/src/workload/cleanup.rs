//! The deletion of a workspace with files on the PVC that the workspaces of a namespace share. A job
//! of the DevWorkspace Operator deletes them, and the workspace keeps a finalizer until then
//! (devworkspace-operator, `pkg/provision/storage/cleanup.go`).

use std::{pin::pin, time::Duration};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, LogParams},
};

use super::workspace::{Settled, settled};
use crate::{
    base::text::one_line,
    cluster::{NotSeen, call, watch_until},
    sandbox::Sandbox,
    verdict::Failure,
};

/// How much of the job's log is of interest: `rm` has a line for each file.
const LOG_LINES: i64 = 2;

/// What `rm` ends with where it could not delete something.
const REFUSED: i32 = 1;

/// Deletes a workspace as the ordinary user and waits until it is gone, and no longer than `limit`.
/// Returns why it stays, or none where it is gone.
///
/// # Errors
///
/// A request that is refused, or an API server that does not answer.
pub async fn delete(
    sandbox: &Sandbox,
    workspace: &Settled,
    limit: Duration,
) -> Result<Option<String>, Failure> {
    let name = workspace.object.name_any();
    let uid = workspace.object.uid();
    let api = sandbox.workspaces().of(sandbox.user());
    let (what, params) = (format!("delete DevWorkspace `{name}`"), DeleteParams::default());
    call(&what, || async { api.delete(&name, &params).await.map(drop) }).await?;
    let cleanup = Cleanup::of(sandbox, workspace.id());
    // Phase Error alone decides nothing: the operator reports it of a pod that waits for its image or a
    // node as well, and goes on (devworkspace-operator, `pkg/library/status/check.go`).
    let is_gone = |found: Option<&DynamicObject>| found.is_none_or(|it| it.uid() != uid);
    let mut end = pin!(watch_until(&api, &name, is_gone, limit));
    let has_failed = |job: Option<&Job>| job.is_some_and(has_failed_pod);
    let ended = tokio::select! {
        end = &mut end => Some(end),
        // The operator waits for four attempts, each longer than the one before.
        Ok(_) = watch_until(&cleanup.jobs, &cleanup.name, has_failed, limit) => None,
    };
    let ended = match ended {
        None if !cleanup.is_refused().await? => Some(end.await),
        ended => ended,
    };
    if let Some(Err(NotSeen::Broken(message))) = ended {
        return Err(Failure::lost(format!("failed to watch the end of `{name}`: {message}")));
    }
    let now = call("look at a deleted workspace", || api.get_opt(&name)).await?;
    let Some(now) = now.filter(|it| it.uid() == uid) else { return Ok(None) };
    let reported = settled(now).describe();
    Ok(Some(format!("{reported}; {}", cleanup.describe().await?)))
}

fn has_failed_pod(job: &Job) -> bool {
    job.status.as_ref().and_then(|status| status.failed).is_some_and(|pods| pods > 0)
}

/// The job that deletes a workspace's files.
struct Cleanup {
    name: String,
    jobs: Api<Job>,
    pods: Api<Pod>,
    events: Api<Event>,
}

impl Cleanup {
    fn of(sandbox: &Sandbox, id: &str) -> Self {
        let (user, namespace) = (sandbox.user(), sandbox.namespace());
        Self {
            name: format!("cleanup-{id}"),
            jobs: Api::namespaced(user.clone(), namespace),
            pods: Api::namespaced(user.clone(), namespace),
            events: Api::namespaced(user.clone(), namespace),
        }
    }

    async fn pods(&self) -> Result<Vec<Pod>, Failure> {
        let mine = ListParams::default().labels(&format!("job-name={}", self.name));
        Ok(call("list the pods of the cleanup job", || self.pods.list(&mine)).await?.items)
    }

    /// Whether `rm` was refused something: another attempt ends like the first. A pod that ended
    /// otherwise, with its node for instance, decides nothing.
    async fn is_refused(&self) -> Result<bool, Failure> {
        Ok(self.pods().await?.iter().any(|pod| exit_code(pod) == Some(REFUSED)))
    }

    /// Who the job is, and what kept it from its work.
    async fn describe(&self) -> Result<String, Failure> {
        let job = &self.name;
        let pods = self.pods().await?;
        let Some(pod) = most_helpful(&pods) else {
            return self.why_without_pods().await;
        };
        let who = describe_user(pod);
        let Some(code) = exit_code(pod) else {
            return Ok(format!("the pod of job `{job}` runs as {who} and has not ended"));
        };
        let params = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
        let log = self.pods.logs(&pod.name_any(), &params).await;
        // Who may not read it still learns the rest.
        let log = log.map_or_else(|error| format!("no log: {error}"), |log| one_line(&log));
        Ok(format!("job `{job}` ran as {who} and ended with exit code {code}: {log}"))
    }

    async fn why_without_pods(&self) -> Result<String, Failure> {
        let job = &self.name;
        let found = call("look at the cleanup job", || self.jobs.get_opt(job)).await?;
        if found.is_none() {
            return Ok(format!("there is no job `{job}`"));
        }
        let of_job = ListParams::default().fields(&format!("involvedObject.name={job}"));
        let events = call("list the events of the cleanup job", || self.events.list(&of_job));
        let events = events.await?.items.into_iter();
        let mut warnings = events.filter(|event| event.type_.as_deref() == Some("Warning"));
        let warning = warnings.next_back().map_or_else(
            || "nothing says why".to_owned(),
            |event| {
                let text = |field: Option<String>| one_line(&field.unwrap_or_default());
                format!("{}: {}", text(event.reason), text(event.message))
            },
        );
        Ok(format!("job `{job}` has no pod: {warning}"))
    }
}

/// The pod of a job that says most: one that was refused something, or else one that ended.
fn most_helpful(pods: &[Pod]) -> Option<&Pod> {
    let ended_with = |code: i32| pods.iter().find(|pod| exit_code(pod) == Some(code));
    let ended = || pods.iter().find(|pod| exit_code(pod).is_some());
    ended_with(REFUSED).or_else(ended).or(pods.first())
}

/// What the first container of a pod ended with.
fn exit_code(pod: &Pod) -> Option<i32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(statuses.first()?.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// Who a pod is to the files of a volume.
fn describe_user(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let of_container =
        spec.and_then(|spec| spec.containers.first()?.security_context.as_ref()?.run_as_user);
    let of_pod = spec.and_then(|spec| spec.security_context.as_ref()?.run_as_user);
    let user = of_container.or(of_pod);
    let user = user.map_or_else(|| "the image's user".to_owned(), |user| format!("user {user}"));
    let has_namespace = spec.and_then(|spec| spec.host_users) == Some(false);
    let namespace =
        if has_namespace { "in a user namespace of its own" } else { "without a user namespace" };
    format!("{user} {namespace}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: &serde_json::Value, state: &serde_json::Value) -> Pod {
        let status = json!({"name": "rm", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": state});
        serde_json::from_value(json!({"spec": spec, "status": {"containerStatuses": [status]}}))
            .expect("a pod")
    }

    #[test]
    fn the_user_of_the_container_counts_before_that_of_the_pod() {
        let of = |spec: serde_json::Value| describe_user(&pod(&spec, &json!({})));
        let container = json!([{"name": "rm", "securityContext": {"runAsUser": 1_000_740_000}}]);
        let both = json!({"securityContext": {"runAsUser": 1000}, "containers": container});
        assert_eq!(of(both), "user 1000740000 without a user namespace");
        let of_pod = json!({"hostUsers": false, "securityContext": {"runAsUser": 1000},
            "containers": [{"name": "rm"}]});
        assert_eq!(of(of_pod), "user 1000 in a user namespace of its own");
        let nobody = json!({"containers": [{"name": "rm"}]});
        assert_eq!(of(nobody), "the image's user without a user namespace");
    }

    #[test]
    fn only_a_container_that_ended_has_an_exit_code() {
        let spec = json!({"containers": [{"name": "rm"}]});
        let ended = json!({"terminated": {"exitCode": 1}});
        assert_eq!(exit_code(&pod(&spec, &ended)), Some(1));
        assert_eq!(exit_code(&pod(&spec, &json!({"running": {}}))), None);
    }

    #[test]
    fn a_pod_that_was_refused_something_counts_first() {
        let spec = json!({"containers": [{"name": "rm"}]});
        let ended = |code: i32| pod(&spec, &json!({"terminated": {"exitCode": code}}));
        let code = |pods: &[Pod]| most_helpful(pods).and_then(exit_code);
        let runs = pod(&spec, &json!({"running": {}}));
        assert_eq!(code(&[runs.clone(), ended(137), ended(1)]), Some(1));
        assert_eq!(code(&[runs.clone(), ended(137)]), Some(137));
        assert_eq!(code(&[runs]), None);
    }

    #[test]
    fn a_job_has_failed_once_one_of_its_pods_has() {
        let job = |status: serde_json::Value| -> Job {
            serde_json::from_value(json!({"status": status})).expect("a job")
        };
        assert!(has_failed_pod(&job(json!({"failed": 1}))));
        assert!(!has_failed_pod(&job(json!({"active": 1}))));
        assert!(!has_failed_pod(&job(json!({"failed": 0, "succeeded": 1}))));
    }
}
