//! How long a case may take, apart from what it waits for by a deadline of its own.

use std::time::Duration;

use tokio::{sync::mpsc::UnboundedSender, time::Instant};

/// What a case tells of itself: whether the cluster is at work on a pod of the case's own. That
/// may be slow without a fault of the product (an image that is pulled, a volume that is attached),
/// and has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    Begun,
    Ended,
}

/// A pause of a case's deadline, as long as this lives.
pub(crate) struct DeadlinePause(UnboundedSender<Pause>);

impl DeadlinePause {
    pub(crate) fn begin(pauses: &UnboundedSender<Pause>) -> Self {
        // Whoever counts the time has ended where the channel is closed.
        let _ = pauses.send(Pause::Begun);
        Self(pauses.clone())
    }
}

impl Drop for DeadlinePause {
    fn drop(&mut self) {
        let _ = self.0.send(Pause::Ended);
    }
}

/// When a case has to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    ends: Instant,
    /// How many pauses there are: a case may make several pods at once.
    pauses: u32,
    since: Instant,
}

impl Deadline {
    pub(super) fn begin(limit: Duration, now: Instant) -> Self {
        Self { ends: now + limit, pauses: 0, since: now }
    }

    /// Takes note of a pause. What it lasts is not the case's time.
    pub(super) fn apply(&mut self, pause: Pause, now: Instant) {
        match pause {
            Pause::Begun => {
                if self.pauses == 0 {
                    self.since = now;
                }
                self.pauses += 1;
            }
            Pause::Ended => {
                self.pauses = self.pauses.saturating_sub(1);
                if self.pauses == 0 {
                    self.ends += now.saturating_duration_since(self.since);
                }
            }
        }
    }

    /// Gives the case this much more time.
    pub(super) fn extend(&mut self, by: Duration) {
        self.ends += by;
    }

    /// None as long as there is a pause.
    pub(super) fn ends(&self) -> Option<Instant> {
        (self.pauses == 0).then_some(self.ends)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn pauses_are_not_the_cases_time_and_count_once() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut deadline = Deadline::begin(Duration::from_secs(120), begin);
        assert_eq!(deadline.ends(), Some(at(120)));
        deadline.apply(Pause::Begun, at(10));
        deadline.apply(Pause::Begun, at(20));
        deadline.apply(Pause::Ended, at(150));
        assert_eq!(deadline.ends(), None, "one goes on");
        deadline.apply(Pause::Ended, at(160));
        assert_eq!(deadline.ends(), Some(at(270)));
        deadline.apply(Pause::Begun, at(200));
        deadline.apply(Pause::Ended, at(201));
        assert_eq!(deadline.ends(), Some(at(271)));
    }

    #[test]
    fn a_pause_ends_however_its_wait_does() {
        let (pauses, mut received) = unbounded_channel();
        drop(DeadlinePause::begin(&pauses));
        assert_eq!(received.try_recv(), Ok(Pause::Begun));
        assert_eq!(received.try_recv(), Ok(Pause::Ended));
    }
}
