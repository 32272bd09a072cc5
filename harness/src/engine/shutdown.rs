//! The end of a run: teardown, and the signals that hurry it.

use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::{Dispatcher, Keep, RunConfig, stop};
use crate::{
    cluster::Cluster,
    engine::{CheckResult, plan::Plan},
    sandbox::{self, Audit, SandboxConfig},
    verdict::{
        Place, Step, Verdict,
        event::{Event, EventKind},
    },
};

/// How much longer a run may take once a second signal asked for its end.
const SECOND_SIGNAL_GRACE: Duration = Duration::from_secs(10);

/// What the signals heard so far ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownGrace {
    /// To tear down in peace.
    Full,
    /// To be done soon.
    Short,
    /// To end at once.
    None,
}

impl ShutdownGrace {
    pub(super) fn after(signals: u32) -> Self {
        match signals {
            0 | 1 => Self::Full,
            2 => Self::Short,
            _ => Self::None,
        }
    }
}

impl<O: FnMut(&Event), S: Stream<Item = u8> + Unpin> Dispatcher<O, S> {
    /// Takes note of a signal. The first decides the exit code.
    pub(super) fn record_signal(&mut self, signal: u8) {
        self.signals_received += 1;
        if ShutdownGrace::after(self.signals_received) == ShutdownGrace::Short {
            self.grace_end = Some(TokioInstant::now() + SECOND_SIGNAL_GRACE);
        }
        self.circumstances.signal.get_or_insert(signal);
        tracing::debug!(
            signal,
            grace = ?ShutdownGrace::after(self.signals_received),
            "a signal asks the run to end"
        );
        self.emit(EventKind::Interrupted { signal });
    }

    /// Removes everything that the run created. A second signal leaves it 10 s more, a third none;
    /// what is left then stays in the ledger.
    pub(super) async fn close(&mut self, cluster: &Cluster, config: &RunConfig) -> Audit {
        let started = Instant::now();
        let closing = sandbox::close(cluster.admin(), &config.sandbox);
        let audit = match self.until_cut_off(closing).await {
            Some(Ok(audit)) => audit,
            Some(Err(error)) => Audit::failed(error.to_string(), error.is_loss()),
            None => Audit::failed(cut_off(&config.sandbox), true),
        };
        let failure = match audit.failure.as_ref().map(|failed| failed.reason.clone()) {
            None if !audit.left.is_empty() => {
                let left: Vec<_> = audit.left.iter().map(ToString::to_string).collect();
                Some(format!("left behind: {}", left.join(", ")))
            }
            failure => failure,
        };
        self.circumstances.leaked |= failure.is_some();
        self.step(Step::Teardown, started, failure);
        audit
    }

    /// What the clean-up comes to; none where it was cut off. A second signal leaves it 10 s more, a
    /// third none.
    pub(super) async fn until_cut_off<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = Box::pin(work);
        loop {
            if ShutdownGrace::after(self.signals_received) == ShutdownGrace::None {
                return None;
            }
            tokio::select! {
                done = &mut work => return Some(done),
                Some(signal) = self.signals.next() => self.record_signal(signal),
                () = sleep_until(self.grace_end.unwrap_or_else(latest_end)) => return None,
            }
        }
    }

    /// Hears a signal that came at the very end: it had nothing left to stop, but is not to be told
    /// as success.
    pub(super) fn drain(&mut self) {
        if let Some(Some(signal)) = self.signals.next().now_or_never() {
            self.record_signal(signal);
        }
    }

    /// Whether what the run created is to stay.
    pub(super) fn keeps(&self, keep: Keep) -> bool {
        keep == Keep::OnFailure
            && self.signals_received == 0
            && self.tally.standing().iter().any(stop::is_failure)
    }

    /// Leaves everything as it is, pods with the power of the node's root aside; the run's record
    /// stays too, so that it can be swept.
    pub(super) async fn leave(&mut self, cluster: &Cluster, plan: &Plan, config: &RunConfig) {
        let (run, home) = (&config.sandbox.run, &config.sandbox.home);
        let templates = plan.templates().into_iter().filter(|template| template.is_optional());
        let powerful: Vec<_> = templates.map(|template| template.name).collect();
        if !powerful.is_empty() {
            let started = Instant::now();
            let namespace = home.namespace(run);
            let ended = sandbox::end_pods(cluster.admin(), &namespace, run, &powerful).await;
            let failure = ended.err().map(|error| error.to_string());
            self.circumstances.leaked |= failure.is_some();
            self.step(Step::EndPrivilegedPods, started, failure);
        }
        let remedy = match home.given() {
            Some(namespace) => format!(
                "look at the objects in `{namespace}` with the label `nestcheck/run={run}`, then \
                 sweep run `{run}` with `--namespace {namespace}`"
            ),
            None => format!("look at the namespaces `nestcheck-{run}…`, then sweep run `{run}`"),
        };
        self.step(Step::Keep { run: sweep_arguments(&config.sandbox) }, Instant::now(), None);
        for (case, _) in plan.post_run() {
            let reason = "the run's objects are kept, as `--keep on-failure` asks";
            let verdict = Verdict::blocked(reason, &remedy).at(Place::Nestcheck);
            self.finish(case, verdict, 0);
        }
    }

    /// Judges what the run has left. Where a signal kept it from being looked at, or came before
    /// anything was created, there is no verdict of its own.
    pub(super) fn audit(&mut self, plan: &Plan, audit: &Audit) {
        for (case, evaluate) in plan.post_run() {
            let CheckResult { checks, verdict } = evaluate(audit);
            if self.signals_received > 0 && verdict != Verdict::Pass {
                self.finish(case, Verdict::Interrupted, 0);
                continue;
            }
            for check in checks {
                self.emit(EventKind::TruthChecked { id: case.id.to_owned(), check });
            }
            self.finish(case, verdict, 0);
        }
    }
}

/// A time that no run sees.
pub(super) fn latest_end() -> TokioInstant {
    TokioInstant::now() + Duration::from_secs(24 * 60 * 60)
}

fn cut_off(config: &SandboxConfig) -> String {
    let run = sweep_arguments(config);
    format!("a signal cut it off; `nestcheck sweep --run {run}` does the rest")
}

/// What `nestcheck sweep --run` needs: the run's id, and the namespace that it was given.
fn sweep_arguments(config: &SandboxConfig) -> String {
    let run = &config.run;
    let place = config.home.given().map(|it| format!(" --namespace {it}"));
    format!("{run}{}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_takes_grace() {
        assert_eq!(ShutdownGrace::after(1), ShutdownGrace::Full);
        assert_eq!(ShutdownGrace::after(2), ShutdownGrace::Short);
        assert_eq!(ShutdownGrace::after(3), ShutdownGrace::None);
    }
}
