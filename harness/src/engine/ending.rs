//! The end of a run: teardown, and the signals that hurry it.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use futures::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::{Dispatcher, RunOptions};
use crate::{
    cluster::Cluster,
    event::{Event, EventKind},
    sandbox,
};

/// How much longer a run may take once a second signal asked for its end.
const HURRY: Duration = Duration::from_secs(10);

/// What the signals heard so far ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// To tear down in peace.
    All,
    /// To be done soon.
    Little,
    /// To end at once.
    None,
}

impl Patience {
    fn after(signals: u32) -> Self {
        match signals {
            0 | 1 => Self::All,
            2 => Self::Little,
            _ => Self::None,
        }
    }
}

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    /// Takes note of a signal. The first decides the exit code.
    pub(super) fn hear(&mut self, signal: u8) {
        self.signals_heard += 1;
        self.circumstances.signal.get_or_insert(signal);
        self.emit(EventKind::Interrupted { signal });
    }

    /// Removes everything that the run created. A second signal leaves it 10 s more, a third none;
    /// what is left then stays in the ledger.
    pub(super) async fn close(&mut self, cluster: &Cluster, options: &RunOptions) {
        let started = Instant::now();
        let mut closing = Box::pin(sandbox::close(cluster.admin(), &options.sandbox));
        let mut limit = None;
        let failure = loop {
            let over = async {
                match limit {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                closed = &mut closing => break closed.err().map(|error| error.to_string()),
                Some(signal) = self.signals.next() => {
                    self.hear(signal);
                    match Patience::after(self.signals_heard) {
                        Patience::All => {}
                        Patience::Little => limit = Some(TokioInstant::now() + HURRY),
                        Patience::None => break Some(cut_off(&options.sandbox.run)),
                    }
                }
                () = over => break Some(cut_off(&options.sandbox.run)),
            }
        };
        self.circumstances.leaked |= failure.is_some();
        self.step("teardown", started, failure);
        // A signal that came at the very end had nothing left to stop, but is not to be told as
        // success.
        if let Some(Some(signal)) = self.signals.next().now_or_never() {
            self.hear(signal);
        }
    }
}

fn cut_off(run: &str) -> String {
    format!("a signal cut it off; `nestcheck sweep --run {run}` does the rest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_takes_patience() {
        assert_eq!(Patience::after(1), Patience::All);
        assert_eq!(Patience::after(2), Patience::Little);
        assert_eq!(Patience::after(3), Patience::None);
    }
}
