//! A run of a test's own cases, on the engine that runs the real ones.

use std::{path::Path, time::Duration};

use futures::{Stream, StreamExt, stream, stream::BoxStream};
use harness::{
    case::Case,
    cluster::{Cluster, ConnectOptions},
    engine::{self, Keep, RunOptions},
    event::{CaseFinished, Event, EventKind},
    facts,
    outcome::Outcome,
    plan::Plan,
    report_dir::ReportDir,
    sandbox::{File, SandboxOptions, Timeouts},
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
        Self { name, cases, files: fixtures::files(), deadline, jobs: 4, signals }
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
        let options = ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), context: None };
        let cluster = Cluster::connect(&options).await.expect("the kubeconfig is good");
        let facts = facts::gather(&cluster).await.expect("the cluster answers");
        let plan = Plan::new(self.cases, &facts, false);
        let options = RunOptions {
            profile: self.name.to_owned(),
            is_part: true,
            jobs: self.jobs,
            deadline: self.deadline,
            diagnostics: report.diagnostics(),
            keep: Keep::Never,
            sandbox: SandboxOptions {
                run: format!("{}{}", self.name, std::process::id()),
                image: "localhost/workspace:1".to_owned(),
                device_route: facts.device_route.value().cloned().flatten(),
                files: self.files,
                scc: None,
                operator: None,
                run_timeout: self.deadline,
                ledger: report.ledger(),
                timeouts: Timeouts::default(),
            },
        };
        let mut events = Vec::new();
        let keep = |event: &Event| {
            report.append(event);
            observe(event);
            events.push(event.clone());
        };
        let outcome = engine::run(&cluster, facts, plan, options, self.signals, keep).await;
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
