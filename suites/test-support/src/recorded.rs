//! An API server that answers what was recorded, and keeps a log of what it was asked.

use std::{
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use suites::fixtures::clusters::{Answer, RecordedCluster, request};

use crate::HttpRequest;

/// How long no further request comes before those that wait are answered together: what is asked
/// at the same time arrives within it.
const QUIET: Duration = Duration::from_millis(100);

/// How the server answers.
#[derive(Clone, Debug, Default)]
pub struct ServerBehaviour {
    /// The request that it refuses, as [`request`] names it.
    pub refuses: Option<String>,
    /// Whether it counts round trips; takes time.
    pub counts_round_trips: bool,
    /// What it answers to who asks which permissions it has; none for a refusal, as it was not asked
    /// when the cluster was recorded.
    pub permissions: Option<Permissions>,
    /// The cluster's nodes in place of the recorded ones.
    pub nodes: Vec<Value>,
}

/// What the caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// Everything.
    All,
    /// Nothing.
    None,
}

impl Permissions {
    /// The answer to a review of the caller's permissions; none to other requests.
    fn answer(self, method: &str, path: &str) -> Option<String> {
        let resource = path.strip_prefix("/apis/authorization.k8s.io/v1/")?;
        let any = json!(["*"]);
        let kind = match resource {
            "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
            "selfsubjectrulesreviews" => "SelfSubjectRulesReview",
            _ => return None,
        };
        let status = match (kind, self) {
            ("SelfSubjectAccessReview", _) => {
                json!({"allowed": self == Self::All})
            }
            (_, Self::All) => json!({
                "incomplete": false,
                "resourceRules": [{"verbs": any, "apiGroups": any, "resources": any}],
                "nonResourceRules": [{"verbs": any, "nonResourceURLs": any}],
            }),
            (_, Self::None) => json!({
                "incomplete": false, "resourceRules": [], "nonResourceRules": [],
            }),
        };
        let answer = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": {},
            "spec": {"namespace": ""}, "status": status,
        });
        (method == "POST").then(|| answer.to_string())
    }
}

/// What the server was asked: the request, and the number of its round trip.
pub type Log = Arc<Mutex<Rounds>>;

/// The requests so far.
#[derive(Debug)]
pub struct Rounds {
    /// Every request, with the round trip in which it came.
    pub requests: Vec<(String, usize)>,
    /// Those that a real server would have stored something for: neither reads, nor dry runs, nor
    /// reviews, which no API server stores.
    pub writes: Vec<String>,
    latest: Instant,
    round: usize,
    is_open: bool,
}

impl Rounds {
    fn enter(&mut self, request: String) -> usize {
        if !self.is_open {
            self.round += 1;
            self.is_open = true;
        }
        self.latest = Instant::now();
        self.requests.push((request, self.round));
        self.round
    }

    /// Whether everything that belongs to a round trip has come.
    fn is_over(&mut self, round: usize) -> bool {
        if self.round == round && self.is_open && self.latest.elapsed() > QUIET {
            self.is_open = false;
        }
        self.round > round || !self.is_open
    }
}

/// Starts a server on this machine; returns its address and its log. It ends with the test.
pub fn serve(cluster: RecordedCluster, behaviour: ServerBehaviour) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    let rounds = Rounds {
        requests: Vec::new(),
        writes: Vec::new(),
        latest: Instant::now(),
        round: 0,
        is_open: false,
    };
    let log = Arc::new(Mutex::new(rounds));
    let server = Arc::new(Server { cluster, behaviour, log: Arc::clone(&log) });
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let server = Arc::clone(&server);
            // A connection that breaks was closed by the client, who is done.
            thread::spawn(move || server.answer_all(&connection));
        }
    });
    (format!("http://{address}"), log)
}

struct Server {
    cluster: RecordedCluster,
    behaviour: ServerBehaviour,
    log: Log,
}

impl Server {
    fn answer_all(&self, connection: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(connection);
        let mut writer = connection;
        while let Some(request) = HttpRequest::read(&mut reader)? {
            if writes(&request) {
                self.log.lock().writes.push(format!("{} {}", request.method, request.path));
            }
            let (status, body) = self.answer(&request);
            let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
            write!(
                writer,
                "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?;
            writer.flush()?;
        }
        Ok(())
    }

    fn answer(&self, asked: &HttpRequest) -> (u64, String) {
        let (method, path) = (asked.method.as_str(), asked.path.as_str());
        let request = request(method, path);
        let lock = || self.log.lock();
        let round = lock().enter(request.clone());
        while self.behaviour.counts_round_trips && !lock().is_over(round) {
            thread::sleep(Duration::from_millis(5));
        }
        if self.behaviour.refuses.as_ref() == Some(&request) {
            return failure(403, &format!("{request} is forbidden"));
        }
        let permissions = self.behaviour.permissions;
        if let Some(body) = permissions.and_then(|it| it.answer(&asked.method, &asked.path)) {
            return (201, body);
        }
        if request == "GET /api/v1/nodes" && !self.behaviour.nodes.is_empty() {
            return (200, chunk(&self.behaviour.nodes, &asked.query));
        }
        match self.cluster.answer(method, path) {
            Answer::Recorded(body) => {
                let status: Option<Value> = serde_json::from_str(body).ok();
                let code = status.filter(|status| status["kind"] == "Status");
                let code = code.and_then(|status| status["code"].as_u64());
                (code.unwrap_or(200), body.to_owned())
            }
            Answer::NoSuchApi => failure(404, "the server could not find the requested resource"),
            Answer::NotAsked => {
                failure(403, &format!("{request} was not asked when the cluster was recorded"))
            }
        }
    }
}

/// Whether a real server would have stored something for it.
fn writes(request: &HttpRequest) -> bool {
    let is_review = request.path.rsplit('/').next().is_some_and(|it| it.starts_with("selfsubject"));
    let is_dry_run = request.query.split('&').any(|field| field == "dryRun=All");
    request.method != "GET" && !is_review && !is_dry_run
}

/// One part of a list of nodes, as an API server answers to `limit` and `continue`.
fn chunk(nodes: &[Value], query: &str) -> String {
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let start = number("continue").unwrap_or_default().min(nodes.len());
    let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(nodes.len());
    let end = (start + limit).min(nodes.len());
    let next = if end < nodes.len() { end.to_string() } else { String::new() };
    json!({
        "kind": "NodeList", "apiVersion": "v1",
        "metadata": {"continue": next, "resourceVersion": "1"}, "items": nodes[start..end],
    })
    .to_string()
}

/// Makes nodes of the first recorded one of a cluster, with the images, labels and annotations that
/// an object has in a real cluster.
pub fn many_nodes(cluster: &RecordedCluster, count: usize) -> Vec<Value> {
    let Answer::Recorded(list) = cluster.answer("GET", "/api/v1/nodes") else {
        panic!("`{}` has no recorded nodes", cluster.name)
    };
    let list: Value = serde_json::from_str(list).expect("the recorded nodes are JSON");
    // A kubelet reports 50 images by default (`nodeStatusMaxImages`).
    let image = |number: usize| {
        let name = format!("registry.example/team/product-{number}@sha256:{number:064x}");
        json!({"names": [name], "sizeBytes": 100_000_000 + number})
    };
    let images: Vec<_> = (0..50).map(image).collect();
    let labels: serde_json::Map<_, _> = (0..20)
        .map(|number| (format!("example.com/label-{number}"), format!("value-{number}").into()))
        .chain([("kubernetes.io/os".to_owned(), "linux".into())])
        .collect();
    let node = |number: usize| {
        let mut node = list["items"][0].clone();
        node["metadata"] = json!({"name": format!("node-{number}"), "labels": labels});
        node["status"]["images"] = json!(images);
        node
    };
    (0..count).map(node).collect()
}

fn failure(code: u64, message: &str) -> (u64, String) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": message, "reason": if code == 403 { "Forbidden" } else { "NotFound" },
    });
    (code, status.to_string())
}
