//! Whether a node answers and has space: a command in one of its pods that prints a line each second.
//! A stream that stays silent or breaks says at once that the node, or the API server before it, is
//! away, and a line says that a disk is full; no request has to ask for that.

mod stream;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stream::{Beat, Ended, Reason, Stream, silent};
use tokio::time::{sleep, timeout};

use super::{
    Workload,
    disruption::{self, LOOK_DEADLINE, RETURN_DEADLINE},
    health::{AFTERMATH, Health, Outage, Sign},
};
use crate::{
    cluster::{exec_error::Lost, retry},
    sandbox::{GRANT_DEADLINE, Sandbox},
    verdict::event::{DisruptionEnded, EventKind},
};

/// How long a node may be silent: one that is busy is sooner heard of.
const SILENCE: Duration = Duration::from_secs(5);

/// When a stream that was forbidden is tried again.
const FORBIDDEN_AGAIN: Duration = Duration::from_millis(500);

/// How long it may take to open another stream where one broke, and nothing else did.
const BLIP: Duration = Duration::from_secs(1);

/// When a stream that broke is opened again: streams that break at once must not load the server.
const REOPEN_AFTER: Duration = Duration::from_millis(200);

/// Watches the node of a pod that is ready for as long as the run needs it, and reports when it is
/// away and when it is back. It ends when nobody waits for the node any more, or no pod is left by
/// which it can be watched.
pub(crate) async fn watch(
    sandbox: &Sandbox,
    workload: Arc<Workload>,
    health: &Health,
    report: impl Fn(EventKind) + Send + Sync,
) {
    let mut next = Some(workload);
    while let Some(workload) = next {
        let (stream, broke, last) = (None, None, Sign::now());
        let mut watched = Watch { sandbox, workload: &workload, stream, broke, last };
        loop {
            match watched.until_lost(health).await {
                Ended::PodGone | Ended::Forbidden => break,
                Ended::Lost(loss) => {
                    if !watched.wait(loss, health, &report).await {
                        health.stop_listening(watched.node());
                        return;
                    }
                }
            }
        }
        next = health.replace(&workload);
        if next.is_none() {
            health.stop_listening(workload.node().unwrap_or_default());
        }
    }
}

struct Watch<'a> {
    sandbox: &'a Sandbox,
    workload: &'a Workload,
    stream: Option<Stream>,
    /// When the last stream broke, and who broke it.
    broke: Option<(Sign, Lost)>,
    /// When the node was heard of last.
    last: Sign,
}

impl Watch<'_> {
    fn node(&self) -> &str {
        self.workload.node().unwrap_or_default()
    }

    fn record_sign(&mut self, health: &Health) {
        self.last = Sign::now();
        health.record_sign(self.node());
    }

    /// Follows the stream, and opens another one where it breaks.
    async fn until_lost(&mut self, health: &Health) -> Ended {
        let started = Sign::now();
        // A server that has just started does not know the permissions yet.
        let may_be_forbidden = |broke: Option<(Sign, Lost)>| {
            broke.map_or(started, |(since, _)| since).age() < GRANT_DEADLINE
        };
        loop {
            let silence = || silent(format!("no sign of life for {} s", SILENCE.as_secs()));
            if let Some(stream) = &mut self.stream {
                match timeout(SILENCE, stream.next()).await {
                    Ok(Beat::Alive) => self.record_sign(health),
                    Ok(Beat::DiskFull(disk)) => return Ended::Lost(Reason::DiskFull(disk)),
                    Ok(Beat::End) => {
                        self.broke = Some((Sign::now(), stream.broken_by()));
                        self.stream = None;
                        sleep(REOPEN_AFTER).await;
                    }
                    Err(_elapsed) => return silence(),
                }
            } else {
                match timeout(SILENCE, Stream::open(self.workload)).await {
                    Ok(Ok((stream, first))) => {
                        self.stream = Some(stream);
                        if let Beat::DiskFull(disk) = first {
                            return Ended::Lost(Reason::DiskFull(disk));
                        }
                        if self.broke.is_some_and(|(since, _)| since.age() >= BLIP) {
                            return silent("the stream broke");
                        }
                        self.broke = None;
                        self.record_sign(health);
                    }
                    Ok(Err(Ended::Forbidden)) if may_be_forbidden(self.broke) => {
                        sleep(FORBIDDEN_AGAIN).await;
                    }
                    Ok(Err(ended)) => return ended,
                    Err(_elapsed) => return silence(),
                }
            }
        }
    }

    /// Waits for the return of what is away. False if it does not return in time.
    async fn wait(
        &mut self,
        mut reason: Reason,
        health: &Health,
        report: &(impl Fn(EventKind) + Sync),
    ) -> bool {
        let (mut lost, mut since) = (self.who(&reason).await, self.last);
        let back = until_back(self.workload, self.stream.take());
        tokio::pin!(back);
        loop {
            let outage = self.outage(lost, since, &reason);
            let is_new = health.begin(&outage);
            if is_new {
                report(EventKind::DisruptionStarted(outage.disruption.clone()));
            }
            let left = self.limit(lost).saturating_sub(since.age());
            let server = until_server_is_back(self.sandbox);
            let returned = first_return(lost, &mut back, server, left).await;
            let is_back = !matches!(returned, Returned::Nothing);
            if is_new {
                let was_full = matches!(returned, Returned::Node((_, true)));
                let disruption = health.end(&outage, is_back, was_full).disruption;
                report(EventKind::DisruptionEnded(DisruptionEnded { is_back, disruption }));
            }
            match returned {
                Returned::Node((stream, _)) => {
                    self.stream = stream;
                    self.record_sign(health);
                    return true;
                }
                // Pods of other nodes are within reach again.
                Returned::ApiServer => {
                    (lost, since) = (Lost::Node, Sign::now());
                    let alone = "the API server is back, and the node does not answer";
                    reason = Reason::Silence(alone.to_owned());
                }
                Returned::Nothing => return false,
            }
        }
    }

    fn outage(&self, lost: Lost, since: Sign, reason: &Reason) -> Outage {
        let node = self.workload.node().filter(|_| lost == Lost::Node).map(str::to_owned);
        let mut outage = Outage::new(since, lost, node, reason.as_str().to_owned());
        outage.may_corrupt = matches!(reason, Reason::DiskFull(_));
        outage
    }

    /// How long nestcheck waits for the return of what is away.
    fn limit(&self, lost: Lost) -> Duration {
        let limit = self.sandbox.timeouts().disruption;
        if lost == Lost::ApiServer { limit.max(RETURN_DEADLINE) } else { limit }
    }

    /// Who is away. A server that broke the connection may have restarted already.
    async fn who(&mut self, reason: &Reason) -> Lost {
        let is_server = match (reason, self.broke.take()) {
            (Reason::DiskFull(_), _) => false,
            (_, Some((_, Lost::ApiServer))) => true,
            _ => disruption::is_there(self.sandbox.admin()).await.is_err(),
        };
        if is_server { Lost::ApiServer } else { Lost::Node }
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
enum Returned<S> {
    /// The node, and the API server before it, with the stream if its pod is there too.
    Node(S),
    /// The API server alone.
    ApiServer,
    /// Nothing, in time.
    Nothing,
}

/// Waits for the node, or for the API server alone where it was lost, but not for ever.
async fn first_return<S>(
    lost: Lost,
    node: impl Future<Output = S>,
    server: impl Future<Output = ()>,
    limit: Duration,
) -> Returned<S> {
    tokio::select! {
        biased;
        stream = node => Returned::Node(stream),
        () = server, if lost == Lost::ApiServer => Returned::ApiServer,
        () = sleep(limit) => Returned::Nothing,
    }
}

/// Waits until the API server has been back for so long that the node would answer too.
async fn until_server_is_back(sandbox: &Sandbox) {
    loop {
        if disruption::until_server_returns(sandbox.admin()).await.is_err() {
            continue;
        }
        sleep(AFTERMATH).await;
        if disruption::is_there(sandbox.admin()).await.is_ok() {
            return;
        }
    }
}

/// Listens to the old stream, which a frozen node goes on with, and tries to open a new one. Returns
/// the stream, and whether the node's disk was full meanwhile.
async fn until_back(workload: &Workload, mut old: Option<Stream>) -> (Option<Stream>, bool) {
    let was_full = AtomicBool::new(false);
    let listen = async {
        while let Some(stream) = &mut old {
            match stream.next().await {
                Beat::Alive => return,
                Beat::DiskFull(_) => was_full.store(true, Ordering::Relaxed),
                Beat::End => break,
            }
        }
        pending::<()>().await;
    };
    let again = retry::with_backoff(
        Duration::MAX,
        |_: &Ended| Some(Duration::ZERO),
        || async {
            match timeout(LOOK_DEADLINE, Stream::open(workload)).await {
                Ok(Ok((stream, Beat::Alive))) => Ok(Some(stream)),
                Ok(Ok((_, _))) => {
                    was_full.store(true, Ordering::Relaxed);
                    Err(silent("the disk is still full"))
                }
                // Whoever says that the pod is gone is back.
                Ok(Err(Ended::PodGone)) => Ok(None),
                Ok(Err(ended)) => Err(ended),
                Err(_elapsed) => Err(silent("no stream")),
            }
        },
    );
    let new = tokio::select! {
        () = listen => None,
        new = again => Some(new.ok().flatten()),
    };
    (new.unwrap_or(old), was_full.into_inner())
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn an_api_server_that_is_back_is_not_lost_until_this_node_is_back_too() {
        let (long, moment) = (Duration::from_secs(60), Duration::from_millis(10));
        let silent = || pending::<()>();
        let server = first_return(Lost::ApiServer, silent(), ready(()), long);
        assert_eq!(server.await, Returned::ApiServer);
        let nothing = first_return(Lost::ApiServer, silent(), silent(), moment);
        assert_eq!(nothing.await, Returned::Nothing);
        let node = first_return(Lost::Node, silent(), ready(()), moment);
        assert_eq!(node.await, Returned::Nothing, "the server was there all the time");
        let both = first_return(Lost::ApiServer, ready(()), ready(()), long);
        assert_eq!(both.await, Returned::Node(()));
    }
}
