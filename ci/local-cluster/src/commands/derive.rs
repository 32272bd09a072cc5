//! `local-cluster derive`.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::load::{Place, Work, default_reference};
use crate::artifacts::{self, tree};
use crate::command::logged;
use crate::console;
use crate::error::Error;
use crate::host;
use crate::image::{self, Layer};
use crate::paths::Cache;
use crate::settings::ClusterName;

/// Mounts the overlay of a derived tree and runs a recipe in it, both seen by nobody else. Its
/// arguments are the lower, upper, work and merged folder, and the recipe.
const RUN: &str = r#"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
exec chroot "$4" /bin/sh -euc "$(cat "$5")"
"#;

/// Runs each recipe in the root file system of the workspace image, makes the result an image of
/// the node, and prints its name.
///
/// # Errors
///
/// Fails when a recipe does, or the runtime doesn't take an image.
pub fn run(name: &ClusterName, recipes: &[PathBuf]) -> Result<(), Error> {
    let cache = Cache::locate()?;
    host::check(&cache, false)?;
    let place = Place::find(name)?;
    let log = place.folder.log("derive");
    let work = Work::new(&place.folder)?;
    let base = artifacts::workspace(&cache)?.join(tree::LAYER);
    let lower = work.make("lower")?;
    unpack(&base, &lower, &log)?;
    let base = Layer::of(&base)?;
    let start = image::Start::workspace()?;
    let layout = work.file("layout");
    let mut references = Vec::new();
    for (number, recipe) in recipes.iter().enumerate() {
        let recipe = recipe.canonicalize().map_err(|source| Error::path("read", recipe, source))?;
        let reference = default_reference(&recipe)?;
        let upper = work.make(&format!("{number}/upper"))?;
        let (inner, merged) =
            (work.make(&format!("{number}/work"))?, work.make(&format!("{number}/merged"))?);
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation", "private", "--", "sh", "-euc", RUN, "sh"]);
        shell.args([&lower, &upper, &inner, &merged, &recipe]);
        logged(&mut shell, &log)?;
        mark_deleted(&upper)?;
        let layer = work.file(&format!("{number}.tar"));
        tree::pack(&upper, &layer, &log)?;
        image::add(&layout, &reference, &[base.clone(), Layer::of(&layer)?], &start)?;
        references.push(reference);
    }
    place.import(&work, &layout, &references)?;
    work.remove()?;
    references.into_iter().try_for_each(console::data)
}

fn unpack(layer: &Path, folder: &Path, log: &Path) -> Result<(), Error> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--numeric-owner", "--same-permissions", "--xattrs"]);
    tar.args(["--xattrs-include=security.capability", "--file"]).arg(layer);
    logged(tar.arg("--directory").arg(folder), log)
}

/// Turns what overlayfs says of deleted files, devices with the number 0, into what the layer of
/// an image says of them: empty files with a name of their own (image-spec, `layer.md`,
/// "Whiteouts").
fn mark_deleted(folder: &Path) -> Result<(), Error> {
    let read = |source| Error::path("read", folder, source);
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let metadata =
            fs::symlink_metadata(&path).map_err(|source| Error::path("read", &path, source))?;
        if metadata.is_dir() {
            mark_deleted(&path)?;
        } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mark = folder.join(format!(".wh.{name}"));
            fs::remove_file(&path).map_err(|source| Error::path("remove", &path, source))?;
            fs::write(&mark, "").map_err(|source| Error::path("write", &mark, source))?;
        }
    }
    Ok(())
}
