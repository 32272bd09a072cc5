use harness::{
    report::{Dialect, junit, summarize},
    verdict::{
        Disruption, ExpectationReport, Level, Outcome, Verdict,
        event::{CaseRetried, RunStarted, TruthCheck},
    },
};

use super::*;

fn started() -> Event {
    Event::now(EventKind::RunStarted(RunStarted {
        run: "abc".into(),
        version: "1".into(),
        profile: "smoke".into(),
        image: "image".into(),
        cases: 1,
        ..RunStarted::default()
    }))
}

/// The end of a case.
pub(crate) fn case(id: &str, verdict: Verdict) -> Event {
    Event::now(EventKind::CaseFinished(CaseFinished {
        id: id.into(),
        name: format!("suite::{id}"),
        suite: "suite".into(),
        title: "It works".into(),
        level: Level::Core,
        verdict,
        duration_ms: 1,
    }))
}

fn proof(id: &str, holds: bool) -> Event {
    let check =
        TruthCheck { name: "map".into(), expected: "a".into(), observed: "b".into(), holds };
    Event::now(EventKind::TruthChecked { id: id.into(), check })
}

fn ended(outcome: Outcome) -> Event {
    Event::now(EventKind::RunFinished {
        outcome,
        duration_ms: 1,
        causes: Vec::new(),
        namespace: Vec::new(),
        expectations: ExpectationReport::default(),
    })
}

fn fail() -> Verdict {
    Verdict::fail("reset", None)
}

fn error() -> Verdict {
    Verdict::Error { message: "reset".into() }
}

fn invariants(violations: &[Violation]) -> Vec<Invariant> {
    violations.iter().map(|violation| violation.invariant).collect()
}

fn xml(events: &[Event]) -> String {
    junit(&summarize(events), Dialect::default()).expect("a report can be made")
}

#[test]
fn the_report_of_a_log_has_its_verdicts_and_is_red_until_the_end() {
    let events = [started(), proof("A-1", true), case("A-1", Verdict::Pass)];
    assert_eq!(check_report(&events, &xml(&events)), []);
}

#[test]
fn a_verdict_that_is_missing_or_another_one_is_lost() {
    let whole = [started(), case("A-1", Verdict::Pass), case("A-2", fail())];
    let violations = check_report(&whole, &xml(&whole[..2]));
    assert_eq!(invariants(&violations), [Invariant::Lost]);
    assert!(violations[0].what.contains("A-2"));
    let other = [started(), case("A-1", error()), case("A-2", fail())];
    assert_eq!(invariants(&check_report(&whole, &xml(&other))), [Invariant::Lost]);
}

#[test]
fn a_green_report_of_a_run_that_never_ended_is_wrong() {
    let events = [started(), proof("A-1", true), case("A-1", Verdict::Pass)];
    let whole = [&events[..], &[ended(Outcome::Conformant)]].concat();
    assert_eq!(invariants(&check_report(&events, &xml(&whole))), [Invariant::Report]);
    assert_eq!(invariants(&check_report(&events, "<oops")), [Invariant::Report]);
}

#[test]
fn a_fault_may_be_reported_as_error_only() {
    let expected = Verdicts::from([("A-1".into(), "pass".into())]);
    let check = |verdict| {
        invariants(&check_verdicts(
            &expected,
            &[started(), proof("A-1", true), case("A-1", verdict)],
        ))
    };
    assert_eq!(check(Verdict::Pass), []);
    assert_eq!(check(error()), []);
    assert_eq!(check(fail()), [Invariant::Misjudged]);
    let blocked = Verdict::blocked("503", "wait");
    assert_eq!(check(blocked), [Invariant::Misjudged]);
}

#[test]
fn an_unchecked_pass_and_a_vanished_case_are_seen() {
    let expected = Verdicts::from([("A-1".into(), "pass".into())]);
    let pass = case("A-1", Verdict::Pass);
    let check = |events: &[Event]| invariants(&check_verdicts(&expected, events));
    assert_eq!(check(&[started(), pass.clone()]), [Invariant::Misjudged]);
    assert_eq!(check(&[started(), proof("A-1", false), pass]), [Invariant::Misjudged]);
    assert_eq!(check(&[started()]), [Invariant::Lost]);
    assert_eq!(check(&[]), [], "a run that never began has no verdicts");
}

#[test]
fn checks_of_a_try_that_was_lost_prove_and_refute_nothing() {
    let expected = Verdicts::from([("A-1".into(), "pass".into())]);
    let disruption = Disruption { reason: "lost".into(), ..Disruption::default() };
    let retried = CaseRetried { id: "A-1".into(), attempt: 1, disruption };
    let retried = Event::now(EventKind::CaseRetried(retried));
    let check = |before, after: &[Event]| {
        let events = [&[started(), proof("A-1", before), retried.clone()], after].concat();
        invariants(&check_verdicts(&expected, &events))
    };
    let pass = case("A-1", Verdict::Pass);
    assert_eq!(check(false, &[proof("A-1", true), pass.clone()]), []);
    assert_eq!(check(true, &[pass]), [Invariant::Misjudged]);
}

#[test]
fn the_exit_code_is_the_outcome_s() {
    let expected = Verdicts::from([("A-1".into(), "pass".into())]);
    let check = |code, events: &[Event]| invariants(&check_ending(code, &expected, events));
    let good = [started(), case("A-1", Verdict::Pass), ended(Outcome::Conformant)];
    assert_eq!(check(0, &good), []);
    assert_eq!(check(1, &good), [Invariant::Ending]);
    assert_eq!(check(101, &good), [Invariant::Ending, Invariant::Ending]);
    let green = [started(), case("A-1", error()), ended(Outcome::Conformant)];
    assert_eq!(check(0, &green), [Invariant::Ending]);
    assert_eq!(check(4, &[]), []);
    assert_eq!(check(2, &[]), [Invariant::Ending]);
    assert_eq!(check(4, &[started()]), [Invariant::Ending]);
}

#[test]
fn only_the_event_of_a_retry_shows_one() {
    let message = "it was tried again".to_owned();
    let finished = case("POD-01", Verdict::Error { message: message.clone() });
    let disruption = Disruption { reason: message, ..Disruption::default() };
    let retried = CaseRetried { id: "POD-01".into(), attempt: 1, disruption };
    let retried = Event::now(EventKind::CaseRetried(retried));

    assert!(!shows_retry(&[started(), finished.clone()]));
    assert!(shows_retry(&[started(), retried, finished]));
}
