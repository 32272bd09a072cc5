//! The kinds of faults of a cluster. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::fault::FaultKind;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Components are killed and start again.
    Kill(Part),
    /// Components do nothing for some time.
    Freeze(Part),
    /// All packets between the API server and a peer are lost.
    Cut(Peer),
    /// Packets between the API server and a peer arrive late.
    Delay(Peer),
    /// The disk of the kubelet's data is full.
    FullDisk,
    /// The proxy ends the stream of one command in a pod.
    Stream(FaultKind),
}

/// The components that a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The kubelet.
    Kubelet,
    /// The container runtime.
    Runtime,
    /// kube-apiserver.
    Apiserver,
    /// etcd.
    Etcd,
    /// etcd and kube-apiserver.
    ControlPlane,
}

/// The other end of the API server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// The node.
    Node,
    /// nestcheck.
    Client,
}

impl Kind {
    /// The faults of a cluster, at a time.
    pub(crate) const TIMED: [Self; 15] = [
        Self::Kill(Part::Kubelet),
        Self::Kill(Part::Runtime),
        Self::Kill(Part::Apiserver),
        Self::Kill(Part::Etcd),
        Self::Kill(Part::ControlPlane),
        Self::Freeze(Part::Kubelet),
        Self::Freeze(Part::Runtime),
        Self::Freeze(Part::Apiserver),
        Self::Freeze(Part::Etcd),
        Self::Freeze(Part::ControlPlane),
        Self::Cut(Peer::Node),
        Self::Cut(Peer::Client),
        Self::Delay(Peer::Node),
        Self::Delay(Peer::Client),
        Self::FullDisk,
    ];

    /// The faults of single commands: their stream ends without a status, with a false one, and before
    /// it begins.
    pub(crate) const STREAMS: [Self; 3] = [
        Self::Stream(FaultKind::Sever),
        Self::Stream(FaultKind::FalseSuccess),
        Self::Stream(FaultKind::Drop),
    ];

    /// The arguments of `local-cluster` for a fault at a time, in a cluster with this runtime.
    pub(crate) fn arguments(self, runtime: &str, seconds: u32) -> Vec<String> {
        let disturbance = match self {
            Self::Stream(_) => return Vec::new(),
            Self::Kill(part) => {
                let names = part.components(runtime);
                return std::iter::once("restart").chain(names).map(str::to_owned).collect();
            }
            Self::Freeze(part) => format!("--freeze={}", part.components(runtime).join(",")),
            Self::Cut(peer) => format!("--cut-network={}", peer.name()),
            Self::Delay(peer) => format!("--delay-network={}", peer.name()),
            Self::FullDisk => "--fill-disk".to_owned(),
        };
        vec!["disturb".to_owned(), disturbance, format!("--for={seconds}")]
    }
}

impl Part {
    /// The names of the components, in the order in which they start.
    fn components(self, runtime: &str) -> Vec<&str> {
        match self {
            Self::Kubelet => vec!["kubelet"],
            Self::Runtime => vec![runtime],
            Self::Apiserver => vec!["kube-apiserver"],
            Self::Etcd => vec!["etcd"],
            Self::ControlPlane => vec!["etcd", "kube-apiserver"],
        }
    }
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part| match part {
            Part::Kubelet => "kubelet",
            Part::Runtime => "runtime",
            Part::Apiserver => "apiserver",
            Part::Etcd => "etcd",
            Part::ControlPlane => "etcd+apiserver",
        };
        match self {
            Self::Kill(killed) => write!(f, "kill {}", part(*killed)),
            Self::Freeze(frozen) => write!(f, "freeze {}", part(*frozen)),
            Self::Cut(peer) => write!(f, "cut network to {}", peer.name()),
            Self::Delay(peer) => write!(f, "delay network to {}", peer.name()),
            Self::FullDisk => f.write_str("full disk"),
            Self::Stream(kind) => write!(f, "stream {kind}"),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A fault that a run had.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Struck {
    pub(crate) kind: Kind,
    pub(crate) begin: Timestamp,
    /// When it was over: for a component that was killed, when it was ready again.
    pub(crate) end: Timestamp,
    /// The cases that ran when it began.
    pub(crate) cases: Vec<String>,
}

impl fmt::Display for Struck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.end.duration_since(self.begin).as_secs_f64();
        let cases =
            if self.cases.is_empty() { "no case".to_owned() } else { self.cases.join(", ") };
        write!(f, "`{}` for {seconds:.1} s at {} during {cases}", self.kind, self.begin)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fault_at_a_time_has_a_command_and_a_name_of_its_own() {
        let names: BTreeSet<_> = Kind::TIMED.map(|kind| kind.to_string()).into();
        let commands: BTreeSet<_> = Kind::TIMED.map(|kind| kind.arguments("crio", 7)).into();

        assert_eq!((names.len(), commands.len()), (Kind::TIMED.len(), Kind::TIMED.len()));
        let arguments = Kind::Freeze(Part::Runtime).arguments("crio", 7);
        assert_eq!(arguments, ["disturb", "--freeze=crio", "--for=7"]);
        let arguments = Kind::Kill(Part::ControlPlane).arguments("crio", 7);
        assert_eq!(arguments, ["restart", "etcd", "kube-apiserver"], "etcd starts first");
    }
}
