//! Runs beside each other.

use harness::{
    report::{
        NamedReport,
        compare::{
            CaseRow, Change, Comparison, FactRow, Rows, compare, html, json, json_schema, markdown,
            text,
        },
        summarize,
    },
    verdict::{
        Level, Outcome, Verdict,
        event::{Event, EventKind, RunStarted},
    },
};
use proptest::{prelude::*, sample::select};

use crate::{
    committed_schema::{assert_valid, committed_schema},
    sample,
};

/// Inputs with these events.
fn inputs(runs: &[(&str, Vec<Event>)]) -> Vec<NamedReport> {
    let input = |(name, events): &(&str, Vec<Event>)| NamedReport {
        name: format!("reports/{name}"),
        report: summarize(events),
    };
    runs.iter().map(input).collect()
}

fn compared(runs: &[(&str, Vec<Event>)]) -> Comparison {
    compare(&inputs(runs))
}

/// A run of these cases.
fn run(cases: &[(&str, Level, Verdict, u64)], outcome: Outcome) -> Vec<Event> {
    let mut kinds = vec![sample::run_started(cases.len())];
    kinds.extend(cases.iter().map(|(id, level, verdict, duration_ms)| {
        let name = format!("podman::{}", id.to_lowercase());
        sample::finished(id, &name, "It works", *level, verdict.clone(), *duration_ms)
    }));
    kinds.push(sample::run_finished(outcome, 1000));
    sample::at_fixed_times(kinds)
}

/// The same run on another cluster.
fn on(events: Vec<Event>, facts: &[(&str, &str)]) -> Vec<Event> {
    let change = |mut event: Event| {
        if let EventKind::RunStarted(run) = &*event.event {
            let cluster = facts.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let run = RunStarted { cluster: cluster.collect(), ..run.clone() };
            event.event = EventKind::RunStarted(run).into();
        }
        event
    };
    events.into_iter().map(change).collect()
}

fn pass(id: &str) -> (&str, Level, Verdict, u64) {
    (id, Level::Core, Verdict::Pass, 10)
}

/// Two runs with every kind of change.
fn two() -> Vec<(&'static str, Vec<Event>)> {
    let fail = || Verdict::fail("exit `1` <b>|", None);
    let blocked = || Verdict::blocked("the gate is off", "set the gate");
    let before = run(
        &[
            pass("POD-01"),
            ("POD-02", Level::Core, fail(), 10),
            ("POD-03", Level::Core, fail(), 10),
            ("POD-04", Level::Core, Verdict::Pass, 1000),
            ("POD-05", Level::Extended, Verdict::Pass, 10),
            pass("POD-06"),
            pass("POD-07"),
        ],
        Outcome::NotConformant,
    );
    let after = run(
        &[
            ("POD-01", Level::Core, fail(), 10),
            pass("POD-02"),
            ("POD-03", Level::Core, Verdict::fail("something else", None), 10),
            ("POD-04", Level::Core, Verdict::Pass, 12_000),
            ("POD-05", Level::Extended, blocked(), 0),
            pass("POD-06"),
            ("POD-08", Level::Core, fail(), 10),
            pass("POD-09"),
        ],
        Outcome::NotConformant,
    );
    let facts = [("flavour", "openshift"), ("version", "v1.34.1"), ("server", "https://b:6443")];
    vec![("before", before), ("after", on(after, &facts))]
}

#[test]
fn a_table_of_markdown_has_as_many_cells_in_each_row() {
    let fail = || Verdict::fail("`echo a | b` exited with 1, expected 0: a \\| b", None);
    let before = run(&[pass("POD-01")], Outcome::Conformant);
    let after = run(&[("POD-01", Level::Core, fail(), 10)], Outcome::NotConformant);
    let page = markdown(&compared(&[("before", before), ("after", after)]), Rows::All);
    assert!(page.contains(r"`echo a \| b` exited"), "{page}");
    let mut cells = None;
    for line in page.lines() {
        if !line.starts_with('|') {
            cells = None;
            continue;
        }
        // A pipe that is not escaped begins a cell, in code too.
        let count = line.replace(r"\\", "").replace(r"\|", "").matches('|').count();
        assert_eq!(*cells.get_or_insert(count), count, "{line}");
    }
}

#[test]
fn many_cases_with_a_cause_each_are_compared_in_time() {
    let cases: Vec<_> = (0..20_000)
        .map(|number| {
            // Words without a digit: numbers are not a difference.
            let letter = |at: u32| {
                char::from(b'g' + u8::try_from(number / 20_u32.pow(at) % 20).expect("a letter"))
            };
            let word: String = (0..4).map(letter).collect();
            sample::finished(
                &format!("X-{number}"),
                "a::b",
                "It works",
                Level::Core,
                Verdict::fail(word, None),
                1,
            )
        })
        .collect();
    let events = sample::at_fixed_times(cases);
    let started = std::time::Instant::now();
    let comparison = compared(&[("a", events.clone()), ("b", events)]);
    assert_eq!(comparison.causes.len(), 20_000);
    assert!(comparison.cases.iter().all(|row| row.change == Change::Same));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Three clusters.
fn three() -> Vec<(&'static str, Vec<Event>)> {
    let elsewhere = || Verdict::NotApplicable { reason: "only OpenShift has it".into() };
    let kind = run(
        &[
            pass("POD-01"),
            ("POD-02", Level::Core, Verdict::Error { message: "the node went away".into() }, 10),
            ("POD-05", Level::Extended, elsewhere(), 0),
            pass("POD-06"),
        ],
        Outcome::Error,
    );
    let names = ["4.19", "4.20", "kind"];
    let runs = two().into_iter().map(|(_, events)| events).chain([kind]);
    let runs = names.into_iter().zip(runs).zip(["4.19.3", "4.20.1", "v1.34.0"]);
    let run = |((name, events), version)| {
        let flavour = if name == "kind" { "kubernetes (kind)" } else { "openshift" };
        let facts =
            [("server", "https://10.0.0.1:6443"), ("flavour", flavour), ("version", version)];
        (name, on(events, &facts))
    };
    runs.map(run).collect()
}

/// The body of a page, an element a line.
fn body(page: &str) -> String {
    page.split_once("</style>").expect("the page has a style").1.replace("><", ">\n<")
}

#[test]
fn two_runs_in_every_format() {
    let comparison = compared(&two());
    insta::assert_snapshot!("compare-two-text", text(&comparison, Rows::Different));
    insta::assert_snapshot!("compare-two-markdown", markdown(&comparison, Rows::Different));
    insta::assert_snapshot!("compare-two-html", body(&html(&comparison, Rows::Different)));
    let document = json(&comparison, Rows::Different).expect("JSON can be written");
    insta::assert_snapshot!("compare-two-json", document);
}

#[test]
fn three_clusters_are_columns_of_one_table() {
    let comparison = compared(&three());
    insta::assert_snapshot!("compare-three-text", text(&comparison, Rows::Different));
    insta::assert_snapshot!("compare-three-markdown", markdown(&comparison, Rows::Different));
    if let Ok(directory) = std::env::var("NESTCHECK_SAMPLES") {
        for (name, runs) in [("compare-2", two()), ("compare-3", three())] {
            std::fs::write(format!("{directory}/{name}.html"), html(&compared(&runs), Rows::All))
                .expect("the directory is there");
        }
    }
}

#[test]
fn every_comparison_has_the_form_of_the_schema() {
    let schema = committed_schema("compare", &json_schema());
    for runs in [two(), three(), vec![]] {
        for rows in [Rows::Different, Rows::All] {
            let text = json(&compared(&runs), rows).expect("JSON can be written");
            assert_valid(&schema, &serde_json::from_str(&text).expect("JSON"));
        }
    }
}

#[test]
fn the_same_report_twice_has_no_difference() {
    let events = sample::every_verdict();
    let comparison = compared(&[("a", events.clone()), ("a", events)]);
    assert!(!comparison.is_worse());
    assert!(comparison.cases.iter().all(CaseRow::is_same));
    assert!(comparison.facts.iter().all(FactRow::is_same));
    let text = text(&comparison, Rows::Different);
    assert!(text.starts_with("Nothing got worse\n"), "{text}");
}

#[test]
fn a_case_that_one_run_alone_has_is_never_worse() {
    let fail = || ("POD-02", Level::Core, Verdict::fail("x", None), 10);
    let one = || run(&[pass("POD-01")], Outcome::Conformant);
    let both = || run(&[pass("POD-01"), fail()], Outcome::NotConformant);
    let new = compared(&[("a", one()), ("b", both())]);
    assert!(!new.is_worse());
    assert_eq!(new.count(Change::NewFailure), 1, "it is reported by itself");
    let interrupted = ("POD-02", Level::Core, Verdict::Interrupted, 10);
    let interrupted = run(&[pass("POD-01"), interrupted], Outcome::Error);
    let interrupted = compared(&[("a", one()), ("b", interrupted)]);
    assert_eq!(interrupted.count(Change::NewFailure), 0);
    let gone = compared(&[("a", both()), ("b", one())]);
    assert!(!gone.is_worse());
    assert_eq!((gone.count(Change::Missing), gone.count(Change::Better)), (1, 0));
    assert!(text(&gone, Rows::Different).contains("Only in A: 1 case: POD-02"));
}

#[test]
fn a_run_that_is_cut_off_leaks_or_is_interrupted_is_worse() {
    let cases = [pass("POD-01")];
    let good = || run(&cases, Outcome::Conformant);
    let cut_off = || good().into_iter().take(2).collect::<Vec<_>>();
    for bad in [
        cut_off(),
        run(&cases, Outcome::Leaked),
        run(&cases, Outcome::Interrupted { signal: 2 }),
        run(&cases, Outcome::Error),
    ] {
        let comparison = compared(&[("a", good()), ("b", bad.clone())]);
        assert!(comparison.is_worse());
        assert!(text(&comparison, Rows::Different).contains("Run B: "));
        assert!(!compared(&[("a", bad.clone()), ("b", good())]).is_worse());
        assert!(!compared(&[("a", bad.clone()), ("b", bad)]).is_worse());
    }
    let other = compared(&[("a", cut_off()), ("b", run(&cases, Outcome::Leaked))]);
    assert!(other.is_worse(), "A did not leak");
}

#[test]
fn a_duration_never_decides() {
    let slow = ("POD-01", Level::Core, Verdict::Pass, 60_000);
    let comparison = compared(&[
        ("a", run(&[pass("POD-01")], Outcome::Conformant)),
        ("b", run(&[slow], Outcome::Conformant)),
    ]);
    assert!(!comparison.is_worse());
    let text = text(&comparison, Rows::Different);
    assert!(text.contains("POD-01 takes 60.0 s in B, 0.0 s in A"), "{text}");
}

#[test]
fn text_of_pods_and_paths_stays_text() {
    let nasty = "<script>alert(1)</script> | ![x](y) \u{1b}[31m";
    let case = |verdict| run(&[("POD-01", Level::Core, verdict, 1)], Outcome::NotConformant);
    let comparison = compare(&[
        NamedReport { name: nasty.to_owned(), report: summarize(&case(Verdict::Pass)) },
        NamedReport { name: "b".to_owned(), report: summarize(&case(Verdict::fail(nasty, None))) },
    ]);
    let page = html(&comparison, Rows::All);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    for forbidden in ["<img", "<link", "http://", "https://", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for text in [text(&comparison, Rows::All), markdown(&comparison, Rows::All), page] {
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    // The path of the report is code, in which only a backtick would matter.
    assert!(markdown(&comparison, Rows::All).contains("`<script>alert(1)</script> \\| ![x](y)"));
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    select(vec![
        Verdict::Pass,
        Verdict::fail("x", None),
        Verdict::blocked("x", "y"),
        Verdict::NotApplicable { reason: "x".into() },
        Verdict::Error { message: "x".into() },
        Verdict::Interrupted,
    ])
}

fn any_run() -> impl Strategy<Value = Vec<Event>> {
    let level = select(vec![Level::Core, Level::Extended, Level::Informing]);
    let case = (select(vec!["A-1", "A-2", "A-3", "A-4"]), level, any_verdict(), 0..20_000_u64);
    let outcome = select(vec![Outcome::Conformant, Outcome::NotConformant, Outcome::Leaked]);
    (prop::collection::vec(case, 0..5), outcome, 0..8_usize).prop_map(|(cases, outcome, cut)| {
        let mut events = run(&cases, outcome);
        events.truncate(cut);
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_case_and_run_is_in_its_place(runs in prop::collection::vec(any_run(), 0..5)) {
        let runs: Vec<_> = runs.into_iter().map(|events| ("run", events)).collect();
        let inputs = inputs(&runs);
        let comparison = compare(&inputs);
        prop_assert_eq!(comparison.runs.len(), inputs.len());
        for row in &comparison.cases {
            prop_assert_eq!(row.cells.len(), inputs.len());
            let of_row = |cell: &Option<_>| cell.is_some();
            prop_assert!(row.cells.iter().any(of_row));
            let is_new = row.cells.first().is_some_and(Option::is_none);
            prop_assert!(!is_new || row.change != Change::Worse, "only in a later run");
        }
        for rows in [Rows::Different, Rows::All] {
            let document = json(&comparison, rows).expect("JSON can be written");
            let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
            prop_assert_eq!(&document["worse"], comparison.is_worse());
            let lines = text(&comparison, rows);
            prop_assert_eq!(lines.starts_with("Something got worse"), comparison.is_worse());
            prop_assert_eq!(markdown(&comparison, rows).starts_with("## ❌"), comparison.is_worse());
            prop_assert_eq!(html(&comparison, rows).matches("<html").count(), 1);
        }
    }

    #[test]
    fn a_failure_that_only_the_later_run_has_makes_it_worse(verdict in any_verdict()) {
        let later = ("POD-01", Level::Core, verdict.clone(), 1);
        let comparison = compared(&[
            ("a", run(&[pass("POD-01")], Outcome::Conformant)),
            ("b", run(&[later], Outcome::NotConformant)),
        ]);
        prop_assert_eq!(comparison.is_worse(), verdict != Verdict::Pass);
    }
}
