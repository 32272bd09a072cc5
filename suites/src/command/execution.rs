//! How often `nestcheck run` runs the cases, how far it goes, and whether it only says what it would do.

use clap::Args;

use super::arguments::OutputFormat;

/// How far a run goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Before and during the run")]
pub(super) struct ExecutionArguments {
    /// Show what would run, be created and be permitted, and write nothing. The exit code is the best
    /// that the run can have: 4 where a permission that it needs is missing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The format of the dry run [default: text]
    #[arg(long, short, value_enum, requires = "dry_run")]
    pub(super) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(super) extent: ExtentArguments,
}

/// How often the cases run, and after what no more of them.
#[derive(Debug, Args)]
pub(super) struct ExtentArguments {
    /// Start no case once one has failed or broken, known issues and informing cases aside. Cases that run
    /// are finished, and the rest is blocked
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Run the cases N times, each time in fresh namespaces; `inside` with fresh files and a fresh store of
    /// podman. The worst result of a case stands
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) repeat: u32,
}
