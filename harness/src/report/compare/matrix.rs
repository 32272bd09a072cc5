//! What all formats of a comparison show: facts beside each other, and the words about runs.

use super::{Cell, Change, ComparedRun, Comparison, FactRow, Rows};
use crate::{
    report::{
        model::{NamedReport, Report},
        sentence::outcome_name,
        text::{counted, names},
    },
    verdict::event::RunStarted,
};

/// How many ids a sentence names.
const MOST_NAMES: usize = 5;

/// The most that text shows of a fact.
pub(super) const VALUE: usize = 300;

/// A group of cases in a comparison, with its heading.
pub(super) const GROUPS: [(Change, &str); 6] = [
    (Change::Worse, "Got worse"),
    (Change::NewFailure, "New failures"),
    (Change::Better, "Got better"),
    (Change::Other, "Changed otherwise"),
    (Change::Missing, "Not in all runs"),
    (Change::Same, "The same"),
];

/// What a group with a heading that needs it means.
pub(super) fn note(change: Change) -> Option<&'static str> {
    match change {
        Change::NewFailure => Some("A did not have these cases, so they are not worse"),
        Change::Missing => {
            Some("Other profiles, filters or versions of nestcheck, or a log that ends early")
        }
        _ => None,
    }
}

/// The facts of all runs: those about the cluster, then what was run. A fact that a run has several
/// times is one.
pub(super) fn facts_of(inputs: &[NamedReport]) -> Vec<FactRow> {
    let mut rows: Vec<FactRow> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        for (name, value) in input.report.run.iter().flat_map(facts_of_run) {
            let known = rows.iter().position(|row| row.name == name);
            let position = known.unwrap_or_else(|| {
                rows.push(FactRow { name, values: vec![None; inputs.len()] });
                rows.len() - 1
            });
            let cell = rows.get_mut(position).and_then(|row| row.values.get_mut(index));
            match cell {
                Some(Some(before)) => *before = format!("{before}; {value}"),
                Some(empty) => *empty = Some(value),
                None => {}
            }
        }
    }
    rows
}

fn facts_of_run(run: &RunStarted) -> Vec<(String, String)> {
    let part = if run.is_part { "some of its cases" } else { "all of its cases" };
    let own = [
        ("nestcheck", run.version.clone()),
        ("profile", format!("{}, {part}", run.profile)),
        ("image", run.image.clone()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(run.cluster.iter().cloned()).collect()
}

/// The cluster of a run in a few words.
pub(super) fn cluster(report: &Report) -> String {
    let fact = |name: &str| {
        let facts = report.run.iter().flat_map(|run| &run.cluster);
        facts.filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).next()
    };
    let parts = ["flavour", "release", "version", "server"].into_iter().filter_map(fact);
    parts.collect::<Vec<_>>().join(", ")
}

/// The outcome of a run, and whether it is about all cases of its profile.
pub(super) fn outcome(run: &ComparedRun) -> String {
    let name = outcome_name(run.outcome);
    if run.is_part { format!("{name} (a part of the profile)") } else { name.to_owned() }
}

/// When a run started, to the minute.
pub(super) fn day(run: &ComparedRun) -> String {
    run.started.map_or_else(
        || "at an unknown time".to_owned(),
        |started| started.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// The comparison in one sentence.
pub(super) fn headline(comparison: &Comparison) -> String {
    let mut parts = Vec::new();
    let mut add = |count: usize, noun: &str, what: &str| {
        if count > 0 {
            parts.push(format!("{} {what}", counted(count, noun)));
        }
    };
    add(comparison.count(Change::Worse), "case", "worse");
    add(comparison.worse_runs().count(), "run", "ended worse");
    add(comparison.count(Change::NewFailure), "new failure", "");
    add(comparison.count(Change::Better), "case", "better");
    add(comparison.count(Change::Other), "case", "changed otherwise");
    let start = if comparison.is_worse() { "Something got worse" } else { "Nothing got worse" };
    if parts.is_empty() {
        return start.to_owned();
    }
    let parts: Vec<_> = parts.iter().map(|part| part.trim_end()).collect();
    format!("{start}: {}", parts.join(", "))
}

/// How the runs that ended worse than the first one ended.
pub(super) fn worse_runs(comparison: &Comparison) -> Vec<String> {
    let runs = comparison.worse_runs();
    runs.filter_map(|run| Some(format!("Run {}: {}", run.label, run.problem?.name()))).collect()
}

/// A verdict in a cell: `fail`, or `–` where the run does not have the case.
pub(super) fn verdict(cell: Option<&Cell>) -> &'static str {
    match cell {
        None => "–",
        Some(cell) if cell.is_cut_off => "cut off",
        Some(cell) => cell.verdict.name(),
    }
}

/// The cases whose duration changed beyond noise, as sentences.
pub(super) fn durations(comparison: &Comparison) -> Vec<String> {
    let mut sentences = Vec::new();
    for row in &comparison.cases {
        let Some(Some(first)) = row.cells.first() else { continue };
        for (run, cell) in comparison.runs.iter().zip(&row.cells) {
            let Some(cell) = cell else { continue };
            if cell.pace.is_some() {
                let [new, old] = [cell.duration_ms, first.duration_ms].map(seconds);
                sentences.push(format!("{} takes {new} in {}, {old} in A", row.id, run.label));
            }
        }
    }
    sentences
}

/// A duration to a tenth of a second.
fn seconds(duration_ms: u64) -> String {
    format!("{}.{} s", duration_ms / 1000, duration_ms % 1000 / 100)
}

/// The cases that one run alone has or lacks, as sentences: `only in A: POD-03`.
pub(super) fn missing(comparison: &Comparison) -> Vec<String> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for row in comparison.rows(Change::Missing, Rows::Different) {
        let have = comparison.runs.iter().zip(&row.cells).filter(|(_, cell)| cell.is_some());
        let runs = have.map(|(run, _)| run.label.as_str()).collect::<Vec<_>>().join(", ");
        match groups.iter_mut().find(|(known, _)| *known == runs) {
            Some((_, ids)) => ids.push(&row.id),
            None => groups.push((runs, vec![&row.id])),
        }
    }
    let sentence = |(runs, ids): (String, Vec<&str>)| {
        let count = counted(ids.len(), "case");
        format!("Only in {runs}: {count}: {}", names(ids, MOST_NAMES))
    };
    groups.into_iter().map(sentence).collect()
}
