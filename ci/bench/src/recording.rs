//! What a run did in its pods, read from its event log and from the audit log of its cluster.

use std::{collections::BTreeMap, path::Path};

use harness::event::{CommandFinished, EventKind, read_log};
use jiff::{SignedDuration, Timestamp};

use crate::{Result, audit::Request};

/// A command that a run ran in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The id of the case that ran it.
    pub(crate) case: String,
    pub(crate) pod: String,
    /// None for the pod's first container.
    pub(crate) container: Option<String>,
    pub(crate) arguments: Vec<String>,
    /// Whether it read from its standard input, which no log has.
    pub(crate) has_input: bool,
    pub(crate) began: Timestamp,
    pub(crate) milliseconds: i64,
    pub(crate) exit: i32,
    /// What it wrote to standard output, without white space at its ends.
    pub(crate) told: String,
}

impl Command {
    fn of(ended: &CommandFinished, at: Timestamp) -> Self {
        let milliseconds = i64::try_from(ended.duration_ms).unwrap_or(i64::MAX);
        let taken = SignedDuration::from_millis(milliseconds);
        Self {
            case: ended.id.clone(),
            pod: ended.pod.clone(),
            container: None,
            arguments: ended.command.clone(),
            has_input: false,
            began: at.checked_sub(taken).unwrap_or(at),
            milliseconds,
            exit: ended.exit_code,
            told: ended.stdout.trim().to_owned(),
        }
    }
}

/// What a run did in its pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    /// The run's id.
    pub(crate) run: String,
    /// How many cases its plan had.
    pub(crate) planned: usize,
    /// When its cases ended, by id.
    pub(crate) cases: BTreeMap<String, Timestamp>,
    pub(crate) commands: Vec<Command>,
    /// Seconds from the beginning to the last shared pod's readiness, from then to the end of the
    /// cases, and of the teardown.
    pub(crate) phases: [f64; 3],
}

impl Recording {
    /// Reads the log in a report folder; `requests` are those of the run.
    pub(crate) fn read(folder: &Path, requests: &[Request]) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("events.jsonl"))?;
        let mut recording = Self::default();
        let (mut begin, mut ready, mut end, mut teardown) = (None, None, None, None);
        for event in &read_log(&text)? {
            match &*event.event {
                EventKind::RunStarted(started) => {
                    begin = Some(event.at);
                    recording.run.clone_from(&started.run);
                    recording.planned = started.cases;
                }
                EventKind::StepFinished(step) if step.step.starts_with("pod ") => {
                    ready = ready.max(Some(event.at));
                }
                EventKind::StepFinished(step) if step.step == "teardown" => {
                    teardown = Some(step.duration_ms);
                }
                EventKind::CaseFinished(case) => {
                    recording.cases.insert(case.id.clone(), event.at);
                    // The cases that judge the teardown come after it.
                    end = if teardown.is_none() { Some(event.at) } else { end };
                }
                EventKind::CommandFinished(ended) => {
                    recording.commands.push(Command::of(ended, event.at));
                }
                _ => {}
            }
        }
        recording.phases = [
            seconds_between(begin, ready),
            seconds_between(ready, end),
            std::time::Duration::from_millis(teardown.unwrap_or_default()).as_secs_f64(),
        ];
        complete(&mut recording.commands, requests);
        Ok(recording)
    }
}

/// Takes from the requests that opened the commands' streams what events do not tell: the
/// container, whether there was an input, and arguments as they were before they were cleaned.
fn complete(commands: &mut [Command], requests: &[Request]) {
    let mut streams: Vec<_> = requests.iter().filter_map(Stream::of).collect();
    for command in commands {
        let is_meant = |stream: &&Stream| {
            stream.pod == command.pod && is_alike(&stream.arguments, &command.arguments)
        };
        let distance = |stream: &&Stream| stream.at.duration_since(command.began).abs();
        let Some(stream) = streams.iter().filter(is_meant).min_by_key(distance).cloned() else {
            continue;
        };
        streams.retain(|other| *other != stream);
        command.container = stream.container;
        command.has_input = stream.has_input;
        command.arguments = stream.arguments;
    }
}

/// Whether arguments may be the same ones: an event's are bounded, and without secrets.
fn is_alike(sent: &[String], told: &[String]) -> bool {
    let is_same = |(sent, told): (&String, &String)| {
        sent == told || told.contains("bytes left out") || told.contains("[redacted]")
    };
    sent.len() == told.len() && sent.iter().zip(told).all(is_same)
}

/// The request that opened a command's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    pod: String,
    container: Option<String>,
    arguments: Vec<String>,
    has_input: bool,
    at: Timestamp,
}

impl Stream {
    fn of(request: &Request) -> Option<Self> {
        let (_, query) = request.uri().split_once('?').filter(|_| request.is_exec())?;
        let mut stream = Self {
            pod: request.object().name,
            container: None,
            arguments: Vec::new(),
            has_input: false,
            at: request.received()?,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "command" => stream.arguments.push(value.into_owned()),
                "container" => stream.container = Some(value.into_owned()),
                "stdin" => stream.has_input = value == "true",
                _ => {}
            }
        }
        Some(stream)
    }
}

fn seconds_between(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(query: &str, second: u32) -> Request {
        let request = json!({
            "auditID": "", "verb": "get", "user": {"username": "u"},
            "requestURI": format!("/api/v1/namespaces/n/pods/p/exec?&{query}"),
            "objectRef": {"resource": "pods", "subresource": "exec", "name": "p"},
            "requestReceivedTimestamp": format!("2025-01-01T00:00:{second:02}Z"),
        });
        serde_json::from_value(request).expect("it is a request")
    }

    #[test]
    fn a_stream_tells_of_a_command_what_its_event_does_not() {
        let ended = CommandFinished {
            id: "A-1".into(),
            pod: "p".into(),
            command: vec!["cat".into(), "a b".into()],
            exit_code: 0,
            duration_ms: 2000,
            stdout: " x\n".into(),
            stderr: String::new(),
        };
        let at = |second: &str| format!("2025-01-01T00:00:{second}Z").parse().expect("a time");
        let mut commands = [Command::of(&ended, at("05")), Command::of(&ended, at("12"))];
        let requests = [
            stream("stdin=true&command=cat&command=a+b&container=second", 10),
            stream("command=cat&command=a%20b&container=first", 3),
            stream("command=cat&command=c", 3),
        ];
        complete(&mut commands, &requests);
        let [first, second] = commands;
        assert_eq!((first.container.as_deref(), first.has_input), (Some("first"), false));
        assert_eq!((second.container.as_deref(), second.has_input), (Some("second"), true));
        assert_eq!(first.began, at("03"));
        assert_eq!(first.told, "x");
    }

    #[test]
    fn an_argument_that_an_event_has_not_in_full_is_the_one_that_was_sent() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let told = texts(&["sh", "a … 12 bytes left out … z"]);
        assert!(is_alike(&texts(&["sh", "abcxyz"]), &told));
        assert!(!is_alike(&texts(&["bash", "abcxyz"]), &told));
        assert!(!is_alike(&texts(&["sh"]), &told));
    }
}
