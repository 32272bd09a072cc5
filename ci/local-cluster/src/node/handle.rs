//! The supervisor's end of a node.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::sched::{CloneFlags, unshare};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    protocol::{Event, Program, Request},
    session::Message,
};
use crate::{command::describe_status, error::Error, process::ProcessIdentity};

/// A node's init that was started and waits for its first request.
#[derive(Debug)]
pub struct Node {
    identity: ProcessIdentity,
    requests: ChildStdin,
}

impl Node {
    /// Starts a node's init in a new process namespace. It acquires nothing before its first
    /// request. `label` shows in lists of processes.
    ///
    /// Messages go to `messages` until the node has ended.
    pub fn start(label: &str, messages: UnboundedSender<Message>) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel();
        let label = label.to_owned();
        // unshare(2) and PR_SET_PDEATHSIG are about threads: this one makes the namespace for its
        // child only, and lives exactly as long as the child.
        thread::Builder::new()
            .name("node".to_owned())
            .spawn(move || own(&label, &sender, &messages))
            .map_err(|source| Error::io("start", "a thread", source))?;
        receiver.recv().map_err(|_| Error::other("the node's thread ended early"))?
    }

    /// The init's process, as the host sees it.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Sends a request.
    pub fn request(&mut self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| Error::other(format!("can't ask the node: {error}")))?;
        line.push(b'\n');
        self.requests.write_all(&line).map_err(|source| Error::io("write to", "the node", source))
    }

    /// Asks the node to start a program.
    pub fn start_program(&mut self, program: Program) -> Result<(), Error> {
        self.request(&Request::Start(program))
    }
}

/// Starts the init, hands it over, passes its messages on and waits for its end.
fn own(
    label: &str,
    started: &mpsc::Sender<Result<Node, Error>>,
    messages: &UnboundedSender<Message>,
) {
    let mut child = match unshare(CloneFlags::CLONE_NEWPID)
        .map_err(|errno| Error::io("make", "a process namespace", errno))
        .and_then(|()| spawn(label))
    {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let events = child.stdout.take();
    let node = ProcessIdentity::of(child.id()).and_then(|identity| {
        let requests = child.stdin.take().ok_or_else(|| Error::other("the node has no stdin"))?;
        Ok(Node { identity, requests })
    });
    // If there is no receiver, the node is dropped, the init's stdin ends, and so does the init.
    let _ = started.send(node);
    if let Some(events) = events {
        pass_on(events, messages);
    }
    let outcome = match child.wait() {
        Ok(status) => describe_status(status),
        Err(error) => error.to_string(),
    };
    let _ = messages.send(Message::NodeEnded { outcome });
}

fn spawn(label: &str) -> Result<std::process::Child, Error> {
    // The link stays valid when the program's file was replaced meanwhile.
    Command::new("/proc/self/exe")
        .arg0("local-cluster")
        .args(["node-init", label])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| Error::io("start", "the node's init", source))
}

fn pass_on(events: ChildStdout, messages: &UnboundedSender<Message>) {
    for line in BufReader::new(events).lines().map_while(Result::ok) {
        let event = serde_json::from_str(&line)
            .unwrap_or(Event::Failed { message: format!("unknown message from the node: {line}") });
        if messages.send(Message::Event(event)).is_err() {
            return;
        }
    }
}
