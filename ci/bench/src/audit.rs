//! The API server's own count of requests: its audit log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::Path,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::Result;

/// Where the log ends now: what follows is counted.
pub(crate) fn mark(log: &Path) -> Result<u64> {
    Ok(std::fs::metadata(log)?.len())
}

/// One request in the audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
    #[serde(default, rename = "requestReceivedTimestamp")]
    received: Option<Timestamp>,
    #[serde(default, rename = "stageTimestamp")]
    answered: Option<Timestamp>,
    #[serde(default, rename = "requestObject")]
    body: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectRef {
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Request {
    /// What it does, such as `create`.
    pub(crate) fn verb(&self) -> &str {
        &self.verb
    }

    /// Who made it: the name of a user or a service account.
    fn account(&self) -> &str {
        let name = &self.user.username;
        name.rsplit(':').next().unwrap_or(name)
    }

    /// The object that it is about; an empty one where it is about none.
    pub(crate) fn object(&self) -> ObjectRef {
        self.object_ref.clone().unwrap_or_default()
    }

    /// When the server received it.
    pub(crate) fn received(&self) -> Option<Timestamp> {
        self.received
    }

    /// What was sent, where the log has it.
    pub(crate) fn body(&self) -> Option<&Value> {
        self.body.as_ref()
    }

    /// How long the server took; 0 if the log does not say.
    pub(crate) fn seconds(&self) -> f64 {
        let times = self.received.zip(self.answered);
        times.map_or(0.0, |(received, answered)| answered.duration_since(received).as_secs_f64())
    }

    /// Whether it is a dry run.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=All")
    }

    /// Verb and resource, such as `get pods/exec`; the path if there is no resource.
    pub(crate) fn kind(&self) -> String {
        let resource = match &self.object_ref {
            Some(object) if object.subresource.is_empty() => object.resource.clone(),
            Some(object) => format!("{}/{}", object.resource, object.subresource),
            None => self.uri.split('?').next().unwrap_or_default().to_owned(),
        };
        let dry = if self.is_dry_run() { " (dry run)" } else { "" };
        format!("{} {resource}{dry}", self.verb)
    }

    /// Whether it opens a command's stream.
    pub(crate) fn is_exec(&self) -> bool {
        self.object_ref.as_ref().is_some_and(|object| object.subresource == "exec")
    }

    /// The object that it reads, if it reads one.
    fn object_read(&self) -> Option<String> {
        let object = self.object_ref.as_ref()?;
        let reads = self.verb == "get" && object.subresource.is_empty();
        reads.then(|| format!("{} {}/{}", object.resource, object.namespace, object.name))
    }
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
            Self::Agent(start) => request.user_agent.starts_with(start),
            Self::Any => true,
            // Some components are the administrator too.
            Self::Outside => {
                let user = &request.user.username;
                let person = !user.starts_with("system:") || user.ends_with(":workspace-user");
                person && !COMPONENTS.iter().any(|name| request.user_agent.starts_with(name))
            }
        }
    }
}

/// The requests after a mark.
pub(crate) fn since(log: &Path, mark: u64, client: Client<'_>) -> Result<Vec<Request>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(mark))?;
    let mut requests = Vec::new();
    // A watch is logged at its beginning and at its end.
    let mut known = BTreeSet::new();
    for line in BufReader::new(file).lines() {
        let Ok(request) = serde_json::from_str::<Request>(&line?) else {
            continue;
        };
        if client.made(&request) && known.insert(request.id.clone()) {
            requests.push(request);
        }
    }
    Ok(requests)
}

/// How many requests of each kind.
pub(crate) fn count(requests: &[Request]) -> BTreeMap<String, usize> {
    count_by(requests, Request::kind)
}

/// How many requests of each user.
pub(crate) fn count_by_account(requests: &[Request]) -> BTreeMap<String, usize> {
    count_by(requests, |request| request.account().to_owned())
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
    requests
        .iter()
        .filter_map(Request::object_read)
        .filter(|object| !known.insert(object.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: &str, name: &str, subresource: &str, user: &str) -> Request {
        Request {
            id: String::new(),
            verb: verb.into(),
            uri: "/api/v1/namespaces/n/pods?a=b".into(),
            user_agent: "nestcheck/0.1.0".into(),
            user: User { username: user.into() },
            object_ref: Some(ObjectRef {
                resource: "pods".into(),
                subresource: subresource.into(),
                namespace: "n".into(),
                name: name.into(),
            }),
            received: None,
            answered: None,
            body: None,
        }
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
        let scheduler = Request {
            user_agent: "kube-scheduler/v1.32.5".into(),
            ..request("get", "a", "", "admin")
        };
        assert!(!Client::Outside.made(&scheduler));
    }
}
