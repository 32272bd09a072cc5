//! The folder of `--components`: programs of a real OpenShift cluster, which no package registry
//! serves. Each that is there takes the place of a built program or a stand-in.
//! `ci/openshift/README.md` says in which images of a release they are.

use std::{
    env,
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use ruzstd::decoding::StreamingDecoder;

use super::store::{Build, Recipe};
use crate::{
    error::Error,
    settings::{RealProgram, RealPrograms},
};

/// The variable that names the folder.
pub const VARIABLE: &str = "LOCAL_CLUSTER_COMPONENTS";

/// One program for each that is called by its name.
const HYPER: &str = "hyper";

/// The operator's manifests, which are needed beside its programs.
const MANIFESTS: &str = "openshift.combined.yaml";

/// The first bytes of a program (elf(5)).
const MAGIC: &[u8] = b"\x7fELF";

/// A folder with at least one program.
#[derive(Clone, Debug)]
pub struct Components {
    folder: PathBuf,
    programs: RealPrograms,
}

impl Components {
    /// Looks into the folder of the option, or else of `LOCAL_CLUSTER_COMPONENTS`. There is none
    /// where neither is given.
    pub fn locate(option: Option<&Path>) -> Result<Option<Self>, Error> {
        let variable = || env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let folder = option.map(Path::to_owned).or_else(|| variable().map(PathBuf::from));
        folder.map(Self::look).transpose()
    }

    fn look(folder: PathBuf) -> Result<Self, Error> {
        let refused = |source| {
            Error::usage(format!(
                "can't read the components directory `{}`: {source}",
                folder.display()
            ))
            .with_hint(EXPECTED)
        };
        fs::read_dir(&folder).map_err(refused)?;
        let mut found = Vec::new();
        for program in RealProgram::ALL {
            if is_whole(&folder, program)? {
                found.push(program);
            }
        }
        let programs = RealPrograms::of(found);
        if programs.are_none() {
            let message =
                format!("the components directory `{}` has none of the programs", folder.display());
            return Err(Error::usage(message).with_hint(EXPECTED));
        }
        Ok(Self { folder, programs })
    }

    /// The programs that are there.
    pub fn programs(&self) -> RealPrograms {
        self.programs
    }

    /// The operator's manifests.
    pub fn operator_manifests(&self) -> PathBuf {
        self.folder.join(MANIFESTS)
    }

    /// What distinguishes the files of these programs from their next versions.
    pub fn fingerprints(&self, programs: &[RealProgram]) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        for name in programs.iter().flat_map(|program| program.files()) {
            if let Some(path) = file(&self.folder, name) {
                all.push(format!("{name} {}", fingerprint(&path)?));
            }
        }
        Ok(all)
    }

    /// Puts a program into a folder, decompressed.
    pub fn unpack(&self, name: &str, target: &Path) -> Result<(), Error> {
        let source = file(&self.folder, name).ok_or_else(|| {
            Error::other(format!("`{name}` has gone from the components directory"))
        })?;
        unpack(&source, target)
    }
}

/// What is said wherever the folder is not what it should be.
const EXPECTED: &str = "give a directory with `kube-apiserver`, `kube-controller-manager`, \
                        `kube-scheduler`, `kubelet`, `cluster-policy-controller` (or one `hyper` \
                        for all five), `crio` with `pinns`, or the operator's three programs, each \
                        as it is or with `.zst`: see `ci/openshift/README.md`";

/// Whether all files of a group are there.
fn is_whole(folder: &Path, program: RealProgram) -> Result<bool, Error> {
    let in_hyper = program.is_in_hyper() && named(folder, HYPER).is_some();
    let files = program.files();
    let (found, missing): (Vec<_>, Vec<_>) =
        files.iter().partition(|name| named(folder, name).is_some() || in_hyper);
    if found.is_empty() {
        return Ok(false);
    }
    let manifests = (program == RealProgram::Operator).then_some(MANIFESTS);
    let manifests = manifests.filter(|name| !folder.join(name).is_file());
    if let Some(missing) = missing.first().map(|name: &&&str| **name).or(manifests) {
        return Err(Error::usage(format!(
            "the components directory `{}` has `{}` and no `{missing}`",
            folder.display(),
            found[0]
        ))
        .with_hint(format!("add `{missing}`, which `{}` needs: {EXPECTED}", found[0])));
    }
    for path in files.iter().filter_map(|name| file(folder, name)) {
        check(&path)?;
    }
    Ok(true)
}

/// The file of a program: its own, or `hyper`.
fn file(folder: &Path, name: &str) -> Option<PathBuf> {
    let in_hyper = RealProgram::ALL
        .iter()
        .any(|program| program.is_in_hyper() && program.files().contains(&name));
    named(folder, name).or_else(|| in_hyper.then(|| named(folder, HYPER)).flatten())
}

fn named(folder: &Path, name: &str) -> Option<PathBuf> {
    let candidates = [folder.join(name), folder.join(format!("{name}.zst"))];
    candidates.into_iter().find(|path| path.is_file())
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// Whether a file is a program, compressed or not.
fn check(path: &Path) -> Result<(), Error> {
    let mut start = [0; MAGIC.len()];
    let read = reader(path).and_then(|mut reader| {
        reader.read_exact(&mut start).map_err(|source| Error::path("read", path, source))
    });
    if read.is_ok() && start == MAGIC {
        return Ok(());
    }
    let kind =
        if is_compressed(path) { "a program that `zstd` has compressed" } else { "a program" };
    Err(Error::usage(format!("`{}` is not {kind}", path.display())).with_hint(EXPECTED))
}

fn reader(path: &Path) -> Result<Box<dyn Read>, Error> {
    let refused = |source| Error::path("read", path, source);
    let file = BufReader::new(File::open(path).map_err(refused)?);
    if !is_compressed(path) {
        return Ok(Box::new(file));
    }
    let decoder = StreamingDecoder::new(file).map_err(|error| refused(io::Error::other(error)))?;
    Ok(Box::new(decoder))
}

fn unpack(source: &Path, program: &Path) -> Result<(), Error> {
    let mut reader = reader(source)?;
    let mut target = File::create(program).map_err(|error| Error::path("write", program, error))?;
    io::copy(&mut reader, &mut target).map_err(|error| Error::path("unpack", source, error))?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
        .map_err(|error| Error::path("make executable", program, error))
}

/// What distinguishes a large file from its next version without reading it, which would cost every
/// `up` half a second.
fn fingerprint(path: &Path) -> Result<String, Error> {
    let refused = |source| Error::path("examine", path, source);
    let metadata = fs::metadata(path).map_err(refused)?;
    let modified = metadata.modified().map_err(refused)?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} {}", metadata.len(), since.as_nanos()))
}

/// The programs of the control plane and the kubelet, and the policy controller.
const NODE_PROGRAMS: [RealProgram; 5] = [
    RealProgram::Apiserver,
    RealProgram::ControllerManager,
    RealProgram::Scheduler,
    RealProgram::Kubelet,
    RealProgram::PolicyController,
];

/// The recipe of the real programs of the control plane; none where there are none.
pub fn recipe(components: &Components) -> Result<Option<Recipe>, Error> {
    let programs = present(components, &NODE_PROGRAMS);
    if programs.is_empty() {
        return Ok(None);
    }
    let inputs = components.fingerprints(&programs)?;
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    Ok(Some(Recipe::new("real-programs", "the real programs", "about 5 s", &inputs)))
}

/// Unpacks them.
pub fn build(build: &Build, components: &Components) -> Result<(), Error> {
    unpack_all(build, components, &present(components, &NODE_PROGRAMS))
}

/// The recipe of CRI-O.
pub fn crio_recipe(components: &Components) -> Result<Recipe, Error> {
    let inputs = components.fingerprints(&[RealProgram::Crio])?;
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    Ok(Recipe::new("crio", "CRI-O", "about 3 s", &inputs))
}

/// Unpacks CRI-O.
pub fn build_crio(build: &Build, components: &Components) -> Result<(), Error> {
    unpack_all(build, components, &[RealProgram::Crio])
}

fn present(components: &Components, programs: &[RealProgram]) -> Vec<RealProgram> {
    programs.iter().copied().filter(|program| components.programs.has(*program)).collect()
}

fn unpack_all(
    build: &Build,
    components: &Components,
    programs: &[RealProgram],
) -> Result<(), Error> {
    for name in programs.iter().flat_map(|program| program.files()) {
        components.unpack(name, &build.output.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files of these names.
    fn folder(test: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder =
            env::temp_dir().join(format!("local-cluster-real-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        folder
    }

    fn look(test: &str, files: &[(&str, &[u8])]) -> Result<Components, Error> {
        let folder = folder(test, files);
        let found = Components::look(folder.clone());
        fs::remove_dir_all(&folder).unwrap();
        found
    }

    #[test]
    fn each_program_that_is_there_is_found() {
        let found = look("some", &[("kubelet", b"\x7fELF..."), ("notes.txt", b"x")]).unwrap();
        assert_eq!(found.programs().to_string(), "kubelet");
        let found = look("hyper", &[("hyper", b"\x7fELF...")]).unwrap();
        assert!(found.programs().has(RealProgram::Apiserver));
        assert!(found.programs().has(RealProgram::PolicyController));
        assert!(!found.programs().has(RealProgram::Crio));
    }

    #[test]
    fn a_folder_without_programs_says_what_was_expected() {
        let error = look("none", &[("README", b"x")]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("has none of the programs"), "{error}");
        assert!(error.hint().unwrap().contains("`kube-apiserver`"));
        let error = Components::look("/nonexistent".into()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`/nonexistent`"), "{error}");
    }

    #[test]
    fn half_of_a_group_is_named() {
        let error = look("half", &[("crio", b"\x7fELF...")]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("has `crio` and no `pinns`"), "{error}");
        let programs: [(&str, &[u8]); 3] = [
            ("devworkspace-controller", b"\x7fELF"),
            ("webhook-server", b"\x7fELF"),
            ("project-clone", b"\x7fELF"),
        ];
        let error = look("manifests", &programs).unwrap_err();
        assert!(error.to_string().contains("no `openshift.combined.yaml`"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_a_program_is_named() {
        let error = look("text", &[("kubelet", b"#!/bin/sh\n")]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("kubelet` is not a program"), "{error}");
        let error = look("zst", &[("kubelet.zst", b"\x7fELF...")]).unwrap_err();
        assert!(error.to_string().contains("`zstd` has compressed"), "{error}");
        assert!(look("short", &[("kubelet", b"")]).is_err());
    }
}
