//! One stream of signs of life, by `probe heartbeat` in a pod.

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    base::{redact, text::one_line},
    cluster::exec_error::{ExecStatus, Lost, of_status},
    workload::{Backend, FILES_DIRECTORY, PROBE, Workload, attempt::trouble_of},
};

/// Why a stream is not followed any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The pod, or its container.
    PodGone,
    /// The node or the API server.
    Lost(Reason),
    /// The API server refuses: one that has just started does not know the permissions yet.
    Forbidden,
}

/// By which sign something is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It does not answer.
    Silence(String),
    /// The node has no space left.
    DiskFull(String),
}

impl Reason {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Silence(reason) | Self::DiskFull(reason) => reason,
        }
    }
}

pub(super) fn silent(reason: impl Into<String>) -> Ended {
    Ended::Lost(Reason::Silence(reason.into()))
}

/// The lines of `probe heartbeat`.
pub(super) struct Stream {
    lines: Box<dyn AsyncRead + Send + Unpin>,
    /// Ends with the stream. Where a connection breaks, kube does not close the lines.
    status: Shared<BoxFuture<'static, Option<Status>>>,
    /// Ends the connection when it is dropped.
    _connection: AttachedProcess,
}

impl Stream {
    /// Opens a stream that has given its first sign.
    pub(super) async fn open(workload: &Workload) -> Result<(Self, Beat), Ended> {
        let Backend::Pod(api) = &workload.backend else {
            return Err(Ended::PodGone);
        };
        let mut parameters = AttachParams::default().stdin(false).stdout(true).stderr(false);
        parameters.container.clone_from(&workload.container);
        // The container's own disk, and the kubelet's with the volumes.
        let command = [PROBE, "heartbeat", "/", FILES_DIRECTORY];
        let opened = api.exec(&workload.name(), command, &parameters).await;
        let mut connection = opened.map_err(|error| {
            let trouble = trouble_of(error);
            match trouble.loss() {
                _ if trouble.is_forbidden() => Ended::Forbidden,
                Some(reason) if trouble.who() != Some(Lost::Pod) => silent(reason),
                _ => Ended::PodGone,
            }
        })?;
        let Some(lines) = connection.stdout() else {
            return Err(silent("a stream without output"));
        };
        let status = connection.take_status();
        let status = async move { status?.await }.boxed().shared();
        let mut stream =
            Self { lines: Box::new(lines), status: status.clone(), _connection: connection };
        let first = stream.next().await;
        if first != Beat::End {
            return Ok((stream, first));
        }
        let status = status.await;
        Err(status
            .as_ref()
            .map_or_else(|| silent("the stream ended before its first sign"), ended_with))
    }

    /// Who broke a stream that has ended: the API server passes on what comes from behind it.
    pub(super) fn broken_by(&self) -> Lost {
        match self.status.clone().now_or_never() {
            Some(None) => Lost::ApiServer,
            _ => Lost::Node,
        }
    }

    /// Waits for the next sign.
    pub(super) async fn next(&mut self) -> Beat {
        next_sign(&mut self.lines, self.status.clone()).await
    }
}

/// What a stream says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// The node answers.
    Alive,
    /// The node answers, and has no space left.
    DiskFull(String),
    /// Nothing any more.
    End,
}

/// Waits for a line, or the end of the stream, which only the status reports where the connection
/// broke.
async fn next_sign(
    lines: &mut (impl AsyncRead + Unpin),
    status: impl Future<Output = Option<Status>>,
) -> Beat {
    let mut buffer = [0; 256];
    tokio::select! {
        biased;
        read = lines.read(&mut buffer) => match read {
            Ok(length @ 1..) => evaluate_lines(&buffer[..length]),
            _ => Beat::End,
        },
        _ = status => Beat::End,
    }
}

/// What some lines say: a disk that was full in one of them is not forgotten for the next.
fn evaluate_lines(lines: &[u8]) -> Beat {
    let text = redact::clean(lines, 256);
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(disk) => Beat::DiskFull(disk.to_owned()),
        None => Beat::Alive,
    }
}

/// Why there was no sign. A container that can't run the program says nothing about its node.
fn ended_with(status: &Status) -> Ended {
    let message =
        || one_line(&redact::clean(status.message.clone().unwrap_or_default().as_bytes(), 1024));
    match of_status(status) {
        ExecStatus::Lost(loss) if loss.who() == Lost::Pod => Ended::PodGone,
        ExecStatus::Lost(_) => silent(message()),
        // A stream that is lost behind the API server is a success.
        ExecStatus::Exited(0) => silent("the stream ended before its first sign"),
        ExecStatus::Exited(_) | ExecStatus::Refused => Ended::PodGone,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

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
        let arrived = next_sign(&mut lines, ready(None)).await;
        assert_eq!(arrived, Beat::Alive, "a line that has arrived counts");
        assert_eq!(next_sign(&mut lines, ready(None)).await, Beat::End);
        drop(writer);
        let closed = next_sign(&mut lines, pending()).await;
        assert_eq!(closed, Beat::End, "closed by the other side");
    }

    #[test]
    fn a_line_that_is_not_empty_says_which_disk_is_full() {
        let full = "the disk of `/` is full: 0 KiB are free";
        assert_eq!(evaluate_lines(b"\n\n"), Beat::Alive);
        let both = format!("\n{full}\n\n");
        assert_eq!(evaluate_lines(both.as_bytes()), Beat::DiskFull(full.to_owned()));
    }

    #[test]
    fn only_a_node_that_does_not_answer_is_lost() {
        let refused = "error sending request: Post \"x\": dial tcp 10.0.0.1:10250: connect: \
             connection refused";
        assert_eq!(failure(refused), silent(refused));
        assert_eq!(failure("container not found (\"tools\")"), Ended::PodGone);
        assert_eq!(failure("OCI runtime exec failed: no such file"), Ended::PodGone);
    }
}
