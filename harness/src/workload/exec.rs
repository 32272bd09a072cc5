//! Commands in a pod, with separate output streams, an exit code and a deadline.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use probe::{ErrorName, ProgramEnd};
use tokio::time::{Instant as TokioInstant, timeout_at};

use super::{
    attempt::{Attempt, Begun, Trouble},
    command::Command,
    health::LOOK_AGAIN,
    node_of, out_of_memory,
    proof::Proven,
    restricted,
};
use crate::{
    base::{
        redact,
        text::{self, one_line},
    },
    cluster::{
        exec_error::{ExecLoss, Lost},
        retry,
    },
    diagnosis::{self, Symptom},
    sandbox::GRANT_DEADLINE,
    verdict::{Attribution, Disruption, Failure, Hint, SignatureId},
};

/// When a command that has not begun yet waits for something that is away.
const UNUSUAL_AFTER: Duration = Duration::from_secs(1);

/// When a command that has not begun, and of which nothing is heard, was disturbed: a busy node is
/// faster.
const SILENT_AFTER: Duration = Duration::from_secs(5);

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
    /// The programs that the command needs and the image lacks.
    pub(super) blame: Option<Box<Attribution>>,
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
        // F05 are podman's words for one of these programs.
        let of_programs = [SignatureId::F05, SignatureId::F43];
        let is_named = |hint: &Hint| hint.signature().is_some_and(|id| !of_programs.contains(&id));
        let hint = match (hint, self.blame) {
            (hint, Some(blame)) if !hint.as_ref().is_some_and(is_named) => Some((*blame).into()),
            (hint, _) => hint,
        };
        Err(Failure::product(message).with_hint(hint).having_said(last_line(&written)))
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

/// The last line of an output that says something: there most programs name the reason.
fn last_line(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    text::bound(&one_line(last.unwrap_or_default()), 300)
}

/// What the caller of a command learns of it, and what it knows of its node.
pub trait Observer: Sync {
    /// A pause of whatever else counts the time; it ends when this is dropped.
    type Pause: Send;

    /// Begins a pause: the command waits for a node or a server that is away.
    fn pause(&self) -> Self::Pause;

    /// The command waited for something that was lost, and has begun now.
    fn waited(&self, disruption: Disruption);

    /// A command of this nonce may run in the pod from now on.
    fn begins(&self, nonce: &str);

    /// The command of this nonce has ended.
    fn ended(&self, nonce: &str);

    /// How long the node or the server was away since then.
    fn lost_time(&self, since: Instant) -> Duration;

    /// Waits until the node and the server are back after they were away since then, and for some time
    /// more in which a stream that survived that goes on.
    fn until_back(&self, since: Instant) -> impl Future<Output = ()> + Send;
}

/// Nobody who wants to know.
pub(super) struct NoObserver;

impl Observer for NoObserver {
    type Pause = ();

    fn pause(&self) -> Self::Pause {}

    fn waited(&self, _disruption: Disruption) {}

    fn begins(&self, _nonce: &str) {}

    fn ended(&self, _nonce: &str) {}

    fn lost_time(&self, _since: Instant) -> Duration {
        Duration::ZERO
    }

    fn until_back(&self, _since: Instant) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// Runs a command in a pod.
///
/// The command runs under the probe, which reports its end; only that proves that it ended (see
/// [`super::proof`]). A command that did not begin, because its node or the API server is away, is
/// started again until they are back, for `limit`. One that may have begun is never started again.
///
/// # Errors
///
/// A command that did not begin in time or whose end is not known (a loss), that can't be started
/// (the harness's failure), or that does not end in time (the product's).
pub(super) async fn run(
    api: &Api<Pod>,
    pod: &Pod,
    command: &Command,
    limit: Duration,
    observer: &impl Observer,
) -> Result<Output, Failure> {
    let started = Instant::now();
    let failed = |trouble: Trouble| {
        trouble.into_failure(&command.display(), &pod.name_any()).on_node(node_of(pod))
    };
    let (nonce, begun) = begin(api, pod, command, limit, observer).await?;
    let ended = match begun {
        Begun::Ended(ended) => ended,
        // Its deadline does not count until it has begun: that a node is away is not the product's
        // failure.
        Begun::Running(written, end) => {
            within(command.deadline, end, |since| observer.lost_time(since))
                .await
                .ok_or_else(|| late(command, pod, &written.text(&nonce)))?
        }
    };
    let Proven { end, stdout, stderr } = match ended {
        Ok(proven) => proven,
        Err(trouble) => {
            let container = command.container_in(pod).unwrap_or_default();
            let is_killed =
                trouble.is_lost_pod() && out_of_memory::killed(api, pod, container).await;
            return Err(if is_killed {
                Failure::product(format!(
                    "`{}` ended because its container in pod `{}` used up its memory (OOMKilled)",
                    command.display(),
                    pod.name_any()
                ))
                .with_hint(restricted::lack_of_memory(pod, container))
            } else {
                failed(trouble)
            });
        }
    };
    observer.ended(&nonce);
    if let ProgramEnd::NotStarted(errno) = end
        && !ProgramEnd::is_absence(errno)
    {
        return Err(failed(Trouble::Refused(ErrorName::from_number(errno).to_string())));
    }
    Ok(Output {
        command: command.display(),
        exit_code: end.exit_code(),
        stdout,
        stderr,
        duration: started.elapsed(),
        facts: None,
        blame: None,
    })
}

/// The failure of a command that did not end in time, with what it had written: that may tell why.
pub(super) fn late(command: &Command, pod: &Pod, written: &str) -> Failure {
    let written = redact::clean(written.as_bytes(), redact::STREAM_LIMIT);
    let failure = Failure::timeout(format_args!("`{}`", command.display()), command.deadline);
    let container = command.container_in(pod).unwrap_or_default();
    let failure = match restricted::slow_container(pod, container) {
        Some(words) => failure.adding(&words),
        None => failure,
    };
    if written.trim().is_empty() {
        return failure.adding("it wrote nothing");
    }
    let hint = diagnosis::explain(Symptom::Output(&written), None);
    let said = last_line(&written);
    failure
        .adding(&format!("it had written: {}", last_lines(&written)))
        .with_hint(hint)
        .having_said(said)
}

/// Waits for an end, and longer by the time in which its node was away. None if it is late.
async fn within<T>(
    deadline: Duration,
    end: impl Future<Output = T> + Unpin,
    lost_time: impl Fn(Instant) -> Duration,
) -> Option<T> {
    let mut end = end;
    let begun = TokioInstant::now();
    let mut limit = deadline;
    loop {
        if let Ok(ended) = timeout_at(begun + limit, &mut end).await {
            return Some(ended);
        }
        // An end that is late arrives once the node is back, so the time is asked for again.
        let extended = deadline + lost_time(begun.into_std());
        if extended <= limit {
            return None;
        }
        limit = extended + LOOK_AGAIN;
    }
}

/// What a command that has not begun waits for.
#[derive(Default)]
struct Waiting {
    /// Whether there was an answer of any kind.
    is_answered: bool,
    /// Who was lost at the last try, and what is known of that.
    loss: Option<(Lost, String)>,
}

/// Has the command begun, again and again while it did not.
async fn begin(
    api: &Api<Pod>,
    pod: &Pod,
    command: &Command,
    limit: Duration,
    observer: &impl Observer,
) -> Result<(String, Begun), Failure> {
    let (started, since) = (Instant::now(), Timestamp::now());
    let try_it = Attempt::new(api, pod, command);
    let refused_until = started + GRANT_DEADLINE;
    let waiting = Mutex::new(Waiting::default());
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let delay = |trouble: &Trouble| {
        *lock() = Waiting { is_answered: true, loss: trouble.who().zip(trouble.loss()) };
        let is_early = trouble.is_forbidden() && Instant::now() < refused_until;
        (trouble.may_start_again() || is_early).then_some(Duration::ZERO)
    };
    let beginning = retry::with_backoff(limit, delay, || async {
        let nonce = format!("{:016x}", fastrand::u64(..));
        observer.begins(&nonce);
        let hangs = observer.until_back(Instant::now());
        let begun = tokio::select! {
            begun = try_it.begin(nonce.clone()) => begun?,
            // It may have begun, and nobody will ever say so.
            () = hangs => return Err(Trouble::Lost(
                ExecLoss::EndUnknown(Lost::Node),
                "its stream hangs since the node was away".to_owned(),
            )),
        };
        Ok((nonce, begun))
    });
    tokio::pin!(beginning);
    let usual = UNUSUAL_AFTER.min(limit);
    let begun = match tokio::time::timeout(usual, &mut beginning).await {
        Err(_elapsed) => {
            let _paused = observer.pause();
            tokio::time::timeout(limit.saturating_sub(usual), beginning).await
        }
        begun => begun,
    };
    let Waiting { is_answered, loss } = std::mem::take(&mut *lock());
    let node = node_of(pod).map(str::to_owned);
    match begun {
        Ok(Ok(begun)) => {
            let is_silent = !is_answered && started.elapsed() >= SILENT_AFTER;
            let silence = || (Lost::Node, format!("`{}` did not begin", command.display()));
            if let Some((who, reason)) = loss.or_else(|| is_silent.then(silence)) {
                let (since, until) = (Some(since), Some(Timestamp::now()));
                observer.waited(Disruption { lost: Some(who), node, since, until, reason });
            }
            Ok(begun)
        }
        Ok(Err(trouble)) if !trouble.may_start_again() => {
            Err(trouble.into_failure(&command.display(), &pod.name_any()).on_node(node_of(pod)))
        }
        // The server may not answer either, so that a command begins that nobody waits for any more.
        Ok(Err(_)) | Err(_) => {
            let who = loss.as_ref().map_or(Lost::Node, |(who, _)| *who);
            let reason = loss.map_or_else(String::new, |(_, loss)| format!(": {loss}"));
            let message = format!(
                "failed to begin `{}` in pod `{}` within {} s (`--disruption-timeout`){reason}",
                command.display(),
                pod.name_any(),
                limit.as_secs(),
            );
            Err(Failure::lost_of(who, node, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(exit_code: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            command: "podman run".into(),
            exit_code,
            stdout: stdout.into(),
            stderr: stderr.into(),
            duration: Duration::ZERO,
            facts: None,
            blame: None,
        }
    }

    #[test]
    fn an_unexpected_exit_code_says_why_and_what_to_do() {
        let failure = output(125, "", "line\nopen(\"/dev/net/tun\"): No such file or directory\n")
            .exits(0)
            .expect_err("125 is not 0");
        let Failure::Product { message, hint, .. } = failure else { panic!("the product's") };
        assert!(message.contains("exited with 125, expected 0: line | open"), "{message}");
        assert!(hint.is_some_and(|hint| hint.signature() == Some(SignatureId::F13)));
    }

    #[tokio::test]
    async fn a_command_is_late_only_by_its_own_time() {
        let limit = Duration::from_millis(50);
        let lost = |time| move |_: Instant| time;
        let never = || Box::pin(pending::<()>());
        let late = || Box::pin(tokio::time::sleep(limit * 4));

        assert!(within(limit, late(), lost(Duration::from_secs(60))).await.is_some());
        assert!(within(limit, never(), lost(limit)).await.is_none());
        assert!(within(limit, never(), lost(Duration::ZERO)).await.is_none());
    }

    #[test]
    fn a_command_that_does_not_end_reports_what_it_had_written_and_its_cause() {
        let command = Command::new(["podman-compose", "up"]);
        let written = "web\nError: netavark: nftables error: unable to execute nft: No such file\n";

        let failure = late(&command, &Pod::default(), written);

        let Failure::Timeout { message, hint, said } = failure else { panic!("{failure:?}") };
        assert_eq!(
            message,
            "`podman-compose up` did not end within 60 s; it had written: web | Error: netavark: \
             nftables error: unable to execute nft: No such file"
        );
        assert_eq!(hint.and_then(|hint| hint.signature()), Some(SignatureId::F33));
        assert!(said.is_some_and(|said| said.starts_with("Error: netavark")));
        assert!(
            late(&command, &Pod::default(), "\n").message().ends_with("60 s; it wrote nothing")
        );
    }

    #[test]
    fn an_unexpected_text_is_shown() {
        assert!(output(0, "0\n", "").prints("0").is_ok());
        let failure = output(0, "1000\n", "").prints("0").expect_err("1000 is not 0");
        assert_eq!(failure, Failure::product("`podman run` printed `1000`, expected `0`"));
    }
}
