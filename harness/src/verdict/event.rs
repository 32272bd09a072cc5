//! The event log: what a run did, in order, from which every report is made.
//!
//! One JSON document a line (`events.jsonl`). Only the engine writes events; only reports read
//! them. What an event holds is [`Redacted`]: no text gets into one that was not cleaned.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::{
    base::{redact::Redacted, schema::schema_of},
    facts::Platform,
    verdict::{Cause, Disruption, Effect, ExpectationReport, Level, Outcome, Step, Verdict},
};

/// The directory of all evidence, in the report directory.
pub(crate) const EVIDENCE_DIRECTORY: &str = "diagnostics";

/// The version of the log's format. A reader refuses a log with a higher one.
pub const SCHEMA: u32 = 1;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Event {
    /// The version of the format.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// When it happened, by the clock of the machine that runs nestcheck.
    pub at: Timestamp,
    /// The iteration to which it belongs, from 1, where cases run several times (`--repeat`). Such a case
    /// finishes once in each iteration, and the worst verdict stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    /// What happened.
    #[schemars(with = "EventKind")]
    pub event: Redacted<EventKind>,
}

impl Event {
    /// An event that happens now.
    #[must_use]
    pub fn now(event: EventKind) -> Self {
        Self { schema: SCHEMA, at: Timestamp::now(), iteration: None, event: event.into() }
    }
}

/// Generates the JSON Schema of a line of `events.jsonl`.
#[must_use]
pub fn json_schema() -> Schema {
    schema_of::<Event>("nestcheck: a line of `events.jsonl`")
}

/// What happened.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// The plan is made; nothing was written to the cluster yet.
    RunStarted(RunStarted),
    /// A step around the cases ended: preflight, provision, teardown.
    StepFinished(StepFinished),
    /// A case began.
    CaseStarted {
        /// The case's id, such as `POD-03`.
        id: String,
    },
    /// A truth check of a case was made.
    TruthChecked {
        /// The case's id.
        id: String,
        /// What was checked and seen.
        check: TruthCheck,
    },
    /// A disruption ended an attempt of a case, so nestcheck retries the case. Its earlier checks no
    /// longer count.
    CaseRetried(CaseRetried),
    /// A case waited for something that was lost, or has no verdict because of it.
    CaseDisrupted(CaseDisrupted),
    /// The API server or a node does not answer: cases that need it do not begin until it is back.
    DisruptionStarted(Disruption),
    /// The API server or the node answers again, or nestcheck waits no longer.
    DisruptionEnded(DisruptionEnded),
    /// A command that a case ran in a pod ended.
    CommandFinished(CommandFinished),
    /// Files about a case that failed were written.
    EvidenceCollected(EvidenceCollected),
    /// A case ended.
    CaseFinished(CaseFinished),
    /// A signal asked the run to end.
    Interrupted {
        /// The signal's number.
        signal: u8,
    },
    /// The run ended and nothing follows.
    RunFinished {
        /// Its outcome.
        outcome: Outcome,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// Why cases did not pass, each cause once, the one that explains most first. Left out
        /// where all passed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        causes: Vec<Cause>,
        /// What somebody else put into the run's namespace: quotas, limits and network policies, as
        /// facts a reader wants at the top of a report, name and value. Left out where there is
        /// nothing.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        namespace: Vec<(String, String)>,
        /// What became of the failures that a person expects. Left out where the run had no file of
        /// expectations.
        #[serde(default, skip_serializing_if = "ExpectationReport::is_empty")]
        expectations: ExpectationReport,
    },
}

/// What is run, and against what.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run's id; every object of the run carries it as a label.
    pub run: String,
    /// nestcheck's version.
    pub version: String,
    /// The profile's name.
    pub profile: String,
    /// The image of the workspace pod.
    pub image: String,
    /// How many cases the plan has, blocked ones included.
    pub cases: usize,
    /// Whether filters, a shard or the profile `smoke` picked only some cases: then even the best
    /// outcome speaks of those alone.
    #[serde(default)]
    pub is_part: bool,
    /// How many cases the profile has; left out in the log of an older nestcheck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_cases: Option<usize>,
    /// The ids of the cases of the plan; left out in the log of an older nestcheck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<String>,
    /// The ids of the proofs of nodes that all shards together make, by the nodes that this run knew; left
    /// out where no node is proven, and in the log of an older nestcheck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<String>,
    /// The uid of the namespace `kube-system`, which identifies the cluster; left out where it could
    /// not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// How often the cases run; left out where they run once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// What kind of cluster it is, for `nestcheck remedy`; left out in the log of an older nestcheck,
    /// and where nothing was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The cluster, as facts a reader wants at the top of a report: name and value.
    pub cluster: Vec<(String, String)>,
}

/// The end of a step around the cases.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct StepFinished {
    /// The step; the log has its name: `provision`, `pod workspace`, `teardown`.
    #[schemars(with = "String")]
    pub step: Step,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The image that the node runs, if the step made a pod: its digest, as the container runtime
    /// names it (`imageID` in the pod's status). A tag may mean another image tomorrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
}

/// A proof that a pass is real, made by reading back or by looking from inside the pod.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct TruthCheck {
    /// What is checked, as a noun phrase.
    pub name: String,
    /// What must be seen.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// Whether it holds.
    pub holds: bool,
}

/// An attempt of a case that a disruption ended.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CaseRetried {
    /// The case's id.
    pub id: String,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// What was lost, and when.
    #[serde(flatten)]
    pub disruption: Disruption,
}

/// A case that a disruption hit, other than by a retry.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CaseDisrupted {
    /// The case's id.
    pub id: String,
    /// What it did to the case.
    pub effect: Effect,
    /// What was lost, and when.
    #[serde(flatten)]
    pub disruption: Disruption,
}

/// The end of a disruption for which cases waited.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct DisruptionEnded {
    /// Whether it answers again; otherwise the time to wait for it is over.
    pub is_back: bool,
    /// What was lost, and when.
    #[serde(flatten)]
    pub disruption: Disruption,
}

/// The end of a command in a pod.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CommandFinished {
    /// The id of the case that ran it.
    pub id: String,
    /// The pod's name.
    pub pod: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The exit code.
    pub exit_code: i32,
    /// How long it took, the stream's set-up included, in milliseconds.
    pub duration_ms: u64,
    /// What it wrote to standard output, bounded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// What it wrote to standard error, bounded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

/// Files about a case that failed, beside the log: what could be seen while its pods were there.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct EvidenceCollected {
    /// The case's id.
    pub id: String,
    /// The directory of the files, from the report directory: `diagnostics/POD-03`. Cases that wanted the
    /// same pod, which never got ready, have one in common.
    #[serde(rename = "folder")]
    pub directory: String,
    /// The files.
    pub files: Vec<EvidenceFile>,
    /// Evidence that is missing, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
}

impl EvidenceCollected {
    /// The name of the directory below `diagnostics`; none where the log was tampered with.
    pub(crate) fn case_directory(&self) -> Option<&str> {
        let (parent, case) = self.directory.split_once('/')?;
        (parent == EVIDENCE_DIRECTORY && is_plain(case)).then_some(case)
    }
}

/// A file of evidence.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct EvidenceFile {
    /// Its name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: usize,
}

/// Whether a text is the name of a file that no path can be hidden in: letters, digits, `-`, `_`
/// and `.`, but not in front.
pub(crate) fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// The end of a case.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct CaseFinished {
    /// The case's id.
    pub id: String,
    /// The case's name path, `suite::name`.
    pub name: String,
    /// The suite's name.
    pub suite: String,
    /// What the case asserts, as a sentence.
    pub title: String,
    /// How much it weighs.
    pub level: Level,
    /// Its verdict.
    pub verdict: Verdict,
    /// How long it ran, in milliseconds; 0 for a case that did not run.
    pub duration_ms: u64,
}

/// What every format of an event has.
#[derive(Deserialize)]
struct Format {
    schema: u32,
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the event log: {problem}")]
pub struct LogError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads a log. A last line without its end (a crash while writing) is left out.
///
/// # Errors
///
/// A complete line that is not an event, or one of a newer format.
pub fn read_log(text: &str) -> Result<Vec<Event>, LogError> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut events = Vec::new();
    for (index, line) in complete.lines().enumerate() {
        let fail = |problem: String| LogError { line: index + 1, problem };
        // The format first: what a newer one has in it this nestcheck can't know.
        let format: Format = serde_json::from_str(line).map_err(|error| fail(error.to_string()))?;
        if format.schema > SCHEMA {
            return Err(fail(format!(
                "format {} is newer than this nestcheck understands ({SCHEMA})",
                format.schema
            )));
        }
        events.push(serde_json::from_str(line).map_err(|error| fail(error.to_string()))?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: EventKind) -> String {
        serde_json::to_string(&Event::now(kind)).expect("events serialise") + "\n"
    }

    #[test]
    fn a_log_is_read_back_as_written() {
        let kind = EventKind::CaseFinished(CaseFinished {
            id: "POD-03".into(),
            name: "podman::runs".into(),
            suite: "podman".into(),
            title: "It runs".into(),
            level: Level::Core,
            verdict: Verdict::fail("exit 1", None),
            duration_ms: 12,
        });
        let events = read_log(&line(kind.clone())).expect("the log is valid");
        assert_eq!(events.len(), 1);
        assert_eq!(*events[0].event, kind);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_a_torn_middle_one_is_named() {
        let whole = line(EventKind::CaseStarted { id: "POD-03".into() });
        let torn = format!("{whole}{}", &whole[..20]);
        assert_eq!(read_log(&torn).expect("the torn line is left out").len(), 1);
        let middle = format!("{whole}{{oops\n{whole}");
        assert_eq!(read_log(&middle).expect_err("line 2 is torn").line, 2);
    }

    #[test]
    fn a_log_that_does_not_say_who_was_lost_is_read() {
        let old = r#"{"schema":1,"at":"2026-11-24T09:30:00Z","event":{"kind":"case-retried","id":"ID-01","attempt":1,"reason":"it broke"}}"#;
        let events = read_log(&format!("{old}\n")).expect("the log is valid");
        let EventKind::CaseRetried(retried) = &*events[0].event else { panic!("a retry") };
        assert_eq!((retried.disruption.lost, &*retried.disruption.reason), (None, "it broke"));
        // And the other way round: who reads only the old fields finds them.
        assert_eq!(serde_json::to_string(&events[0]).expect("events serialise"), old);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let newer =
            line(EventKind::Interrupted { signal: 2 }).replace("\"schema\":1", "\"schema\":2");
        assert!(read_log(&newer).expect_err("newer").problem.contains("newer"));
        let unknown = newer.replace("interrupted", "invented-later");
        assert!(read_log(&unknown).expect_err("newer").problem.contains("newer"));
    }
}
