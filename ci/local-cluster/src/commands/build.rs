//! `local-cluster build`.

use crate::artifacts::{self, Source};
use crate::console;
use crate::error::Error;
use crate::host;
use crate::paths::Cache;

/// Builds what is missing and prints the folder of the artifacts.
///
/// # Errors
///
/// Fails when a build does.
pub fn run(sources: &[Source]) -> Result<(), Error> {
    let cache = Cache::locate()?;
    for source in sources {
        host::check(&cache, artifacts::missing(&cache, source)?)?;
        artifacts::ensure(&cache, source)?;
    }
    console::data(cache.artifacts().display())
}
