//! What was lost in this run, and when: one record for all cases, so that each knows whether what it
//! saw may count.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::Workload;
use crate::{cluster::exec_error::Lost, verdict::Disruption};

/// How long to wait for a sign of life: longer than it takes to call it an outage.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(12);

/// How soon a stream that survived an outage goes on after that.
const SETTLED: Duration = Duration::from_secs(5);

/// When somebody who waits longer because of an outage looks again how long it has lasted.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long what is back may answer wrongly: an API server that has just started does not know all
/// permissions, and controllers have to notice it.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(10);

/// A time in which the API server or a node did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// Since when.
    began: Instant,
    /// Until when, or until nobody waited for it any more; none as long as that continues.
    ended: Option<Instant>,
    /// Whether nobody waits for it any more.
    pub(crate) is_final: bool,
    /// Whether it may have damaged what was in the pods then, as a full disk does: what fails there
    /// later says nothing about the product.
    pub(super) may_corrupt: bool,
    /// The same for reports.
    pub(crate) disruption: Disruption,
}

impl Outage {
    pub(super) fn new(since: Sign, lost: Lost, node: Option<String>, reason: String) -> Self {
        let since = (since.at, Some(since.time));
        let disruption = Disruption { lost: Some(lost), node, since: since.1, until: None, reason };
        Self { began: since.0, ended: None, is_final: false, may_corrupt: false, disruption }
    }

    /// Whether pods on these nodes are out of reach then. None stands for nodes that nobody knows.
    fn concerns(&self, nodes: Option<&[String]>) -> bool {
        match (&self.disruption.node, nodes) {
            (Some(node), Some(nodes)) => nodes.contains(node),
            _ => true,
        }
    }

    /// From when to when it lasted, of the time since then.
    fn time_since(&self, since: Instant) -> (Instant, Instant) {
        let began = self.began.max(since);
        (began, self.ended.unwrap_or_else(Instant::now).max(began))
    }
}

/// When something was alive, by the clock that measures and by the one of reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    at: Instant,
    time: Timestamp,
}

impl Sign {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), time: Timestamp::now() }
    }

    /// How long ago.
    pub(super) fn age(self) -> Duration {
        self.at.elapsed()
    }
}

/// The record of all outages, and of the pods by which nodes are watched. Locks and channel are held
/// for a look or a change, never for a wait.
#[derive(Clone)]
pub(crate) struct Health {
    outages: watch::Sender<Vec<Outage>>,
    /// When each node that is watched was heard of last.
    signs: watch::Sender<BTreeMap<String, Instant>>,
    watched: Arc<Mutex<Vec<Arc<Workload>>>>,
}

impl Default for Health {
    fn default() -> Self {
        let (outages, signs) = (watch::Sender::default(), watch::Sender::default());
        Self { outages, signs, watched: Arc::default() }
    }
}

impl Health {
    /// Reports each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<Outage>> {
        self.outages.subscribe()
    }

    /// The outage that concerns pods on these nodes now, one that is final first.
    pub(crate) fn current(&self, nodes: Option<&[String]>) -> Option<Outage> {
        let outages = self.outages.borrow();
        let concerned = outages
            .iter()
            .filter(|outage| (outage.ended.is_none() || outage.is_final) && outage.concerns(nodes));
        concerned.max_by_key(|outage| outage.is_final).cloned()
    }

    /// Whether pods on these nodes are out of reach, and somebody waits for them.
    pub(crate) fn ongoing(&self, nodes: Option<&[String]>) -> bool {
        let outages = self.outages.borrow();
        outages
            .iter()
            .any(|outage| outage.ended.is_none() && !outage.is_final && outage.concerns(nodes))
    }

    /// The longest outage since then that concerns pods on these nodes.
    pub(crate) fn during(&self, since: Instant, nodes: Option<&[String]>) -> Option<Outage> {
        let outages = self.outages.borrow();
        let concerned = outages.iter().filter(|outage| outage.concerns(nodes));
        let lost = |outage: &&Outage| lost_in(outage, since);
        concerned.filter(|outage| lost(outage) > Duration::ZERO).max_by_key(lost).cloned()
    }

    /// The last outage that may have damaged pods on these nodes that were there before it.
    pub(crate) fn corruption(&self, nodes: Option<&[String]>) -> Option<Outage> {
        let outages = self.outages.borrow();
        let mut latest_first = outages.iter().rev();
        latest_first.find(|outage| outage.may_corrupt && outage.concerns(nodes)).cloned()
    }

    /// How long pods on these nodes were out of reach since then.
    pub(crate) fn lost_time(&self, since: Instant, nodes: Option<&[String]>) -> Duration {
        let outages = self.outages.borrow();
        let concerned = outages.iter().filter(|outage| outage.concerns(nodes));
        let mut times: Vec<_> = concerned.map(|outage| outage.time_since(since)).collect();
        times.sort();
        // A node and the API server may be away at the same time, which passes once.
        let mut counted = since;
        let mut sum = Duration::ZERO;
        for (began, ended) in times {
            sum += ended.saturating_duration_since(began.max(counted));
            counted = counted.max(ended);
        }
        sum
    }

    /// Takes note of a sign of life of a node.
    pub(super) fn record_sign(&self, node: &str) {
        self.signs.send_modify(|signs| _ = signs.insert(node.to_owned(), Instant::now()));
    }

    /// Takes note that nobody listens to a node any more.
    pub(super) fn stop_listening(&self, node: &str) {
        self.signs.send_modify(|signs| _ = signs.remove(node));
    }

    /// Waits until each of these nodes was heard of after this time, so that it, and the API server
    /// before it, was there then. For a case without nodes, any node proves that of the API server;
    /// where the nodes are not known, it takes all that are listened to.
    /// False if nobody listens to them, or an outage is why they are not heard of.
    pub(crate) async fn confirm(&self, since: Instant, nodes: Option<&[String]>) -> bool {
        let (mut signs, mut outages) = (self.signs.subscribe(), self.subscribe());
        let confirmed = async {
            loop {
                if self.current(nodes).is_some() {
                    return false;
                }
                let known = signs.borrow_and_update().clone();
                let is_new = |node: &String| known.get(node).map(|sign| *sign > since);
                let news = match nodes {
                    None => known.values().map(|sign| *sign > since).min(),
                    Some([]) => known.values().map(|sign| *sign > since).max(),
                    Some(nodes) => nodes.iter().map(is_new).min().flatten(),
                };
                match news {
                    Some(true) => return true,
                    None => return false,
                    Some(false) => {}
                }
                tokio::select! {
                    _ = signs.changed() => {}
                    _ = outages.changed() => {}
                }
            }
        };
        tokio::time::timeout(CONFIRM_DEADLINE, confirmed).await.unwrap_or(false)
    }

    /// Waits for the end of an outage of these nodes since then, and for some time more.
    async fn until_back_for(&self, since: Instant, nodes: Option<&[String]>, settled: Duration) {
        let mut changes = self.subscribe();
        while self.during(since, nodes).is_none() || self.current(nodes).is_some() {
            if changes.changed().await.is_err() {
                pending::<()>().await;
            }
        }
        tokio::time::sleep(settled).await;
    }

    /// As [`Self::until_back_for`], for as long as streams that survived may need.
    pub(crate) async fn until_back(&self, since: Instant, nodes: Option<&[String]>) {
        self.until_back_for(since, nodes, SETTLED).await;
    }

    /// Takes note of an outage. False if it is known: of the API server, the watches of several nodes
    /// learn at once.
    pub(super) fn begin(&self, outage: &Outage) -> bool {
        self.outages.send_if_modified(|outages| {
            let is_same = |known: &Outage| {
                known.ended.is_none()
                    && known.disruption.lost == outage.disruption.lost
                    && known.disruption.node == outage.disruption.node
            };
            let is_new = !outages.iter().any(is_same);
            if is_new {
                outages.push(outage.clone());
            }
            is_new
        })
    }

    /// Takes note of the end of an outage, and returns it with that.
    /// `was_full` says that a disk was full meanwhile, whatever it began with.
    pub(super) fn end(&self, outage: &Outage, is_back: bool, was_full: bool) -> Outage {
        let now = Sign::now();
        let mut ended = outage.clone();
        ended.may_corrupt |= was_full;
        ended.ended = Some(now.at);
        ended.is_final = !is_back;
        let mut seen = ended.clone();
        seen.disruption.until = Some(now.time);
        if is_back {
            ended.clone_from(&seen);
        }
        self.outages.send_modify(|outages| {
            for known in outages.iter_mut().filter(|known| *known == outage) {
                known.clone_from(&ended);
            }
        });
        seen
    }

    /// Adds a pod by which its node can be watched. True if the node was not watched before.
    pub(crate) fn watch(&self, workload: &Arc<Workload>) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = watched.iter().all(|known| known.node() != workload.node());
        watched.push(Arc::clone(workload));
        is_new
    }

    /// Forgets a pod that is gone, and returns another one of its node.
    pub(super) fn replace(&self, workload: &Arc<Workload>) -> Option<Arc<Workload>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|known| !Arc::ptr_eq(known, workload));
        watched.iter().find(|known| known.node() == workload.node()).cloned()
    }
}

/// How long of the time since then it lasted.
fn lost_in(outage: &Outage, since: Instant) -> Duration {
    let (began, ended) = outage.time_since(since);
    ended.saturating_duration_since(began)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(ago: u64, lost: Lost, node: Option<&str>) -> Outage {
        let ago = Duration::from_secs(ago);
        let began = Sign { at: Instant::now().checked_sub(ago).expect("a time"), ..Sign::now() };
        Outage::new(began, lost, node.map(str::to_owned), "seen".into())
    }

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).expect("a time")
    }

    #[test]
    fn only_pods_of_the_lost_node_are_concerned() {
        let health = Health::default();
        let [here, there] = ["here", "there"].map(|node| [node.to_owned()]);
        let lost = outage(10, Lost::Node, Some("here"));
        assert!(health.begin(&lost));
        assert!(!health.begin(&outage(3, Lost::Node, Some("here"))), "it is known");

        assert!(health.ongoing(Some(&here)) && !health.ongoing(Some(&there)));
        assert_eq!(health.current(Some(&here)), Some(lost.clone()));
        assert_eq!(health.current(Some(&there)), None);
        assert_eq!(health.current(Some(&[])), None, "it needs no pod");
        assert_eq!(health.current(None), Some(lost.clone()), "its node is not known yet");
        assert!(health.begin(&outage(1, Lost::ApiServer, None)));
        assert!(health.current(Some(&there)).is_some(), "every pod is reached through it");
    }

    #[tokio::test]
    async fn what_was_seen_counts_once_the_node_gave_a_sign_after_that() {
        let health = Health::default();
        let here = ["here".to_owned()];
        let since = Instant::now();
        assert!(!health.confirm(since, Some(&here)).await, "nobody listens");
        health.record_sign("here");
        assert!(health.confirm(since, Some(&here)).await);
        assert!(health.confirm(since, Some(&[])).await, "the API server was there too");
        let silent = health.confirm(Instant::now(), Some(&here));
        let waits = tokio::time::timeout(Duration::from_millis(50), silent).await;
        assert!(waits.is_err(), "it is silent");
        health.begin(&outage(1, Lost::Node, Some("here")));
        assert!(!health.confirm(since, Some(&here)).await, "it is lost");
    }

    #[tokio::test]
    async fn a_stream_is_given_up_only_after_an_outage_of_its_own_time() {
        let health = Health::default();
        let (since, moment) = (ago(20), Duration::from_millis(20));
        let waits = |since| {
            let health = health.clone();
            async move {
                let back = health.until_back_for(since, None, Duration::ZERO);
                tokio::time::timeout(moment, back).await.is_err()
            }
        };
        assert!(waits(since).await, "nothing was lost");
        let lost = outage(10, Lost::Node, Some("here"));
        health.begin(&lost);
        assert!(waits(since).await, "it is away");
        health.end(&lost, true, false);
        assert!(!waits(since).await);
        assert!(waits(Instant::now()).await, "it began after that");
    }

    #[test]
    fn what_was_lost_before_does_not_count() {
        let health = Health::default();
        let lost = outage(30, Lost::Node, Some("here"));
        health.begin(&lost);
        let seconds = |since| health.lost_time(ago(since), None).as_secs();
        assert_eq!((seconds(60), seconds(10)), (30, 10));
        health.end(&lost, true, false);
        assert_eq!(health.current(None), None);
        assert!(health.during(ago(5), None).is_some());
        assert_eq!(health.during(Instant::now(), None), None);
    }

    #[test]
    fn what_a_full_disk_may_have_corrupted_stays_so() {
        let health = Health::default();
        let [here, there] = ["here", "there"].map(|node| [node.to_owned()]);
        let mut full = outage(90, Lost::Node, Some("here"));
        full.may_corrupt = true;
        health.begin(&full);
        health.end(&full, true, false);
        let silent = outage(20, Lost::Node, Some("there"));
        health.begin(&silent);
        assert_eq!(health.during(Instant::now(), Some(&here)), None);
        assert!(health.corruption(Some(&here)).is_some());
        assert_eq!(
            health.corruption(Some(&there)),
            None,
            "a node that was silent has all that it had"
        );
        assert_eq!(health.corruption(Some(&[])), None, "it has no pods");
        health.end(&silent, true, true);
        assert!(health.corruption(Some(&there)).is_some(), "it was full when it spoke again");
    }

    #[test]
    fn time_in_which_two_were_away_counts_once() {
        let health = Health::default();
        health.begin(&outage(30, Lost::ApiServer, None));
        let node = outage(20, Lost::Node, Some("here"));
        health.begin(&node);
        health.end(&node, true, false);
        assert_eq!(health.lost_time(ago(60), None).as_secs(), 30);
        assert_eq!(health.lost_time(ago(10), None).as_secs(), 10);
    }

    #[tokio::test]
    async fn where_the_nodes_are_not_known_each_must_give_a_sign() {
        let health = Health::default();
        health.record_sign("here");
        let since = Instant::now();
        health.record_sign("there");
        assert!(health.confirm(since, Some(&[])).await, "the API server was there");
        let unknown = tokio::time::timeout(Duration::from_millis(50), health.confirm(since, None));
        assert!(unknown.await.is_err(), "the pod may have been on the other one");
        health.record_sign("here");
        assert!(health.confirm(since, None).await);
    }

    #[test]
    fn one_that_is_given_up_stays_and_takes_no_more_time() {
        let health = Health::default();
        let lost = outage(30, Lost::Node, Some("here"));
        health.begin(&lost);
        let ended = health.end(&lost, false, false);
        assert!(ended.disruption.until.is_some());
        let stays = health.current(None).expect("it stays");
        assert!(stays.is_final && stays.disruption.until.is_none(), "it did not come back");
        assert!(!health.ongoing(None), "a case that can get another node does not wait for it");
        assert_eq!(health.lost_time(Instant::now(), None), Duration::ZERO);
    }
}
