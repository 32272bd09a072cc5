//! The cache of artifacts. An artifact's folder is named after a hash of all that it is made from,
//! so a changed recipe is another artifact, and it appears by a rename, so it is there whole or not
//! at all.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{console, error::Error, paths::Cache};

/// What an artifact is made from.
#[derive(Clone, Debug)]
pub struct Recipe {
    name: String,
    description: String,
    estimate: &'static str,
    digest: String,
}

impl Recipe {
    /// An artifact called `name`, made from `inputs`: texts and versions that decide its content.
    /// `description` and `estimate` are for the person who waits: `kubernetes 1.32.5`, `about 4
    /// minutes`.
    pub fn new(name: &str, description: &str, estimate: &'static str, inputs: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for input in inputs {
            // The length keeps "a", "bc" apart from "ab", "c".
            hash.update(input.len().to_le_bytes());
            hash.update(input.as_bytes());
        }
        let digest = hash.finalize();
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            estimate,
            digest: HEXLOWER.encode(&digest[..6]),
        }
    }

    /// The name of the artifact's folder.
    pub fn key(&self) -> String {
        format!("{}-{}", self.name, self.digest)
    }
}

/// A place in which an artifact is being built.
#[derive(Debug)]
pub struct Build {
    /// The folder that will become the artifact.
    pub output: PathBuf,
    /// A folder that is removed at the end.
    pub scratch: PathBuf,
    /// The log of commands, which stays.
    pub log: PathBuf,
}

impl Build {
    /// Writes a file into the scratch folder, or below it, and returns its path.
    pub fn scratch_file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
        let path = self.scratch.join(name);
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        fs::write(&path, content).map_err(|source| Error::path("write", &path, source))?;
        Ok(path)
    }
}

/// The artifacts in a cache.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The artifacts of `cache`.
    pub fn new(cache: &Cache) -> Self {
        Self { folder: cache.artifacts() }
    }

    /// The artifact, if it was built.
    pub fn find(&self, recipe: &Recipe) -> Option<PathBuf> {
        let path = self.folder.join(recipe.key());
        path.is_dir().then_some(path)
    }

    /// Returns the artifact and builds it if need be. Of several processes that want the same
    /// artifact one builds it and the others wait.
    pub fn ensure(
        &self,
        recipe: &Recipe,
        build: impl FnOnce(&Build) -> Result<(), Error>,
    ) -> Result<PathBuf, Error> {
        if let Some(path) = self.find(recipe) {
            return Ok(path);
        }
        let path = self.folder.join(recipe.key());
        let sibling = |suffix: &str| self.folder.join(format!("{}.{suffix}", recipe.key()));
        make_folder(&self.folder)?;
        let _lock = lock(recipe, &sibling("lock"))?;
        if path.is_dir() {
            return Ok(path);
        }
        console::progress(format_args!(
            "building {} (once, {})",
            recipe.description, recipe.estimate
        ));
        let started = Instant::now();
        let place =
            Build { output: sibling("new"), scratch: sibling("scratch"), log: sibling("log") };
        // What is there is from a build that was interrupted: the lock is ours.
        remove_folder(&place.output)?;
        remove_folder(&place.scratch)?;
        make_folder(&place.output)?;
        make_folder(&place.scratch)?;
        let _ = fs::remove_file(&place.log);
        let outcome = build(&place);
        remove_folder(&place.scratch)?;
        outcome?;
        fs::rename(&place.output, &path).map_err(|source| Error::path("publish", &path, source))?;
        console::progress(format_args!(
            "built {} in {} s",
            recipe.description,
            started.elapsed().as_secs()
        ));
        Ok(path)
    }
}

fn lock(recipe: &Recipe, path: &Path) -> Result<File, Error> {
    let refused = |source| Error::path("lock", path, source);
    let file =
        File::options().create(true).truncate(false).write(true).open(path).map_err(refused)?;
    if file.try_lock().is_err() {
        console::progress(format_args!(
            "waiting for another process that builds {}",
            recipe.description
        ));
        // No deadline: the build takes as long as it takes, and the kernel frees the lock when the
        // other process ends.
        file.lock().map_err(refused)?;
    }
    Ok(file)
}

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::path("make", path, source))
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::path("remove", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> Store {
        let folder =
            std::env::temp_dir().join(format!("local-cluster-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Store { folder }
    }

    fn recipe(inputs: &[&str]) -> Recipe {
        Recipe::new("thing", "a thing", "at once", inputs)
    }

    #[test]
    fn the_key_depends_on_each_input() {
        assert_eq!(recipe(&["a", "b"]).key(), recipe(&["a", "b"]).key());
        assert_ne!(recipe(&["a", "b"]).key(), recipe(&["a", "c"]).key());
        assert_ne!(recipe(&["a", "bc"]).key(), recipe(&["ab", "c"]).key());
    }

    #[test]
    fn an_artifact_is_built_once() {
        let store = store("once");
        let build = |place: &Build| {
            fs::write(place.output.join("file"), "content").unwrap();
            Ok(())
        };
        let first = store.ensure(&recipe(&["x"]), build).unwrap();
        let second = store.ensure(&recipe(&["x"]), |_| Err(Error::other("built again"))).unwrap();
        assert_eq!(first, second);
        assert!(first.join("file").is_file());
        fs::remove_dir_all(&store.folder).unwrap();
    }

    #[test]
    fn a_failed_build_publishes_nothing() {
        let store = store("failed");
        assert!(store.ensure(&recipe(&["x"]), |_| Err(Error::other("no"))).is_err());
        assert!(store.find(&recipe(&["x"])).is_none());
        fs::remove_dir_all(&store.folder).unwrap();
    }
}
