//! containerd's data folder with the pause and the workspace image in it. It is
//! made once, by containerd itself in a node of its own, because importing the
//! images takes longer than starting a cluster.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::store::{Build, Recipe};
use super::{pause, tree};
use crate::cgroup::Hierarchies;
use crate::command;
use crate::components::{CONFIG, CONTAINERD};
use crate::error::Error;
use crate::image;
use crate::node::init::LOGS;
use crate::node::protocol::{Bind, NodeSpec, Program};
use crate::node::session::Session;
use crate::paths::StateFolder;
use crate::runtime::containerd;

/// Where the node that imports sees the images.
const IMAGES: &str = "/opt/local-cluster/images";

const START: Duration = Duration::from_secs(60);
const IMPORT: Duration = Duration::from_secs(300);
const STOP: Duration = Duration::from_secs(60);

/// The artifacts that the seed is made from.
#[derive(Debug)]
pub struct Parts {
    /// The programs of containerd.
    pub containerd: PathBuf,
    /// The node's root file system.
    pub node_tree: PathBuf,
    /// The workspace image's layer.
    pub workspace: PathBuf,
    /// The pause program.
    pub pause: PathBuf,
}

/// The recipe: the recipes of the parts, the configuration and the images.
pub fn recipe(parts: &[&Recipe]) -> Recipe {
    let keys: Vec<_> = parts.iter().map(|part| part.key()).collect();
    let config = containerd::config();
    let images = format!("{:?} {:?}", image::Start::workspace(), pause_start());
    let mut inputs: Vec<_> = keys.iter().map(String::as_str).collect();
    inputs.extend([config.as_str(), images.as_str(), image::PAUSE, image::WORKSPACE]);
    Recipe::new("containerd-seed", "containerd's image store", "about 15 s", &inputs)
}

/// Builds the seed.
///
/// # Errors
///
/// Fails when the images can't be made or containerd doesn't take them.
pub fn build(build: &Build, parts: &Parts) -> Result<(), Error> {
    let state = StateFolder::at(build.scratch.join("node"));
    let images = build.scratch.join("images");
    for folder in [&state.config(), &state.logs(), &images] {
        fs::create_dir_all(folder).map_err(|source| Error::path("make", folder, source))?;
    }
    let config = state.config().join("containerd.toml");
    fs::write(&config, containerd::config())
        .map_err(|source| Error::path("write", &config, source))?;
    let archive = images.join("images.tar");
    pack_images(build, parts, &archive)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::io("start", "the event loop", source))?;
    runtime.block_on(import(build, parts, &state, &images))
}

fn pause_start() -> image::Start {
    image::Start {
        folder: "/".into(),
        command: vec![format!("/{}", pause::PROGRAM)],
        ..image::Start::default()
    }
}

fn pack_images(build: &Build, parts: &Parts, archive: &Path) -> Result<(), Error> {
    let layout = build.scratch.join("layout");
    let pause_layer = build.scratch.join("pause.tar");
    tree::pack(&parts.pause, &pause_layer, &build.log)?;
    image::add(&layout, image::PAUSE, &pause_layer, &pause_start())?;
    let workspace_layer = parts.workspace.join(tree::LAYER);
    image::add(&layout, image::WORKSPACE, &workspace_layer, &image::Start::workspace())?;
    command::logged(&mut image::archiver(&layout, archive), &build.log)
}

async fn import(
    build: &Build,
    parts: &Parts,
    state: &StateFolder,
    images: &Path,
) -> Result<(), Error> {
    let bind = |source: &Path, target: &str, read_only: bool| Bind {
        source: source.to_owned(),
        target: target.into(),
        read_only,
    };
    let spec = NodeSpec {
        hostname: "import".into(),
        root: state.node("root"),
        lower: parts.node_tree.clone(),
        upper: state.node("upper"),
        work: state.node("work"),
        binds: vec![
            bind(&state.config(), CONFIG, true),
            bind(&state.logs(), LOGS, false),
            bind(&parts.containerd, CONTAINERD, true),
            bind(images, IMAGES, true),
            bind(&build.output, containerd::ROOT, false),
        ],
        hierarchies: Hierarchies::detect()?,
        cgroup: None,
    };
    let mut session = Session::open("import", state)?;
    session.set_up(spec).await?;
    session.start(containerd::program())?;
    session.until_ready("containerd", START).await?;
    let import = Program {
        name: "import".into(),
        command: containerd::client(&["images", "import", &format!("{IMAGES}/images.tar")]),
        notifies: false,
    };
    session.run(import, IMPORT).await?;
    // containerd closes its databases when it is asked to end.
    session.stop("containerd", STOP).await
}

/// Makes a cluster's own containerd data from the seed. Files of images are
/// linked: containerd never writes to them, it only makes and removes them. Its
/// databases are written in place, so those are copied.
///
/// This process does it itself, because a `cp` would outlive it: nobody may write
/// to the state folder of a cluster whose supervisor was killed.
///
/// # Errors
///
/// Fails when the two folders are on different file systems.
pub fn plant(seed: &Path, target: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(seed).map_err(|source| Error::path("read", seed, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::path("read", seed, source))?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let kind = entry.file_type().map_err(|source| Error::path("examine", &from, source))?;
        if kind.is_dir() {
            fs::create_dir(&to).map_err(|source| Error::path("make", &to, source))?;
            plant(&from, &to)?;
        } else if from.extension().is_some_and(|extension| extension == "db")
            && kind.is_file()
            && is_plugins(&from)
        {
            fs::copy(&from, &to).map_err(|source| Error::path("copy", &from, source))?;
        } else {
            // Also of devices and symbolic links: hard_link doesn't follow them.
            fs::hard_link(&from, &to).map_err(|source| Error::path("link", &from, source))?;
        }
    }
    // After the entries, which change the folder's times.
    imitate(seed, target).map_err(|source| Error::path("copy the attributes of", seed, source))
}

/// Whether a file is containerd's own and not an image's: it lies directly in the
/// folder of a plugin, such as `io.containerd.metadata.v1.bolt`.
fn is_plugins(file: &Path) -> bool {
    let parent = file.parent().and_then(Path::file_name);
    parent.is_some_and(|name| name.to_string_lossy().starts_with("io.containerd."))
}

/// Gives a folder the owner, mode and times of another. Extended attributes of
/// folders are not copied: in images of one layer there are none.
fn imitate(model: &Path, folder: &Path) -> io::Result<()> {
    let metadata = fs::metadata(model)?;
    chown(folder, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(folder, metadata.permissions())?;
    let times =
        FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
    File::open(folder)?.set_times(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_copied_and_files_of_images_linked() {
        let root = std::env::temp_dir().join(format!("local-cluster-seed-{}", std::process::id()));
        let (seed, target) = (root.join("seed"), root.join("target"));
        let plugin = seed.join("io.containerd.metadata.v1.bolt");
        let layer = seed.join("io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs");
        fs::create_dir_all(&plugin).unwrap();
        fs::create_dir_all(&layer).unwrap();
        fs::create_dir_all(&target).unwrap();
        fs::write(plugin.join("meta.db"), "x").unwrap();
        fs::write(layer.join("cert9.db"), "x").unwrap();
        plant(&seed, &target).unwrap();
        let links = |path: &str| fs::metadata(target.join(path)).unwrap().nlink();
        assert_eq!(links("io.containerd.metadata.v1.bolt/meta.db"), 1);
        assert_eq!(links("io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/cert9.db"), 2);
        fs::remove_dir_all(&root).unwrap();
    }
}
