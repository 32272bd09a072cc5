//! The signals that ask this program to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Result;

/// Waits for two signals. The first one asks the trials to end, which still sweep what their runs
/// left behind; the second one is waited for in vain mostly, and ends everything at once. Returns
/// the second one's exit code.
pub(crate) async fn heed(stop: CancellationToken, first: &tokio::sync::OnceCell<u8>) -> Result<u8> {
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
