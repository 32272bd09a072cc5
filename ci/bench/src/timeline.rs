//! Where the time of a run goes, computed from its event log and the API server's audit log.
//!
//! The event log has the cases and their commands; the audit log has the moments at which the
//! cluster reported a pod as ready and a namespace as gone. No text of nestcheck's is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use harness::{
    sandbox::namespace_of,
    verdict::event::{EventKind, read_log},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use test_support::Request;

use crate::Result;

/// A live case of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    /// How long it ran.
    pub(crate) seconds: f64,
    /// From the run's start until its pods were ready.
    pub(crate) waited_for_pods: f64,
}

impl Case {
    /// From the run's start to its earliest possible end.
    fn earliest_end(&self) -> f64 {
        self.waited_for_pods + self.seconds
    }
}

/// Where the time of a run went, in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Timeline {
    pub(crate) run: String,
    /// How many cases the plan had.
    pub(crate) planned: usize,
    /// The cases that ran, the longest first.
    pub(crate) cases: Vec<Case>,
    /// How many commands ran in pods.
    pub(crate) commands: usize,
    /// How long they took, added up.
    pub(crate) command_seconds: f64,
    /// From the start until the last shared pod was ready.
    pub(crate) pods: f64,
    /// From then until the first namespace was deleted.
    pub(crate) middle: f64,
    /// From then until the cluster had removed the last namespace.
    pub(crate) teardown: f64,
    /// How long the DevWorkspace Operator took, by workspace.
    pub(crate) operator: BTreeMap<String, f64>,
}

impl Timeline {
    /// Reads the event log in a report folder. `requests` are all that the API server received
    /// during the run.
    pub(crate) fn read(folder: &Path, requests: &[Request]) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("events.jsonl"))?;
        let mut timeline = Self::default();
        let mut start = None;
        let mut started_cases = BTreeSet::new();
        let mut used_pods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for event in &read_log(&text)? {
            match &*event.event {
                EventKind::RunStarted(started) => {
                    start = Some(event.at);
                    timeline.run.clone_from(&started.run);
                    timeline.planned = started.cases;
                }
                EventKind::CaseStarted { id } => {
                    started_cases.insert(id.clone());
                }
                EventKind::CommandFinished(command) => {
                    used_pods.entry(command.id.clone()).or_default().insert(command.pod.clone());
                    timeline.commands += 1;
                    timeline.command_seconds += seconds(command.duration_ms);
                }
                EventKind::CaseFinished(case) if started_cases.contains(&case.id) => {
                    timeline.cases.push(Case {
                        id: case.id.clone(),
                        seconds: seconds(case.duration_ms),
                        waited_for_pods: 0.0,
                    });
                }
                _ => {}
            }
        }
        let start = start.ok_or("the event log does not start with the run")?;
        timeline.add_pods(start, requests, &used_pods);
        timeline.add_phases(start, requests);
        timeline.operator = operator_times(requests);
        timeline.cases.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(timeline)
    }

    /// Adds to each case when the shared pods were ready in which it ran commands. A pod that the
    /// case itself created is part of its own time.
    fn add_pods(
        &mut self,
        start: Timestamp,
        requests: &[Request],
        used: &BTreeMap<String, BTreeSet<String>>,
    ) {
        let namespace = namespace_of(&self.run);
        let ready = ready_pods(requests, &namespace);
        let since_start = |pod: &String| ready.get(pod).map(|at| between(start, *at));
        let is_shared = |pod: &&String| crate::is_shared_pod(pod);
        for case in &mut self.cases {
            let pods = used.get(&case.id).into_iter().flatten();
            case.waited_for_pods =
                pods.filter(is_shared).filter_map(since_start).fold(0.0, f64::max);
        }
        let shared = ready.keys().filter(is_shared);
        self.pods = shared.filter_map(since_start).fold(0.0, f64::max);
    }

    fn add_phases(&mut self, start: Timestamp, requests: &[Request]) {
        let home = namespace_of(&self.run);
        let times = |kind: &'static str| {
            let of_run = requests.iter().filter(|request| request.object.name.starts_with(&home));
            of_run
                .filter(move |request| request.kind() == kind)
                .filter_map(|request| request.received)
        };
        let deleted = times("delete namespaces").min();
        let gone = times("update namespaces/finalize").max();
        if let Some((deleted, gone)) = deleted.zip(gone) {
            self.middle = (between(start, deleted) - self.pods).max(0.0);
            self.teardown = between(deleted, gone);
        }
    }

    /// The case that ends last if no case ever waits for a free worker, and the seconds that a run
    /// of it alone takes, from the run's start to the end of the teardown.
    pub(crate) fn critical_path(&self) -> (&str, f64) {
        let last = self.cases.iter().max_by(|a, b| a.earliest_end().total_cmp(&b.earliest_end()));
        last.map_or(("no case", self.teardown), |case| {
            (&case.id, case.earliest_end() + self.teardown)
        })
    }

    /// The seconds that a run takes whose workers are never idle between the first case and the
    /// teardown.
    pub(crate) fn packed(&self, workers: usize) -> f64 {
        let first = self.cases.iter().map(|case| case.waited_for_pods).fold(f64::MAX, f64::min);
        let work: f64 = self.cases.iter().map(|case| case.seconds).sum();
        let first = if self.cases.is_empty() { 0.0 } else { first };
        first + work / crate::measure::count_of(workers.max(1)) + self.teardown
    }

    /// No order of the same cases on as many workers makes the run shorter than this.
    pub(crate) fn lower_bound(&self, workers: usize) -> f64 {
        self.critical_path().1.max(self.packed(workers))
    }

    /// How long the operator took for the workspace that it took longest for.
    pub(crate) fn slowest_workspace(&self) -> f64 {
        self.operator.values().copied().fold(0.0, f64::max)
    }
}

/// When the kubelet first reported each pod of a namespace as ready.
fn ready_pods(requests: &[Request], namespace: &str) -> BTreeMap<String, Timestamp> {
    let mut ready = BTreeMap::new();
    for request in requests {
        let object = &request.object;
        if object.namespace != namespace || request.kind() != "patch pods/status" {
            continue;
        }
        let conditions = request.body.as_ref().and_then(|body| body.pointer("/status/conditions"));
        let is_ready = conditions.and_then(Value::as_array).is_some_and(|conditions| {
            conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        });
        if let Some(at) = request.received.filter(|_| is_ready) {
            ready.entry(object.name.clone()).or_insert(at);
        }
    }
    ready
}

/// How long the operator took for each workspace: from each request to start or stop it until its
/// status says that it runs, is stopped, or failed.
fn operator_times(requests: &[Request]) -> BTreeMap<String, f64> {
    let mut requested: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut times: BTreeMap<String, f64> = BTreeMap::new();
    for request in requests {
        let (object, Some(at)) = (&request.object, request.received) else { continue };
        if object.resource != "devworkspaces" || request.is_dry_run() {
            continue;
        }
        let read = |pointer: &str| request.body.as_ref().and_then(|body| body.pointer(pointer));
        let phase = read("/status/phase").and_then(Value::as_str);
        if phase.is_some_and(|it| matches!(it, "Running" | "Stopped" | "Failed" | "Error")) {
            if let Some(began) = requested.remove(&object.name) {
                *times.entry(object.name.clone()).or_default() += between(began, at);
            }
        } else if phase.is_none() && read("/spec/started").is_some() {
            requested.insert(object.name.clone(), at);
        }
    }
    times
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(verb: &str, resource: &str, name: &str, second: u32, body: &Value) -> Request {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let request = json!({
            "auditID": "", "verb": verb, "requestURI": "/", "user": {"username": "u"},
            "objectRef": {
                "resource": resource, "subresource": subresource, "name": name,
                "namespace": "nestcheck-r",
            },
            "requestReceivedTimestamp": format!("2025-01-01T00:00:{second:02}Z"),
            "requestObject": body,
        });
        serde_json::from_value(request).expect("it is a request")
    }

    fn ready(second: u32, name: &str, status: &str) -> Request {
        let conditions = json!([{"type": "Ready", "status": status}]);
        let body = json!({"status": {"conditions": conditions}});
        request("patch", "pods/status", name, second, &body)
    }

    fn line(second: u32, event: &Value) -> String {
        let at = format!("2025-01-01T00:00:{second:02}Z");
        json!({"schema": 1, "at": at, "event": event}).to_string() + "\n"
    }

    fn case(second: u32, id: &str, milliseconds: u32) -> [String; 2] {
        let started = json!({"kind": "case-started", "id": id});
        let finished = json!({
            "kind": "case-finished", "id": id, "name": "n", "suite": "s", "title": "t",
            "level": "core", "verdict": {"verdict": "pass"}, "duration_ms": milliseconds,
        });
        [line(second, &started), line(second, &finished)]
    }

    fn command(id: &str, pod: &str) -> String {
        let command = json!({
            "kind": "command-finished", "id": id, "pod": pod, "command": ["true"],
            "exit_code": 0, "duration_ms": 500,
        });
        line(9, &command)
    }

    fn timeline() -> Timeline {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let started = json!({
            "kind": "run-started", "run": "r", "version": "1", "profile": "p", "image": "i",
            "cases": 3, "cluster": [],
        });
        let [one, two] = [case(10, "A-1", 8000), case(10, "A-2", 2000)];
        let log = [&line(0, &started), &command("A-2", "workspace"), &command("A-1", "own")]
            .into_iter()
            .chain(&two)
            .chain(&one)
            .cloned()
            .collect::<String>();
        std::fs::write(folder.path().join("events.jsonl"), log).expect("a file");
        let none = Value::Null;
        let requests = [
            ready(2, "workspace", "False"),
            ready(4, "workspace", "True"),
            ready(8, "own", "True"),
            ready(9, "workspace", "True"),
            request("delete", "namespaces", "nestcheck-r", 20, &none),
            request("update", "namespaces/finalize", "nestcheck-r", 23, &none),
        ];
        Timeline::read(folder.path(), &requests).expect("a timeline")
    }

    #[test]
    fn a_case_waits_for_shared_pods_and_not_for_its_own() {
        let timeline = timeline();
        let case = |id: &str, seconds, waited_for_pods| Case {
            id: id.to_owned(),
            seconds,
            waited_for_pods,
        };
        assert_eq!(timeline.cases, [case("A-1", 8.0, 0.0), case("A-2", 2.0, 4.0)]);
        assert_eq!((timeline.commands, timeline.planned), (2, 3));
        assert!((timeline.pods - 4.0).abs() < 1e-9);
        assert!((timeline.middle - 16.0).abs() < 1e-9);
    }

    #[test]
    fn the_lower_bound_is_the_critical_path_or_the_work() {
        let timeline = timeline();
        assert_eq!(timeline.critical_path(), ("A-1", 11.0));
        assert!((timeline.packed(1) - 13.0).abs() < 1e-9);
        assert!((timeline.lower_bound(1) - 13.0).abs() < 1e-9);
        assert!((timeline.lower_bound(2) - 11.0).abs() < 1e-9);
    }

    #[test]
    fn the_operators_time_is_that_of_all_starts_and_stops_of_a_workspace() {
        let of = |verb: &str, second, body| request(verb, "devworkspaces", "w", second, &body);
        let requests = [
            of("create", 1, json!({"spec": {"started": true}})),
            of("update", 3, json!({"spec": {"started": true}, "status": {"phase": "Starting"}})),
            of("update", 6, json!({"spec": {"started": true}, "status": {"phase": "Running"}})),
            of("patch", 10, json!({"spec": {"started": false}})),
            of("patch", 12, json!({"status": {"phase": "Stopped"}})),
            of("update", 13, json!({"status": {"phase": "Stopped"}})),
        ];
        assert!((operator_times(&requests)["w"] - 7.0).abs() < 1e-9);
    }
}
