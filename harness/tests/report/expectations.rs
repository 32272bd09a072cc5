//! What reports say of failures that a person expects.

use harness::{
    report::{Dialect, Style, Terminal, headline, html, json, junit, markdown, summarize},
    verdict::{
        Acceptance, Attribution, ExpectationEntry, ExpectationReport, ExpectationResult,
        ExpectationState, ExpectedVerdict, Level, Outcome, Verdict,
        event::{self, Event, EventKind},
    },
};

use crate::{
    committed_schema::{assert_valid, committed_schema},
    sample,
};

const REASON: &str = "https://issues.example/7: <b>SELinux</b> | `pasta`";

fn result(line: usize, state: ExpectationState, detail: Option<&str>) -> ExpectationResult {
    let case = format!("POD-0{line}");
    ExpectationResult {
        line,
        entry: ExpectationEntry {
            case: Some(case.clone()),
            message: Some("denied".to_owned()),
            reason: REASON.to_owned(),
            flavour: Some("openshift".to_owned()),
            versions: Some(">=4.19 <4.21".to_owned()),
            until: Some("2026-12-31".to_owned()),
            ..ExpectationEntry::default()
        },
        state,
        cases: if detail.is_none() { vec![case] } else { Vec::new() },
        detail: detail.map(str::to_owned),
    }
}

/// A run with an entry of each state.
fn expected(strict: bool) -> Vec<Event> {
    use ExpectationState::{Expired, NoMatch, NotChecked, Stale, Used};

    let acceptance =
        Acceptance { verdict: ExpectedVerdict::Fail, reason: REASON.to_owned(), line: 1 };
    let cause = Attribution { wrong: "pasta is denied".to_owned(), ..Attribution::default() };
    let verdict = Verdict::expected("`pasta` was denied", cause, acceptance);
    let mut kinds = vec![sample::run_started(2)];
    let passed = ("POD-02", "podman::runs", "It runs");
    kinds.push(sample::finished(passed.0, passed.1, passed.2, Level::Core, Verdict::Pass, 1));
    kinds.push(sample::finished(
        "POD-01",
        "podman::pings",
        "It pings",
        Level::Extended,
        verdict,
        1,
    ));
    let outcome = if strict { Outcome::NotConformant } else { Outcome::Conformant };
    let entries = vec![
        result(1, Used, None),
        result(2, Stale, Some("POD-02 passes")),
        result(3, NoMatch, Some("POD-03 fails with another message")),
        result(4, Expired, Some("its last day was 2026-12-31")),
        result(5, NotChecked, Some("POD-05 was not selected")),
    ];
    kinds.push(EventKind::RunFinished {
        outcome,
        duration_ms: 7,
        causes: Vec::new(),
        namespace: Vec::new(),
        expectations: ExpectationReport { strict, entries },
    });
    sample::at_fixed_times(kinds)
}

fn terminal(events: &[Event]) -> String {
    let mut terminal = Terminal::new(Vec::new(), Style::default());
    for event in events {
        terminal.event(event);
    }
    String::from_utf8(terminal.into_inner()).expect("text")
}

#[test]
fn every_format_reports_entries_that_somebody_has_to_change() {
    let events = expected(false);
    let report = summarize(&events);
    insta::assert_snapshot!("expectations-terminal", terminal(&events));
    insta::assert_snapshot!("expectations-markdown", markdown(&report));
    let junit = junit(&report, Dialect::Jenkins).expect("JUnit can be written");
    insta::assert_snapshot!("expectations-junit", junit);
    let json = json(&report).expect("JSON can be written");
    insta::assert_snapshot!("expectations-json", json);
    let page = html(&report);
    let (_, table) = page.split_once("<h2>Expectations</h2>").expect("a section");
    insta::assert_snapshot!("expectations-html", table.replace("><", ">\n<"));
    for text in [&page, &markdown(&report)] {
        assert!(!text.contains("<b>SELinux"), "{text}");
    }
    for text in [terminal(&events), markdown(&report), junit, json, page] {
        for words in ["POD-02 passes", "its last day was 2026-12-31", "with another message"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

#[test]
fn strict_expectations_are_the_reason_why_a_run_is_not_conformant() {
    let events = expected(true);

    let report = summarize(&events);

    let expected = "Not conformant: no case fails, but the expectations must change (`--strict`)";
    assert_eq!(headline(&report).to_string(), expected);
    assert!(terminal(&events).contains("3 expectations to change: POD-02, POD-03, POD-04"));
    let junit = junit(&report, Dialect::Jenkins).expect("JUnit can be written");
    assert!(junit.contains("not-conformant"), "{junit}");
}

#[test]
fn a_log_that_calls_broken_strict_expectations_conformant_is_not_believed() {
    let mut events = expected(true);
    let last = events.pop().expect("the run ends");
    let EventKind::RunFinished { duration_ms, causes, namespace, expectations, .. } =
        last.event.into_inner()
    else {
        panic!("the run has an end")
    };
    let outcome = Outcome::Conformant;
    let end = EventKind::RunFinished { outcome, duration_ms, causes, namespace, expectations };
    events.push(Event { schema: last.schema, at: last.at, iteration: None, event: end.into() });

    assert_eq!(summarize(&events).outcome, Some(Outcome::NotConformant));
}

#[test]
fn documents_with_expectations_have_the_form_of_the_schemas() {
    let schema = committed_schema("event", &event::json_schema());
    for event in expected(true) {
        assert_valid(&schema, &serde_json::to_value(event).expect("events are JSON"));
    }
    let schema = committed_schema("report", &harness::report::json_schema());
    let text = json(&summarize(&expected(true))).expect("JSON can be written");
    assert_valid(&schema, &serde_json::from_str(&text).expect("JSON"));
}

#[test]
fn a_log_of_an_older_nestcheck_is_read() {
    let old = r#"{"schema":1,"at":"2026-11-24T09:30:00Z","event":{"kind":"run-finished","outcome":"partial","duration_ms":1}}"#;
    let events = event::read_log(&format!("{old}\n")).expect("the log is valid");
    assert!(summarize(&events).expectations.is_empty());
    assert_eq!(serde_json::to_string(&events[0]).expect("it is JSON"), old, "nothing is added");
}
