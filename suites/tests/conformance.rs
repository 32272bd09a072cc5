//! The same cases on the same engine, for `cargo test` and `cargo nextest`:
//! `cargo test -p nestcheck --test conformance -- podman::`.
//!
//! The cluster is that of `KUBECONFIG`, the image that of `NESTCHECK_IMAGE`. libtest-mimic is only
//! the façade: each trial waits for its case's verdict, and one run of the engine makes them all.
//! Under nextest, which starts a process for each test, that run has one case.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use harness::{
    Error,
    cluster::{Cluster, ConnectOptions},
    engine::{Case, RunConfig, plan::Selection},
    verdict::{Level, Outcome, Verdict, event::EventKind},
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use suites::{session::Session, signals::signals};

/// What the engine tells a trial.
type Reported = Result<Verdict, String>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let mut tellers: BTreeMap<String, Sender<Reported>> = BTreeMap::new();
    let mut selected: Vec<Case> = Vec::new();
    let mut trials = Vec::new();
    for case in suites::cases() {
        let (teller, reported) = channel();
        let level = case.level;
        let trial = Trial::ignorable_test(case.path(), move || await_verdict(&reported, level));
        if !arguments.is_filtered_out(&trial) {
            tellers.insert(case.id.to_owned(), teller);
            selected.push(case);
        }
        trials.push(trial);
    }
    // Trials only wait, so each has a thread; the engine bounds what really runs at once.
    arguments.test_threads.get_or_insert(selected.len().max(1));
    if arguments.list || selected.is_empty() {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let engine = thread::spawn(move || run_engine(&selected, &tellers));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // What these came to, or that the run could not begin, the trials have told.
    if let Ok(Ok(Outcome::Conformant | Outcome::NotConformant | Outcome::Partial) | Err(())) =
        engine.join()
    {
        return conclusion.exit_code();
    }
    print_line("error: the run was interrupted, left something behind or broke");
    ExitCode::from(101)
}

/// Waits for a case's verdict. A blocked core case fails: skipping it would look green.
fn await_verdict(reported: &Receiver<Reported>, level: Level) -> Result<Completion, Failed> {
    let verdict = match reported.recv() {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err("the run ended without a verdict".into()),
    };
    match verdict {
        Verdict::Pass => Ok(Completion::Completed),
        Verdict::Blocked { reason, remedy, .. } if level == Level::Core => {
            Err(format!("blocked: {reason}\nhint: {remedy}").into())
        }
        Verdict::NotApplicable { reason } | Verdict::Blocked { reason, .. } => {
            Ok(Completion::ignored_with(reason))
        }
        Verdict::KnownIssue { signature, message, .. } => {
            Ok(Completion::ignored_with(format!("known issue {signature}: {message}")))
        }
        Verdict::Fail { message, hint: Some(hint), .. } => {
            Err(format!("{message}\nhint: {hint}").into())
        }
        Verdict::Fail { message, hint: None, .. } | Verdict::Error { message } => {
            Err(message.into())
        }
        Verdict::Interrupted => Err("interrupted".into()),
    }
}

/// Runs the selected cases and tells each trial its verdict.
fn run_engine(
    selected: &[Case],
    tellers: &BTreeMap<String, Sender<Reported>>,
) -> Result<Outcome, ()> {
    let outcome = tokio::runtime::Runtime::new()
        .map_err(|error| Error::infrastructure(error.to_string()))
        .and_then(|runtime| {
            runtime.block_on(async {
                let session = prepare(selected).await?;
                for case in selected.iter().filter(|case| !session.plans(case)) {
                    let reason = "it is not about clusters of this kind".to_owned();
                    if let Some(teller) = tellers.get(case.id) {
                        let _ = teller.send(Ok(Verdict::NotApplicable { reason }));
                    }
                }
                let outcome = session.run(signals()?, |event| match &*event.event {
                    EventKind::CaseFinished(finished) => {
                        if let Some(teller) = tellers.get(&finished.id) {
                            let _ = teller.send(Ok(finished.verdict.clone()));
                        }
                    }
                    EventKind::StepFinished(step) => {
                        if let Some(failure) = &step.failure {
                            print_line(&format!("{}: {failure}", step.step));
                        }
                    }
                    _ => {}
                });
                Ok(outcome.await)
            })
        });
    outcome.map_err(|error| {
        let hint = error.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
        for teller in tellers.values() {
            let _ = teller.send(Err(format!("{error}{hint}")));
        }
    })
}

/// Standard output belongs to the test runner.
fn print_line(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

async fn prepare(selected: &[Case]) -> Result<Session, Error> {
    let cluster = Cluster::connect(&ConnectOptions::default()).await?;
    let selection = Selection::default();
    let config = RunConfig::new(std::env::var("NESTCHECK_IMAGE").ok(), suites::fixtures::files());
    Session::prepare(cluster, selected, selection, config, None).await
}
