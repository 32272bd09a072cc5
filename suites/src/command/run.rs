//! `nestcheck run`: the cases against a cluster.

use std::{
    cell::RefCell,
    io::{self, IsTerminal, Write},
    pin::pin,
    time::Duration,
};

use futures::{Stream, StreamExt};
use harness::{
    Result,
    cluster::{Cluster, ConnectOptions},
    engine::{
        Case, Profile, RunConfig,
        plan::{Filters, Selection},
    },
    report::{Dialect, Style, Terminal, directory::ReportDir},
    sandbox::{SandboxConfig, Timeouts},
    verdict::{Outcome, event::Event},
};
use jiff::Timestamp;
use tokio::time::{Instant, interval_at};

use super::{
    arguments::{RunArguments, RunSettings, SelectionArguments},
    color,
    delivery::{OpenArchive, ReportArchive, report_end_of_pod},
    last_report::{LastReport, LastReportArguments},
    outputs::{OpenOutputs, OutputArguments, Written},
    print_error,
    rerun::Rerun,
};
use crate::{
    cases,
    session::{SccSource, Session},
    signals::{questions, signals},
};

/// How often a run without a terminal tells how far it is.
const HEARTBEAT: Duration = Duration::from_secs(30);

pub(super) async fn execute(arguments: RunArguments) -> Result<u8> {
    let report = arguments.report_dir.clone();
    let ended = run(arguments).await;
    report_end_of_pod(&ended, &report);
    ended
}

async fn run(arguments: RunArguments) -> Result<u8> {
    // What can be wrong without a cluster is found before one is asked.
    let (cases, selection) = select(&arguments)?;
    let expectations = arguments.expectations.read(&crate::cases())?;
    let scc = arguments.scc.map(SccSource::read).transpose()?;
    let (placement, pull_secret) = arguments.placement.read()?;
    let (mut signals, questions) = (signals()?, questions()?);
    let options: ConnectOptions = arguments.cluster.into();
    // A plugin of the kubeconfig may take its time.
    let cluster = tokio::select! {
        cluster = Cluster::connect(&options) => cluster?,
        Some(signal) = signals.next() => return Ok(Outcome::Interrupted { signal }.exit_code()),
    };
    // The other reports may go into the directory.
    let mut directory = ReportDir::create(&arguments.report_dir)?;
    let (archive, outputs) = (arguments.report_archive.as_ref(), &arguments.outputs);
    let delivery = match Delivery::open(archive, &arguments.last_report, outputs) {
        Ok(delivery) => delivery,
        Err(error) => {
            directory.discard();
            return Err(error);
        }
    };
    let mut config = config(arguments.settings, &directory);
    (config.pull_secret, config.sandbox.placement) = (pull_secret, placement);
    config.expectations = expectations;
    // Until the run begins nothing is written to the cluster, so it can end at any time.
    let prepared = tokio::select! {
        session = Session::prepare(cluster, &cases, selection, config, scc) => session,
        Some(signal) = signals.next() => {
            delivery.discard(directory);
            return Ok(Outcome::Interrupted { signal }.exit_code());
        }
    };
    let session = match prepared {
        Ok(session) => session,
        Err(error) => {
            delivery.discard(directory);
            return Err(error);
        }
    };
    // It holds all that a run holds.
    let outcome = Box::pin(run_and_report(session, &mut directory, signals, questions)).await;
    Ok(delivery.deliver(directory, outcome).exit_code())
}

/// Runs the cases, and writes what happens to the log and to standard error.
async fn run_and_report(
    session: Session,
    directory: &mut ReportDir,
    signals: impl Stream<Item = u8> + Unpin,
    questions: impl Stream<Item = u8> + Unpin,
) -> Outcome {
    let style = Style { color: color(), progress: io::stderr().is_terminal() };
    let terminal = RefCell::new(Terminal::new(io::stderr(), style));
    let observe = |event: &Event| {
        directory.append(event);
        terminal.borrow_mut().event(event);
    };
    let outcome = report_progress(session.run(signals, observe), &terminal, questions).await;
    terminal.borrow_mut().finish();
    outcome
}

/// Awaits a run. Meanwhile tells how far it is: regularly where no terminal shows it, and whenever it
/// is asked.
async fn report_progress<T>(
    run: impl Future<Output = T>,
    terminal: &RefCell<Terminal<io::Stderr>>,
    mut questions: impl Stream<Item = u8> + Unpin,
) -> T {
    let mut run = pin!(run);
    let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        tokio::select! {
            ended = &mut run => return ended,
            Some(_) = questions.next() => terminal.borrow_mut().list_running(Timestamp::now()),
            _ = beats.tick() => terminal.borrow_mut().heartbeat(Timestamp::now()),
        }
    }
}

/// The cases to choose from, and which of them are asked for.
fn select(arguments: &RunArguments) -> Result<(Vec<Case>, Selection)> {
    let cases = cases();
    let SelectionArguments { profile, shard, filters } = &arguments.selection;
    let filters = Filters::parse(filters, &cases)?;
    let profile = if arguments.as_configured { Some(Profile::AsConfigured) } else { *profile };
    let rerun = arguments.rerun.as_ref().map(|path| Rerun::read(path, &arguments.report_dir));
    let Some(rerun) = rerun.transpose()? else {
        return Ok((cases, Selection { profile, filters, shard: *shard }));
    };
    let selection = Selection { profile: profile.or(rerun.profile), filters, shard: *shard };
    Ok((rerun.pick(cases, &selection)?, selection))
}

/// The configuration of a run with these settings.
fn config(settings: RunSettings, directory: &ReportDir) -> RunConfig {
    let config = RunConfig::new(settings.image, crate::fixtures::files());
    RunConfig {
        jobs: usize::from(settings.jobs),
        keep: settings.keep.into(),
        tries_blocked: settings.no_preflight,
        devices: settings.devices,
        node_access: settings.node_access,
        diagnostics: directory.diagnostics(),
        sandbox: SandboxConfig {
            entry_point: settings.entrypoint,
            run_timeout: settings.timeout,
            ledger: directory.ledger(),
            timeouts: Timeouts {
                pod: settings.pod_timeout,
                teardown: settings.teardown_timeout,
                disruption: settings.disruption_timeout,
            },
            ..config.sandbox
        },
        ..config
    }
}

/// Where the reports of a run go.
pub(super) struct Delivery {
    archive: Option<OpenArchive>,
    last: Option<LastReport>,
    outputs: OpenOutputs,
    /// The dialect of `junit.xml` in the report directory.
    dialect: Dialect,
}

impl Delivery {
    /// Into the report directory alone.
    pub(super) fn to_directory() -> Self {
        let outputs = OpenOutputs::default();
        Self { archive: None, last: None, outputs, dialect: Dialect::Jenkins }
    }

    /// Makes sure that the reports can be written.
    fn open(
        archive: Option<&ReportArchive>,
        last: &LastReportArguments,
        outputs: &OutputArguments,
    ) -> Result<Self> {
        Ok(Self {
            archive: archive.map(ReportArchive::open).transpose()?,
            last: last.open()?,
            outputs: outputs.open(archive)?,
            dialect: outputs.dialect(),
        })
    }

    /// Leaves nothing: nothing ran. The files may be in the directory.
    fn discard(self, directory: ReportDir) {
        drop(self);
        directory.discard();
    }

    /// Writes what is made of the log, and returns what the run came to. A run whose report is not
    /// whole is an error, unless it came to something worse.
    pub(super) fn deliver(self, directory: ReportDir, outcome: Outcome) -> Outcome {
        let report = directory.path().to_owned();
        let path = report.display().to_string();
        let warning =
            if directory.is_open_to_others() { open_to_others(&path) } else { String::new() };
        if let Err(error) = directory.finish(self.dialect) {
            print_error(&error);
            return worse(outcome);
        }
        let _ = io::stderr().write_all(format!("report in `{path}`\n{warning}").as_bytes());
        let archived = self.archive.map_or(Ok(()), |archive| archive.write(&report));
        let replaced = self.last.map_or(Ok(()), |last| last.replace(&report));
        let Written { warnings, errors } = self.outputs.write(&report);
        let _ = io::stderr().write_all(warnings.concat().as_bytes());
        let mut end = outcome;
        for error in archived.err().into_iter().chain(replaced.err()).chain(errors) {
            print_error(&error);
            end = worse(outcome);
        }
        end
    }
}

/// What the owner of a directory should know that was there before.
fn open_to_others(path: &str) -> String {
    format!(
        "warning: others can look into report directory `{path}`, though not into its files\n\
         hint: `chmod 700 {path}`, or give a directory with `--report-dir DIR` that is not there yet\n"
    )
}

/// What a run came to whose report is not whole: an error, unless it came to something worse.
fn worse(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Interrupted { .. } | Outcome::Leaked => outcome,
        _ => Outcome::Error,
    }
}
