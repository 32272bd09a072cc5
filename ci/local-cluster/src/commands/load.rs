//! `local-cluster load`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::inspect;
use crate::artifacts::tree;
use crate::command::{describe_status, output};
use crate::console;
use crate::error::Error;
use crate::host;
use crate::image;
use crate::paths::{Cache, StateFolder};
use crate::process::ProcessIdentity;
use crate::runtime::Runtime;
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
    let work = folder.root().join(format!("load-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|source| Error::path("make", &work, source))?;
    let runtime = state.settings.distribution.runtime();
    let loaded = pack(&folder, &work, tree, &reference)
        .and_then(|layout| import(&layout, &reference, runtime, node));
    let removed = fs::remove_dir_all(&work).map_err(|source| Error::path("remove", &work, source));
    loaded.and(removed)?;
    console::data(reference)
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

/// Makes an OCI layout of the tree and returns its folder.
fn pack(folder: &StateFolder, work: &Path, tree: &Path, reference: &str) -> Result<PathBuf, Error> {
    let layer = make_layer(folder, work, tree)?;
    let layout = work.join("layout");
    image::add(&layout, reference, &layer, &image::Start::root_shell())?;
    Ok(layout)
}

fn make_layer(folder: &StateFolder, work: &Path, tree: &Path) -> Result<PathBuf, Error> {
    let layer = work.join("layer.tar");
    let metadata = fs::metadata(tree).map_err(|source| Error::path("read", tree, source))?;
    if metadata.is_dir() {
        tree::pack(tree, &layer, &folder.log("load"))?;
    } else {
        // The digest of a compressed archive isn't that of its content.
        output(Command::new("tar").args(["--list", "--file"]).arg(tree)).map(drop)?;
        fs::copy(tree, &layer).map_err(|source| Error::path("copy", tree, source))?;
    }
    Ok(layer)
}

/// Passes the image to the runtime's client, which runs inside the node.
fn import(
    layout: &Path,
    reference: &str,
    runtime: Runtime,
    node: ProcessIdentity,
) -> Result<(), Error> {
    let command = runtime.importer("/dev/stdin", reference);
    let mut archiver = image::archiver(layout, Path::new("-"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| Error::io("start", "`tar`", source))?;
    let mut client = Command::new("nsenter");
    client
        .arg(format!("--target={}", node.pid))
        .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--"])
        .args(&command);
    if let Some(archive) = archiver.stdout.take() {
        client.stdin(archive);
    }
    let imported = client.output().map_err(|source| Error::io("start", "`nsenter`", source))?;
    let packed = archiver.wait().map_err(|source| Error::io("wait for", "`tar`", source))?;
    if imported.status.success() && packed.success() {
        return Ok(());
    }
    let details = String::from_utf8_lossy(&imported.stderr).lines().map(str::to_owned).collect();
    let line = command.join(" ");
    Err(Error::command(line, describe_status(imported.status)).with_details(details))
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
