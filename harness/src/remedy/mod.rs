//! What would fix what is unmet or failed on a cluster: manifests, lines for a Containerfile, files and
//! commands, each with its cost. Pure functions; nothing is applied.
//!
//! Texts of clusters and reports get into comments only, on one line. Names of objects get into
//! manifests by the serializer, and commands and lines for a Containerfile have none.

mod access;
mod gates;
mod image;
mod json;
mod node;
mod origin;
mod problem;
mod text;
mod workspace;

use std::fmt;

pub use access::{Access, scc_for_nested_containers};
pub use json::{json, json_schema};
pub use origin::check_origin;
pub use problem::{Need, Problem, of_causes, of_facts};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
pub use text::{containerfile, manifests, text};

use crate::{
    facts::{DeviceRoute, Platform},
    verdict::{Place, Repair},
};

/// The declarations that remedies repeat: those of the fixtures, and of the recipe for kind.
#[derive(Clone, Debug)]
pub struct Declarations {
    /// The SCC for nested containers.
    pub scc: Value,
    /// The RuntimeClass that gives pods their devices.
    pub runtime_class: Value,
    /// The configuration of a kind cluster whose containerd has the handler of that class.
    pub kind_cluster: Value,
    /// The OCI specification from which containers of the handler start.
    pub base_specification: Value,
}

/// The cluster for which remedies are made, and for whom.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// What kind of cluster it is.
    pub platform: Platform,
    /// How its pods ask for devices, where that is known.
    pub devices: Option<DeviceRoute>,
    /// The SCC of the cluster that allows nested containers, if there is one.
    pub scc: Option<String>,
    /// Who is to have nested containers, and where.
    pub access: Option<Access>,
    /// What remedies repeat.
    pub declarations: &'a Declarations,
}

/// What a remedy costs, besides the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// The image is built anew.
    ImageBuild,
    /// Updates of the cluster end.
    NoUpgrade,
    /// The nodes restart.
    NodeReboot,
    /// The kubelets restart.
    KubeletRestart,
    /// The container runtimes restart.
    RuntimeRestart,
    /// The API servers restart.
    ApiServerRestart,
    /// The cluster is made anew.
    NewCluster,
    /// A user may do more.
    MorePermissions,
    /// A namespace admits more.
    WeakerNamespace,
    /// Workspaces restart.
    WorkspaceRestart,
    /// Workspaces are made anew.
    NewWorkspaces,
    /// The operator may change it back.
    OfOperator,
    /// The setting ends with the node.
    EachNode,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ImageBuild => {
                "the image has to be built and rolled out again; workspaces have it once they restart"
            }
            // openshift/api, `config/v1/types_feature.go`.
            Self::NoUpgrade => {
                "it can't be undone, and the cluster can't be updated to another minor release any more"
            }
            Self::NodeReboot => {
                "the Machine Config Operator drains and restarts the nodes, one after the other"
            }
            Self::KubeletRestart => "the kubelet of each node restarts; containers continue",
            Self::RuntimeRestart => "the container runtime of each node restarts; containers continue",
            Self::ApiServerRestart => "the API servers restart, so requests may fail meanwhile",
            Self::NewCluster => "kind has no way to change a cluster: all that is in it is lost",
            Self::MorePermissions => {
                "its users may add SETUID and SETGID and get the SELinux type container_engine_t, in \
                 pods with a user namespace only"
            }
            Self::WeakerNamespace => "the namespace no longer refuses privileged pods",
            Self::WorkspaceRestart => "workspaces have it once they restart",
            // eclipse-che/che#23605: the attribute for the SCC can't be changed.
            Self::NewWorkspaces => "workspaces that exist already don't start; they must be made anew",
            Self::OfOperator => "an operator that owns the object may change it back",
            Self::EachNode => "it has to be done on each node, and again on each new one",
        })
    }
}

/// A part of a remedy, in the order in which they are done.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Step {
    /// An object for `kubectl apply -f`. Of an object that exists, only the fields that change.
    Manifest {
        /// The object.
        object: Value,
    },
    /// Lines for the Containerfile of the image, as root.
    Containerfile {
        /// The lines.
        lines: Vec<String>,
    },
    /// A file, or what has to be added to one.
    File {
        /// The machine that it is on.
        machine: Machine,
        /// Its path.
        path: String,
        /// Whether there is such a file already, to which this is added.
        is_addition: bool,
        /// Its content.
        content: String,
    },
    /// A command.
    Command {
        /// The machine that it runs on.
        machine: Machine,
        /// The command line.
        line: String,
    },
}

impl Step {
    /// A command.
    fn command(machine: Machine, line: &str) -> Self {
        Self::Command { machine, line: line.to_owned() }
    }

    /// A new file.
    fn file(machine: Machine, path: &str, content: String) -> Self {
        Self::File { machine, path: path.to_owned(), is_addition: false, content }
    }

    /// An addition to a file that is there.
    fn addition(machine: Machine, path: &str, content: String) -> Self {
        Self::File { machine, path: path.to_owned(), is_addition: true, content }
    }
}

/// A machine on which something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// Each node.
    Node,
    /// Each node of the control plane.
    ControlPlane,
    /// The host of a kind cluster.
    Host,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "each node",
            Self::ControlPlane => "each node of the control plane",
            Self::Host => "the host of the kind cluster",
        })
    }
}

/// A change of one thing, and all that it fixes.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Remedy {
    /// What it does, as an imperative.
    pub title: String,
    /// Where it is done.
    pub place: Place,
    /// What it fixes.
    pub fixes: Vec<Problem>,
    /// What it costs.
    pub costs: Vec<Cost>,
    /// What is to be known before it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// The first change of it: programs come before what is done with them.
    #[serde(skip)]
    rank: u8,
}

/// All remedies of a cluster.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct Remedies {
    /// The remedies, those of images first.
    pub remedies: Vec<Remedy>,
    /// What no remedy can be printed for, with its hint.
    #[serde(rename = "without_remedy")]
    pub without: Vec<Problem>,
}

/// A remedy without what it fixes.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    title: String,
    place: Place,
    costs: Vec<Cost>,
    note: Option<String>,
    steps: Vec<Step>,
}

impl Change {
    fn new(title: impl Into<String>, place: Place, costs: &[Cost], steps: Vec<Step>) -> Self {
        Self { title: title.into(), place, costs: costs.to_vec(), note: None, steps }
    }

    fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// Finds the remedies of problems: each change once, with all that it fixes. Where one part of what a
/// problem needs can't be printed, the problem is among those without a remedy, too.
#[must_use]
pub fn remedies(problems: Vec<Problem>, circumstances: &Circumstances<'_>) -> Remedies {
    let only_upgrade = problems.iter().any(|problem| problem.needs(Repair::Upgrade));
    let mut found = Remedies::default();
    let mut packages: Vec<Repair> = Vec::new();
    for problem in &problems {
        packages.extend(problem.repairs().filter(|repair| image::is_package(*repair)));
    }
    packages.sort();
    packages.dedup();
    for problem in problems {
        let mut is_fixed = !problem.needs.is_empty();
        for need in &problem.needs {
            // What an update brings needs no change of its own.
            let is_moot = only_upgrade && !need.is_of_image();
            let change = if is_moot { None } else { change(need, &packages, circumstances) };
            match change {
                Some(change) => found.add(change, need.rank(), &problem),
                None => is_fixed = false,
            }
        }
        if !is_fixed {
            found.without.push(problem);
        }
    }
    found.remedies.sort_by_key(|remedy| (remedy.place != Place::Image, remedy.rank));
    found
}

fn change(need: &Need, packages: &[Repair], circumstances: &Circumstances<'_>) -> Option<Change> {
    match need {
        Need::Repair(repair) => match repair {
            Repair::Scc => access::scc(circumstances),
            Repair::PodSecurityLevel => access::namespace(circumstances),
            Repair::Gates | Repair::KubeletGate => gates::gates(*repair, circumstances),
            Repair::Upgrade | Repair::Unknown => None,
            _ => image::change(*repair, packages).or_else(|| node::change(*repair, circumstances)),
        },
        Need::Workspaces(object) => workspace::change(object, circumstances),
    }
}

impl Remedies {
    fn add(&mut self, change: Change, rank: u8, problem: &Problem) {
        let Change { title, place, costs, note, steps } = change;
        let known = self.remedies.iter_mut().find(|it| it.title == title && it.steps == steps);
        if let Some(remedy) = known {
            remedy.rank = remedy.rank.min(rank);
            if !remedy.fixes.contains(problem) {
                remedy.fixes.push(problem.clone());
            }
            return;
        }
        let fixes = vec![problem.clone()];
        self.remedies.push(Remedy { title, place, fixes, costs, note, steps, rank });
    }

    /// Whether nothing is unmet and nothing failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remedies.is_empty() && self.without.is_empty()
    }
}

#[cfg(test)]
mod tests;
