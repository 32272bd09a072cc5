//! The program under test.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::Result;

/// How long a report or a list may take: they need no cluster.
const REPORT: Duration = Duration::from_secs(60);

/// How long a sweep may take: longer than the 120 s that nestcheck gives a namespace to end.
const SWEEP: Duration = Duration::from_secs(180);

/// nestcheck, and the kubeconfig that leads to the API server itself.
#[derive(Clone, Debug)]
pub(crate) struct Nestcheck {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

/// The result of a program.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// None for a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[derive(Deserialize)]
struct Listed {
    suite: String,
}

impl Nestcheck {
    /// A command that ends when this process does, even if that is killed: the kernel ends it
    /// (prctl(2), `PR_SET_PDEATHSIG`), which only a program between can ask for.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        command.stdin(Stdio::null()).kill_on_drop(true);
        // A CI system does not want the reports of thousands of runs.
        command.env_remove("GITHUB_STEP_SUMMARY").env_remove("ARTIFACT_DIR");
        command
    }

    /// Begins a run. What it says goes to `stderr.log` in the folder, its report to `report`.
    pub(crate) fn start(
        &self,
        kubeconfig: &Path,
        folder: &Path,
        selection: &[String],
    ) -> Result<Child> {
        let log = File::create(folder.join("stderr.log"))?;
        let mut command = self.command();
        command.arg("run").arg("--kubeconfig").arg(kubeconfig);
        command.arg("--report-dir").arg(folder.join("report")).args(selection);
        Ok(command.current_dir(folder).stdout(Stdio::null()).stderr(log).spawn()?)
    }

    /// Makes the `JUnit` report of a folder.
    pub(crate) async fn report(&self, folder: &Path) -> Result<Output> {
        let mut command = self.command();
        command.arg("report").arg(folder).args(["--format", "junit", "--exit-zero"]);
        finish(command, REPORT).await
    }

    /// Begins a sweep of a run, asking whom the kubeconfig names. What it says goes to `sweep.log`.
    pub(crate) fn start_sweep(&self, kubeconfig: &Path, folder: &Path, run: &str) -> Result<Child> {
        let log = File::create(folder.join("sweep.log"))?;
        let mut command = self.command();
        command.args(["sweep", "--run", run, "--kubeconfig"]).arg(kubeconfig);
        Ok(command.stdout(Stdio::null()).stderr(log).spawn()?)
    }

    /// Ends everything of a run, asking the API server itself.
    pub(crate) async fn sweep(&self, run: &str) -> Result<Output> {
        let mut command = self.command();
        command.args(["sweep", "--run", run, "--kubeconfig"]).arg(&self.kubeconfig);
        finish(command, SWEEP).await
    }

    /// The suites of a selection.
    pub(crate) async fn suites(&self, selection: &[String]) -> Result<Vec<String>> {
        let mut command = self.command();
        command.args(["list", "-o", "json"]).args(selection);
        let output = finish(command, REPORT).await?;
        if output.code != Some(0) {
            return Err(format!("`nestcheck list` failed: {}", output.stderr.trim()).into());
        }
        let listed: Vec<Listed> = serde_json::from_str(&output.stdout)?;
        let mut suites: Vec<_> = listed.into_iter().map(|case| case.suite).collect();
        suites.sort();
        suites.dedup();
        Ok(suites)
    }
}

async fn finish(mut command: Command, timeout: Duration) -> Result<Output> {
    let output = tokio::time::timeout(timeout, command.output()).await;
    let output =
        output.map_err(|_| format!("`{command:?}` took over {} s", timeout.as_secs()))??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}
