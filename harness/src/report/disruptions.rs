//! The disruptions of a run: those that nestcheck waited for, with the cases that each hit.

use jiff::{SignedDuration, Timestamp};

use crate::{
    cluster::exec_error::Lost,
    verdict::{Disruption, Effect, event::DisruptionEnded},
};

/// How far apart two signs of one disruption may be: what is not asked is not missed.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// A disruption and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisruptionReport {
    /// Who was lost, and when.
    pub disruption: Disruption,
    /// The ids of the cases that it hit, by effect.
    pub cases: Vec<(Effect, String)>,
}

impl DisruptionReport {
    /// The ids of the cases that were hit so.
    pub fn ids(&self, effect: Effect) -> impl Iterator<Item = &str> {
        let cases = self.cases.iter().filter(move |(of_case, _)| *of_case == effect);
        cases.map(|(_, id)| id.as_str())
    }
}

/// What the log reports about disruptions.
#[derive(Default)]
pub(super) struct Disruptions {
    waits: Vec<Disruption>,
    hits: Vec<(Effect, String, Disruption)>,
}

impl Disruptions {
    pub(super) fn start(&mut self, disruption: Disruption) {
        self.waits.push(disruption);
    }

    pub(super) fn end(&mut self, ended: DisruptionEnded) {
        let DisruptionEnded { is_back, mut disruption } = ended;
        let started = self.waits.iter_mut().find(|wait| {
            (wait.lost, &wait.node, wait.since)
                == (disruption.lost, &disruption.node, disruption.since)
        });
        if !is_back {
            disruption.until = None;
        }
        match started {
            Some(wait) => *wait = disruption,
            None => self.waits.push(disruption),
        }
    }

    /// Adds a case that was hit; `at` is when nestcheck reported it.
    pub(super) fn hit(&mut self, effect: Effect, id: &str, at: Timestamp, seen: &Disruption) {
        let since = seen.since.or(Some(at));
        self.hits.push((effect, id.to_owned(), Disruption { since, ..seen.clone() }));
    }

    /// Each disruption once, the first first.
    pub(super) fn finish(self) -> Vec<DisruptionReport> {
        let mut reports: Vec<DisruptionReport> = Vec::new();
        for disruption in self.waits {
            reports.push(DisruptionReport { disruption, cases: Vec::new() });
        }
        for (effect, id, seen) in self.hits {
            let known = reports.iter().position(|report| is_same(&report.disruption, &seen));
            let index = known.unwrap_or_else(|| {
                reports.push(DisruptionReport { disruption: seen.clone(), cases: Vec::new() });
                reports.len() - 1
            });
            let report = &mut reports[index];
            widen(&mut report.disruption, &seen);
            if !report.cases.contains(&(effect, id.clone())) {
                report.cases.push((effect, id));
            }
        }
        for report in &mut reports {
            report.cases.sort();
        }
        reports.sort_by_key(|report| report.disruption.since);
        reports
    }
}

/// Whether two signs are of one disruption. Who sees only that the connection broke, sees the same
/// as others who know why.
fn is_same(known: &Disruption, seen: &Disruption) -> bool {
    let is_connection = |disruption: &Disruption| disruption.lost == Some(Lost::Connection);
    let is_same_node = known.node.is_none() || seen.node.is_none() || known.node == seen.node;
    let is_same_loss = known.lost == seen.lost && is_same_node;
    (is_same_loss || is_connection(known) || is_connection(seen)) && is_near(known, seen)
}

fn is_near(known: &Disruption, seen: &Disruption) -> bool {
    let (Some(since), Some(seen_since)) = (known.since, seen.since) else { return false };
    let until = known.until.unwrap_or(since);
    let seen_until = seen.until.unwrap_or(seen_since);
    let gap = |earlier: Timestamp, later: Timestamp| later.duration_since(earlier);
    gap(until, seen_since) <= SLACK && gap(seen_until, since) <= SLACK
}

/// Lets a disruption last as long as all signs of it.
fn widen(known: &mut Disruption, seen: &Disruption) {
    if known.lost == Some(Lost::Connection) {
        known.lost = seen.lost;
    }
    if known.node.is_none() {
        known.node.clone_from(&seen.node);
    }
    known.since = known.since.into_iter().chain(seen.since).min();
    known.until = known.until.into_iter().chain(seen.until).max();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn lost(who: Lost, since: i64, until: Option<i64>) -> Disruption {
        Disruption {
            lost: Some(who),
            since: Some(at(since)),
            until: until.map(at),
            reason: "seen".into(),
            ..Disruption::default()
        }
    }

    #[test]
    fn signs_of_one_disruption_are_reported_once() {
        let mut disruptions = Disruptions::default();
        disruptions.start(lost(Lost::Node, 10, None));
        disruptions.hit(Effect::Waited, "B", at(24), &lost(Lost::Node, 11, Some(24)));
        disruptions.hit(Effect::Retried, "A", at(25), &lost(Lost::Connection, 10, None));
        disruptions.hit(Effect::Waited, "B", at(24), &lost(Lost::Node, 12, Some(24)));
        let disruption = lost(Lost::Node, 10, Some(23));
        disruptions.end(DisruptionEnded { is_back: true, disruption });
        disruptions.hit(Effect::Retried, "C", at(90), &lost(Lost::Node, 80, Some(90)));
        disruptions.hit(Effect::Undecided, "D", at(90), &lost(Lost::ApiServer, 80, None));

        let found = disruptions.finish();

        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0].disruption, lost(Lost::Node, 10, Some(24)));
        let cases = [(Effect::Waited, "B".to_owned()), (Effect::Retried, "A".to_owned())];
        assert_eq!(found[0].cases, cases);
        assert_eq!(found[1].ids(Effect::Retried).collect::<Vec<_>>(), ["C"]);
        assert_eq!(found[2].ids(Effect::Undecided).collect::<Vec<_>>(), ["D"]);
    }

    #[test]
    fn a_retry_of_an_old_log_has_the_time_of_its_event() {
        let mut disruptions = Disruptions::default();
        disruptions.hit(Effect::Retried, "A", at(3), &Disruption::default());
        assert_eq!(disruptions.finish()[0].disruption.since, Some(at(3)));
    }

    #[test]
    fn one_that_did_not_come_back_has_no_end() {
        let mut disruptions = Disruptions::default();
        disruptions.start(lost(Lost::Node, 10, None));
        let disruption = lost(Lost::Node, 10, Some(70));
        disruptions.end(DisruptionEnded { is_back: false, disruption });
        assert_eq!(disruptions.finish()[0].disruption.until, None);
    }
}
