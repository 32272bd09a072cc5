//! Measures nestcheck on a real cluster: beside the lower bound of its own run, and beside peers.
//!
//! The bench asserts nothing: it prints a figure above its target as missed. A run's lower bound is
//! its critical path, or its cases on as many workers without a pause: see `timeline`.

mod audit;
mod child;
mod cluster;
mod detection;
mod figures;
mod ledger;
mod many_nodes;
mod measure;
mod objects;
mod pairs;
mod peers;
mod raw;
mod stats;
mod sweep;
mod timeline;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

/// Nobody handles a failed step: it is only printed.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is measured and with what.
#[derive(Debug, Parser)]
#[command(name = "bench", about = "Timings and API requests of nestcheck, side by side with peers")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure everything and print the table.
    Measure(Setup),
    /// Measure `nestcheck preflight` of a recorded cluster of many nodes; needs no cluster.
    ManyNodes {
        /// The nestcheck program.
        #[arg(long)]
        nestcheck: PathBuf,
        /// The directory of its log.
        #[arg(long, default_value = "target/bench")]
        output: PathBuf,
    },
    /// Run one program and record its time and memory; for the bench itself.
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
    /// How many pairs of a run and the simplest workload.
    #[arg(long, default_value = "5")]
    pairs: usize,
    /// How many cases run at once.
    #[arg(long, default_value = "4")]
    jobs: usize,
    /// Where the raw data go.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

/// Whether cases share the pod of this name.
fn is_shared_pod(name: &str) -> bool {
    let more = [&suites::fixtures::INSPECTOR, &suites::fixtures::DEVWORKSPACE];
    let mut templates = suites::fixtures::ALL_TEMPLATES.into_iter().chain(more);
    templates.any(|template| template.shared && template.name == name)
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
            runtime()?.block_on(measure::everything(&setup))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ManyNodes { nestcheck, output } => {
            std::fs::create_dir_all(&output)?;
            let mut figures = figures::Figures::default();
            let log = output.join("many-nodes.log");
            runtime()?.block_on(many_nodes::measure(&nestcheck, &log, &mut figures))?;
            write!(io::stdout(), "{figures}")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
