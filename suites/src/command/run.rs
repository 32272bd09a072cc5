//! `nestcheck run`: the cases against a cluster.

use std::io::{self, IsTerminal, Write};

use futures::StreamExt;
use harness::{
    Result,
    cluster::{Cluster, ConnectOptions},
    engine::{
        Profile, RunConfig,
        plan::{Filters, Selection},
    },
    report::{Style, Terminal, directory::ReportDir},
    sandbox::{SandboxConfig, Timeouts},
    verdict::{Outcome, event::Event},
};

use super::{
    arguments::{RunArguments, RunSettings, SelectionArguments},
    color,
    delivery::{OpenArchive, ReportArchive, report_end_of_pod},
    print_error,
};
use crate::{
    cases,
    session::{SccSource, Session},
    signals::signals,
};

pub(super) async fn execute(arguments: RunArguments) -> Result<u8> {
    let report = arguments.report_dir.clone();
    let ended = run(arguments).await;
    report_end_of_pod(&ended, &report);
    ended
}

async fn run(arguments: RunArguments) -> Result<u8> {
    // What can be wrong without a cluster is found before one is asked.
    let cases = cases();
    let filters = Filters::parse(&arguments.selection.filters, &cases)?;
    let SelectionArguments { profile, shard, .. } = arguments.selection;
    let profile = if arguments.as_configured { Some(Profile::AsConfigured) } else { profile };
    let selection = Selection { profile, filters, shard };
    let scc = arguments.scc.map(SccSource::read).transpose()?;
    let (placement, pull_secret) = arguments.placement.read()?;
    let mut signals = signals()?;
    let options: ConnectOptions = arguments.cluster.into();
    // A plugin of the kubeconfig may take its time.
    let cluster = tokio::select! {
        cluster = Cluster::connect(&options) => cluster?,
        Some(signal) = signals.next() => return Ok(Outcome::Interrupted { signal }.exit_code()),
    };
    let archive = arguments.report_archive.as_ref().map(ReportArchive::open).transpose()?;
    let mut directory = ReportDir::create(&arguments.report_dir)?;
    let mut config = config(arguments.settings, &directory);
    (config.pull_secret, config.sandbox.placement) = (pull_secret, placement);
    // Until the run begins nothing is written to the cluster, so it can end at any time.
    let prepared = tokio::select! {
        session = Session::prepare(cluster, &cases, selection, config, scc) => session,
        Some(signal) = signals.next() => {
            directory.discard();
            return Ok(Outcome::Interrupted { signal }.exit_code());
        }
    };
    let session = match prepared {
        Ok(session) => session,
        Err(error) => {
            directory.discard();
            return Err(error);
        }
    };
    let style = Style { color: color(), progress: io::stderr().is_terminal() };
    let mut terminal = Terminal::new(io::stderr(), style);
    let observe = |event: &Event| {
        directory.append(event);
        terminal.event(event);
    };
    let outcome = session.run(signals, observe).await;
    terminal.finish();
    Ok(deliver(directory, archive, outcome).exit_code())
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

/// Writes what is made of the log, and returns what the run came to. A run whose report is not whole
/// is an error, unless it came to something worse.
pub(super) fn deliver(
    directory: ReportDir,
    archive: Option<OpenArchive>,
    outcome: Outcome,
) -> Outcome {
    let report = directory.path().to_owned();
    let path = report.display().to_string();
    let warning = if directory.is_open_to_others() { open_to_others(&path) } else { String::new() };
    if let Err(error) = directory.finish() {
        print_error(&error);
        return worse(outcome);
    }
    let _ = io::stderr().write_all(format!("report in `{path}`\n{warning}").as_bytes());
    if let Some(Err(error)) = archive.map(|archive| archive.write(&report)) {
        print_error(&error);
        return worse(outcome);
    }
    outcome
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
