//! What the flavour `openshift` is made of: the programs of the components folder,
//! and the objects of its API from the Go module `github.com/openshift/api`.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;
use serde_json::Value;

use super::handover::{Components, fingerprint};
use super::store::{Build, Recipe};
use crate::error::Error;
use crate::settings::openshift::Release;

/// The names by which the one program of the control plane is called.
const PROGRAMS: [&str; 5] = [
    "cluster-policy-controller",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
];

/// The file name of the API server's configuration, as JSON.
pub const APISERVER_CONFIG: &str = "kube-apiserver.json";

/// The file name of the list of shipped security context constraints and their
/// rights.
pub const CONSTRAINTS: &str = "constraints.json";

/// The file name of the list of the cluster-policy-controller's objects.
pub const POLICY_CONTROLLER: &str = "policy-controller.json";

/// The recipe of the control plane.
///
/// # Errors
///
/// Fails when the components folder can't be read.
pub fn control_plane_recipe(components: &Components, release: Release) -> Result<Recipe, Error> {
    let release = release.control_plane();
    let mut inputs = vec![
        PROGRAMS.join(" "),
        fingerprint(&components.hyper(release))?,
        read(&components.apiserver_config(release))?,
    ];
    for folder in [components.constraints(release), components.policy_controller(release)] {
        for file in manifests(&folder)? {
            inputs.push(read(&file)?);
        }
    }
    let name = release.as_str();
    Ok(Recipe::new(
        &format!("openshift-{name}"),
        &format!("OpenShift {name}"),
        "about 5 s",
        &inputs.iter().map(String::as_str).collect::<Vec<_>>(),
    ))
}

/// Unpacks the control plane: one program, with a link for each component, and its
/// manifests as JSON.
///
/// # Errors
///
/// Fails when a file can't be read or written.
pub fn build_control_plane(
    build: &Build,
    components: &Components,
    release: Release,
) -> Result<(), Error> {
    unpack(&components.hyper(release), &build.output.join("hyper"))?;
    for program in PROGRAMS {
        let link = build.output.join(program);
        symlink("hyper", &link).map_err(|source| Error::path("make the link", &link, source))?;
    }
    let config = read_yaml(&components.apiserver_config(release))?;
    write_json(&build.output.join(APISERVER_CONFIG), &config)?;
    let lists = [
        (components.constraints(release), CONSTRAINTS),
        (components.policy_controller(release), POLICY_CONTROLLER),
    ];
    for (folder, name) in lists {
        let files = manifests(&folder)?;
        let objects: Result<Vec<_>, Error> = files.iter().map(|file| read_yaml(file)).collect();
        write_json(&build.output.join(name), &Value::Array(objects?))?;
    }
    Ok(())
}

/// The recipe of CRI-O.
///
/// # Errors
///
/// Fails when the components folder can't be read.
pub fn crio_recipe(components: &Components) -> Result<Recipe, Error> {
    let inputs = [fingerprint(&components.crio())?, fingerprint(&components.pinns())?];
    Ok(Recipe::new("crio", "CRI-O", "about 3 s", &[&inputs[0], &inputs[1]]))
}

/// Unpacks CRI-O.
///
/// # Errors
///
/// Fails when a file can't be read or written.
pub fn build_crio(build: &Build, components: &Components) -> Result<(), Error> {
    unpack(&components.crio(), &build.output.join("crio"))?;
    unpack(&components.pinns(), &build.output.join("pinns"))
}

/// Decompresses a program.
pub(super) fn unpack(archive: &Path, program: &Path) -> Result<(), Error> {
    let refused = |source| Error::path("unpack", archive, source);
    let source = File::open(archive).map_err(refused)?;
    let mut target =
        File::create(program).map_err(|source| Error::path("write", program, source))?;
    let mut decoder = StreamingDecoder::new(BufReader::new(source))
        .map_err(|error| refused(io::Error::other(error)))?;
    io::copy(&mut decoder, &mut target).map_err(refused)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
        .map_err(|source| Error::path("make executable", program, source))
}

/// The manifests of a folder, in the order of their names, which is the order in
/// which they are meant to be applied.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(|source| Error::path("read", folder, source))?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    Ok(files)
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::path("read", path, source))
}

/// Reads one document of YAML.
///
/// # Errors
///
/// Fails when the file can't be read or is no YAML.
pub fn read_yaml(path: &Path) -> Result<Value, Error> {
    serde_saphyr::from_str(&read(path)?)
        .map_err(|error| Error::other(format!("`{}` is no YAML: {error}", path.display())))
}

/// Writes a file of JSON.
///
/// # Errors
///
/// Fails when it can't be written.
pub fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    fs::write(path, format!("{value}\n")).map_err(|source| Error::path("write", path, source))
}

/// Reads a file that [`write_json`] has written.
///
/// # Errors
///
/// Fails when it can't be read.
pub fn read_json(path: &Path) -> Result<Value, Error> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Error::other(format!("`{}` is no JSON: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_its_types() {
        let path = std::env::temp_dir().join(format!("local-cluster-yaml-{}", std::process::id()));
        fs::write(&path, "a: \"true\"\nb: true\nc: 7\nd:\ne: ['1']\nf: |\n  x\n  y\n").unwrap();
        let value = read_yaml(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let expected = serde_json::json!({
            "a": "true", "b": true, "c": 7, "d": null, "e": ["1"], "f": "x\ny\n",
        });
        assert_eq!(value, expected);
    }
}
