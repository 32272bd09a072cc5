//! `nestcheck compare`: what changed between runs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use harness::{
    Result,
    report::compare::{Rows, compare, html, json, markdown, text},
};

use super::{print, report::read_all};

/// The format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompareFormat {
    /// Text for a terminal
    Text,
    /// Markdown, for a job's summary
    Markdown,
    /// One HTML page
    Html,
    /// JSON
    Json,
}

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// The reports: directories that `nestcheck run` wrote, their `events.jsonl`, or archives of
    /// `--report-archive`. The others are compared with the first
    #[arg(value_name = "REPORT", required = true, num_args = 2..)]
    pub(super) reports: Vec<PathBuf>,
    /// The format
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: CompareFormat,
    /// Show every case, cause and fact, not only those that differ
    #[arg(long)]
    pub(super) all: bool,
}

/// The exit code where something is worse than in the first run.
const WORSE: u8 = 1;

pub(super) fn execute(arguments: &CompareArguments) -> Result<u8> {
    let inputs = read_all(&arguments.reports)?;
    let comparison = compare(&inputs);
    let rows = if arguments.all { Rows::All } else { Rows::Different };
    let text = match arguments.format {
        CompareFormat::Text => text(&comparison, rows),
        CompareFormat::Markdown => markdown(&comparison, rows),
        CompareFormat::Html => html(&comparison, rows),
        CompareFormat::Json => json(&comparison, rows)?,
    };
    print(text.as_bytes())?;
    Ok(if comparison.is_worse() { WORSE } else { 0 })
}
