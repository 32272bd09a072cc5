//! Giving back everything that a cluster has acquired on the host.

use std::{fs, io::ErrorKind, time::Duration};

use crate::{cgroup, error::Error, network, paths::StateFolder, process::boot_id, state::State};

/// How long the node's processes may take to die after SIGKILL, and its control groups to become
/// free.
const DEATH: Duration = Duration::from_secs(20);

/// How long a supervisor may take to end its cluster.
const GRACE: Duration = Duration::from_secs(25);

/// Ends the nodes and gives back its interface and control groups. What does not exist (any more) is
/// skipped, so this can be repeated.
///
/// Mounts need nothing: they are all in the node's mount namespace and vanish with its last
/// process, as the namespaces themselves do.
pub fn release(state: &State) -> Result<(), Error> {
    // A reboot has ended everything already, and its pids mean nothing now.
    if state.boot != boot_id() {
        return Ok(());
    }
    let nodes = state.node.iter().chain(&state.other_nodes);
    for node in nodes.filter_map(|node| node.running()) {
        node.kill();
        if !node.wait(DEATH)? {
            return Err(Error::deadline("the node's processes did not end", DEATH));
        }
    }
    if let Some(interface) = &state.interface {
        network::disconnect(interface)?;
    }
    if let Some(group) = &state.cgroup {
        cgroup::remove(&state.hierarchies, group, DEATH)?;
    }
    Ok(())
}

/// Ends the supervisor of a cluster, with SIGTERM first, removes its leftovers, and returns the
/// state that was found; `None` if there is no cluster.
pub fn end(folder: &StateFolder) -> Result<Option<State>, Error> {
    let Some(state) = State::read(folder)? else {
        return Ok(None);
    };
    if let Some(supervisor) = state.running_supervisor() {
        supervisor.terminate();
        if !supervisor.wait(GRACE)? {
            supervisor.kill();
            if !supervisor.wait(DEATH)? {
                return Err(Error::deadline("the supervisor did not end", DEATH));
            }
        }
    }
    // Read again: the supervisor may have acquired more until it ended.
    let Some(state) = State::read(folder)? else {
        return Ok(None);
    };
    release(&state)?;
    Ok(Some(state))
}

/// Removes the state folder of a cluster that has ended.
pub fn forget(folder: &StateFolder) -> Result<(), Error> {
    // The state file goes last: without it nothing would find the rest.
    let entries = match fs::read_dir(folder.root()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| Error::path("read", folder.root(), source))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path == folder.state_file() {
            continue;
        }
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| Error::path("remove", &path, source))?;
    }
    fs::remove_dir_all(folder.root()).map_err(|source| Error::path("remove", folder.root(), source))
}
