//! What a program takes: wall time, processor time and memory, its own children included.
//!
//! The kernel reports the peak memory of all children of a process (getrusage(2)), so each measured
//! program is the only child of a process of its own.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What a program took.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Usage {
    /// The seconds from its start to its end.
    pub(crate) wall: f64,
    /// The processor seconds.
    pub(crate) cpu: f64,
    /// The peak memory of its largest process, in MB.
    pub(crate) memory: f64,
    /// Its exit code; -1 for a signal.
    pub(crate) exit: i32,
}

/// Runs a program as the only child of this process and writes down what it took.
pub(crate) fn measure(usage: &Path, program: &[String]) -> Result<ExitCode> {
    let (program, arguments) = program.split_first().ok_or("no program")?;
    let started = Instant::now();
    let status = Command::new(program).args(arguments).status()?;
    let wall = started.elapsed().as_secs_f64();
    let taken = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let measured = Usage {
        wall,
        cpu: seconds(taken.user_time()) + seconds(taken.system_time()),
        memory: kibibytes_to_megabytes(taken.max_rss()),
        exit: status.code().unwrap_or(-1),
    };
    fs::write(usage, serde_json::to_string(&measured)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `command` in a measuring process; its output goes to `log`.
pub(crate) async fn run(log: &Path, command: &Command) -> Result<Usage> {
    let usage = log.with_extension("usage.json");
    let output = fs::File::create(log)?;
    let mut measuring = tokio::process::Command::new(std::env::current_exe()?);
    measuring.arg("child").arg("--usage").arg(&usage).arg("--");
    measuring.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            measuring.env(name, value);
        }
    }
    measuring.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let status = measuring.kill_on_drop(true).status().await?;
    if !status.success() {
        return Err(format!("`{command:?}` could not be run: see `{}`", log.display()).into());
    }
    let measured: Usage = serde_json::from_str(&fs::read_to_string(&usage)?)?;
    fs::remove_file(&usage)?;
    Ok(measured)
}

/// As [`run`]; an exit code other than 0 is an error.
pub(crate) async fn succeed(log: &Path, command: &Command) -> Result<Usage> {
    let usage = run(log, command).await?;
    if usage.exit == 0 {
        return Ok(usage);
    }
    let program = Path::new(command.get_program()).display();
    Err(format!("`{program}` exited with {}: see `{}`", usage.exit, log.display()).into())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 KiB")]
fn kibibytes_to_megabytes(kibibytes: i64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e6
}
