//! What a proxy has seen.

use std::collections::BTreeSet;

use http::Request;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::fault::{Action, Fault, Faults};

/// The label of a run's objects, as it stands in the JSON of a request.
const RUN_LABEL: &str = "\"nestcheck/run\":\"";

/// What a proxy has seen until now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    /// How many requests came.
    pub(crate) requests: u64,
    /// Method and path of the request that was struck, once it came.
    pub(crate) struck: Option<String>,
    /// How many of the requests were for commands in pods.
    pub(crate) commands: u64,
    /// Those that were struck, and when.
    pub(crate) struck_commands: Vec<(Fault, Timestamp)>,
    /// The runs whose label stood in a request: those that may have objects.
    pub(crate) runs: BTreeSet<String>,
    /// Why the server was unreachable, if it was: then the trial proves nothing.
    pub(crate) trouble: Option<String>,
}

/// Takes down what comes. Requests are counted under one lock, so that each has its number.
#[derive(Default)]
pub(super) struct Record(Mutex<Seen>);

impl Record {
    /// Counts a request and returns what happens to it.
    pub(super) fn count<B>(&self, request: &Request<B>, faults: &Faults) -> Action {
        let mut seen = self.0.lock();
        seen.requests += 1;
        let is_command = request.uri().path().ends_with("/exec");
        seen.commands += u64::from(is_command);
        let number = seen.commands;
        if is_command && let Some(fault) = faults.commands.iter().find(|fault| fault.at == number) {
            seen.struck_commands.push((*fault, Timestamp::now()));
            return fault.action(number, request.method());
        }
        let Some(fault) = faults.request else { return Action::Pass };
        let number = match (fault.kind.is_of_commands(), is_command) {
            (true, true) => seen.commands,
            (true, false) => return Action::Pass,
            (false, _) => seen.requests,
        };
        if number == fault.at {
            seen.struck = Some(format!("{} {}", request.method(), request.uri()));
        }
        fault.action(number, request.method())
    }

    /// Notes the runs that a request's body names.
    pub(super) fn note_runs(&self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        self.0.lock().runs.extend(runs_in(&text));
    }

    pub(super) fn note_trouble(&self, what: String) {
        self.0.lock().trouble.get_or_insert(what);
    }

    pub(super) fn seen(&self) -> Seen {
        self.0.lock().clone()
    }
}

fn runs_in(text: &str) -> impl Iterator<Item = String> {
    let labels = text.split(RUN_LABEL).skip(1);
    labels.filter_map(|rest| rest.split_once('"').map(|(run, _)| run.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Cut, FaultKind};

    #[test]
    fn requests_are_counted_and_the_struck_one_is_kept() {
        let record = Record::default();
        let fault = &Faults::from(Some(Fault { kind: FaultKind::Cut, at: 2 }));
        let request = |path: &str| Request::get(path).body(()).expect("a good request");
        assert_eq!(record.count(&request("/a"), fault), Action::Pass);
        assert_eq!(record.count(&request("/b?watch=true"), fault), Action::Cut);
        assert_eq!(record.count(&request("/c"), fault), Action::Pass);
        let seen = record.seen();
        assert_eq!(seen.requests, 3);
        assert_eq!(seen.struck.as_deref(), Some("GET /b?watch=true"));
    }

    #[test]
    fn commands_are_counted_by_themselves() {
        let record = Record::default();
        let fault = Fault { kind: FaultKind::Sever, at: 2 };
        let faults = Faults { commands: vec![fault], ..Faults::default() };
        let exec = || Request::get("/pods/p/exec?command=true").body(()).expect("a good request");
        let other = Request::get("/pods/p").body(()).expect("a good request");

        assert_eq!(record.count(&exec(), &faults), Action::Pass);
        assert_eq!(record.count(&other, &faults), Action::Pass);
        assert_eq!(record.count(&exec(), &faults), Action::Sever);

        let seen = record.seen();
        assert_eq!((seen.requests, seen.commands), (3, 2));
        assert_eq!(seen.struck_commands[0].0, fault);
    }

    #[test]
    fn the_commands_alone_are_counted_where_the_fault_is_of_them() {
        let record = Record::default();
        let fault = Some(Fault { kind: FaultKind::FalseSuccess, at: 2 });
        let faults = Faults { request: fault, ..Faults::default() };
        let exec = || Request::get("/pods/p/exec?command=true").body(()).expect("a good request");
        let other = Request::get("/pods/p").body(()).expect("a good request");
        assert_eq!(record.count(&exec(), &faults), Action::Pass);
        assert_eq!(record.count(&other, &faults), Action::Pass);
        assert_eq!(record.count(&exec(), &faults), Action::FalseSuccess(Cut::Begun));
        let seen = record.seen();
        assert_eq!((seen.requests, seen.commands), (3, 2));
        assert!(seen.struck.is_some_and(|struck| struck.contains("/exec")));
    }

    #[test]
    fn the_runs_of_a_body_are_found() {
        let record = Record::default();
        record.note_runs(br#"{"metadata":{"labels":{"nestcheck/run":"abc","x":"y"}}}"#);
        record.note_runs(br#"{"metadata":{"labels":{"nestcheck/run":"abc"}}}"#);
        record.note_runs(b"{}");
        assert!(record.seen().runs.iter().eq(["abc"]));
    }
}
