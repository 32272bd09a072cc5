//! Disturbances of a running cluster, and the programs in the node that begin and end them. Pure.
//!
//! A clock step is not among them: a time namespace has offsets of the monotonic and the boot clock
//! only (`time_namespaces(7)`), and `CLOCK_REALTIME`, which certificates, leases and events are about,
//! is the machine's.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{components::API_PORT, node::protocol::Program};

/// How long a disturbance may be, in seconds.
pub const LONGEST_DISTURBANCE: u64 = 60;

/// The kubelet's port (its default), which the API server connects to for commands and logs.
const KUBELET_PORT: u16 = 10250;

/// How many packets a slow network loses. Of an exchange of ten packets then arrive 0.1 % at once, and
/// a lost one comes again after 0.2 s, 0.4 s, 0.8 s… (tcp(7), `TCP_RTO_MIN`).
const LOSS: &str = "0.5";

/// The files that fill the disk.
const FILLER: &str = "/var/lib/kubelet/filler";
const LAST_FILLER: &str = "/var/lib/kubelet/last-filler";

/// Takes most blocks that are free without writing them, so that the disk's file on the host does not
/// grow, and then the rest. The file system itself needs some for the first file.
const FILL: &str = "\
    cd /var/lib/kubelet &&
    free=$(df --output=avail --block-size=1 . | tail -n 1) &&
    fallocate --length $((free - 33554432)) filler &&
    ! dd if=/dev/zero of=last-filler bs=4k";

/// A disturbance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Disturbance {
    /// Components do nothing.
    Freeze {
        /// Their names.
        components: Vec<String>,
    },
    /// The network loses packets of the API server.
    Network {
        /// Whose else they are.
        link: Link,
        /// Whether all are lost, or every other one.
        all: bool,
    },
    /// The disk of the kubelet's data is full.
    FullDisk,
}

/// The other end of a connection with the API server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Link {
    /// The kubelet, and whatever else in the node connects to the API server.
    Node,
    /// Clients on the host.
    Client,
}

impl Disturbance {
    /// The components that it needs.
    pub fn components(&self) -> &[String] {
        match self {
            Self::Freeze { components } => components,
            Self::Network { .. } | Self::FullDisk => &[],
        }
    }

    /// The program that begins it, if it needs one.
    pub fn beginning(&self) -> Option<Program> {
        match self {
            Self::Freeze { .. } => None,
            Self::Network { link, all } => Some(packet_filter("--insert", *link, *all)),
            Self::FullDisk => Some(program(["sh", "-c", FILL])),
        }
    }

    /// The program that ends it. It must succeed only if the first did.
    pub fn end(&self) -> Option<Program> {
        match self {
            Self::Freeze { .. } => None,
            Self::Network { link, all } => Some(packet_filter("--delete", *link, *all)),
            Self::FullDisk => Some(program(["rm", "-f", FILLER, LAST_FILLER])),
        }
    }
}

/// The API server and the kubelet are in one network namespace and talk over its loopback interface;
/// the veth pair leads to the host. A kernel without `netem` cannot delay packets, but every kernel with
/// a packet filter can lose some.
fn packet_filter(action: &str, link: Link, all: bool) -> Program {
    let interface = match link {
        Link::Node => "lo",
        Link::Client => "eth0",
    };
    // Either end: on the loopback interface, both directions arrive here.
    let ports = format!("{API_PORT},{KUBELET_PORT}");
    let mut command = vec!["iptables", "--wait", "5", action, "INPUT", "--in-interface", interface];
    command.extend(["--protocol", "tcp", "--match", "multiport", "--ports", &ports]);
    if !all {
        command.extend(["--match", "statistic", "--mode", "random", "--probability", LOSS]);
    }
    command.extend(["--jump", "DROP"]);
    program(command)
}

fn program<'a>(command: impl IntoIterator<Item = &'a str>) -> Program {
    let command = command.into_iter().map(str::to_owned).collect();
    Program { name: "disturbance".to_owned(), command, notifies: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::kubelet;

    #[test]
    fn what_ends_a_disturbance_removes_what_began_it() {
        for (link, all) in [(Link::Node, true), (Link::Node, false), (Link::Client, true)] {
            let disturbance = Disturbance::Network { link, all };
            let begin = disturbance.beginning().unwrap().command.join(" ");
            let end = disturbance.end().unwrap().command.join(" ");
            assert_eq!(begin.replace("--insert", "--delete"), end);
            assert_eq!(begin.contains("statistic"), !all);
        }
    }

    #[test]
    fn a_full_disk_loses_the_files_that_filled_it() {
        let files = [FILLER, LAST_FILLER].map(|file| file.rsplit('/').next().unwrap());
        assert!(files.iter().all(|file| FILL.contains(file)), "{FILL}");
        assert!(FILLER.starts_with(kubelet::DATA) && FILL.contains(kubelet::DATA));
    }

    #[test]
    fn a_freeze_needs_its_components_and_no_program() {
        let components = vec!["kubelet".to_owned()];
        let freeze = Disturbance::Freeze { components: components.clone() };
        assert_eq!(freeze.components(), components);
        assert_eq!((freeze.beginning(), freeze.end()), (None, None));
    }
}
