//! What the API server was asked, from its own audit log.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

/// A request that the API server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The verb: get, list, watch, create and so on.
    pub verb: String,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The client's user agent.
    pub agent: String,
    /// Who asked.
    pub user: String,
    /// The answer's HTTP status.
    pub code: u64,
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).expect("the audit log has one JSON a line");
        // A stream has two more stages; each request has this one exactly once.
        if event["stage"] != "ResponseComplete" {
            return None;
        }
        let text = |pointer: &str| {
            event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let uri = text("/requestURI");
        let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
        Some(Self {
            verb: text("/verb"),
            path: path.to_owned(),
            query: query.to_owned(),
            agent: text("/userAgent"),
            user: text("/user/username"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        })
    }

    /// Whether it asked for a command in a pod.
    pub fn is_exec(&self) -> bool {
        self.path.ends_with("/exec")
    }

    /// Whether the server was to do as if.
    pub fn is_dry_run(&self) -> bool {
        self.query.split('&').any(|field| field == "dryRun=All")
    }

    /// Whether it asked who the caller is or what it may do: a create that stores nothing.
    pub fn is_review(&self) -> bool {
        self.path.rsplit('/').next().is_some_and(|resource| resource.starts_with("selfsubject"))
    }

    /// Whether it may have changed something.
    pub fn changes(&self) -> bool {
        let reads = matches!(self.verb.as_str(), "get" | "list" | "watch");
        !reads && !self.is_dry_run() && !self.is_review()
    }
}

/// An audit log that others write to.
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    /// The log in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the log ends now.
    pub fn end(&self) -> u64 {
        let metadata = std::fs::metadata(&self.path);
        metadata.unwrap_or_else(|error| panic!("{}: {error}", self.path.display())).len()
    }

    /// All requests that were logged after this position.
    pub fn since(&self, position: u64) -> Vec<Request> {
        let mut text = String::new();
        let mut file = File::open(&self.path).expect("the audit log can be opened");
        file.seek(SeekFrom::Start(position)).expect("the audit log is a file");
        file.read_to_string(&mut text).expect("the audit log is text");
        // The server may be in the middle of a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(Request::parse).collect()
    }
}

/// The requests of the command itself: they carry its user agent.
pub fn of_nestcheck(requests: Vec<Request>) -> Vec<Request> {
    requests.into_iter().filter(|request| request.agent.starts_with("nestcheck/")).collect()
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
