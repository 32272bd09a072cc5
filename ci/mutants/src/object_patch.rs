//! Objects of the cluster that are patched while a scenario runs.

use std::time::Duration;

use harness::{Error, Result, cluster::call_within};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(10);

/// A change of a cluster-scoped object. The API server watches its own settings, so it knows them
/// within milliseconds; a run reads facts and creates its namespace before any case starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectPatch {
    /// The object's API version.
    pub(crate) api_version: &'static str,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// The field, as a JSON pointer (RFC 6901).
    pub(crate) pointer: &'static str,
    /// The field's other value, as JSON.
    pub(crate) value: &'static str,
}

/// An object that was patched, as it was before.
pub(crate) struct Patched {
    api: Api<DynamicObject>,
    name: &'static str,
    before: Value,
}

impl ObjectPatch {
    /// Applies the patch. Records the original first, so that it can be restored even if this
    /// future is dropped midway.
    pub(crate) async fn make(&self, client: &Client, patched: &mut Vec<Patched>) -> Result<()> {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        let kind = GroupVersionKind::gvk(group, version, self.kind);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        let mut object = read(&api, self.name).await?;
        let before = object.data.clone();
        let value = serde_json::from_str(self.value)
            .map_err(|error| Error::usage(format!("`{}` is not JSON: {error}", self.value)))?;
        let field = object.data.pointer_mut(self.pointer).ok_or_else(|| {
            Error::usage(format!("{} `{}` has no {}", self.kind, self.name, self.pointer))
        })?;
        if *field == value {
            return Err(Error::usage(format!("{} already has this value", self.pointer)));
        }
        *field = value;
        patched.push(Patched { api: api.clone(), name: self.name, before });
        replace(&api, self.name, &object).await
    }
}

impl Patched {
    /// Restores the object.
    pub(crate) async fn undo(self) -> Result<()> {
        let mut object = read(&self.api, self.name).await?;
        object.data = self.before;
        replace(&self.api, self.name, &object).await
    }
}

async fn read(api: &Api<DynamicObject>, name: &str) -> Result<DynamicObject> {
    call_within(DEADLINE, "read the object to patch", || api.get(name)).await
}

async fn replace(api: &Api<DynamicObject>, name: &str, object: &DynamicObject) -> Result<()> {
    let params = PostParams::default();
    let what = "patch an object of the cluster";
    call_within(DEADLINE, what, || api.replace(name, &params, object)).await.map(drop)
}
