//! An answer that may be a refusal.

use kube::Error as KubeError;

use crate::base::text::one_line;

/// The answer to a request that the server may refuse.
pub type Answer<T> = Result<T, Refusal>;

/// The server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, such as 422.
    pub code: u16,
    /// The server's words, on one line.
    pub message: String,
}

impl Refusal {
    /// The refusal that an error is: the server understood the request and rejects its content, or
    /// the user may not make it. Any other error says that the API is broken.
    #[must_use]
    pub fn from_error(error: &KubeError) -> Option<Self> {
        match error {
            KubeError::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Some(Self { code: status.code, message: one_line(&status.message) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_rejected_request_is_a_refusal_and_a_broken_api_is_not() {
        let error = |code| {
            let status = Status { code, message: "spec.x:\n  bad".into(), ..Status::default() };
            KubeError::Api(Box::new(status))
        };
        for code in [400, 403, 422] {
            let refusal = Refusal { code, message: "spec.x: bad".into() };
            assert_eq!(Refusal::from_error(&error(code)), Some(refusal));
        }
        for code in [401, 404, 409, 429, 500, 503] {
            assert_eq!(Refusal::from_error(&error(code)), None, "{code}");
        }
    }
}
