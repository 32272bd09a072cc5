//! `nestcheck report`: a report again from the event log, or one of several.

use std::path::PathBuf;

use harness::{
    Result,
    report::{NamedReport, Report, input, join, summarize},
    verdict::Outcome,
};

use super::{arguments::ReportArguments, outputs::text, print};

pub(super) fn execute(arguments: &ReportArguments) -> Result<u8> {
    let report = read(&arguments.directories)?;
    let text = text(&report, arguments.format, arguments.dialect)?;
    let printed = print(text.as_bytes())?;
    if arguments.exit_zero {
        return Ok(printed);
    }
    // A run that died proves nothing, as one that broke.
    Ok(report.outcome.unwrap_or(Outcome::Error).exit_code())
}

/// Reads the report of a directory, or joins those of several.
fn read(directories: &[PathBuf]) -> Result<Report> {
    if let [directory] = directories {
        return Ok(summarize(&input::read_what_is_known(directory)?));
    }
    let parts = read_all(directories)?;
    Ok(join(&parts)?)
}

/// Reads reports that are looked at together, each with its path as its name.
///
/// # Errors
///
/// As [`input::read`].
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<NamedReport>> {
    let read = |path: &PathBuf| {
        let report = summarize(&input::read(path)?);
        Ok(NamedReport { name: path.display().to_string(), report })
    };
    paths.iter().map(read).collect()
}
