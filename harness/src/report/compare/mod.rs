//! What changed between runs, of any clusters and days. The first run is the baseline: each other
//! one is compared with it. Pure.

mod change;
mod html;
mod json;
mod markdown;
mod matrix;
mod text;

use std::collections::{BTreeMap, HashMap};

pub use change::{Change, Pace, Problem};
pub use html::html;
use jiff::Timestamp;
pub use json::{json, json_schema};
pub use markdown::markdown;
pub use text::text;

pub(super) use self::change::weight_of;
use self::{
    change::{change_of_case, is_same_cause, pace_of, problem_of},
    matrix::facts_of,
};
use super::{
    model::{CaseReport, Counts, NamedReport},
    text::{NAME_LIMIT, line},
};
use crate::{
    base::redact,
    verdict::{Cause, Level, Outcome, Place, SignatureId, Verdict},
};

/// Which rows a comparison shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// Those that differ between any two runs.
    #[default]
    Different,
    /// All.
    All,
}

/// Runs beside each other, and what changed since the first of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The runs, in the order in which they were given.
    pub runs: Vec<ComparedRun>,
    /// The cases: what got worse first, then new failures, then what got better, then what changed
    /// otherwise, by suite and id.
    pub cases: Vec<CaseRow>,
    /// Why cases did not pass, the causes of the first run first.
    pub causes: Vec<CauseRow>,
    /// The facts about clusters, images and versions, in the order of the first run.
    pub facts: Vec<FactRow>,
}

/// A run in a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedRun {
    /// `A` for the first run, `B` for the next.
    pub label: String,
    /// The name of its report.
    pub name: String,
    /// The cluster: its product, version and server.
    pub cluster: String,
    /// When it started.
    pub started: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Its outcome; none when its log ends before the run did.
    pub outcome: Option<Outcome>,
    /// Whether it had only some of its profile's cases.
    pub is_part: bool,
    /// Its cases by verdict.
    pub counts: Counts,
    /// What happened to the run itself.
    pub problem: Option<Problem>,
    /// Whether that is worse than in the first run.
    pub change: Change,
}

/// A case in each run.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRow {
    /// The case's id.
    pub id: String,
    /// Its name path, `suite::name`.
    pub name: String,
    /// Its suite.
    pub suite: String,
    /// What it asserts.
    pub title: String,
    /// How much it weighs: the most that it weighs in any run.
    pub level: Level,
    /// Its results, one a run; none where the run did not have it.
    pub cells: Vec<Option<Cell>>,
    /// The most important of their changes.
    pub change: Change,
}

/// A case in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its verdict.
    pub verdict: Verdict,
    /// The log ends before the case did.
    pub is_cut_off: bool,
    /// The row of its cause in [`Comparison::causes`].
    pub cause: Option<usize>,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// What changed since the first run.
    pub change: Change,
    /// Whether it takes longer than in the first run, or not as long.
    pub pace: Option<Pace>,
}

/// A cause in each run.
#[derive(Clone, Debug, PartialEq)]
pub struct CauseRow {
    /// Its id in the first run that has it.
    pub id: String,
    /// The known failure.
    pub signature: Option<SignatureId>,
    /// What is wrong.
    pub wrong: String,
    /// Where it is wrong.
    pub place: Place,
    /// What to do about it.
    pub fix: Option<String>,
    /// The ids of the cases that it explains, one list a run.
    pub cases: Vec<Vec<String>>,
}

/// A fact in each run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactRow {
    /// Its name.
    pub name: String,
    /// Its values, one a run; none where the run does not know it.
    pub values: Vec<Option<String>>,
}

impl CaseRow {
    /// Whether all runs have it, with the same verdict for the same cause, and take about as long.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.change == Change::Same && self.cells.iter().flatten().all(|cell| cell.pace.is_none())
    }
}

impl CauseRow {
    /// Whether it explains the same cases in all runs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.cases.windows(2).all(|pair| pair[0] == pair[1])
    }
}

impl FactRow {
    /// Whether all runs have the same value.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.values.windows(2).all(|pair| pair[0] == pair[1])
    }
}

impl Comparison {
    /// Whether something is worse in a later run than in the first one.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.count(Change::Worse) > 0 || self.worse_runs().next().is_some()
    }

    /// How many cases changed in this way.
    #[must_use]
    pub fn count(&self, change: Change) -> usize {
        self.cases.iter().filter(|row| row.change == change).count()
    }

    /// The runs that ended worse than the first one.
    pub fn worse_runs(&self) -> impl Iterator<Item = &ComparedRun> {
        self.runs.iter().filter(|run| run.change == Change::Worse)
    }

    /// The cases of one kind of change that are to be shown.
    fn rows(&self, change: Change, which: Rows) -> impl Iterator<Item = &CaseRow> {
        let is_shown = which == Rows::All || change != Change::Same;
        self.cases.iter().filter(move |row| is_shown && row.change == change)
    }
}

/// Compares runs with the first of them.
#[must_use]
pub fn compare(inputs: &[NamedReport]) -> Comparison {
    let explained = cause_rows(inputs);
    let mut cases = case_rows(inputs, &explained);
    cases.sort_by(|a, b| (a.change, &a.suite, &a.id).cmp(&(b.change, &b.suite, &b.id)));
    Comparison { runs: runs(inputs), cases, causes: explained, facts: facts_of(inputs) }
}

fn runs(inputs: &[NamedReport]) -> Vec<ComparedRun> {
    let first = inputs.first().and_then(|input| problem_of(&input.report));
    let run = |(index, input): (usize, &NamedReport)| {
        let report = &input.report;
        let problem = problem_of(report);
        ComparedRun {
            label: label(index),
            name: line(&redact::clean_text(&input.name), NAME_LIMIT),
            cluster: matrix::cluster(report),
            started: report.started,
            duration_ms: report.duration_ms,
            outcome: report.outcome,
            is_part: report.run.as_ref().is_some_and(|run| run.is_part),
            counts: report.counts,
            problem,
            change: match (first, problem) {
                (before, after) if before == after => Change::Same,
                (_, Some(_)) => Change::Worse,
                (_, None) => Change::Better,
            },
        }
    };
    inputs.iter().enumerate().map(run).collect()
}

/// `A` to `Z`, then `A2` to `Z2`.
fn label(index: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(index % 26).unwrap_or_default());
    match index / 26 {
        0 => letter.to_string(),
        round => format!("{letter}{}", round + 1),
    }
}

fn cause_rows(inputs: &[NamedReport]) -> Vec<CauseRow> {
    let mut rows: Vec<CauseRow> = Vec::new();
    let (mut of_id, mut of_signature) = (HashMap::new(), HashMap::new());
    for (index, input) in inputs.iter().enumerate() {
        for cause in &input.report.causes {
            // A row whose id is only a signature is the first of its signature: all others join it.
            let similar = || of_signature.get(&cause.signature?).copied();
            let is_same = |row: &usize| is_same_cause(&rows[*row], cause);
            let known = of_id.get(&cause.id).copied().or_else(|| similar().filter(is_same));
            let position = known.unwrap_or(rows.len());
            if known.is_none() {
                rows.push(CauseRow::new(cause, inputs.len()));
                of_id.insert(&cause.id, position);
                if let Some(signature) = cause.signature {
                    of_signature.entry(signature).or_insert(position);
                }
            }
            if let Some(cases) = rows.get_mut(position).and_then(|row| row.cases.get_mut(index)) {
                cases.extend(cause.cases.iter().cloned());
                cases.sort_unstable();
            }
        }
    }
    rows
}

impl CauseRow {
    fn new(cause: &Cause, runs: usize) -> Self {
        Self {
            id: cause.id.clone(),
            signature: cause.signature,
            wrong: cause.wrong.clone(),
            place: cause.place,
            fix: cause.fix.clone(),
            cases: vec![Vec::new(); runs],
        }
    }
}

/// The row of the cause of each case, a map a run.
type Explained<'a> = Vec<HashMap<&'a str, usize>>;

fn explained(causes: &[CauseRow], runs: usize) -> Explained<'_> {
    let mut explained = vec![HashMap::new(); runs];
    for (row, cause) in causes.iter().enumerate() {
        for (of_run, ids) in explained.iter_mut().zip(&cause.cases) {
            for id in ids {
                of_run.entry(id.as_str()).or_insert(row);
            }
        }
    }
    explained
}

fn case_rows(inputs: &[NamedReport], causes: &[CauseRow]) -> Vec<CaseRow> {
    let mut found: BTreeMap<&str, Vec<Option<&CaseReport>>> = BTreeMap::new();
    for (index, input) in inputs.iter().enumerate() {
        for case in &input.report.cases {
            let runs = found.entry(&case.case.id).or_insert_with(|| vec![None; inputs.len()]);
            runs[index] = Some(case);
        }
    }
    let explained = explained(causes, inputs.len());
    found.values().filter_map(|runs| case_row(runs, &explained)).collect()
}

/// Whether a case fails or breaks; an interrupted one does neither.
fn fails(case: &CaseReport) -> bool {
    matches!(case.case.verdict, Verdict::Fail { .. } | Verdict::Error { .. })
}

fn case_row(runs: &[Option<&CaseReport>], explained: &Explained<'_>) -> Option<CaseRow> {
    let results: Vec<_> = runs.iter().copied().flatten().collect();
    // What a log cut off only guesses what the case is.
    let known = results.iter().find(|result| !result.cut_off).or(results.first())?;
    let level = weight_of(&results);
    let id = known.case.id.as_str();
    let explained_by = |run: usize| explained.get(run).and_then(|run| run.get(id)).copied();
    let first = runs.first().copied().flatten();
    let cell = |(index, run): (usize, Option<&CaseReport>)| {
        let run = run?;
        let cause = explained_by(index);
        let change = match first {
            _ if index == 0 => Change::Same,
            Some(first) => change_of_case(level, first, run, explained_by(0) == cause),
            None if level != Level::Informing && fails(run) => Change::NewFailure,
            None => Change::Missing,
        };
        Some(Cell {
            verdict: run.case.verdict.clone(),
            is_cut_off: run.cut_off,
            cause,
            duration_ms: run.case.duration_ms,
            change,
            pace: first.and_then(|first| pace_of(first, run)),
        })
    };
    let cells: Vec<_> = runs.iter().copied().enumerate().map(cell).collect();
    let change = |cell: &Option<Cell>| cell.as_ref().map_or(Change::Missing, |cell| cell.change);
    Some(CaseRow {
        id: known.case.id.clone(),
        name: known.case.name.clone(),
        suite: known.case.suite.clone(),
        title: known.case.title.clone(),
        level,
        change: cells.iter().map(change).min().unwrap_or(Change::Same),
        cells,
    })
}
