//! Container runtimes: what differs between the flavours of a node.

pub mod containerd;
pub mod crio;
pub mod devices;
mod network;

pub use devices::Devices;
pub use network::network_config;

use serde::{Deserialize, Serialize};

use crate::node::protocol::Program;

/// What runs the containers of a node.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// containerd, which is built.
    Containerd,
    /// CRI-O, where `--components` has it.
    Crio,
}

impl Runtime {
    /// The name of the daemon, of its log and of its data folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "crio",
        }
    }

    /// Where its programs are in the node.
    pub fn programs(self) -> &'static str {
        match self {
            Self::Containerd => containerd::PROGRAMS,
            Self::Crio => crio::PROGRAMS,
        }
    }

    /// The folder that holds images and what containers write, in the node.
    pub fn root(self) -> &'static str {
        match self {
            Self::Containerd => containerd::ROOT,
            Self::Crio => crio::ROOT,
        }
    }

    /// The socket of the Container Runtime Interface.
    pub fn socket(self) -> &'static str {
        match self {
            Self::Containerd => containerd::SOCKET,
            Self::Crio => crio::SOCKET,
        }
    }

    /// The daemon.
    pub fn program(self) -> Program {
        match self {
            Self::Containerd => containerd::program(),
            Self::Crio => crio::program(),
        }
    }

    /// Its configuration files: names below the node's configuration folder, and
    /// their texts. `devices` is what pods get by annotation, if they do.
    pub fn files(self, devices: Option<&Devices>) -> Vec<(&'static str, String)> {
        match self {
            Self::Containerd => {
                let mut files = vec![(containerd::CONFIG_FILE, containerd::config(devices))];
                files
                    .extend(devices.map(|devices| (devices::CONFIG_FILE, devices.plugin_config())));
                files
            }
            Self::Crio => {
                vec![
                    (crio::CONFIG_FILE, crio::config(devices)),
                    (crio::POLICY_FILE, crio::policy()),
                    (crio::CRUN_FILE, crio::CRUN.to_owned()),
                ]
            }
        }
    }

    /// The command that makes the image `reference` of the archive `archive`, a
    /// path in the node, an image of the runtime.
    pub fn importer(self, archive: &str, reference: &str) -> Vec<String> {
        match self {
            Self::Containerd => containerd::importer(archive),
            Self::Crio => crio::importer(archive, reference),
        }
    }
}
