//! `nestcheck expect`, and the file of expectations of `nestcheck run`.

use std::{fs::File, io::Read, path::PathBuf};

use clap::{Args, ValueEnum};
use harness::{
    Error, Result,
    diagnosis::Expectations,
    engine::{Case, OfNode},
    report::{DraftBy, draft_expectations, input},
};

use super::print_text;

/// The largest file that is read.
const LIMIT: u64 = 1024 * 1024;

/// Which failures a person expects.
#[derive(Debug, Args)]
#[command(next_help_heading = "Expectations")]
pub(super) struct ExpectationArguments {
    /// The failures that you expect, a YAML file: they are known issues. Core cases among them leave
    /// the run partial. `nestcheck expect` writes such a file
    #[arg(long = "expect", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fail the run (not conformant) if an entry of this file is stale, has expired or matches nothing
    #[arg(long, requires = "file")]
    strict: bool,
}

impl ExpectationArguments {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is too large or cannot be understood.
    pub(super) fn read(self, cases: &[Case]) -> Result<Expectations> {
        let Some(file) = self.file else { return Ok(Expectations::default()) };
        let name = file.display().to_string();
        let cannot = |problem: String| {
            Error::usage(format!("failed to read expectations `{name}`: {problem}"))
                .with_hint("give a readable YAML file with `--expect FILE`")
        };
        let mut text = String::new();
        // The size of a pipe or a device is not known before.
        File::open(&file)
            .and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text))
            .map_err(|error| cannot(error.to_string()))?;
        if text.len() as u64 > LIMIT {
            return Err(cannot(format!("it has more than {LIMIT} bytes")));
        }
        let of_nodes = cases.iter().filter(|case| case.of_node == OfNode::Each);
        let of_nodes: Vec<_> = of_nodes.map(|case| format!("{}.", case.id)).collect();
        let ids = cases.iter().map(|case| case.id).chain(of_nodes.iter().map(String::as_str));
        let mut expectations = Expectations::parse(&name, &text, &ids.collect::<Vec<_>>())?;
        expectations.strict = self.strict;
        Ok(expectations)
    }
}

/// What one entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// One entry for each case that failed, with its message
    Case,
    /// One entry for each cause
    Cause,
}

#[derive(Debug, Args)]
pub(super) struct ExpectArguments {
    /// The directory that `nestcheck run` wrote, its `events.jsonl`, or an archive of it
    #[arg(value_name = "DIR")]
    report: PathBuf,
    /// What one entry is about
    #[arg(long, value_enum, default_value = "case")]
    by: By,
    /// Expect the blocked cases too
    #[arg(long)]
    blocked: bool,
}

/// Prints a file that expects what failed in a run.
pub(super) fn execute(arguments: &ExpectArguments) -> Result<u8> {
    let events = input::read_what_is_known(&arguments.report)?;
    let by = match arguments.by {
        By::Case => DraftBy::Case,
        By::Cause => DraftBy::Cause,
    };
    print_text(&draft_expectations(&events, by, arguments.blocked)?)
}
