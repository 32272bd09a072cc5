//! What the supervisor and a node's init say to each other: one JSON object a line, requests on the
//! init's stdin, events on its stdout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Hierarchies;

/// What the supervisor wants.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "request", rename_all = "camelCase")]
pub enum Request {
    /// Make the node's world. The first request, and the proof for the init that it has been
    /// written down and may acquire things.
    SetUp(NodeSpec),
    /// Start a program.
    Start(Program),
    /// Ask a program to end, with SIGTERM.
    Stop {
        /// The name it was started by.
        name: String,
    },
    /// End a program at once, with SIGKILL.
    Kill {
        /// The name it was started by.
        name: String,
    },
    /// Let a program do nothing, with SIGSTOP.
    Freeze {
        /// The name it was started by.
        name: String,
    },
    /// Let a frozen program continue, with SIGCONT.
    Thaw {
        /// The name it was started by.
        name: String,
    },
}

/// What a node's world is made of.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// The host name.
    pub hostname: String,
    /// The mount point of the root file system.
    pub root: PathBuf,
    /// The tree below it, which is never written to.
    pub lower: PathBuf,
    /// Where changes to the tree go.
    pub upper: PathBuf,
    /// The scratch folder that overlayfs wants beside `upper`.
    pub work: PathBuf,
    /// Folders of the host that are visible in the node.
    pub binds: Vec<Bind>,
    /// Files of the host with a file system, which are mounted in the node.
    pub disks: Vec<Disk>,
    /// The host's control group hierarchies.
    pub hierarchies: Hierarchies,
    /// Whether the node sees the file system of SELinux.
    pub selinux: bool,
    /// The group to run in.
    pub cgroup: Option<String>,
}

/// A file of the host that has a file system.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// The file on the host.
    pub file: PathBuf,
    /// Where its file system is in the node.
    pub target: PathBuf,
}

/// A folder of the host that is visible in the node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bind {
    /// The folder on the host.
    pub source: PathBuf,
    /// Where it is in the node.
    pub target: PathBuf,
    /// Whether the node may only read it.
    pub read_only: bool,
}

/// A program that runs in the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// A name for reports and for the log `/var/log/local-cluster/NAME.log`.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it reports readiness through `NOTIFY_SOCKET` (`sd_notify(3)`).
    pub notifies: bool,
}

/// What has happened in the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// The node's world exists.
    SetUp,
    /// A program was started.
    Started {
        /// Its name.
        name: String,
        /// Its process id inside the node.
        pid: i32,
    },
    /// A program has said that it is ready.
    Ready {
        /// Its name.
        name: String,
    },
    /// A program has ended.
    Ended {
        /// Its name.
        name: String,
        /// Whether it ended with exit status 0.
        success: bool,
        /// How, in words.
        outcome: String,
    },
    /// A request could not be fulfilled.
    Failed {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let request = Request::Start(Program {
            name: "etcd".into(),
            command: vec!["etcd".into(), "line\nbreak".into()],
            notifies: true,
        });
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'));
        assert!(matches!(
            serde_json::from_str(&line).unwrap(),
            Request::Start(program) if program.command[1] == "line\nbreak"
        ));
    }
}
