//! An API server that answers what was recorded, and keeps a log of what it was asked.

use std::{
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;
use suites::fixtures::clusters::{Answer, RecordedCluster, request};
use test_support::HttpRequest;

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
        let any = serde_json::json!(["*"]);
        let kind = match resource {
            "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
            "selfsubjectrulesreviews" => "SelfSubjectRulesReview",
            _ => return None,
        };
        let status = match (kind, self) {
            ("SelfSubjectAccessReview", _) => {
                serde_json::json!({"allowed": self == Self::All})
            }
            (_, Self::All) => serde_json::json!({
                "incomplete": false,
                "resourceRules": [{"verbs": any, "apiGroups": any, "resources": any}],
                "nonResourceRules": [{"verbs": any, "nonResourceURLs": any}],
            }),
            (_, Self::None) => serde_json::json!({
                "incomplete": false, "resourceRules": [], "nonResourceRules": [],
            }),
        };
        let answer = serde_json::json!({
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
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
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
            let (status, body) = self.answer(&request.method, &request.path);
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

    fn answer(&self, method: &str, path: &str) -> (u64, String) {
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
        if let Some(body) = permissions.and_then(|it| it.answer(method, path)) {
            return (201, body);
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

fn writes(request: &HttpRequest) -> bool {
    let is_review = request.path.rsplit('/').next().is_some_and(|it| it.starts_with("selfsubject"));
    let is_dry_run = request.query.split('&').any(|field| field == "dryRun=All");
    request.method != "GET" && !is_review && !is_dry_run
}

fn failure(code: u64, message: &str) -> (u64, String) {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": message, "reason": if code == 403 { "Forbidden" } else { "NotFound" },
    });
    (code, status.to_string())
}
