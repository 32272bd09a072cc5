//! A session with the nodes of a cluster: starts programs, waits for them, and learns of their ends
//! meanwhile.

mod disturb;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::{Instant, timeout_at},
};

use super::{
    handle::Node,
    place::Place,
    protocol::{Event, NodeSpec, Program, Request},
};
use crate::{
    disturbance::Disturbance,
    error::{Error, Failure, last_lines},
    paths::StateFolder,
    process::ProcessIdentity,
    state::ComponentState,
    timeout::Deadline,
};

/// How many lines of a component's log an error shows.
const LOG_LINES: usize = 12;

/// How long the node's own set-up may take.
const SET_UP: Duration = Duration::from_secs(20);

/// How long the end of a component may be reported after its effects.
const CAUSE: Duration = Duration::from_millis(500);

/// A message to a session.
#[derive(Debug)]
pub enum Message {
    /// The node's init has reported something.
    Event(Event),
    /// The node's init has ended, and with it everything in the node.
    NodeEnded {
        /// How, in words.
        outcome: String,
    },
    /// The command that waits for the cluster has ended.
    CallerGone,
    /// The cluster is to end.
    Terminate,
    /// Components are to be killed and started again.
    Restart {
        /// Their names, in the order in which they are to be started.
        names: Vec<String>,
        /// Told when they are ready, or why they are not.
        answer: Answer,
    },
    /// The cluster is to be disturbed.
    Disturb {
        /// How.
        disturbance: Disturbance,
        /// How long.
        time: Duration,
        /// Told when it is over, or why it failed.
        answer: Answer,
    },
}

/// Where the result of a request goes.
pub type Answer = oneshot::Sender<Result<(), Failure>>;

/// A session with the nodes of a cluster.
#[derive(Debug)]
pub struct Session {
    folder: StateFolder,
    /// The nodes, the first one first.
    nodes: Vec<Node>,
    /// The position of the node of each program.
    places: BTreeMap<String, usize>,
    sender: UnboundedSender<Message>,
    messages: UnboundedReceiver<Message>,
    /// Programs that should run until the cluster ends.
    components: BTreeMap<String, ComponentState>,
    /// How each of them was started.
    programs: BTreeMap<String, Program>,
    ready: BTreeSet<String>,
    /// Programs that should end by themselves, and how they did.
    tasks: BTreeMap<String, Option<Outcome>>,
}

#[derive(Clone, Debug)]
struct Outcome {
    success: bool,
    text: String,
}

impl Session {
    /// Starts a node's init, which waits for [`Session::set_up`]. `label` shows in lists of
    /// processes.
    pub fn open(label: &str, folder: &StateFolder) -> Result<Self, Error> {
        let (sender, messages) = unbounded_channel();
        Ok(Self {
            folder: folder.clone(),
            nodes: vec![Node::start(label, sender.clone())?],
            places: BTreeMap::new(),
            sender,
            messages,
            components: BTreeMap::new(),
            programs: BTreeMap::new(),
            ready: BTreeSet::new(),
            tasks: BTreeMap::new(),
        })
    }

    /// Starts the init of another node, which waits for [`Session::set_up_in`].
    pub fn add_node(&mut self, label: &str) -> Result<ProcessIdentity, Error> {
        let node = Node::start(label, self.sender.clone())?;
        let identity = node.identity();
        self.nodes.push(node);
        Ok(identity)
    }

    /// The init of a node.
    pub fn node(&self, place: Place) -> Result<ProcessIdentity, Error> {
        self.nodes.get(place.index()).map(Node::identity).ok_or_else(no_such_node)
    }

    /// The sender of the session's messages.
    pub fn sender(&self) -> UnboundedSender<Message> {
        self.sender.clone()
    }

    /// The components that were started, with their ends.
    pub fn components(&self) -> &BTreeMap<String, ComponentState> {
        &self.components
    }

    /// Sets the first node up.
    pub async fn set_up(&mut self, spec: NodeSpec) -> Result<(), Error> {
        self.set_up_in(Place::FIRST, spec).await
    }

    /// Sets a node up, one after the other.
    pub async fn set_up_in(&mut self, place: Place, spec: NodeSpec) -> Result<(), Error> {
        let node = self.nodes.get_mut(place.index()).ok_or_else(no_such_node)?;
        node.request(&Request::SetUp(spec))?;
        let deadline = Deadline::begin(SET_UP);
        loop {
            match self.next(deadline, "node not set up").await? {
                Message::Event(Event::SetUp) => return Ok(()),
                other => self.record(other)?,
            }
        }
    }

    /// Starts a component in the first node, which should run until the cluster ends.
    pub fn start(&mut self, program: Program) -> Result<(), Error> {
        self.start_in(Place::FIRST, program)
    }

    /// Starts a component in a node. Its name is unique in the cluster.
    pub fn start_in(&mut self, place: Place, program: Program) -> Result<(), Error> {
        self.places.insert(program.name.clone(), place.index());
        self.programs.insert(program.name.clone(), program.clone());
        self.start_program(program)
    }

    /// Starts a program in its node, which is the first unless it was started in another one.
    fn start_program(&mut self, program: Program) -> Result<(), Error> {
        self.node_of(&program.name)?.start_program(program)
    }

    fn node_of(&mut self, program: &str) -> Result<&mut Node, Error> {
        let index = self.places.get(program).copied().unwrap_or_default();
        self.nodes.get_mut(index).ok_or_else(no_such_node)
    }

    /// Waits until a component has said that it is ready.
    pub async fn until_ready(&mut self, name: &str, limit: Duration) -> Result<(), Error> {
        let deadline = Deadline::begin(limit);
        while !self.ready.contains(name) {
            let message = self.next(deadline, &format!("{name} not ready")).await;
            let message = message.map_err(|error| self.with_log(error, name))?;
            self.record(message)?;
        }
        Ok(())
    }

    /// Runs a program to its end, in the first node.
    pub async fn run(&mut self, program: Program, limit: Duration) -> Result<(), Error> {
        self.run_in(Place::FIRST, program, limit).await
    }

    /// Runs a program to its end, in a node. Its name is unique in the cluster.
    pub async fn run_in(
        &mut self,
        place: Place,
        program: Program,
        limit: Duration,
    ) -> Result<(), Error> {
        let name = program.name.clone();
        self.tasks.insert(name.clone(), None);
        self.places.insert(name.clone(), place.index());
        self.start_program(program)?;
        let outcome = self.outcome(&name, limit).await?;
        if outcome.success {
            return Ok(());
        }
        Err(self.with_log(Error::component(&name, outcome.text), &name))
    }

    /// Stops a component and waits until it has ended.
    pub async fn stop(&mut self, name: &str, limit: Duration) -> Result<(), Error> {
        self.tasks.insert(name.to_owned(), None);
        self.node_of(name)?.request(&Request::Stop { name: name.to_owned() })?;
        self.outcome(name, limit).await.map(drop)
    }

    /// Kills components, all at once, and starts them one after the other with the arguments that
    /// they had. One that has ended is started too.
    pub async fn restart(&mut self, names: &[String], limit: Duration) -> Result<(), Error> {
        let programs = names.iter().map(|name| self.program(name));
        let programs = programs.collect::<Result<Vec<_>, _>>()?;
        let deadline = Deadline::begin(limit);
        for name in names {
            self.ready.remove(name);
            self.node_of(name)?.request(&Request::Kill { name: name.clone() })?;
        }
        for name in names {
            while self.runs(name) {
                self.recv(deadline, &format!("{name} not ended")).await?;
            }
        }
        for program in programs {
            let name = program.name.clone();
            // What is known of it now is about the process before.
            self.components.remove(&name);
            self.start_program(program.clone())?;
            while !self.is_up(&program) {
                let what = format!("{name} not ready");
                let received = self.recv(deadline, &what).await;
                received.map_err(|error| self.with_log(error, &name))?;
            }
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Result<Program, Error> {
        let program = self.programs.get(name).cloned();
        program.ok_or_else(|| Error::usage(format!("the cluster has no component `{name}`")))
    }

    fn runs(&self, name: &str) -> bool {
        self.components.get(name).is_some_and(|component| component.ended.is_none())
    }

    fn is_up(&self, program: &Program) -> bool {
        self.runs(&program.name) && (!program.notifies || self.ready.contains(&program.name))
    }

    /// Hears one message while components are restarted. What depends on them may end meanwhile,
    /// which is noted; a component that ends when it was just started never gets up, so the
    /// deadline tells.
    async fn recv(&mut self, deadline: Deadline, what: &str) -> Result<(), Error> {
        let message = self.next(deadline, what).await?;
        self.note(message)
    }

    fn note(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Event(Event::Failed { message }) => Err(Error::other(message)),
            Message::Event(event) => {
                self.record_event(&event);
                Ok(())
            }
            // `up` ended long ago. A request meanwhile gets no answer, which its client notices.
            Message::CallerGone | Message::Restart { .. } | Message::Disturb { .. } => Ok(()),
            // For the supervisor.
            last @ (Message::Terminate | Message::NodeEnded { .. }) => {
                let _ = self.sender.send(last);
                Err(Error::other("the cluster has ended meanwhile"))
            }
        }
    }

    /// Waits for something outside of the node, but not longer than until a component ends.
    pub async fn during<T>(
        &mut self,
        what: &str,
        limit: Duration,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let deadline = Deadline::begin(limit);
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return match done {
                    Err(error) => Err(self.cause_of(error).await),
                    done => done,
                },
                message = self.next(deadline, what) => {
                    let message = message?;
                    self.record(message)?;
                }
            }
        }
    }

    /// The next message, however long it takes. The end of a component is recorded, but is not an
    /// error.
    pub async fn listen(&mut self) -> Message {
        // The session itself holds a sender, so the channel never ends.
        let message = self.messages.recv().await.unwrap_or(Message::Terminate);
        if let Message::Event(event) = &message {
            self.record_event(event);
        }
        message
    }

    /// The cause of a failure: if a component has ended, its clients notice at the same moment as
    /// the node's init, so its end may arrive a bit later.
    async fn cause_of(&mut self, error: Error) -> Error {
        let deadline = Instant::now() + CAUSE;
        while let Ok(Some(message)) = timeout_at(deadline, self.messages.recv()).await {
            if let Err(cause) = self.record(message) {
                return cause;
            }
        }
        error
    }

    async fn outcome(&mut self, name: &str, limit: Duration) -> Result<Outcome, Error> {
        let deadline = Deadline::begin(limit);
        loop {
            if let Some(Some(outcome)) = self.tasks.get(name) {
                return Ok(outcome.clone());
            }
            let message = self.next(deadline, &format!("{name} not done")).await?;
            self.record(message)?;
        }
    }

    async fn next(&mut self, deadline: Deadline, what: &str) -> Result<Message, Error> {
        match timeout_at(deadline.at, self.messages.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(Error::other("the node's messages have ended")),
            Err(_) => Err(Error::deadline(what, deadline.limit)),
        }
    }

    /// Notes a message while the cluster starts, when every end is an error.
    fn record(&mut self, message: Message) -> Result<(), Error> {
        let event = match message {
            Message::Event(event) => event,
            Message::NodeEnded { outcome } => return Err(Error::component("the node", outcome)),
            // Nobody can ask before the start is over.
            Message::Restart { .. } | Message::Disturb { .. } => return Ok(()),
            Message::CallerGone => {
                return Err(Error::other("`up` was interrupted"));
            }
            Message::Terminate => {
                return Err(Error::other("the cluster was stopped while it started"));
            }
        };
        self.record_event(&event);
        match event {
            Event::Failed { message } => Err(Error::other(message)),
            Event::Ended { name, outcome, .. } if !self.tasks.contains_key(&name) => {
                Err(self.with_log(Error::component(&name, outcome), &name))
            }
            _ => Ok(()),
        }
    }

    fn record_event(&mut self, event: &Event) {
        match event {
            Event::Started { name, pid } if !self.tasks.contains_key(name) => {
                let component = ComponentState { pid: *pid, ended: None };
                self.components.insert(name.clone(), component);
            }
            Event::Ready { name } => {
                self.ready.insert(name.clone());
            }
            Event::Ended { name, success, outcome } => {
                if let Some(task) = self.tasks.get_mut(name) {
                    *task = Some(Outcome { success: *success, text: outcome.clone() });
                } else if let Some(component) = self.components.get_mut(name) {
                    component.ended = Some(outcome.clone());
                }
            }
            Event::Started { .. } | Event::SetUp | Event::Failed { .. } => {}
        }
    }

    fn with_log(&self, error: Error, name: &str) -> Error {
        let log = self.folder.log(name);
        let details = last_lines(&log, LOG_LINES);
        let hint = hint(&details, &log);
        error.with_details(details).with_hint(hint)
    }
}

fn no_such_node() -> Error {
    Error::other("the cluster has no such node")
}

/// What to do about a component whose log ends so.
fn hint(details: &[String], log: &Path) -> String {
    let log = format!("the whole log is `{}`", log.display());
    // inotify_init(2), EMFILE: the limit is on a user's instances on the whole machine, and every
    // cluster takes about twenty of them.
    if details.iter().any(|line| line.contains("too many open files")) {
        return format!(
            "end clusters that nobody uses, or raise `fs.inotify.max_user_instances`; {log}"
        );
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_free_watches_gets_a_hint() {
        let log = Path::new("/logs/kubelet.log");
        let printed = hint(&["creating fsnotify watcher: too many open files".to_owned()], log);
        assert!(printed.contains("fs.inotify.max_user_instances"), "{printed}");
        assert!(printed.ends_with("the whole log is `/logs/kubelet.log`"), "{printed}");
        assert_eq!(hint(&[], log), "the whole log is `/logs/kubelet.log`");
    }
}
