//! The Secrets of a run in a given namespace, where the run need not be able to read any.
//!
//! The run knows the names of those that it creates. Whoever sweeps it knows only what the run's record
//! says, which anybody may have written who may write Leases. So each Secret belongs to the record: the
//! garbage collector deletes it once the record is gone, and nothing is deleted by a name of the record
//! (kubernetes.io, "Garbage collection", "Owners and dependents").

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::DeleteParams};

use super::{
    OwnedObject,
    ledger::{Intents, SECRET},
};
use crate::{
    Error, Result,
    cluster::{call, retry, status_code},
};

/// Deletes the Secrets that these intents name. Their names have the run's id in them.
///
/// # Errors
///
/// What the server refuses.
pub(super) async fn end_secrets(user: &Client, namespace: &str, intents: &Intents) -> Result<()> {
    let api = Api::namespaced(user.clone(), namespace);
    for name in intents.secrets() {
        delete(&api, name, &DeleteParams::default(), "delete").await?;
    }
    Ok(())
}

/// The Secrets that these intents name and that are there. A deletion that is a dry run changes nothing, and
/// says whether there is something to delete (kubernetes.io, "API concepts", "Dry-run").
///
/// # Errors
///
/// What the server refuses.
pub(super) async fn secrets_there(user: &Client, intents: &Intents) -> Result<Vec<OwnedObject>> {
    let Some(namespace) = intents.given_namespace() else { return Ok(Vec::new()) };
    let api = Api::namespaced(user.clone(), namespace);
    let mut there = Vec::new();
    for name in intents.secrets() {
        if delete(&api, name, &DeleteParams::default().dry_run(), "look for").await? {
            there.push(OwnedObject {
                kind: SECRET,
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
                is_recorded: true,
                uid: String::new(),
            });
        }
    }
    Ok(there)
}

/// Why the end of Secrets is awaited no longer, or not yet.
enum Unfinished {
    There(Vec<OwnedObject>),
    Failed(Error),
}

/// Waits until the garbage collector has deleted the Secrets that these intents name: they can't be
/// watched. Returns those that stay, which do not belong to the record.
///
/// # Errors
///
/// What the server refuses.
pub(super) async fn await_end_of_secrets(
    user: &Client,
    intents: &Intents,
    limit: Duration,
) -> Result<Vec<OwnedObject>> {
    let delay = |it: &Unfinished| matches!(it, Unfinished::There(_)).then_some(Duration::ZERO);
    let look = || async {
        match secrets_there(user, intents).await {
            Ok(there) if there.is_empty() => Ok(()),
            Ok(there) => Err(Unfinished::There(there)),
            Err(error) => Err(Unfinished::Failed(error)),
        }
    };
    match retry::with_backoff(limit, delay, look).await {
        Ok(()) => Ok(Vec::new()),
        Err(Unfinished::There(there)) => Ok(there),
        Err(Unfinished::Failed(error)) => Err(error),
    }
}

/// Deletes a Secret, or acts as if. Returns whether it was there.
async fn delete(api: &Api<Secret>, name: &str, params: &DeleteParams, verb: &str) -> Result<bool> {
    call(&format!("{verb} Secret `{name}`"), || async {
        match api.delete(name, params).await {
            Err(error) if status_code(&error) == Some(404) => Ok(false),
            other => other.map(|_| true),
        }
    })
    .await
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// A server whose namespaces have these Secrets, and the requests about Secrets that it got. It has nothing
    /// else, but the object that `others` answers.
    pub(in crate::sandbox) fn server(
        there: &[&str],
        others: impl Fn(&Request<Body>) -> Option<serde_json::Value> + Clone + Send + Sync + 'static,
    ) -> (Client, Arc<Mutex<Vec<String>>>) {
        let there: Vec<_> = there.iter().map(|name| (*name).to_owned()).collect();
        let there = Arc::new(Mutex::new(there));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer = move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let query = request.uri().query().unwrap_or_default().to_owned();
            // The API takes the choice in the body.
            let is_secret = path.contains("/secrets/");
            let (method, others) = (request.method().clone(), others(&request));
            let (there, log) = (Arc::clone(&there), Arc::clone(&log));
            async move {
                let body = request.into_body().collect_bytes().await.unwrap_or_default();
                let body = String::from_utf8_lossy(&body).into_owned();
                let is_dry_run =
                    query.contains("dryRun=All") || body.contains("\"dryRun\":[\"All\"]");
                let mut there = there.lock().expect("nobody panics");
                let has = there.contains(&name);
                if is_secret {
                    let mode = if is_dry_run { " (dry run)" } else { "" };
                    log.lock().expect("nobody panics").push(format!("{method} {name}{mode}"));
                }
                if is_secret && has && !is_dry_run {
                    there.retain(|other| *other != name);
                }
                let success = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
                let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": 404, "reason": "NotFound", "message": "not found"});
                let (code, body) = match (is_secret, others) {
                    (true, _) if has => (200, success),
                    (false, Some(object)) => (200, object),
                    _ => (404, failure),
                };
                let body = Body::from(body.to_string().into_bytes());
                let answer = Response::builder().status(code).body(body);
                Ok::<_, std::convert::Infallible>(answer.expect("it is an answer"))
            }
        };
        (Client::new(tower::service_fn(answer), "default"), asked)
    }

    fn intents(secrets: &[&str]) -> Intents {
        let secrets: Vec<_> = secrets.iter().map(|name| (*name).to_owned()).collect();
        Intents::in_namespace("abc", "team-a", &["Pod"], &secrets)
    }

    #[tokio::test]
    async fn a_secret_is_looked_for_without_being_read_or_deleted() {
        let (user, asked) = server(&["nestcheck-abc-word"], |_| None);

        let there = secrets_there(&user, &intents(&["nestcheck-abc-word", "nestcheck-abc-gone"]))
            .await
            .expect("the server answers");

        let names: Vec<_> = there.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["Secret `team-a/nestcheck-abc-word`"]);
        let expected =
            ["DELETE nestcheck-abc-word (dry run)", "DELETE nestcheck-abc-gone (dry run)"];
        assert_eq!(*asked.lock().expect("nobody panics"), expected);
    }

    #[tokio::test]
    async fn the_secrets_of_a_run_are_ended_by_it() {
        let (user, _) = server(&["nestcheck-abc-word"], |_| None);
        let intents = intents(&["nestcheck-abc-word"]);
        end_secrets(&user, "team-a", &intents).await.expect("it is deleted");
        assert_eq!(secrets_there(&user, &intents).await.expect("an answer"), []);
    }
}
