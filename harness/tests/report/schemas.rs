//! The JSON Schemas of `report.json` and of a line of `events.jsonl`.

use std::collections::BTreeSet;

use harness::{
    report::{json, json_schema, summarize},
    verdict::event,
};
use serde_json::{Value, json as document};

use crate::{
    committed_schema::{assert_valid, committed_schema},
    sample,
};

fn report(events: &[event::Event]) -> Value {
    let text = json(&summarize(events)).expect("JSON can be written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_report_has_the_form_of_the_schema() {
    let schema = committed_schema("report", &json_schema());
    for (_, events) in sample::runs() {
        assert_valid(&schema, &report(&events));
    }
    assert_valid(&schema, &report(&[]));
}

#[test]
fn every_event_has_the_form_of_the_schema() {
    let schema = committed_schema("event", &event::json_schema());
    let mut kinds = BTreeSet::new();
    for (_, events) in sample::runs() {
        for event in events {
            let line = serde_json::to_value(event).expect("events are JSON");
            kinds.insert(line["event"]["kind"].as_str().map(str::to_owned));
            assert_valid(&schema, &line);
        }
    }
    assert!(kinds.len() >= 8, "the samples have few kinds of events: {kinds:?}");
}

#[test]
fn a_schema_allows_new_fields_and_refuses_changed_ones() {
    let schema = committed_schema("report", &json_schema());
    let whole = report(&sample::every_verdict());
    assert_valid(&schema, &whole);
    let with = |field: &str, value: Value| {
        let mut changed = whole.clone();
        changed["cases"][0][field] = value;
        changed
    };

    assert!(schema.is_valid(&with("invented_later", document!(1))));
    assert!(!schema.is_valid(&with("verdict", document!("invented-later"))));
    assert!(!schema.is_valid(&with("id", document!(3))));
    let mut newer = whole.clone();
    newer["schema"] = document!(2);
    assert!(!schema.is_valid(&newer));
    let mut missing = whole.clone();
    missing["cases"][0].as_object_mut().expect("a case").remove("title");
    assert!(!schema.is_valid(&missing));
}
