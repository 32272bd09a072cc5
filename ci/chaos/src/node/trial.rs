//! One run of nestcheck on a cluster that gets faults, and its findings.

use std::{
    fs,
    future::pending,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use harness::verdict::event::Event;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    cluster::LocalCluster,
    fault::{Kind, Struck},
    findings::{self, Finding, cases_at, findings},
    schedule::Schedule,
};
use crate::{
    Result,
    fault::{Fault, Faults},
    invariant::{self, Invariant, Verdicts, Violation, check_ending, check_verdicts, events_of},
    inventory::Inventory,
    nestcheck::Nestcheck,
    proxy::{Proxy, Upstream},
    runner,
    trial::{End, check_junit, create_empty, watch, write_kubeconfig},
};

/// How long a run may take: some faults may cost it each of its own deadlines.
const RUN: Duration = Duration::from_secs(900);

/// How many faults at a time one run gets: without a limit, it might never end.
const FAULTS_A_RUN: usize = 8;

/// The exit code of a run that has left objects and says so.
const LEAKED: i32 = 5;

/// A cluster and the programs that a run needs.
pub(crate) struct TestBed {
    pub(crate) nestcheck: Nestcheck,
    pub(crate) cluster: LocalCluster,
    pub(crate) upstream: Upstream,
    pub(crate) inventory: Inventory,
    /// Where the directories of runs are.
    pub(crate) output: PathBuf,
    /// The arguments that select the cases.
    pub(crate) selection: Vec<String>,
    /// Cancels everything.
    pub(crate) stop: CancellationToken,
}

/// An undisturbed run.
pub(crate) struct Expected {
    verdicts: Verdicts,
    /// How many commands it ran in pods.
    commands: u64,
}

/// A run with faults.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) end: End,
    pub(crate) faults: Vec<Struck>,
    pub(crate) findings: Vec<Finding>,
    /// When cases were retried.
    pub(crate) retries: Vec<Timestamp>,
    pub(crate) run_seconds: f64,
}

/// Runs nestcheck without a fault, through the proxy.
pub(crate) async fn undisturbed(test_bed: &TestBed) -> Result<Expected> {
    let directory = test_bed.output.join(format!("{}-undisturbed", test_bed.cluster.name));
    create_empty(&directory)?;
    let proxy = Proxy::start(test_bed.upstream.clone(), Faults::default()).await?;
    let kubeconfig = directory.join("kubeconfig");
    write_kubeconfig(&kubeconfig, &proxy)?;
    let started = Instant::now();
    let child = test_bed.nestcheck.start(&kubeconfig, &directory, &test_bed.selection)?;
    let end = watch(child, proxy.kill(), RUN, &test_bed.stop).await?;
    let events = events_of(&read_log(&directory)).map_err(|violation| violation.what)?;
    let verdicts = invariant::verdicts(&events);
    if !matches!(end, End::Exited(0..=2)) || verdicts.values().any(|verdict| verdict == "error") {
        let directory = directory.display();
        return Err(format!("a run fails even without a fault ({end:?}): see `{directory}`").into());
    }
    let commands = proxy.seen().commands;
    runner::log(&format!(
        "{}: {} cases and {commands} commands in {:.0} s without a fault",
        test_bed.cluster.name,
        verdicts.len(),
        started.elapsed().as_secs_f64()
    ));
    fs::remove_dir_all(&directory)?;
    Ok(Expected { verdicts, commands })
}

/// Runs nestcheck with faults and judges it.
pub(crate) async fn run(
    test_bed: &TestBed,
    expected: &Expected,
    number: u64,
    schedule: &Mutex<Schedule>,
) -> Result<Trial> {
    let directory = test_bed.output.join(format!("{}-{number}", test_bed.cluster.name));
    create_empty(&directory)?;
    // Every second run is without the proxy, which shields it from what a client sees of a server that
    // is gone.
    let commands = if number.is_multiple_of(2) {
        schedule.lock().next_streams(expected.commands)
    } else {
        Vec::new()
    };
    let proxy = proxy(test_bed, &directory, &commands).await?;
    let kubeconfig = match &proxy {
        Some(_) => directory.join("kubeconfig"),
        None => test_bed.nestcheck.kubeconfig.clone(),
    };
    let log = directory.join("report/events.jsonl");
    let started = Instant::now();
    let child = test_bed.nestcheck.start(&kubeconfig, &directory, &test_bed.selection)?;
    let over = CancellationToken::new();
    let watching = async {
        let end = watch(child, pending(), RUN, &test_bed.stop).await;
        over.cancel();
        (end, started.elapsed().as_secs_f64())
    };
    let ((end, run_seconds), struck) =
        tokio::join!(watching, disturb(test_bed, schedule, &log, &over));
    let (end, mut faults) = (end?, struck?);
    let seen = proxy.as_ref().map(Proxy::seen).unwrap_or_default();
    let mut unused = commands;
    for (fault, begin) in seen.struck_commands {
        unused.retain(|other| *other != fault);
        faults.push(Struck {
            kind: Kind::Stream(fault.kind),
            begin,
            end: begin,
            cases: Vec::new(),
        });
    }
    for fault in unused {
        schedule.lock().put_back(fault);
    }
    let mut trial = Trial { end, faults, findings: Vec::new(), retries: Vec::new(), run_seconds };
    // The faults are over; their effects need not be.
    test_bed.cluster.recover().await?;
    check(test_bed, expected, &directory, &mut trial).await?;
    if trial.findings.is_empty() {
        fs::remove_dir_all(&directory)?;
    } else {
        fs::write(directory.join("trial.json"), serde_json::to_string_pretty(&trial)?)?;
    }
    Ok(trial)
}

async fn proxy(test_bed: &TestBed, directory: &Path, commands: &[Fault]) -> Result<Option<Proxy>> {
    if commands.is_empty() {
        return Ok(None);
    }
    let faults = Faults { request: None, commands: commands.to_vec() };
    let proxy = Proxy::start(test_bed.upstream.clone(), faults).await?;
    write_kubeconfig(&directory.join("kubeconfig"), &proxy)?;
    Ok(Some(proxy))
}

/// Gives the cluster one fault after the other until the run is over.
async fn disturb(
    test_bed: &TestBed,
    schedule: &Mutex<Schedule>,
    log: &Path,
    over: &CancellationToken,
) -> Result<Vec<Struck>> {
    let mut faults = Vec::new();
    while faults.len() < FAULTS_A_RUN {
        let pause = schedule.lock().next_pause();
        if over.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        let Some((kind, seconds)) = schedule.lock().next_timed() else { break };
        let events = events_of(&fs::read_to_string(log).unwrap_or_default()).unwrap_or_default();
        let begin = Timestamp::now();
        let arguments = kind.arguments(test_bed.cluster.runtime, seconds);
        test_bed.cluster.command(&arguments).await?;
        let fault = Struck { kind, begin, end: Timestamp::now(), cases: cases_at(&events, begin) };
        runner::log(&format!("{}: {fault}", test_bed.cluster.name));
        faults.push(fault);
    }
    Ok(faults)
}

/// Judges the log, the report and the leftovers of a run.
async fn check(
    test_bed: &TestBed,
    expected: &Expected,
    directory: &Path,
    trial: &mut Trial,
) -> Result<()> {
    if trial.end == End::Stopped {
        return Ok(());
    }
    let (events, mut violations) = match events_of(&read_log(directory)) {
        Ok(events) => (events, Vec::new()),
        Err(violation) => (Vec::new(), vec![violation]),
    };
    let report = directory.join("report");
    violations.extend(check_junit(&test_bed.nestcheck, &report, &events).await?);
    violations.extend(check_verdicts(&expected.verdicts, &events));
    match trial.end {
        End::Exited(code) => violations.extend(check_ending(code, &expected.verdicts, &events)),
        other => violations.push(Violation::new(Invariant::Ending, format!("it ended {other:?}"))),
    }
    violations.extend(check_leftovers(test_bed, &events, trial.end).await?);
    for fault in &mut trial.faults {
        fault.cases = cases_at(&events, fault.begin);
    }
    trial.faults.sort_by_key(|fault| fault.begin);
    trial.retries = findings::retries(&events);
    trial.findings = findings(violations, &expected.verdicts, &events, &trial.faults);
    Ok(())
}

/// Looks for objects of the run: none may be there after its own teardown. Where that has failed, which
/// the exit code must say, a sweep must remove them.
async fn check_leftovers(test_bed: &TestBed, events: &[Event], end: End) -> Result<Vec<Violation>> {
    let Some(run) = invariant::run_of(events) else { return Ok(Vec::new()) };
    let mut violations = Vec::new();
    let left = test_bed.inventory.of_run(&run).await?;
    if left.is_empty() {
        return Ok(violations);
    }
    let mut leak = |left: &[String], after| {
        let what = format!("leftovers of run `{run}` after {after}: {}", left.join(", "));
        violations.push(Violation::new(Invariant::Leak, what));
    };
    if end != End::Exited(LEAKED) {
        leak(&left, "its own teardown");
    }
    let swept = test_bed.nestcheck.sweep(&run).await?;
    let left = test_bed.inventory.of_run(&run).await?;
    if !left.is_empty() {
        leak(&left, "the sweep");
    }
    if swept.code != Some(0) {
        let what = format!("the sweep exited with {:?}: {}", swept.code, swept.stderr.trim());
        violations.push(Violation::new(Invariant::Ending, what));
    }
    Ok(violations)
}

fn read_log(directory: &Path) -> String {
    fs::read_to_string(directory.join("report/events.jsonl")).unwrap_or_default()
}
