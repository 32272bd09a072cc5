//! What can go wrong, in words for the person at the terminal.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// An error of this program: what happened and where, details such as the last lines of a log, and
/// what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    kind: Box<ErrorKind>,
    details: Vec<String>,
    hint: Option<String>,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The request is invalid.
    #[error("{0}")]
    Usage(String),
    /// The operating system refused an operation.
    #[error("can't {action} {subject}: {source}")]
    Io {
        /// The verb, such as `read`.
        action: &'static str,
        /// What it was done to, usually a path in backticks.
        subject: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A command of the host ended with a failure.
    #[error("`{command}` ended with {outcome}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status in words.
        outcome: String,
    },
    /// A component of the cluster ended when it should have run.
    #[error("{component} ended with {outcome}")]
    Component {
        /// The component's name.
        component: String,
        /// Its exit status in words.
        outcome: String,
    },
    /// Something did not happen in time.
    #[error("{what} within {} s", .limit.as_secs())]
    Deadline {
        /// What did not happen, such as `node not ready`.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The Kubernetes API refused a request.
    #[error("can't {action}: {reason}")]
    Api {
        /// The request.
        action: String,
        /// The answer.
        reason: String,
    },
    /// Anything else, as a complete fragment.
    #[error("{0}")]
    Other(String),
}

/// An error in a form that goes through a pipe or a state file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What happened and where.
    pub message: String,
    /// Further lines, such as the end of a log.
    #[serde(default)]
    pub details: Vec<String>,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Error {
    fn new(kind: ErrorKind) -> Self {
        Self { kind: Box::new(kind), details: Vec::new(), hint: None }
    }

    /// A request that can't be fulfilled as it was written.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage(message.into()))
    }

    /// The operating system refused `action` on `subject`.
    pub fn io(
        action: &'static str,
        subject: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::new(ErrorKind::Io { action, subject: subject.into(), source: source.into() })
    }

    /// The operating system refused `action` on the file `path`.
    pub fn path(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::io(action, format!("`{}`", path.display()), source)
    }

    /// A host command failed.
    pub fn command(command: impl Into<String>, outcome: impl Into<String>) -> Self {
        Self::new(ErrorKind::Command { command: command.into(), outcome: outcome.into() })
    }

    /// A component of the cluster ended.
    pub fn component(component: impl Into<String>, outcome: impl Into<String>) -> Self {
        Self::new(ErrorKind::Component { component: component.into(), outcome: outcome.into() })
    }

    /// `what` did not happen within `limit`.
    pub fn deadline(what: impl Into<String>, limit: Duration) -> Self {
        Self::new(ErrorKind::Deadline { what: what.into(), limit })
    }

    /// The Kubernetes API refused something.
    pub fn api(action: impl Into<String>, reason: &impl ToString) -> Self {
        Self::new(ErrorKind::Api { action: action.into(), reason: reason.to_string() })
    }

    /// Anything else.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other(message.into()))
    }

    /// Adds what can be done about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds lines that are shown below the message.
    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Lines to show below the message.
    pub fn details(&self) -> &[String] {
        &self.details
    }

    /// The exit code of the program: 2 for a wrong request, 4 for the rest.
    pub fn exit_code(&self) -> u8 {
        match *self.kind {
            ErrorKind::Usage(_) => 2,
            _ => 4,
        }
    }

    /// The form for a pipe or a state file.
    pub fn to_failure(&self) -> Failure {
        Failure {
            message: self.to_string(),
            details: self.details.clone(),
            hint: self.hint.clone(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self {
            kind: Box::new(ErrorKind::Other(failure.message)),
            details: failure.details,
            hint: failure.hint,
        }
    }
}

/// The last `count` lines of a log, to be shown with an error. A log that can't be read has none.
pub fn last_lines(log: &PathBuf, count: usize) -> Vec<String> {
    let Ok(bytes) = std::fs::read(log) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(count);
    lines[skipped..].iter().map(|&line| line.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_ends_with_2_and_everything_else_with_4() {
        assert_eq!(Error::usage("no such cluster").exit_code(), 2);
        assert_eq!(Error::other("broken").exit_code(), 4);
    }

    #[test]
    fn a_failure_keeps_message_details_and_hint() {
        let error = Error::component("etcd", "exit status 1")
            .with_details(vec!["disk full".into()])
            .with_hint("free some room");
        let back = Error::from(error.to_failure());
        assert_eq!(back.to_string(), "etcd ended with exit status 1");
        assert_eq!(back.details(), ["disk full"]);
        assert_eq!(back.hint(), Some("free some room"));
    }

    #[test]
    fn last_lines_of_a_missing_log_are_none() {
        assert!(last_lines(&PathBuf::from("/nonexistent/log"), 3).is_empty());
    }
}
