//! Images in the OCI layout (image-spec, `image-layout.md`), made from one layer.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{command, error::Error};

/// The image that holds a pod's namespaces open.
pub const PAUSE: &str = "localhost/pause:1";

/// The image of the pods that let programs recognise the DevWorkspace Operator's test double.
pub const OPERATOR_DOUBLE: &str = "localhost/devworkspace-operator-double:v0.42.0";

/// The image of a developer's workspace.
pub const WORKSPACE: &str = "localhost/workspace:1";

/// How a container of the workspace starts.
pub const WORKSPACE_START: &str = include_str!("../../../fixtures/images/workspace/start.json");

/// How a container of the image starts, beyond its files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The user: a number, or empty for root.
    pub user: String,
    /// The working folder.
    pub folder: String,
    /// `NAME=value` pairs.
    pub environment: Vec<String>,
    /// The command.
    pub command: Vec<String>,
}

impl Start {
    /// A shell as root: for a tree that says nothing about itself.
    pub fn root_shell() -> Self {
        Self {
            user: String::new(),
            folder: "/".into(),
            environment: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            ],
            command: vec!["/bin/sh".into()],
        }
    }

    /// An ordinary user's workspace.
    pub fn workspace() -> Result<Self, Error> {
        serde_json::from_str(WORKSPACE_START)
            .map_err(|error| Error::other(format!("`start.json` of the workspace: {error}")))
    }
}

/// A layer of images: an archive that is not compressed.
#[derive(Clone, Debug)]
pub struct Layer {
    path: PathBuf,
    digest: String,
    size: u64,
}

impl Layer {
    pub fn of(path: &Path) -> Result<Self, Error> {
        let (digest, size) = digest_of_file(path)?;
        Ok(Self { path: path.to_owned(), digest, size })
    }

    fn link(&self, blobs: &Path) -> Result<(), Error> {
        let target = blobs.join(&self.digest);
        if target.exists() {
            return Ok(());
        }
        fs::hard_link(&self.path, &target).map_err(|source| Error::path("link", &self.path, source))
    }
}

/// Writes the image `reference` with these layers into an OCI layout, in which other images may be
/// already. The layers' files are linked, not copied, so they must be on the same file system.
pub fn add(layout: &Path, reference: &str, layers: &[Layer], start: &Start) -> Result<(), Error> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|source| Error::path("make", &blobs, source))?;
    layers.iter().try_for_each(|layer| layer.link(&blobs))?;
    let config = write_blob(&blobs, &config(start, layers))?;
    let manifest = write_blob(&blobs, &manifest(&config, layers))?;
    let index = layout.join("index.json");
    let mut images = existing_images(&index);
    images.push(json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": manifest.0,
        "size": manifest.1,
        "annotations": {
            // The full name; `ref.name` alone would be read as a tag.
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference,
        },
    }));
    write(&index, &json!({"schemaVersion": 2, "manifests": images}).to_string())?;
    write(&layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)
}

/// `tar` that packs a layout into an archive, which is what runtimes import.
pub fn archiver(layout: &Path, target: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--file"]).arg(target).arg("--directory").arg(layout).args([
        "oci-layout",
        "index.json",
        "blobs",
    ]);
    tar
}

fn config(start: &Start, layers: &[Layer]) -> Value {
    // They aren't compressed: their digests are those of their content.
    let digests: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": start.user,
            "WorkingDir": start.folder,
            "Env": start.environment,
            "Cmd": start.command,
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    })
}

fn manifest(config: &(String, u64), layers: &[Layer]) -> Value {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{}", layer.digest),
                "size": layer.size,
            })
        })
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.0,
            "size": config.1,
        },
        "layers": layers,
    })
}

/// The machine's architecture in Go's words, which OCI uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn existing_images(index: &Path) -> Vec<Value> {
    let read = || -> Option<Vec<Value>> {
        let index: Value = serde_json::from_slice(&fs::read(index).ok()?).ok()?;
        index["manifests"].as_array().cloned()
    };
    read().unwrap_or_default()
}

fn write_blob(blobs: &Path, content: &Value) -> Result<(String, u64), Error> {
    let text = content.to_string();
    let digest = HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    write(&blobs.join(&digest), &text)?;
    Ok((format!("sha256:{digest}"), text.len() as u64))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::path("write", path, source))
}

/// Layers are hundreds of megabytes, which an unoptimised build of this program would hash for many
/// seconds, so coreutils do it.
fn digest_of_file(path: &Path) -> Result<(String, u64), Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::path("read", path, source))?;
    let line = command::output(Command::new("sha256sum").arg("--").arg(path))?;
    // A leading backslash marks a file name with escapes (sha256sum(1)).
    let digest = line.trim_start_matches('\\').split_whitespace().next().unwrap_or_default();
    Ok((digest.to_owned(), metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_share_a_layout() {
        let folder =
            std::env::temp_dir().join(format!("local-cluster-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let layer = folder.join("layer.tar");
        fs::write(&layer, "abc").unwrap();
        let layout = folder.join("layout");
        let layer = [Layer::of(&layer).unwrap()];
        add(&layout, "localhost/a:1", &layer, &Start::root_shell()).unwrap();
        add(&layout, "localhost/b:1", &layer, &Start::workspace().unwrap()).unwrap();
        let index: Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
        // The SHA-256 of "abc" is a test vector of FIPS 180-2.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(layout.join("blobs/sha256").join(digest).is_file());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_workspace_starts_as_an_ordinary_user_at_home() {
        let config = config(&Start::workspace().unwrap(), &[]);
        assert_eq!(config["config"]["User"], "1000");
        assert_eq!(config["config"]["WorkingDir"], "/home/user");
    }
}
