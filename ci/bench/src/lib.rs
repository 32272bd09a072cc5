//! Measures nestcheck on a real cluster: against a raw replay of its own run, and beside peers.
//!
//! Nothing is asserted: a figure above its target is printed as missed. The raw replay makes the
//! same pods, runs the same commands and makes the same requests as the run before it, with plain API
//! calls and without a check, an event or a report, and begins the longest chain first. It knows them
//! from the run's event log and from the API server's audit log: see [`steps`].

mod audit;
mod calls;
mod child;
mod cluster;
mod detection;
mod figures;
mod grounds;
mod ledger;
mod measure;
mod objects;
mod pairs;
mod peers;
mod play;
mod raw;
mod recording;
mod replay;
mod stats;
mod steps;
mod substitution;
mod sweep;
mod workspaces;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// A step that failed: there is nobody to handle it, so it is only told.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is measured and with what.
#[derive(Debug, Parser)]
#[command(about = "Timings and API requests of nestcheck, side by side with peers")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything and print the table.
    Measure(Setup),
    /// Run one program and write down what it took; for the bench itself.
    #[command(hide = true)]
    Child {
        #[arg(long)]
        usage: PathBuf,
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

/// The programs, and how often they run.
#[derive(Args, Clone, Debug)]
struct Setup {
    /// The nestcheck program.
    #[arg(long)]
    nestcheck: PathBuf,
    /// The local-cluster program.
    #[arg(long)]
    local_cluster: PathBuf,
    /// The chainsaw program; without it that peer is skipped.
    #[arg(long)]
    chainsaw: Option<PathBuf>,
    #[command(flatten)]
    kind: cluster::Kind,
    /// The cluster's name. It is started three times, and still up at the end.
    #[arg(long, default_value = "bench")]
    cluster: String,
    /// How many pairs of a run and its replay.
    #[arg(long, default_value = "5")]
    pairs: usize,
    /// How many cases run at once.
    #[arg(long, default_value = "4")]
    jobs: usize,
    /// Where the raw data go.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

/// Does what the command line says.
///
/// # Errors
///
/// A program or a request that failed.
pub fn main(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Child { usage, program } => child::measure(&usage, &program),
        Command::Measure(setup) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(measure::everything(&setup))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
