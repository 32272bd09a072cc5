//! The machine that nestcheck itself runs on, in place of a pod: a workspace's own container, or that
//! of a CI job. Commands are child processes.
//!
//! An ordinary user cannot write `/nestcheck`, and their own images and containers must survive. So
//! the files of pods are in a private directory, podman has a store of its own, and paths of pods in
//! arguments are replaced by those of this machine.

mod leftovers;
mod paths;
mod process;
mod storage;

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use tempfile::TempDir;

use self::{paths::Replacement, process::Ended, storage::Storage};
use super::{
    Backend, Command, FILES_DIRECTORY, Output, PROBE, Workload,
    exec::{self, NoObserver},
    truth::{self, PodCheck},
};
use crate::{
    Error, Result,
    sandbox::{File, Timeouts, pod_template::PodTemplate},
    verdict::{Failure, event::TruthCheck},
};

/// The variable that every process of a run has in its environment: so the run finds those that have
/// outlived their command.
const MARK: &str = "NESTCHECK_INSIDE";

/// The longest path of a directory for temporary files that is used. The paths of sockets, which are
/// made below it, have 108 bytes (unix(7)).
const LONGEST_TEMPORARY: usize = 24;

/// How long each step of the clean-up may take.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(60);

/// The machine that nestcheck itself runs on.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
    run: String,
    replacements: Vec<Replacement>,
    /// What differs from the environment of nestcheck itself.
    environment: Vec<(String, PathBuf)>,
    storage: Option<Storage>,
    /// Whether podman says that it uses the store of the run.
    has_own_store: bool,
    /// How `podman info` failed: then nothing proves which store podman would use.
    failed_info: Option<Output>,
}

impl Drop for Machine {
    /// Ends processes that nothing has ended: a signal came before the cases.
    fn drop(&mut self) {
        leftovers::end_processes(MARK, &self.run);
    }
}

impl Machine {
    /// Writes the files of pods into a private directory, and gives podman a store of its own beside
    /// the user's. `storage` is where pods keep podman's store.
    ///
    /// # Errors
    ///
    /// A directory that cannot be made, or that permits no programs.
    pub async fn prepare(run: &str, files: &[File], storage: &str) -> Result<Self> {
        let base = Some(env::temp_dir()).filter(|it| it.as_os_str().len() <= LONGEST_TEMPORARY);
        let base = base.unwrap_or_else(|| PathBuf::from("/tmp"));
        let directory = private_directory(&base).map_err(|error| unusable(&base, &error))?;
        let path = directory.path().to_owned();
        lay_out(&path, files).map_err(|error| unusable(&path, &error))?;
        let replacement =
            Replacement { of_pods: FILES_DIRECTORY.to_owned(), here: path.join("files") };
        let environment = vec![
            (MARK.to_owned(), PathBuf::from(run)),
            ("TMPDIR".to_owned(), path.join("tmp")),
            ("XDG_RUNTIME_DIR".to_owned(), storage::runtime_directory(&path)),
            // As the pods of runs have it.
            ("PODMAN_IGNORE_CGROUPSV1_WARNING".to_owned(), PathBuf::from("1")),
        ];
        let mut machine = Self {
            directory,
            run: run.to_owned(),
            replacements: vec![replacement],
            environment,
            storage: None,
            has_own_store: false,
            failed_info: None,
        };
        machine.add_storage(storage).await?;
        Ok(machine)
    }

    /// Gives podman a store of its own. Where podman says nothing, it does not work for this user, and
    /// the cases report why.
    async fn add_storage(&mut self, of_pods: &str) -> Result<()> {
        let info = Command::new(["podman", "info", "--format=json"]).within(CLEAN_UP_DEADLINE);
        let info = match self.run_as_user(&info).await {
            // There is no podman, so there is nothing to give a store to.
            Ok(output) if output.exit_code == 127 => return Ok(()),
            Ok(output) => output,
            Err(failure) => return Err(silent(&failure)),
        };
        let said = if info.exit_code == 0 { info.stdout.as_slice() } else { &[] };
        let storage = match Storage::make(said, &self.run, self.directory.path()) {
            Ok(storage) => storage,
            Err(_) if info.exit_code != 0 => {
                self.failed_info = Some(info);
                return Ok(());
            }
            Err(error) => {
                let message = format!("podman gets no store of its own: {error}");
                let hint = "let the user write where podman keeps its images, see `podman info`";
                return Err(Error::usage(message).with_hint(hint));
            }
        };
        let here = storage.directory().to_owned();
        self.replacements.push(Replacement { of_pods: of_pods.to_owned(), here });
        let name = "CONTAINERS_STORAGE_CONF".to_owned();
        self.environment.push((name, storage.configuration().to_owned()));
        let root = storage.root();
        self.storage = Some(storage);
        self.verify_store(&root).await
    }

    /// Verifies that podman uses the store of the run and not the user's: versions of podman differ in
    /// what they read of the configuration. Without that proof no case may call podman.
    async fn verify_store(&mut self, root: &Path) -> Result<()> {
        let ask = ["podman", "info", "--format={{.Store.GraphRoot}} {{.Store.VolumePath}}"];
        let answer = self.run(&Command::new(ask), &Pod::default()).await;
        let answer = answer.map_err(|failure| silent(&failure))?;
        if answer.exit_code != 0 {
            self.failed_info = Some(answer);
            return Ok(());
        }
        let used = answer.text();
        let is_own = |path: &str| Path::new(path).starts_with(root);
        self.has_own_store = used.split(' ').all(is_own) && !used.is_empty();
        if self.has_own_store {
            return Ok(());
        }
        let message =
            format!("podman insists on its own places, where your images and volumes are: {used}");
        let hint = "unset the variables and options that name them, see `podman info`";
        Err(Error::usage(message).with_hint(hint))
    }

    /// What the probe finds here.
    ///
    /// # Errors
    ///
    /// A probe that does not start, or says nothing that can be understood.
    pub async fn facts(&self) -> Result<probe::Facts> {
        let output = self.run(&Command::new([PROBE, "facts"]), &Pod::default()).await;
        let output = output.and_then(|output| output.exits(0));
        let output = output.map_err(|failure| {
            let path = self.directory.path().display();
            Error::infrastructure(format!("the probe does not run: {}", failure.message()))
                .with_hint(format!(
                    "set `TMPDIR` to a directory whose file system permits programs, unlike `{path}`"
                ))
        })?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            Error::infrastructure(format!("failed to understand the probe: {error}"))
        })
    }

    /// The first line that a program prints; none where it does not end well.
    pub async fn first_line(&self, program: &[&str]) -> Option<String> {
        let output =
            self.run(&Command::new(program.iter().copied()), &Pod::default()).await.ok()?;
        let text = output.exits(0).ok()?.text();
        text.lines().next().map(str::to_owned)
    }

    /// Runs a command, whose name for its machine is that of this pod.
    ///
    /// # Errors
    ///
    /// As [`Workload::run`].
    pub(super) async fn run(&self, command: &Command, pod: &Pod) -> Result<Output, Failure> {
        if let Some(name) = command.container_in(pod) {
            let message = format!("there is no container `{name}` where nestcheck itself runs");
            return Err(Failure::harness(message));
        }
        if let Some(info) = &self.failed_info
            && calls_podman(command)
        {
            return info.clone().exits(0);
        }
        let replace = |argument: &String| paths::replace(argument, &self.replacements);
        let arguments: Vec<String> = command.arguments().iter().map(replace).collect();
        let ended = process::run(command, &arguments, &self.environment).await;
        match ended.map_err(|error| cannot_start(command, &error))? {
            Ended::Done(output) => Ok(output),
            Ended::Late(written) => Err(exec::late(command, pod, &written)),
        }
    }

    /// Runs a command of the harness's own in the environment that the user gave it, with podman's
    /// usual store.
    async fn run_as_user(&self, command: &Command) -> Result<Output, Failure> {
        let ended = process::run(command, command.arguments(), &[]).await;
        match ended.map_err(|error| cannot_start(command, &error))? {
            Ended::Done(output) => Ok(output),
            Ended::Late(_) => Err(Failure::timeout(command.display(), command.deadline())),
        }
    }

    /// Removes what the cases have left: containers, processes and files.
    ///
    /// # Errors
    ///
    /// What is still there.
    pub async fn clean_up(&self) -> Result<()> {
        let mut left = None;
        if let Some(storage) = self.storage.as_ref().filter(|_| self.has_own_store) {
            let options = storage.options(self.directory.path());
            let options = options.iter().map(String::as_str);
            let remove = ["podman"].into_iter().chain(options);
            let remove = Command::new(remove.chain(["rm", "--all", "--force", "--time=0"]));
            let removed = self.run(&remove.within(CLEAN_UP_DEADLINE), &Pod::default()).await;
            if let Err(failure) = removed.and_then(|output| output.exits(0)) {
                left = Some(format!("containers were not removed: {}", failure.message()));
            }
        }
        let processes = leftovers::end_processes(MARK, &self.run);
        if processes > 0 {
            left = Some(format!("{processes} processes of the run do not end"));
        }
        let private = self.directory.path();
        let own = [private.join("tmp"), storage::runtime_directory(private)];
        let store = self.storage.as_ref().map(|storage| storage.directory().to_owned());
        self.remove(&own.into_iter().chain(store).collect::<Vec<_>>()).await?;
        left.map_or(Ok(()), |left| {
            let hint =
                format!("look for processes with `{MARK}={}` in their environment", self.run);
            Err(Error::infrastructure(left).with_hint(hint))
        })
    }

    /// Removes directories, whoever owns the files in them.
    async fn remove(&self, paths: &[PathBuf]) -> Result<()> {
        // Files of a container's users belong to subordinate ids: only in podman's user namespace
        // may the user remove them. It is the usual store's, for that of the run is being removed.
        let is_left = |path: &&PathBuf| fs::remove_dir_all(path).is_err() && path.exists();
        let left: Vec<_> = paths.iter().filter(is_left).collect();
        if !left.is_empty() {
            let shown: Vec<_> = left.iter().map(|path| path.display().to_string()).collect();
            let remove = ["podman", "unshare", "rm", "-rf", "--"];
            let remove: Vec<&str> =
                remove.into_iter().chain(shown.iter().map(String::as_str)).collect();
            let remove = Command::new(remove).within(CLEAN_UP_DEADLINE);
            if let Err(failure) = self.run_as_user(&remove).await {
                tracing::debug!("files were not removed: {}", failure.message());
            }
        }
        let left = left.iter().filter(|path| path.exists());
        let left: Vec<_> = left.map(|path| path.display().to_string()).collect();
        if !left.is_empty() {
            let left = left.join(" ");
            return Err(Error::infrastructure(format!("left behind: {left}"))
                .with_hint(format!("remove them with `podman unshare rm -rf {left}`")));
        }
        // The private directory itself goes with its last user.
        Ok(())
    }
}

impl Workload {
    /// This machine in place of the pod of a template, with what the probe found here.
    ///
    /// The proofs are those of the template's that hold. Nobody asked for this pod, so that one which
    /// does not hold decides before: which cases can run here at all.
    #[must_use]
    pub fn of_machine(machine: Machine, facts: probe::Facts, template: &PodTemplate) -> Self {
        let metadata = ObjectMeta { name: Some(facts.hostname.clone()), ..ObjectMeta::default() };
        let proofs = truth::of_inside(template, &facts).into_iter();
        let proofs = proofs.filter(|check: &PodCheck| check.holds).map(TruthCheck::from);
        Self {
            pod: Pod { metadata, ..Pod::default() },
            truth: proofs.collect(),
            facts: Arc::new(facts),
            backend: Backend::Machine(machine),
            container: None,
            timeouts: Timeouts::default(),
            preparations: std::sync::Mutex::default(),
        }
    }

    /// Whether it is the machine of nestcheck itself.
    #[must_use]
    pub(crate) fn is_machine(&self) -> bool {
        matches!(self.backend, Backend::Machine(_))
    }

    /// Runs a command of no case.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub(crate) async fn look(&self, command: &Command) -> Result<Output, Failure> {
        self.run(command, &NoObserver).await
    }

    /// Removes what cases have left on this machine. A pod of the cluster goes with its namespace.
    ///
    /// # Errors
    ///
    /// What is still there.
    pub async fn clean_up(&self) -> Result<()> {
        match &self.backend {
            Backend::Machine(machine) => machine.clean_up().await,
            Backend::Pod(_) => Ok(()),
        }
    }
}

/// podman that says nothing in time.
fn silent(failure: &Failure) -> Error {
    Error::infrastructure(format!("podman does not answer: {}", failure.message()))
        .with_hint("try `podman info`")
}

/// Whether a command can change a store: its words name podman or another program of its kind. The
/// version alone changes nothing.
fn calls_podman(command: &Command) -> bool {
    let programs = ["podman", "buildah", "skopeo"];
    let has_program = |word: &String| programs.iter().any(|program| word.contains(program));
    command.arguments().iter().any(has_program) && command.arguments() != ["podman", "--version"]
}

/// Makes a directory that only its owner may open.
fn private_directory(base: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("nestcheck-").permissions(Permissions::from_mode(0o700)).tempdir_in(base)
}

/// Makes the directories below a private one, and writes the files of pods with the mode that they
/// have there: images are built from them, whose users must be able to read them.
fn lay_out(path: &Path, files: &[File]) -> io::Result<()> {
    let make = |path: &Path| DirBuilder::new().mode(0o700).recursive(true).create(path);
    make(&path.join("tmp"))?;
    make(&storage::runtime_directory(path))?;
    for file in files {
        let target = path.join("files").join(&file.path);
        make(target.parent().unwrap_or(path))?;
        fs::write(&target, &file.content)?;
        fs::set_permissions(&target, Permissions::from_mode(0o555))?;
    }
    Ok(())
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!("failed to write the files of the cases to `{}`: {error}", path.display()))
        .with_hint("make room, or set `TMPDIR` to a directory that you may write")
}

fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    Failure::harness(format!("failed to run `{}`: {error}", command.display()))
}

#[cfg(test)]
mod tests;
