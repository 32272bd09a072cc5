//! Whether a node answers: a command in one of its pods that prints a line each second. A stream that
//! stays silent or breaks says at once that the node, or the API server before it, is away; no
//! request has to ask for that.

use std::{future::pending, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{sleep, timeout},
};

use super::{
    PROBE, Workload,
    attempt::trouble_of,
    disruption::{self, LOOK_DEADLINE, RETURN_DEADLINE},
    health::{Health, Outage, Sign},
};
use crate::{
    base::{redact, text::one_line},
    cluster::{
        exec_error::{ExecStatus, Lost, of_status},
        retry,
    },
    sandbox::{GRANT_DEADLINE, Sandbox},
    verdict::event::{DisruptionEnded, EventKind},
};

/// How long a node may be silent: one that is busy is sooner heard of.
const SILENCE: Duration = Duration::from_secs(5);

/// When a stream that was forbidden is tried again.
const FORBIDDEN_AGAIN: Duration = Duration::from_millis(500);

/// How long it may take to open another stream where one broke, and nothing else did.
const BLIP: Duration = Duration::from_secs(1);

/// When a stream that broke is opened again: streams that break at once must not load the server.
const REOPEN_AFTER: Duration = Duration::from_millis(200);

/// Watches the node of a pod that is ready for as long as the run needs it, and reports when it is
/// away and when it is back. It ends when nobody waits for the node any more, or no pod is left by
/// which it can be watched.
pub(crate) async fn watch(
    sandbox: &Sandbox,
    workload: Arc<Workload>,
    health: &Health,
    report: impl Fn(EventKind) + Send + Sync,
) {
    let mut next = Some(workload);
    while let Some(workload) = next {
        let (stream, broke, last) = (None, None, Sign::now());
        let mut watched = Watch { sandbox, workload: &workload, stream, broke, last };
        loop {
            match watched.until_lost(health).await {
                Ended::PodGone | Ended::Forbidden => break,
                Ended::Lost(reason) => {
                    if !watched.wait(reason, health, &report).await {
                        health.stop_listening(watched.node());
                        return;
                    }
                }
            }
        }
        next = health.replace(&workload);
        if next.is_none() {
            health.stop_listening(workload.node().unwrap_or_default());
        }
    }
}

/// Why a stream is not followed any more.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The pod, or its container.
    PodGone,
    /// The node or the API server, by this sign.
    Lost(String),
    /// The API server refuses: one that has just started does not know the permissions yet.
    Forbidden,
}

struct Watch<'a> {
    sandbox: &'a Sandbox,
    workload: &'a Workload,
    stream: Option<Stream>,
    /// When the last stream broke, and who broke it.
    broke: Option<(Sign, Lost)>,
    /// When the node was heard of last.
    last: Sign,
}

impl Watch<'_> {
    fn node(&self) -> &str {
        self.workload.node().unwrap_or_default()
    }

    fn record_sign(&mut self, health: &Health) {
        self.last = Sign::now();
        health.record_sign(self.node());
    }

    /// Follows the stream, and opens another one where it breaks.
    async fn until_lost(&mut self, health: &Health) -> Ended {
        let started = Sign::now();
        loop {
            let silence = || Ended::Lost(format!("no sign of life for {} s", SILENCE.as_secs()));
            if let Some(stream) = &mut self.stream {
                match timeout(SILENCE, stream.next()).await {
                    Ok(true) => self.record_sign(health),
                    Ok(false) => {
                        self.broke = Some((Sign::now(), stream.broken_by()));
                        self.stream = None;
                        sleep(REOPEN_AFTER).await;
                    }
                    Err(_elapsed) => return silence(),
                }
            } else {
                match timeout(SILENCE, Stream::open(self.workload)).await {
                    Ok(Ok(stream)) => {
                        self.stream = Some(stream);
                        if self.broke.is_some_and(|(since, _)| since.age() >= BLIP) {
                            return Ended::Lost("the stream broke".to_owned());
                        }
                        self.broke = None;
                        self.record_sign(health);
                    }
                    Ok(Err(Ended::Forbidden)) if started.age() < GRANT_DEADLINE => {
                        sleep(FORBIDDEN_AGAIN).await;
                    }
                    Ok(Err(ended)) => return ended,
                    Err(_elapsed) => return silence(),
                }
            }
        }
    }

    /// Waits for the return of what is away. False if it does not return in time.
    async fn wait(
        &mut self,
        reason: String,
        health: &Health,
        report: &(impl Fn(EventKind) + Sync),
    ) -> bool {
        let (lost, limit) = self.who().await;
        let node = match lost {
            Lost::Node => self.workload.node().map(str::to_owned),
            _ => None,
        };
        let outage = Outage::new(self.last, lost, node, reason);
        let is_new = health.begin(&outage);
        if is_new {
            report(EventKind::DisruptionStarted(outage.disruption.clone()));
        }
        let left = limit.saturating_sub(self.last.age());
        let is_back = tokio::select! {
            () = self.until_back() => true,
            () = sleep(left) => false,
        };
        if is_new {
            let disruption = health.end(&outage, is_back).disruption;
            report(EventKind::DisruptionEnded(DisruptionEnded { is_back, disruption }));
        }
        if is_back {
            self.record_sign(health);
        }
        is_back
    }

    /// Who is away, and how long nestcheck waits for that. A server that broke the connection may
    /// have restarted already.
    async fn who(&mut self) -> (Lost, Duration) {
        let limit = self.sandbox.timeouts().disruption;
        let is_server = match self.broke.take() {
            Some((_, Lost::ApiServer)) => true,
            _ => disruption::is_there(self.sandbox.admin()).await.is_err(),
        };
        if is_server { (Lost::ApiServer, limit.max(RETURN_DEADLINE)) } else { (Lost::Node, limit) }
    }

    /// Listens to the old stream, which a frozen node goes on with, and tries to open a new one.
    async fn until_back(&mut self) {
        let mut old = self.stream.take();
        let listen = async {
            let is_alive = match &mut old {
                Some(stream) => stream.next().await,
                None => false,
            };
            if !is_alive {
                pending::<()>().await;
            }
        };
        let again = retry::with_backoff(
            Duration::MAX,
            |_: &Ended| Some(Duration::ZERO),
            || async {
                match timeout(LOOK_DEADLINE, Stream::open(self.workload)).await {
                    Ok(Ok(stream)) => Ok(Some(stream)),
                    // Whoever says that the pod is gone is back.
                    Ok(Err(Ended::PodGone)) => Ok(None),
                    Ok(Err(ended)) => Err(ended),
                    Err(_elapsed) => Err(Ended::Lost(String::new())),
                }
            },
        );
        let new = tokio::select! {
            () = listen => None,
            new = again => Some(new.ok().flatten()),
        };
        self.stream = new.unwrap_or(old);
    }
}

/// The lines of `probe heartbeat`.
struct Stream {
    lines: Box<dyn AsyncRead + Send + Unpin>,
    /// Ends with the stream. Where a connection breaks, kube does not close the lines.
    status: Shared<BoxFuture<'static, Option<Status>>>,
    /// Ends the connection when it is dropped.
    _connection: AttachedProcess,
}

impl Stream {
    /// Opens a stream that has given its first sign.
    async fn open(workload: &Workload) -> Result<Self, Ended> {
        let mut parameters = AttachParams::default().stdin(false).stdout(true).stderr(false);
        parameters.container.clone_from(&workload.container);
        let command = [PROBE, "heartbeat"];
        let opened = workload.api.exec(&workload.name(), command, &parameters).await;
        let mut connection = opened.map_err(|error| {
            let trouble = trouble_of(error);
            match trouble.loss() {
                _ if trouble.is_forbidden() => Ended::Forbidden,
                Some(reason) if trouble.who() != Some(Lost::Pod) => Ended::Lost(reason),
                _ => Ended::PodGone,
            }
        })?;
        let Some(lines) = connection.stdout() else {
            return Err(Ended::Lost("a stream without output".to_owned()));
        };
        let status = connection.take_status();
        let status = async move { status?.await }.boxed().shared();
        let mut stream =
            Self { lines: Box::new(lines), status: status.clone(), _connection: connection };
        if stream.next().await {
            return Ok(stream);
        }
        let status = status.await;
        Err(status.as_ref().map_or_else(
            || Ended::Lost("the stream ended before its first sign".to_owned()),
            ended_with,
        ))
    }

    /// Who broke a stream that has ended: the API server passes on what comes from behind it.
    fn broken_by(&self) -> Lost {
        match self.status.clone().now_or_never() {
            Some(None) => Lost::ApiServer,
            _ => Lost::Node,
        }
    }

    /// Waits for the next sign. False at the end.
    async fn next(&mut self) -> bool {
        next_sign(&mut self.lines, self.status.clone()).await
    }
}

/// Waits for a line, or the end of the stream, which only the status reports where the connection
/// broke. False at the end.
async fn next_sign(
    lines: &mut (impl AsyncRead + Unpin),
    status: impl Future<Output = Option<Status>>,
) -> bool {
    let mut buffer = [0; 64];
    tokio::select! {
        biased;
        read = lines.read(&mut buffer) => matches!(read, Ok(1..)),
        _ = status => false,
    }
}

/// Why there was no sign. A container that can't run the program says nothing about its node.
fn ended_with(status: &Status) -> Ended {
    let message =
        || one_line(&redact::clean(status.message.clone().unwrap_or_default().as_bytes(), 1024));
    match of_status(status) {
        ExecStatus::Lost(loss) if loss.who() == Lost::Pod => Ended::PodGone,
        ExecStatus::Lost(_) => Ended::Lost(message()),
        // A stream that is lost behind the API server is a success.
        ExecStatus::Exited(0) => Ended::Lost("the stream ended before its first sign".to_owned()),
        ExecStatus::Exited(_) | ExecStatus::Refused => Ended::PodGone,
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use serde_json::json;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn failure(message: &str) -> Ended {
        let status = json!({"status": "Failure", "reason": "InternalError", "message": message});
        ended_with(&serde_json::from_value(status).expect("a status"))
    }

    #[tokio::test]
    async fn a_connection_that_breaks_ends_a_stream_whose_lines_stay_open() {
        let (mut lines, mut writer) = tokio::io::duplex(8);
        writer.write_all(b"\n").await.expect("room");
        assert!(next_sign(&mut lines, ready(None)).await, "a line that has arrived counts");
        assert!(!next_sign(&mut lines, ready(None)).await);
        drop(writer);
        assert!(!next_sign(&mut lines, pending()).await, "closed by the other side");
    }

    #[test]
    fn only_a_node_that_does_not_answer_is_lost() {
        let refused = "error sending request: Post \"x\": dial tcp 10.0.0.1:10250: connect: \
             connection refused";
        assert_eq!(failure(refused), Ended::Lost(refused.to_owned()));
        assert_eq!(failure("container not found (\"tools\")"), Ended::PodGone);
        assert_eq!(failure("OCI runtime exec failed: no such file"), Ended::PodGone);
    }
}
