//! One run of nestcheck with one fault, and what can be said of it afterwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::{
    Result,
    fault::{Fault, Strike},
    invariant::{
        self, Promise, Verdicts, Violation, events_of, judge_ending, judge_report, judge_verdicts,
    },
    inventory::Inventory,
    kubeconfig,
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

/// How long the server may take to answer what a killed run has asked.
const SETTLE: Duration = Duration::from_secs(10);

/// What all trials have in common.
pub(crate) struct Laboratory {
    pub(crate) nestcheck: Nestcheck,
    pub(crate) upstream: Upstream,
    pub(crate) inventory: Inventory,
    /// Where the folders of trials are.
    pub(crate) output: PathBuf,
    /// Asks everything to end.
    pub(crate) stop: CancellationToken,
}

/// A run of nestcheck and what it is without a fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// What it is called in the names of folders and in messages.
    pub(crate) name: String,
    /// The arguments that select its cases.
    pub(crate) selection: Vec<String>,
    /// Its verdicts without a fault.
    pub(crate) expected: Verdicts,
    /// How many requests it makes without a fault.
    pub(crate) requests: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// By the fault.
    Killed,
    /// By itself.
    Exited(i32),
    /// By a signal that nobody here sent.
    Crashed,
    /// Not at all, within [`RUN`].
    Hung,
    /// Because this program is to end.
    Stopped,
}

/// What a trial came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) subject: String,
    pub(crate) strike: Option<Strike>,
    pub(crate) seen: Seen,
    pub(crate) end: End,
    pub(crate) run: Option<String>,
    #[serde(skip)]
    pub(crate) verdicts: Verdicts,
    /// Whether the report tells that something was tried again.
    pub(crate) shows_retry: bool,
    /// The seconds until the run ended.
    pub(crate) run_seconds: f64,
    /// Whether a first sweep was killed as well.
    pub(crate) sweep_was_killed: bool,
    /// The seconds that the sweep took, where there was one, its first attempt included.
    pub(crate) sweep_seconds: Option<f64>,
    pub(crate) violations: Vec<Violation>,
    /// Where its files are; they stay only if a promise was broken.
    pub(crate) folder: PathBuf,
}

impl Trial {
    /// Whether the request that was to be struck came.
    pub(crate) fn is_struck(&self) -> bool {
        self.seen.struck.is_some()
    }

    /// Whether the fault did what it is to do: a run may end by itself just before it is killed.
    pub(crate) fn is_hit(&self) -> bool {
        let kills = self.strike.is_some_and(|strike| strike.fault.kills());
        self.is_struck() && (self.end == End::Killed || !kills)
    }

    /// Whether the run ended before the request that was to be struck.
    pub(crate) fn is_missed(&self) -> bool {
        self.strike.is_some() && !self.is_struck()
    }
}

/// Runs nestcheck with a fault, or without, and judges it.
pub(crate) async fn conduct(
    laboratory: &Laboratory,
    subject: &Subject,
    next: Option<Next>,
) -> Result<Trial> {
    let strike = next.map(|next| next.strike);
    let name = next.map_or_else(|| "whole".to_owned(), |next| next.name());
    let folder = laboratory.output.join(format!("{}-{name}", subject.name));
    start_afresh(&folder)?;
    let proxy = Proxy::start(laboratory.upstream.clone(), strike).await?;
    let kubeconfig = folder.join("kubeconfig");
    kubeconfig::write(&kubeconfig, proxy.address())?;
    let started = Instant::now();
    let child = laboratory.nestcheck.start(&kubeconfig, &folder, &subject.selection)?;
    let end = watch(child, &proxy, &laboratory.stop).await?;
    let run_seconds = started.elapsed().as_secs_f64();
    proxy.settle(SETTLE).await;
    let mut trial = Trial {
        subject: subject.name.clone(),
        strike,
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
    judge_log(laboratory, subject, &mut trial).await?;
    judge_cluster(laboratory, &mut trial).await?;
    if trial.violations.is_empty() {
        fs::remove_dir_all(&trial.folder)?;
    }
    Ok(trial)
}

fn start_afresh(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(folder)?,
    }
    Ok(())
}

/// Waits for the end of a run, and brings it about where the fault says so.
async fn watch(mut child: Child, proxy: &Proxy, stop: &CancellationToken) -> Result<End> {
    let end = tokio::select! {
        status = child.wait() => {
            return Ok(status?.code().map_or(End::Crashed, End::Exited));
        }
        () = proxy.kill() => End::Killed,
        () = tokio::time::sleep(RUN) => End::Hung,
        () = stop.cancelled() => End::Stopped,
    };
    child.start_kill()?;
    tokio::time::timeout(REAP, child.wait()).await??;
    Ok(end)
}

/// Judges what the run has written.
async fn judge_log(laboratory: &Laboratory, subject: &Subject, trial: &mut Trial) -> Result<()> {
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
    trial.shows_retry = invariant::shows_retry(&log);
    let made = laboratory.nestcheck.report(&report).await?;
    let found = match made.code {
        Some(0) => judge_report(&events, &made.stdout),
        // Without an event there is nothing to report, and to say so is right.
        Some(2) if events.is_empty() && made.stderr.starts_with("error: ") => Vec::new(),
        code => {
            let what = format!("`nestcheck report` exited with {code:?}: {}", made.stderr.trim());
            vec![Violation::new(Promise::Report, what)]
        }
    };
    trial.violations.extend(found);
    match trial.end {
        End::Exited(code) => {
            // Without a fault the verdicts are what they are, even where the machine was too busy
            // for a case.
            let expected = if trial.is_struck() { &subject.expected } else { &trial.verdicts };
            trial.violations.extend(judge_verdicts(expected, &events));
            trial.violations.extend(judge_ending(code, expected, &events));
        }
        End::Hung => {
            let what = format!("it did not end within {} s", RUN.as_secs());
            trial.violations.push(Violation::new(Promise::Ending, what));
        }
        End::Crashed => {
            trial.violations.push(Violation::new(Promise::Ending, "it died of a signal"));
        }
        End::Killed | End::Stopped => {}
    }
    if let Some(trouble) = trial.seen.trouble.as_ref().filter(|_| !trial.violations.is_empty()) {
        let what = format!("the API server itself was not to be reached: {trouble}");
        trial.violations.push(Violation::new(Promise::Ending, what));
    }
    Ok(())
}

/// Judges what is left on the cluster: at once where the run ended by itself, and after a sweep.
async fn judge_cluster(laboratory: &Laboratory, trial: &mut Trial) -> Result<()> {
    // What a request named belongs to the run, whether or not its log came to say so.
    let mut runs = trial.seen.runs.clone();
    runs.extend(trial.run.clone());
    for run in runs {
        let is_over = matches!(trial.end, End::Exited(_));
        if is_over {
            leak(laboratory, trial, &run, "its own teardown").await?;
        }
        let started = Instant::now();
        if let Some(strike) = trial.strike.filter(|strike| strike.fault.kills()) {
            kill_sweep(laboratory, trial, &run, strike.at % SWEEP_REQUESTS + 1).await?;
        }
        let swept = laboratory.nestcheck.sweep(&run).await?;
        trial.sweep_seconds = Some(started.elapsed().as_secs_f64());
        if swept.code != Some(0) {
            let what = format!("the sweep exited with {:?}: {}", swept.code, swept.stderr.trim());
            trial.violations.push(Violation::new(Promise::Ending, what));
        }
        leak(laboratory, trial, &run, "the sweep").await?;
    }
    Ok(())
}

/// Sweeps a run and kills the sweep at a request of its own: the next one must finish what it has
/// begun.
async fn kill_sweep(laboratory: &Laboratory, trial: &mut Trial, run: &str, at: u64) -> Result<()> {
    let strike = Strike { fault: Fault::Kill, at };
    let proxy = Proxy::start(laboratory.upstream.clone(), Some(strike)).await?;
    let kubeconfig = trial.folder.join("sweep-kubeconfig");
    kubeconfig::write(&kubeconfig, proxy.address())?;
    let child = laboratory.nestcheck.start_sweep(&kubeconfig, &trial.folder, run)?;
    let end = watch(child, &proxy, &laboratory.stop).await?;
    proxy.settle(SETTLE).await;
    trial.sweep_was_killed |= end == End::Killed;
    if !matches!(end, End::Exited(0) | End::Killed | End::Stopped) {
        let what = format!("the first sweep ended {end:?}: see `sweep.log`");
        trial.violations.push(Violation::new(Promise::Ending, what));
    }
    Ok(())
}

async fn leak(laboratory: &Laboratory, trial: &mut Trial, run: &str, after: &str) -> Result<()> {
    let left = laboratory.inventory.of_run(run).await?;
    if !left.is_empty() {
        let what = format!("left of run `{run}` after {after}: {}", left.join(", "));
        trial.violations.push(Violation::new(Promise::Leak, what));
    }
    Ok(())
}
