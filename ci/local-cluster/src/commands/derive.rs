//! `local-cluster derive`.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{fs::lgetxattr, io::Errno};

use super::load::{Place, Work, default_reference};
use crate::{
    artifacts::{self, tree},
    command::{logged, logged_within},
    console,
    error::Error,
    host,
    image::{self, Layer},
    paths::Cache,
    settings::ClusterName,
};

/// Mounts the overlay of a derived tree and runs a recipe in it, both seen by nobody else. Its
/// arguments are the lower, upper, work and merged folder, and the recipe. A layer can't say that a
/// folder is another one renamed, nor that a file is another one with new metadata, so overlayfs
/// must not make notes of either (Linux, `filesystems/overlayfs.rst`, "`redirect_dir`" and
/// "Metadata only copy up").
const RUN: &str = r#"
options="lowerdir=$1,upperdir=$2,workdir=$3,redirect_dir=off,metacopy=off"
mount -t overlay overlay -o "$options" "$4"
exec chroot "$4" /bin/sh -euc "$(cat "$5")"
"#;

/// Runs a recipe as the init of a process namespace: what it leaves in the background ends with it,
/// and all of it ends with this program.
const ALONE: &[&str] = &[
    "--pdeathsig",
    "KILL",
    "--",
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--kill-child",
    "--",
    "sh",
    "-euc",
    RUN,
    "sh",
];

/// How long one recipe may take: one that installs packages needs minutes, and one that waits for
/// an answer to a question gets none.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The marks of a folder that has nothing of the one below it: overlayfs's extended attribute, with
/// the value `y` (`filesystems/overlayfs.rst`, "whiteouts and opaque directories"), and the file of
/// a layer (image-spec, `layer.md`, "Opaque Whiteout").
const OPAQUE: (&str, &str) = ("trusted.overlay.opaque", ".wh..wh..opq");

/// Runs each recipe in the root file system of the workspace image, makes the result an image of
/// the node, and prints its name.
pub fn run(name: &ClusterName, recipes: &[PathBuf]) -> Result<(), Error> {
    let named = named(recipes)?;
    let cache = Cache::locate()?;
    host::check(&cache, false)?;
    let place = Place::find(name)?;
    let log = place.folder.log("derive");
    let work = Work::new(&place.folder)?;
    let base = artifacts::workspace(&cache)?.join(tree::LAYER);
    let lower = work.make("lower")?;
    unpack(&base, &lower, &log)?;
    let base = Layer::of(&base)?;
    let layout = work.file("layout");
    for (number, (reference, recipe)) in named.iter().enumerate() {
        let upper = work.make(&format!("{number}/upper"))?;
        let (inner, merged) =
            (work.make(&format!("{number}/work"))?, work.make(&format!("{number}/merged"))?);
        let mut shell = Command::new("setpriv");
        shell.args(ALONE).args([&lower, &upper, &inner, &merged, recipe]);
        logged_within(&mut shell, &log, LIMIT, &recipe.display().to_string())?;
        mark_deleted(&upper)?;
        let layer = work.file(&format!("{number}.tar"));
        tree::pack(&upper, &layer, &log)?;
        let start = image::Start::of_recipe(recipe)?;
        image::add(&layout, reference, &[base.clone(), Layer::of(&layer)?], &start)?;
    }
    let references: Vec<_> = named.into_iter().map(|(reference, _)| reference).collect();
    place.import(&work, &layout, &references)?;
    work.remove()?;
    references.into_iter().try_for_each(console::data)
}

/// The recipes by the names of their images.
fn named(recipes: &[PathBuf]) -> Result<Vec<(String, PathBuf)>, Error> {
    const HINT: &str = "give the recipe's file another name, such as `my-image.sh`";
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for recipe in recipes {
        let reference = default_reference(recipe, HINT)?;
        let recipe = recipe.canonicalize().map_err(|source| Error::path("read", recipe, source))?;
        if let Some((_, other)) = named.iter().find(|(taken, _)| *taken == reference) {
            let message = format!(
                "`{}` and `{}` would both make the image `{reference}`",
                other.display(),
                recipe.display()
            );
            return Err(Error::usage(message).with_hint(HINT));
        }
        named.push((reference, recipe));
    }
    Ok(named)
}

fn unpack(layer: &Path, folder: &Path, log: &Path) -> Result<(), Error> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--numeric-owner", "--same-permissions", "--xattrs"]);
    tar.args(["--xattrs-include=security.capability", "--file"]).arg(layer);
    logged(tar.arg("--directory").arg(folder), log)
}

/// Turns what overlayfs says of deleted files, devices with the number 0, and of folders that were
/// made anew, an attribute, into what the layer of an image says of them: empty files with names of
/// their own (image-spec, `layer.md`, "Whiteouts").
fn mark_deleted(folder: &Path) -> Result<(), Error> {
    let read = |source| Error::path("read", folder, source);
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let metadata =
            fs::symlink_metadata(&path).map_err(|source| Error::path("read", &path, source))?;
        if metadata.is_dir() {
            mark_deleted(&path)?;
            if is_opaque(&path)? {
                let mark = path.join(OPAQUE.1);
                fs::write(&mark, "").map_err(|source| Error::path("write", &mark, source))?;
            }
        } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mark = folder.join(format!(".wh.{name}"));
            fs::remove_file(&path).map_err(|source| Error::path("remove", &path, source))?;
            fs::write(&mark, "").map_err(|source| Error::path("write", &mark, source))?;
        }
    }
    Ok(())
}

fn is_opaque(folder: &Path) -> Result<bool, Error> {
    let mut value = [0; 8];
    match lgetxattr(folder, OPAQUE.0, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA) => Ok(false),
        Err(source) => Err(Error::path("read attributes of", folder, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> Error {
        let folder = std::env::temp_dir().join(format!(
            "local-cluster-derive-{}-{}",
            std::process::id(),
            names.len()
        ));
        let recipes: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        for recipe in &recipes {
            fs::create_dir_all(recipe.parent().unwrap()).unwrap();
            fs::write(recipe, "true").unwrap();
        }
        let answer = named(&recipes);
        fs::remove_dir_all(&folder).unwrap();
        answer.unwrap_err()
    }

    #[test]
    fn no_recipe_replaces_an_image_of_the_cluster_or_of_another_recipe() {
        for (names, printed) in [
            (&["good.sh", "x", "workspace.sh"][..], "`localhost/workspace:1`"),
            (&["pause.sh"], "`localhost/pause:1`"),
            (&["one/same.sh", "another/Same.sh"], "would both make"),
        ] {
            let error = refused(names);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(printed), "{error}");
            let hint = error.hint().unwrap();
            assert!(hint.contains("another name") && !hint.contains("--tag"), "{hint}");
        }
    }
}
