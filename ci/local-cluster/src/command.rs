//! Running commands of the host.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{
    error::{Error, last_lines},
    process::ProcessIdentity,
};

/// Runs a short command to its end and returns its stdout.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::io("start", format!("`{line}`"), source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let details = stderr.lines().map(str::to_owned).collect();
    Err(Error::command(line, describe_status(output.status)).with_details(details))
}

/// Runs a long command to its end with its output in `log`.
pub fn logged(command: &mut Command, log: &Path) -> Result<(), Error> {
    let line = describe(command);
    let status = start(command, log)?.wait();
    let status = status.map_err(|source| Error::io("wait for", format!("`{line}`"), source))?;
    if status.success() {
        return Ok(());
    }
    Err(with_log(Error::command(line, describe_status(status)), log))
}

/// Runs a long command as [`logged`] does, and kills it when it takes longer than `limit`. `what`
/// is its name in errors.
pub fn logged_within(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    what: &str,
) -> Result<(), Error> {
    let mut child = start(command, log)?;
    // No other process gets its id before it is waited for.
    let running = ProcessIdentity::of(child.id()).ok().and_then(ProcessIdentity::running);
    let in_time = running.is_none_or(|running| running.wait(limit).unwrap_or(false));
    if !in_time {
        // It may have ended by now, which changes nothing.
        let _ = child.kill();
    }
    let status =
        child.wait().map_err(|source| Error::io("wait for", format!("`{what}`"), source))?;
    match (in_time, status.success()) {
        (true, true) => Ok(()),
        (true, false) => Err(with_log(Error::command(what, describe_status(status)), log)),
        (false, _) => Err(with_log(Error::deadline(format!("`{what}` has not ended"), limit), log)),
    }
}

fn start(command: &mut Command, log: &Path) -> Result<Child, Error> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|source| Error::path("write", log, source))?;
    let both = file.try_clone().map_err(|source| Error::path("write", log, source))?;
    let line = describe(command);
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both)
        .spawn()
        .map_err(|source| Error::io("start", format!("`{line}`"), source))
}

fn with_log(error: Error, log: &Path) -> Error {
    error
        .with_details(last_lines(&log.to_owned(), 12))
        .with_hint(format!("the whole log is `{}`", log.display()))
}

/// The command line as somebody would type it, shortened.
pub fn describe(command: &Command) -> String {
    const LONGEST: usize = 120;
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let shortened: String = line.chars().take(LONGEST).collect();
    format!("{shortened}…")
}

/// An exit status in words.
pub fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_shows_its_stderr() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("ended with exit status 3"), "{error}");
        assert_eq!(error.details(), ["why"]);
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_and_named() {
        let log = std::env::temp_dir().join(format!("local-cluster-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo waiting; exec sleep 600"]);
        let limit = Duration::from_millis(300);
        let error = logged_within(&mut command, &log, limit, "recipe").unwrap_err();
        assert!(error.to_string().starts_with("`recipe` has not ended within"), "{error}");
        assert_eq!(error.details(), ["waiting"]);
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let limit = Duration::from_secs(60);
        let error = logged_within(&mut command, &log, limit, "recipe").unwrap_err();
        assert_eq!(error.to_string(), "`recipe` ended with exit status 3");
        std::fs::remove_file(&log).unwrap();
    }

    #[test]
    fn long_command_lines_are_shortened() {
        let mut command = Command::new("echo");
        command.arg("x".repeat(500));
        assert!(describe(&command).chars().count() <= 121);
    }
}
