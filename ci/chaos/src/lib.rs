//! Proves that nestcheck leaves nothing behind and loses nothing, whichever request goes wrong.
//!
//! nestcheck is run through a proxy that does one fault at its k-th request: kills it, cuts the
//! connection, answers in the API server's place. Afterwards the run is swept, the API server
//! itself is asked what is left, and the report so far is compared with the event log. Runs are
//! independent of each other, so many are under way at once.

mod campaign;
mod fault;
mod invariant;
mod inventory;
mod kubeconfig;
mod nestcheck;
mod proxy;
mod schedule;
mod signals;
mod summary;
mod trial;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

pub use fault::Fault;

/// A step that failed: there is nobody to handle it, so it is only told.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs nestcheck again and again, each time with one fault at one of its requests
///
/// The cluster must be for this alone: objects of other runs count as leaks.
///
/// Exit codes: 0 every promise was kept, 1 one was broken, 4 the trials could not be made, 130 and
/// 143 interrupted.
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
    faults: Vec<Fault>,
    /// Strike so many requests in random order, instead of every request once
    #[arg(long, value_name = "N")]
    kills: Option<u64>,
    /// What the random order is drawn with
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Suites whose runs are dear: strike each of their requests once, with one fault, where
    /// `--kills` wants more
    #[arg(long, value_name = "SUITE", value_delimiter = ',', requires = "by_suite")]
    once: Vec<String>,
    /// Run the suites one by one, instead of all in one run
    #[arg(long)]
    by_suite: bool,
    /// The profile, as for `nestcheck run`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How many runs are under way at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Where the files of trials are kept that broke a promise
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

/// Does what the command line says.
///
/// # Errors
///
/// A trial that could not be made, or a run that is not good even without a fault.
pub fn main(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(campaign::conduct(arguments));
    // What still runs belongs to trials that are over.
    runtime.shutdown_background();
    code
}
