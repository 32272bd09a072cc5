//! `nestcheck report`: a report again from the event log, or one of several.

use std::path::PathBuf;

use harness::{
    Result,
    report::{Part, Report, directory, html, input, join, json, junit, markdown, summarize},
};

use super::{
    arguments::{ReportArguments, ReportFormat},
    print,
};

pub(super) fn execute(arguments: &ReportArguments) -> Result<u8> {
    let report = read(&arguments.directories)?;
    let text = match arguments.format {
        ReportFormat::Junit => junit(&report, arguments.dialect)?,
        ReportFormat::Json => json(&report)?,
        ReportFormat::Html => html(&report),
        ReportFormat::Markdown => markdown(&report),
    };
    print(text.as_bytes())
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
