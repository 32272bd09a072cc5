//! The only user of the `backoff` crate.
//!
//! `backoff` is unmaintained (RUSTSEC-2025-0012) and was asked for by name. It only computes the
//! delays here, so that `backon`, which kube already pulls in, can take its place in this file.

use std::{future::Future, time::Duration};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

/// Runs `operation` until it succeeds, fails for good, or `budget` is used up.
///
/// `delay` says of an error whether to try again, and after how long at least; the wait grows
/// from 50 ms to 5 s, with jitter. The last error is returned.
///
/// ```
/// use std::time::Duration;
///
/// use harness::cluster::retry::with_backoff;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let mut answers = [Ok("ready"), Err("busy")].into_iter();
/// let is_transient = |error: &&str| (*error == "busy").then_some(Duration::ZERO);
/// let next = || std::future::ready(answers.next_back().unwrap_or(Err("gone")));
///
/// let answer = with_backoff(Duration::from_secs(10), is_transient, next).await;
/// assert_eq!(answer, Ok("ready"));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The first error that `delay` calls final, or the last one when the budget is used up.
pub async fn with_backoff<T, E, F, Fut>(
    budget: Duration,
    delay: impl Fn(&E) -> Option<Duration> + Send,
    mut operation: F,
) -> Result<T, E>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    E: Send,
{
    let mut schedule = schedule(budget);
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let (Some(at_least), Some(next)) = (delay(&error), schedule.next_backoff()) else {
            return Err(error);
        };
        let pause = next.max(at_least);
        tracing::debug!(pause_ms = pause.as_millis(), "the server asked to try again");
        tokio::time::sleep(pause).await;
    }
}

fn schedule(budget: Duration) -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(50))
        .with_max_interval(Duration::from_secs(5))
        .with_max_elapsed_time(Some(budget))
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn it_tries_again_while_the_error_is_transient() {
        let tries = AtomicU32::new(0);
        let result: Result<u32, &str> = with_backoff(
            Duration::from_secs(30),
            |_| Some(Duration::ZERO),
            || async {
                match tries.fetch_add(1, Ordering::Relaxed) {
                    0 | 1 => Err("busy"),
                    n => Ok(n),
                }
            },
        )
        .await;
        assert_eq!(result, Ok(2));
    }

    #[tokio::test]
    async fn it_stops_at_a_final_error() {
        let tries = AtomicU32::new(0);
        let result: Result<(), &str> = with_backoff(
            Duration::from_secs(30),
            |_| None,
            || async {
                tries.fetch_add(1, Ordering::Relaxed);
                Err("forbidden")
            },
        )
        .await;
        assert_eq!(result, Err("forbidden"));
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn it_ends_when_the_budget_is_used_up() {
        let result: Result<(), &str> = with_backoff(
            Duration::from_millis(120),
            |_| Some(Duration::ZERO),
            || async { Err("busy") },
        )
        .await;
        assert_eq!(result, Err("busy"));
    }
}
