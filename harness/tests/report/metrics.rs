//! Formats for other programs: metrics of Prometheus, and statements of in-toto.

use std::collections::{BTreeMap, BTreeSet};

use harness::{
    report::{in_toto, prometheus, summarize},
    verdict::{
        Level, Outcome, Verdict,
        event::{Event, EventKind, RunStarted},
    },
};
use serde_json::Value;

use crate::sample;

/// The samples of a page: metric, labels and value. Understands only what the format allows:
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
fn samples(page: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let (mut helped, mut typed, mut all) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    assert!(page.ends_with('\n'), "the last line ends");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (metric, text) = help.split_once(' ').expect("a metric and a text");
            assert!(!text.is_empty() && helped.insert(metric.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (metric, kind) = kind.split_once(' ').expect("a metric and a type");
            assert!(kind == "gauge" && typed.insert(metric.to_owned()), "{line}");
        } else {
            let name_end = line.find(['{', ' ']).expect("a value");
            let (metric, rest) = line.split_at(name_end);
            assert!(metric.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            assert!(helped.contains(metric) && typed.contains(metric), "{line}");
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => labels(rest),
                None => (BTreeMap::new(), rest),
            };
            let value = value.strip_prefix(' ').expect("a space before the value");
            all.push((metric.to_owned(), labels, value.parse().expect("a number")));
        }
    }
    all
}

/// Labels up to `}`, and the rest of the line.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        let (mut value, mut characters) = (String::new(), after.char_indices());
        let end = loop {
            match characters.next().expect("a closing quote") {
                (_, '\\') => match characters.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => panic!("`\\{other}` is not an escape"),
                },
                (end, '"') => break end,
                (_, character) => value.push(character),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "a label twice");
        rest = &after[end + 1..];
        match rest.split_at(1) {
            (",", more) => rest = more,
            ("}", more) => return (labels, more),
            _ => panic!("`,` or `}}` before {rest}"),
        }
    }
}

fn value(page: &str, metric: &str, label: &str) -> Option<f64> {
    let of = |(name, labels, value): &(String, BTreeMap<String, String>, f64)| {
        let is_labelled = label.is_empty() || labels.values().any(|value| value == label);
        (name == metric && is_labelled).then_some(*value)
    };
    samples(page).iter().find_map(of)
}

#[test]
fn metrics_are_read_by_the_rules_of_the_format() {
    for (name, events) in sample::runs() {
        let page = prometheus(&summarize(&events));
        let samples = samples(&page);
        let distinct: BTreeSet<_> =
            samples.iter().map(|(metric, labels, _)| (metric, labels)).collect();
        assert_eq!(distinct.len(), samples.len(), "{name}: each sample once");
        let outcomes = samples.iter().filter(|(metric, ..)| metric == "nestcheck_run_outcome");
        assert!((outcomes.map(|(.., value)| value).sum::<f64>() - 1.0).abs() < 1e-9, "{name}");
    }
    insta::assert_snapshot!("prometheus", prometheus(&summarize(&sample::every_verdict())));
}

#[test]
fn metrics_say_the_outcome_and_each_core_case() {
    let page = prometheus(&summarize(&sample::not_conformant()));
    assert_eq!(value(&page, "nestcheck_run_outcome", "not-conformant"), Some(1.0));
    assert_eq!(value(&page, "nestcheck_run_exit_code", ""), Some(1.0));
    assert_eq!(value(&page, "nestcheck_core_case_passed", "POD-03"), Some(1.0));
    assert_eq!(value(&page, "nestcheck_core_case_passed", "POD-07"), Some(0.0));
    assert_eq!(value(&page, "nestcheck_core_case_passed", "POD-08"), None, "it is not core");
    assert_eq!(value(&page, "nestcheck_run_is_part", ""), Some(0.0));
    let died = prometheus(&summarize(&sample::died()));
    assert_eq!(value(&died, "nestcheck_run_outcome", "died"), Some(1.0));
    assert_eq!(value(&died, "nestcheck_run_exit_code", ""), None);
}

#[test]
fn metrics_distinguish_a_part_of_a_profile_from_all_of_it() {
    let mut kinds: Vec<_> =
        sample::conformant().into_iter().map(|event| event.event.into_inner()).collect();
    for kind in &mut kinds {
        if let EventKind::RunStarted(run) = kind {
            *run = RunStarted { is_part: true, ..run.clone() };
        }
    }
    let page = prometheus(&summarize(&sample::at_fixed_times(kinds)));
    assert_eq!(value(&page, "nestcheck_run_outcome", "conformant"), Some(1.0));
    assert_eq!(value(&page, "nestcheck_run_is_part", ""), Some(1.0));
    let nothing = prometheus(&summarize(&[]));
    assert_eq!(value(&nothing, "nestcheck_run_is_part", ""), Some(1.0), "nothing is known");
}

#[test]
fn the_labels_of_metrics_hold_any_text() {
    let nasty = "a\"}\\\n{b=\"c\"} 1";
    let pass = sample::finished("X-1", nasty, "x", Level::Core, Verdict::Pass, 1);
    let page = prometheus(&summarize(&sample::at_fixed_times([pass])));
    let found = samples(&page).into_iter().find(|(name, ..)| name == "nestcheck_core_case_passed");
    let (_, labels, _) = found.expect("the case");
    assert_eq!(labels["case"], "a\"}\\ {b=\"c\"} 1", "on one line");
}

fn statement(events: &[Event]) -> Value {
    let text = in_toto(&summarize(events)).expect("the image is known");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_statement_is_about_the_image_that_ran() {
    let statement = statement(&sample::every_verdict());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://in-toto.io/attestation/test-result/v0.1");
    assert_eq!(statement["subject"][0]["name"], "registry.example/workspace");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], format!("{:0>64}", "abc"));
    assert_eq!(statement["predicate"]["result"], "FAILED");
    let annotations = &statement["predicate"]["configuration"][0]["annotations"];
    assert_eq!(annotations["profile"], "openshift");
    let has = |list: &str, id: &str| {
        let list = statement["predicate"][list].as_array().expect("a list");
        list.iter().any(|name| name.as_str().is_some_and(|name| name.starts_with(id)))
    };
    assert!(has("passedTests", "POD-03") && has("failedTests", "POD-07"));
    assert!(has("warnedTests", "ISO-04") && has("warnedTests", "END-02"), "not decisive");
    let lists = ["passedTests", "warnedTests", "failedTests"];
    assert!(!lists.iter().any(|list| has(list, "MS-01")), "it is not applicable");
}

#[test]
fn only_a_whole_conformant_run_has_passed() {
    let with_pod = |events: Vec<Event>, is_part| {
        let mut kinds: Vec<_> = events.into_iter().map(|event| event.event.into_inner()).collect();
        kinds.insert(1, sample::step("pod workspace", 1, None));
        for kind in &mut kinds {
            if let EventKind::RunStarted(run) = kind {
                *run = RunStarted { is_part, ..run.clone() };
            }
        }
        statement(&sample::at_fixed_times(kinds))["predicate"]["result"].clone()
    };
    assert_eq!(with_pod(sample::conformant(), false), "PASSED");
    assert_eq!(with_pod(sample::conformant(), true), "WARNED");
    assert_eq!(with_pod(sample::partial(), false), "WARNED");
    assert_eq!(with_pod(sample::not_conformant(), false), "FAILED");
    assert_eq!(with_pod(sample::died(), false), "FAILED");
}

#[test]
fn a_run_of_two_images_gives_no_statement() {
    let mut kinds: Vec<_> =
        sample::conformant().into_iter().map(|event| event.event.into_inner()).collect();
    kinds.insert(1, sample::step("pod workspace", 1, None));
    let EventKind::StepFinished(mut other) = sample::step("pod workspace", 1, None) else {
        unreachable!("it is a step")
    };
    other.image_id = Some(format!("registry.example/workspace@sha256:{:0>64}", "def"));
    kinds.insert(2, EventKind::StepFinished(other));
    let report = summarize(&sample::at_fixed_times(kinds));
    let error = in_toto(&report).expect_err("which of them?").to_string();
    assert!(error.contains("abc") && error.contains("def"), "{error}");
}

#[test]
fn a_run_whose_image_is_unknown_gives_no_statement() {
    assert_eq!(summarize(&sample::conformant()).outcome, Some(Outcome::Conformant));
    let error = in_toto(&summarize(&sample::conformant())).expect_err("no pod was started");
    assert_eq!(error.kind().exit_code(), 2);
    assert!(error.hint().is_some_and(|hint| hint.contains("POD-03")));
}
