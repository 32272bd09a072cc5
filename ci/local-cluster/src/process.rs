//! Processes that can't be confused with others: a process id together with the moment at which the
//! process started.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A process of this boot of the machine. The kernel reuses process ids, but not together with the
/// start time (field 22 of `/proc/PID/stat`, in clock ticks since boot: proc(5)).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProcessIdentity {
    /// The process id in the host's namespace.
    pub pid: i32,
    /// Clock ticks between the boot and the start of the process.
    pub started: u64,
}

/// A running process, held by a pidfd: signals to it can't reach another one.
#[derive(Debug)]
pub struct RunningProcess(OwnedFd);

impl ProcessIdentity {
    /// The identity of the process that has the id `pid` now.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let gone = || Error::other(format!("process {pid} has ended"));
        let pid = i32::try_from(pid).map_err(|_| gone())?;
        let started = start_time(pid).ok_or_else(gone)?;
        Ok(Self { pid, started })
    }

    /// The process, unless it has ended. A zombie has ended.
    pub fn running(self) -> Option<RunningProcess> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // The order matters: the pidfd is pinned first, so a matching start time proves that the
        // pidfd belongs to this process.
        (start_time(self.pid)? == self.started).then_some(())?;
        let running = RunningProcess(pidfd);
        let ended = running.wait(Duration::ZERO).unwrap_or(false);
        (!ended).then_some(running)
    }
}

impl RunningProcess {
    /// Asks the process to end.
    pub fn terminate(&self) {
        // The only failure is that it has ended already.
        let _ = pidfd_send_signal(&self.0, Signal::TERM);
    }

    /// Ends the process.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }

    /// Waits until the process has ended; `false` if it has not within `limit`. The init of a
    /// process namespace ends only after all others in it.
    pub fn wait(&self, limit: Duration) -> Result<bool, Error> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut watched, timeout) {
                Ok(ready) => return Ok(ready > 0),
                // An interruption restarts the wait: it lengthens the limit a bit.
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(Error::io("wait for", "a process", errno)),
            }
        }
    }
}

/// Identifies this boot of the machine: identities of another boot are void.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn start_time(pid: i32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`. The second field is the command's name in parentheses and may
/// itself have spaces and parentheses.
fn parse_start_time(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_parentheses_in_the_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        assert_eq!(parse_start_time(stat), Some(777));
    }

    #[test]
    fn garbage_has_no_start_time() {
        assert_eq!(parse_start_time(""), None);
        assert_eq!(parse_start_time("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_running_and_not_with_another_start_time() {
        let identity = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(identity.running().is_some());
        let recycled = ProcessIdentity { started: identity.started + 1, ..identity };
        assert!(recycled.running().is_none());
    }
}
