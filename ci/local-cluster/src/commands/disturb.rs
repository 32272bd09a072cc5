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
    let folder = restart::running(name, disturbance.components())?;
    control::ask(&folder, &Wish::Disturb { disturbance, seconds })?;
    console::progress(format_args!("cluster `{name}` was disturbed for {seconds} s"));
    Ok(())
}
