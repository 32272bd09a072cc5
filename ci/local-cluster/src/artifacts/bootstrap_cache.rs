//! The data folder of the container runtime with the pause and the workspace image in it. It is
//! made once, by the runtime's own programs in a node of its own, because importing the images
//! takes longer than starting a cluster.

use std::{
    fs::{self, File, FileTimes},
    io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    operator, pause,
    store::{Build, Recipe},
    tree,
};
use crate::{
    cgroup::Hierarchies,
    command,
    components::CONFIG,
    error::Error,
    image::{self, Layer},
    node::{
        init::LOGS,
        protocol::{Bind, NodeSpec, Program},
        session::Session,
    },
    paths::StateFolder,
    runtime::{Options, Runtime},
};

/// Where the node that imports sees the images.
const IMAGES: &str = "/opt/local-cluster/images";

const START: Duration = Duration::from_secs(60);
const IMPORT: Duration = Duration::from_secs(300);
const STOP: Duration = Duration::from_secs(60);

/// The artifacts that the cache is made from.
#[derive(Debug)]
pub struct Parts {
    /// The runtime whose data it is.
    pub kind: Runtime,
    /// The programs of the runtime, if they fill it. CRI-O's images belong to a library, and a
    /// program of the node's tree makes them.
    pub programs: Option<PathBuf>,
    /// The node's root file system.
    pub node_tree: PathBuf,
    /// The workspace image's layer.
    pub workspace: PathBuf,
    /// The pause program.
    pub pause: PathBuf,
}

/// The recipe: the recipes of the parts, the configuration and the images.
pub fn recipe(runtime: Runtime, parts: &[&Recipe]) -> Recipe {
    let keys: Vec<_> = parts.iter().map(|part| part.key()).collect();
    let (name, config) = (runtime.name, (runtime.store_inputs)());
    let images = format!("{} {:?}", image::WORKSPACE_START, pause_start());
    let mut inputs: Vec<_> = keys.iter().map(String::as_str).collect();
    inputs.extend([config.as_str(), images.as_str()]);
    inputs.extend([image::PAUSE, image::OPERATOR_DOUBLE, image::WORKSPACE]);
    let (artifact, description) = (format!("{name}-seed"), format!("the image store of {name}"));
    Recipe::new(&artifact, &description, "about 15 s", &inputs)
}

/// Builds the cache.
pub fn build(build: &Build, parts: &Parts) -> Result<(), Error> {
    let state = state_folder(build, parts.kind)?;
    let images = build.scratch.join("images");
    fs::create_dir_all(&images).map_err(|source| Error::path("make", &images, source))?;
    pack_images(build, parts, &images.join("images.tar"))?;
    let programs = parts.programs.as_deref();
    let place = Place { kind: parts.kind, programs, node_tree: &parts.node_tree };
    let all = [image::PAUSE, image::OPERATOR_DOUBLE, image::WORKSPACE];
    run_import(build, &place, &state, &images, parts.kind.imports_of(&all))
}

/// The recipe of a cache with the images of another artifact.
pub fn extended_recipe(runtime: Runtime, parts: &[&Recipe]) -> Recipe {
    let keys: Vec<_> = parts.iter().map(|part| part.key()).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let name = format!("{}-seed-with-operator", runtime.name);
    Recipe::new(&name, "the image store with the DevWorkspace Operator", "about 5 s", &keys)
}

/// Builds the cache with the operator's images; the content of the first cache is shared.
pub fn extend(
    build: &Build,
    parts: &Parts,
    bootstrap_cache: &Path,
    images: &Path,
) -> Result<(), Error> {
    let state = state_folder(build, parts.kind)?;
    install(parts.kind, bootstrap_cache, &build.output)?;
    let place = Place {
        kind: parts.kind,
        programs: parts.programs.as_deref(),
        node_tree: &parts.node_tree,
    };
    let all = [operator::CONTROLLER_IMAGE, operator::PROJECT_CLONE_IMAGE];
    run_import(build, &place, &state, images, parts.kind.imports_of(&all))
}

fn state_folder(build: &Build, kind: Runtime) -> Result<StateFolder, Error> {
    let state = StateFolder::at(build.scratch.join("node"));
    for folder in [&state.config(), &state.logs()] {
        fs::create_dir_all(folder).map_err(|source| Error::path("make", folder, source))?;
    }
    for (name, text) in (kind.files)(Options::default()) {
        let config = state.config().join(name);
        fs::write(&config, text).map_err(|source| Error::path("write", &config, source))?;
    }
    Ok(state)
}

/// What imports images.
struct Place<'a> {
    kind: Runtime,
    programs: Option<&'a Path>,
    node_tree: &'a Path,
}

fn run_import(
    build: &Build,
    place: &Place<'_>,
    state: &StateFolder,
    images: &Path,
    references: &[&str],
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::io("start", "the event loop", source))?;
    runtime.block_on(import(build, place, state, images, references))
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
    // The pods of the operator's test double do nothing either, but their image has its version.
    for reference in [image::PAUSE, image::OPERATOR_DOUBLE] {
        image::add(&layout, reference, &[Layer::of(&pause_layer)?], &pause_start())?;
    }
    let workspace_layer = Layer::of(&parts.workspace.join(tree::LAYER))?;
    image::add(&layout, image::WORKSPACE, &[workspace_layer], &image::Start::workspace()?)?;
    command::logged(&mut image::archiver(&layout, archive), &build.log)
}

async fn import(
    build: &Build,
    place: &Place<'_>,
    state: &StateFolder,
    images: &Path,
    references: &[&str],
) -> Result<(), Error> {
    let bind = |source: &Path, target: &str, read_only: bool| Bind {
        source: source.to_owned(),
        target: target.into(),
        read_only,
    };
    let mut binds = vec![
        bind(&state.config(), CONFIG, true),
        bind(&state.logs(), LOGS, false),
        bind(images, IMAGES, true),
        bind(&build.output, place.kind.root, false),
    ];
    let programs = place.programs;
    binds.extend(programs.map(|programs| bind(programs, place.kind.programs, true)));
    let spec = NodeSpec {
        hostname: "import".into(),
        root: state.node("root"),
        lower: place.node_tree.to_owned(),
        upper: state.node("upper"),
        work: state.node("work"),
        binds,
        disks: Vec::new(),
        hierarchies: Hierarchies::detect()?,
        selinux: false,
        cgroup: None,
    };
    let mut session = Session::open("import", state)?;
    session.set_up(spec).await?;
    // The library needs no daemon.
    let daemon = place.kind.daemon_imports.then(|| place.kind.program());
    if let Some(program) = &daemon {
        session.start(program.clone())?;
        session.until_ready(&program.name, START).await?;
    }
    for reference in references {
        let import = Program {
            name: "import".into(),
            command: (place.kind.import)(&format!("{IMAGES}/images.tar"), reference),
            notifies: false,
        };
        session.run(import, IMPORT).await?;
    }
    match daemon {
        // containerd closes its databases on SIGTERM.
        Some(program) => session.stop(&program.name, STOP).await,
        None => Ok(()),
    }
}

/// Installs a cluster's own data of a runtime from the cache. Files of images are linked: a runtime
/// never writes to them, it only makes and removes them. Its own files are written in place, so
/// those are copied.
///
/// This process does it itself, because a `cp` would outlive it: nobody may write to the state
/// folder of a cluster whose supervisor was killed.
pub fn install(runtime: Runtime, bootstrap_cache: &Path, target: &Path) -> Result<(), Error> {
    install_folder(runtime, Path::new(""), bootstrap_cache, target)
}

/// Installs one folder; `inside` is its path inside the cache.
fn install_folder(
    runtime: Runtime,
    inside: &Path,
    bootstrap_cache: &Path,
    target: &Path,
) -> Result<(), Error> {
    let entries = fs::read_dir(bootstrap_cache)
        .map_err(|source| Error::path("read", bootstrap_cache, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::path("read", bootstrap_cache, source))?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let inside = inside.join(entry.file_name());
        let kind = entry.file_type().map_err(|source| Error::path("examine", &from, source))?;
        if kind.is_dir() {
            fs::create_dir(&to).map_err(|source| Error::path("make", &to, source))?;
            install_folder(runtime, &inside, &from, &to)?;
        } else if kind.is_file() && (runtime.is_own_file)(&inside) {
            fs::copy(&from, &to).map_err(|source| Error::path("copy", &from, source))?;
        } else {
            // Also of devices and symbolic links: hard_link doesn't follow them.
            fs::hard_link(&from, &to).map_err(|source| Error::path("link", &from, source))?;
        }
    }
    // After the entries, which change the folder's times.
    imitate(bootstrap_cache, target)
        .map_err(|source| Error::path("copy the attributes of", bootstrap_cache, source))
}

/// Gives a folder the owner, mode and times of another. Extended attributes of folders are not
/// copied: in images of one layer there are none.
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
        let (bootstrap_cache, target) = (root.join("seed"), root.join("target"));
        let plugin = bootstrap_cache.join("io.containerd.metadata.v1.bolt");
        let layer = bootstrap_cache.join("io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs");
        fs::create_dir_all(&plugin).unwrap();
        fs::create_dir_all(&layer).unwrap();
        fs::create_dir_all(&target).unwrap();
        fs::write(plugin.join("meta.db"), "x").unwrap();
        fs::write(layer.join("cert9.db"), "x").unwrap();
        install(&crate::runtime::CONTAINERD, &bootstrap_cache, &target).unwrap();
        let links = |path: &str| fs::metadata(target.join(path)).unwrap().nlink();
        assert_eq!(links("io.containerd.metadata.v1.bolt/meta.db"), 1);
        assert_eq!(links("io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/cert9.db"), 2);
        fs::remove_dir_all(&root).unwrap();
    }
}
