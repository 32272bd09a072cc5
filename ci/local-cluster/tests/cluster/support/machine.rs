//! What is on the machine: processes, namespaces, mounts, interfaces, cgroups.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use super::{Cluster, eventually};

const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// The machine before a test.
pub struct Machine {
    mounts: BTreeSet<String>,
    interfaces: BTreeSet<String>,
}

impl Machine {
    /// Looks at it now.
    pub fn look() -> Self {
        Self { mounts: mounts(), interfaces: interfaces() }
    }

    /// Checks that a cluster that has ended has left nothing. Interfaces named as those of clusters
    /// are left out: other clusters of the machine may come and go meanwhile; those of this cluster
    /// are checked by [`Owned`].
    pub fn assert_unchanged(&self, cluster: &Cluster) {
        assert_eq!(mounts(), self.mounts, "mounts of the host");
        let others = |name: &&String| !name.starts_with("lc-");
        let before: Vec<_> = self.interfaces.iter().filter(others).collect();
        let now = interfaces();
        let now: Vec<_> = now.iter().filter(others).collect();
        assert_eq!(now, before, "interfaces");
        let groups = cgroups(&format!("local-cluster-{}-", cluster.name()));
        assert!(groups.is_empty(), "cgroups: {groups:?}");
        let processes = processes_called(cluster.name());
        assert!(processes.is_empty(), "processes: {processes:?}");
    }
}

/// What belonged to a cluster at some moment.
#[derive(Debug)]
pub struct Owned {
    /// The moment, in clock ticks since boot.
    moment: u64,
    processes: BTreeSet<i64>,
    namespaces: BTreeSet<PathBuf>,
    interface: Option<String>,
    cgroup: Option<String>,
}

impl Owned {
    pub(super) fn of(name: &str, state: &Value) -> Self {
        let host: BTreeSet<_> = namespaces_of(i64::from(std::process::id())).into_iter().collect();
        let mut processes: BTreeSet<_> = processes_called(name).into_iter().collect();
        processes.extend(processes_in_node(state));
        let namespaces = processes
            .iter()
            .flat_map(|&pid| namespaces_of(pid))
            .filter(|namespace| !host.contains(namespace))
            .collect();
        let text = |key: &str| state[key].as_str().map(str::to_owned);
        Self {
            moment: ticks_since_boot(),
            processes,
            namespaces,
            interface: text("interface"),
            cgroup: text("cgroup"),
        }
    }

    /// The processes.
    pub fn processes(&self) -> &BTreeSet<i64> {
        &self.processes
    }

    /// Checks that the processes and their namespaces vanish by themselves.
    pub fn assert_processes_end(&self, limit: Duration) {
        eventually(limit, "the processes have ended", || self.namespaces_left().is_empty());
    }

    /// Checks that nothing is left.
    pub fn assert_gone(&self) {
        let left = self.left();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Checks that nothing is left after a while.
    pub fn assert_gone_within(&self, limit: Duration) {
        eventually(limit, "nothing is left", || self.left().is_empty());
    }

    fn left(&self) -> Vec<String> {
        let mut left: Vec<_> = self
            .namespaces_left()
            .iter()
            .map(|namespace| format!("namespace {}", namespace.display()))
            .collect();
        if let Some(interface) = &self.interface
            && interfaces().contains(interface)
        {
            left.push(format!("interface {interface}"));
        }
        if let Some(cgroup) = &self.cgroup {
            let groups = cgroups(cgroup);
            left.extend(groups.iter().map(|group| format!("cgroup {}", group.display())));
        }
        left
    }

    /// Namespaces that a process of that time is still in. Later processes don't count: the kernel
    /// gives the number of a namespace that has ended to the next one, which may be another
    /// cluster's. None of this cluster is missed, because a node lives no longer than its init,
    /// which is of that time.
    fn namespaces_left(&self) -> Vec<PathBuf> {
        all_processes()
            .into_iter()
            .filter(|&pid| start_time(pid).is_some_and(|started| started <= self.moment))
            .flat_map(namespaces_of)
            .filter(|namespace| self.namespaces.contains(namespace))
            .collect()
    }
}

/// Field 22 of `/proc/PID/stat`, in clock ticks since boot; none for a process that has ended and
/// waits for the machine's init to notice (state `Z`).
fn start_time(pid: i64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether a process is stopped by a signal (state `T`).
pub fn is_stopped(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
}

/// `/proc/uptime` has seconds with two digits, and Linux 100 ticks a second.
fn ticks_since_boot() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds = uptime.split_whitespace().next().unwrap();
    seconds.replace('.', "").parse().unwrap()
}

/// The host's id of a program in the node, by the name it was started by.
pub fn process_in_node(state: &Value, name: &str) -> Option<i64> {
    processes_in_node(state).into_iter().find(|&pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = line.split('\0').next().unwrap_or_default();
        Path::new(program).file_name().is_some_and(|file| file == name)
    })
}

/// SIGKILLs a process that the caller has just found.
pub fn kill(pid: i64) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(status.success(), "process {pid} was there to be killed");
}

fn processes_in_node(state: &Value) -> Vec<i64> {
    let namespace = |pid: i64| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(node) = state["node"]["pid"].as_i64().and_then(namespace) else {
        return Vec::new();
    };
    all_processes().into_iter().filter(|&pid| namespace(pid).as_ref() == Some(&node)).collect()
}

/// The supervisor and the node's init name their cluster on the command line.
fn processes_called(name: &str) -> Vec<i64> {
    let mut found = processes_of(&["local-cluster", "supervise", name]);
    found.extend(processes_of(&["local-cluster", "node-init", name]));
    found
}

/// The processes of the machine whose command lines begin with these words.
pub fn processes_of(words: &[&str]) -> Vec<i64> {
    let mut found = all_processes();
    found.retain(|pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').collect::<Vec<_>>().starts_with(words)
    });
    found
}

fn all_processes() -> Vec<i64> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn namespaces_of(pid: i64) -> Vec<PathBuf> {
    NAMESPACES
        .iter()
        .filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok())
        .collect()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(str::to_owned).collect()
}

fn interfaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Groups directly below a hierarchy's root whose name starts so.
fn cgroups(prefix: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let children = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = children(root);
    found.extend(children(root).iter().flat_map(|hierarchy| children(hierarchy)));
    found.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    found
}
