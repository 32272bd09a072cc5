//! The run as `report.json`, for programs.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::{
    causes::CausesOfCases,
    disruptions::DisruptionReport,
    model::{CaseReport, Counts, Report},
    sentence::{headline, outcome_name, reasons},
};
use crate::{
    base::{error::Error, schema::schema_of},
    verdict::{
        self, Cause, Disruption, Effect, ExpectationReport, Level, Outcome, Verdict,
        event::{CaseRetried, EvidenceFile, StepFinished, TruthCheck},
    },
};

/// The version of the format. It grows when a field changes its meaning or goes; new fields come
/// without notice.
const SCHEMA: u32 = 1;

/// The document.
#[derive(JsonSchema, Serialize)]
struct Document<'a> {
    /// The version of the format.
    #[schemars(extend("const" = SCHEMA))]
    schema: u32,
    /// `conformant`, `not-conformant`, `partial`, `error`, `leaked`, `interrupted`; `died` when
    /// the log ends before the run did.
    #[schemars(extend("enum" = [
        "conformant", "not-conformant", "partial", "error", "leaked", "interrupted", "died",
    ]))]
    outcome: String,
    /// The exit code of the run's process; null when it died.
    exit_code: Option<u8>,
    /// The signal that asked the run to end.
    signal: Option<u8>,
    /// The outcome as a sentence.
    headline: String,
    /// Why the outcome is not conformant, one reason each.
    reasons: Vec<String>,
    /// Why cases did not pass, each cause once, the one that explains most first.
    causes: &'a [Cause],
    /// When the run, or what is known of it, started.
    started: Option<Timestamp>,
    /// When the run, or what is known of it, finished.
    finished: Option<Timestamp>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// What was run; null when the log does not hold it.
    run: Option<Run<'a>>,
    /// How many cases came to which verdict.
    counts: Numbers,
    /// What happened around the cases, in order.
    steps: Vec<Step<'a>>,
    /// The cases, by suite and id.
    cases: Vec<Case<'a>>,
    /// What was lost meanwhile, the first first; left out if nothing was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disruptions: Vec<DisruptionEntry<'a>>,
    /// What became of the failures that a person expects; left out where the run had no file of
    /// expectations.
    #[serde(skip_serializing_if = "Option::is_none")]
    expectations: Option<&'a ExpectationReport>,
}

/// What was lost, when, and which cases it hit.
#[derive(JsonSchema, Serialize)]
struct DisruptionEntry<'a> {
    /// Who was lost, and when.
    #[serde(flatten)]
    disruption: &'a Disruption,
    /// The cases that it hit.
    cases: Vec<Hit<'a>>,
}

/// A case that a disruption hit.
#[derive(JsonSchema, Serialize)]
struct Hit<'a> {
    /// The case's id.
    id: &'a str,
    /// What it did to the case.
    effect: Effect,
}

/// What was run, and against what.
#[derive(JsonSchema, Serialize)]
struct Run<'a> {
    /// The run's id.
    id: &'a str,
    /// nestcheck's version.
    version: &'a str,
    /// The profile's name.
    profile: &'a str,
    /// Whether only some of the profile's cases were asked for.
    is_part: bool,
    /// How often the cases were to run; left out where that is once.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<u32>,
    /// The image of the workspace pod.
    image: &'a str,
    /// The facts about the cluster, in the order in which a reader wants them.
    cluster: Vec<Fact<'a>>,
}

/// A fact about the cluster.
#[derive(JsonSchema, Serialize)]
struct Fact<'a> {
    /// What it is about.
    name: &'a str,
    /// What was read.
    value: &'a str,
}

/// How many cases came to which verdict.
#[derive(JsonSchema, Serialize)]
struct Numbers {
    /// How many cases the plan has; null when the log does not hold the plan.
    planned: Option<usize>,
    /// How many cases the log knows.
    total: usize,
    /// The assertion holds.
    pass: usize,
    /// The product does not do what the case asserts.
    fail: usize,
    /// A requirement is unmet.
    blocked: usize,
    /// The case is about another kind of cluster.
    not_applicable: usize,
    /// An expected failure.
    known_issue: usize,
    /// The harness or the infrastructure broke.
    error: usize,
    /// The run ended first.
    interrupted: usize,
}

/// A step around the cases.
#[derive(JsonSchema, Serialize)]
struct Step<'a> {
    /// The step's name.
    #[schemars(with = "String")]
    name: &'a verdict::Step,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// Why it failed; null when it did not.
    failure: Option<&'a str>,
}

/// A case.
#[derive(JsonSchema, Serialize)]
struct Case<'a> {
    /// The case's id.
    id: &'a str,
    /// The case's name path, `suite::name`.
    name: &'a str,
    /// The suite's name.
    suite: &'a str,
    /// What the case asserts.
    title: &'a str,
    /// How much it weighs.
    level: Level,
    /// The field `verdict`, and what that verdict brings: `message` and `hint`, `reason` and
    /// `remedy`, `signature`.
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// The id of the cause in `causes` that explains it; left out where it passed or is not
    /// applicable.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause_id: Option<&'a str>,
    /// When it began; null when it did not run.
    started: Option<Timestamp>,
    /// How long it ran, in milliseconds.
    duration_ms: u64,
    /// The log ends before the case did: all fields but `id` are guesses.
    cut_off: bool,
    /// The attempts that a disruption ended; left out where there
    /// are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retries: Vec<Retry<'a>>,
    /// The proofs.
    truth_checks: &'a [TruthCheck],
    /// The commands that ran in pods.
    commands: Vec<Command<'a>>,
    /// What other reports say of it; left out unless reports were joined and do not agree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_results: Vec<OtherResult<'a>>,
    /// What each iteration came to; left out where the case ran once. The worst stands, and the other
    /// fields are about that iteration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    iterations: Vec<Iteration<'a>>,
    /// The files about it, in the report directory; left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence<'a>>,
}

/// One iteration of a case that ran several times.
#[derive(JsonSchema, Serialize)]
struct Iteration<'a> {
    /// Its number, from 1.
    number: u32,
    /// The path of the report that it is of, as it was given; left out unless several reports with
    /// iterations were joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a str>,
    /// The field `verdict`, and what that verdict brings.
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// When it began; null when it did not run.
    started: Option<Timestamp>,
    /// How long it ran, in milliseconds.
    duration_ms: u64,
}

/// What another of the joined reports says of a case.
#[derive(JsonSchema, Serialize)]
struct OtherResult<'a> {
    /// The path of the report, as it was given.
    report: &'a str,
    /// The verdict's name.
    verdict: &'a str,
}

/// An attempt that a disruption ended.
#[derive(JsonSchema, Serialize)]
struct Retry<'a> {
    /// Which try it was, from 1.
    attempt: u32,
    /// What was lost, and when.
    #[serde(flatten)]
    disruption: &'a Disruption,
}

/// Files about a case that failed.
#[derive(JsonSchema, Serialize)]
struct Evidence<'a> {
    /// Their directory, from the report directory.
    #[serde(rename = "folder")]
    directory: &'a str,
    /// Name and size of each.
    files: &'a [EvidenceFile],
    /// Evidence that is missing, and why.
    missing: &'a [String],
}

/// A command that ran in a pod.
#[derive(JsonSchema, Serialize)]
struct Command<'a> {
    /// The pod's name.
    pod: &'a str,
    /// Program and arguments.
    argv: &'a [String],
    /// The exit code.
    exit_code: i32,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// What it wrote to standard output, bounded; left out for a case that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<&'a str>,
    /// What it wrote to standard error, bounded; left out for a case that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<&'a str>,
}

/// Generates the JSON Schema of `report.json`.
#[must_use]
pub fn json_schema() -> Schema {
    schema_of::<Document<'_>>("nestcheck: `report.json`")
}

/// The run as JSON.
///
/// # Errors
///
/// The document can't be serialised; no report is known for which that happens.
pub fn json(report: &Report) -> Result<String, Error> {
    let causes = CausesOfCases::of(report);
    let document = Document {
        schema: SCHEMA,
        outcome: outcome_name(report.outcome).replace(' ', "-"),
        exit_code: report.outcome.map(Outcome::exit_code),
        signal: match report.outcome {
            Some(Outcome::Interrupted { signal }) => Some(signal),
            _ => report.signal,
        },
        headline: headline(report).to_string(),
        reasons: reasons(report),
        causes: &report.causes,
        started: report.started,
        finished: report.finished,
        duration_ms: report.duration_ms,
        run: run(report),
        counts: numbers(&report.counts, report.run.as_ref().map(|run| run.cases)),
        steps: report.steps.iter().map(step).collect(),
        cases: report.cases.iter().map(|it| case(&causes, it)).collect(),
        disruptions: report.disruptions.iter().map(disruption).collect(),
        expectations: Some(&report.expectations).filter(|it| !it.is_empty()),
    };
    serde_json::to_string_pretty(&document)
        .map(|text| text + "\n")
        .map_err(|error| Error::infrastructure(format!("can't write JSON: {error}")))
}

fn run(report: &Report) -> Option<Run<'_>> {
    report.run.as_ref().map(|run| Run {
        id: &run.run,
        version: &run.version,
        profile: &run.profile,
        is_part: run.is_part,
        repeat: run.repeat,
        image: &run.image,
        cluster: run.cluster.iter().map(|(name, value)| Fact { name, value }).collect(),
    })
}

fn numbers(counts: &Counts, planned: Option<usize>) -> Numbers {
    Numbers {
        planned,
        total: counts.total(),
        pass: counts.pass,
        fail: counts.fail,
        blocked: counts.blocked,
        not_applicable: counts.not_applicable,
        known_issue: counts.known_issue,
        error: counts.error,
        interrupted: counts.interrupted,
    }
}

fn disruption(report: &DisruptionReport) -> DisruptionEntry<'_> {
    let cases = report.cases.iter().map(|(effect, id)| Hit { id, effect: *effect });
    DisruptionEntry { disruption: &report.disruption, cases: cases.collect() }
}

fn step(step: &StepFinished) -> Step<'_> {
    Step { name: &step.step, duration_ms: step.duration_ms, failure: step.failure.as_deref() }
}

fn case<'a>(causes: &CausesOfCases<'a>, report: &'a CaseReport) -> Case<'a> {
    let case = &report.case;
    let shows_output = case.verdict != Verdict::Pass;
    Case {
        id: &case.id,
        name: &case.name,
        suite: &case.suite,
        title: &case.title,
        level: case.level,
        verdict: &case.verdict,
        cause_id: causes.cause_of(&case.id).map(|cause| cause.id.as_str()),
        started: report.started,
        duration_ms: case.duration_ms,
        cut_off: report.cut_off,
        retries: report
            .retries
            .iter()
            .map(|CaseRetried { id: _, attempt, disruption }| Retry {
                attempt: *attempt,
                disruption,
            })
            .collect(),
        truth_checks: &report.truth_checks,
        commands: report
            .commands
            .iter()
            .map(|command| Command {
                pod: &command.pod,
                argv: &command.command,
                exit_code: command.exit_code,
                duration_ms: command.duration_ms,
                stdout: shows_output.then_some(command.stdout.as_str()),
                stderr: shows_output.then_some(command.stderr.as_str()),
            })
            .collect(),
        other_results: report
            .other_results
            .iter()
            .map(|other| OtherResult { report: &other.report, verdict: other.verdict })
            .collect(),
        iterations: report
            .iterations
            .iter()
            .map(|it| Iteration {
                number: it.number,
                report: it.report.as_deref(),
                verdict: &it.verdict,
                started: it.started,
                duration_ms: it.duration_ms,
            })
            .collect(),
        evidence: report.evidence.as_ref().map(|evidence| Evidence {
            directory: &evidence.directory,
            files: &evidence.files,
            missing: &evidence.missing,
        }),
    }
}
