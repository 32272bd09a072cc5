use futures::stream;
use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::{
    cluster::permission::{Target, cluster},
    diagnosis::Expectations,
    engine::{CaseKind, CheckResult, Dispatcher},
    facts::{
        Fact, Flavour,
        requirement::{NodeAccess, UserNamespaces, tests::able},
    },
    verdict::event::{Event, EventKind, TruthCheck},
};

const fn case(id: &'static str) -> Case {
    Case {
        id,
        suite: "suite",
        name: "holds",
        kind: CaseKind::Live(|_| Box::pin(async { Ok(()) })),
        ..Case::DEFAULT
    }
}

fn with_check(holds: bool) -> CheckResult {
    let text = || "x".to_owned();
    let check = TruthCheck { name: text(), expected: text(), observed: text(), holds };
    CheckResult { checks: vec![check], verdict: Verdict::Pass }
}

/// Cases of every kind: such that run, are blocked, are not applicable, or are decided by facts.
const CASES: [Case; 8] = [
    case("LIVE-01"),
    Case { requires: &[&UserNamespaces], ..case("LIVE-02") },
    Case { requires: &[&NodeAccess], level: Level::Extended, ..case("LIVE-03") },
    Case { flavours: &[Flavour::OpenShift], ..case("LIVE-04") },
    Case { kind: CaseKind::Static(|_| with_check(true)), ..case("FACT-01") },
    Case { kind: CaseKind::Static(|_| with_check(false)), ..case("FACT-02") },
    Case {
        kind: CaseKind::Static(|_| CheckResult::without_checks(Verdict::Pass)),
        level: Level::Informing,
        ..case("FACT-03")
    },
    Case {
        kind: CaseKind::PostRun(|_| CheckResult::without_checks(Verdict::Pass)),
        ..case("END-01")
    },
];

fn facts(has_user_namespaces: bool) -> Facts {
    Facts { keeps_host_users: Fact::known(has_user_namespaces, "dry run"), ..able() }
}

fn config() -> RunConfig {
    RunConfig::new(Some("localhost/workspace:1".to_owned()), Vec::new())
}

fn preview(facts: &Facts, plan: &Plan, config: &RunConfig) -> Preview {
    Preview::new(facts, plan, config, &[], &[])
        .expect("no template has a manifest that can be wrong")
}

/// What a run of the plan announces, and what it decides before anything runs.
fn announced(facts: &Facts, plan: &Plan, config: &RunConfig) -> (Vec<String>, Vec<CaseFinished>) {
    let mut events = Vec::new();
    let observe = |event: &Event| events.push(event.event.clone().into_inner());
    let situation = Situation::new(facts, Timestamp::now());
    let signals = stream::pending::<u8>();
    let mut dispatcher = Dispatcher::new(observe, signals, config.expectations.clone(), situation);
    dispatcher.begin(plan, config, None, Vec::new());
    dispatcher.evaluate(plan, facts);
    drop(dispatcher);
    let (mut planned, mut decided) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            EventKind::RunStarted(run) => planned = run.planned,
            EventKind::CaseFinished(case) => decided.push(case),
            _ => {}
        }
    }
    (planned, decided)
}

proptest! {
    #[test]
    fn a_dry_run_lists_what_a_run_announces(
        ids in subsequence((0..CASES.len()).collect::<Vec<_>>(), 0..=CASES.len()),
        has_user_namespaces: bool,
        tries_blocked: bool,
        node_access: bool,
    ) {
        let facts = facts(has_user_namespaces);
        let picked = ids.iter().map(|index| CASES[*index]).collect();
        let plan = Plan::new(picked, &facts, tries_blocked);
        let plan = if node_access { plan } else { plan.without_node_access() };
        let config = config();

        let preview = preview(&facts, &plan, &config);

        let (planned, decided) = announced(&facts, &plan, &config);
        let listed: Vec<_> = preview.cases().iter().map(|case| case.id.clone()).collect();
        prop_assert_eq!(&listed, &planned);
        let of_preview: Vec<_> = preview
            .cases()
            .iter()
            .filter_map(|case| Some((case.id.clone(), case.verdict.clone()?)))
            .collect();
        let of_run: Vec<_> = decided.into_iter().map(|case| (case.id, case.verdict)).collect();
        prop_assert_eq!(of_preview, of_run);
        let runs: Vec<_> = preview.cases().iter().filter(|case| case.runs).collect();
        let runnable: Vec<_> = plan.runnable().map(|case| case.id).collect();
        prop_assert_eq!(runs.iter().map(|case| case.id.as_str()).collect::<Vec<_>>(), runnable);
        prop_assert_eq!(preview.objects().is_empty(), runs.is_empty());
    }

    #[test]
    fn no_run_is_greener_than_its_dry_run(
        ids in subsequence((0..CASES.len()).collect::<Vec<_>>(), 0..=CASES.len()),
        has_user_namespaces: bool,
        passes: bool,
    ) {
        let facts = facts(has_user_namespaces);
        let picked = ids.iter().map(|index| CASES[*index]).collect();
        let plan = Plan::new(picked, &facts, false).without_node_access();
        let preview = preview(&facts, &plan, &config());
        let of_run = |case: &PlannedCase| {
            let ran = if passes { Verdict::Pass } else { Verdict::fail("no", None) };
            (case.level, case.verdict.clone().unwrap_or(ran))
        };
        let verdicts: Vec<_> = preview.cases().iter().map(of_run).collect();
        let circumstances = Circumstances {
            only_evaluated: plan.live().next().is_none(),
            ..Circumstances::default()
        };
        let outcome = decide(verdicts.iter().map(|(level, verdict)| (*level, verdict)), circumstances);
        prop_assert!(outcome != Outcome::Conformant || preview.outcome() == Outcome::Conformant);
        prop_assert!(!passes || outcome == preview.outcome());
    }
}

#[test]
fn a_required_permission_that_the_user_lacks_is_an_error_and_another_is_not() {
    let permission =
        |verb, need| Permission { verb, target: cluster("", "namespaces"), need, why: "Test." };
    let needed = [permission("create", Need::Run), permission("get", Need::Read)];
    let (facts, config) = (able(), config());
    let plan = Plan::new(vec![CASES[0]], &facts, false);
    let of = |lacking: &[Permission]| {
        Preview::new(&facts, &plan, &config, &needed, lacking)
            .expect("no template has a manifest that can be wrong")
    };

    assert_eq!(of(&[]).outcome(), Outcome::Conformant);
    assert_eq!(of(&needed[1..]).outcome(), Outcome::Conformant);
    let refused = of(&needed[..1]);
    assert_eq!((refused.outcome(), refused.exit_code), (Outcome::Error, 4));
    let granted: Vec<_> = refused.permissions().iter().map(|it| it.granted).collect();
    assert_eq!(granted, [false, true]);
    assert!(matches!(needed[0].target, Target::Resource(_)));
}

#[test]
fn a_failure_that_facts_show_ends_a_run_with_fail_fast_before_it_begins() {
    let (facts, plan) = (able(), Plan::new(vec![CASES[5], CASES[0]], &able(), false));
    let stops = RunConfig { fail_fast: true, ..config() };

    let goes_on = preview(&facts, &plan, &config());
    let stopped = preview(&facts, &plan, &stops);

    assert!(goes_on.cases()[1].runs && !goes_on.objects().is_empty());
    let Some(Verdict::Blocked { reason, .. }) = &stopped.cases()[1].verdict else {
        panic!("{:?}", stopped.cases()[1])
    };
    assert!(reason.contains("FACT-02") && reason.contains("--fail-fast"), "{reason}");
    assert!(stopped.objects().is_empty());
    assert_eq!(stopped.outcome(), Outcome::NotConformant);
}

#[test]
fn a_failure_that_a_person_expects_is_a_known_issue_of_the_dry_run_too() {
    let text = "- case: FACT-02\n  verdict: fail\n  reason: known\n";
    let expectations = Expectations::parse("file", text, &["FACT-02"]).expect("an entry");
    let config = RunConfig { expectations, fail_fast: true, ..config() };
    let (facts, plan) = (able(), Plan::new(vec![CASES[5], CASES[0]], &able(), false));

    let preview = preview(&facts, &plan, &config);

    assert!(matches!(preview.cases()[0].verdict, Some(Verdict::KnownIssue { .. })));
    assert!(preview.cases()[1].runs, "a known issue does not end a run");
    assert_eq!(preview.outcome(), Outcome::Partial);
}
