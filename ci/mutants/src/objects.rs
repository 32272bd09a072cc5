//! Objects that exist in the cluster while a scenario runs.

use std::time::Duration;

use harness::{Error, Result, base::manifest, cluster::call_within};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, PostParams},
    core::GroupVersionKind,
};

use crate::policy::{CANARY, REFUSING_CANARY};

const DEADLINE: Duration = Duration::from_secs(10);

/// Objects that were created, or may have been.
pub(crate) struct Created {
    objects: Vec<Object>,
    client: Client,
}

struct Object {
    api: Api<DynamicObject>,
    kind: String,
    name: String,
}

impl Created {
    /// No object yet.
    pub(crate) fn nothing(client: Client) -> Self {
        Self { objects: Vec::new(), client }
    }

    /// Creates cluster-scoped objects from their manifests; a leftover of an earlier try is deleted
    /// first. Policies among them are in force when this returns.
    pub(crate) async fn create(&mut self, manifests: &[&str]) -> Result<()> {
        for text in manifests {
            self.create_one(text).await?;
        }
        if self.has("ValidatingAdmissionPolicy") {
            for text in REFUSING_CANARY {
                self.create_one(text).await?;
            }
            refusals_are_in_force(&self.client, true).await?;
        }
        if self.has("MutatingAdmissionPolicy") {
            // The API server takes up all policies at once: when this one is in force, all are.
            for text in CANARY.manifests() {
                self.create_one(text).await?;
            }
            policies_are_in_force(&self.client, true).await?;
        }
        Ok(())
    }

    /// Deletes what was created, as far as possible. No policy is in force when this returns.
    ///
    /// # Errors
    ///
    /// The first error.
    pub(crate) async fn delete(self) -> Result<()> {
        let mut outcome = Ok(());
        for object in &self.objects {
            outcome = outcome.and(remove(object).await);
        }
        if self.has("ValidatingAdmissionPolicy") {
            outcome = outcome.and(refusals_are_in_force(&self.client, false).await);
        }
        if self.has("MutatingAdmissionPolicy") {
            outcome = outcome.and(policies_are_in_force(&self.client, false).await);
        }
        outcome
    }

    fn has(&self, kind: &str) -> bool {
        self.objects.iter().any(|object| object.kind == kind)
    }

    async fn create_one(&mut self, text: &str) -> Result<()> {
        let object: DynamicObject = manifest::parse("a mutant's object", text)?;
        let types = object.types.clone().unwrap_or_default();
        let kind = GroupVersionKind::try_from(&types)
            .map_err(|error| Error::usage(format!("invalid kind: {error}")))?;
        let resource = match kind.kind.as_str() {
            // The only kind here that is its own plural.
            name @ "SecurityContextConstraints" => {
                ApiResource::from_gvk_with_plural(&kind, &name.to_lowercase())
            }
            _ => ApiResource::from_gvk(&kind),
        };
        let api = Api::all_with(self.client.clone(), &resource);
        let one = Object { api: api.clone(), kind: kind.kind, name: object.name_any() };
        remove(&one).await?;
        // Recorded before it is created, so that it is deleted even if this future is dropped.
        self.objects.push(one);
        let params = PostParams::default();
        call_within(DEADLINE, "create an object of a fault", || api.create(&params, &object))
            .await
            .map(drop)
    }
}

async fn remove(one: &Object) -> Result<()> {
    let params = DeleteParams::default();
    let answer = call_within(DEADLINE, "delete an object of a fault", || async {
        match one.api.delete(&one.name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    });
    answer.await
}

/// Waits until policies are in force, or no longer are: a canary of this name is dry-run until its
/// answer says so. The API server takes up changes once a second without an event, so this polls.
async fn await_policies(
    client: &Client,
    canary: &str,
    wanted: bool,
    is_in_force: impl Fn(kube::Result<ConfigMap>) -> kube::Result<bool> + Sync,
) -> Result<()> {
    const INTERVAL: Duration = Duration::from_millis(50);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let metadata = ObjectMeta { name: Some(canary.to_owned()), ..ObjectMeta::default() };
    let canary = ConfigMap { metadata, ..ConfigMap::default() };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let wait = async {
        loop {
            let what = "check whether policies are in force";
            let seen = call_within(DEADLINE, what, || async {
                is_in_force(api.create(&params, &canary).await)
            });
            if seen.await? == wanted {
                return Ok(());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_elapsed| {
        Err(Error::infrastructure("the API server did not take up the policies within 10 s"))
    })
}

/// Waits for the canary's validating policy.
async fn refusals_are_in_force(client: &Client, wanted: bool) -> Result<()> {
    await_policies(client, "nestcheck-mutants-refused", wanted, |answer| match answer {
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(true),
        answer => answer.map(|_| false),
    })
    .await
}

/// Waits for the canary's mutating policy.
async fn policies_are_in_force(client: &Client, wanted: bool) -> Result<()> {
    await_policies(client, "nestcheck-mutants-canary", wanted, |answer| {
        answer.map(|canary| canary.data.is_some())
    })
    .await
}
