//! The kinds of faults, and what they mean for one request. Pure.

use std::{fmt, str::FromStr, time::Duration};

use http::{Method, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::json;

/// How long a delayed request waits: longer than nestcheck's own patience with a slow server would
/// make a fault of it, so this is a tenth of its 30 s for a request.
const DELAY: Duration = Duration::from_secs(3);

/// How long the server is gone: about as long as an API server takes to restart.
const OUTAGE: Duration = Duration::from_secs(5);

/// What `Retry-After` asks for, in seconds.
const RETRY_AFTER: u64 = 1;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// nestcheck dies: after the server acted where the request changes something (then the object
    /// is there and nestcheck never learned of it), before where it only reads.
    Kill,
    /// nestcheck dies before the request reaches the server.
    KillBefore,
    /// nestcheck dies after the server acted and before nestcheck gets the answer.
    KillAfter,
    /// The connection is cut before the request reaches the server.
    Cut,
    /// The server acts, and the connection is cut instead of the answer.
    Drop,
    /// The connection is cut in the middle of the answer, watches and streams included.
    Sever,
    /// A command in a pod begins, its stream is cut, and the server claims that it succeeded: what an
    /// API server says of a stream that it lost itself (client-go, `watchErrorStream`). Only commands
    /// are counted.
    FalseSuccess,
    /// As [`Self::FalseSuccess`], but the stream is cut before the last byte of the command's report.
    FalseEnd,
    /// The server is gone for 5 s from the request on: every connection is cut, new ones too.
    Outage,
    /// The request waits before it is passed on.
    Delay,
    /// The server claims to be busy: 429 with `Retry-After`.
    Busy,
    /// The server claims to be unavailable: 503.
    Unavailable,
    /// The server claims that the resource expired: 410.
    Gone,
    /// The server claims an internal error: 500.
    Broken,
}

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Passes it on.
    Pass,
    /// Kills nestcheck and passes nothing on.
    KillBefore,
    /// Passes it on, and kills nestcheck when the answer arrives.
    KillAfter,
    /// Cuts the connection.
    Cut,
    /// Passes it on, and cuts the connection when the answer arrives.
    Drop,
    /// Passes it on, and cuts the connection in the middle of the answer.
    Sever,
    /// Passes it on, cuts its stream there, and claims that the command succeeded.
    FalseSuccess(Cut),
    /// Cuts every connection, and those that come within this time.
    Outage(Duration),
    /// Waits, then passes it on.
    Delay(Duration),
    /// Answers in the server's place.
    Answer(StatusCode),
}

/// Where the stream of a command is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Once the command has begun.
    Begun,
    /// Before the last byte of its report.
    Report,
}

impl FaultKind {
    /// Every fault.
    pub const ALL: [Self; 14] = [
        Self::Kill,
        Self::KillBefore,
        Self::KillAfter,
        Self::Cut,
        Self::Drop,
        Self::Sever,
        Self::FalseSuccess,
        Self::FalseEnd,
        Self::Outage,
        Self::Delay,
        Self::Busy,
        Self::Unavailable,
        Self::Gone,
        Self::Broken,
    ];

    /// The fault's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillBefore => "kill-before",
            Self::KillAfter => "kill-after",
            Self::Cut => "cut",
            Self::Drop => "drop",
            Self::Sever => "sever",
            Self::FalseSuccess => "false-success",
            Self::FalseEnd => "false-end",
            Self::Outage => "outage",
            Self::Delay => "delay",
            Self::Busy => "429",
            Self::Unavailable => "503",
            Self::Gone => "410",
            Self::Broken => "500",
        }
    }

    /// Whether it kills nestcheck.
    #[must_use]
    pub fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::KillBefore | Self::KillAfter)
    }

    /// Whether it strikes commands in pods alone, which are counted by themselves.
    pub(crate) fn is_of_commands(self) -> bool {
        matches!(self, Self::FalseSuccess | Self::FalseEnd)
    }

    /// What it means for a request.
    pub(crate) fn action(self, method: &Method) -> Action {
        match self {
            Self::Kill if changes(method) => Action::KillAfter,
            Self::Kill | Self::KillBefore => Action::KillBefore,
            Self::KillAfter => Action::KillAfter,
            Self::Cut => Action::Cut,
            Self::Drop => Action::Drop,
            Self::Sever => Action::Sever,
            Self::FalseSuccess => Action::FalseSuccess(Cut::Begun),
            Self::FalseEnd => Action::FalseSuccess(Cut::Report),
            Self::Outage => Action::Outage(OUTAGE),
            Self::Delay => Action::Delay(DELAY),
            Self::Busy => Action::Answer(StatusCode::TOO_MANY_REQUESTS),
            Self::Unavailable => Action::Answer(StatusCode::SERVICE_UNAVAILABLE),
            Self::Gone => Action::Answer(StatusCode::GONE),
            Self::Broken => Action::Answer(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// Whether a request of this method may change something.
fn changes(method: &Method) -> bool {
    !method.is_safe()
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for FaultKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("the faults are {names}"))
    }
}

/// A fault at the k-th request of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Which request, from 1.
    pub(crate) at: u64,
}

impl Fault {
    /// What happens to the request with this number.
    pub(crate) fn action(self, number: u64, method: &Method) -> Action {
        if number == self.at { self.kind.action(method) } else { Action::Pass }
    }
}

/// The faults of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// At one of all its requests.
    pub(crate) request: Option<Fault>,
    /// At commands in pods, which alone are counted.
    pub(crate) commands: Vec<Fault>,
}

impl From<Option<Fault>> for Faults {
    fn from(request: Option<Fault>) -> Self {
        Self { request, commands: Vec::new() }
    }
}

/// The answer of an API server in this state: headers and body (apimachinery `metav1.Status`).
pub(crate) fn status_answer(code: StatusCode) -> (Vec<(&'static str, String)>, String) {
    let reason = match code {
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::GONE => "Expired",
        _ => "InternalError",
    };
    let mut headers = vec![("content-type", "application/json".to_owned())];
    let mut details = json!({});
    if code == StatusCode::TOO_MANY_REQUESTS {
        headers.push(("retry-after", RETRY_AFTER.to_string()));
        details = json!({ "retryAfterSeconds": RETRY_AFTER });
    }
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("chaos answered {} in the server's place", code.as_u16()),
        "reason": reason,
        "details": details,
        "code": code.as_u16(),
    });
    (headers, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_request_with_the_number_is_struck() {
        let fault = Fault { kind: FaultKind::Cut, at: 3 };
        let actions = (1..=4).map(|number| fault.action(number, &Method::GET));
        let expected = [Action::Pass, Action::Pass, Action::Cut, Action::Pass];
        assert!(actions.eq(expected));
    }

    #[test]
    fn a_kill_waits_for_the_server_only_where_it_changes_something() {
        assert_eq!(FaultKind::Kill.action(&Method::POST), Action::KillAfter);
        assert_eq!(FaultKind::Kill.action(&Method::DELETE), Action::KillAfter);
        assert_eq!(FaultKind::Kill.action(&Method::GET), Action::KillBefore);
        assert_eq!(FaultKind::KillAfter.action(&Method::GET), Action::KillAfter);
    }

    #[test]
    fn every_fault_is_read_back_by_its_name() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("oops".parse::<FaultKind>().expect_err("no fault").contains("kill-before"));
    }

    #[test]
    fn only_a_busy_server_says_when_to_come_again() {
        let (headers, body) = status_answer(StatusCode::TOO_MANY_REQUESTS);
        assert!(headers.contains(&("retry-after", "1".to_owned())));
        assert!(body.contains("\"retryAfterSeconds\":1"));
        let (headers, body) = status_answer(StatusCode::GONE);
        assert!(headers.iter().all(|(name, _)| *name != "retry-after"));
        assert!(body.contains("\"reason\":\"Expired\""));
    }
}
