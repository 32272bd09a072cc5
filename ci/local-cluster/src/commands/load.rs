//! `local-cluster load`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use oci_spec::distribution::Reference;

use super::inspect;
use crate::{
    artifacts::tree,
    command::output,
    components::{LOAD, LOAD_DATA},
    console,
    error::Error,
    host,
    image::{self, Layer},
    paths::{Cache, StateFolder},
    process::ProcessIdentity,
    runtime::Runtime,
    settings::ClusterName,
};

/// Makes a folder or a tar archive an image of the node and prints its name.
pub fn run(name: &ClusterName, tree: &Path, tag: Option<&str>) -> Result<(), Error> {
    host::check(&Cache::locate()?, false)?;
    let reference = match tag {
        Some(tag) => tag.to_owned(),
        None => default_reference(tree, "give one with `--tag localhost/NAME:TAG`")?,
    };
    let place = Place::find(name)?;
    let work = Work::new(&place.folder)?;
    let layout = lay_out(&place.folder, &work, tree, &reference)?;
    place.import(&work, &layout, std::slice::from_ref(&reference))?;
    work.remove()?;
    console::data(reference)
}

/// The nodes of a running cluster, which take images.
pub(super) struct Place {
    /// The cluster's state folder.
    pub(super) folder: StateFolder,
    nodes: Vec<ProcessIdentity>,
    runtime: Runtime,
}

impl Place {
    pub(super) fn find(name: &ClusterName) -> Result<Self, Error> {
        let (folder, state) = inspect::find(name)?;
        let node = state
            .running_supervisor()
            .and(state.node)
            .filter(|node| node.running().is_some())
            .ok_or_else(|| {
                Error::other(format!("cluster `{name}` is not running"))
                    .with_hint(format!("run `local-cluster up --name {name}`"))
            })?;
        let nodes = [node].into_iter().chain(state.other_nodes).collect();
        Ok(Self { folder, nodes, runtime: state.settings.runtime() })
    }

    /// Makes the images of a layout images of each node.
    pub(super) fn import(
        &self,
        work: &Work,
        layout: &Path,
        references: &[String],
    ) -> Result<(), Error> {
        output(&mut image::archiver(layout, &work.file(Work::ARCHIVE)))?;
        let references = self.runtime.imports_of(references);
        for (node, reference) in
            self.nodes.iter().flat_map(|node| references.iter().map(move |it| (node, it)))
        {
            let mut client = Command::new("nsenter");
            client
                .arg(format!("--target={}", node.pid))
                .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--"])
                .args((self.runtime.import)(&work.archive_in_node(), reference));
            output(&mut client)?;
        }
        Ok(())
    }
}

/// A folder for what is made of images, which the node sees.
pub(super) struct Work {
    folder: PathBuf,
    name: String,
}

impl Work {
    const ARCHIVE: &str = "images.tar";

    pub(super) fn new(cluster: &StateFolder) -> Result<Self, Error> {
        let name = std::process::id().to_string();
        let folder = cluster.data(LOAD_DATA).join(&name);
        fs::create_dir_all(&folder).map_err(|source| Error::path("make", &folder, source))?;
        Ok(Self { folder, name })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A new folder in it.
    pub(super) fn make(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.file(name);
        fs::create_dir_all(&folder).map_err(|source| Error::path("make", &folder, source))?;
        Ok(folder)
    }

    fn archive_in_node(&self) -> String {
        format!("{LOAD}/{}/{}", self.name, Self::ARCHIVE)
    }

    pub(super) fn remove(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.folder)
            .map_err(|source| Error::path("remove", &self.folder, source))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // After a failure, which the user sees.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The name of an image that is made of a file or folder. `hint` says how to give it another one.
pub(super) fn default_reference(tree: &Path, hint: &str) -> Result<String, Error> {
    let absolute = tree.canonicalize().map_err(|source| Error::path("read", tree, source))?;
    let stem =
        absolute.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = [".tar", ".sh"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(&stem);
    let reference = format!("localhost/{stem}:1");
    if reference.parse::<Reference>().is_err() {
        return Err(Error::usage(format!("`{stem}` can't be an image's name")).with_hint(hint));
    }
    if [image::PAUSE, image::WORKSPACE].contains(&reference.as_str()) {
        let message =
            format!("`{}` would replace the cluster's own image `{reference}`", tree.display());
        return Err(Error::usage(message).with_hint(hint));
    }
    Ok(reference)
}

/// Makes a layout with the tree as an image.
fn lay_out(
    cluster: &StateFolder,
    work: &Work,
    tree: &Path,
    reference: &str,
) -> Result<PathBuf, Error> {
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
    image::add(&layout, reference, &[Layer::of(&layer)?], &image::Start::root_shell())?;
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_from_the_folder() {
        let folder = std::env::temp_dir().join("local-cluster-load-Tree");
        fs::create_dir_all(&folder).unwrap();
        let reference = default_reference(&folder, "").unwrap();
        assert_eq!(reference, "localhost/local-cluster-load-tree:1");
        fs::remove_dir(&folder).unwrap();
        let error = default_reference(Path::new("/"), "name it").unwrap_err();
        assert_eq!(error.hint(), Some("name it"));
    }

    #[test]
    fn a_folder_whose_name_cannot_be_that_of_an_image_is_refused() {
        let folder = std::env::temp_dir().join(".local-cluster-load");
        fs::create_dir_all(&folder).unwrap();
        let refused = default_reference(&folder, "name it");
        fs::remove_dir(&folder).unwrap();
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("`.local-cluster-load` can't be an image's name"), "{error}");
    }
}
