//! The last report of a run that is made again and again, such as each night.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use harness::{
    Error, Result,
    report::{
        NamedReport,
        compare::{Rows, compare, text},
        input, summarize, write_archive,
    },
};

use super::{new_file::NewFile, print_error};

/// What the two reports are called.
const LAST: &str = "last run";
const THIS: &str = "this run";

/// With which report a run is compared.
#[derive(Debug, Args)]
pub(super) struct LastReportArguments {
    /// Say what changed since the report in this archive, and replace it with that of this run, which
    /// the next one is compared with. The exit code stays that of the run
    #[arg(long, value_name = "FILE")]
    compare_last: Option<PathBuf>,
}

/// The last report, and the file that this one replaces it in.
#[derive(Debug)]
pub(super) struct LastReport {
    file: NewFile,
    last: Option<NamedReport>,
}

impl LastReportArguments {
    /// The file of the last report.
    pub(super) fn file(&self) -> Option<&Path> {
        self.compare_last.as_deref()
    }

    /// Reads the last report, before the run. One that can't be read is reported and replaced: nobody
    /// may be there to remove it.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub(super) fn open(&self) -> Result<Option<LastReport>> {
        let Some(path) = &self.compare_last else { return Ok(None) };
        let file = NewFile::create(path).map_err(|error| cannot_write(path, &error))?;
        // The first run has none.
        let last = if fs::exists(path).unwrap_or_default() { read(path) } else { None };
        Ok(Some(LastReport { file, last }))
    }
}

fn read(path: &Path) -> Option<NamedReport> {
    let events = input::read(path).inspect_err(print_error).ok()?;
    Some(NamedReport { name: LAST.to_owned(), report: summarize(&events) })
}

impl LastReport {
    /// Says what changed since the last report, and replaces it with that of a directory.
    ///
    /// # Errors
    ///
    /// A report that cannot be read, or a file that cannot be written. The last report stays then.
    pub(super) fn replace(mut self, directory: &Path) -> Result<()> {
        let this = NamedReport {
            name: THIS.to_owned(),
            report: summarize(&harness::report::directory::load(directory)?),
        };
        let said = match self.last {
            Some(last) => text(&compare(&[last, this]), Rows::Different),
            None => "no last report to compare with\n".to_owned(),
        };
        let _ = io::stderr().write_all(said.as_bytes());
        self.file
            .write(|file| write_archive(directory, file).map(drop))
            .map_err(|error| cannot_write(self.file.target(), &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!("failed to write the last report `{}`: {error}", path.display()))
        .with_hint("give a file that you may write with `--compare-last FILE`")
}
