//! `nestcheck compare`: what changed between runs.

use harness::{
    Result,
    report::{
        compare::{Input, Rows, compare, html, json, markdown, text},
        input, summarize,
    },
};

use super::{
    arguments::{CompareArguments, CompareFormat},
    print,
};

/// The exit code where something is worse than in the first run.
const WORSE: u8 = 1;

pub(super) fn execute(arguments: &CompareArguments) -> Result<u8> {
    let read = |path: &std::path::PathBuf| {
        let report = summarize(&input::read(path)?);
        Ok(Input { name: path.display().to_string(), report })
    };
    let inputs = arguments.reports.iter().map(read).collect::<Result<Vec<_>>>()?;
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
