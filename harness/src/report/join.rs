//! One report of several: shards of a run, and reruns of what did not pass. Pure.
//!
//! The worst result of a case stands, whatever the order of the reports: a product that works at
//! times does not work, and the reports of a broken run prove less than those of a whole one. So a
//! joined report is never greener than one that it is made of.

mod proofs;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Counts,
    compare::weight_of,
    iterations::causes_of,
    model::{CaseReport, IterationReport, NamedReport, OtherResult, Report},
    sentence::outcome_name,
    text::{NAME_LIMIT, line},
};
use crate::{
    Error,
    base::redact,
    verdict::{
        Circumstances, ExpectationReport, ExpectationResult, ExpectationState, Level, Outcome,
        Verdict, decide,
        event::{EvidenceCollected, RunStarted},
    },
};

/// The fact with the server's address, by which clusters without a known id are compared.
const SERVER: &str = "server";

/// The fact that lists the joined reports.
const REPORTS: &str = "joined reports";

/// Why reports cannot be joined.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The log of a report does not hold the start of its run.
    #[error("`{name}` does not say what was run: its log does not hold the start of the run")]
    NoStart {
        /// The report.
        name: String,
    },
    /// Two of the reports are one.
    #[error("`{first}` and `{second}` are reports of the same run, {run}")]
    SameRun {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The run's id.
        run: String,
    },
    /// Two reports are about different things.
    #[error("`{second}` has another {what} than `{first}`: `{theirs}`, not `{ours}`")]
    Different {
        /// What differs.
        what: &'static str,
        /// The first report.
        first: String,
        /// The one that differs from it.
        second: String,
        /// What the first has.
        ours: String,
        /// What the other has.
        theirs: String,
    },
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        let hint = match &error {
            JoinError::NoStart { .. } => "leave it out, or run those cases again",
            JoinError::SameRun { .. } => "give each report once",
            JoinError::Different { .. } => {
                "join reports of one cluster, image, profile and nestcheck; `nestcheck compare` shows \
                 different ones beside each other"
            }
        };
        Self::usage(format!("failed to join the reports: {error}")).with_hint(hint)
    }
}

/// Joins reports into one.
///
/// # Errors
///
/// Reports of different clusters, images, profiles or versions of nestcheck, or two of the same run.
pub fn join(parts: &[NamedReport]) -> Result<Report, JoinError> {
    let mut parts = parts.iter().map(Named::new).collect::<Result<Vec<_>, _>>()?;
    check(&parts)?;
    parts.sort_by_key(|part| part.report.started);
    let mut cases = joined_cases(&parts);
    cases.extend(proofs::missing(&parts, &cases));
    cases.sort_by(|a, b| (&a.case.suite, &a.case.id).cmp(&(&b.case.suite, &b.case.id)));
    let expectations = joined_expectations(&parts);
    let reports = || parts.iter().map(|part| part.report);
    Ok(Report {
        run: parts.first().map(|first| joined_run(first.run, &parts, &cases)),
        steps: reports().flat_map(|report| report.steps.iter().cloned()).collect(),
        disruptions: reports().flat_map(|report| report.disruptions.iter().cloned()).collect(),
        outcome: outcome(&parts, &cases, &expectations),
        signal: reports().find_map(|report| report.signal),
        started: reports().filter_map(|report| report.started).min(),
        finished: reports().filter_map(|report| report.finished).max(),
        duration_ms: reports().fold(0, |sum, report| sum.saturating_add(report.duration_ms)),
        counts: Counts::of(cases.iter().map(|case| &case.case.verdict)),
        causes: causes_of(&cases),
        expectations,
        cases,
    })
}

/// A report whose run is known.
struct Named<'a> {
    name: String,
    report: &'a Report,
    run: &'a RunStarted,
}

impl<'a> Named<'a> {
    fn new(part: &'a NamedReport) -> Result<Self, JoinError> {
        let name = line(&redact::clean_text(&part.name), NAME_LIMIT);
        match &part.report.run {
            Some(run) => Ok(Self { name, report: &part.report, run }),
            None => Err(JoinError::NoStart { name }),
        }
    }

    /// The digests of what ran: usually one.
    fn image_ids(&self) -> Option<String> {
        let ids: BTreeSet<_> =
            self.report.steps.iter().filter_map(|step| step.image_id.as_deref()).collect();
        (!ids.is_empty()).then(|| ids.into_iter().collect::<Vec<_>>().join(", "))
    }

    fn fact(&self, name: &str) -> Option<&str> {
        let facts = self.run.cluster.iter();
        facts.filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).next()
    }
}

fn check(parts: &[Named<'_>]) -> Result<(), JoinError> {
    for (index, second) in parts.iter().enumerate() {
        for first in &parts[..index] {
            if first.run.run == second.run.run {
                return Err(JoinError::SameRun {
                    first: first.name.clone(),
                    second: second.name.clone(),
                    run: first.run.run.clone(),
                });
            }
            check_pair(first, second)?;
        }
    }
    Ok(())
}

fn check_pair(first: &Named<'_>, second: &Named<'_>) -> Result<(), JoinError> {
    let ids = (first.run.cluster_id.as_deref(), second.run.cluster_id.as_deref());
    let cluster = match ids {
        (Some(ours), Some(theirs)) => (Some(ours), Some(theirs)),
        // Who may not read the id knows the address.
        _ => (first.fact(SERVER).or(Some("unknown")), second.fact(SERVER).or(Some("unknown"))),
    };
    let known = |of: fn(&RunStarted) -> &str| (Some(of(first.run)), Some(of(second.run)));
    let (our_images, their_images) = (first.image_ids(), second.image_ids());
    for (what, (ours, theirs)) in [
        ("cluster", cluster),
        ("profile", known(|run| &run.profile)),
        ("version of nestcheck", known(|run| &run.version)),
        ("image", known(|run| &run.image)),
        // A run in which no pod became ready does not know what its image was.
        ("image digest", (our_images.as_deref(), their_images.as_deref())),
    ] {
        if let (Some(ours), Some(theirs)) = (ours, theirs)
            && ours != theirs
        {
            return Err(JoinError::Different {
                what,
                first: first.name.clone(),
                second: second.name.clone(),
                ours: ours.to_owned(),
                theirs: theirs.to_owned(),
            });
        }
    }
    Ok(())
}

/// What was run, all parts together. It is a part of the profile unless it has all of its cases.
fn joined_run(first: &RunStarted, parts: &[Named<'_>], cases: &[CaseReport]) -> RunStarted {
    let runs = || parts.iter().map(|part| part.run);
    let mut known: BTreeSet<&str> = cases.iter().map(|case| case.case.id.as_str()).collect();
    let mut unknown = 0;
    for part in parts {
        known.extend(part.run.planned.iter().map(String::as_str));
        if part.run.planned.is_empty() {
            unknown += part.report.unseen();
        }
    }
    // A sample, such as the profile `smoke`, has no such number: it is never the whole.
    let profile_cases: Option<Vec<_>> = runs().map(|run| run.profile_cases).collect();
    let proofs: BTreeSet<_> = runs().flat_map(|run| run.proofs.iter().cloned()).collect();
    let is_whole =
        profile_cases.is_some() && runs().any(|run| proofs::has_all(run, &known, &proofs));
    let profile_cases = profile_cases.and_then(|cases| cases.into_iter().max());
    let names: Vec<_> = runs().map(|run| run.run.as_str()).collect();
    RunStarted {
        run: names.join(" + "),
        cases: known.len() + unknown,
        is_part: !is_whole && runs().all(|run| run.is_part),
        profile_cases,
        planned: known.into_iter().map(str::to_owned).collect(),
        proofs: proofs.into_iter().collect(),
        cluster_id: runs().find_map(|run| run.cluster_id.clone()),
        repeat: first.repeat.filter(|_| runs().all(|run| run.repeat == first.repeat)),
        cluster: facts(parts),
        ..first.clone()
    }
}

/// The values of a fact, each with the runs that have it.
type Values<'a> = Vec<(&'a str, Vec<&'a str>)>;

/// The facts of all parts; where they differ, each value with its run.
fn facts(parts: &[Named<'_>]) -> Vec<(String, String)> {
    let mut facts: Vec<(&str, Values<'_>)> = Vec::new();
    for part in parts {
        for (name, value) in &part.run.cluster {
            let position = facts.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                facts.push((name, Vec::new()));
                facts.len() - 1
            });
            let values = &mut facts[position].1;
            match values.iter_mut().find(|(known, _)| known == value) {
                Some((_, runs)) => runs.push(&part.run.run),
                None => values.push((value, vec![&part.run.run])),
            }
        }
    }
    let shown = |(name, values): (&str, Values<'_>)| {
        let value = match values.as_slice() {
            [(value, _)] => (*value).to_owned(),
            several => {
                let each =
                    several.iter().map(|(value, runs)| format!("{value} ({})", runs.join(", ")));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        (name.to_owned(), value)
    };
    let reports = parts.iter().map(|part| {
        format!("`{}` (run {}, {})", part.name, part.run.run, outcome_name(part.report.outcome))
    });
    let reports = (REPORTS.to_owned(), reports.collect::<Vec<_>>().join(", "));
    facts.into_iter().map(shown).chain([reports]).collect()
}

/// Each case once, with the worst of its results; of equal ones, the last.
fn joined_cases(parts: &[Named<'_>]) -> Vec<CaseReport> {
    let mut found: BTreeMap<(&str, &str), Vec<(&Named<'_>, &CaseReport)>> = BTreeMap::new();
    let mut suites: BTreeMap<&str, &str> = BTreeMap::new();
    for case in parts.iter().flat_map(|part| &part.report.cases) {
        // What a log cut off does not know its suite.
        if !case.cut_off || !suites.contains_key(case.case.id.as_str()) {
            suites.insert(&case.case.id, &case.case.suite);
        }
    }
    for part in parts {
        for case in &part.report.cases {
            let id = case.case.id.as_str();
            let suite = suites.get(id).copied().unwrap_or_default();
            found.entry((suite, id)).or_default().push((part, case));
        }
    }
    found.values().filter_map(|results| joined_case(results)).collect()
}

fn joined_case(results: &[(&Named<'_>, &CaseReport)]) -> Option<CaseReport> {
    let (part, worst) = results.iter().max_by_key(|(_, case)| case.case.verdict.badness())?;
    let mut joined = CaseReport::clone(worst);
    if let Some((_, known)) = results.iter().find(|(_, case)| !case.cut_off) {
        let verdict = joined.case.verdict;
        let duration_ms = joined.case.duration_ms;
        joined.case =
            crate::verdict::event::CaseFinished { verdict, duration_ms, ..known.case.clone() };
    }
    joined.case.level = weight_of(&results.iter().map(|(_, case)| *case).collect::<Vec<_>>());
    joined.iterations = joined_iterations(results);
    joined.evidence = joined.evidence.and_then(|evidence| evidence_in(&part.name, evidence));
    let differs = |case: &CaseReport| case.case.verdict.badness() != worst.case.verdict.badness();
    let others = results.iter().filter(|(_, case)| differs(case));
    joined.other_results = others
        .map(|(part, case)| OtherResult {
            report: part.name.clone(),
            verdict: case.case.verdict.name(),
        })
        .collect();
    Some(joined)
}

/// The iterations of all parts, which are named where several have some.
fn joined_iterations(results: &[(&Named<'_>, &CaseReport)]) -> Vec<IterationReport> {
    let repeated = || results.iter().filter(|(_, case)| !case.iterations.is_empty());
    let are_named = repeated().nth(1).is_some();
    let of_part = |(part, case): &(&Named<'_>, &CaseReport)| {
        let report = are_named.then(|| part.name.clone());
        let iterations = case.iterations.iter().cloned();
        let named = iterations.map(|it| IterationReport { report: report.clone(), ..it });
        named.collect::<Vec<_>>()
    };
    repeated().flat_map(of_part).collect()
}

/// Evidence as a path from where the reports were read. Pages link to it, so it is left out where the
/// path has anything but names in it.
fn evidence_in(name: &str, evidence: EvidenceCollected) -> Option<EvidenceCollected> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let is_path = !name.is_empty() && !name.starts_with("//") && name.bytes().all(is_plain);
    let is_directory = ![".gz", ".tgz", ".log", ".jsonl"].iter().any(|end| name.ends_with(end));
    (is_path && is_directory).then(|| {
        let directory = format!("{}/{}", name.trim_end_matches('/'), evidence.directory);
        EvidenceCollected { directory, ..evidence }
    })
}

/// The worst outcome of the parts and of the joined cases. A part in which nothing passed that acts in
/// the cluster, such as a small shard, is partial for that alone: the other parts make up for it.
fn outcome(
    parts: &[Named<'_>],
    cases: &[CaseReport],
    expectations: &ExpectationReport,
) -> Option<Outcome> {
    let outcomes: Option<Vec<_>> = parts.iter().map(|part| part.report.outcome).collect();
    let outcomes = outcomes?;
    let circumstances = Circumstances {
        signal: outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Interrupted { signal } => Some(*signal),
            _ => None,
        }),
        leaked: outcomes.contains(&Outcome::Leaked),
        broken: outcomes.contains(&Outcome::Error),
        only_evaluated: !outcomes.contains(&Outcome::Conformant),
        expectations_fail: expectations.fails_run(),
    };
    let decided = decide(weighed(cases), circumstances);
    let parts = parts.iter().filter(|part| !lacks_only_a_pass(part.report));
    let worst = parts.filter_map(|part| part.report.outcome);
    Some(worst.fold(decided, Outcome::or_worse))
}

/// The entries of all files of expectations, each once. An entry that one run used is of use; one that
/// no run could check stays unchecked.
fn joined_expectations(parts: &[Named<'_>]) -> ExpectationReport {
    let mut joined = ExpectationReport::default();
    for report in parts.iter().map(|part| &part.report.expectations) {
        joined.strict |= report.strict;
        for result in &report.entries {
            let is_same = |known: &&mut ExpectationResult| {
                (known.line, &known.entry) == (result.line, &result.entry)
            };
            match joined.entries.iter_mut().find(is_same) {
                Some(known) => {
                    let mut cases: BTreeSet<_> = known.cases.drain(..).collect();
                    cases.extend(result.cases.iter().cloned());
                    if precedence(result.state) > precedence(known.state) {
                        *known = result.clone();
                    }
                    known.cases = cases.into_iter().collect();
                }
                None => joined.entries.push(result.clone()),
            }
        }
    }
    joined.entries.sort_by_key(|result| result.line);
    joined
}

/// Which state of an entry stands where runs differ.
fn precedence(state: ExpectationState) -> u8 {
    match state {
        ExpectationState::NotChecked => 0,
        ExpectationState::Stale => 1,
        ExpectationState::Expired => 2,
        ExpectationState::NoMatch => 3,
        ExpectationState::Used => 4,
    }
}

fn weighed(cases: &[CaseReport]) -> impl Iterator<Item = (Level, &Verdict)> {
    cases.iter().map(|case| (case.case.level, &case.case.verdict))
}

/// Whether a report is partial only because no case passed that acts in the cluster.
fn lacks_only_a_pass(report: &Report) -> bool {
    let with_a_pass = weighed(&report.cases).chain([(Level::Core, &Verdict::Pass)]);
    report.outcome == Some(Outcome::Partial)
        && decide(with_a_pass, Circumstances::default()) == Outcome::Conformant
}
