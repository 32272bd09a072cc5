//! `nestcheck run`: the cases against a cluster.

use std::io::{self, IsTerminal, Write};

use futures::{Stream, StreamExt, stream};
use harness::{
    Error, Result,
    cluster::Cluster,
    engine::{self, RunOptions},
    facts::{self, Facts, Flavour},
    folder::ReportFolder,
    plan::{Filters, Plan, Profile, Selection},
    report::{Style, Terminal},
    sandbox::SandboxOptions,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{arguments::RunArguments, color};
use crate::{cases, run_id};

pub(super) async fn execute(arguments: RunArguments) -> Result<u8> {
    // What can be wrong without a cluster is found before one is asked.
    let cases = cases();
    let filters = Filters::parse(&arguments.selection.filters, &cases)?;
    let signals = signals()?;
    let cluster = Cluster::connect(&arguments.cluster.into()).await?;
    let mut folder = ReportFolder::create(&arguments.report_dir)?;
    let facts = facts::gather(&cluster).await?;
    let profile = arguments
        .selection
        .profile
        .unwrap_or_else(|| profile_of(&facts));
    let selection = Selection {
        profile: Some(profile),
        filters,
        shard: arguments.selection.shard,
    };
    let judged_by = (!arguments.no_preflight).then_some(&facts);
    let plan = Plan::new(selection.pick(&cases), judged_by);
    let options = RunOptions {
        profile: profile.name().to_owned(),
        jobs: usize::from(arguments.jobs),
        deadline: arguments.timeout,
        sandbox: SandboxOptions {
            run: run_id(),
            image: arguments.image,
            device_route: facts.device_route.value().cloned().flatten(),
            files: fixtures::files(),
        },
    };
    let style = Style {
        color: color(),
        progress: io::stderr().is_terminal(),
    };
    let mut terminal = Terminal::new(io::stderr(), style);
    let outcome = engine::run(&cluster, facts, plan, options, signals, |event| {
        folder.append(event);
        terminal.event(event);
    })
    .await;
    terminal.finish();
    let path = folder.path().display().to_string();
    folder.finish()?;
    let _ = io::stderr().write_all(format!("report in `{path}`\n").as_bytes());
    Ok(outcome.exit_code())
}

/// The cluster's own profile; Kubernetes where the flavour could not be read.
fn profile_of(facts: &Facts) -> Profile {
    Profile::of(
        facts
            .flavour
            .value()
            .copied()
            .unwrap_or(Flavour::Kubernetes),
    )
}

/// The numbers of the signals that ask the run to end, as they come.
fn signals() -> Result<impl Stream<Item = u8> + Unpin> {
    let hear = |kind: SignalKind, number: u8| -> Result<_> {
        let signal = signal(kind)
            .map_err(|error| Error::infrastructure(format!("failed to hear signals: {error}")))?;
        Ok(each(signal, number).boxed())
    };
    Ok(stream::select_all([
        hear(SignalKind::interrupt(), 2)?,
        hear(SignalKind::terminate(), 15)?,
    ]))
}

fn each(signal: Signal, number: u8) -> impl Stream<Item = u8> {
    stream::unfold(signal, move |mut signal| async move {
        signal.recv().await.map(|()| (number, signal))
    })
}
