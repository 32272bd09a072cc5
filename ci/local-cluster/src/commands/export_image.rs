//! `local-cluster export-image`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use oci_spec::distribution::Reference;

use crate::{
    artifacts::{self, tree},
    command::output,
    console,
    error::Error,
    host,
    image::{self, Layer, Start},
    paths::Cache,
};

/// Writes the workspace image as an OCI archive, builds it if need be, and prints its name.
pub fn run(target: &Path, tag: Option<&str>) -> Result<(), Error> {
    let reference = tag.unwrap_or(image::WORKSPACE);
    if reference.parse::<Reference>().is_err() {
        return Err(Error::usage(format!("`{reference}` can't be an image's name"))
            .with_hint("give one with `--tag HOST/NAME:TAG`"));
    }
    let target =
        std::path::absolute(target).map_err(|source| Error::path("resolve", target, source))?;
    let cache = Cache::locate()?;
    host::check_for_images()?;
    let layer = artifacts::workspace(&cache)?.join(tree::LAYER);
    // Its layer is linked, so it is on the same file system.
    let layout = Layout(cache.root().join(format!("export-{}", std::process::id())));
    write(&layout, &layer, reference, &target)?;
    console::data(reference)
}

/// A folder that is removed in the end.
struct Layout(PathBuf);

impl Drop for Layout {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(layout: &Layout, layer: &Path, reference: &str, target: &Path) -> Result<(), Error> {
    image::add(&layout.0, reference, &[Layer::of(layer)?], &Start::workspace()?)?;
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = output(&mut image::archiver(&layout.0, &part)).and_then(|_| {
        fs::rename(&part, target).map_err(|source| Error::path("write", target, source))
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn folder(name: &str) -> Layout {
        let folder = std::env::temp_dir().join(format!("export-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Layout(folder)
    }

    #[test]
    fn the_archive_has_the_image_by_its_name_and_nothing_else_is_left() {
        let outside = folder("good");
        let (layer, target) = (outside.0.join("layer.tar"), outside.0.join("image.tar"));
        fs::write(&layer, "abc").unwrap();
        let layout = Layout(outside.0.join("layout"));

        write(&layout, &layer, "localhost/mine:2", &target).unwrap();

        let mut tar = Command::new("tar");
        let index =
            output(tar.args(["--extract", "--to-stdout", "--file"]).arg(&target).arg("index.json"));
        assert!(index.unwrap().contains("localhost/mine:2"));
        let names = output(Command::new("tar").arg("--list").arg("--file").arg(&target)).unwrap();
        // The layer, the configuration and the manifest.
        assert_eq!(names.lines().filter(|name| name.len() > "blobs/sha256/".len()).count(), 3);
        drop(layout);
        let mut left: Vec<_> = fs::read_dir(&outside.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["image.tar", "layer.tar"]);
    }

    #[test]
    fn an_archive_that_cannot_be_written_leaves_no_part_of_it() {
        let outside = folder("bad");
        let (layer, target) = (outside.0.join("layer.tar"), outside.0.join("folder"));
        fs::write(&layer, "abc").unwrap();
        fs::create_dir_all(target.join("full")).unwrap();
        let layout = Layout(outside.0.join("layout"));

        assert!(write(&layout, &layer, "localhost/mine:2", &target).is_err());

        assert!(!outside.0.join("folder.part").exists());
    }
}
