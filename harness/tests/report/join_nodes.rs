//! Shards that know of different nodes: no node gets lost between them.

use harness::{
    report::{
        NamedReport, Report, cases_to_rerun, headline, html, join, json, markdown, reasons,
        summarize,
    },
    verdict::{
        Level, Outcome, Verdict,
        event::{EventKind, RunStarted},
    },
};
use proptest::{prelude::*, sample::subsequence};

use crate::sample;

/// The cases of the profile, which every run plans as a whole.
const ORDINARY: [&str; 2] = ["A-1", "A-2"];
const NODES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn proof(node: &str) -> String {
    format!("NODE-01.{node}")
}

/// A part that ran these cases, and lists these nodes.
fn part(run: &str, cases: &[String], nodes: &[&str]) -> NamedReport {
    let EventKind::RunStarted(started) = sample::run_started(cases.len()) else {
        unreachable!("it is the start")
    };
    let started = RunStarted {
        run: run.to_owned(),
        is_part: true,
        profile_cases: Some(ORDINARY.len() + nodes.len()),
        planned: cases.to_vec(),
        proofs: nodes.iter().map(|node| proof(node)).collect(),
        ..started
    };
    let mut kinds = vec![EventKind::RunStarted(started)];
    kinds.extend(cases.iter().map(|id| {
        let node = id.split_once('.').map_or(String::new(), |(_, node)| format!("[{node}]"));
        let name = format!("nodes::works{node}");
        let mut event = sample::finished(id, &name, "It works", Level::Core, Verdict::Pass, 10);
        if let EventKind::CaseFinished(case) = &mut event {
            "nodes".clone_into(&mut case.suite);
        }
        event
    }));
    kinds.push(sample::run_finished(Outcome::Conformant, 100));
    let report = summarize(&sample::at_fixed_times(kinds));
    NamedReport { name: run.to_owned(), report }
}

fn cases(ordinary: &[&str], nodes: &[&str]) -> Vec<String> {
    let ordinary = ordinary.iter().map(|id| (*id).to_owned());
    ordinary.chain(nodes.iter().map(|node| proof(node))).collect()
}

fn joined(parts: &[NamedReport]) -> Report {
    join(parts).expect("they fit together")
}

#[test]
fn a_node_that_joined_between_the_shards_is_blocked_and_never_green() {
    // The shard of node `c` listed the nodes before `c` was there.
    let first = part("s1", &cases(&["A-1"], &["a"]), &["a", "b"]);
    let second = part("s2", &cases(&["A-2"], &["b"]), &["a", "b", "c"]);

    let report = joined(&[first, second]);

    assert_eq!(report.outcome, Some(Outcome::Partial));
    let lost = report.cases.iter().find(|case| case.case.id == "NODE-01.c").expect("a row");
    let Verdict::Blocked { reason, remedy, .. } = &lost.case.verdict else { panic!("{lost:?}") };
    assert!(reason.contains("came or went between the shards"), "{reason}");
    assert!(remedy.contains("--every-node"), "{remedy}");
    assert_eq!((&*lost.case.name, &*lost.case.suite), ("nodes::works[c]", "nodes"));
    assert_eq!(cases_to_rerun(&report).into_iter().collect::<Vec<_>>(), ["NODE-01.c"]);
    let reasons = reasons(&report);
    assert!(reasons.iter().any(|it| it.starts_with("1 core case blocked")), "{reasons:?}");
    let document = json(&report).expect("JSON can be written");
    for text in [document, html(&report), markdown(&report)] {
        assert!(text.contains("NODE-01.c"), "{text}");
    }
    assert_eq!(report.unseen(), 0);
}

#[test]
fn a_shard_that_is_missing_with_its_nodes_is_named_as_such() {
    let lists = ["a", "b"];
    let report = joined(&[
        part("s1", &cases(&["A-1"], &["a"]), &lists),
        part("s2", &cases(&["A-2"], &[]), &lists),
    ]);
    assert_eq!(report.outcome, Some(Outcome::Partial));
    let lost = report.cases.iter().find(|case| case.case.id == "NODE-01.b").expect("a row");
    let reason = lost.case.verdict.message().unwrap_or_default();
    assert!(reason.contains("that of a shard is missing"), "{reason}");
}

#[test]
fn a_later_proof_of_the_lost_node_makes_the_report_whole() {
    let first = part("s1", &cases(&["A-1"], &["a"]), &["a", "b"]);
    let second = part("s2", &cases(&["A-2"], &["b"]), &["a", "b", "c"]);
    let mut again = part("again", &cases(&[], &["c"]), &["c"]);
    if let Some(run) = &mut again.report.run {
        run.profile_cases = Some(ORDINARY.len() + 3);
    }

    let report = joined(&[first, second, again]);

    assert_eq!(headline(&report).outcome, "Conformant");
    let run = report.run.expect("a start");
    assert_eq!(run.proofs, ["NODE-01.a", "NODE-01.b", "NODE-01.c"]);
}

#[test]
fn a_node_makes_up_for_no_other_case() {
    let first = part("s1", &cases(&["A-1"], &["a", "b"]), &["a", "b"]);
    let second = part("s2", &cases(&[], &["c"]), &["a", "b", "c"]);
    assert_eq!(headline(&joined(&[first, second])).outcome, "Conformant as far as asked");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_joined_report_is_green_only_with_every_node_that_a_shard_knows(
        lists in prop::collection::vec(subsequence(NODES.to_vec(), 1..=NODES.len()), 2..4),
    ) {
        // Shard I proves each node that it knows whose number is I, modulo their count.
        let count = lists.len();
        let is_of = |node: &str, index: usize| {
            NODES.iter().position(|it| *it == node).expect("a node") % count == index
        };
        let parts = lists.iter().enumerate().map(|(index, nodes)| {
            let own: Vec<_> = nodes.iter().copied().filter(|node| is_of(node, index)).collect();
            part(&format!("s{index}"), &cases(&ORDINARY, &own), nodes)
        });
        let parts: Vec<_> = parts.collect();

        let report = joined(&parts);

        let is_proven = |node: &str| {
            parts.iter().any(|it| it.report.cases.iter().any(|case| case.case.id == proof(node)))
        };
        let mut all = lists.iter().flatten();
        prop_assert_eq!(report.outcome == Some(Outcome::Conformant), all.all(|node| is_proven(node)));
        for node in lists.iter().flatten() {
            let rows = report.cases.iter().filter(|case| case.case.id == proof(node)).count();
            prop_assert_eq!(rows, 1);
        }
        let mut turned = parts.clone();
        turned.reverse();
        prop_assert_eq!(joined(&turned).outcome, report.outcome);
    }
}
