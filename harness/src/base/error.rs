//! Errors that end a run: what happened, where, and what the reader can do about it.

use std::fmt;

use super::{redact, text::one_line};

/// The most that a message has, in bytes: a server may send what it likes.
const MESSAGE_LIMIT: usize = 4096;

/// The result of anything that may end a run.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an [`Error`] means to the caller; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller asked for something that can't be: a flag, a filter, a file's content.
    Usage,
    /// The cluster can't be reached, refuses the caller, or broke; the product was not judged.
    Infrastructure,
}

impl ErrorKind {
    /// The exit code of a run that ends with this error, as the command's help documents it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Infrastructure => 4,
        }
    }
}

/// An error for the person who reads it.
///
/// Displays as one line; [`Error::hint`] says what to do. Neither has a secret in it, nor what steers
/// a terminal.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    is_loss: bool,
}

impl Error {
    /// The caller asked for something that can't be.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// The cluster or this machine broke, not the product.
    #[must_use]
    pub fn infrastructure(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Infrastructure, message)
    }

    /// A server that was there did not answer, or its connection broke: whether it did what it was
    /// asked is not known.
    #[must_use]
    pub fn loss(message: impl fmt::Display) -> Self {
        Self { is_loss: true, ..Self::infrastructure(message) }
    }

    fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        let message = redact::clean(message.to_string().as_bytes(), MESSAGE_LIMIT);
        let message = one_line(&message);
        // Some libraries end their texts with a period, which reads badly before a hint.
        let message = message.strip_suffix('.').unwrap_or(&message).to_owned();
        Self { kind, message, hint: None, is_loss: false }
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(redact::clean_text(&hint.to_string()));
        self
    }

    /// What the error means to the caller.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a server or a connection was lost, so that another try may go well.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        self.is_loss
    }

    /// The message, and the hint on a line of its own: the form that the command prints, and takes
    /// apart again where clap passes on one text only.
    #[must_use]
    pub fn with_hint_line(&self) -> String {
        self.hint.as_ref().map_or_else(|| self.to_string(), |hint| format!("{self}\nhint: {hint}"))
    }

    /// What the reader can do, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Joins an error's chain of sources with colons, leaving out what a source repeats.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_keeps_its_hint() {
        let error = Error::usage("first\nsecond").with_hint("try `x`");
        assert_eq!(error.to_string(), "first second");
        assert_eq!(error.hint(), Some("try `x`"));
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn an_error_reports_no_secret_and_steers_no_terminal() {
        let error =
            Error::usage("\u{1b}[2Jproxy http://user:canary@host").with_hint("token=canary");
        assert_eq!(error.to_string(), "proxy http://[redacted]@host");
        assert_eq!(error.hint(), Some("token=[redacted]"));
    }

    #[test]
    fn a_period_at_the_end_is_left_out() {
        assert_eq!(Error::usage("offset 0.").to_string(), "offset 0");
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let inner = std::io::Error::other("connection refused");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "connection refused");
    }
}
