//! Kubernetes and containerd, built from their Go modules. The modules' sums are in this
//! repository, so what is built is what was reviewed.

use std::{
    borrow::Cow, collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, process::Command,
};

use rust_embed::Embed;

use super::store::{Build, Recipe};
use crate::{
    command,
    error::Error,
    runtime::{devices, nested_spec},
    settings::KubernetesVersion,
};

/// The names of the one program of Kubernetes. The last three are our own: two stand-ins for OpenShift's
/// components, and a device plugin.
const COMPONENTS: [&str; 8] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubectl",
    "cluster-policy-controller",
    "devworkspace-controller",
    "device-plugin",
];

const CONTAINERD_VERSION: &str = "2.4.2";
const CONTAINERD_MODULE: &str = "github.com/containerd/containerd/v2";
const CONTAINERD_PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];
/// The plugin that gives containers devices by annotation.
const DEVICES_PACKAGE: &str = "./devices";
/// Without the snapshotters that need C libraries or that nobody uses here.
const CONTAINERD_TAGS: &str = "no_btrfs no_devmapper no_zfs no_aufs osusergo netgo";

/// The Go module of Kubernetes with the stand-ins for OpenShift's components; `go.mod` and `go.sum`
/// of each version are in its folder `versions`.
#[derive(Embed)]
#[folder = "recipes/kubernetes"]
#[exclude = "*_test.go"]
#[exclude = "*/testdata/*"]
struct KubernetesModule;

/// The Go module of containerd and its plugin.
#[derive(Embed)]
#[folder = "recipes/containerd"]
#[exclude = "*_test.go"]
struct ContainerdModule;

/// The files of a module, by path.
type Files = BTreeMap<String, Cow<'static, [u8]>>;

fn files<M: Embed>() -> Files {
    M::iter().filter_map(|path| Some((path.to_string(), M::get(&path)?.data))).collect()
}

/// The files from which one version of Kubernetes is built.
fn kubernetes_files(version: KubernetesVersion) -> Files {
    let mut files = files::<KubernetesModule>();
    let of_version = [("mod", "go.mod"), ("sum", "go.sum")].map(|(extension, name)| {
        let content = files.get(&format!("{VERSIONS}{version}.{extension}")).cloned();
        (name.to_owned(), content.unwrap_or_default())
    });
    files.retain(|path, _| !path.starts_with(VERSIONS));
    files.extend(of_version);
    files
}

/// The folder of the versions in the module of Kubernetes.
const VERSIONS: &str = "versions/";

/// What chooses between files for this version: build constraints.
fn kubernetes_tags(version: KubernetesVersion) -> String {
    format!("kubernetes_1_{}", version.minor())
}

/// What decides the content of programs that are built from files.
fn inputs(files: &Files) -> Vec<String> {
    files
        .iter()
        .map(|(path, content)| format!("{path}\n{}", String::from_utf8_lossy(content)))
        .collect()
}

/// The recipe of Kubernetes.
pub fn kubernetes_recipe(version: KubernetesVersion) -> Recipe {
    let flags = kubernetes_linker_flags(version);
    let files = inputs(&kubernetes_files(version));
    let mut inputs = vec![version.as_str(), &flags];
    inputs.extend(files.iter().map(String::as_str));
    Recipe::new(
        &format!("kubernetes-{version}"),
        &format!("kubernetes {version}"),
        "about 4 minutes",
        &inputs,
    )
}

/// Builds Kubernetes: one program, with a link for each component.
pub fn build_kubernetes(build: &Build, version: KubernetesVersion) -> Result<(), Error> {
    write_module(build, &kubernetes_files(version))?;
    let flags = format!("-ldflags={}", kubernetes_linker_flags(version));
    let mut go = go(&build.scratch);
    go.arg(format!("-tags={}", kubernetes_tags(version)));
    go.arg(flags).arg("-o").arg(build.output.join("kubernetes")).arg(".");
    command::logged(&mut go, &build.log)?;
    for component in COMPONENTS {
        let link = build.output.join(component);
        symlink("kubernetes", &link)
            .map_err(|source| Error::path("make the link", &link, source))?;
    }
    Ok(())
}

/// The version that the programs report, as the project's own build sets it
/// (`hack/lib/version.sh`), without debug information.
fn kubernetes_linker_flags(version: KubernetesVersion) -> String {
    let packages = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
    let values = [
        ("gitVersion", format!("v{version}")),
        ("gitMajor", "1".to_owned()),
        ("gitMinor", version.minor().to_owned()),
        ("gitTreeState", "clean".to_owned()),
    ];
    let mut flags = vec!["-s -w".to_owned()];
    for package in packages {
        flags.extend(values.iter().map(|(name, value)| format!("-X {package}.{name}={value}")));
    }
    flags.join(" ")
}

/// The recipe of containerd.
pub fn containerd_recipe() -> Recipe {
    let spec = nested_spec(serde_json::Value::Null).to_string();
    let files = inputs(&files::<ContainerdModule>());
    let mut inputs = vec![CONTAINERD_VERSION, CONTAINERD_TAGS, &spec];
    inputs.extend(files.iter().map(String::as_str));
    Recipe::new(
        &format!("containerd-{CONTAINERD_VERSION}"),
        &format!("containerd {CONTAINERD_VERSION}"),
        "about 1 minute",
        &inputs,
    )
}

/// Builds containerd, its shim and its client, and the runtime specification of the handler
/// `nested`.
pub fn build_containerd(build: &Build) -> Result<(), Error> {
    write_module(build, &files::<ContainerdModule>())?;
    let mut go = go(&build.scratch);
    go.arg(format!("-tags={CONTAINERD_TAGS}"))
        .arg(format!("-ldflags=-s -w -X {CONTAINERD_MODULE}/version.Version=v{CONTAINERD_VERSION}"))
        .arg("-o")
        .arg(&build.output)
        .args(CONTAINERD_PROGRAMS.map(|program| format!("{CONTAINERD_MODULE}/cmd/{program}")));
    command::logged(&mut go, &build.log)?;
    let mut go = self::go(&build.scratch);
    go.arg("-ldflags=-s -w")
        .arg("-o")
        .arg(build.output.join(devices::PROGRAM))
        .arg(DEVICES_PACKAGE);
    command::logged(&mut go, &build.log)?;
    let spec = command::output(Command::new(build.output.join("ctr")).args(["oci", "spec"]))?;
    let spec = serde_json::from_str(&spec).map_err(|error| {
        Error::other(format!("`ctr oci spec` printed no specification: {error}"))
    })?;
    let path = build.output.join("nested.json");
    fs::write(&path, nested_spec(spec).to_string())
        .map_err(|source| Error::path("write", &path, source))
}

fn write_module(build: &Build, files: &Files) -> Result<(), Error> {
    for (name, content) in files {
        build.scratch_file(name, content)?;
    }
    Ok(())
}

/// `go build` in a module's folder: static, reproducible, with the installed toolchain and with
/// exactly the modules of `go.sum`.
fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_report_the_version_they_are() {
        let flags = kubernetes_linker_flags(KubernetesVersion::V1_37_2);
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.37.2"));
        assert!(flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=37"));
    }

    #[test]
    fn every_version_has_a_recipe_of_its_own() {
        let keys = KubernetesVersion::ALL.map(|version| kubernetes_recipe(version).key());
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn modules_require_the_version_they_are_named_after() {
        let text = |files: &Files| String::from_utf8(files["go.mod"].to_vec()).unwrap();
        for version in KubernetesVersion::ALL {
            let files = kubernetes_files(version);
            assert!(text(&files).contains(&format!("k8s.io/kubernetes v{version}")));
            assert!(files.contains_key("main.go") && !files["go.sum"].is_empty());
            assert!(!files.keys().any(|path| path.starts_with(VERSIONS)));
        }
        let containerd = text(&files::<ContainerdModule>());
        assert!(containerd.contains(&format!("{CONTAINERD_MODULE} v{CONTAINERD_VERSION}")));
    }

    #[test]
    fn tests_are_no_part_of_what_is_built() {
        let files = kubernetes_files(KubernetesVersion::V1_32_5);
        assert!(files.keys().any(|path| path.starts_with("openshift/")));
        assert!(!files.keys().any(|path| path.ends_with("_test.go")));
    }
}
