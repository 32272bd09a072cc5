//! `local-cluster build`.

use std::collections::BTreeSet;

use crate::{
    artifacts::{self, Source},
    console,
    error::Error,
    host,
    paths::Cache,
};

/// Builds what is missing and prints the directory of each artifact, one a line.
pub fn run(sources: &[Source]) -> Result<(), Error> {
    let cache = Cache::locate()?;
    let mut paths = BTreeSet::new();
    for source in sources {
        host::check(&cache, artifacts::missing(&cache, source)?)?;
        paths.extend(artifacts::ensure(&cache, source)?.paths());
    }
    paths.iter().try_for_each(|path| console::data(path.display()))
}
