//! One run of nestcheck with one fault, and its judgement.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use harness::verdict::event::Event;
use serde::Serialize;
use serde_json::json;
use test_support::Kubeconfig;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::{
    Result,
    fault::{Fault, FaultKind},
    invariant::{
        self, Invariant, Verdicts, Violation, check_ending, check_report, check_verdicts, events_of,
    },
    inventory::Inventory,
    nestcheck::Nestcheck,
    proxy::{Proxy, Seen, Upstream},
    schedule::Next,
};

/// How long a run may take: a fault may cost it each of its own deadlines once, the longest being
/// 180 s for a pod and 120 s for a namespace.
const RUN: Duration = Duration::from_secs(400);

/// How many requests a sweep makes at most: a round of trials kills one at each of them.
const SWEEP_REQUESTS: u64 = 8;

/// How long the end of a killed process may take.
const REAP: Duration = Duration::from_secs(10);

/// How long the server may take to answer the requests of a killed run.
const SETTLE: Duration = Duration::from_secs(10);

/// What all trials share.
pub(crate) struct TestBed {
    pub(crate) nestcheck: Nestcheck,
    pub(crate) upstream: Upstream,
    pub(crate) inventory: Inventory,
    /// Where the folders of trials are.
    pub(crate) output: PathBuf,
    /// Cancels everything.
    pub(crate) stop: CancellationToken,
}

/// A run of nestcheck, and its result without a fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// Its name in folders and messages.
    pub(crate) name: String,
    /// The arguments that select its cases.
    pub(crate) selection: Vec<String>,
    /// Its verdicts without a fault.
    pub(crate) expected: Verdicts,
    /// How many requests it makes without a fault.
    pub(crate) requests: u64,
    /// How many of them are for commands in pods.
    pub(crate) commands: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// The fault killed it.
    Killed,
    /// It exited.
    Exited(i32),
    /// A signal that nobody here sent killed it.
    Crashed,
    /// It did not end in time.
    Hung,
    /// This program was interrupted.
    Stopped,
}

/// The result of a trial.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) target: String,
    pub(crate) fault: Option<Fault>,
    pub(crate) seen: Seen,
    pub(crate) end: End,
    pub(crate) run: Option<String>,
    #[serde(skip)]
    pub(crate) verdicts: Verdicts,
    /// Whether the report shows a retry.
    pub(crate) shows_retry: bool,
    /// The seconds until the run ended.
    pub(crate) run_seconds: f64,
    /// Whether a first sweep was killed as well.
    pub(crate) sweep_was_killed: bool,
    /// The seconds that the sweep took, where there was one, its first attempt included.
    pub(crate) sweep_seconds: Option<f64>,
    pub(crate) violations: Vec<Violation>,
    /// Where its files are; they stay only if an invariant was violated.
    pub(crate) folder: PathBuf,
}

impl Trial {
    /// Whether the request for the fault came.
    pub(crate) fn is_struck(&self) -> bool {
        self.seen.struck.is_some()
    }

    /// Whether the fault had its effect: a run may end just before it is killed.
    pub(crate) fn is_hit(&self) -> bool {
        let kills = self.fault.is_some_and(|fault| fault.kind.kills());
        self.is_struck() && (self.end == End::Killed || !kills)
    }

    /// Whether the run ended before the request for the fault.
    pub(crate) fn is_missed(&self) -> bool {
        self.fault.is_some() && !self.is_struck()
    }
}

/// Writes a kubeconfig for the proxy. It speaks plain HTTP, which nobody but this machine can reach,
/// and presents the administrator's credentials to the API server itself: a token of the user's would
/// be tried first, and refused.
pub(crate) fn write_kubeconfig(path: &Path, proxy: &Proxy) -> io::Result<()> {
    let kubeconfig = Kubeconfig::to(&format!("http://{}", proxy.address()));
    fs::write(path, kubeconfig.with("/users/0/user", json!({})).text())
}

/// Runs nestcheck with a fault, or without, and judges it.
pub(crate) async fn run(test_bed: &TestBed, target: &Target, next: Option<Next>) -> Result<Trial> {
    let fault = next.map(|next| next.fault);
    let name = next.map_or_else(|| "whole".to_owned(), |next| next.name());
    let folder = test_bed.output.join(format!("{}-{name}", target.name));
    create_empty(&folder)?;
    let proxy = Proxy::start(test_bed.upstream.clone(), fault).await?;
    let kubeconfig = folder.join("kubeconfig");
    write_kubeconfig(&kubeconfig, &proxy)?;
    let started = Instant::now();
    let child = test_bed.nestcheck.start(&kubeconfig, &folder, &target.selection)?;
    let end = watch(child, proxy.kill(), RUN, &test_bed.stop).await?;
    let run_seconds = started.elapsed().as_secs_f64();
    proxy.settle(SETTLE).await;
    let mut trial = Trial {
        target: target.name.clone(),
        fault,
        seen: proxy.seen(),
        end,
        run: None,
        verdicts: Verdicts::new(),
        shows_retry: false,
        run_seconds,
        sweep_was_killed: false,
        sweep_seconds: None,
        violations: Vec::new(),
        folder,
    };
    drop(proxy);
    check_log(test_bed, target, &mut trial).await?;
    check_cluster(test_bed, &mut trial).await?;
    if trial.violations.is_empty() {
        fs::remove_dir_all(&trial.folder)?;
    }
    Ok(trial)
}

pub(crate) fn create_empty(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(folder)?,
    }
    Ok(())
}

/// Waits for the end of a run, or kills it if its fault asks for that, or when its time is over.
pub(crate) async fn watch(
    mut child: Child,
    kill: impl Future<Output = ()>,
    run_timeout: Duration,
    stop: &CancellationToken,
) -> Result<End> {
    let end = tokio::select! {
        status = child.wait() => {
            return Ok(status?.code().map_or(End::Crashed, End::Exited));
        }
        () = kill => End::Killed,
        () = tokio::time::sleep(run_timeout) => End::Hung,
        () = stop.cancelled() => End::Stopped,
    };
    child.start_kill()?;
    tokio::time::timeout(REAP, child.wait()).await??;
    Ok(end)
}

/// Judges the run's event log and report.
async fn check_log(test_bed: &TestBed, target: &Target, trial: &mut Trial) -> Result<()> {
    let report = trial.folder.join("report");
    let log = fs::read_to_string(report.join("events.jsonl")).unwrap_or_default();
    let events = match events_of(&log) {
        Ok(events) => events,
        Err(violation) => {
            trial.violations.push(violation);
            return Ok(());
        }
    };
    trial.run = invariant::run_of(&events);
    trial.verdicts = invariant::verdicts(&events);
    trial.shows_retry = invariant::shows_retry(&events);
    trial.violations.extend(check_junit(&test_bed.nestcheck, &report, &events).await?);
    match trial.end {
        End::Exited(code) => {
            // Without a fault the verdicts are what they are, even where the machine was too busy
            // for a case.
            let expected = if trial.is_struck() { &target.expected } else { &trial.verdicts };
            trial.violations.extend(check_verdicts(expected, &events));
            trial.violations.extend(check_ending(code, expected, &events));
        }
        End::Hung => {
            let what = format!("it did not end within {} s", RUN.as_secs());
            trial.violations.push(Violation::new(Invariant::Ending, what));
        }
        End::Crashed => {
            trial.violations.push(Violation::new(Invariant::Ending, "a signal killed it"));
        }
        End::Killed | End::Stopped => {}
    }
    if let Some(trouble) = trial.seen.trouble.as_ref().filter(|_| !trial.violations.is_empty()) {
        let what = format!("the API server itself was unreachable: {trouble}");
        trial.violations.push(Violation::new(Invariant::Ending, what));
    }
    Ok(())
}

/// Judges the `JUnit` report that nestcheck makes of a log.
pub(crate) async fn check_junit(
    nestcheck: &Nestcheck,
    report: &Path,
    events: &[Event],
) -> Result<Vec<Violation>> {
    let made = nestcheck.report(report).await?;
    Ok(match made.code {
        Some(0) => check_report(events, &made.stdout),
        // Without an event there is nothing to report, so an error is right.
        Some(2) if events.is_empty() && made.stderr.starts_with("error: ") => Vec::new(),
        code => {
            let what = format!("`nestcheck report` exited with {code:?}: {}", made.stderr.trim());
            vec![Violation::new(Invariant::Report, what)]
        }
    })
}

/// Judges the leftovers: at once if the run exited, and after a sweep.
async fn check_cluster(test_bed: &TestBed, trial: &mut Trial) -> Result<()> {
    // Objects that a request named belong to the run, even if its log does not have them.
    let mut runs = trial.seen.runs.clone();
    runs.extend(trial.run.clone());
    for run in runs {
        let is_over = matches!(trial.end, End::Exited(_));
        if is_over {
            leak(test_bed, trial, &run, "its own teardown").await?;
        }
        let started = Instant::now();
        if let Some(fault) = trial.fault.filter(|fault| fault.kind.kills()) {
            kill_sweep(test_bed, trial, &run, fault.at % SWEEP_REQUESTS + 1).await?;
        }
        let swept = test_bed.nestcheck.sweep(&run).await?;
        trial.sweep_seconds = Some(started.elapsed().as_secs_f64());
        if swept.code != Some(0) {
            let what = format!("the sweep exited with {:?}: {}", swept.code, swept.stderr.trim());
            trial.violations.push(Violation::new(Invariant::Ending, what));
        }
        leak(test_bed, trial, &run, "the sweep").await?;
    }
    Ok(())
}

/// Sweeps a run and kills the sweep at one of its requests: the next sweep must finish the work.
async fn kill_sweep(test_bed: &TestBed, trial: &mut Trial, run: &str, at: u64) -> Result<()> {
    let fault = Fault { kind: FaultKind::Kill, at };
    let proxy = Proxy::start(test_bed.upstream.clone(), Some(fault)).await?;
    let kubeconfig = trial.folder.join("sweep-kubeconfig");
    write_kubeconfig(&kubeconfig, &proxy)?;
    let child = test_bed.nestcheck.start_sweep(&kubeconfig, &trial.folder, run)?;
    let end = watch(child, proxy.kill(), RUN, &test_bed.stop).await?;
    proxy.settle(SETTLE).await;
    trial.sweep_was_killed |= end == End::Killed;
    if !matches!(end, End::Exited(0) | End::Killed | End::Stopped) {
        let what = format!("the first sweep ended {end:?}: see `sweep.log`");
        trial.violations.push(Violation::new(Invariant::Ending, what));
    }
    Ok(())
}

async fn leak(test_bed: &TestBed, trial: &mut Trial, run: &str, after: &str) -> Result<()> {
    let left = test_bed.inventory.of_run(run).await?;
    if !left.is_empty() {
        let what = format!("leftovers of run `{run}` after {after}: {}", left.join(", "));
        trial.violations.push(Violation::new(Invariant::Leak, what));
    }
    Ok(())
}
