//! The signals that ask this program to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Result;

/// Handles two signals. The first one ends the trials, which still sweep their leftovers. A second
/// one ends everything at once. Returns the second one's exit code.
pub(crate) async fn handle_signals(
    stop: CancellationToken,
    first: &tokio::sync::OnceCell<u8>,
) -> Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let code = tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        if first.set(code).is_err() {
            return Ok(code);
        }
        stop.cancel();
    }
}
