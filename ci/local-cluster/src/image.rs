//! Images in the OCI layout (image-spec, `image-layout.md`), made from one layer.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use data_encoding::HEXLOWER;
use oci_spec::{
    OciSpecError,
    image::{
        ANNOTATION_REF_NAME, ConfigBuilder, Descriptor, ImageConfiguration,
        ImageConfigurationBuilder, ImageIndex, ImageIndexBuilder, ImageManifest,
        ImageManifestBuilder, MediaType, OciLayoutBuilder, RootFsBuilder, SCHEMA_VERSION,
        Sha256Digest,
    },
};
use serde::{Deserialize, Serialize};
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
    /// The program that runs first, with the command as its arguments.
    #[serde(default)]
    pub entrypoint: Vec<String>,
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
            entrypoint: Vec::new(),
            command: vec!["/bin/sh".into()],
        }
    }

    /// What the file beside a recipe says, which has the recipe's name and ends with `.json`; without
    /// it, how the workspace starts.
    pub fn of_recipe(recipe: &Path) -> Result<Self, Error> {
        let path = recipe.with_extension("json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| Error::usage(format!("`{}`: {error}", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::workspace(),
            Err(source) => Err(Error::path("read", &path, source)),
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
    digest: Sha256Digest,
    size: u64,
}

impl Layer {
    pub fn of(path: &Path) -> Result<Self, Error> {
        let (digest, size) = digest_of_file(path)?;
        Ok(Self { path: path.to_owned(), digest, size })
    }

    fn link(&self, blobs: &Path) -> Result<(), Error> {
        let target = blobs.join(self.digest.digest());
        if target.exists() {
            return Ok(());
        }
        fs::hard_link(&self.path, &target).map_err(|source| Error::path("link", &self.path, source))
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor::new(MediaType::ImageLayer, self.size, self.digest.clone())
    }
}

/// Writes the image `reference` with these layers into an OCI layout, in which other images may be
/// already. The layers' files are linked, not copied, so they must be on the same file system.
pub fn add(layout: &Path, reference: &str, layers: &[Layer], start: &Start) -> Result<(), Error> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|source| Error::path("make", &blobs, source))?;
    layers.iter().try_for_each(|layer| layer.link(&blobs))?;
    let config = config(start, layers)?;
    let config = write_blob(&blobs, MediaType::ImageConfig, &config)?;
    let manifest = manifest(config, layers)?;
    let mut image = write_blob(&blobs, MediaType::ImageManifest, &manifest)?;
    // The full name; `ref.name` alone would be read as a tag.
    let names = ["io.containerd.image.name", ANNOTATION_REF_NAME];
    image.set_annotations(Some(names.map(|name| (name.to_owned(), reference.to_owned())).into()));
    let path = layout.join("index.json");
    let mut images =
        ImageIndex::from_file(&path).map_or_else(|_| Vec::new(), |index| index.manifests().clone());
    images.push(image);
    let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).manifests(images);
    index.build()?.to_file(path)?;
    let marker = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    Ok(marker.to_file(layout.join("oci-layout"))?)
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

fn config(start: &Start, layers: &[Layer]) -> Result<ImageConfiguration, OciSpecError> {
    // They aren't compressed: their digests are those of their content.
    let digests = layers.iter().map(|layer| layer.descriptor().digest().to_string());
    let mut config = ConfigBuilder::default()
        .user(&start.user)
        .working_dir(&start.folder)
        .env(start.environment.clone())
        .cmd(start.command.clone());
    if !start.entrypoint.is_empty() {
        config = config.entrypoint(start.entrypoint.clone());
    }
    let config = config.build()?;
    let rootfs = RootFsBuilder::default().diff_ids(digests.collect::<Vec<_>>()).build()?;
    ImageConfigurationBuilder::default().config(config).rootfs(rootfs).build()
}

fn manifest(config: Descriptor, layers: &[Layer]) -> Result<ImageManifest, OciSpecError> {
    ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers.iter().map(Layer::descriptor).collect::<Vec<_>>())
        .build()
}

fn write_blob(
    blobs: &Path,
    media_type: MediaType,
    content: &impl Serialize,
) -> Result<Descriptor, Error> {
    let text = serde_json::to_vec(content).map_err(OciSpecError::from)?;
    let digest = HEXLOWER.encode(&Sha256::digest(&text));
    let path = blobs.join(&digest);
    fs::write(&path, &text).map_err(|source| Error::path("write", &path, source))?;
    let digest: Sha256Digest = digest.parse()?;
    Ok(Descriptor::new(media_type, text.len() as u64, digest))
}

impl From<OciSpecError> for Error {
    fn from(error: OciSpecError) -> Self {
        Self::other(format!("cannot write the image: {error}"))
    }
}

/// Layers are hundreds of megabytes, which an unoptimised build of this program would hash for many
/// seconds, so coreutils do it.
fn digest_of_file(path: &Path) -> Result<(Sha256Digest, u64), Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::path("read", path, source))?;
    let line = command::output(Command::new("sha256sum").arg("--").arg(path))?;
    // A leading backslash marks a file name with escapes (sha256sum(1)).
    let digest = line.trim_start_matches('\\').split_whitespace().next().unwrap_or_default();
    Ok((digest.parse()?, metadata.len()))
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
        let index = ImageIndex::from_file(layout.join("index.json")).unwrap();
        let name =
            |image: &Descriptor| image.annotations().as_ref().unwrap()[ANNOTATION_REF_NAME].clone();
        let names: Vec<_> = index.manifests().iter().map(name).collect();
        assert_eq!(names, ["localhost/a:1", "localhost/b:1"]);
        let blob =
            |part: &Descriptor| layout.join("blobs/sha256").join(part.as_digest_sha256().unwrap());
        let manifest = ImageManifest::from_file(blob(&index.manifests()[1])).unwrap();
        let config = ImageConfiguration::from_file(blob(manifest.config())).unwrap();
        let digest = manifest.layers()[0].digest().to_string();
        assert_eq!(*config.rootfs().diff_ids(), [digest]);
        // The SHA-256 of "abc" is a test vector of FIPS 180-2.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(layout.join("blobs/sha256").join(digest).is_file());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_containerfiles_start_as_the_workspace_does() {
        let start = Start::workspace().unwrap();
        for text in [
            include_str!("../../../fixtures/images/workspace/Containerfile"),
            include_str!("../../../fixtures/images/workspace/Containerfile.fedora"),
        ] {
            let has = |line: String| assert!(text.lines().any(|it| it == line), "{line}");
            has(format!("USER {}", start.user));
            has(format!("WORKDIR {}", start.folder));
            let environment = start.environment.iter().filter(|it| !it.starts_with("PATH="));
            environment.for_each(|variable| has(format!("ENV {variable}")));
            has(format!("CMD [\"{}\"]", start.command.join("\", \"")));
            assert!(
                text.contains("/customize.sh /"),
                "the user and its ids are made by one script"
            );
        }
    }

    #[test]
    fn the_workspace_starts_as_an_ordinary_user_at_home() {
        let config = config(&Start::workspace().unwrap(), &[]).unwrap();
        let config = config.config().as_ref().unwrap();
        assert_eq!(config.user().as_deref(), Some("1000"));
        assert_eq!(config.working_dir().as_deref(), Some("/home/user"));
    }
}
