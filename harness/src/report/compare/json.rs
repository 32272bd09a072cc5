//! The comparison as JSON, for programs.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{CaseRow, CauseRow, Cell, Change, ComparedRun, Comparison, Pace, Problem, Rows};
use crate::{
    base::{error::Error, schema::schema_of},
    report::sentence::outcome_name,
    verdict::{Level, Place, SignatureId, Verdict},
};

/// The version of the format.
const SCHEMA: u32 = 1;

/// The document.
#[derive(JsonSchema, Serialize)]
struct Document<'a> {
    /// The version of the format.
    #[schemars(extend("const" = SCHEMA))]
    schema: u32,
    /// Whether something is worse in a later run than in the first one: then the exit code is 1.
    worse: bool,
    /// The runs, in the order in which they were given. The first is the one that the others are
    /// compared with.
    runs: Vec<Run<'a>>,
    /// The cases that differ between any two runs, or all with `--all`: what got worse first.
    cases: Vec<Case<'a>>,
    /// Why cases did not pass: the causes that explain other cases in any two runs, or all with
    /// `--all`.
    causes: Vec<Cause<'a>>,
    /// The facts about clusters, images and versions that differ between any two runs, or all with
    /// `--all`.
    facts: Vec<Fact<'a>>,
}

/// A run.
#[derive(JsonSchema, Serialize)]
struct Run<'a> {
    /// `A` for the first run, `B` for the next.
    label: &'a str,
    /// The path of its report, as it was given.
    name: &'a str,
    /// The cluster in a few words.
    cluster: &'a str,
    /// When the run, or what is known of it, started.
    started: Option<Timestamp>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// `conformant`, `not-conformant`, `partial`, `error`, `leaked`, `interrupted`; `died` when
    /// the log ends before the run did.
    #[schemars(extend("enum" = [
        "conformant", "not-conformant", "partial", "error", "leaked", "interrupted", "died",
    ]))]
    outcome: String,
    /// Whether only some of the profile's cases were asked for.
    is_part: bool,
    /// What happened to the run itself; null if nothing did.
    problem: Option<Problem>,
    /// Whether that is worse than in the first run.
    change: Change,
}

/// A case.
#[derive(JsonSchema, Serialize)]
struct Case<'a> {
    /// The case's id.
    id: &'a str,
    /// The case's name path, `suite::name`.
    name: &'a str,
    /// What the case asserts.
    title: &'a str,
    /// How much it weighs: the most that it weighs in any run.
    level: Level,
    /// The most important of its changes.
    change: Change,
    /// Its results, one a run; null where the run did not have it.
    results: Vec<Option<CaseResult<'a>>>,
}

/// A case in one run.
#[derive(JsonSchema, Serialize)]
struct CaseResult<'a> {
    /// The field `verdict`, and what that verdict brings: `message` and `hint`, `reason` and
    /// `remedy`, `signature`.
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// The id of the cause in `causes` that explains it; left out where it passed or is not
    /// applicable.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause_id: Option<&'a str>,
    /// The log ends before the case did.
    cut_off: bool,
    /// How long it ran, in milliseconds.
    duration_ms: u64,
    /// What changed since the first run.
    change: Change,
    /// Whether it takes more than twice as long as in the first run and more than five seconds
    /// longer, or the other way round; null if neither. It makes nothing worse.
    pace: Option<Pace>,
}

/// A cause.
#[derive(JsonSchema, Serialize)]
struct Cause<'a> {
    /// Its id in the first run that has it.
    id: &'a str,
    /// The known failure; null where there is none.
    #[schemars(with = "Option<String>")]
    signature: Option<SignatureId>,
    /// What is wrong, in one line.
    wrong: &'a str,
    /// Where it is wrong.
    place: Place,
    /// What to do about it; null where nobody knows.
    fix: Option<&'a str>,
    /// The ids of the cases that it explains, one list a run.
    cases: &'a [Vec<String>],
}

/// A fact.
#[derive(JsonSchema, Serialize)]
struct Fact<'a> {
    /// What it is about.
    name: &'a str,
    /// What was read, one value a run; null where the run does not know it.
    values: &'a [Option<String>],
}

/// Generates the JSON Schema of `nestcheck compare --format json`.
#[must_use]
pub fn json_schema() -> Schema {
    schema_of::<Document<'_>>("nestcheck: `compare --format json`")
}

/// The comparison as JSON.
///
/// # Errors
///
/// The document can't be serialised; no comparison is known for which that happens.
pub fn json(comparison: &Comparison, rows: Rows) -> Result<String, Error> {
    let is_shown = |is_same: bool| rows == Rows::All || !is_same;
    let cases = comparison.cases.iter().filter(|row| is_shown(row.is_same()));
    let explained = comparison.causes.iter().filter(|row| is_shown(row.is_same()));
    let facts = comparison.facts.iter().filter(|row| is_shown(row.is_same()));
    let document = Document {
        schema: SCHEMA,
        worse: comparison.is_worse(),
        runs: comparison.runs.iter().map(run).collect(),
        cases: cases.map(|row| case(comparison, row)).collect(),
        causes: explained.map(cause).collect(),
        facts: facts.map(|row| Fact { name: &row.name, values: &row.values }).collect(),
    };
    serde_json::to_string_pretty(&document)
        .map(|text| text + "\n")
        .map_err(|error| Error::infrastructure(format!("can't write JSON: {error}")))
}

fn run(run: &ComparedRun) -> Run<'_> {
    Run {
        label: &run.label,
        name: &run.name,
        cluster: &run.cluster,
        started: run.started,
        duration_ms: run.duration_ms,
        outcome: outcome_name(run.outcome).replace(' ', "-"),
        is_part: run.is_part,
        problem: run.problem,
        change: run.change,
    }
}

fn case<'a>(comparison: &'a Comparison, row: &'a CaseRow) -> Case<'a> {
    let result = |cell: &'a Cell| CaseResult {
        verdict: &cell.verdict,
        cause_id: cell.cause.and_then(|row| comparison.causes.get(row)).map(|row| row.id.as_str()),
        cut_off: cell.is_cut_off,
        duration_ms: cell.duration_ms,
        change: cell.change,
        pace: cell.pace,
    };
    Case {
        id: &row.id,
        name: &row.name,
        title: &row.title,
        level: row.level,
        change: row.change,
        results: row.cells.iter().map(|cell| cell.as_ref().map(result)).collect(),
    }
}

fn cause(row: &CauseRow) -> Cause<'_> {
    Cause {
        id: &row.id,
        signature: row.signature,
        wrong: &row.wrong,
        place: row.place,
        fix: row.fix.as_deref(),
        cases: &row.cases,
    }
}
