//! The report directory that a run has written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use expectations::Expectations;
use harness::verdict::{
    Cause, Disruption, Outcome, Verdict,
    event::{CaseFinished, Event, EventKind, RunStarted, StepFinished, read_log},
};
use jiff::Timestamp;
use quick_junit::TestCaseStatus;
use serde_json::Value;

use crate::command::mode_of;

/// A whole report, read back by other means than nestcheck's where there are any.
pub struct Report {
    directory: PathBuf,
    events: Vec<Event>,
    junit: quick_junit::Report,
    json: Value,
}

impl Report {
    /// Reads a report directory; each part of it must be valid and private.
    #[track_caller]
    pub fn read(directory: &Path) -> Self {
        assert_eq!(mode_of(directory), 0o700, "{}", directory.display());
        let text = |name: &str| {
            let path = directory.join(name);
            assert_eq!(mode_of(&path), 0o600, "{}", path.display());
            fs::read_to_string(&path).expect("it can be read")
        };
        let page = text("index.html");
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("</html>"), "{page}");
        let report = Self {
            directory: directory.to_owned(),
            events: read_log(&text("events.jsonl")).expect("the log is whole"),
            junit: quick_junit::Report::deserialize_from_str(&text("junit.xml"))
                .expect("it is JUnit"),
            json: serde_json::from_str(&text("report.json")).expect("it is JSON"),
        };
        let ended = report.events.last().map(|event| &*event.event);
        assert!(matches!(ended, Some(EventKind::RunFinished { .. })), "{ended:?}");
        report
    }

    /// The ids of the cases that were tried again.
    pub fn retried(&self) -> BTreeSet<&str> {
        let retried = self.events().filter_map(|event| match event {
            EventKind::CaseRetried(retried) => Some(retried.id.as_str()),
            _ => None,
        });
        retried.collect()
    }

    /// What was lost, as every event reports it that says so.
    pub fn disruptions(&self) -> Vec<&Disruption> {
        let reported = self.events().filter_map(|event| match event {
            EventKind::CaseRetried(retried) => Some(&retried.disruption),
            EventKind::CaseDisrupted(hit) => Some(&hit.disruption),
            EventKind::DisruptionStarted(disruption) => Some(disruption),
            _ => None,
        });
        reported.collect()
    }

    /// The events in order.
    pub fn events(&self) -> impl Iterator<Item = &EventKind> {
        self.events.iter().map(|event| &*event.event)
    }

    /// When the run began and when it ended.
    pub fn times(&self) -> (Timestamp, Timestamp) {
        let times = self.events.first().zip(self.events.last());
        times.map(|(first, last)| (first.at, last.at)).expect("the log has events")
    }

    /// What was run.
    pub fn started(&self) -> &RunStarted {
        let started = self.events().find_map(|event| match event {
            EventKind::RunStarted(started) => Some(started),
            _ => None,
        });
        started.expect("every log has a beginning")
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.started().run
    }

    /// What the run came to.
    pub fn outcome(&self) -> Outcome {
        let outcome = self.events().find_map(|event| match event {
            EventKind::RunFinished { outcome, .. } => Some(*outcome),
            _ => None,
        });
        outcome.expect("every log has an end")
    }

    /// Why cases did not pass, as the end of the log has it.
    pub fn causes(&self) -> &[Cause] {
        let causes = self.events().find_map(|event| match event {
            EventKind::RunFinished { causes, .. } => Some(causes.as_slice()),
            _ => None,
        });
        causes.expect("every log has an end")
    }

    /// The cases that ended.
    pub fn cases(&self) -> Vec<&CaseFinished> {
        let finished = self.events().filter_map(|event| match event {
            EventKind::CaseFinished(finished) => Some(finished),
            _ => None,
        });
        finished.collect()
    }

    /// The ids of the cases with a verdict of this name, in order.
    pub fn ids(&self, verdict: &str) -> Vec<&str> {
        let cases = self.cases().into_iter().filter(|case| case.verdict.name() == verdict);
        let mut ids: Vec<_> = cases.map(|case| case.id.as_str()).collect();
        ids.sort_unstable();
        ids
    }

    /// The verdict of a case.
    pub fn verdict(&self, id: &str) -> &Verdict {
        let case = self.cases().into_iter().find(|case| case.id == id);
        &case.unwrap_or_else(|| panic!("the report has no case {id}")).verdict
    }

    /// Expects of a whole run that each case has the verdict of the environment's file.
    #[track_caller]
    pub fn is_as_expected(&self, expectations: &Expectations) {
        let cases = self.cases().into_iter();
        let observed = cases.map(|case| (case.id.as_str(), &case.verdict));
        assert_eq!(expectations.deviations(observed), [""; 0]);
    }

    /// Expects of a part of a profile that each case has the verdict of the environment's file.
    #[track_caller]
    pub fn is_part_of_expected(&self, expectations: &Expectations) {
        for case in self.cases() {
            let (id, name) = (case.id.as_str(), case.verdict.name());
            let expected = expectations.of(id).is_some_and(|verdicts| verdicts.has(name));
            assert!(expected, "{id}: {name}: {}", case.verdict.message().unwrap_or_default());
        }
    }

    /// The steps around the cases.
    pub fn steps(&self) -> Vec<&StepFinished> {
        let finished = self.events().filter_map(|event| match event {
            EventKind::StepFinished(finished) => Some(finished),
            _ => None,
        });
        finished.collect()
    }

    /// The ids of the cases that began.
    pub fn began(&self) -> Vec<&str> {
        let began = self.events().filter_map(|event| match event {
            EventKind::CaseStarted { id } => Some(id.as_str()),
            _ => None,
        });
        began.collect()
    }

    /// How many truth checks each case made.
    pub fn truth_checks(&self) -> BTreeMap<&str, usize> {
        let mut checks = BTreeMap::new();
        for event in self.events() {
            if let EventKind::TruthChecked { id, .. } = event {
                *checks.entry(id.as_str()).or_default() += 1;
            }
        }
        checks
    }

    /// The cases of the JUnit file: name and status.
    pub fn junit_cases(&self) -> Vec<(&str, &TestCaseStatus)> {
        let suites = self.junit.test_suites.iter();
        let cases = suites.flat_map(|suite| &suite.test_cases);
        cases.map(|case| (case.name.as_str(), &case.status)).collect()
    }

    /// How many cases the JUnit file counts as passed, as not passed and as skipped.
    pub fn junit_counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for (_, status) in self.junit_cases() {
            match status {
                TestCaseStatus::Success { .. } => counts.0 += 1,
                TestCaseStatus::NonSuccess { .. } => counts.1 += 1,
                TestCaseStatus::Skipped { .. } => counts.2 += 1,
            }
        }
        counts
    }

    /// A value of report.json.
    pub fn json(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}
