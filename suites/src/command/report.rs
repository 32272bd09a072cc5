//! `nestcheck report`: a report again from the event log.

use harness::{
    Result,
    report::{directory, html, json, junit, markdown, summarize},
};

use super::{
    arguments::{ReportArguments, ReportFormat},
    print,
};

pub(super) fn execute(arguments: &ReportArguments) -> Result<u8> {
    let report = summarize(&directory::load(&arguments.directory)?);
    let text = match arguments.format {
        ReportFormat::Junit => junit(&report, arguments.dialect)?,
        ReportFormat::Json => json(&report)?,
        ReportFormat::Html => html(&report),
        ReportFormat::Markdown => markdown(&report),
    };
    print(text.as_bytes())
}
