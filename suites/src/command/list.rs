//! `nestcheck list`: the cases, without a cluster.

use std::fmt::Write;

use harness::{Error, Result, engine::Case};
use serde::Serialize;

use super::{
    arguments::{ListArguments, OutputFormat},
    print,
};
use crate::cases;

/// A case as `list -o json` shows it.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    name: String,
    suite: &'a str,
    level: harness::verdict::Level,
    title: &'a str,
}

pub(super) fn execute(arguments: &ListArguments) -> Result<u8> {
    let cases = cases();
    let mut picked = arguments.selection.read(&cases)?.pick(&cases);
    // By suite and id: the registry's order is for running, this one for reading.
    picked.sort_by_key(|case| (case.suite, case.id));
    let data = match arguments.output {
        OutputFormat::Text => text(&picked).into_bytes(),
        OutputFormat::Json => json(&picked)?,
    };
    print(&data)
}

fn text(cases: &[Case]) -> String {
    let width = cases.iter().map(|case| case.path().len()).max().unwrap_or_default();
    let mut text = String::new();
    for case in cases {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{:8} {:width$}  {}", case.id, case.path(), case.title);
    }
    text
}

fn json(cases: &[Case]) -> Result<Vec<u8>> {
    let listed: Vec<_> = cases
        .iter()
        .map(|case| Listed {
            id: case.id,
            name: case.path(),
            suite: case.suite,
            level: case.level,
            title: case.title,
        })
        .collect();
    let mut text = serde_json::to_vec_pretty(&listed)
        .map_err(|error| Error::infrastructure(format!("failed to write JSON: {error}")))?;
    text.push(b'\n');
    Ok(text)
}
