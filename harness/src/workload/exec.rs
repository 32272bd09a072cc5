//! Commands in a pod, with separate output streams, an exit code and a deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api, ResourceExt,
    api::{AttachParams, AttachedProcess},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::LATE;
use crate::{
    base::{
        redact,
        text::{self, one_line},
    },
    cluster::{API_DEADLINE, describe, is_forbidden, is_unreached, retry},
    diagnosis::{self, Symptom},
    sandbox::GRANT_DEADLINE,
    verdict::Failure,
};

/// How long a command may run unless it says otherwise.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// The most that is kept of one output stream; the rest is read and dropped.
const CAPTURE_LIMIT: usize = 1024 * 1024;

/// How much the stream may buffer before it waits for us.
const STREAM_BUFFER: usize = 64 * 1024;

/// A command to run in a pod.
///
/// ```
/// use std::time::Duration;
///
/// use harness::workload::Command;
///
/// let pull = Command::new(["podman", "pull", "image"]).within(Duration::from_secs(90));
/// assert_eq!(pull.display(), "podman pull image");
///
/// // Messages show the name of a script instead of its text.
/// let count = Command::shell("count files", "ls \"$1\" | wc -l", ["/etc"]);
/// assert_eq!(count.display(), "count files");
/// assert_eq!(count.arguments().last().map(String::as_str), Some("/etc"));
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    arguments: Vec<String>,
    name: Option<String>,
    container: Option<String>,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

impl Command {
    /// A command of program and arguments; no shell is involved.
    pub fn new<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            name: None,
            container: None,
            stdin: None,
            deadline: COMMAND_DEADLINE,
        }
    }

    /// A script for the image's `sh`, with arguments as `$1`, `$2` and so on; the first failing
    /// command ends it. `name` stands for it in messages.
    pub fn shell<S: Into<String>>(
        name: impl Into<String>,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let name = name.into();
        let head = ["sh", "-euc", script, &name].map(str::to_owned);
        let all = head.into_iter().chain(arguments.into_iter().map(Into::into));
        Self { name: Some(name), ..Self::new(all) }
    }

    /// Runs in this container instead of the first one.
    #[must_use]
    pub fn in_container(mut self, name: impl Into<String>) -> Self {
        self.container = Some(name.into());
        self
    }

    /// Gives the command this standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Lets the command run for this long.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Program and arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The command in messages: a script's name, or program and arguments on one line, bounded.
    #[must_use]
    pub fn display(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => text::bound(&one_line(&self.arguments.join(" ")), 200),
        }
    }
}

/// What a command came to.
///
/// Expectations follow each other; the first that does not hold fails the case:
///
/// ```
/// use harness::{engine::PodHandle, verdict::CaseResult, workload::Command};
///
/// async fn the_user_is_1000(pod: &PodHandle) -> CaseResult {
///     pod.run(&Command::new(["id", "-u"])).await?.exits(0)?.prints("1000")?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// The exit code; 127 where the program does not exist.
    pub exit_code: i32,
    /// Standard output, at most 1 MiB of it.
    pub stdout: Vec<u8>,
    /// Standard error, at most 1 MiB of it.
    pub stderr: Vec<u8>,
    /// How long it took, the stream's set-up included.
    pub duration: Duration,
    /// What the probe found in the pod, which tells causes apart that look the same.
    pub(super) facts: Option<Arc<probe::Facts>>,
}

impl Output {
    /// Expects an exit code.
    ///
    /// # Errors
    ///
    /// Another exit code, with the end of what the command wrote and its known cause.
    pub fn exits(self, expected: i32) -> Result<Self, Failure> {
        if self.exit_code == expected {
            return Ok(self);
        }
        let written = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let written = redact::clean(written, redact::STREAM_LIMIT);
        let message = format!(
            "`{}` exited with {}, expected {expected}: {}",
            self.command,
            self.exit_code,
            last_lines(&written)
        );
        let hint = diagnosis::explain(Symptom::Output(&written), self.facts.as_deref());
        Err(Failure::product(message).with_hint(hint))
    }

    /// Standard output as text, without white space at its end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Expects this text on standard output, white space at its end aside.
    ///
    /// # Errors
    ///
    /// Another text.
    pub fn prints(self, expected: &str) -> Result<Self, Failure> {
        if self.text() == expected {
            return Ok(self);
        }
        let seen = redact::clean(&self.stdout, 400);
        Err(Failure::product(format!(
            "`{}` printed `{}`, expected `{expected}`",
            self.command,
            one_line(&seen)
        )))
    }
}

/// The end of an output, on one line: that is where programs name the reason.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines.len().saturating_sub(4);
    let text = lines[tail..].join(" | ");
    if text.is_empty() { "it wrote nothing".to_owned() } else { text::bound(&text, 600) }
}

/// Runs a command in a pod.
///
/// # Errors
///
/// A stream that can't be opened or broke (the harness's failure), or a command that does not end
/// in time (the product's).
pub(super) async fn run(api: &Api<Pod>, pod: &Pod, command: &Command) -> Result<Output, Failure> {
    let started = Instant::now();
    let process = begin(api, pod, command).await?;
    let ended = tokio::time::timeout(command.deadline, follow(process, pod, command)).await;
    let (stdout, stderr, status) = ended.map_err(|_elapsed| {
        Failure::product(format!("`{}` {LATE} {} s", command.display(), command.deadline.as_secs()))
    })??;
    Ok(Output {
        command: command.display(),
        exit_code: exit_code(&status).or_else(|| no_such_program(&status)).ok_or_else(|| {
            let message = status.message.clone().unwrap_or_default();
            Failure::harness(format!(
                "failed to run `{}`: {}",
                command.display(),
                one_line(&message)
            ))
        })?,
        stdout,
        stderr,
        duration: started.elapsed(),
        facts: None,
    })
}

/// Has the command begun. Until it has, its deadline does not count: that the server is away is
/// no failure of the product.
async fn begin(api: &Api<Pod>, pod: &Pod, command: &Command) -> Result<AttachedProcess, Failure> {
    let name = pod.name_any();
    // The server wants to be told which one where a pod has several.
    let first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let container =
        command.container.clone().or_else(|| first.map(|container| container.name.clone()));
    let parameters = AttachParams {
        container,
        stdin: command.stdin.is_some(),
        stdout: true,
        stderr: true,
        tty: false,
        max_stdin_buf_size: Some(STREAM_BUFFER),
        max_stdout_buf_size: Some(STREAM_BUFFER),
        max_stderr_buf_size: Some(STREAM_BUFFER),
    };
    let arguments = || command.arguments.iter().map(String::as_str);
    // Only what has not arrived, or was refused, may be asked for again: a command is not done twice.
    let refused_until = Instant::now() + GRANT_DEADLINE;
    let not_begun = |error: &kube::Error| {
        let is_early = is_forbidden(error) && Instant::now() < refused_until;
        (is_unreached(error) || is_early).then_some(Duration::ZERO)
    };
    let begun =
        retry::with_backoff(API_DEADLINE, not_begun, || api.exec(&name, arguments(), &parameters));
    match tokio::time::timeout(API_DEADLINE, begun).await {
        Ok(Ok(process)) => Ok(process),
        Ok(Err(error)) => Err(describe(&format!("run a command in pod `{name}`"), &error).into()),
        Err(_elapsed) => Err(Failure::lost(format!(
            "failed to begin `{}` in pod `{name}` within {} s",
            command.display(),
            API_DEADLINE.as_secs()
        ))),
    }
}

/// Follows the command to its end.
async fn follow(
    mut process: AttachedProcess,
    pod: &Pod,
    command: &Command,
) -> Result<(Vec<u8>, Vec<u8>, Status), Failure> {
    let broken = |what: &str| {
        let pod = pod.name_any();
        Failure::lost(format!("failed to run `{}` in pod `{pod}`: {what}", command.display()))
    };
    let status = process.take_status().ok_or_else(|| broken("no status stream"))?;
    let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    // All streams move at once: a command may fill one before it reads another. Where the
    // connection breaks, kube lets go of its ends without closing them, and a reader of the others
    // waits for ever; only the status tells, by being none.
    let ((), stdout, stderr, status) = tokio::try_join!(
        async {
            let written = feed(stdin, command.stdin.as_deref()).await;
            written.map_err(|error| broken(&format!("standard input: {error}")))
        },
        async {
            let read = capture(stdout).await;
            read.map_err(|error| broken(&format!("standard output: {error}")))
        },
        async {
            let read = capture(stderr).await;
            read.map_err(|error| broken(&format!("standard error: {error}")))
        },
        async { status.await.ok_or_else(|| broken("the stream ended without an exit code")) },
    )?;
    Ok((stdout, stderr, status))
}

async fn feed(
    stream: Option<impl AsyncWriteExt + Unpin>,
    bytes: Option<&[u8]>,
) -> std::io::Result<()> {
    if let (Some(mut stream), Some(bytes)) = (stream, bytes) {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
    }
    Ok(())
}

/// Reads a stream to its end, keeps the first [`CAPTURE_LIMIT`] bytes.
async fn capture(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let Some(mut stream) = stream else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    let mut buffer = vec![0; STREAM_BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(kept);
        }
        let room = CAPTURE_LIMIT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}

/// The exit code in the status that ends an exec stream (remotecommand protocol v4 and newer:
/// reason `NonZeroExitCode` with a cause `ExitCode`). None where the command could not be run.
fn exit_code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_ref()?.parse().ok()
}

/// The shell's exit code for a program that does not exist (POSIX `sh`, "Exit status for
/// commands"), which a runtime tells as an error of its own, without an exit code.
fn no_such_program(status: &Status) -> Option<i32> {
    let message = status.message.as_deref()?;
    let known = ["executable file not found", "executable file `", "no such file or directory"];
    known.iter().any(|words| message.contains(words)).then_some(127)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};

    use super::*;

    fn output(exit_code: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            command: "podman run".into(),
            exit_code,
            stdout: stdout.into(),
            stderr: stderr.into(),
            duration: Duration::ZERO,
            facts: None,
        }
    }

    #[test]
    fn an_exit_code_is_read_from_the_status() {
        let success = Status { status: Some("Success".into()), ..Status::default() };
        assert_eq!(exit_code(&success), Some(0));
        let cause = StatusCause {
            reason: Some("ExitCode".into()),
            message: Some("42".into()),
            ..StatusCause::default()
        };
        let failure = Status {
            status: Some("Failure".into()),
            details: Some(StatusDetails { causes: Some(vec![cause]), ..StatusDetails::default() }),
            ..Status::default()
        };
        assert_eq!(exit_code(&failure), Some(42));
        assert_eq!(exit_code(&Status::default()), None);
    }

    #[test]
    fn an_unexpected_exit_code_says_why_and_what_to_do() {
        let failure = output(125, "", "line\nopen(\"/dev/net/tun\"): No such file or directory\n")
            .exits(0)
            .expect_err("125 is not 0");
        let Failure::Product { message, hint } = failure else { panic!("the product's") };
        assert!(message.contains("exited with 125, expected 0: line | open"), "{message}");
        assert!(hint.is_some_and(|hint| hint.contains("F13")));
    }

    #[test]
    fn an_unexpected_text_is_shown() {
        assert!(output(0, "0\n", "").prints("0").is_ok());
        let failure = output(0, "1000\n", "").prints("0").expect_err("1000 is not 0");
        assert_eq!(failure, Failure::product("`podman run` printed `1000`, expected `0`"));
    }

    #[tokio::test]
    async fn a_flood_of_output_is_read_and_bounded() {
        let flood = vec![b'x'; CAPTURE_LIMIT + 10];
        let kept = capture(Some(flood.as_slice())).await.expect("memory can be read");
        assert_eq!(kept.len(), CAPTURE_LIMIT);
    }
}
