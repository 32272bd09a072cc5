//! `nestcheck report`: a report again from the event log, or one of several.

use std::path::PathBuf;

use harness::{
    Result,
    report::{Part, Report, directory, input, join, summarize},
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

/// Reads the report of a directory, or joins those of several. A single log may lack the start of its
/// run: a report is all that is known of a run that died.
fn read(directories: &[PathBuf]) -> Result<Report> {
    if let [directory] = directories {
        let is_file = directory.is_file();
        let events = if is_file { input::read(directory) } else { directory::load(directory) };
        return Ok(summarize(&events?));
    }
    let part = |path: &PathBuf| {
        let report = summarize(&input::read(path)?);
        Ok(Part { name: path.display().to_string(), report })
    };
    let parts = directories.iter().map(part).collect::<Result<Vec<_>>>()?;
    Ok(join(&parts)?)
}
