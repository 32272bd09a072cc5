//! The process that owns a cluster: it acquires everything, watches over it and gives it back. If
//! it is killed, the kernel ends the node, and the state file says what is left.

pub mod control;
mod files;
mod other_nodes;
pub mod report;
mod start;

use std::{
    io::{self, Read},
    path::PathBuf,
    thread,
    time::Duration,
};

use report::Report;
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedSender,
};

use crate::{
    artifacts::Artifacts,
    console,
    error::Error,
    network::Claim,
    node::session::{Answer, Message, Session},
    paths::StateFolder,
    state::{Phase, State},
    teardown,
};

/// How long components may take to end and to be ready again.
const RESTART: Duration = Duration::from_secs(60);

/// The request of `up` to the supervisor, as one line on its stdin.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The state folder of the cluster.
    pub folder: PathBuf,
    /// What the cluster is made of.
    pub artifacts: Artifacts,
}

/// Runs as a supervisor until the cluster ends.
pub fn run() -> Result<(), Error> {
    // Out of the terminal's session: its signals are for `up` only.
    nix::unistd::setsid().map_err(|errno| Error::io("start", "a session", errno))?;
    let Some(request) = read_request()? else {
        // `up` ended before it could write this process down.
        return Ok(());
    };
    let folder = StateFolder::at(request.folder.clone());
    let Some(state) = State::read(&folder)? else {
        return Err(Error::other("the cluster has no state file"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::io("start", "the event loop", source))?;
    runtime.block_on(Supervisor::new(folder, state).run(&request))
}

/// The owner of a cluster.
struct Supervisor {
    folder: StateFolder,
    state: State,
    /// Held until the end, so that no other cluster takes the subnet.
    claim: Option<Claim>,
}

impl Supervisor {
    fn new(folder: StateFolder, state: State) -> Self {
        Self { folder, state, claim: None }
    }

    async fn run(mut self, request: &Request) -> Result<(), Error> {
        match self.start(request).await {
            Ok(session) => {
                self.state.phase = Phase::Ready;
                self.save()?;
                control::listen(&self.folder, session.sender())?;
                report::send(&Report::Ready);
                report::hang_up();
                self.watch(session).await;
                let released = teardown::release(&self.state);
                self.save()?;
                released
            }
            Err(error) => {
                let released = teardown::release(&self.state);
                self.state.phase = Phase::Failed;
                self.state.failure = Some(error.to_failure());
                self.save()?;
                report::send(&Report::Failed { failure: error.to_failure() });
                released
            }
        }
    }

    /// Watches over a running cluster until it is to end.
    async fn watch(&mut self, mut session: Session) {
        loop {
            let message = session.listen().await;
            self.state.components.clone_from(session.components());
            match message {
                Message::Terminate => return,
                Message::NodeEnded { outcome } => {
                    self.state.phase = Phase::Failed;
                    self.state.failure = Some(Error::component("the node", outcome).to_failure());
                    return;
                }
                // `up` is done: its end means nothing any more.
                Message::CallerGone => {}
                Message::Restart { names, answer } => {
                    let restarted = session.restart(&names, RESTART).await;
                    self.reply(&session, restarted, answer);
                }
                Message::Disturb { disturbance, time, answer } => {
                    let disturbed = session.disturb(&disturbance, time).await;
                    self.reply(&session, disturbed, answer);
                }
                Message::Event(event) => {
                    console::progress(format_args!("{event:?}"));
                    if let Err(error) = self.save() {
                        console::error(&error);
                    }
                }
            }
        }
    }

    /// Writes down the components and answers a request.
    fn reply(&mut self, session: &Session, done: Result<(), Error>, answer: Answer) {
        self.state.components.clone_from(session.components());
        let done = done.and(self.save()).map_err(|error| error.to_failure());
        // The client may be gone.
        let _ = answer.send(done);
    }

    fn save(&self) -> Result<(), Error> {
        self.state.write(&self.folder)
    }
}

fn read_request() -> Result<Option<Request>, Error> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|source| Error::io("read", "stdin", source))?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&line)
        .map(Some)
        .map_err(|error| Error::usage(format!("`supervise` is started by `up` only: {error}")))
}

/// Sends the end of `up` and SIGTERM to the session.
fn listen_to_the_host(sender: &UnboundedSender<Message>) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|source| Error::io("watch", "for SIGTERM", source))?;
    let on_signal = sender.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        let _ = on_signal.send(Message::Terminate);
    });
    let on_end = sender.clone();
    // A thread of its own, because a pipe on stdin can only be read by blocking.
    thread::Builder::new()
        .name("caller".to_owned())
        .spawn(move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            let _ = on_end.send(Message::CallerGone);
        })
        .map(drop)
        .map_err(|source| Error::io("start", "a thread", source))
}
