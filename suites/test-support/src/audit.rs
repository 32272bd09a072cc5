//! What the API server was asked, from its own audit log.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A line of the audit log: a stage of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The request's id.
    #[serde(rename = "auditID")]
    pub id: String,
    /// The stage: a watch has one at its beginning and one at its end.
    #[serde(default)]
    pub stage: String,
    /// The verb: get, list, watch, create and so on.
    pub verb: String,
    /// The path with the query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// The client's user agent.
    #[serde(default, rename = "userAgent")]
    pub agent: String,
    user: User,
    /// Whom it acts as; nobody in most.
    #[serde(default, rename = "impersonatedUser")]
    impersonated: User,
    /// The object that it is about; an empty one where it is about none.
    #[serde(default, rename = "objectRef")]
    pub object: ObjectRef,
    #[serde(default)]
    response_status: Status,
    /// When the server received it.
    #[serde(default, rename = "requestReceivedTimestamp")]
    pub received: Option<Timestamp>,
    /// When the stage was over.
    #[serde(default, rename = "stageTimestamp")]
    pub answered: Option<Timestamp>,
    /// What was sent, where the log has it.
    #[serde(default, rename = "requestObject")]
    pub body: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    code: u64,
}

/// The object of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    /// Its resource, such as `pods`.
    pub resource: String,
    /// Its subresource, such as `exec`.
    pub subresource: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Request {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.uri.split_once('?').map_or(&self.uri, |(path, _)| path)
    }

    /// The query.
    pub fn query(&self) -> &str {
        self.uri.split_once('?').map_or("", |(_, query)| query)
    }

    /// Who asked.
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// Whom it acts as; empty if it acts as its user.
    pub fn acts_as(&self) -> &str {
        &self.impersonated.username
    }

    /// The id of the token that it carried (KEP-4193); none without a token.
    pub fn credential(&self) -> Option<&str> {
        let ids = self.user.extra.get("authentication.kubernetes.io/credential-id")?;
        ids.first().map(String::as_str)
    }

    /// The answer's HTTP status.
    pub fn code(&self) -> u64 {
        self.response_status.code
    }

    /// How long the server took; 0 if the log does not say.
    pub fn seconds(&self) -> f64 {
        let times = self.received.zip(self.answered);
        times.map_or(0.0, |(received, answered)| answered.duration_since(received).as_secs_f64())
    }

    /// Verb and resource, such as `get pods/exec`; the path if there is no resource.
    pub fn kind(&self) -> String {
        let ObjectRef { resource, subresource, .. } = &self.object;
        let resource = match (resource.as_str(), subresource.as_str()) {
            ("", _) => self.path().to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, subresource) => format!("{resource}/{subresource}"),
        };
        let dry = if self.is_dry_run() { " (dry run)" } else { "" };
        format!("{} {resource}{dry}", self.verb)
    }

    /// Whether it asked for a command in a pod.
    pub fn is_exec(&self) -> bool {
        self.object.subresource == "exec"
    }

    /// Whether it is a dry run.
    pub fn is_dry_run(&self) -> bool {
        self.query().split('&').any(|field| field == "dryRun=All")
    }

    /// Whether it asked who the caller is or what it may do: a create that stores nothing.
    pub fn is_review(&self) -> bool {
        self.path().rsplit('/').next().is_some_and(|resource| resource.starts_with("selfsubject"))
    }

    /// Whether it may have changed something.
    pub fn changes(&self) -> bool {
        let reads = matches!(self.verb.as_str(), "get" | "list" | "watch");
        !reads && !self.is_dry_run() && !self.is_review()
    }

    /// Whether the server has answered it. Each request has this stage exactly once.
    pub(crate) fn is_answered(&self) -> bool {
        self.stage == "ResponseComplete"
    }
}

/// An audit log that others write to.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The position where the log ends now.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn end(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }

    /// All stages of requests that were logged after this position.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or is not an audit log.
    pub fn since(&self, position: u64) -> io::Result<Vec<Request>> {
        let mut text = String::new();
        let mut file = File::open(&self.path)?;
        // A position within a line belongs to a request from before.
        file.seek(SeekFrom::Start(position.saturating_sub(1)))?;
        file.read_to_string(&mut text)?;
        if position > 0 {
            text = text.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned());
        }
        // The server may be in the middle of a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let requests = whole.lines().map(serde_json::from_str);
        Ok(requests.collect::<Result<_, serde_json::Error>>()?)
    }
}

/// How many requests there are of each verb; commands in pods apart.
pub fn by_verb(requests: &[Request]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        let verb = if request.is_exec() { "exec" } else { request.verb.as_str() };
        *counts.entry(verb).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_log_is_read_up_to_its_last_whole_line() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("audit.log");
        let line = json!({
            "auditID": "1", "stage": "ResponseComplete", "verb": "create",
            "requestURI": "/api/v1/namespaces/n/pods?dryRun=All&x=y",
            "userAgent": "nestcheck/0.1", "user": {"username": "admin"},
            "objectRef": {"resource": "pods", "namespace": "n"},
            "responseStatus": {"code": 201},
            "requestReceivedTimestamp": "2026-01-02T03:04:05Z",
            "stageTimestamp": "2026-01-02T03:04:06.5Z",
        });
        fs::write(&path, format!("not read\n{line}\n{{\"auditID\":")).expect("a file");

        let log = AuditLog::new(path);
        let requests = log.since(9).expect("the requests");

        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!(request.path(), "/api/v1/namespaces/n/pods");
        assert_eq!(request.query(), "dryRun=All&x=y");
        assert_eq!(request.kind(), "create pods (dry run)");
        assert_eq!((request.user(), request.code()), ("admin", 201));
        assert!(request.is_answered() && request.is_dry_run() && !request.changes());
        assert!((request.seconds() - 1.5).abs() < 1e-9);
        assert!(log.since(0).is_err(), "a line that is not JSON");
    }
}
