//! The objects of a broken cluster, which are there while a scenario is played.

use std::time::Duration;

use harness::{Error, Result, cluster::call_within, manifest};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
    core::GroupVersionKind,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// An object that was created.
pub(crate) struct Created {
    api: Api<DynamicObject>,
    name: String,
}

/// Creates cluster-scoped objects from their manifests; one that an earlier try has left is
/// replaced by deleting it first.
pub(crate) async fn create(client: &Client, manifests: &[&str]) -> Result<Vec<Created>> {
    let mut created = Vec::new();
    for text in manifests {
        let object: DynamicObject = manifest::parse("a mutant's object", text)?;
        let types = object.types.clone().unwrap_or_default();
        let kind = GroupVersionKind::try_from(&types)
            .map_err(|error| Error::usage(format!("no kind: {error}")))?;
        let api = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        let one = Created { api, name: object.name_any() };
        remove(&one).await?;
        let params = PostParams::default();
        call_within(DEADLINE, "create what breaks the cluster", || {
            one.api.create(&params, &object)
        })
        .await?;
        created.push(one);
    }
    Ok(created)
}

/// Deletes what was created.
pub(crate) async fn delete(_client: &Client, created: &[Created]) -> Result<()> {
    for one in created {
        remove(one).await?;
    }
    Ok(())
}

async fn remove(one: &Created) -> Result<()> {
    let params = DeleteParams::default();
    let answer = call_within(DEADLINE, "delete what broke the cluster", || async {
        match one.api.delete(&one.name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    });
    answer.await
}
