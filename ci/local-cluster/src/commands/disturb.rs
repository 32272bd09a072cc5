//! `local-cluster disturb`.

use super::restart;
use crate::{
    console,
    disturbance::Disturbance,
    error::Error,
    settings::ClusterName,
    supervisor::control::{self, Wish},
};

/// Disturbs a cluster and waits until that is over.
pub fn run(name: &ClusterName, disturbance: Disturbance, seconds: u64) -> Result<(), Error> {
    let (folder, state) = restart::running(name, disturbance.components())?;
    if disturbance == Disturbance::FullDisk && !state.settings.with.own_disk {
        return Err(Error::usage(format!("the node of cluster `{name}` uses this machine's disk"))
            .with_hint("start the cluster with `--with own-disk`"));
    }
    control::ask(&folder, &Wish::Disturb { disturbance, seconds })?;
    console::progress(format_args!("cluster `{name}` was disturbed for {seconds} s"));
    Ok(())
}
