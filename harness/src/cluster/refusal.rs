//! An answer that may be a refusal.

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
