//! What admission makes of pods, asked by dry runs.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Error as KubeError, api::PostParams};

use crate::{
    cluster::{Answer, Refusal, ask},
    engine::administrator,
    sandbox::{Identity, Sandbox},
    verdict::Failure,
    workload::{self, mutation},
};

/// Sends pods to the API server as dry runs: nothing is stored.
#[derive(Clone, Copy)]
pub struct Admission<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Admission<'a> {
    pub(super) fn of(sandbox: &'a Sandbox) -> Self {
        Self { sandbox }
    }

    /// Creates a pod as a dry run, as the ordinary user, and returns what would be stored.
    ///
    /// # Errors
    ///
    /// Anything but an answer: a refusal is an answer.
    pub async fn dry_run(self, pod: &Pod) -> Result<Answer<Pod>, Failure> {
        let api = self.pods_as(self.sandbox.user(), pod);
        let params = dry();
        answered("dry-run the creation of a pod", || {
            self.sandbox.as_granted(|| api.create(&params, pod))
        })
        .await
    }

    /// As [`Self::dry_run`], but as somebody in particular, and without timeouts: a right that was
    /// just granted may not be known yet.
    ///
    /// # Errors
    ///
    /// As [`Self::dry_run`].
    pub async fn dry_run_as(self, identity: Identity, pod: &Pod) -> Result<Answer<Pod>, Failure> {
        if let Some(namespace) = self.sandbox.given()
            && identity != Identity::User
        {
            return Err(administrator::blocked(namespace, "a dry run as another user"));
        }
        let api = self.pods_as(self.sandbox.client(identity).await?, pod);
        let params = dry();
        answered("dry-run the creation of a pod", || api.create(&params, pod)).await
    }

    /// Replaces a pod as a dry run, as the ordinary user, and returns what would be stored. The
    /// version of the object is left out, so that a status that the kubelet has written meanwhile is
    /// not a conflict (409); its uid is kept, so that another pod of that name is one.
    ///
    /// # Errors
    ///
    /// As [`Self::dry_run`].
    pub async fn dry_run_replace(self, pod: &Pod) -> Result<Answer<Pod>, Failure> {
        let api = self.pods_as(self.sandbox.user(), pod);
        let mut pod = pod.clone();
        pod.metadata.resource_version = None;
        let name = pod.metadata.name.clone().unwrap_or_default();
        let params = dry();
        answered("dry-run the update of a pod", || api.replace(&name, &params, &pod)).await
    }

    /// Adds to a failure what became of a pod between its sending and its storing, and by whom.
    pub async fn explain_change(self, sent: &Pod, stored: &Pod, failure: Failure) -> Failure {
        match mutation::explain(self.sandbox, sent, stored).await {
            Some(explanation) => explanation.added_to(failure),
            None => failure,
        }
    }

    /// A failure for a refused pod, with who may have changed or refused it.
    pub async fn explain_refusal(self, sent: &Pod, refusal: &Refusal) -> Failure {
        let name = sent.metadata.name.as_deref().unwrap_or_default();
        let failure = self.refused(sent, name, refusal).await;
        if !matches!(failure, Failure::Product { .. }) {
            return failure;
        }
        match mutation::explain_refusal(self.sandbox, sent, &refusal.message).await {
            Some(explanation) => explanation.added_to(failure),
            None => failure,
        }
    }

    /// A failure for a refused pod, which its message calls by this name: blocked where a ResourceQuota or
    /// LimitRange of the pod's namespace refuses it.
    pub async fn refused(self, sent: &Pod, name: &str, refusal: &Refusal) -> Failure {
        let namespace = sent.metadata.namespace.as_deref().unwrap_or(self.sandbox.namespace());
        workload::refused_pod(self.sandbox, namespace, name, &refusal.message).await
    }

    fn pods_as(self, client: &Client, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or(self.sandbox.namespace());
        Api::namespaced(client.clone(), namespace)
    }
}

fn dry() -> PostParams {
    PostParams { dry_run: true, field_manager: Some("nestcheck".to_owned()) }
}

/// Asks for a dry run. A refusal of what was asked is an answer; a broken API is not.
async fn answered<T, F, Fut>(what: &str, operation: F) -> Result<Answer<T>, Failure>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, KubeError>> + Send,
{
    workload::workspace::answered(what, ask(what, operation).await?)
}
