//! Kubernetes and containerd, built from their Go modules. The modules' sums are
//! in this repository, so what is built is what was reviewed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::store::{Build, Recipe};
use crate::command;
use crate::error::Error;
use crate::runtime::containerd;
use crate::settings::KubernetesVersion;

/// The names by which the one program of Kubernetes is called.
const COMPONENTS: [&str; 5] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];

const CONTAINERD_VERSION: &str = "2.4.2";
const CONTAINERD_MODULE: &str = "github.com/containerd/containerd/v2";
const CONTAINERD_PROGRAMS: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];
/// Without the snapshotters that need C libraries or that nobody uses here.
const CONTAINERD_TAGS: &str = "no_btrfs no_devmapper no_zfs no_aufs osusergo netgo";

/// The files of a Go module, by name.
type Module = [(&'static str, &'static str)];

const KUBERNETES_1_32_5: &Module = &[
    ("go.mod", include_str!("../../recipes/kubernetes/1.32.5/go.mod")),
    ("go.sum", include_str!("../../recipes/kubernetes/1.32.5/go.sum")),
    ("kubelet.go", include_str!("../../recipes/kubernetes/1.32.5/kubelet.go")),
    ("main.go", include_str!("../../recipes/kubernetes/main.go")),
];

const KUBERNETES_1_34_4: &Module = &[
    ("go.mod", include_str!("../../recipes/kubernetes/1.34.4/go.mod")),
    ("go.sum", include_str!("../../recipes/kubernetes/1.34.4/go.sum")),
    ("kubelet.go", include_str!("../../recipes/kubernetes/1.34.4/kubelet.go")),
    ("main.go", include_str!("../../recipes/kubernetes/main.go")),
];

const CONTAINERD: &Module = &[
    ("go.mod", include_str!("../../recipes/containerd/go.mod")),
    ("go.sum", include_str!("../../recipes/containerd/go.sum")),
    ("tools.go", include_str!("../../recipes/containerd/tools.go")),
];

fn kubernetes_module(version: KubernetesVersion) -> &'static Module {
    match version {
        KubernetesVersion::V1_32_5 => KUBERNETES_1_32_5,
        KubernetesVersion::V1_34_4 => KUBERNETES_1_34_4,
    }
}

/// The recipe of Kubernetes.
pub fn kubernetes_recipe(version: KubernetesVersion) -> Recipe {
    let flags = kubernetes_linker_flags(version);
    let mut inputs = vec![version.as_str(), &flags];
    inputs.extend(kubernetes_module(version).iter().map(|(_, text)| *text));
    Recipe::new(
        &format!("kubernetes-{version}"),
        &format!("kubernetes {version}"),
        "about 4 minutes",
        &inputs,
    )
}

/// Builds Kubernetes: one program, with a link for each component.
///
/// # Errors
///
/// Fails when `go` does.
pub fn build_kubernetes(build: &Build, version: KubernetesVersion) -> Result<(), Error> {
    write_module(build, kubernetes_module(version))?;
    let flags = format!("-ldflags={}", kubernetes_linker_flags(version));
    let mut go = go(&build.scratch);
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
    let spec = containerd::nested_spec(serde_json::Value::Null).to_string();
    let mut inputs = vec![CONTAINERD_VERSION, CONTAINERD_TAGS, &spec];
    inputs.extend(CONTAINERD.iter().map(|(_, text)| *text));
    Recipe::new(
        &format!("containerd-{CONTAINERD_VERSION}"),
        &format!("containerd {CONTAINERD_VERSION}"),
        "about 1 minute",
        &inputs,
    )
}

/// Builds containerd, its shim and its client, and the runtime specification of
/// the handler `nested`.
///
/// # Errors
///
/// Fails when `go` or the client does.
pub fn build_containerd(build: &Build) -> Result<(), Error> {
    write_module(build, CONTAINERD)?;
    let mut go = go(&build.scratch);
    go.arg(format!("-tags={CONTAINERD_TAGS}"))
        .arg(format!("-ldflags=-s -w -X {CONTAINERD_MODULE}/version.Version=v{CONTAINERD_VERSION}"))
        .arg("-o")
        .arg(&build.output)
        .args(CONTAINERD_PROGRAMS.map(|program| format!("{CONTAINERD_MODULE}/cmd/{program}")));
    command::logged(&mut go, &build.log)?;
    let spec = command::output(Command::new(build.output.join("ctr")).args(["oci", "spec"]))?;
    let spec = serde_json::from_str(&spec).map_err(|error| {
        Error::other(format!("`ctr oci spec` printed no specification: {error}"))
    })?;
    let path = build.output.join("nested.json");
    fs::write(&path, containerd::nested_spec(spec).to_string())
        .map_err(|source| Error::path("write", &path, source))
}

fn write_module(build: &Build, module: &Module) -> Result<(), Error> {
    for (name, content) in module {
        build.scratch_file(name, content)?;
    }
    Ok(())
}

/// `go build` in a module's folder: static, reproducible, with the installed
/// toolchain and with exactly the modules of `go.sum`.
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
        let flags = kubernetes_linker_flags(KubernetesVersion::V1_34_4);
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.34.4"));
        assert!(flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=34"));
    }

    #[test]
    fn every_version_has_a_recipe_of_its_own() {
        let keys = [KubernetesVersion::V1_32_5, KubernetesVersion::V1_34_4]
            .map(|version| kubernetes_recipe(version).key());
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn modules_require_the_version_they_are_named_after() {
        for version in [KubernetesVersion::V1_32_5, KubernetesVersion::V1_34_4] {
            let (_, text) = kubernetes_module(version)[0];
            assert!(text.contains(&format!("k8s.io/kubernetes v{version}")));
        }
        assert!(CONTAINERD[0].1.contains(&format!("{CONTAINERD_MODULE} v{CONTAINERD_VERSION}")));
    }
}
