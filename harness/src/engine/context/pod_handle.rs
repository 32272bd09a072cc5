//! A pod in the hands of a case.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    observer::{CommandObserver, CommandsOfCase},
    recorder::Recorder,
};
use crate::{
    diagnosis::Absence,
    engine::{deadline::Pause, millis},
    verdict::{
        Attribution, CaseResult, Failure, Hint,
        event::{CommandFinished, EventKind},
    },
    workload::{self, Command, Output, PROBE, Workload, health::Health},
};

/// A pod in the hands of a case.
#[derive(Clone)]
pub struct PodHandle {
    pub(super) workload: Arc<Workload>,
    pub(super) recorder: Recorder,
    pub(super) pauses: UnboundedSender<Pause>,
    pub(super) commands: CommandsOfCase,
    pub(super) health: Health,
    pub(super) absence: Option<Absence>,
}

impl PodHandle {
    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.workload.name()
    }

    /// The pod as the server stores it.
    #[must_use]
    pub fn object(&self) -> &Pod {
        &self.workload.pod
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.workload.node()
    }

    /// What the probe found in its first container when it became ready.
    #[must_use]
    pub fn facts(&self) -> &probe::Facts {
        &self.workload.facts
    }

    /// What the pod lacks of the devices that it asked for.
    #[must_use]
    pub fn absence(&self) -> Option<&Absence> {
        self.absence.as_ref()
    }

    /// The cause of a failure, where the image lacks the program of this name and all that do the same.
    #[must_use]
    pub fn lacks(&self, program: &str) -> Option<Hint> {
        workload::programs::lacking(program, self.facts()).map(Hint::from)
    }

    /// Blocks the case where the pod lacks devices that it asked for.
    ///
    /// # Errors
    ///
    /// The devices that are absent, with the cause and its cure.
    pub fn has_devices(&self) -> CaseResult {
        match self.absence() {
            Some(Absence { reason, diagnosis }) => {
                Err(Failure::blocked_by(reason, Attribution::from(*diagnosis)))
            }
            None => Ok(()),
        }
    }

    /// Runs a command in the pod and records it.
    ///
    /// # Errors
    ///
    /// A stream that broke, or a command that does not end in time. An exit code is no error:
    /// see [`Output::exits`].
    pub async fn run(&self, command: &Command) -> Result<Output, Failure> {
        let observer = CommandObserver {
            workload: &self.workload,
            recorder: &self.recorder,
            pauses: &self.pauses,
            commands: &self.commands,
            health: &self.health,
        };
        let output = self.workload.run(command, &observer).await?;
        self.recorder.emit(EventKind::CommandFinished(CommandFinished {
            id: self.recorder.id().to_owned(),
            pod: self.name(),
            command: command.arguments().to_vec(),
            exit_code: output.exit_code,
            duration_ms: millis(output.duration),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }));
        Ok(output)
    }

    /// Runs a command that must succeed and returns what it printed, without white space at the
    /// end.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], or another exit code than 0.
    pub async fn output(&self, command: &Command) -> Result<String, Failure> {
        Ok(self.run(command).await?.exits(0)?.text())
    }

    /// Does a preparation of the pod once, however many cases ask for it; the others wait. Its
    /// commands are recorded with the case that came first.
    ///
    /// # Errors
    ///
    /// The preparation's failure; the next case that asks tries again.
    pub async fn once<Fut>(
        &self,
        name: &'static str,
        prepare: impl FnOnce() -> Fut + Send,
    ) -> Result<String, Failure>
    where
        Fut: Future<Output = Result<String, Failure>> + Send,
    {
        self.workload.preparation(name).get_or_try_init(prepare).await.cloned()
    }

    /// Runs the probe in the pod and reads what it says.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], an exit code other than 0, or an answer that is not the probe's.
    pub async fn probe<T: serde::de::DeserializeOwned>(
        &self,
        arguments: &[&str],
    ) -> Result<T, Failure> {
        let command = Command::new([PROBE].iter().chain(arguments).copied());
        parse_probe(&self.run(&command).await?.exits(0)?)
    }
}

/// Reads what the probe printed.
///
/// # Errors
///
/// Text that is not the probe's.
pub fn parse_probe<T: serde::de::DeserializeOwned>(output: &Output) -> Result<T, Failure> {
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::harness(format!("failed to understand `{}`: {error}", output.command))
    })
}
