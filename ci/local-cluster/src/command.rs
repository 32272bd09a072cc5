//! Running commands of the host.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Error, last_lines};

/// Runs a short command to its end and returns its stdout.
///
/// # Errors
///
/// Fails when it can't be started or ends with a failure; the error shows the
/// end of its stderr.
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
///
/// # Errors
///
/// Fails when it can't be started or ends with a failure; the error shows the
/// end of the log and names it.
pub fn logged(command: &mut Command, log: &Path) -> Result<(), Error> {
    let line = describe(command);
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|source| Error::path("write", log, source))?;
    let both = file.try_clone().map_err(|source| Error::path("write", log, source))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both)
        .status()
        .map_err(|source| Error::io("start", format!("`{line}`"), source))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::command(line, describe_status(status))
        .with_details(last_lines(&log.to_owned(), 12))
        .with_hint(format!("the whole log is `{}`", log.display())))
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
    fn long_command_lines_are_shortened() {
        let mut command = Command::new("echo");
        command.arg("x".repeat(500));
        assert!(describe(&command).chars().count() <= 121);
    }
}
