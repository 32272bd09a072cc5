//! Processes that outlive their command: servers, and those that podman leaves for the next one.

use std::{collections::HashSet, fs, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

/// How often the processes are looked through: one that is killed may have just made another.
const ROUNDS: u32 = 10;

/// How long killed processes have to end before the next look.
const PAUSE: Duration = Duration::from_millis(50);

/// Kills the processes of this user that have this variable with this value in their environment, and
/// their descendants: a container has the environment of its image. Blocks for half a second at most.
/// Returns how many are left.
pub(super) fn end_processes(name: &str, value: &str) -> usize {
    let entry = format!("{name}={value}");
    let mut left = 0;
    for _ in 0..ROUNDS {
        let found = with_descendants(processes(entry.as_bytes()));
        left = found.len();
        if found.is_empty() {
            break;
        }
        for process in found {
            // It may have ended meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
    left
}

/// These processes and those that they started, as one look at /proc shows them.
fn with_descendants(found: Vec<Pid>) -> HashSet<Pid> {
    let with_parent = |process: Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
        Some((process, parent(&stat)?))
    };
    let parents: Vec<(Pid, Pid)> = shown().filter_map(with_parent).collect();
    let mut all: HashSet<Pid> = found.into_iter().collect();
    loop {
        let is_new =
            |(process, parent): &&(Pid, Pid)| all.contains(parent) && !all.contains(process);
        let more: Vec<Pid> = parents.iter().filter(is_new).map(|(process, _)| *process).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// The parent in `/proc/PID/stat` (`proc_pid_stat(5)`): the second field after the name, which may hold
/// anything.
fn parent(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}

/// The processes with this entry in their environment. That of another user cannot be read.
fn processes(entry: &[u8]) -> Vec<Pid> {
    let has_entry = |process: &Pid| {
        let path = format!("/proc/{}/environ", process.as_raw_nonzero());
        fs::read(path).unwrap_or_default().split(|byte| *byte == 0).any(|it| it == entry)
    };
    shown().filter(has_entry).collect()
}

/// The processes that /proc shows.
fn shown() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}
