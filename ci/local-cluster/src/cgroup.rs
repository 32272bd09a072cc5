//! The cluster's part of the machine's control groups, on cgroup v1 (also the hybrid layout) and on
//! cgroup v2.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where the node's own processes are, below the cluster's group. The pods' groups are beside it,
/// because in cgroup v2 a group that passes controllers on can't hold processes itself (cgroups(7),
/// "no internal processes").
const NODE_LEAF: &str = "node";

/// The control group hierarchies of the host that a node uses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "version", rename_all = "camelCase")]
pub enum Hierarchies {
    /// One mount point for each controller or set of controllers.
    #[serde(rename = "1")]
    V1 {
        /// Mount points, such as `/sys/fs/cgroup/memory`.
        mounts: Vec<PathBuf>,
    },
    /// One mount point for everything.
    #[serde(rename = "2")]
    V2 {
        /// The mount point, usually `/sys/fs/cgroup`.
        mount: PathBuf,
    },
}

impl Hierarchies {
    /// Finds the hierarchies of this machine.
    pub fn detect() -> Result<Self, Error> {
        let mounts = Path::new("/proc/self/mounts");
        let text =
            fs::read_to_string(mounts).map_err(|source| Error::path("read", mounts, source))?;
        Self::parse(&text).ok_or_else(|| {
            Error::other("no control groups are mounted at `/sys/fs/cgroup`")
                .with_hint("run `mount -t cgroup2 cgroup2 /sys/fs/cgroup`")
        })
    }

    /// A machine with v1 controllers is a v1 machine, even if there is a v2 mount beside them (the
    /// hybrid layout): a controller is in one of them.
    fn parse(mounts: &str) -> Option<Self> {
        let of_kind = |kind: &'static str| {
            mounts.lines().filter_map(move |line| {
                let mut fields = line.split_whitespace().skip(1);
                let target = fields.next()?;
                let found = fields.next()? == kind && target.starts_with("/sys/fs/cgroup");
                found.then(|| PathBuf::from(target))
            })
        };
        let v1: Vec<_> = of_kind("cgroup").collect();
        if !v1.is_empty() {
            return Some(Self::V1 { mounts: v1 });
        }
        of_kind("cgroup2").next().map(|mount| Self::V2 { mount })
    }

    /// The version as a number.
    pub fn version(&self) -> u8 {
        match self {
            Self::V1 { .. } => 1,
            Self::V2 { .. } => 2,
        }
    }

    fn mounts(&self) -> &[PathBuf] {
        match self {
            Self::V1 { mounts } => mounts,
            Self::V2 { mount } => std::slice::from_ref(mount),
        }
    }
}

/// Makes the group `name` and its leaf for the node's processes in every hierarchy.
pub fn create(hierarchies: &Hierarchies, name: &str) -> Result<(), Error> {
    for mount in hierarchies.mounts() {
        let group = mount.join(name);
        let leaf = group.join(NODE_LEAF);
        fs::create_dir_all(&leaf).map_err(|source| Error::path("make", &leaf, source))?;
        match hierarchies {
            Hierarchies::V1 { .. } => {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    // A new v1 cpuset is empty, and an empty one takes no process.
                    inherit(mount, &group, file)?;
                    inherit(&group, &leaf, file)?;
                }
            }
            Hierarchies::V2 { .. } => {
                enable_controllers(mount)?;
                enable_controllers(&group)?;
            }
        }
    }
    Ok(())
}

/// Puts the calling process, and with it all that it will start, into the node's leaf of the group
/// `name`.
pub fn join(hierarchies: &Hierarchies, name: &str) -> Result<(), Error> {
    for mount in hierarchies.mounts() {
        let file = mount.join(name).join(NODE_LEAF).join("cgroup.procs");
        fs::write(&file, "0").map_err(|source| Error::path("join", &file, source))?;
    }
    Ok(())
}

/// Removes the group `name` everywhere, with whatever still runs in it.
pub fn remove(hierarchies: &Hierarchies, name: &str, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    for mount in hierarchies.mounts() {
        let group = mount.join(name);
        while let Err(error) = remove_tree(&group) {
            if Instant::now() > deadline {
                return Err(Error::path("remove", &group, error));
            }
            // A v1 group stays busy for a moment after its last process was reaped, and v1 has no
            // event for the moment at which it is free.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Kills what is in a group and removes it and the groups below, bottom up.
fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    // Whatever is in the cluster's own group belongs to the cluster.
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn inherit(parent: &Path, child: &Path, file: &str) -> Result<(), Error> {
    let source = parent.join(file);
    // Only the cpuset hierarchy has these files.
    let Ok(value) = fs::read_to_string(&source) else {
        return Ok(());
    };
    let target = child.join(file);
    fs::write(&target, value.trim()).map_err(|source| Error::path("write", &target, source))
}

fn enable_controllers(group: &Path) -> Result<(), Error> {
    let available = group.join("cgroup.controllers");
    let list =
        fs::read_to_string(&available).map_err(|source| Error::path("read", &available, source))?;
    let enable: Vec<_> = list.split_whitespace().map(|name| format!("+{name}")).collect();
    let target = group.join("cgroup.subtree_control");
    fs::write(&target, enable.join(" ")).map_err(|source| Error::path("write", &target, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_is_v1_without_the_unified_mount() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let expected = Hierarchies::V1 {
            mounts: vec!["/sys/fs/cgroup/memory".into(), "/sys/fs/cgroup/systemd".into()],
        };
        assert_eq!(Hierarchies::parse(mounts), Some(expected));
    }

    #[test]
    fn pure_v2_is_v2() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let expected = Hierarchies::V2 { mount: "/sys/fs/cgroup".into() };
        assert_eq!(Hierarchies::parse(mounts), Some(expected));
    }

    #[test]
    fn a_mount_elsewhere_is_not_taken() {
        assert_eq!(Hierarchies::parse("cgroup2 /mnt/x cgroup2 rw 0 0\n"), None);
        assert_eq!(Hierarchies::parse(""), None);
    }

    #[test]
    fn removing_what_does_not_exist_is_no_error() {
        let hierarchies = Hierarchies::V2 { mount: std::env::temp_dir() };
        remove(&hierarchies, "no-such-group-here", Duration::ZERO).unwrap();
    }
}
