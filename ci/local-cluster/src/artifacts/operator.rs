//! The DevWorkspace Operator: the definitions that its test double serves, or images of the real
//! programs and their objects, from the components folder.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    api,
    json::{read, read_yaml, write_json},
    real::Components,
    store::{Build, Recipe},
    tree,
};
use crate::{
    command,
    error::Error,
    image::{self, Layer},
    settings::RealProgram,
};

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

/// The Go module with the definitions of workspaces, which the operator serves.
const DEVFILE_MODULE: &str = "github.com/devfile/api/v2";
const DEVFILE_VERSION: &str = "v2.3.0";
const DEVFILE_SUM: &str = "h1:3LG0c5Z2jZuI8ReCf4OQMHfiKxsOgxTxz5c1Y9CqUYI=";

/// Where they are in the module.
const DEVFILE_DEFINITIONS: [&str; 2] = [
    "crds/workspace.devfile.io_devworkspaces.yaml",
    "crds/workspace.devfile.io_devworkspacetemplates.yaml",
];

/// The recipe of what the test double serves.
pub fn double_recipe() -> Recipe {
    let needed = api::needed_by_operator();
    let mut inputs = vec![DEVFILE_MODULE, DEVFILE_VERSION, DEVFILE_SUM, &needed];
    inputs.extend(DEVFILE_DEFINITIONS);
    let description = "the definitions of DevWorkspaces";
    Recipe::new("devworkspace-definitions", description, "about 5 s", &inputs)
}

/// Writes the definitions of workspaces, and those that let programs recognise OpenShift.
pub fn build_double(build: &Build) -> Result<(), Error> {
    let module = api::download_module(build, DEVFILE_MODULE, DEVFILE_VERSION, DEVFILE_SUM)?;
    let read = |path: &&str| read_yaml(&module.join(path));
    let definitions: Result<Vec<_>, Error> = DEVFILE_DEFINITIONS.iter().map(read).collect();
    let mut definitions = definitions?;
    definitions.extend(api::read_for_operator(build)?);
    let objects = json!({"definitions": definitions});
    write_json(&build.output.join(OBJECTS), &objects)
}

/// The recipe of the real operator.
pub fn recipe(components: &Components) -> Result<Recipe, Error> {
    let mut inputs = vec![
        CONTROLLER_IMAGE.to_owned(),
        PROJECT_CLONE_IMAGE.to_owned(),
        format!("{:?}", start()),
        api::needed_by_operator(),
        read(&components.operator_manifests())?,
    ];
    inputs.extend(components.fingerprints(&[RealProgram::Operator])?);
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    Ok(Recipe::new("devworkspace-operator", "the DevWorkspace Operator", "about 10 s", &inputs))
}

/// Builds the images and writes the objects as JSON: `definitions`, and `objects` in the order in
/// which they are to be made.
pub fn build(build: &Build, components: &Components) -> Result<(), Error> {
    let layout = build.scratch.join("layout");
    let controller = ["devworkspace-controller", "webhook-server"];
    add_image(build, components, &layout, CONTROLLER_IMAGE, &controller)?;
    add_image(build, components, &layout, PROJECT_CLONE_IMAGE, &["project-clone"])?;
    command::logged(&mut image::archiver(&layout, &build.output.join(IMAGES)), &build.log)?;
    let manifests = components.operator_manifests();
    let all: Vec<Value> = serde_saphyr::from_multiple(&read(&manifests)?)
        .map_err(|error| Error::other(format!("`{}` is not YAML: {error}", manifests.display())))?;
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
        components.unpack(program, &folder.join(program))?;
    }
    if programs.contains(&"webhook-server") {
        // The webhook server is started through a shell script that only gives its user a name,
        // with the program as an argument. There is no shell here. The program ignores such an
        // argument and what follows it, which is its own default.
        let (program, link) = (folder.join("webhook-server"), folder.join("entrypoint"));
        fs::hard_link(&program, &link).map_err(|source| Error::path("link", &link, source))?;
    }
    let layer = build.scratch.join(format!("{}.tar", programs[0]));
    tree::pack(&tree, &layer, &build.log)?;
    image::add(layout, reference, &[Layer::of(&layer)?], &start())
}
