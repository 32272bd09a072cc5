//! The folder with the programs of OpenShift, which no package registry has.
//! `ci/openshift/BUILDING.md` says how to build them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::Error;
use crate::paths::workspace;
use crate::settings::openshift::Release;

/// The variable that names the folder.
pub const VARIABLE: &str = "LOCAL_CLUSTER_COMPONENTS";

/// The folder of the DevWorkspace Operator.
const OPERATOR: &str = "devworkspace-operator-0.42.0";

/// The release whose folder has CRI-O, which serves every release.
const CRIO: Release = Release::V4_19;

/// The folder, in which each release has a folder `openshift-RELEASE`.
#[derive(Clone, Debug)]
pub struct Components(PathBuf);

impl Components {
    /// Finds the folder: the option's, or else that of `LOCAL_CLUSTER_COMPONENTS`, or
    /// else `../shared` beside the workspace.
    ///
    /// # Errors
    ///
    /// Fails when the folder lacks something that `release` needs.
    pub fn locate(option: Option<&Path>, release: Release) -> Result<Self, Error> {
        let variable = || env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let beside = || Some(workspace()?.parent()?.join("shared"));
        let folder = option
            .map(Path::to_owned)
            .or_else(|| variable().map(PathBuf::from))
            .or_else(beside)
            .unwrap_or_else(|| PathBuf::from("shared"));
        let found = Self(folder);
        let missing = found.needed(release).into_iter().find(|path| !path.exists());
        match missing {
            None => Ok(found),
            Some(path) => Err(found.incomplete(&path)),
        }
    }

    /// Makes sure that the folder has the DevWorkspace Operator too.
    ///
    /// # Errors
    ///
    /// Fails when it lacks a part.
    pub fn require_operator(self) -> Result<Self, Error> {
        let needed = ["devworkspace-controller", "webhook-server", "project-clone"]
            .map(|program| self.operator_program(program))
            .into_iter()
            .chain([self.operator_manifests()]);
        match needed.into_iter().find(|path| !path.exists()) {
            None => Ok(self),
            Some(path) => Err(self.incomplete(&path)),
        }
    }

    /// A compressed program of the DevWorkspace Operator.
    pub fn operator_program(&self, name: &str) -> PathBuf {
        self.0.join(OPERATOR).join(format!("{name}.zst"))
    }

    /// The manifests of the DevWorkspace Operator for OpenShift.
    pub fn operator_manifests(&self) -> PathBuf {
        self.0.join(OPERATOR).join("openshift.combined.yaml")
    }

    fn incomplete(&self, missing: &Path) -> Error {
        let message = format!(
            "the OpenShift components folder `{}` has no `{}`",
            self.0.display(),
            missing.strip_prefix(&self.0).unwrap_or(missing).display()
        );
        Error::usage(message).with_hint(format!(
            "build the components as `ci/openshift/BUILDING.md` says, and name the folder with \
             `--components DIR` or `{VARIABLE}`"
        ))
    }

    fn needed(&self, release: Release) -> [PathBuf; 6] {
        [
            self.hyper(release),
            self.apiserver_config(release),
            self.constraints(release),
            self.policy_controller(release),
            self.crio(),
            self.pinns(),
        ]
    }

    fn release(&self, release: Release) -> PathBuf {
        self.0.join(format!("openshift-{}", release.control_plane().as_str()))
    }

    /// The compressed program that is each component by its name.
    pub fn hyper(&self, release: Release) -> PathBuf {
        self.release(release).join("hyper.zst")
    }

    /// The API server's configuration.
    pub fn apiserver_config(&self, release: Release) -> PathBuf {
        self.release(release).join("kube-apiserver.config.yaml")
    }

    /// The folder of the shipped security context constraints.
    pub fn constraints(&self, release: Release) -> PathBuf {
        self.release(release).join("default-sccs")
    }

    /// The folder of the cluster-policy-controller's objects.
    pub fn policy_controller(&self, release: Release) -> PathBuf {
        self.release(release).join("cluster-policy-controller-rbac")
    }

    /// The compressed daemon of CRI-O.
    pub fn crio(&self) -> PathBuf {
        self.release(CRIO).join("crio.zst")
    }

    /// The compressed helper of CRI-O that keeps namespaces.
    pub fn pinns(&self) -> PathBuf {
        self.release(CRIO).join("pinns.zst")
    }
}

/// What tells a large file from its next version without reading it, which would
/// cost every `up` half a second.
///
/// # Errors
///
/// Fails when the file can't be examined.
pub fn fingerprint(path: &Path) -> Result<String, Error> {
    let refused = |source| Error::path("examine", path, source);
    let metadata = fs::metadata(path).map_err(refused)?;
    let modified = metadata.modified().map_err(refused)?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} {}", metadata.len(), since.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_a_usage_error_that_says_what_to_do() {
        let folder = Path::new("/nonexistent");
        let error = Components::locate(Some(folder), Release::V4_20).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "the OpenShift components folder `/nonexistent` has no `openshift-4.20/hyper.zst`"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("ci/openshift/BUILDING.md"), "{hint}");
        assert!(hint.contains("--components DIR"), "{hint}");
    }

    #[test]
    fn a_missing_operator_is_named() {
        let error = Components("/c".into()).require_operator().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("devworkspace-operator-0.42.0/"), "{error}");
    }

    #[test]
    fn crio_is_the_same_for_every_release() {
        let components = Components("/c".into());
        assert_eq!(components.crio(), Path::new("/c/openshift-4.19/crio.zst"));
        assert_eq!(components.hyper(Release::V4_18), Path::new("/c/openshift-4.19/hyper.zst"));
        assert!(components.needed(Release::V4_20)[0].starts_with("/c/openshift-4.20"));
    }
}
