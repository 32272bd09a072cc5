//! `local-cluster restart`.

use super::inspect;
use crate::{
    console,
    error::Error,
    host,
    paths::{Cache, StateFolder},
    settings::ClusterName,
    state::State,
    supervisor::control::{self, Wish},
};

/// Kills components and starts them again with the arguments that they had.
pub fn run(name: &ClusterName, components: Vec<String>) -> Result<(), Error> {
    let (folder, _) = running(name, &components)?;
    let printed = components.join(", ");
    control::ask(&folder, &Wish::Restart { components })?;
    console::progress(format_args!("cluster `{name}` has started {printed} again"));
    Ok(())
}

/// A cluster that runs and has these components.
pub(super) fn running(
    name: &ClusterName,
    components: &[String],
) -> Result<(StateFolder, State), Error> {
    host::check(&Cache::locate()?, false)?;
    let (folder, state) = inspect::find(name)?;
    if state.running_supervisor().is_none() {
        return Err(Error::other(format!("cluster `{name}` is not running"))
            .with_hint(format!("run `local-cluster up --name {name}`")));
    }
    if let Some(unknown) = components.iter().find(|name| !state.components.contains_key(*name)) {
        let known: Vec<_> = state.components.keys().map(String::as_str).collect();
        return Err(Error::usage(format!("cluster `{}` has no component `{unknown}`", state.name))
            .with_hint(format!("there are {}", known.join(", "))));
    }
    Ok((folder, state))
}
