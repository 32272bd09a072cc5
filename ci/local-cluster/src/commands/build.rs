//! `local-cluster build`.

use crate::artifacts;
use crate::console;
use crate::error::Error;
use crate::host;
use crate::paths::Cache;
use crate::settings::KubernetesVersion;

/// Builds what is missing and prints the folder of the artifacts.
///
/// # Errors
///
/// Fails when a build does.
pub fn run(version: KubernetesVersion) -> Result<(), Error> {
    let cache = Cache::locate()?;
    host::check(&cache, artifacts::missing(&cache, version))?;
    artifacts::ensure(&cache, version)?;
    console::data(cache.artifacts().display())
}
