//! The API server's own count of requests: its audit log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use test_support::{AuditLog, Request};

use crate::Result;

/// Where the log ends now: what follows is counted.
pub(crate) fn mark(log: &Path) -> Result<u64> {
    Ok(AuditLog::new(log.to_owned()).end()?)
}

/// Who made a request: the name of a user or a service account.
fn account(request: &Request) -> &str {
    let name = request.user();
    name.rsplit(':').next().unwrap_or(name)
}

/// The object that a request reads, if it reads one.
fn object_read(request: &Request) -> Option<String> {
    let object = &request.object;
    let reads =
        request.verb == "get" && !object.resource.is_empty() && object.subresource.is_empty();
    reads.then(|| format!("{} {}/{}", object.resource, object.namespace, object.name))
}

/// The user agents of the cluster's own components.
const COMPONENTS: [&str; 3] = ["kube-", "kubelet/", "local-cluster"];

/// Who made a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client<'a> {
    /// Whose user agent begins like this.
    Agent(&'a str),
    /// Everyone but the cluster's own components and their controllers.
    Outside,
    /// Everyone.
    Any,
}

impl Client<'_> {
    fn made(self, request: &Request) -> bool {
        match self {
            Self::Agent(start) => request.agent.starts_with(start),
            Self::Any => true,
            // Some components are the administrator too.
            Self::Outside => {
                let user = request.user();
                let person = !user.starts_with("system:") || user.ends_with(":workspace-user");
                person && !COMPONENTS.iter().any(|name| request.agent.starts_with(name))
            }
        }
    }
}

/// The requests after a mark.
pub(crate) fn since(log: &Path, mark: u64, client: Client<'_>) -> Result<Vec<Request>> {
    let mut requests = AuditLog::new(log.to_owned()).since(mark)?;
    // A watch is logged at its beginning and at its end.
    let mut known = BTreeSet::new();
    requests.retain(|request| client.made(request) && known.insert(request.id.clone()));
    Ok(requests)
}

/// How many requests of each kind.
pub(crate) fn count(requests: &[Request]) -> BTreeMap<String, usize> {
    count_by(requests, Request::kind)
}

/// How many requests of each user.
pub(crate) fn count_by_account(requests: &[Request]) -> BTreeMap<String, usize> {
    count_by(requests, |request| account(request).to_owned())
}

fn count_by(requests: &[Request], key: impl Fn(&Request) -> String) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(key(request)).or_default() += 1;
    }
    counts
}

/// The objects that were read more than once.
pub(crate) fn read_again(requests: &[Request]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    requests.iter().filter_map(object_read).filter(|object| !known.insert(object.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(verb: &str, name: &str, subresource: &str, user: &str) -> Request {
        let request = json!({
            "auditID": "", "verb": verb, "requestURI": "/api/v1/namespaces/n/pods?a=b",
            "userAgent": "nestcheck/0.1.0", "user": {"username": user},
            "objectRef": {
                "resource": "pods", "subresource": subresource, "namespace": "n", "name": name,
            },
        });
        serde_json::from_value(request).expect("a request")
    }

    #[test]
    fn an_object_that_is_read_twice_is_found_and_streams_are_not() {
        let requests = [
            request("get", "a", "", "admin"),
            request("get", "b", "", "admin"),
            request("get", "a", "", "admin"),
            request("get", "a", "exec", "admin"),
            request("get", "a", "exec", "admin"),
        ];
        assert_eq!(read_again(&requests).into_iter().collect::<Vec<_>>(), ["pods n/a"]);
        assert_eq!(count(&requests)["get pods/exec"], 2);
    }

    #[test]
    fn the_clusters_own_components_are_not_outside() {
        let made = |user: &str| Client::Outside.made(&request("get", "a", "", user));
        assert!(made("admin"));
        assert!(made("system:serviceaccount:nestcheck-x:workspace-user"));
        assert!(!made("system:node:node"));
        assert!(!made("system:serviceaccount:kube-system:namespace-controller"));
        let mut scheduler = request("get", "a", "", "admin");
        scheduler.agent = "kube-scheduler/v1.32.5".into();
        assert!(!Client::Outside.made(&scheduler));
    }
}
