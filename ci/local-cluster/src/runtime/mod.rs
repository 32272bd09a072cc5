//! Container runtimes. Each file describes one as a [`RuntimeSpec`].

mod containerd;
mod crio;
pub mod devices;
mod network;

use std::path::Path;

pub use containerd::{CONTAINERD, NESTED_HANDLER, nested_spec};
pub use crio::CRIO;
pub use devices::Devices;
pub use network::network_config;

use crate::{
    node::protocol::Program,
    settings::{RealProgram, RealPrograms},
};

/// What differs between the nodes of one runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The devices that pods get by annotation.
    pub devices: Option<&'a Devices>,
    /// Whether containers get labels of SELinux.
    pub selinux: bool,
}

/// A container runtime.
#[derive(Debug)]
pub struct RuntimeSpec {
    /// The name of the daemon, of its log and of its data folder.
    pub name: &'static str,
    /// Where its programs are in the node.
    pub programs: &'static str,
    /// The folder that holds images and what containers write, in the node.
    pub root: &'static str,
    /// The socket of the Container Runtime Interface.
    pub socket: &'static str,
    /// The command of the daemon.
    pub command: fn() -> Vec<String>,
    /// Its configuration files: names below the node's configuration folder, and their texts.
    pub files: fn(Options<'_>) -> Vec<(&'static str, String)>,
    /// The command that imports an image of an archive, a path in the node.
    pub import: fn(archive: &str, reference: &str) -> Vec<String>,
    /// Whether the daemon imports, all images of an archive at once. Otherwise a program of the
    /// node's tree imports one image after the other.
    pub daemon_imports: bool,
    /// What the node's tree needs for it.
    pub packages: &'static [&'static str],
    /// The name of the artifact with the node's tree.
    pub node_tree: &'static str,
    /// What the image store depends on.
    pub store_inputs: fn() -> String,
    /// Whether a file of its data is its own, and not an image's.
    pub is_own_file: fn(&Path) -> bool,
}

/// One of the runtimes.
pub type Runtime = &'static RuntimeSpec;

/// The runtime of a cluster: CRI-O where `--components` has it, and containerd, which is built,
/// elsewhere.
pub fn of(real: RealPrograms) -> Runtime {
    if real.has(RealProgram::Crio) { &CRIO } else { &CONTAINERD }
}

impl RuntimeSpec {
    /// The daemon.
    pub fn program(&self) -> Program {
        Program { name: self.name.to_owned(), command: (self.command)(), notifies: true }
    }

    /// Of images in one archive, those that need an import of their own.
    pub fn imports_of<'a, T>(&self, references: &'a [T]) -> &'a [T] {
        &references[..if self.daemon_imports { references.len().min(1) } else { references.len() }]
    }
}
