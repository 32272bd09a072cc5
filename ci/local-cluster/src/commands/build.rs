//! `local-cluster build`.

use crate::{
    artifacts::{self, Source},
    console,
    error::Error,
    host,
    paths::Cache,
};

/// Builds what is missing and prints the folder of the artifacts.
pub fn run(sources: &[Source]) -> Result<(), Error> {
    let cache = Cache::locate()?;
    for source in sources {
        host::check(&cache, artifacts::missing(&cache, source)?)?;
        artifacts::ensure(&cache, source)?;
    }
    console::data(cache.artifacts().display())
}
