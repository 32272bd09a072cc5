//! The first process of a node. It has one thread and one loop: requests from the supervisor,
//! readiness messages from components, ends of processes.
//!
//! As the init of a process namespace it is also the parent of every orphan in it and has to reap
//! them (`pid_namespaces(7)`).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sethostname},
};

use super::{
    mounts,
    notify::Notifications,
    protocol::{Event, NodeSpec, Program, Request},
};
use crate::{cgroup, error::Error};

/// Where programs are looked up in the node.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folder of the logs in the node.
pub const LOGS: &str = "/var/log/local-cluster";

/// Runs as a node's init until the supervisor hangs up.
pub fn run() -> Result<(), Error> {
    // The node dies with the thread of the supervisor that started it. Should that have happened
    // before this call, the pipe below is at its end already and nothing was acquired.
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| Error::io("bind", "this process to its parent", errno))?;
    // Not `Stdin`, whose own buffer would hide requests from poll(2).
    let stdin = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| Error::io("open", "stdin", source))?;
    let mut requests = BufReader::new(File::from(stdin));
    let Some(Request::SetUp(spec)) = read_request(&mut requests)? else {
        return Ok(());
    };
    match set_up(&spec) {
        Ok(()) => report(&Event::SetUp)?,
        Err(error) => return report_failure(&error),
    }
    Init::new()?.serve(requests)
}

fn set_up(spec: &NodeSpec) -> Result<(), Error> {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if let Some(group) = &spec.cgroup {
        cgroup::join(&spec.hierarchies, group)?;
    }
    unshare(namespaces).map_err(|errno| Error::io("make", "namespaces", errno))?;
    sethostname(&spec.hostname).map_err(|errno| Error::io("set", "the host name", errno))?;
    mounts::enter(spec)
}

/// What runs, by process id.
struct Init {
    children: SignalFd,
    programs: BTreeMap<i32, Running>,
}

struct Running {
    name: String,
    notifications: Option<Notifications>,
}

impl Init {
    fn new() -> Result<Self, Error> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        // Blocked, so that it arrives at the descriptor only. Programs start with an empty mask:
        // `Command` resets it.
        mask.thread_block()
            .and_then(|()| {
                SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            })
            .map(|children| Self { children, programs: BTreeMap::new() })
            .map_err(|errno| Error::io("watch", "child processes", errno))
    }

    fn serve(mut self, mut requests: BufReader<File>) -> Result<(), Error> {
        loop {
            // A request that was read ahead is in the buffer, not in the pipe.
            let asked = !requests.buffer().is_empty() || self.wait(requests.get_ref())?;
            self.report_ready()?;
            self.reap()?;
            if !asked {
                continue;
            }
            match read_request(&mut requests)? {
                None => return Ok(()),
                Some(Request::Start(program)) => self.start(program)?,
                Some(Request::Stop { name }) => self.signal(&name, Signal::SIGTERM),
                Some(Request::Kill { name }) => self.signal(&name, Signal::SIGKILL),
                Some(Request::Freeze { name }) => self.signal(&name, Signal::SIGSTOP),
                Some(Request::Thaw { name }) => self.signal(&name, Signal::SIGCONT),
                Some(Request::SetUp(_)) => {
                    return report_failure(&Error::other("the node is set up already"));
                }
            }
        }
    }

    /// Waits for anything to happen; whether a request has arrived.
    fn wait(&self, requests: &File) -> Result<bool, Error> {
        let mut watched = vec![
            PollFd::new(requests.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        let sockets = self.programs.values().filter_map(|running| running.notifications.as_ref());
        watched.extend(sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(watched[0].any().unwrap_or(true)),
            Err(errno) => Err(Error::io("wait for", "events", errno)),
        }
    }

    fn start(&mut self, program: Program) -> Result<(), Error> {
        match spawn(&program) {
            Ok((pid, notifications)) => {
                let name = program.name;
                report(&Event::Started { name: name.clone(), pid })?;
                self.programs.insert(pid, Running { name, notifications });
                Ok(())
            }
            Err(error) => report_failure(&error),
        }
    }

    fn signal(&self, name: &str, signal: Signal) {
        let pids =
            self.programs.iter().filter(|(_, running)| running.name == name).map(|(&pid, _)| pid);
        for pid in pids {
            // It is a child that was not reaped, so the id can't be another's.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn report_ready(&mut self) -> Result<(), Error> {
        for running in self.programs.values_mut() {
            if running.notifications.as_ref().is_some_and(Notifications::ready) {
                report(&Event::Ready { name: running.name.clone() })?;
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<(), Error> {
        // Several ends may hide behind one signal, so only the fact that there was one matters.
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            let (pid, success, outcome) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    (pid, code == 0, format!("exit status {code}"))
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid, false, format!("signal {}", signal as i32))
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return Ok(()),
                Ok(_) => continue,
            };
            // Anything else is an orphan of a component.
            if let Some(running) = self.programs.remove(&pid.as_raw()) {
                report(&Event::Ended { name: running.name, success, outcome })?;
            }
        }
    }
}

fn spawn(program: &Program) -> Result<(i32, Option<Notifications>), Error> {
    let Some((executable, arguments)) = program.command.split_first() else {
        return Err(Error::other(format!("{} has an empty command", program.name)));
    };
    let path = Path::new(LOGS).join(format!("{}.log", program.name));
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|source| Error::path("write", &path, source))?;
    let both = log.try_clone().map_err(|source| Error::path("write", &path, source))?;
    let mut command = Command::new(executable);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("HOME", "/root")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(both);
    let notifications =
        program.notifies.then(|| Notifications::listen(&program.name)).transpose()?;
    if let Some(notifications) = &notifications {
        command.env("NOTIFY_SOCKET", notifications.path());
    }
    let child = command
        .spawn()
        .map_err(|source| Error::io("start", format!("`{executable}` in the node"), source))?;
    let pid =
        i32::try_from(child.id()).map_err(|_| Error::other("a process id is out of range"))?;
    Ok((pid, notifications))
}

fn read_request(requests: &mut impl BufRead) -> Result<Option<Request>, Error> {
    let mut line = String::new();
    let length =
        requests.read_line(&mut line).map_err(|source| Error::io("read", "a request", source))?;
    if length == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line)
        .map(Some)
        .map_err(|error| Error::other(format!("unknown request: {error}")))
}

fn report(event: &Event) -> Result<(), Error> {
    let mut line = serde_json::to_vec(event)
        .map_err(|error| Error::other(format!("can't report: {error}")))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&line)
        .and_then(|()| stdout.flush())
        .map_err(|source| Error::io("write", "an event", source))
}

fn report_failure(error: &Error) -> Result<(), Error> {
    report(&Event::Failed { message: error.to_string() })
}
