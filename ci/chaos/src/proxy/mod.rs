//! The proxy between nestcheck and the API server.
//!
//! It speaks HTTP/1.1 on both sides, passes watches and upgraded connections (commands in pods)
//! through as they come, counts the requests of all connections in the order in which their heads
//! arrive, and does faults at some of them.

mod answer;
mod forward;
mod frames;
mod record;
mod upstream;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use answer::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use record::Record;
pub(crate) use record::Seen;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::BoxError;
pub(crate) use upstream::Upstream;

use crate::{
    Result,
    fault::{Action, Faults},
};

/// What all connections of a proxy share.
struct Shared {
    upstream: Upstream,
    faults: Faults,
    record: Record,
    /// Told when nestcheck is to die.
    kill: Notify,
    /// The requests that were passed on and are not answered yet.
    under_way: TaskTracker,
    /// Ends everything.
    end: CancellationToken,
    /// What an outage ends.
    line: Mutex<Line>,
}

/// Whether the server seems to be there.
struct Line {
    /// Ends the connections that are open.
    open: CancellationToken,
    /// Until when the server seems to be gone.
    gone_until: Option<Instant>,
}

impl Shared {
    /// Cuts all connections, and those that are opened within this time.
    fn begin_outage(&self, run_timeout: Duration) {
        let mut line = self.line.lock();
        line.gone_until = Some(Instant::now() + run_timeout);
        let open = std::mem::replace(&mut line.open, self.end.child_token());
        open.cancel();
    }

    /// What ends a connection that is opened now. None during an outage.
    fn connection(&self) -> Option<CancellationToken> {
        let line = self.line.lock();
        let is_gone = line.gone_until.is_some_and(|until| Instant::now() < until);
        (!is_gone).then(|| line.open.clone())
    }
}

/// A proxy that listens. It ends when it is dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end.cancel();
    }
}

impl Proxy {
    /// Begins to listen on a port of its own.
    pub(crate) async fn start(upstream: Upstream, faults: impl Into<Faults>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let end = CancellationToken::new();
        let line = Line { open: end.child_token(), gone_until: None };
        let shared = Arc::new(Shared {
            upstream,
            faults: faults.into(),
            record: Record::default(),
            kill: Notify::new(),
            under_way: TaskTracker::new(),
            end,
            line: Mutex::new(line),
        });
        let end = shared.end.clone();
        tokio::spawn(end.run_until_cancelled_owned(accept(listener, Arc::clone(&shared))));
        Ok(Self { shared, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until nestcheck is to be killed.
    pub(crate) async fn kill(&self) {
        self.shared.kill.notified().await;
    }

    /// Waits until the server has answered what was passed on: it acts on the requests of a client
    /// that died too, and nothing can be said of its objects before.
    pub(crate) async fn settle(&self, timeout: Duration) {
        self.shared.under_way.close();
        let _ = tokio::time::timeout(timeout, self.shared.under_way.wait()).await;
    }

    /// What was seen until now.
    pub(crate) fn seen(&self) -> Seen {
        self.shared.record.seen()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: the next ones come free with the next run's end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Dropped, the connection is cut.
        let Some(open) = shared.connection() else { continue };
        tokio::spawn(open.run_until_cancelled_owned(serve(stream, Arc::clone(&shared))));
    }
}

/// Serves one connection to its end. An error is the client's end of it, or a fault.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| fault(request, Arc::clone(&shared)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

/// Counts a request and does with it what is due. An error cuts the connection without an answer.
async fn fault(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> std::result::Result<Response<Body>, BoxError> {
    match shared.record.count(&request, &shared.faults) {
        Action::Pass => Ok(answer::whole(forward::forward(request, &shared).await?)),
        Action::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Ok(answer::whole(forward::forward(request, &shared).await?))
        }
        Action::Answer(code) => answer::instead(code),
        Action::Cut => Err(cut()),
        Action::Outage(run_timeout) => {
            shared.begin_outage(run_timeout);
            Err(cut())
        }
        Action::Drop => {
            forward::forward_without_upgrade(request, &shared).await?;
            Err(cut())
        }
        Action::Sever => forward::forward_severed(request, &shared).await,
        Action::FalseSuccess(cut) => forward::forward_false_success(request, &shared, cut).await,
        Action::KillBefore => {
            shared.kill.notify_one();
            std::future::pending().await
        }
        Action::KillAfter => {
            let _answer = forward::forward_without_upgrade(request, &shared).await;
            shared.kill.notify_one();
            std::future::pending().await
        }
    }
}

fn cut() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "cut by chaos").into()
}

#[cfg(test)]
mod tests;
