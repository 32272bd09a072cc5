//! One answer of the API, which may also be a refusal.

use futures::FutureExt as _;
use http::Request;
use kube::{Client, Error as KubeError};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Fact;
use crate::{
    Result,
    cluster::{call, status_code},
};

/// What came of asking for an object: one answer, from which several facts may be made.
///
/// It is not a [`Fact`]: that an object is absent may mean that a fact is known or that it is not,
/// which only the reader of the fact can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup<T> {
    /// The server sent it.
    Found(T),
    /// The server has no such object, or not even such an API.
    Absent,
    /// The server refused or did not answer, for this reason.
    Failed(String),
    /// It was not asked for, because this kind of cluster has no such object.
    NotApplicable(String),
}

impl<T> Lookup<T> {
    /// The fact that `read` makes of what was read at `place`.
    pub(super) fn fact<F>(&self, place: &str, read: impl FnOnce(&T) -> Fact<F>) -> Fact<F> {
        match self {
            Self::Found(value) => read(value),
            Self::Absent => Fact::unknown(format!("the cluster has no {place}")),
            Self::Failed(reason) => Fact::unknown(reason.clone()),
            Self::NotApplicable(reason) => Fact::NotApplicable { reason: reason.clone() },
        }
    }
}

impl<T> From<Result<T>> for Lookup<T> {
    fn from(answer: Result<T>) -> Self {
        match answer {
            Ok(value) => Self::Found(value),
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Gets the object at `path`; `what` names it in errors.
pub(super) async fn read<T>(client: &Client, what: &str, path: &str) -> Lookup<T>
where
    T: DeserializeOwned + Send,
{
    let ask = || async {
        match client.request(get_request(path)?).await {
            Err(error) if status_code(&error) == Some(404) => Ok(Lookup::Absent),
            answer => answer.map(Lookup::Found),
        }
    };
    let answer = call(&format!("read {what}"), ask).boxed().await;
    answer.unwrap_or_else(|error| Lookup::Failed(error.to_string()))
}

/// Gets a page of metrics.
pub(super) async fn metrics_page(client: &Client, path: &str) -> Lookup<String> {
    let page =
        call("read metrics", || async move { client.request_text(get_request(path)?).await });
    page.boxed().await.into()
}

pub(super) fn get_request(path: &str) -> Result<Request<Vec<u8>>, KubeError> {
    Request::get(path).body(Vec::new()).map_err(KubeError::HttpError)
}

/// The text at a JSON pointer.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// The items of the list at a JSON pointer; none where there is no list.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
