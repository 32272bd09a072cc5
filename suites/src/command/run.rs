//! `nestcheck run`: the cases against a cluster.

use std::io::{self, IsTerminal, Write};

use futures::{Stream, StreamExt, stream};
use harness::{
    Error, Result,
    cluster::Cluster,
    event::Event,
    folder::ReportFolder,
    outcome::Outcome,
    plan::{Filters, Selection},
    report::{Style, Terminal},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    arguments::{RunArguments, SelectionArguments},
    color,
};
use crate::{
    cases,
    session::{Session, SessionOptions},
};

pub(super) async fn execute(arguments: RunArguments) -> Result<u8> {
    // What can be wrong without a cluster is found before one is asked.
    let cases = cases();
    let filters = Filters::parse(&arguments.selection.filters, &cases)?;
    let SelectionArguments { profile, shard, .. } = arguments.selection;
    let selection = Selection { profile, filters, shard };
    let mut signals = signals()?;
    let cluster = Cluster::connect(&arguments.cluster.into()).await?;
    let mut folder = ReportFolder::create(&arguments.report_dir)?;
    let options = SessionOptions {
        image: arguments.image,
        jobs: usize::from(arguments.jobs),
        deadline: arguments.timeout,
        runs_blocked: arguments.no_preflight,
    };
    // Until the run begins nothing is written to the cluster, so it can end at any time.
    let prepared = tokio::select! {
        session = Session::prepare(cluster, &cases, selection, options) => session,
        Some(signal) = signals.next() => {
            folder.discard();
            return Ok(Outcome::Interrupted { signal }.exit_code());
        }
    };
    let session = match prepared {
        Ok(session) => session,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    let style = Style { color: color(), progress: io::stderr().is_terminal() };
    let mut terminal = Terminal::new(io::stderr(), style);
    let observe = |event: &Event| {
        folder.append(event);
        terminal.event(event);
    };
    let outcome = session.run(signals, observe).await;
    terminal.finish();
    let path = folder.path().display().to_string();
    folder.finish()?;
    let _ = io::stderr().write_all(format!("report in `{path}`\n").as_bytes());
    Ok(outcome.exit_code())
}

/// The numbers of the signals that ask the run to end, as they come.
fn signals() -> Result<impl Stream<Item = u8> + Unpin> {
    let hear = |kind: SignalKind, number: u8| -> Result<_> {
        let signal = signal(kind)
            .map_err(|error| Error::infrastructure(format!("failed to hear signals: {error}")))?;
        Ok(each(signal, number).boxed())
    };
    Ok(stream::select_all([hear(SignalKind::interrupt(), 2)?, hear(SignalKind::terminate(), 15)?]))
}

fn each(signal: Signal, number: u8) -> impl Stream<Item = u8> {
    stream::unfold(signal, move |mut signal| async move {
        signal.recv().await.map(|()| (number, signal))
    })
}
