//! The DevWorkspace Operator: images of its programs, and its objects, from the
//! components folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::handover::{Components, fingerprint};
use super::openshift::{read, unpack, write_json};
use super::store::{Build, Recipe};
use super::{api, tree};
use crate::command;
use crate::error::Error;
use crate::image::{self, Layer};

/// The image of the operator and of its webhook server, which is one upstream too.
pub const CONTROLLER_IMAGE: &str = "localhost/devworkspace-controller:v0.42.0";

/// The image that clones projects into a workspace.
pub const PROJECT_CLONE_IMAGE: &str = "localhost/project-clone:v0.42.0";

/// The file name of the archive of both images.
pub const IMAGES: &str = "images.tar";

/// The file name of the operator's objects.
const OBJECTS: &str = "objects.json";

/// Where the images have their programs, as upstream.
const PROGRAMS: &str = "usr/local/bin";

/// The recipe.
///
/// # Errors
///
/// Fails when the components folder can't be read.
pub fn recipe(components: &Components) -> Result<Recipe, Error> {
    let mut inputs = vec![
        CONTROLLER_IMAGE.to_owned(),
        PROJECT_CLONE_IMAGE.to_owned(),
        format!("{:?}", start()),
        api::needed_by_operator(),
        fingerprint(&components.operator_manifests())?,
    ];
    for program in ["devworkspace-controller", "webhook-server", "project-clone"] {
        inputs.push(fingerprint(&components.operator_program(program))?);
    }
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    Ok(Recipe::new("devworkspace-operator", "the DevWorkspace Operator", "about 10 s", &inputs))
}

/// Builds the images and writes the objects as JSON: `definitions`, and `objects` in
/// the order in which they are to be made.
///
/// # Errors
///
/// Fails when a file can't be read or written.
pub fn build(build: &Build, components: &Components) -> Result<(), Error> {
    let layout = build.scratch.join("layout");
    let controller = ["devworkspace-controller", "webhook-server"];
    add_image(build, components, &layout, CONTROLLER_IMAGE, &controller)?;
    add_image(build, components, &layout, PROJECT_CLONE_IMAGE, &["project-clone"])?;
    command::logged(&mut image::archiver(&layout, &build.output.join(IMAGES)), &build.log)?;
    let manifests = components.operator_manifests();
    let all: Vec<Value> = serde_saphyr::from_multiple(&read(&manifests)?)
        .map_err(|error| Error::other(format!("`{}` is no YAML: {error}", manifests.display())))?;
    let (mut definitions, objects): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|object| object["kind"] == "CustomResourceDefinition");
    definitions.extend(api::read_for_operator(build)?);
    let objects = json!({"definitions": definitions, "objects": objects});
    write_json(&build.output.join(OBJECTS), &objects)
}

/// The file in the artifact with the objects.
pub fn objects(artifact: &Path) -> PathBuf {
    artifact.join(OBJECTS)
}

fn start() -> image::Start {
    image::Start { user: "1001".into(), folder: "/".into(), ..image::Start::default() }
}

fn add_image(
    build: &Build,
    components: &Components,
    layout: &Path,
    reference: &str,
    programs: &[&str],
) -> Result<(), Error> {
    let tree = build.scratch.join(programs[0]);
    let folder = tree.join(PROGRAMS);
    // The operator keeps its serving certificates below /tmp.
    for folder in [&folder, &tree.join("tmp")] {
        fs::create_dir_all(folder).map_err(|source| Error::path("make", folder, source))?;
        // Whatever user admission gives to its pods.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
            .map_err(|source| Error::path("make readable", folder, source))?;
    }
    for program in programs {
        unpack(&components.operator_program(program), &folder.join(program))?;
    }
    if programs.contains(&"webhook-server") {
        // The webhook server is started through a shell script that only gives its user a
        // name, with the program as an argument. There is no shell here. The program ignores
        // such an argument and what follows it, which is its own default.
        let (program, link) = (folder.join("webhook-server"), folder.join("entrypoint"));
        fs::hard_link(&program, &link).map_err(|source| Error::path("link", &link, source))?;
    }
    let layer = build.scratch.join(format!("{}.tar", programs[0]));
    tree::pack(&tree, &layer, &build.log)?;
    image::add(layout, reference, &[Layer::of(&layer)?], &start())
}
