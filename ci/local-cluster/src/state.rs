//! What a cluster is and what it has acquired on the host, in a file.
//!
//! The rule that makes `down` possible after any crash: the file names a thing *before* the thing
//! is acquired. A process is started so that it waits for a word on its stdin, is written down, and
//! only then allowed to go on; if its parent dies in between, it reads the end of the pipe and ends
//! as well.
//!
//! There is one writer at a time: `up` until it lets the supervisor go on, the supervisor from then
//! on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::Hierarchies,
    error::{Error, Failure},
    network::{Subnet, interface_name},
    paths::StateFolder,
    process::{ProcessIdentity, boot_id},
    selinux,
    settings::{ClusterName, Settings},
};

/// How far a cluster has come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// `up` is under way.
    Starting,
    /// The node was ready.
    Ready,
    /// `up` failed; everything but logs was given back.
    Failed,
}

/// One component of a cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentState {
    /// The process id inside the node's process namespace.
    pub pid: i32,
    /// How it ended, if it has: `exit status 1`, `signal 9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// The content of the state file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The cluster's name.
    pub name: ClusterName,
    /// Ten random hexadecimal digits that make the names of things on the host unique among all
    /// clusters of all caches.
    pub id: String,
    /// The boot of the machine in which process identities are valid.
    pub boot: String,
    /// What the cluster was started with.
    pub settings: Settings,
    /// How far it has come.
    pub phase: Phase,
    /// Why `up` failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The process that owns everything else.
    pub supervisor: Option<ProcessIdentity>,
    /// The init of the node's process namespace.
    pub node: Option<ProcessIdentity>,
    /// The inits of the other nodes, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_nodes: Vec<ProcessIdentity>,
    /// The host's end of the veth pair.
    pub interface: Option<String>,
    /// The addresses.
    pub subnet: Option<Subnet>,
    /// The group in every control group hierarchy.
    pub cgroup: Option<String>,
    /// The hierarchies that `cgroup` is in.
    pub hierarchies: Hierarchies,
    /// Whether containers get labels of SELinux.
    #[serde(default)]
    pub selinux: bool,
    /// The `kubectl` of the cluster's version.
    pub kubectl: PathBuf,
    /// The components that were started.
    #[serde(default)]
    pub components: BTreeMap<String, ComponentState>,
}

impl State {
    /// The state of a cluster that has acquired nothing.
    pub fn new(name: &ClusterName, settings: Settings, kubectl: PathBuf) -> Result<Self, Error> {
        Ok(Self {
            name: name.clone(),
            id: random_id()?,
            boot: boot_id(),
            settings,
            phase: Phase::Starting,
            failure: None,
            supervisor: None,
            node: None,
            other_nodes: Vec::new(),
            interface: None,
            subnet: None,
            cgroup: None,
            hierarchies: Hierarchies::detect()?,
            selinux: selinux::is_enabled(),
            kubectl,
            components: BTreeMap::new(),
        })
    }

    /// Reads the state of a cluster; `None` if there is none.
    pub fn read(folder: &StateFolder) -> Result<Option<Self>, Error> {
        let path = folder.state_file();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| Error::path("read", &path, source))?,
        };
        let state = serde_json::from_slice(&bytes).map_err(|error| {
            Error::other(format!(
                "`{}` is not a state file of this version: {error}",
                path.display()
            ))
        })?;
        Ok(Some(state))
    }

    /// Replaces the state file. A reader sees the old or the new one, whole.
    pub fn write(&self, folder: &StateFolder) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::other(format!("can't write state: {error}")))?;
        replace(&folder.state_file(), &text, 0o644)
    }

    /// The name of the cluster's control group.
    pub fn cgroup_name(&self) -> String {
        format!("local-cluster-{}-{}", self.name, self.id)
    }

    /// The name of the host's end of the veth pair.
    pub fn interface_name(&self) -> String {
        interface_name(&self.id)
    }

    /// The supervisor, if it runs.
    pub fn running_supervisor(&self) -> Option<crate::process::RunningProcess> {
        (self.boot == boot_id()).then_some(self.supervisor)??.running()
    }

    /// The first component that has ended although it should run, with how.
    pub fn dead_component(&self) -> Option<(&str, &str)> {
        self.components
            .iter()
            .find_map(|(name, component)| Some((name.as_str(), component.ended.as_deref()?)))
    }
}

/// Writes a file so that it appears whole or not at all.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file =
            File::options().create(true).truncate(true).write(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| Error::path("write", path, source))
}

fn random_id() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 5];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::path("read", source, error))?;
    Ok(HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(&"test".parse().unwrap(), Settings::default(), "/kubectl".into()).unwrap()
    }

    #[test]
    fn two_clusters_of_one_name_have_different_names_on_the_host() {
        let (one, two) = (state(), state());
        assert_ne!(one.cgroup_name(), two.cgroup_name());
        assert_ne!(one.interface_name(), two.interface_name());
        assert!(one.interface_name().len() <= 15);
    }

    #[test]
    fn a_process_of_another_boot_does_not_run() {
        let mut state = state();
        state.supervisor = Some(ProcessIdentity::of(std::process::id()).unwrap());
        assert!(state.running_supervisor().is_some());
        state.boot = "another".to_owned();
        assert!(state.running_supervisor().is_none());
    }

    #[test]
    fn the_dead_component_is_found() {
        let mut state = state();
        let alive = ComponentState { pid: 7, ended: None };
        state.components.insert("etcd".into(), alive);
        assert_eq!(state.dead_component(), None);
        let dead = ComponentState { pid: 8, ended: Some("signal 9".into()) };
        state.components.insert("kubelet".into(), dead);
        assert_eq!(state.dead_component(), Some(("kubelet", "signal 9")));
    }

    #[test]
    fn state_survives_its_file() {
        let folder = StateFolder::at(
            std::env::temp_dir().join(format!("local-cluster-{}", std::process::id())),
        );
        fs::create_dir_all(folder.root()).unwrap();
        let state = state();
        state.write(&folder).unwrap();
        let back = State::read(&folder).unwrap().unwrap();
        fs::remove_dir_all(folder.root()).unwrap();
        assert_eq!(back.id, state.id);
        assert!(State::read(&folder).unwrap().is_none());
    }
}
