//! A command as a child process: separate bounded streams, an exit code and a deadline, as in a pod.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Instant,
};

use probe::ProgramEnd;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Child, sync::oneshot};

use crate::workload::{
    Command, Output,
    attempt::{capture, feed},
    proof::{Capture, Written},
};

/// How a command ended.
pub(super) enum Ended {
    /// By itself.
    Done(Output),
    /// Not within its deadline, so it was killed with all processes of its group; what it had written.
    Late(String),
}

/// Variables that lead podman elsewhere than to this machine (podman(1)).
const ELSEWHERE: [&str; 3] = ["CONTAINER_HOST", "CONTAINER_CONNECTION", "DOCKER_HOST"];

/// Keeps the wrapper of images that bring kubedock from handing commands to the cluster
/// (devfile/developer-images, `base/ubi9/podman-wrapper.sh`).
const WITHOUT_KUBEDOCK: (&str, &str) = ("KUBEDOCK_SUPPORTED_COMMANDS", "none");

/// A command that began. Its processes are killed when this is dropped before it is released: the case
/// or the run is over before the command is.
struct Group {
    child: Child,
    is_released: bool,
}

impl Group {
    /// Lets go of what still runs: a server that a command has started is to outlive it.
    fn release(&mut self) {
        self.is_released = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A leader that was waited for has no number any more: it may be that of somebody else's
        // group. Its leftovers are found by their environment.
        let id = self.child.id().filter(|_| !self.is_released);
        let group = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a command with these arguments in place of its own, and this added to the environment of
/// nestcheck.
///
/// # Errors
///
/// No process can be made.
pub(super) async fn run(
    command: &Command,
    arguments: &[String],
    environment: &[(String, PathBuf)],
) -> io::Result<Ended> {
    let started = Instant::now();
    let done = |exit_code, stdout, stderr| {
        Ended::Done(Output {
            command: command.display(),
            exit_code,
            stdout,
            stderr,
            duration: started.elapsed(),
            facts: None,
            blame: None,
        })
    };
    let child = match spawn(command, arguments, environment) {
        Ok(child) => child,
        Err(error) => {
            let code = of_program(&error).ok_or(error)?;
            return Ok(done(code.exit_code(), Vec::new(), Vec::new()));
        }
    };
    let mut group = Group { child, is_released: false };
    let written = Written::default();
    let ended =
        tokio::time::timeout(command.deadline, follow(&mut group.child, command, &written)).await;
    let Ok(ended) = ended else { return Ok(Ended::Late(written.text(""))) };
    let (status, stdout, stderr) = ended?;
    group.release();
    let (stdout, stderr) = (stdout.into_bounded(u64::MAX), stderr.into_bounded(u64::MAX));
    Ok(done(end_of(status).exit_code(), stdout, stderr))
}

fn spawn(
    command: &Command,
    arguments: &[String],
    environment: &[(String, PathBuf)],
) -> io::Result<Child> {
    let (program, arguments) =
        arguments.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
    let stdin = if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut process = tokio::process::Command::new(program);
    for name in ELSEWHERE {
        process.env_remove(name);
    }
    process
        .args(arguments)
        .env(WITHOUT_KUBEDOCK.0, WITHOUT_KUBEDOCK.1)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, which is killed as a whole, and which a terminal's signals do not reach.
        .process_group(0)
        .spawn()
}

/// Waits until a command has ended and nobody writes to its streams any more.
async fn follow(
    child: &mut Child,
    command: &Command,
    written: &Written,
) -> io::Result<(ExitStatus, Capture, Capture)> {
    let stdin = child.stdin.take().zip(command.stdin.clone());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (has_ended, end) = oneshot::channel::<()>();
    let ((), stdout, stderr, status) = tokio::try_join!(
        async {
            // A program that has ended reads no more, though another one may hold its input open.
            tokio::select! {
                () = feed(stdin) => {}
                _ = end => {}
            }
            Ok(())
        },
        capture(stdout, |_, bytes| written.push(bytes)),
        capture(stderr, |_, bytes| written.push(bytes)),
        async {
            let status = child.wait().await;
            let _ = has_ended.send(());
            status
        },
    )?;
    Ok((status, stdout, stderr))
}

/// The end of a program that could not be started, for a reason that is the program's. None where it
/// is the machine's.
fn of_program(error: &io::Error) -> Option<ProgramEnd> {
    // EACCES, ENOEXEC, ENOTDIR and EISDIR, in the numbers of errno(3).
    const OF_PROGRAMS: [i32; 5] = [2, 8, 13, 20, 21];
    let number = error.raw_os_error()?;
    OF_PROGRAMS.contains(&number).then_some(ProgramEnd::NotStarted(number))
}

fn end_of(status: ExitStatus) -> ProgramEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProgramEnd::Exited(code),
        (None, signal) => ProgramEnd::Killed(signal.unwrap_or_default()),
    }
}
