//! Debian trees: the node's root file system and the layer of the workspace image. The packages'
//! signatures are verified by apt.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::store::{Build, Recipe};
use crate::{command, error::Error, runtime::Runtime};

const SUITE: &str = "trixie";

/// What a node needs beyond a minimal Debian: the rest of the control plane, a container runtime,
/// the pod network, and what the kubelet calls.
const NODE_PACKAGES: &[&str] =
    &["containernetworking-plugins", "crun", "etcd-server", "iproute2", "mount", "procps"];

/// What a developer expects in a workspace.
const WORKSPACE_PACKAGES: &str = include_str!("../../../../fixtures/images/workspace/packages");

/// Documentation and translations, which no test reads.
const LEFT_OUT: &[&str] =
    &["/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"];

const WORKSPACE_CUSTOMIZE: &str =
    include_str!("../../../../fixtures/images/workspace/customize.sh");

/// The file name of the layer in the workspace's artifact.
pub const LAYER: &str = "layer.tar";

/// The recipe of the tree of a node with this runtime.
pub fn node_recipe(runtime: Runtime) -> Recipe {
    let packages = node_packages(runtime).join(",");
    let left_out = LEFT_OUT.join(",");
    Recipe::new(
        runtime.node_tree,
        "the node's file system",
        "about 30 s",
        &[SUITE, &packages, &left_out],
    )
}

/// Builds the node's tree.
pub fn build_node(build: &Build, runtime: Runtime) -> Result<(), Error> {
    let mut mmdebstrap = mmdebstrap(&node_packages(runtime));
    mmdebstrap.arg(SUITE).arg(&build.output);
    command::logged(&mut mmdebstrap, &build.log)
}

fn node_packages(runtime: Runtime) -> Vec<&'static str> {
    NODE_PACKAGES.iter().chain(runtime.packages).copied().collect()
}

fn workspace_packages() -> Vec<&'static str> {
    WORKSPACE_PACKAGES.lines().filter(|line| !line.starts_with('#')).collect()
}

/// The recipe of the workspace image's layer.
pub fn workspace_recipe() -> Recipe {
    let packages = workspace_packages().join(",");
    let left_out = LEFT_OUT.join(",");
    let inputs = [SUITE, &packages, &left_out, WORKSPACE_CUSTOMIZE];
    Recipe::new("workspace", "the workspace image", "about 45 s", &inputs)
}

/// Builds the workspace image's layer.
pub fn build_workspace(build: &Build) -> Result<(), Error> {
    let script = build.scratch_file("customize.sh", WORKSPACE_CUSTOMIZE)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .map_err(|source| Error::path("make executable", &script, source))?;
    let tree = build.scratch.join("tree");
    let mut mmdebstrap = mmdebstrap(&workspace_packages());
    mmdebstrap.arg(format!("--customize-hook={}", quoted(&script))).arg(SUITE).arg(&tree);
    command::logged(&mut mmdebstrap, &build.log)?;
    pack(&tree, &build.output.join(LAYER), &build.log)
}

/// Packs a tree into a layer. The extended attributes are those that make `newuidmap` work:
/// `security.capability`.
pub fn pack(tree: &Path, layer: &PathBuf, log: &Path) -> Result<(), Error> {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--one-file-system",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=security.capability",
        "--exclude=./dev/*",
        "--file",
    ])
    .arg(layer)
    .arg("--directory")
    .arg(tree)
    .arg(".");
    command::logged(&mut tar, log)
}

fn mmdebstrap(packages: &[&str]) -> Command {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--variant=minbase", "--mode=root", "--format=directory"])
        .arg("--aptopt=Acquire::Retries \"3\"")
        .arg(format!("--include={}", packages.join(",")))
        .args(LEFT_OUT.iter().map(|pattern| format!("--dpkgopt=path-exclude={pattern}")))
        // Licences stay.
        .arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    command
}

/// A path as one word for the shell that mmdebstrap runs hooks with.
fn quoted(path: &Path) -> String {
    format!("'{}' \"$1\"", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{CONTAINERD, CRIO};

    #[test]
    fn a_path_with_a_quote_stays_one_word() {
        assert_eq!(quoted(Path::new("/it's/x")), r#"'/it'\''s/x' "$1""#);
    }

    #[test]
    fn only_a_node_with_crio_has_its_packages() {
        assert!(!node_packages(&CONTAINERD).contains(&"conmon"));
        assert!(node_packages(&CRIO).contains(&"conmon"));
        assert!(node_packages(&CRIO).contains(&"crun"));
    }

    #[test]
    fn the_workspace_script_gives_the_helpers_file_capabilities() {
        assert!(WORKSPACE_CUSTOMIZE.contains("setcap cap_setuid+ep /usr/bin/newuidmap"));
        assert!(WORKSPACE_CUSTOMIZE.contains("user:1001:64535"));
    }
}
