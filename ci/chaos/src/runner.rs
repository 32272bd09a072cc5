//! Runs all trials, many at once, and prints the result.

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs,
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    Arguments, OutputFormat, Result,
    inventory::Inventory,
    nestcheck::Nestcheck,
    proxy::Upstream,
    schedule::{Next, Schedule},
    signals,
    summary::Summary,
    trial::{self, End, Target, TestBed, Trial},
};

/// How often progress is printed in all.
const PROGRESS: u64 = 10;

/// Runs all trials and prints the result. A first signal ends them early.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let stop = CancellationToken::new();
    let interrupted = OnceCell::new();
    let code = tokio::select! {
        code = all_trials(&arguments, stop.clone()) => code?,
        second = signals::handle_signals(stop.clone(), &interrupted) => second?,
    };
    Ok(ExitCode::from(interrupted.get().copied().unwrap_or(code)))
}

async fn all_trials(arguments: &Arguments, stop: CancellationToken) -> Result<u8> {
    fs::create_dir_all(&arguments.output_dir)?;
    let nestcheck = Nestcheck {
        program: fs::canonicalize(&arguments.nestcheck)?,
        kubeconfig: fs::canonicalize(&arguments.kubeconfig)?,
    };
    let test_bed = TestBed {
        upstream: Upstream::new(&nestcheck.kubeconfig).await?,
        inventory: Inventory::new(&nestcheck.kubeconfig).await?,
        output: fs::canonicalize(&arguments.output_dir)?,
        nestcheck,
        stop,
    };
    let before = test_bed.inventory.runs().await?;
    let targets = targets(&test_bed, arguments).await?;
    let schedule = schedule(&targets, arguments);
    let mut runner = Runner::new(&test_bed, schedule);
    let made = runner.run(&targets, usize::from(arguments.jobs)).await;
    let compared = runner.compare(&before).await;
    // Print what is known, whatever failed afterwards.
    print(&runner.summary, arguments.output)?;
    made.and(compared)?;
    Ok(u8::from(!runner.summary.all.are_good()))
}

fn schedule(targets: &[Target], arguments: &Arguments) -> Schedule {
    let Some(kills) = arguments.kills else {
        let counts = targets.iter().map(|target| (target.requests, target.commands));
        return Schedule::every(&counts.collect::<Vec<_>>(), &arguments.faults);
    };
    let costly = |target: &Target| arguments.once.contains(&target.name);
    let targets = targets.iter().map(|target| (target.requests, costly(target)));
    Schedule::random(&targets.collect::<Vec<_>>(), &arguments.faults, kills, arguments.seed)
}

/// The runs that get faults, each run once without a fault.
async fn targets(test_bed: &TestBed, arguments: &Arguments) -> Result<Vec<Target>> {
    let mut selection = arguments.filters.clone();
    if let Some(profile) = &arguments.profile {
        selection.extend(["--profile".to_owned(), profile.clone()]);
    }
    let mut targets = Vec::new();
    if arguments.by_suite {
        for suite in test_bed.nestcheck.suites(&selection).await? {
            let selection = [&selection[..], std::slice::from_ref(&suite)].concat();
            targets.push(Target { name: suite, selection, ..Target::default() });
        }
    } else {
        let name = arguments.profile.clone().unwrap_or_else(|| "all".to_owned());
        targets.push(Target { name, selection, ..Target::default() });
    }
    for target in &mut targets {
        let whole = trial::run(test_bed, target, None).await?;
        let End::Exited(0..=3) = whole.end else {
            return Err(unfit(&whole).into());
        };
        if !whole.violations.is_empty() {
            return Err(unfit(&whole).into());
        }
        log(&format!(
            "`{}` makes {} requests in {:.1} s without a fault, {} of them for commands",
            target.name, whole.seen.requests, whole.run_seconds, whole.seen.commands
        ));
        target.requests = whole.seen.requests;
        target.commands = whole.seen.commands;
        target.expected = whole.verdicts;
    }
    Ok(targets)
}

/// Why a run can't be judged with a fault: it fails without one.
fn unfit(whole: &Trial) -> String {
    let reasons: Vec<_> = whole.violations.iter().map(|violation| &*violation.what).collect();
    format!(
        "`{}` fails even without a fault ({:?}): {}; see `{}`",
        whole.target,
        whole.end,
        reasons.join("; "),
        whole.folder.display()
    )
}

struct Runner<'a> {
    test_bed: &'a TestBed,
    schedule: Mutex<Schedule>,
    summary: Summary,
    started: Instant,
    /// Trials between two progress lines.
    interval: u64,
}

impl<'a> Runner<'a> {
    fn new(test_bed: &'a TestBed, schedule: Schedule) -> Self {
        let interval = (schedule.size() / PROGRESS).max(1);
        Self {
            test_bed,
            schedule: Mutex::new(schedule),
            summary: Summary::default(),
            started: Instant::now(),
            interval,
        }
    }

    async fn run(&mut self, targets: &[Target], jobs: usize) -> Result<()> {
        let mut failure = None;
        // The schedule may be empty while active trials can still add to it.
        while let Some(first) = self.next() {
            let test_bed = self.test_bed;
            let schedule = &self.schedule;
            let next = || stream::iter(std::iter::once(first)).chain(remaining(test_bed, schedule));
            let mut trials = next()
                .map(|next: Next| async move {
                    let target = &targets[next.target];
                    (next, trial::run(test_bed, target, Some(next)).await)
                })
                .buffer_unordered(jobs)
                .boxed_local();
            while let Some((next, trial)) = trials.next().await {
                let trial = match trial {
                    Ok(trial) => trial,
                    Err(error) => {
                        // The others end early too, and sweep their leftovers.
                        test_bed.stop.cancel();
                        failure.get_or_insert(error);
                        continue;
                    }
                };
                schedule.lock().learn(next, trial.is_hit());
                if trial.end == End::Stopped {
                    continue;
                }
                for reports in self.summary.add(&trial) {
                    log(&reports.to_string());
                }
                log_progress(&self.summary, self.interval, self.started);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn next(&self) -> Option<Next> {
        draw(self.test_bed, &self.schedule)
    }

    /// Looks for leftovers of runs that no trial knew.
    async fn compare(&mut self, before: &BTreeSet<String>) -> Result<()> {
        let after = self.test_bed.inventory.runs().await?;
        for run in after.difference(before) {
            let what = format!("run `{run}` has objects at the end");
            log(&what);
            self.summary.add_leak(what);
        }
        Ok(())
    }
}

fn draw(test_bed: &TestBed, schedule: &Mutex<Schedule>) -> Option<Next> {
    if test_bed.stop.is_cancelled() { None } else { schedule.lock().next() }
}

fn remaining<'a>(
    test_bed: &'a TestBed,
    schedule: &'a Mutex<Schedule>,
) -> impl futures::Stream<Item = Next> + 'a {
    stream::iter(std::iter::from_fn(move || draw(test_bed, schedule)))
}

fn log_progress(summary: &Summary, interval: u64, started: Instant) {
    let all = &summary.all;
    if all.struck.is_multiple_of(interval) {
        log(&format!(
            "[{:4}s] {} struck, {} kills, {} leaks, {} invalid reports, {} lost verdicts, {} misjudged, \
             {} wrong endings",
            started.elapsed().as_secs(),
            all.struck,
            all.kills,
            all.leaks,
            all.invalid_reports,
            all.lost_verdicts,
            all.misjudged,
            all.wrong_endings
        ));
    }
}

/// Writes progress to standard error.
pub(crate) fn log(text: &str) {
    let _ = io::stderr().write_all(format!("chaos: {text}\n").as_bytes());
}

pub(crate) fn print(summary: &(impl Display + Serialize), format: OutputFormat) -> Result<()> {
    let text = match format {
        OutputFormat::Text => summary.to_string(),
        OutputFormat::Json => serde_json::to_string_pretty(summary)? + "\n",
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
