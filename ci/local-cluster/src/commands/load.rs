//! `local-cluster load`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::inspect;
use crate::artifacts::tree;
use crate::command::output;
use crate::components::{LOAD, LOAD_DATA};
use crate::console;
use crate::error::Error;
use crate::host;
use crate::image;
use crate::paths::{Cache, StateFolder};
use crate::settings::ClusterName;

/// Makes a folder or a tar archive an image of the node and prints its name.
///
/// # Errors
///
/// Fails when the tree can't be read or the runtime doesn't take it.
pub fn run(name: &ClusterName, tree: &Path, tag: Option<&str>) -> Result<(), Error> {
    host::check(&Cache::locate()?, false)?;
    let reference = match tag {
        Some(tag) => tag.to_owned(),
        None => default_reference(tree)?,
    };
    let (folder, state) = inspect::find(name)?;
    let node = state
        .running_supervisor()
        .and(state.node)
        .filter(|node| node.running().is_some())
        .ok_or_else(|| {
        Error::other(format!("cluster `{name}` is not running"))
            .with_hint(format!("run `local-cluster up --name {name}`"))
    })?;
    let runtime = state.settings.distribution.runtime();
    let work = Work::new(&folder)?;
    pack(&folder, &work, tree, &reference)?;
    let mut client = Command::new("nsenter");
    client
        .arg(format!("--target={}", node.pid))
        .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--"])
        .args(runtime.importer(&work.archive_in_node(), &reference));
    output(&mut client)?;
    work.remove()?;
    console::data(reference)
}

/// The folder of one `load`, which the node sees.
struct Work {
    folder: PathBuf,
    name: String,
}

impl Work {
    const ARCHIVE: &str = "images.tar";

    fn new(cluster: &StateFolder) -> Result<Self, Error> {
        let name = std::process::id().to_string();
        let folder = cluster.data(LOAD_DATA).join(&name);
        fs::create_dir_all(&folder).map_err(|source| Error::path("make", &folder, source))?;
        Ok(Self { folder, name })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn archive_in_node(&self) -> String {
        format!("{LOAD}/{}/{}", self.name, Self::ARCHIVE)
    }

    fn remove(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.folder)
            .map_err(|source| Error::path("remove", &self.folder, source))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // After a failure, which is what the user is told of.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn default_reference(tree: &Path) -> Result<String, Error> {
    let absolute = tree.canonicalize().map_err(|source| Error::path("read", tree, source))?;
    let stem =
        absolute.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = stem.strip_suffix(".tar").unwrap_or(&stem);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if stem.is_empty() || !stem.chars().all(allowed) {
        return Err(Error::usage(format!("`{stem}` can't be an image's name"))
            .with_hint("give one with `--tag localhost/NAME:TAG`"));
    }
    Ok(format!("localhost/{stem}:1"))
}

/// Makes an archive with the tree as an image.
fn pack(cluster: &StateFolder, work: &Work, tree: &Path, reference: &str) -> Result<(), Error> {
    let layer = work.file("layer.tar");
    let metadata = fs::metadata(tree).map_err(|source| Error::path("read", tree, source))?;
    if metadata.is_dir() {
        tree::pack(tree, &layer, &cluster.log("load"))?;
    } else {
        // The digest of a compressed archive isn't that of its content.
        output(Command::new("tar").args(["--list", "--file"]).arg(tree)).map(drop)?;
        fs::copy(tree, &layer).map_err(|source| Error::path("copy", tree, source))?;
    }
    let layout = work.file("layout");
    image::add(&layout, reference, &layer, &image::Start::root_shell())?;
    output(&mut image::archiver(&layout, &work.file(Work::ARCHIVE))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_from_the_folder() {
        let folder = std::env::temp_dir().join("local-cluster-load-Tree");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(default_reference(&folder).unwrap(), "localhost/local-cluster-load-tree:1");
        fs::remove_dir(&folder).unwrap();
        assert!(default_reference(Path::new("/")).is_err());
    }
}
