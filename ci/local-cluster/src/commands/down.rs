//! `local-cluster down`.

use std::fs;

use super::lock;
use crate::{console, error::Error, host, paths::Cache, settings::ClusterName, teardown};

/// Ends one cluster. Ending one that does not exist is not an error.
pub fn run(name: &ClusterName) -> Result<(), Error> {
    let cache = Cache::locate()?;
    host::check(&cache, false)?;
    end(&cache, name)
}

/// Ends all clusters of the cache.
pub fn run_all() -> Result<(), Error> {
    let cache = Cache::locate()?;
    host::check(&cache, false)?;
    let entries = fs::read_dir(cache.clusters()).into_iter().flatten().flatten();
    let names = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().to_str()?.parse::<ClusterName>().ok());
    let mut result = Ok(());
    for name in names {
        if let Err(error) = end(&cache, &name) {
            console::progress(format_args!("cluster `{name}`: {error}"));
            result = Err(error);
        }
    }
    result
}

fn end(cache: &Cache, name: &ClusterName) -> Result<(), Error> {
    let folder = cache.cluster(name);
    if !folder.root().exists() {
        console::progress(format_args!("there is no cluster `{name}`"));
        return Ok(());
    }
    // Before the lock: an `up` that is under way holds it, and fails as soon as its supervisor
    // ends.
    teardown::end(&folder)?;
    let _lock = lock::take(&folder)?;
    // Again: the `up` may have got further before it noticed.
    teardown::end(&folder)?;
    teardown::forget(&folder)?;
    console::progress(format_args!("cluster `{name}` has ended"));
    Ok(())
}
