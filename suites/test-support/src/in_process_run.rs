//! A run of a test's own cases, on the engine that runs the real ones.

use std::{path::Path, time::Duration};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use harness::{
    cluster::{Cluster, ConnectOptions},
    engine,
    engine::{Case, RunConfig, plan::Plan},
    facts,
    report::directory::ReportDir,
    sandbox::{File, SandboxConfig},
    verdict::{
        Outcome,
        event::{CaseFinished, Event, EventKind},
    },
};

/// A run that was not made yet.
#[must_use]
pub struct InProcessRun {
    name: &'static str,
    cases: Vec<Case>,
    files: Vec<File>,
    deadline: Duration,
    jobs: usize,
    signals: BoxStream<'static, u8>,
}

impl InProcessRun {
    /// A run of these cases, with the files of every run.
    pub fn of(name: &'static str, cases: Vec<Case>) -> Self {
        let deadline = Duration::from_secs(120);
        let signals = stream::pending().boxed();
        Self { name, cases, files: suites::fixtures::files(), deadline, jobs: 4, signals }
    }

    /// How long it may take.
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How many cases run at once.
    pub fn jobs(self, jobs: usize) -> Self {
        Self { jobs, ..self }
    }

    /// More files for its pods.
    pub fn with_files(mut self, files: impl IntoIterator<Item = File>) -> Self {
        self.files.extend(files);
        self
    }

    /// What asks it to end.
    pub fn hearing(self, signals: impl Stream<Item = u8> + Send + 'static) -> Self {
        Self { signals: signals.boxed(), ..self }
    }

    /// Makes the run, and returns its outcome and its events.
    pub async fn make(
        self,
        kubeconfig: &Path,
        report: &mut ReportDir,
        mut observe: impl FnMut(&Event),
    ) -> (Outcome, Vec<Event>) {
        let options =
            ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), ..ConnectOptions::default() };
        let cluster = Cluster::connect(&options).await.expect("the kubeconfig is good");
        let facts = facts::gather(&cluster).await.expect("the cluster answers");
        let plan = Plan::new(self.cases, &facts, false).of_profile(self.name, true);
        let config = RunConfig::new(Some("localhost/workspace:1".to_owned()), self.files);
        let config = RunConfig {
            jobs: self.jobs,
            diagnostics: report.diagnostics(),
            sandbox: SandboxConfig {
                run: format!("{}{}", self.name, std::process::id()),
                run_timeout: self.deadline,
                ledger: report.ledger(),
                ..config.sandbox
            },
            ..config
        };
        let mut events = Vec::new();
        let keep = |event: &Event| {
            report.append(event);
            observe(event);
            events.push(event.clone());
        };
        let outcome = engine::run(&cluster, facts, plan, config, self.signals, keep).await;
        (outcome, events)
    }
}

/// What a case came to.
#[track_caller]
pub fn finished<'a>(events: &'a [Event], id: &str) -> &'a CaseFinished {
    let finished = events.iter().find_map(|event| match &*event.event {
        EventKind::CaseFinished(finished) if finished.id == id => Some(finished),
        _ => None,
    });
    finished.unwrap_or_else(|| panic!("{id} has no verdict"))
}
