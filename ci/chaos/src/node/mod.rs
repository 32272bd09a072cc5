//! Faults of a whole cluster at random times of whole runs.
//!
//! nestcheck runs all cases of its profile on local clusters, while components are killed or frozen
//! and the network between API server, node and nestcheck loses packets. Every second run goes through
//! the proxy, which ends single commands' streams. Afterwards each verdict is compared with the one of
//! an undisturbed run.

mod cluster;
mod fault;
mod findings;
mod schedule;
mod summary;
mod trial;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use cluster::LocalCluster;
use futures::future::try_join_all;
use parking_lot::Mutex;
use schedule::{Limits, Schedule};
use summary::Summary;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use trial::TestBed;

use crate::{
    OutputFormat, Result, inventory::Inventory, nestcheck::Nestcheck, proxy::Upstream, runner,
    signals,
};

/// Runs nestcheck again and again on local clusters that get faults meanwhile
///
/// Nobody else may use the clusters.
///
/// Exit codes: 0 every invariant held, 1 one was violated, 4 a run was not possible, 130 and 143
/// interrupted.
#[derive(Debug, Parser)]
#[command(name = "chaos-node")]
pub struct Arguments {
    /// The nestcheck program
    #[arg(long, value_name = "FILE")]
    nestcheck: PathBuf,
    /// The local-cluster program
    #[arg(long, value_name = "FILE")]
    local_cluster: PathBuf,
    /// The running clusters; all are used at once
    #[arg(long = "cluster", value_name = "NAME", required = true)]
    clusters: Vec<String>,
    /// How many faults there are in all; each kind comes once at least
    #[arg(long, value_name = "N", default_value = "300")]
    faults: u64,
    /// How long a fault takes at most, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "40")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=60))]
    longest: u32,
    /// How long a run is undisturbed between two faults, in seconds; 50 % more or less at random
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pause: u32,
    /// The seed of all random numbers
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Where the files of runs with a finding are kept
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    output_dir: PathBuf,
    /// How the figures are printed
    #[arg(long, short, value_enum, default_value = "text")]
    output: OutputFormat,
    /// The cases and the profile, as for `nestcheck run`
    #[arg(value_name = "SELECTION", last = true)]
    selection: Vec<String>,
}

/// Runs the command line.
///
/// # Errors
///
/// A cluster that does not run, or a run that fails even without a fault.
pub fn main(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    code
}

/// Runs until there were enough faults. A first signal ends it early.
async fn run(arguments: Arguments) -> Result<ExitCode> {
    let stop = CancellationToken::new();
    let interrupted = OnceCell::new();
    let code = tokio::select! {
        code = all_runs(&arguments, stop.clone()) => code?,
        second = signals::handle_signals(stop.clone(), &interrupted) => second?,
    };
    Ok(ExitCode::from(interrupted.get().copied().unwrap_or(code)))
}

async fn all_runs(arguments: &Arguments, stop: CancellationToken) -> Result<u8> {
    fs::create_dir_all(&arguments.output_dir)?;
    let limits =
        Limits { faults: arguments.faults, longest: arguments.longest, pause: arguments.pause };
    runner::log(&format!("the seed is {}", arguments.seed));
    let schedule = Mutex::new(Schedule::new(limits, arguments.seed));
    let summary = Mutex::new(Summary::default());
    let work = arguments
        .clusters
        .iter()
        .map(|name| disturb(arguments, name, &schedule, &summary, stop.clone()));
    let done = try_join_all(work).await;
    let summary = summary.into_inner();
    // Print what is known, whatever failed afterwards.
    runner::print(&summary, arguments.output)?;
    done?;
    Ok(u8::from(!summary.is_good()))
}

/// Runs nestcheck on one cluster until there were enough faults.
async fn disturb(
    arguments: &Arguments,
    name: &str,
    schedule: &Mutex<Schedule>,
    summary: &Mutex<Summary>,
    stop: CancellationToken,
) -> Result<()> {
    let cluster = LocalCluster::find(&fs::canonicalize(&arguments.local_cluster)?, name).await?;
    let nestcheck = Nestcheck {
        program: fs::canonicalize(&arguments.nestcheck)?,
        kubeconfig: cluster.kubeconfig.clone(),
    };
    let test_bed = TestBed {
        upstream: Upstream::new(&nestcheck.kubeconfig).await?,
        inventory: Inventory::new(&nestcheck.kubeconfig).await?,
        output: fs::canonicalize(&arguments.output_dir)?,
        selection: arguments.selection.clone(),
        nestcheck,
        cluster,
        stop,
    };
    let expected = trial::undisturbed(&test_bed).await?;
    let mut number = 0;
    while !test_bed.stop.is_cancelled() && !schedule.lock().is_done() {
        number += 1;
        let trial = trial::run(&test_bed, &expected, number, schedule).await?;
        for finding in findings::in_words(&trial.findings) {
            runner::log(&format!("{name}, run {number}: {finding}"));
        }
        runner::log(&format!(
            "{name}, run {number}: {} faults in {:.0} s, {} retries",
            trial.faults.len(),
            trial.run_seconds,
            trial.retries.len()
        ));
        summary.lock().add(&trial);
        test_bed.cluster.recover().await?;
    }
    Ok(())
}
