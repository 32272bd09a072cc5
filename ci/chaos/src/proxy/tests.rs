//! The proxy between a client and a server that records requests.

use std::{future::ready, path::Path};

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use probe::{ExecReport, ProgramEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::fault::{Fault, FaultKind};

const TIMEOUT: Duration = Duration::from_secs(10);

type Received = Arc<Mutex<Vec<String>>>;

/// A server that answers `hello`, and turns connections that ask for it into an echo.
async fn server() -> (SocketAddr, Received) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let received = Received::default();
    let hearing = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let received = Arc::clone(&hearing);
            let service = service_fn(move |request| ready(answer(request, &received)));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    (address, received)
}

fn answer(
    mut request: Request<Incoming>,
    received: &Received,
) -> std::result::Result<Response<Full<Bytes>>, BoxError> {
    let credentials = request.headers().get(header::AUTHORIZATION);
    let credentials = credentials.and_then(|value| value.to_str().ok()).unwrap_or("none");
    let line = format!("{} {} {credentials}", request.method(), request.uri());
    received.lock().push(line);
    if !request.headers().contains_key(header::UPGRADE) {
        return Ok(Response::new(Full::from("hello")));
    }
    let is_command = request.uri().path().ends_with("/pods/p/exec");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if is_command {
            let mut stream = TokioIo::new(upgrade.await.expect("the client upgrades"));
            return send_command(&mut stream).await;
        }
        let mut stream = TokioIo::new(upgrade.await.expect("the client upgrades"));
        let mut buffer = [0; 4];
        while stream.read_exact(&mut buffer).await.is_ok() {
            if stream.write_all(&buffer).await.is_err() {
                return;
            }
        }
    });
    let answer = Response::builder().status(http::StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "echo");
    Ok(answer.body(Full::default())?)
}

/// The frames of a command that began and exits with 42: its mark, its report and its status. Binary, on
/// channels 2 and 3.
fn command_frames() -> Vec<u8> {
    let nonce = "0123456789abcdef";
    let end = ExecReport { end: ProgramEnd::Exited(42), stdout: 0, stderr: 0 };
    let frame = |channel: u8, data: &str| {
        let length = u8::try_from(data.len() + 1).expect("a short frame");
        [&[0x82, length, channel], data.as_bytes()].concat()
    };
    let status = r#"{"status":"Failure"}"#;
    let stderr = [ExecReport::begun(nonce), end.ended(nonce)];
    [frame(2, &stderr[0]), frame(2, &stderr[1]), frame(3, status)].concat()
}

async fn send_command(stream: &mut TokioIo<hyper::upgrade::Upgraded>) {
    // In pieces that end within frames.
    for piece in command_frames().chunks(10) {
        stream.write_all(piece).await.expect("it is open");
        stream.flush().await.expect("it is open");
    }
    stream.shutdown().await.expect("it is open");
}

struct Setup {
    proxy: Proxy,
    received: Received,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A proxy before a server, whose administrator has a token.
async fn setup(fault: impl Into<Option<Fault>>) -> Setup {
    let (server, received) = server().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("kubeconfig");
    write_kubeconfig(&path, server);
    let upstream = Upstream::new(&path).await.expect("the kubeconfig is good");
    let fault: Option<Fault> = fault.into();
    let proxy = Proxy::start(upstream, fault).await.expect("a free port");
    Setup { proxy, received, client: Client::builder(TokioExecutor::new()).build_http() }
}

fn write_kubeconfig(path: &Path, server: SocketAddr) {
    let text = format!(
        r#"{{"clusters": [{{"name": "c", "cluster": {{"server": "http://{server}"}}}}],
            "users": [{{"name": "c", "user": {{"token": "admin"}}}}],
            "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "c"}}}}],
            "current-context": "c"}}"#
    );
    std::fs::write(path, text).expect("the folder can be written to");
}

impl Setup {
    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.address())
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().clone()
    }

    /// Asks for a path; the text of the answer, or that there is none.
    async fn get(&self, path: &str) -> std::result::Result<(u16, String), BoxError> {
        let uri = self.uri(path).parse()?;
        let answer = tokio::time::timeout(TIMEOUT, self.client.get(uri)).await??;
        let status = answer.status().as_u16();
        let body = tokio::time::timeout(TIMEOUT, answer.into_body().collect()).await??;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    async fn upgrade(&self) -> TokioIo<hyper::upgrade::Upgraded> {
        self.upgrade_at("/exec").await
    }

    async fn upgrade_at(&self, path: &str) -> TokioIo<hyper::upgrade::Upgraded> {
        let request = Request::get(self.uri(path))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "echo")
            .body(Full::default())
            .expect("a good request");
        let mut answer = self.client.request(request).await.expect("an answer");
        assert_eq!(answer.status(), 101);
        TokioIo::new(hyper::upgrade::on(&mut answer).await.expect("an upgrade"))
    }
}

fn at(kind: FaultKind, at: u64) -> Fault {
    Fault { kind, at }
}

#[tokio::test]
async fn a_request_without_credentials_gets_the_administrator_s() {
    let setup = setup(None).await;
    assert_eq!(setup.get("/a?b=c").await.expect("an answer"), (200, "hello".to_owned()));
    let request = Request::post(setup.uri("/b"))
        .header(header::AUTHORIZATION, "Bearer user")
        .body(Full::from(r#"{"nestcheck/run":"abc"}"#))
        .expect("a good request");
    setup.client.request(request).await.expect("an answer");
    assert_eq!(setup.received(), ["GET /a?b=c Bearer admin", "POST /b Bearer user"]);
    let seen = setup.proxy.seen();
    assert_eq!(seen.requests, 2);
    assert!(seen.runs.contains("abc"));
}

#[tokio::test]
async fn a_cut_request_never_reaches_the_server_and_a_dropped_one_does() {
    for (kind, reaches) in
        [(FaultKind::Cut, false), (FaultKind::Drop, true), (FaultKind::Sever, true)]
    {
        let setup = setup(at(kind, 2)).await;
        setup.get("/1").await.expect("an answer");
        setup.get("/2").await.expect_err("it is struck");
        setup.get("/3").await.expect("an answer");
        let received = setup.received().iter().any(|line| line.starts_with("GET /2"));
        assert_eq!(received, reaches, "{kind}");
        assert_eq!(setup.proxy.seen().struck.as_deref(), Some("GET /2"));
    }
}

#[tokio::test]
async fn an_answer_in_the_server_s_place_is_the_api_s() {
    let setup = setup(at(FaultKind::Busy, 1)).await;
    let (status, body) = setup.get("/1").await.expect("an answer");
    assert_eq!(status, 429);
    assert!(body.contains("TooManyRequests"));
    assert_eq!(setup.received(), [""; 0]);
}

#[tokio::test]
async fn a_kill_is_asked_for_before_or_after_the_server_acted() {
    for (kind, reaches) in [(FaultKind::KillBefore, false), (FaultKind::KillAfter, true)] {
        let setup = setup(at(kind, 1)).await;
        tokio::select! {
            answer = setup.get("/1") => panic!("nothing is to be heard: {answer:?}"),
            () = setup.proxy.kill() => {}
        }
        assert_eq!(!setup.received().is_empty(), reaches, "{kind}");
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let setup = setup(None).await;
    let mut stream = setup.upgrade().await;
    for text in [b"ping", b"pong"] {
        stream.write_all(text).await.expect("it is open");
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.expect("an echo");
        assert_eq!(&echo, text);
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_severed_in_the_middle_of_an_answer() {
    let setup = setup(at(FaultKind::Sever, 1)).await;
    let mut stream = setup.upgrade().await;
    stream.write_all(b"ping").await.expect("it is open");
    let mut echo = Vec::new();
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut echo)).await;
    let _ = read.expect("it ends");
    assert_eq!(echo, b"pi");
}

#[tokio::test]
async fn a_command_that_began_is_cut_and_claimed_to_have_succeeded() {
    for (kind, has_report) in [(FaultKind::FalseSuccess, false), (FaultKind::FalseEnd, true)] {
        let setup = setup(at(kind, 1)).await;
        // Not a command, so it is not counted.
        setup.get("/api").await.expect("an answer");
        let mut stream = setup.upgrade_at("/pods/p/exec?command=true").await;
        let mut received = Vec::new();
        let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut received)).await;
        read.expect("it ends").expect("it is closed");
        let text = String::from_utf8_lossy(&received);
        assert!(text.contains("nestcheck-begun"), "{kind}: {text}");
        assert_eq!(text.contains("nestcheck-ended"), has_report, "{kind}: {text}");
        assert_eq!(ExecReport::end_of_report(&received), None, "{kind}: {text}");
        assert!(text.contains(r#""status":"Success""#) && !text.contains("Failure"), "{text}");
        assert!(received.ends_with(&[0x88, 2, 0x03, 0xe8]), "it is closed: {received:?}");
        assert_eq!(setup.proxy.seen().commands, 1);
        assert!(setup.proxy.seen().struck.is_some_and(|struck| struck.contains("/exec")));
    }
    let setup = setup(None).await;
    let mut stream = setup.upgrade_at("/pods/p/exec").await;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.expect("it is closed");
    assert_eq!(received, command_frames());
}

#[tokio::test]
async fn an_outage_cuts_what_is_open_and_what_comes() {
    let setup = setup(at(FaultKind::Outage, 2)).await;
    let mut stream = setup.upgrade().await;
    setup.get("/2").await.expect_err("the server is gone");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut rest)).await;
    let _ = read.expect("it ends");
    setup.get("/3").await.expect_err("the server is still gone");
    let back = async { while setup.get("/4").await.is_err() {} };
    tokio::time::timeout(TIMEOUT, back).await.expect("the server comes back");
}

#[tokio::test]
async fn what_was_passed_on_is_waited_for() {
    let setup = setup(None).await;
    setup.get("/1").await.expect("an answer");
    tokio::time::timeout(TIMEOUT, setup.proxy.settle(TIMEOUT)).await.expect("nothing is open");
}
