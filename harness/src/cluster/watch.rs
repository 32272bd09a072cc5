//! The only user of kube's `await_condition`, which ends with the first error of its watch.

use std::{fmt, sync::OnceLock, time::Duration};

use kube::{
    Api, Resource,
    runtime::wait::{Condition, Error as WatchError, await_condition},
};
use serde::de::DeserializeOwned;

use super::{ask, retry};
use crate::base::error::chain;

/// Why it is not known that a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSeen {
    /// It did not hold within the limit, nor at its end.
    Late,
    /// Nobody knows, as the API server could not be asked at the end of the limit; with its first error.
    Broken(String),
}

/// Watches an object until a condition holds, and returns the object. A watch that breaks begins again.
///
/// # Errors
///
/// The condition did not hold within `limit`, or nobody can know whether it did.
pub async fn watch_until<K>(
    api: &Api<K>,
    name: &str,
    condition: impl Condition<K> + Send + Sync,
    limit: Duration,
) -> Result<Option<K>, NotSeen>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let broken = OnceLock::new();
    let holds = |object: Option<&K>| condition.matches_object(object);
    let again = |error: &WatchError| {
        broken.get_or_init(|| chain(error));
        Some(Duration::ZERO)
    };
    let watched = retry::with_backoff(limit, again, || await_condition(api.clone(), name, holds));
    if let Ok(Ok(object)) = tokio::time::timeout(limit, watched).await {
        return Ok(object);
    }
    // A connection that became silent has no error, and the last pause may have been a long one.
    match ask("look at the object again", || api.get_opt(name)).await {
        Ok(Ok(object)) if holds(object.as_ref()) => Ok(object),
        Ok(Ok(_)) => Err(NotSeen::Late),
        // Who may watch need not be allowed to read.
        Ok(Err(_)) => Err(broken.into_inner().map_or(NotSeen::Late, NotSeen::Broken)),
        Err(error) => Err(NotSeen::Broken(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Client, client::Body};
    use serde_json::json;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    /// A server with one object, to which the first connections can't be made.
    fn api_after(refused: u32) -> Api<ConfigMap> {
        let asked = Arc::new(AtomicU32::new(0));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                if number < refused {
                    return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
                }
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "one", "namespace": "n", "uid": "u",
                        "resourceVersion": "1"}});
                let query = request.uri().query().unwrap_or_default();
                let answer = match request.uri().path() {
                    _ if query.contains("watch=true") => {
                        // Nothing happens.
                        std::future::pending::<()>().await;
                        object
                    }
                    path if path.ends_with("/one") => object,
                    _ => json!({"apiVersion": "v1", "kind": "ConfigMapList",
                        "metadata": {"resourceVersion": "1"}, "items": [object]}),
                };
                Ok(http::Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Api::namespaced(Client::new(service, "n"), "n")
    }

    fn is_there(object: Option<&ConfigMap>) -> bool {
        object.is_some()
    }

    fn is_gone(object: Option<&ConfigMap>) -> bool {
        object.is_none()
    }

    #[tokio::test]
    async fn a_watch_that_breaks_begins_again() {
        let seen = watch_until(&api_after(2), "one", is_there, Duration::from_secs(30)).await;

        assert_eq!(
            seen.expect("it is there").expect("an object").metadata.uid.as_deref(),
            Some("u")
        );
    }

    #[tokio::test]
    async fn what_is_not_so_at_the_end_is_late_whether_or_not_the_watch_broke() {
        for refused in [0, 1] {
            let late = watch_until(&api_after(refused), "one", is_gone, LIMIT).await;
            assert_eq!(late.expect_err("it is there"), NotSeen::Late);
        }
    }
}
