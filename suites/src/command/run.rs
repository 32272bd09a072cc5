//! `nestcheck run`: the cases against a cluster.

use std::{
    cell::RefCell,
    io::{self, IsTerminal, Write},
    path::Path,
    pin::pin,
    time::Duration,
};

use futures::{Stream, StreamExt};
use harness::{
    Error, Result,
    cluster::{Cluster, ConnectOptions},
    engine::{
        Case, Profile, RunConfig,
        plan::{EveryNode, NodeScope, Selection},
    },
    report::{
        Dialect, Style, Terminal,
        directory::{PreparedDir, ReportDir},
    },
    sandbox::{Home, SandboxConfig, Timeouts},
    verdict::{Outcome, event::Event},
};
use jiff::Timestamp;
use tokio::time::{Instant, interval_at};

use super::{
    arguments::{OutputFormat, RunArguments, RunSettings},
    color,
    delivery::{OpenArchive, ReportArchive, report_end_of_pod},
    dry_run::print_preview,
    execution::ExecutionArguments,
    last_report::{LastReport, LastReportArguments},
    outputs::{OpenOutputs, OutputArguments, Written, refuse_own},
    print_error, report_configmap,
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
    let report = (!arguments.execution.dry_run).then(|| arguments.report_dir.clone());
    // It holds all that a run holds.
    let ended = Box::pin(run(arguments)).await;
    if let Some(report) = report {
        report_end_of_pod(&ended, &report);
    }
    ended
}

async fn run(arguments: RunArguments) -> Result<u8> {
    // What can be wrong without a cluster is found before one is asked.
    let (cases, selection, every_node) = select(&arguments)?;
    let expectations = arguments.expectations.read(&crate::cases())?;
    let scc = arguments.scc.map(SccSource::read).transpose()?;
    let namespace = arguments.placement.namespace.clone();
    if let (Some(namespace), Some(_)) = (&namespace, &every_node) {
        return Err(no_nodes(namespace));
    }
    let (placement, pull_secret) = arguments.placement.read()?;
    let configmap = arguments.report_configmap.map(|it| it.locate(namespace.as_deref()));
    let configmap = configmap.transpose()?;
    let (mut signals, questions) = (signals()?, questions()?);
    let options: ConnectOptions = arguments.cluster.into();
    // A plugin of the kubeconfig may take its time.
    let cluster = tokio::select! {
        cluster = Cluster::connect(&options) => cluster?,
        Some(signal) = signals.next() => return Ok(Outcome::Interrupted { signal }.exit_code()),
    };
    let mut config = config(arguments.settings, &arguments.execution);
    (config.pull_secret, config.sandbox.placement) = (pull_secret, placement);
    (config.expectations, config.every_node) = (expectations, every_node);
    if let Some(namespace) = namespace {
        config.sandbox.home = Home::Given { namespace, scc: None };
    }
    if arguments.execution.dry_run {
        let session = Session::plan(cluster, &cases, selection, config, scc);
        return dry_run(session, &arguments.execution, signals).await;
    }
    if let Some(configmap) = &configmap {
        Box::pin(configmap.begin(&cluster)).await?;
    }
    // The other reports may go into the directory; where they can't, that of an earlier run stays.
    let prepared = ReportDir::prepare(&arguments.report_dir)?;
    let (archive, outputs) = (arguments.report_archive.as_ref(), &arguments.outputs);
    let delivery = match Delivery::open(archive, &arguments.last_report, outputs, &prepared) {
        Ok(delivery) => delivery,
        Err(error) => {
            prepared.discard();
            return Err(error);
        }
    };
    let mut directory = prepared.begin()?;
    config.diagnostics = directory.diagnostics();
    config.sandbox.ledger = directory.ledger();
    // Until the run begins nothing but that is written to the cluster, so it can end at any time.
    let prepared = tokio::select! {
        session = Session::prepare(cluster.clone(), &cases, selection, config, scc) => session,
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
    let outcome = Box::pin(run_and_report(session, &mut directory, signals, questions)).await;
    let outcome = delivery.deliver(directory, outcome);
    let Some(configmap) = configmap else { return Ok(outcome.exit_code()) };
    Ok(deliver_to_cluster(&configmap, &cluster, &arguments.report_dir, outcome).await.exit_code())
}

/// Prints what the run would do.
async fn dry_run(
    session: impl Future<Output = Result<Session>>,
    execution: &ExecutionArguments,
    mut signals: impl Stream<Item = u8> + Unpin,
) -> Result<u8> {
    let format = execution.output.unwrap_or(OutputFormat::Text);
    tokio::select! {
        code = Box::pin(async { print_preview(&session.await?, format).await }) => code,
        Some(signal) = signals.next() => Ok(Outcome::Interrupted { signal }.exit_code()),
    }
}

/// Writes the report to the cluster, and returns what the run came to: an error where it can't be
/// written, unless it came to something worse.
async fn deliver_to_cluster(
    configmap: &report_configmap::Place,
    cluster: &Cluster,
    report: &Path,
    outcome: Outcome,
) -> Outcome {
    match configmap.write(cluster, report, outcome.exit_code()).await {
        Ok(said) => {
            let _ = io::stderr().write_all(said.as_bytes());
            outcome
        }
        Err(error) => {
            print_error(&error);
            worse(outcome)
        }
    }
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
pub(super) async fn report_progress<T>(
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

/// The cases to choose from, which of them are asked for, and which nodes are proven.
fn select(arguments: &RunArguments) -> Result<(Vec<Case>, Selection, Option<EveryNode>)> {
    let cases = cases();
    let selection = arguments.selection.read(&cases)?;
    let profile = arguments.as_configured.then_some(Profile::AsConfigured).or(selection.profile);
    let rerun = arguments.rerun.as_ref().map(|path| Rerun::read(path, &arguments.report_dir));
    let scope = arguments.placement.every_node;
    let Some(rerun) = rerun.transpose()? else {
        let every_node = scope.map(|scope| EveryNode { scope, only: None });
        return Ok((cases, Selection { profile, ..selection }, every_node));
    };
    let selection = Selection { profile: profile.or(rerun.profile), ..selection };
    // Proofs that no node has had yet are all to be made.
    let knew_none = rerun.knew_no_node();
    let only = Some(rerun.of_nodes()).filter(|ids| !ids.is_empty() && !knew_none);
    let asks = scope.is_some() || only.is_some() || knew_none;
    let every_node = asks.then(|| EveryNode { scope: scope.unwrap_or(NodeScope::All), only });
    Ok((rerun.pick(cases, &selection)?, selection, every_node))
}

/// Why a run in a given namespace proves no nodes.
fn no_nodes(namespace: &str) -> Error {
    let message = format!(
        "a run in namespace `{namespace}` can't prove each node: that needs the permission to list nodes, \
         which a user of one namespace does not have"
    );
    Error::usage(message)
        .with_hint("leave out `--every-node`, or let an administrator run it without `--namespace`")
}

/// The configuration of a run with these settings.
fn config(settings: RunSettings, execution: &ExecutionArguments) -> RunConfig {
    let config = RunConfig::new(settings.image, crate::fixtures::files());
    RunConfig {
        jobs: usize::from(settings.jobs),
        fail_fast: execution.extent.fail_fast,
        repeat: execution.extent.repeat,
        keep: settings.keep.into(),
        tries_blocked: settings.no_preflight,
        devices: settings.devices,
        node_access: settings.node_access,
        sandbox: SandboxConfig {
            entry_point: settings.entrypoint,
            run_timeout: settings.timeout,
            timeouts: Timeouts {
                pod: settings.pod_timeout,
                teardown: settings.teardown_timeout,
                disruption: settings.disruption_timeout,
                factor: settings.timeout_factor,
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
        directory: &PreparedDir,
    ) -> Result<Self> {
        let files = outputs.files().chain(last.file()).chain(archive.and_then(ReportArchive::file));
        refuse_own(files, directory)?;
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
