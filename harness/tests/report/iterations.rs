//! A run whose cases ran several times, in each format: the worst iteration counts, and each is named.

use harness::{
    report::{
        Dialect, NamedReport, Report, html, join, json, json_schema, junit, markdown, prometheus,
        summarize,
    },
    verdict::{
        Attribution, Failure, Level, Outcome, SignatureId, Verdict,
        event::{Event, EventKind},
    },
};
use proptest::{prelude::*, sample::select};
use serde_json::Value;

use super::{committed_schema::assert_valid, sample};

/// A run of one case, once for each verdict.
fn repeated(verdicts: &[Verdict], outcome: Outcome) -> Vec<Event> {
    let count = u32::try_from(verdicts.len()).expect("few");
    let mut start = sample::run_started(1);
    if let EventKind::RunStarted(run) = &mut start {
        run.repeat = Some(count);
    }
    let mut kinds = vec![start];
    for (verdict, duration_ms) in verdicts.iter().zip((1000..).step_by(1000)) {
        let (name, title) = ("podman::runs", "It runs");
        kinds.push(sample::started("POD-03"));
        kinds.push(sample::check("POD-03", &format!("check of {duration_ms}"), "a", "a"));
        kinds.push(sample::finished(
            "POD-03",
            name,
            title,
            Level::Core,
            verdict.clone(),
            duration_ms,
        ));
    }
    kinds.push(sample::run_finished(outcome, 9000));
    let events = sample::at_fixed_times(kinds).into_iter().enumerate();
    let last = 3 * verdicts.len();
    let numbered = events.map(|(index, event)| {
        let is_of_case = (1..=last).contains(&index);
        let number = is_of_case.then(|| u32::try_from((index - 1) / 3 + 1).expect("few"));
        Event { iteration: number, ..event }
    });
    numbered.collect()
}

fn flaky() -> Report {
    let fail = || sample::fail("<b>it</b> exited with 1", None);
    let verdicts = [Verdict::Pass, fail(), Verdict::Pass, fail()];
    summarize(&repeated(&verdicts, Outcome::NotConformant))
}

const FLAKY: &str = "4 iterations: 2 fail (2, 4), 2 pass; 1.000s to 4.000s";

#[test]
fn every_format_names_the_iterations_that_failed_and_counts_the_case_once() {
    let report = flaky();
    let xml = junit(&report, Dialect::Jenkins).expect("it is written");
    assert!(xml.contains(&format!("name=\"iterations\" value=\"{FLAKY}\"")), "{xml}");
    assert_eq!(xml.matches("name=\"POD-03 runs\"").count(), 1);
    assert_eq!(xml.matches("type=\"fail\"").count(), 1);
    let page = markdown(&report);
    assert!(page.contains(FLAKY) && page.contains("· 4 iterations"), "{page}");
    let page = html(&report);
    assert!(page.contains(FLAKY) && page.contains("<dt>repeated</dt>"), "{page}");
    assert!(!page.contains("<b>it</b>"), "a message is not markup");
    assert!(prometheus(&report).contains("POD-03"));
    let document: Value = serde_json::from_str(&json(&report).expect("JSON")).expect("JSON");
    let schema = jsonschema::validator_for(json_schema().as_value()).expect("a valid schema");
    assert_valid(&schema, &document);
    let case = &document["cases"][0];
    assert_eq!((&case["verdict"], &document["run"]["repeat"]), (&"fail".into(), &4.into()));
    let durations: Vec<_> = (0..4).map(|index| &case["iterations"][index]["duration_ms"]).collect();
    assert_eq!(durations, [1000, 2000, 3000, 4000]);
    assert_eq!(case["iterations"][1]["message"], "<b>it</b> exited with 1");
    assert_eq!(document["counts"]["fail"], 1);
}

#[test]
fn a_case_has_the_proofs_of_the_iteration_that_stands() {
    let report = flaky();
    let checks: Vec<_> = report.cases[0].truth_checks.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(checks, ["check of 4000"]);
    let passes = summarize(&repeated(&[Verdict::Pass, Verdict::Pass], Outcome::Conformant));
    assert_eq!(passes.cases[0].truth_checks[0].name, "check of 2000");
    assert_eq!(passes.outcome, Some(Outcome::Conformant));
}

#[test]
fn a_log_that_calls_a_flaky_run_conformant_is_not_believed() {
    let verdicts = [Verdict::Pass, sample::fail("no", None), Verdict::Pass];
    let report = summarize(&repeated(&verdicts, Outcome::Conformant));
    assert_eq!(report.outcome, Some(Outcome::NotConformant));
    let reasons = harness::report::reasons(&report);
    assert!(reasons.iter().any(|it| it == "1 case did not hold every time: POD-03"), "{reasons:?}");
}

/// A report with its name, of a run of its own.
fn named(name: &str, mut report: Report) -> NamedReport {
    if let Some(run) = &mut report.run {
        run.run = format!("run of {name}");
    }
    NamedReport { name: name.to_owned(), report }
}

#[test]
fn a_joined_report_keeps_the_iterations_of_each_part() {
    let good = || {
        summarize(&repeated(&[Verdict::Pass, Verdict::Pass, Verdict::Pass], Outcome::Conformant))
    };
    for parts in
        [[named("a", flaky()), named("b", good())], [named("b", good()), named("a", flaky())]]
    {
        let joined = join(&parts).expect("they fit");

        assert_eq!(joined.outcome, Some(Outcome::NotConformant));
        let case = &joined.cases[0];
        let of = |report: &str| {
            let iterations = case.iterations.iter();
            iterations.filter(|it| it.report.as_deref() == Some(report)).count()
        };
        assert_eq!((of("a"), of("b")), (4, 3));
        let both = ["4 iterations in `a`: 2 fail (2, 4), 2 pass", "3 iterations in `b`: 3 pass"];
        let xml = junit(&joined, Dialect::Jenkins).expect("it is written");
        for text in
            [html(&joined).replace("<code>", "`").replace("</code>", "`"), markdown(&joined), xml]
        {
            assert!(both.iter().all(|words| text.contains(words)), "{text}");
        }
        let document: Value = serde_json::from_str(&json(&joined).expect("JSON")).expect("JSON");
        let schema = jsonschema::validator_for(json_schema().as_value()).expect("a valid schema");
        assert_valid(&schema, &document);
        assert!(document["cases"][0]["iterations"][6]["report"].is_string(), "{document}");
    }
}

#[test]
fn a_joined_report_of_one_part_with_iterations_names_no_part() {
    let once = summarize(&sample::at_fixed_times([
        sample::run_started(1),
        sample::started("POD-03"),
        sample::finished("POD-03", "podman::runs", "It runs", Level::Core, Verdict::Pass, 10),
        sample::run_finished(Outcome::Conformant, 100),
    ]));
    let joined = join(&[named("a", flaky()), named("b", once)]).expect("they fit");
    let iterations = &joined.cases[0].iterations;
    assert_eq!(iterations.len(), 4);
    assert!(iterations.iter().all(|it| it.report.is_none()));
}

fn lacks_program() -> Verdict {
    let cause = Attribution {
        signature: Some(SignatureId::F43),
        wrong: "the image has no `nft`".to_owned(),
        ..Attribution::default()
    };
    Failure::blocked_by("no `nft`", cause).into()
}

#[test]
fn the_causes_and_the_outcome_are_those_of_all_iterations() {
    let error = Verdict::Error { message: "the node went away".to_owned() };
    let verdicts = [error, lacks_program(), sample::fail("it exited with 1", None)];
    let report = summarize(&repeated(&verdicts, Outcome::Conformant));

    assert_eq!(report.outcome, Some(Outcome::Error), "an error is worse than a failure");
    assert_eq!(report.cases[0].case.verdict.name(), "fail");
    assert_eq!(report.causes.len(), 3, "{:?}", report.causes);
    assert!(report.causes.iter().any(|it| it.signature == Some(SignatureId::F43)));
    let own = report.cause_of("POD-03").expect("a cause");
    assert_eq!(own.wrong, "it exited with 1", "that of the verdict that stands");
    let document: Value = serde_json::from_str(&json(&report).expect("JSON")).expect("JSON");
    assert_eq!(document["cases"][0]["cause_id"], own.id.as_str());
    let headline = harness::report::headline(&report);
    let reasons = harness::report::reasons(&report);
    assert!(reasons.iter().any(|it| it == "1 case broke: POD-03"), "{headline} {reasons:?}");
    let page = markdown(&report);
    assert!(page.contains("the image has no `nft`"), "{page}");
}

proptest! {
    #[test]
    fn a_repeated_case_is_as_bad_as_its_worst_iteration(
        verdicts in prop::collection::vec(
            select(vec![
                Verdict::Pass,
                sample::fail("no", None),
                Verdict::blocked("gate off", "turn it on"),
                Verdict::Error { message: "lost".to_owned() },
                Verdict::Interrupted,
            ]),
            1..8,
        ),
    ) {
        let report = summarize(&repeated(&verdicts, Outcome::Conformant));
        let worst = verdicts.iter().map(Verdict::badness).max();
        prop_assert_eq!(Some(report.cases[0].case.verdict.badness()), worst);
        let is_green = verdicts.iter().all(|verdict| *verdict == Verdict::Pass);
        prop_assert_eq!(report.outcome == Some(Outcome::Conformant), is_green);
        prop_assert_eq!(report.cases[0].iterations.len(), verdicts.len());
    }
}
