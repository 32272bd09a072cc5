//! How many round trips deep a program's requests are.
//!
//! An audit log's times don't show it: a busy server takes requests that were sent at once one
//! after the other. So the program talks to a server of the bench that passes requests on, but
//! holds all answers back until no more requests come. What then comes was waiting for an answer:
//! each such wave is a round trip, however slow the machine.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, StatusCode};
use kube::{Client, Error};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{Result, child};

/// How long no request may come for a wave to be over: far more than a program computes between an
/// answer and the next request.
const QUIET: Duration = Duration::from_millis(500);

/// The size of each wave of requests that a program makes; `command` makes it of a kubeconfig.
pub(crate) async fn waves(
    client: &Client,
    log: &Path,
    command: impl FnOnce(&Path) -> Command,
) -> Result<Vec<usize>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let kubeconfig = log.with_extension("kubeconfig.json");
    let server = format!("http://{}", listener.local_addr()?);
    std::fs::write(&kubeconfig, config(&server).to_string())?;
    let (arrivals, arrived) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { client: client.clone(), unanswered: AtomicUsize::new(0), arrivals });
    let sizes = Arc::new(Mutex::new(Vec::new()));
    // Its tasks end with it.
    let mut tasks = JoinSet::new();
    tasks.spawn(release(Arc::clone(&gate), arrived, Arc::clone(&sizes)));
    tasks.spawn(accept(gate, listener));
    child::succeed(log, &command(&kubeconfig)).await?;
    tasks.shutdown().await;
    let sizes = sizes.lock().clone();
    Ok(sizes)
}

fn config(server: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    })
}

/// What all connections have in common.
struct Gate {
    client: Client,
    /// How many requests the real server has not answered.
    unanswered: AtomicUsize,
    /// Tells of each request; its answer may go when the message does.
    arrivals: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// Lets the answers of a wave go once it is complete.
async fn release(
    gate: Arc<Gate>,
    mut arrived: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    sizes: Arc<Mutex<Vec<usize>>>,
) {
    while let Some(first) = arrived.recv().await {
        let mut wave = vec![first];
        loop {
            match tokio::time::timeout(QUIET, arrived.recv()).await {
                Ok(Some(next)) => wave.push(next),
                Ok(None) => break,
                Err(_elapsed) if gate.unanswered.load(Ordering::SeqCst) == 0 => break,
                Err(_elapsed) => {}
            }
        }
        sizes.lock().push(wave.len());
        for answer in wave {
            // Whoever hung up has no use for an answer.
            let _ = answer.send(());
        }
    }
}

async fn accept(gate: Arc<Gate>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let gate = Arc::clone(&gate);
        connections.spawn(async move {
            // The program reports a broken connection itself.
            let _ = gate.serve(stream).await;
        });
    }
}

impl Gate {
    async fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await? {
            let (sender, may_go) = oneshot::channel();
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            self.arrivals.send(sender)?;
            let (status, body) = self.ask(request).await;
            self.unanswered.fetch_sub(1, Ordering::SeqCst);
            may_go.await?;
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Ok(())
    }

    async fn ask(&self, request: Request<Vec<u8>>) -> (StatusCode, String) {
        match self.client.request_text(request).await {
            Ok(body) => (StatusCode::OK, body),
            Err(Error::Api(status)) => (
                StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY),
                serde_json::to_string(&status).unwrap_or_default(),
            ),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
        }
    }
}

/// The next request of a connection; None at its end. Good for what nestcheck sends: HTTP/1.1, and
/// bodies with a content length.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Result<Option<Request<Vec<u8>>>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().ok_or("no method")?, words.next().ok_or("no path")?);
    let mut request = Request::builder().method(method).uri(path);
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "content-length" => length = value.parse()?,
            "accept" | "content-type" => request = request.header(name, value),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(request.body(body)?))
}
