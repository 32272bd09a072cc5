//! The signals that ask a run to end.

use futures::{Stream, StreamExt, stream};
use harness::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The numbers of the signals that ask a run to end, as they come. They no longer end the process
/// by themselves.
///
/// # Errors
///
/// A signal that can't be heard.
pub fn signals() -> Result<impl Stream<Item = u8> + Unpin> {
    let receive = |kind: SignalKind, number: u8| -> Result<_> {
        let signal = signal(kind)
            .map_err(|error| Error::infrastructure(format!("failed to hear signals: {error}")))?;
        Ok(each(signal, number).boxed())
    };
    Ok(stream::select_all([
        receive(SignalKind::hangup(), 1)?,
        receive(SignalKind::interrupt(), 2)?,
        receive(SignalKind::terminate(), 15)?,
    ]))
}

fn each(signal: Signal, number: u8) -> impl Stream<Item = u8> {
    stream::unfold(signal, move |mut signal| async move {
        signal.recv().await.map(|()| (number, signal))
    })
}
