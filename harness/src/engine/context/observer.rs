//! What becomes of a command beside its result.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::recorder::Recorder;
use crate::{
    engine::deadline::{DeadlinePause, Pause},
    verdict::{
        Disruption, Effect,
        event::{CaseDisrupted, EventKind},
    },
    workload::{Observer, Workload, health::Health},
};

/// A pod, and the nonces of commands that may still run in it.
pub(crate) type UnfinishedCommands = (Arc<Workload>, Vec<String>);

/// The commands of a case that may still run in its pods. A lock, because the case and its executor
/// both have it; held to add or take one.
#[derive(Clone, Default)]
pub(crate) struct CommandsOfCase(Arc<Mutex<Vec<UnfinishedCommands>>>);

impl CommandsOfCase {
    fn add(&self, workload: &Arc<Workload>, nonce: &str) {
        let mut commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match commands.iter_mut().find(|(known, _)| Arc::ptr_eq(known, workload)) {
            Some((_, nonces)) => nonces.push(nonce.to_owned()),
            None => commands.push((Arc::clone(workload), vec![nonce.to_owned()])),
        }
    }

    fn remove(&self, nonce: &str) {
        let mut commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, nonces) in commands.iter_mut() {
            nonces.retain(|known| known != nonce);
        }
    }

    /// Those that did not report their end.
    pub(crate) fn take(&self) -> Vec<UnfinishedCommands> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Observes a command of a case.
pub(super) struct CommandObserver<'a> {
    pub(super) workload: &'a Arc<Workload>,
    pub(super) recorder: &'a Recorder,
    pub(super) pauses: &'a UnboundedSender<Pause>,
    pub(super) commands: &'a CommandsOfCase,
    pub(super) health: &'a Health,
}

impl Observer for CommandObserver<'_> {
    type Pause = DeadlinePause;

    fn pause(&self) -> Self::Pause {
        DeadlinePause::begin(self.pauses)
    }

    fn waited(&self, disruption: Disruption) {
        self.recorder.emit(EventKind::CaseDisrupted(CaseDisrupted {
            id: self.recorder.id().to_owned(),
            effect: Effect::Waited,
            disruption,
        }));
    }

    fn begins(&self, nonce: &str) {
        self.commands.add(self.workload, nonce);
    }

    fn ended(&self, nonce: &str) {
        self.commands.remove(nonce);
    }

    fn lost_time(&self, since: Instant) -> Duration {
        self.health.lost_time(since, self.nodes().as_deref())
    }

    async fn until_back(&self, since: Instant) {
        self.health.until_back(since, self.nodes().as_deref()).await;
    }
}

impl CommandObserver<'_> {
    /// The node of the command's pod, as the record of outages takes it.
    fn nodes(&self) -> Option<Vec<String>> {
        self.workload.node().map(|node| vec![node.to_owned()])
    }
}
