//! One try at a command in a pod: its streams from the first byte to the proof of its end.

use std::pin::Pin;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{Api, Error as KubeError, ResourceExt, api::AttachParams};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::oneshot,
};

use super::{
    PROBE,
    command::Command,
    proof::{Capture, NoProof, Proven, Written, own_failure, prove},
};
use crate::{
    base::{error::chain, redact, text::one_line},
    cluster::{
        describe,
        exec_error::{ExecLoss, ExecStatus, Lost, of_error, of_status},
        is_forbidden,
    },
    verdict::Failure,
};

/// How much a stream may buffer before it waits for us.
const STREAM_BUFFER: usize = 64 * 1024;

/// Exit codes of commands that were ended with SIGKILL or SIGTERM.
const KILLED: [i32; 2] = [137, 143];

/// A command that began.
pub(super) enum Begun {
    /// It runs: what it has written so far, and its end.
    Running(Written, Pin<Box<dyn Future<Output = Result<Proven, Trouble>> + Send>>),
    /// It ended at once, or may have.
    Ended(Result<Proven, Trouble>),
}

/// Why there is no proof that a command ended.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The API server refused it.
    Api(Box<KubeError>),
    /// The container runtime could not start it.
    Refused(String),
    /// Something was lost, and what is known of that.
    Lost(ExecLoss, String),
}

impl Trouble {
    /// Whether the command may be started again.
    pub(super) fn may_start_again(&self) -> bool {
        matches!(self, Self::Lost(loss, _) if loss.may_start_again())
    }

    /// Whether the pod or its container ended under the command.
    pub(super) fn is_lost_pod(&self) -> bool {
        matches!(self, Self::Lost(ExecLoss::EndUnknown(Lost::Pod), _))
    }

    /// Whether the API server refused for lack of rights.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api(error) if is_forbidden(error))
    }

    /// Who was lost.
    pub(super) fn who(&self) -> Option<Lost> {
        match self {
            Self::Lost(loss, _) => Some(loss.who()),
            _ => None,
        }
    }

    /// What was lost, in words.
    pub(super) fn loss(&self) -> Option<String> {
        match self {
            Self::Lost(loss, message) => {
                Some(format!("{loss}: {}", one_line(&redact::clean(message.as_bytes(), 1024))))
            }
            _ => None,
        }
    }

    /// Puts it into words.
    pub(super) fn into_failure(self, command: &str, pod: &str) -> Failure {
        match &self {
            Self::Api(error) => describe(&format!("run a command in pod `{pod}`"), error).into(),
            Self::Refused(message) => {
                Failure::harness(format!("failed to run `{command}`: {}", one_line(message)))
            }
            Self::Lost(loss, _) => {
                let words = self.loss().unwrap_or_default();
                let message = format!("failed to run `{command}` in pod `{pod}`: {words}");
                Failure::lost_of(loss.who(), None, message)
            }
        }
    }
}

/// A command that may be tried several times.
pub(super) struct Attempt<'a> {
    api: &'a Api<Pod>,
    pod: String,
    container: Option<String>,
    command: &'a Command,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(api: &'a Api<Pod>, pod: &Pod, command: &'a Command) -> Self {
        // The server wants to be told which one where a pod has several.
        let container = command.container_in(pod).map(str::to_owned);
        Self { api, pod: pod.name_any(), container, command }
    }

    /// Has the command begun once, under the probe, which knows it by its nonce.
    pub(super) async fn begin(&self, nonce: String) -> Result<Begun, Trouble> {
        let wrapper = [PROBE, "exec", &nonce, "--"];
        let arguments = self.command.arguments().iter().map(String::as_str);
        let arguments: Vec<&str> = wrapper.into_iter().chain(arguments).collect();
        let parameters = AttachParams {
            container: self.container.clone(),
            stdin: self.command.stdin.is_some(),
            stdout: true,
            stderr: true,
            tty: false,
            max_stdin_buf_size: Some(STREAM_BUFFER),
            max_stdout_buf_size: Some(STREAM_BUFFER),
            max_stderr_buf_size: Some(STREAM_BUFFER),
        };
        let opened = self.api.exec(&self.pod, arguments, &parameters).await;
        let mut process = opened.map_err(trouble_of)?;
        let streams = Streams {
            stdin: process.stdin().zip(self.command.stdin.clone()),
            stdout: process.stdout(),
            stderr: process.stderr(),
            status: process.take_status(),
            connection: process,
        };
        let (begun, has_begun) = oneshot::channel();
        let written = Written::default();
        let mut end = Box::pin(follow(streams, nonce, begun, written.clone()));
        tokio::select! {
            biased;
            Ok(()) = has_begun => Ok(Begun::Running(written, end)),
            ended = &mut end => match ended {
                Err(trouble) if trouble.may_start_again() => Err(trouble),
                ended => Ok(Begun::Ended(ended)),
            },
        }
    }
}

/// What an answer in place of a connection means.
pub(super) fn trouble_of(error: KubeError) -> Trouble {
    match of_error(&error) {
        Some(loss) => Trouble::Lost(loss, chain(&error)),
        None => Trouble::Api(Box::new(error)),
    }
}

/// What connects us with a command.
struct Streams<I, O, S, C> {
    stdin: Option<(I, Vec<u8>)>,
    stdout: Option<O>,
    stderr: Option<O>,
    status: Option<S>,
    /// Ends the connection when it is dropped.
    connection: C,
}

/// Follows a command to its end, and says when it begins.
async fn follow<I, O, S, C>(
    streams: Streams<I, O, S, C>,
    nonce: String,
    begun: oneshot::Sender<()>,
    written: Written,
) -> Result<Proven, Trouble>
where
    I: AsyncWrite + Unpin,
    O: AsyncRead + Unpin,
    S: Future<Output = Option<Status>>,
{
    let Streams { stdin, stdout, stderr, status, connection } = streams;
    let lost = |what: String| Trouble::Lost(ExecLoss::EndUnknown(Lost::Connection), what);
    let read = |name: &'static str, result: std::io::Result<Capture>| {
        result.map_err(|error| lost(format!("{name}: {error}")))
    };
    let mut begun = Some(begun);
    let mut announce = |stderr: &Capture, bytes: &[u8]| {
        written.push(bytes);
        if begun.is_some()
            && stderr.begin(&nonce).is_some()
            && let Some(begun) = begun.take()
        {
            // Nobody waits for it any more where the channel is closed.
            let _ = begun.send(());
        }
    };
    // All streams move at once: a command may fill one before it reads another. Where the
    // connection breaks, kube lets go of its ends without closing them, and a reader of the others
    // waits for ever; only the status tells, by being none.
    let (has_status, ended) = oneshot::channel::<()>();
    let ended = tokio::try_join!(
        async {
            // A program that has ended reads no more, and nobody closes its input.
            tokio::select! {
                () = feed(stdin) => {}
                _ = ended => {}
            }
            Ok(())
        },
        async { read("standard output", capture(stdout, |_, bytes| written.push(bytes)).await) },
        async { read("standard error", capture(stderr, &mut announce).await) },
        async {
            let status = match status {
                Some(status) => status.await,
                None => None,
            };
            let _ = has_status.send(());
            status.ok_or_else(|| lost("the stream ended without an exit code".to_owned()))
        },
    );
    drop(connection);
    let ((), stdout, stderr, status) = ended?;
    conclude(stdout, stderr, &status, &nonce)
}

/// Decides from all that has arrived.
fn conclude(
    stdout: Capture,
    stderr: Capture,
    status: &Status,
    nonce: &str,
) -> Result<Proven, Trouble> {
    let has_begun = stderr.begin(nonce).is_some();
    let message = status.message.clone().unwrap_or_default();
    let code = match of_status(status) {
        ExecStatus::Exited(code) => code,
        ExecStatus::Refused if !has_begun => return Err(Trouble::Refused(message)),
        ExecStatus::Refused => {
            return Err(Trouble::Lost(ExecLoss::EndUnknown(Lost::Node), message));
        }
        ExecStatus::Lost(loss) => {
            let loss = if has_begun { loss.after_begin() } else { loss };
            return Err(Trouble::Lost(loss, message));
        }
    };
    // The probe's own code, and why it could not run the command. It loses nothing then.
    if code != 0
        && let Some(reason) = own_failure(&stderr, nonce)
    {
        return Err(Trouble::Refused(format!("the probe failed: {reason}")));
    }
    // A success without a report was lost behind the API server. Another code is the probe's own, and
    // it ends without a report only where it is ended from outside.
    let who = if KILLED.contains(&code) { Lost::Pod } else { Lost::Node };
    let lost = |what: String| Err(Trouble::Lost(ExecLoss::EndUnknown(who), what));
    let written = one_line(&redact::clean(&stderr.head(nonce), 400));
    match prove(stdout, stderr, nonce) {
        Ok(proven) if proven.end.exit_code() == code => Ok(proven),
        Ok(proven) => {
            let end = proven.end.exit_code();
            lost(format!("it exited with {end}, and the API server says {code}"))
        }
        Err(no_proof @ NoProof::NoReport) if !written.is_empty() => lost(format!(
            "{no_proof}, and the API server says that it exited with {code}: {written}"
        )),
        Err(no_proof) => {
            lost(format!("{no_proof}, and the API server says that it exited with {code}"))
        }
    }
}

/// Gives a command its standard input. A command need not read it, so an error says nothing.
pub(super) async fn feed(stdin: Option<(impl AsyncWrite + Unpin, Vec<u8>)>) {
    if let Some((mut stream, bytes)) = stdin
        && stream.write_all(&bytes).await.is_ok()
    {
        let _ = stream.shutdown().await;
    }
}

/// Reads a stream to its end.
pub(super) async fn capture(
    stream: Option<impl AsyncRead + Unpin>,
    mut look: impl FnMut(&Capture, &[u8]),
) -> std::io::Result<Capture> {
    let mut capture = Capture::default();
    let Some(mut stream) = stream else {
        return Ok(capture);
    };
    let mut buffer = vec![0; STREAM_BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(capture);
        }
        capture.push(&buffer[..count]);
        look(&capture, &buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use futures::future::ready;
    use probe::{ExecReport, ProgramEnd};
    use serde_json::json;

    use super::*;

    const NONCE: &str = "0123456789abcdef";

    fn status(value: serde_json::Value) -> Status {
        serde_json::from_value(value).expect("a status")
    }

    fn success() -> Status {
        status(json!({"status": "Success"}))
    }

    fn exited(code: i32) -> Status {
        let cause = json!({"reason": "ExitCode", "message": code.to_string()});
        status(json!({"status": "Failure", "reason": "NonZeroExitCode",
            "message": "command terminated with non-zero exit code",
            "details": {"causes": [cause]}}))
    }

    fn failure(message: &str) -> Status {
        status(json!({"status": "Failure", "reason": "InternalError", "message": message}))
    }

    /// What `probe exec` writes to standard error.
    fn framed(stdout: &str, stderr: &str, end: ProgramEnd) -> String {
        let report = ExecReport { end, stdout: stdout.len() as u64, stderr: stderr.len() as u64 };
        format!("{}{stderr}{}", ExecReport::begun(NONCE), report.ended(NONCE))
    }

    async fn ends(stdout: &[u8], stderr: &[u8], status: Option<Status>) -> Result<Proven, Trouble> {
        let streams = Streams {
            stdin: None::<(tokio::io::Sink, Vec<u8>)>,
            stdout: Some(stdout),
            stderr: Some(stderr),
            status: Some(ready(status)),
            connection: (),
        };
        follow(streams, NONCE.to_owned(), oneshot::channel().0, Written::default()).await
    }

    fn loss(ended: &Result<Proven, Trouble>) -> Option<ExecLoss> {
        match ended {
            Err(Trouble::Lost(loss, _)) => Some(*loss),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_command_that_reports_its_end_has_a_result() {
        for (end, said) in [
            (ProgramEnd::Exited(0), success()),
            (ProgramEnd::Exited(42), exited(42)),
            (ProgramEnd::Killed(9), exited(137)),
            (ProgramEnd::NotStarted(2), exited(127)),
        ] {
            let stderr = framed("out", "err", end);
            let proven = ends(b"out", stderr.as_bytes(), Some(said)).await.expect("a result");
            assert_eq!(proven, Proven { end, stdout: b"out".to_vec(), stderr: b"err".to_vec() });
        }
    }

    #[tokio::test]
    async fn success_and_a_stream_that_is_cut_anywhere_never_are_a_result() {
        for end in [ProgramEnd::Exited(0), ProgramEnd::Exited(42)] {
            let stderr = framed("out", "err", end);
            for length in 0..stderr.len() {
                let cut = &stderr.as_bytes()[..length];
                let ended = ends(b"out", cut, Some(success())).await;
                assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Node)), "{length}");
            }
            for length in 0..2 {
                let ended = ends(&b"out"[..length], stderr.as_bytes(), Some(success())).await;
                assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Node)), "{length}");
            }
        }
    }

    #[tokio::test]
    async fn a_report_that_contradicts_the_status_is_not_a_result() {
        for (end, said) in [
            (ProgramEnd::Exited(42), success()),
            (ProgramEnd::Exited(0), exited(1)),
            (ProgramEnd::Exited(0), failure("error sending request: Post \"x\": EOF")),
            (ProgramEnd::Exited(0), failure("OCI runtime exec failed: no")),
        ] {
            let stderr = framed("", "", end);
            let ended = ends(b"", stderr.as_bytes(), Some(said)).await;
            assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Node)), "{ended:?}");
        }
        let whole = framed("", "", ProgramEnd::Exited(0));
        let ended = ends(b"", whole.as_bytes(), None).await;
        assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Connection)));
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_has_read_its_input_has_a_result() {
        let (full, _reader) = tokio::io::duplex(1);
        let stderr = framed("", "", ProgramEnd::Exited(1));
        let streams = Streams {
            stdin: Some((full, vec![b'x'; 100])),
            stdout: Some(&b""[..]),
            stderr: Some(stderr.as_bytes()),
            status: Some(ready(Some(exited(1)))),
            connection: (),
        };
        let ended =
            follow(streams, NONCE.to_owned(), oneshot::channel().0, Written::default()).await;
        assert_eq!(ended.expect("a result").end, ProgramEnd::Exited(1));
    }

    #[tokio::test]
    async fn a_command_may_be_started_again_only_if_it_did_not_begin() {
        let refused = "error sending request: Post \"https://10.0.0.1:10250/exec/\": dial tcp \
             10.0.0.1:10250: connect: connection refused";
        let ended = ends(b"", b"", Some(failure(refused))).await;
        assert!(ended.as_ref().is_err_and(Trouble::may_start_again), "{ended:?}");
        let begun = ExecReport::begun(NONCE);
        let ended = ends(b"", begun.as_bytes(), Some(failure(refused))).await;
        assert!(!ended.as_ref().is_err_and(Trouble::may_start_again), "{ended:?}");
    }

    #[tokio::test]
    async fn a_container_that_was_ended_under_a_command_is_a_lost_pod() {
        let begun = ExecReport::begun(NONCE);
        let ended = ends(b"", begun.as_bytes(), Some(exited(137))).await;
        assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Pod)));
        let ended = ends(b"", b"", Some(failure("container not found (\"tools\")"))).await;
        assert_eq!(loss(&ended), Some(ExecLoss::NotBegun(Lost::Pod)));
    }

    #[tokio::test]
    async fn a_probe_that_can_not_be_started_is_the_harnesss_failure() {
        let absent =
            failure("OCI runtime exec failed: executable file `/nestcheck/probe` not found");
        let Err(trouble) = ends(b"", b"", Some(absent)).await else { panic!("no result") };
        let failure = trouble.into_failure("id -u", "workspace");
        assert!(matches!(&failure, Failure::Harness { message } if message.contains("not found")));
    }

    #[tokio::test]
    async fn a_probe_that_fails_itself_is_the_harnesss_failure_and_no_lost_node() {
        let begun = ExecReport::begun(NONCE);
        let failed = ExecReport::failed(NONCE, "no room for a thread");
        for stderr in [format!("{begun}{failed}"), "probe: no room for a thread\n".to_owned()] {
            let ended = ends(b"", stderr.as_bytes(), Some(exited(1))).await;
            let Err(trouble) = ended else { panic!("no result") };
            let failure = trouble.into_failure("id -u", "workspace");
            assert!(matches!(failure, Failure::Harness { .. }), "{failure:?}");
            assert!(failure.message().contains("no room for a thread"), "{failure:?}");
            // The status of a stream that was lost says so too.
            let ended = ends(b"", stderr.as_bytes(), Some(success())).await;
            assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Node)));
        }
        let own = format!("{begun}probe: connection refused\n");
        let ended = ends(b"", own.as_bytes(), Some(exited(1))).await;
        assert_eq!(loss(&ended), Some(ExecLoss::EndUnknown(Lost::Node)), "the command's own words");
    }

    #[tokio::test]
    async fn a_loss_says_who_was_lost_and_what_is_known() {
        let Err(trouble) = ends(b"", b"", Some(success())).await else { panic!("no result") };
        let Failure::Lost(loss) = trouble.into_failure("id -u", "workspace") else {
            panic!("a loss")
        };
        assert_eq!(loss.who, Lost::Node);
        assert_eq!(
            loss.message,
            "failed to run `id -u` in pod `workspace`: the node was lost, so its end is unknown: it \
             did not report its end, and the API server says that it exited with 0"
        );
    }
}
