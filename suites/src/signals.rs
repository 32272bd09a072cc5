//! The signals that ask a run to end, or to tell what it does.

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use harness::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The numbers of the signals that ask a run to end, as they come. They no longer end the process
/// by themselves.
///
/// # Errors
///
/// A signal that can't be heard.
pub fn signals() -> Result<impl Stream<Item = u8> + Unpin> {
    Ok(stream::select_all([
        receive(SignalKind::hangup(), 1)?,
        receive(SignalKind::interrupt(), 2)?,
        receive(SignalKind::terminate(), 15)?,
    ]))
}

/// Each SIGUSR1, which asks what runs now. It no longer ends the process.
///
/// # Errors
///
/// A signal that can't be heard.
pub fn questions() -> Result<impl Stream<Item = u8> + Unpin> {
    receive(SignalKind::user_defined1(), 10)
}

fn receive(kind: SignalKind, number: u8) -> Result<BoxStream<'static, u8>> {
    let signal = signal(kind)
        .map_err(|error| Error::infrastructure(format!("failed to hear signals: {error}")))?;
    Ok(each(signal, number).boxed())
}

fn each(signal: Signal, number: u8) -> impl Stream<Item = u8> {
    stream::unfold(signal, move |mut signal| async move {
        signal.recv().await.map(|()| (number, signal))
    })
}
