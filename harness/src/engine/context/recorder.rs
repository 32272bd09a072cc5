//! The record of what a case proved.

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    base::redact,
    diagnosis::{self, CheckName, Symptom},
    verdict::{
        CaseResult, Failure,
        event::{EventKind, TruthCheck},
    },
    workload::truth,
};

/// Records what a case does and proves.
#[derive(Clone)]
pub(crate) struct Recorder {
    id: &'static str,
    events: UnboundedSender<EventKind>,
}

impl Recorder {
    pub(crate) fn new(id: &'static str, events: UnboundedSender<EventKind>) -> Self {
        Self { id, events }
    }

    /// The case's id.
    pub(super) fn id(&self) -> &'static str {
        self.id
    }

    /// Makes and records a truth check, and fails the case where it does not hold. The facts of the
    /// pod that it is about tell the causes of a failure apart.
    ///
    /// # Errors
    ///
    /// The check does not hold.
    pub(super) fn check(
        &self,
        name: CheckName<'_>,
        expected: &str,
        observed: impl Into<String>,
        holds: bool,
        facts: Option<&probe::Facts>,
    ) -> CaseResult {
        let observed = redact::clean(observed.into().as_bytes(), 1024);
        let CheckName { text: name, id } = name;
        let check = truth::check(name, expected, observed, holds);
        let failure = (!holds).then(|| {
            let observed = &check.observed;
            let message = format!("{name}: expected {expected}, observed {observed}");
            let hint = id.and_then(|id| diagnosis::explain(Symptom::Check { id, observed }, facts));
            Failure::product(message).with_hint(hint)
        });
        self.record(check);
        failure.map_or(Ok(()), Err)
    }

    pub(super) fn record(&self, check: TruthCheck) {
        self.emit(EventKind::TruthChecked { id: self.id.to_owned(), check });
    }

    pub(super) fn emit(&self, event: EventKind) {
        // The dispatcher is gone only when the run is over; then nobody misses the event.
        let _ = self.events.send(event);
    }
}
