//! Objects that a cluster has, altered while a scenario is played.

use std::time::Duration;

use harness::{Error, Result, cluster::call_within};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(10);

/// A change of a cluster-scoped object. The API server hears of its own settings by a watch, within
/// milliseconds; a run reads facts and makes its namespace before it comes to a case.
#[derive(Clone, Copy, Debug)]
pub struct Alteration {
    /// The object's API version.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The field, as a JSON pointer (RFC 6901).
    pub pointer: &'static str,
    /// The field's other value, as JSON.
    pub value: &'static str,
}

/// An object that was altered, as it was before.
pub(crate) struct Altered {
    api: Api<DynamicObject>,
    name: &'static str,
    before: Value,
}

impl Alteration {
    /// Makes the change. What it was before is told before it is changed: whether it was, nobody may
    /// live to tell.
    pub(crate) async fn make(&self, client: &Client, altered: &mut Vec<Altered>) -> Result<()> {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        let kind = GroupVersionKind::gvk(group, version, self.kind);
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        let mut object = read(&api, self.name).await?;
        let before = object.data.clone();
        let value = serde_json::from_str(self.value)
            .map_err(|error| Error::usage(format!("`{}` is no JSON: {error}", self.value)))?;
        let field = object.data.pointer_mut(self.pointer).ok_or_else(|| {
            Error::usage(format!("{} `{}` has no {}", self.kind, self.name, self.pointer))
        })?;
        if *field == value {
            return Err(Error::usage(format!("{} is altered already", self.pointer)));
        }
        *field = value;
        altered.push(Altered { api: api.clone(), name: self.name, before });
        replace(&api, self.name, &object).await
    }
}

impl Altered {
    /// Makes it as it was.
    pub(crate) async fn undo(self) -> Result<()> {
        let mut object = read(&self.api, self.name).await?;
        object.data = self.before;
        replace(&self.api, self.name, &object).await
    }
}

async fn read(api: &Api<DynamicObject>, name: &str) -> Result<DynamicObject> {
    call_within(DEADLINE, "read what is altered", || api.get(name)).await
}

async fn replace(api: &Api<DynamicObject>, name: &str, object: &DynamicObject) -> Result<()> {
    let params = PostParams::default();
    let what = "alter an object of the cluster";
    call_within(DEADLINE, what, || api.replace(name, &params, object)).await.map(drop)
}
