//! Why a case did not pass.

use std::{fmt::Display, time::Duration};

use super::{Attribution, Hint, Place, SignatureId, Verdict};
use crate::cluster::exec_error::Lost;

/// What a case returns: nothing where its assertion holds.
pub type CaseResult = Result<(), Failure>;

/// Why a case did not pass.
///
/// ```
/// use harness::verdict::{Failure, Verdict};
///
/// // The product does not do what the case asserts: the case fails.
/// let failure = Failure::product("expected uid 1000, observed 0")
///     .with_hint(Some("set `runAsUser: 1000` in the pod"));
/// assert_eq!(Verdict::from(failure).name(), "fail");
///
/// // Something else broke, so the case says nothing about the product.
/// assert_eq!(Verdict::from(Failure::harness("cannot parse the manifest")).name(), "error");
///
/// // Only the pod could tell that a requirement is not met.
/// let blocked = Failure::blocked("the node has no /dev/fuse", "load the module `fuse`");
/// assert_eq!(Verdict::from(blocked).name(), "blocked");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The product does not do what the case asserts.
    Product {
        /// What was expected and what was seen.
        message: String,
        /// The cause and its cure, where they are known.
        hint: Option<Hint>,
        /// What the program said that failed, in one line, where one did.
        said: Option<String>,
    },
    /// Something did not end in time. The product's failure, unless what it ran on was lost.
    Timeout {
        /// What did not end, and how long it had.
        message: String,
        /// The cause and its fix, where they are known.
        hint: Option<Hint>,
        /// What the program said that did not end, in one line.
        said: Option<String>,
    },
    /// The harness, the node or the API broke; the product was not judged.
    Harness {
        /// What broke.
        message: String,
    },
    /// A connection, the API server or a node was lost; the product was not judged, and may be if
    /// the case is tried again.
    Lost(Loss),
    /// Only the pod could tell that a requirement is unmet, so nothing was judged.
    Blocked {
        /// Which requirement, and where that was seen.
        reason: String,
        /// What would meet it.
        remedy: String,
        /// What is known of the cause.
        cause: Option<Box<Attribution>>,
    },
    /// Only the pod could tell that the assertion has no meaning here.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// The product does not do what the case asserts, for a cause that is known and accepted.
    KnownIssue {
        /// The known failure.
        signature: SignatureId,
        /// What was seen.
        message: String,
    },
}

/// Something that was lost under a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Who was lost.
    pub who: Lost,
    /// The node's name, where it is known.
    pub node: Option<String>,
    /// What was seen of it.
    pub message: String,
}

impl Failure {
    /// The product does not do what was asserted.
    #[must_use]
    pub fn product(message: impl Into<String>) -> Self {
        Self::Product { message: message.into(), hint: None, said: None }
    }

    /// This did not end within its limit.
    #[must_use]
    pub fn timeout(what: impl Display, limit: Duration) -> Self {
        let message = format!("{what} did not end within {} s", limit.as_secs());
        Self::Timeout { message, hint: None, said: None }
    }

    /// Something other than the product broke.
    #[must_use]
    pub fn harness(message: impl Into<String>) -> Self {
        Self::Harness { message: message.into() }
    }

    /// A connection was lost, and nobody knows by whom.
    #[must_use]
    pub fn lost(message: impl Into<String>) -> Self {
        Self::lost_of(Lost::Connection, None, message)
    }

    /// This was lost, with the node's name where it is known.
    #[must_use]
    pub fn lost_of(who: Lost, node: Option<String>, message: impl Into<String>) -> Self {
        Self::Lost(Loss { who, node, message: message.into() })
    }

    /// Adds the node to a loss.
    #[must_use]
    pub fn on_node(mut self, name: Option<&str>) -> Self {
        if let Self::Lost(loss) = &mut self {
            loss.node = name.map(str::to_owned);
        }
        self
    }

    /// A requirement is unmet, which only the pod could tell.
    #[must_use]
    pub fn blocked(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Blocked { reason: reason.into(), remedy: remedy.into(), cause: None }
    }

    /// A requirement is unmet for this cause, which only the pod could tell.
    #[must_use]
    pub fn blocked_by(reason: impl Into<String>, cause: Attribution) -> Self {
        let hint = Hint::from(cause);
        Self::Blocked { reason: reason.into(), remedy: hint.text, cause: hint.cause }
    }

    /// Adds the place to a requirement that is unmet.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        if let Self::Blocked { reason, remedy, cause } = &mut self {
            *cause = Some(Box::new(Attribution::unmet(reason, place, remedy)));
        }
        self
    }

    /// The assertion has no meaning here, which only the pod could tell.
    #[must_use]
    pub fn not_applicable(reason: impl Into<String>) -> Self {
        Self::NotApplicable { reason: reason.into() }
    }

    /// A failure whose cause is known and accepted. Return it only where the cause was seen: any
    /// other failure is the product's.
    #[must_use]
    pub fn known_issue(signature: SignatureId, message: impl Into<String>) -> Self {
        Self::KnownIssue { signature, message: message.into() }
    }

    /// What was expected and what was seen, or why nothing was judged.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Product { message, .. }
            | Self::Timeout { message, .. }
            | Self::Harness { message }
            | Self::Lost(Loss { message, .. })
            | Self::KnownIssue { message, .. } => message,
            Self::Blocked { reason, .. } | Self::NotApplicable { reason } => reason,
        }
    }

    /// Adds more of what was seen to a failure of the product.
    #[must_use]
    pub fn adding(mut self, more: &str) -> Self {
        if let Self::Product { message, .. } | Self::Timeout { message, .. } = &mut self {
            *message = format!("{message}; {more}");
        }
        self
    }

    /// Adds what the program said that failed. Failures that no signature knows, and in which
    /// programs said the same, have one cause.
    #[must_use]
    pub fn having_said(mut self, text: impl Into<String>) -> Self {
        if let Self::Product { said, .. } | Self::Timeout { said, .. } = &mut self {
            *said = Some(text.into()).filter(|text| !text.is_empty());
        }
        self
    }

    /// As [`Self::with_hint`], where there is one; otherwise it keeps its own.
    #[must_use]
    pub fn or_with_hint(self, new: Option<impl Into<Hint>>) -> Self {
        match new {
            Some(hint) => self.with_hint(Some(hint)),
            None => self,
        }
    }

    /// Adds the cause and its cure to a failure of the product.
    #[must_use]
    pub fn with_hint(mut self, new: Option<impl Into<Hint>>) -> Self {
        if let Self::Product { hint, .. } | Self::Timeout { hint, .. } = &mut self {
            *hint = new.map(Into::into);
        }
        self
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        let message = error.to_string();
        if error.is_loss() {
            Self::lost_of(Lost::ApiServer, None, message)
        } else {
            Self::harness(message)
        }
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Product { message, hint, said } | Failure::Timeout { message, hint, said } => {
                let (hint, cause) = hint.map_or((None, None), |hint| (Some(hint.text), hint.cause));
                let of_said = |wrong| {
                    let fix = hint.clone();
                    Box::new(Attribution { wrong, fix, ..Attribution::default() })
                };
                let cause = cause.or_else(|| said.map(of_said));
                Self::Fail { message, hint, cause }
            }
            Failure::Harness { message } | Failure::Lost(Loss { message, .. }) => {
                Self::Error { message }
            }
            Failure::Blocked { reason, remedy, cause } => Self::Blocked { reason, remedy, cause },
            Failure::NotApplicable { reason } => Self::NotApplicable { reason },
            Failure::KnownIssue { signature, message } => Self::known_issue(signature, message),
        }
    }
}

/// Fails the case unless `holds`; the message says what was expected and what was seen.
///
/// ```
/// use harness::verdict::{CaseResult, ensure};
///
/// fn one_line(text: &str) -> CaseResult {
///     let lines = text.lines().count();
///     ensure(lines == 1, || format!("expected 1 line, observed {lines}"))
/// }
///
/// assert!(one_line("a").is_ok());
/// let failure = one_line("a\nb").expect_err("two lines");
/// assert_eq!(failure.message(), "expected 1 line, observed 2");
/// ```
///
/// # Errors
///
/// A failure of the product with the message.
pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(Failure::product(message())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_stays_one_and_its_verdict_is_a_failure() {
        let late = Failure::timeout("`sleep 9`", Duration::from_secs(2));
        let explained = late.adding("on node `a`").with_hint(Some("see the node's load"));

        assert!(matches!(explained, Failure::Timeout { .. }), "{explained:?}");
        assert_eq!(
            Verdict::from(explained),
            Verdict::fail(
                "`sleep 9` did not end within 2 s; on node `a`",
                Some("see the node's load")
            )
        );
    }
}
