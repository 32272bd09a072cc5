//! What the ledger costs a run.
//!
//! nestcheck can't run without its ledger, and two runs differ by more than it costs. So its parts
//! are added up, each rather too high than too low, as a run does many of them at once:
//!
//! - on the disk: a run's own entries, written again by the same code to the same folder, one after
//!   the other;
//! - in the cluster: what the API server took for each request about Leases, by its audit log, and
//!   a whole round trip more for each.
//!
//! A third sum checks the first against the busy machine of the run itself: how long after each
//! entry the API server received the request for its object.

use std::{fs, path::Path, time::Instant};

use harness::{
    cluster::Cluster,
    sandbox::{Entry, Intent, Ledger},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use test_support::Request;

use crate::{Result, stats::Series};

/// The ledger's name in a report folder.
const NAME: &str = "ledger.jsonl";
/// Where the entries are written again.
const AGAIN: &str = "ledger-again.jsonl";
/// How many round trips are measured.
const ROUND_TRIPS: usize = 20;

/// What it cost a run, in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Cost {
    pub(crate) entries: usize,
    /// What the entries took when they were written again.
    pub(crate) disk: f64,
    /// How many requests were about Leases.
    pub(crate) requests: usize,
    /// What they took.
    pub(crate) cluster: f64,
    /// From each entry to the receipt of its request, in the run itself.
    pub(crate) sent: f64,
}

impl Cost {
    /// Measures what a run's ledger costs, right after the run. `report` is its folder.
    pub(crate) async fn of(
        cluster: &Cluster,
        report: &Path,
        run: &str,
        requests: &[Request],
    ) -> Result<Self> {
        let lines = lines_of(run, &fs::read_to_string(report.join(NAME))?);
        if lines.is_empty() {
            return Err(format!("the ledger in `{}` has no run `{run}`", report.display()).into());
        }
        let round_trip = round_trip(cluster).await?;
        let leases = requests.iter().filter(|request| request.object.resource == "leases");
        let times: Vec<_> = leases.map(|request| request.seconds() + round_trip).collect();
        Ok(Self {
            entries: lines.len(),
            sent: sent(&lines, requests),
            disk: write_again(report, lines).await?,
            requests: times.len(),
            cluster: times.iter().sum(),
        })
    }

    /// Its part of a run's wall time, in percent.
    pub(crate) fn percent_of(&self, wall: f64) -> f64 {
        (self.disk + self.cluster) / wall * 100.0
    }
}

/// A line of the ledger.
#[derive(Debug, Deserialize)]
struct Line {
    at: Timestamp,
    #[serde(flatten)]
    entry: Entry,
}

/// The lines of one run in a ledger, which may be those of several runs one after the other.
fn lines_of(run: &str, text: &str) -> Vec<Line> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut is_of_run = false;
    let of_run = lines.filter(|line| {
        if let Entry::Run { run: begun, .. } = &line.entry {
            is_of_run = begun == run;
        }
        is_of_run
    });
    of_run.collect()
}

async fn write_again(report: &Path, lines: Vec<Line>) -> Result<f64> {
    let path = report.join(AGAIN);
    let ledger = Ledger::at(path.clone());
    let started = Instant::now();
    for line in lines {
        ledger.write(line.entry).await?;
    }
    let taken = started.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(taken)
}

/// What the smallest request takes on a connection that is there.
async fn round_trip(cluster: &Cluster) -> Result<f64> {
    let mut seconds = Series::default();
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        cluster.admin().request_text(http::Request::get("/version").body(Vec::new())?).await?;
        seconds.0.push(started.elapsed().as_secs_f64());
    }
    Ok(seconds.median())
}

/// The time from each intent to the receipt of the request to create its object, added up.
fn sent(lines: &[Line], requests: &[Request]) -> f64 {
    let times = lines.iter().filter_map(|line| {
        let Entry::Intended(intent) = &line.entry else { return None };
        let creations = requests.iter().filter(|request| creates(request, intent));
        let received =
            creations.filter_map(|request| request.received).filter(|at| *at >= line.at).min()?;
        Some(received.duration_since(line.at).as_secs_f64())
    });
    times.sum()
}

fn creates(request: &Request, intent: &Intent) -> bool {
    let object = &request.object;
    let is_of_kind = object.resource.starts_with(&intent.kind.to_lowercase());
    // The log gives a Namespace the namespace of its name.
    let is_there = intent.namespace.as_ref().is_none_or(|namespace| object.namespace == *namespace);
    let is_creation = request.verb == "create" && !request.is_dry_run();
    is_creation
        && object.subresource.is_empty()
        && is_of_kind
        && is_there
        && object.name == intent.name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(second: u32, entry: &Entry) -> String {
        let mut line = serde_json::to_value(entry).expect("it is JSON");
        line["schema"] = json!(1);
        line["at"] = json!(format!("2025-01-01T00:00:{second:02}Z"));
        line.to_string()
    }

    fn ledger() -> String {
        let run = |run: &str| {
            let (run, server) = (run.to_owned(), "s".to_owned());
            Entry::Run { run, server, with_scc: false, namespace: None }
        };
        let pod = Intent {
            kind: "Pod".to_owned(),
            namespace: Some("nestcheck-b".to_owned()),
            name: "workspace".to_owned(),
        };
        let closed = |run: &str| Entry::Closed { run: run.to_owned() };
        let entries =
            [run("a"), closed("a"), run("b"), Entry::Intended(pod), closed("b"), run("c")];
        let lines = (1..).zip(&entries).map(|(second, entry)| line(second, entry));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn creation(subresource: &str, received: &str) -> Request {
        let request = json!({
            "auditID": "", "verb": "create", "requestURI": "/", "user": {"username": "u"},
            "objectRef": {
                "resource": "pods", "subresource": subresource,
                "namespace": "nestcheck-b", "name": "workspace",
            },
            "requestReceivedTimestamp": format!("2025-01-01T00:00:{received}Z"),
            "stageTimestamp": "2025-01-01T00:00:59Z",
        });
        serde_json::from_value(request).expect("it is a request")
    }

    #[test]
    fn the_runs_of_one_ledger_are_distinguished() {
        let lines = lines_of("b", &ledger());
        let seconds: Vec<_> = lines.iter().map(|line| line.at.to_string()).collect();
        assert_eq!(
            seconds,
            ["2025-01-01T00:00:03Z", "2025-01-01T00:00:04Z", "2025-01-01T00:00:05Z"]
        );
        assert!(lines_of("d", &ledger()).is_empty());
    }

    #[test]
    fn an_entry_ends_with_the_first_request_for_its_object() {
        let requests = [
            creation("", "03.000000"),
            creation("exec", "04.100000"),
            creation("", "04.250000"),
            creation("", "05.000000"),
        ];
        let taken = sent(&lines_of("b", &ledger()), &requests);
        assert!((taken - 0.25).abs() < 1e-9, "{taken}");
    }

    #[test]
    fn the_part_of_a_run_is_that_of_disk_and_cluster() {
        let cost = Cost { disk: 0.1, cluster: 0.2, sent: 9.0, ..Cost::default() };
        assert!((cost.percent_of(30.0) - 1.0).abs() < 1e-9);
    }
}
