//! Proves that nestcheck leaves nothing behind and loses nothing, whichever request goes wrong.
//!
//! nestcheck runs through a proxy that injects one fault at its k-th request: it kills nestcheck,
//! cuts the connection, or answers in the API server's place. Afterwards the run is swept, the API
//! server is asked for leftovers, and the report is compared with the event log. Runs are
//! independent, so many are active at once. [`node`] gives the cluster itself faults.

mod fault;
mod invariant;
mod inventory;
mod nestcheck;
pub mod node;
mod proxy;
mod runner;
mod schedule;
mod signals;
mod summary;
mod table;
mod trial;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
pub use fault::FaultKind;

/// Nobody handles a failed step: it is only printed.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs nestcheck again and again, each time with one fault at one of its requests
///
/// Nobody else may use the cluster: objects of other runs count as leaks.
///
/// Exit codes: 0 every invariant held, 1 one was violated, 4 a trial could not run, 130 and 143
/// interrupted.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub struct Arguments {
    /// The nestcheck program
    #[arg(long, value_name = "FILE")]
    nestcheck: PathBuf,
    /// The administrator's kubeconfig
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// What goes wrong, one after the other
    #[arg(long, value_name = "FAULT", value_delimiter = ',', default_value = "kill")]
    faults: Vec<FaultKind>,
    /// Inject this many faults at requests in random order, instead of one at every request
    #[arg(long, value_name = "N")]
    kills: Option<u64>,
    /// The seed of the random order
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Suites whose runs are slow: each of their requests gets one fault, even if `--kills` asks
    /// for more
    #[arg(long, value_name = "SUITE", value_delimiter = ',', requires = "by_suite")]
    once: Vec<String>,
    /// Run the suites one by one, instead of all in one run
    #[arg(long)]
    by_suite: bool,
    /// The profile, as for `nestcheck run`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How many runs are active at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Where the files of trials that violated an invariant are kept
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    output_dir: PathBuf,
    /// How the figures are printed
    #[arg(long, short, value_enum, default_value = "text")]
    output: OutputFormat,
    /// The cases, as for `nestcheck run`
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Runs the command line.
///
/// # Errors
///
/// A trial that could not run, or a run that fails even without a fault.
pub fn main(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(runner::run(arguments));
    // Tasks that still run belong to finished trials.
    runtime.shutdown_background();
    code
}
