//! `nestcheck report`: a report again from the event log.

use harness::{
    Result,
    report::{directory, summarize},
    verdict::Outcome,
};

use super::{arguments::ReportArguments, outputs::text, print};

pub(super) fn execute(arguments: &ReportArguments) -> Result<u8> {
    let report = summarize(&directory::load(&arguments.directory)?);
    let text = text(&report, arguments.format, arguments.dialect)?;
    let printed = print(text.as_bytes())?;
    if arguments.exit_zero {
        return Ok(printed);
    }
    // A run that died proves nothing, as one that broke.
    Ok(report.outcome.unwrap_or(Outcome::Error).exit_code())
}
