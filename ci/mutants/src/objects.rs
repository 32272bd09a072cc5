//! The objects of a broken cluster, which are there while a scenario is played.

use std::time::Duration;

use harness::{Error, Result, cluster::call_within, manifest};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, PostParams},
    core::GroupVersionKind,
};

use crate::policy::CANARY;

const DEADLINE: Duration = Duration::from_secs(10);

/// Objects that were created.
pub(crate) struct Created {
    objects: Vec<Object>,
    client: Client,
}

struct Object {
    api: Api<DynamicObject>,
    kind: String,
    name: String,
}

/// Creates cluster-scoped objects from their manifests; one that an earlier try has left is
/// replaced by deleting it first. Policies among them are in force when this returns.
pub(crate) async fn create(client: &Client, manifests: &[&str]) -> Result<Created> {
    let mut created = Created { objects: Vec::new(), client: client.clone() };
    for text in manifests {
        created.objects.push(create_one(client, text).await?);
    }
    if created.has_policies() {
        // The API server takes up all policies at once, so when this one is in force the others are.
        for text in CANARY.manifests() {
            created.objects.push(create_one(client, text).await?);
        }
        policies_are_in_force(client, true).await?;
    }
    Ok(created)
}

impl Created {
    /// Deletes what was created. Policies are not in force any more when this returns.
    pub(crate) async fn delete(self) -> Result<()> {
        for object in &self.objects {
            remove(object).await?;
        }
        if self.has_policies() {
            policies_are_in_force(&self.client, false).await?;
        }
        Ok(())
    }

    fn has_policies(&self) -> bool {
        self.objects.iter().any(|object| object.kind == "MutatingAdmissionPolicy")
    }
}

async fn create_one(client: &Client, text: &str) -> Result<Object> {
    let object: DynamicObject = manifest::parse("a mutant's object", text)?;
    let types = object.types.clone().unwrap_or_default();
    let kind = GroupVersionKind::try_from(&types)
        .map_err(|error| Error::usage(format!("no kind: {error}")))?;
    let api = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    let one = Object { api, kind: kind.kind, name: object.name_any() };
    remove(&one).await?;
    let params = PostParams::default();
    call_within(DEADLINE, "create what breaks the cluster", || one.api.create(&params, &object))
        .await?;
    Ok(one)
}

async fn remove(one: &Object) -> Result<()> {
    let params = DeleteParams::default();
    let answer = call_within(DEADLINE, "delete what broke the cluster", || async {
        match one.api.delete(&one.name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    });
    answer.await
}

/// Waits until the canary's policy is in force, or is not any more. The API server looks for changes
/// once a second and tells nobody, so it can only be asked.
async fn policies_are_in_force(client: &Client, wanted: bool) -> Result<()> {
    const INTERVAL: Duration = Duration::from_millis(50);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let name = Some("nestcheck-mutants-canary".to_owned());
    let metadata = ObjectMeta { name, ..ObjectMeta::default() };
    let canary = ConfigMap { metadata, ..ConfigMap::default() };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let wait = async {
        loop {
            let what = "ask whether policies are in force";
            let seen = call_within(DEADLINE, what, || api.create(&params, &canary)).await?;
            if seen.data.is_some() == wanted {
                return Ok(());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_elapsed| {
        Err(Error::infrastructure("the API server did not take up the policies within 10 s"))
    })
}
