//! The event log and the results of podman's own tests.

use std::fmt::Write as _;

use harness::{
    report::{Dialect, Style, Terminal, html, json, junit, markdown, summarize},
    verdict::event::read_log,
};
use suites::tap::{Results, TestResult};

use crate::assert_harmless;

/// Reads an event log. What was read can be written and read again, and each report of it can be
/// made and is harmless.
pub fn event_log(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let events = match read_log(&text) {
        Ok(events) => events,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= text.lines().count(), "{error}");
            return;
        }
    };
    let mut written = String::new();
    for event in &events {
        written += &serde_json::to_string(event).expect("an event is JSON");
        written.push('\n');
    }
    assert_eq!(read_log(&written).expect("a log that was written"), events);

    let report = summarize(&events);
    let document = json(&report).expect("a report is JSON");
    serde_json::from_str::<serde_json::Value>(&document).expect("JSON");
    for dialect in Dialect::ALL {
        assert_harmless(&junit(&report, dialect).expect("a report is XML"));
    }
    assert_harmless(&html(&report));
    assert_harmless(&markdown(&report));
    let mut terminal = Terminal::new(Vec::new(), Style::default());
    for event in &events {
        terminal.event(event);
    }
    terminal.finish();
    assert_harmless(&String::from_utf8(terminal.into_inner()).expect("UTF-8"));
}

/// Reads results in the Test Anything Protocol. They name no more tests than there are lines, and
/// written again they mean the same.
pub fn tap(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let results = Results::parse(&text);
    assert!(results.tests.len() <= text.lines().count());
    for test in &results.tests {
        assert!(!test.name.contains('\n'), "{test:?}");
    }
    let mut written = results.planned.map(|count| format!("1..{count}\n")).unwrap_or_default();
    for (index, test) in results.tests.iter().enumerate() {
        let (word, rest) = match &test.result {
            TestResult::Passed => ("ok", String::new()),
            TestResult::Skipped(reason) => ("ok", format!(" # skip {reason}")),
            TestResult::Failed(said) => ("not ok", format!("\n# {}", said.replace('\n', "\n# "))),
        };
        // Writing to a string can't fail.
        let _ = writeln!(written, "{word} {} {}{rest}", index + 1, test.name);
    }
    assert_eq!(Results::parse(&written).tests.len(), results.tests.len());
}
