//! `nestcheck compare`: what changed between runs.

use harness::{
    Result,
    report::compare::{Rows, compare, html, json, markdown, text},
};

use super::{
    arguments::{CompareArguments, CompareFormat},
    print,
    report::read_all,
};

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
