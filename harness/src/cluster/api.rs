//! One way to call the API: with a deadline, with our retries, with errors in words.

use std::{future::Future, time::Duration};

use kube::{Error as KubeError, client::UpgradeConnectionError};

use crate::{Error, base::error::chain, cluster::retry};

/// How long one API request may take, retries included.
///
/// Longer than the API server's own limit for a request (`--request-timeout`, 60 s by default)
/// only leads to waiting for an answer that never comes, so this is half of it.
pub const API_DEADLINE: Duration = Duration::from_secs(30);

/// How long a server may take that is asked for the first time: whoever gave the wrong address
/// should learn it soon.
pub const FIRST_CONTACT_DEADLINE: Duration = Duration::from_secs(10);

/// Calls the API: retries what the server asks to retry, gives up after [`API_DEADLINE`].
///
/// `what` names the call as a fragment that follows "failed to", such as "list nodes".
///
/// # Errors
///
/// The server's refusal, a broken connection, or the deadline, as an infrastructure error.
pub async fn call<T, F, Fut>(what: &str, operation: F) -> Result<T, Error>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, KubeError>> + Send,
{
    attempt(API_DEADLINE, what, delay_of_known_server, operation).await
}

/// Asks a server that has answered before, again where it or the connection breaks, and returns its
/// answer as it is: for whoever takes a refusal for an answer. The operation may be done twice.
///
/// # Errors
///
/// A refusal, or that it did not answer within [`API_DEADLINE`], as an infrastructure error.
pub async fn ask<T, F, Fut>(what: &str, operation: F) -> Result<Result<T, KubeError>, Error>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, KubeError>> + Send,
{
    let attempts = retry::with_backoff(API_DEADLINE, delay_of_known_server, operation);
    tokio::time::timeout(API_DEADLINE, attempts)
        .await
        .map_err(|_elapsed| no_answer(what, API_DEADLINE))
}

/// Calls a server for the first time, with another deadline. A connection that can't be made is told
/// at once then: it is the address or the certificate that is wrong, and asking again does not help.
///
/// # Errors
///
/// As [`call`].
pub async fn call_within<T, F, Fut>(
    deadline: Duration,
    what: &str,
    operation: F,
) -> Result<T, Error>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, KubeError>> + Send,
{
    attempt(deadline, what, delay_asked_for, operation).await
}

async fn attempt<T, F, Fut>(
    deadline: Duration,
    what: &str,
    delay: impl Fn(&KubeError) -> Option<Duration> + Send,
    operation: F,
) -> Result<T, Error>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, KubeError>> + Send,
{
    let attempts = retry::with_backoff(deadline, delay, operation);
    match tokio::time::timeout(deadline, attempts).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(describe(what, &error)),
        Err(_elapsed) => Err(no_answer(what, deadline)),
    }
}

fn no_answer(what: &str, deadline: Duration) -> Error {
    Error::loss(format!("failed to {what}: no answer within {} s", deadline.as_secs())).with_hint(
        "check the kubeconfig's `server`, and whether the API server is overloaded or \
             restarting",
    )
}

/// Whether the server asked to come again later, and after how long at least.
fn delay_asked_for(error: &KubeError) -> Option<Duration> {
    match error {
        KubeError::Api(status) if matches!(status.code, 429 | 503 | 504) => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Some(Duration::from_secs(u64::from(seconds)))
        }
        _ => None,
    }
}

/// Whether to try again with a server that has answered before: it asked for it, broke, or the
/// connection did. What is created is found again by its name, so that it is not created twice.
fn delay_of_known_server(error: &KubeError) -> Option<Duration> {
    let passes = match error {
        KubeError::Api(status) => matches!(status.code, 410 | 500 | 502),
        KubeError::Service(_) | KubeError::HyperError(_) => true,
        // The answer ended before it was whole.
        KubeError::SerdeError(error) => error.is_eof(),
        _ => false,
    };
    delay_asked_for(error).or(passes.then_some(Duration::ZERO))
}

/// Whether nobody listened at the server's address, or there was no way to it: nothing of the request
/// has arrived.
#[must_use]
pub fn is_unreached(error: &KubeError) -> bool {
    causes(error).any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
    }) || before_request(error).is_some()
}

/// An error with its causes.
fn causes(error: &KubeError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source())
}

/// Why a request was not sent, if it was not: our own connections and tokens are what ends with an
/// error of ours.
fn before_request(error: &KubeError) -> Option<&Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<Error>())
}

/// Whether a server or a connection to it was lost, rather than something refused.
#[must_use]
pub fn is_loss(error: &KubeError) -> bool {
    match error {
        KubeError::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
            status.is_server_error() || status.as_u16() == 429
        }
        KubeError::UpgradeConnection(UpgradeConnectionError::GetPendingUpgrade(_)) => true,
        other => delay_of_known_server(other).is_some(),
    }
}

/// The HTTP status of a refusal by the server.
#[must_use]
pub fn status_code(error: &KubeError) -> Option<u16> {
    match error {
        KubeError::Api(status) => Some(status.code),
        // The handshake of a stream hides the server's words, but not its status.
        KubeError::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
            Some(code.as_u16())
        }
        _ => None,
    }
}

/// Whether the server refused for lack of rights.
#[must_use]
pub fn is_forbidden(error: &KubeError) -> bool {
    status_code(error) == Some(403)
}

/// Puts an API error into words, with what the reader can do.
#[must_use]
pub fn describe(what: &str, error: &KubeError) -> Error {
    let reported = |message: String| {
        if is_loss(error) { Error::loss(message) } else { Error::infrastructure(message) }
    };
    match error {
        KubeError::Api(status) => {
            let said = match status.message.as_str() {
                "" => "the server does not say why",
                message => message,
            };
            let message = format!("failed to {what}: {said} ({})", status.code);
            let described = reported(message);
            match status.code {
                401 => described.with_hint(
                    "the token or certificate is expired or not accepted: log in again, or choose \
                     another user with `--context`; in a pod, check its service account",
                ),
                403 if status.message.contains("cannot impersonate") => described.with_hint(
                    "let an administrator grant the kubeconfig's user the verb `impersonate` for \
                     this user and these groups, or leave `--as` out",
                ),
                403 => described.with_hint(
                    "use a kubeconfig whose user may do this; `nestcheck preflight --print-rbac` \
                     prints all rights that a run needs",
                ),
                // kube's code for an answer that is no answer of the API.
                0 | 404 => described.with_hint(
                    "check that the kubeconfig's `server` is the API server of a Kubernetes cluster",
                ),
                500.. => described.with_hint("the API server broke, not the request: see its log"),
                _ => described,
            }
        }
        other => {
            if let Some(ours) = before_request(other) {
                let described = reported(format!("failed to {what}: {ours}"));
                return match ours.hint() {
                    Some(hint) => described.with_hint(hint),
                    None => described,
                };
            }
            let text = chain(other);
            let hint = if text.contains("certificate") || text.contains("tls") {
                "the server's certificate does not fit the kubeconfig's \
                 `certificate-authority-data`: fetch the kubeconfig of this very cluster"
            } else {
                "check the kubeconfig's `server` and that the cluster is up and reachable from here"
            };
            reported(format!("failed to {what}: {text}")).with_hint(hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> KubeError {
        KubeError::Api(Box::new(Status { code, ..Status::default() }))
    }

    fn lost() -> KubeError {
        KubeError::Service("connection reset by peer".into())
    }

    #[test]
    fn a_server_that_was_there_before_is_asked_again_when_it_breaks_or_the_connection_does() {
        for error in [answer(429), answer(500), answer(502), answer(503), answer(504), lost()] {
            assert!(delay_of_known_server(&error).is_some(), "{error}");
        }
        for code in [400, 401, 403, 404, 409, 422] {
            assert_eq!(delay_of_known_server(&answer(code)), None, "{code}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer_and_a_broken_connection_is_not() {
        let mut answers = vec![answer(403), lost(), answer(503)];
        let asked = ask("create a pod", || {
            let next = answers.pop().map_or(Ok(()), Err);
            async move { next }
        });
        let refusal = asked.await.expect("it answers").expect_err("it refuses");
        assert_eq!(status_code(&refusal), Some(403));
    }

    #[test]
    fn only_a_request_that_found_nobody_has_not_arrived() {
        let io = |kind| KubeError::Service(Box::new(std::io::Error::from(kind)));
        assert!(is_unreached(&io(std::io::ErrorKind::ConnectionRefused)));
        assert!(!is_unreached(&io(std::io::ErrorKind::ConnectionReset)));
        assert!(!is_unreached(&answer(503)));
    }

    #[test]
    fn what_kept_a_request_from_being_sent_is_reported_with_its_own_hint() {
        let ours = Error::loss("proxy `http://p:1` cannot be reached").with_hint("start it");
        let error = KubeError::Service(Box::new(ours));
        let described = describe("list nodes", &error);
        assert_eq!(
            described.with_hint_line(),
            "failed to list nodes: proxy `http://p:1` cannot be reached\nhint: start it"
        );
        assert!(described.is_loss() && is_unreached(&error));
    }

    #[test]
    fn a_refusal_to_act_as_another_hints_at_the_verb() {
        let message = "users \"alice\" is forbidden: User \"dev\" cannot impersonate resource";
        let status = Status { code: 403, message: message.to_owned(), ..Status::default() };
        let described = describe("list nodes", &KubeError::Api(Box::new(status)));
        assert!(described.hint().is_some_and(|hint| hint.contains("verb `impersonate`")));
    }

    #[test]
    fn a_server_that_was_never_there_is_asked_again_only_if_it_says_so() {
        assert_eq!(delay_asked_for(&lost()), None);
        assert_eq!(delay_asked_for(&answer(500)), None);
        assert!(delay_asked_for(&answer(503)).is_some());
    }
}
