use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::stream;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    diagnosis::{Expectations, Situation},
    engine::{
        CaseFuture, CaseKind, Context, Keep,
        dispatch::{Pods, Stage},
    },
    facts::requirement::tests::able,
    sandbox::Sandbox,
    verdict::{ExpectationState, Failure, Outcome},
};

fn passes(cx: Context) -> CaseFuture {
    Box::pin(async move { cx.check("it", "true", "true", true) })
}

fn fails(_: Context) -> CaseFuture {
    Box::pin(async { Err(Failure::product("no")) })
}

fn breaks(_: Context) -> CaseFuture {
    Box::pin(async { Err(Failure::harness("broke")) })
}

/// Passes only after the failure of another case that runs at the same time.
fn passes_late(cx: Context) -> CaseFuture {
    Box::pin(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cx.check("it", "true", "true", true)
    })
}

const fn case(id: &'static str, act: fn(Context) -> CaseFuture) -> Case {
    Case { id, suite: "suite", name: "holds", kind: CaseKind::Live(act), ..Case::DEFAULT }
}

/// A run of cases that need no cluster.
struct Run {
    events: Vec<Event>,
    outcome: Outcome,
}

impl Run {
    fn new(cases: &[Case], change: impl FnOnce(&mut RunConfig)) -> Self {
        let mut config = RunConfig::new(None, Vec::new());
        config.fail_fast = true;
        config.jobs = 1;
        change(&mut config);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(Self::make(cases, &config))
    }

    async fn make(cases: &[Case], config: &RunConfig) -> Self {
        let facts = able();
        let plan = Plan::new(cases.to_vec(), &facts, false);
        let mut events = Vec::new();
        let observe = |event: &Event| events.push(event.clone());
        let situation = Situation::new(&facts, Timestamp::now());
        let signals = stream::pending::<u8>();
        let mut dispatcher =
            Dispatcher::new(observe, signals, config.expectations.clone(), situation);
        dispatcher.begin(&plan, config, None, Vec::new());
        dispatcher.evaluate(&plan, &facts);
        let stage = Stage {
            sandbox: Arc::new(Sandbox::nowhere(config.sandbox.clone())),
            facts: Arc::new(facts),
        };
        dispatcher.run_cases(stage, Pods::Given(BTreeMap::new()), &plan, config).await;
        let outcome = dispatcher.conclude(true);
        Self { events, outcome }
    }

    fn finished(&self) -> impl Iterator<Item = &CaseFinished> {
        self.events.iter().filter_map(|event| match &*event.event {
            EventKind::CaseFinished(case) => Some(case),
            _ => None,
        })
    }

    fn verdicts(&self) -> BTreeMap<&str, &str> {
        self.finished().map(|case| (case.id.as_str(), case.verdict.name())).collect()
    }

    fn started(&self) -> BTreeSet<&str> {
        let started = self.events.iter().filter_map(|event| match &*event.event {
            EventKind::CaseStarted { id } => Some(id.as_str()),
            _ => None,
        });
        started.collect()
    }
}

fn expecting(case: &str, verdict: &str) -> Expectations {
    let text = format!("- case: {case}\n  verdict: {verdict}\n  reason: known\n");
    Expectations::parse("file", &text, &["A-01", "A-02", "A-03"]).expect("an entry")
}

#[test]
fn nothing_starts_after_a_failure_and_the_rest_is_blocked_with_the_reason() {
    for (act, outcome) in [(fails as fn(_) -> _, Outcome::NotConformant), (breaks, Outcome::Error)]
    {
        let run =
            Run::new(&[case("A-01", passes), case("A-02", act), case("A-03", passes)], |_| {});

        assert_eq!(run.started(), BTreeSet::from(["A-01", "A-02"]));
        assert_eq!(run.verdicts()["A-03"], "blocked");
        let last = run.finished().last().expect("A-03");
        let message = last.verdict.message().unwrap_or_default();
        assert!(message.contains("A-02") && message.contains("--fail-fast"), "{message}");
        assert_eq!(run.outcome, outcome);
    }
}

#[test]
fn without_the_option_everything_runs() {
    let cases = [case("A-01", fails), case("A-02", passes)];
    let run = Run::new(&cases, |config| config.fail_fast = false);
    assert_eq!(run.started().len(), 2);
}

#[test]
fn a_case_that_runs_is_finished() {
    let cases = [case("A-01", fails), case("A-02", passes_late), case("A-03", passes)];
    let run = Run::new(&cases, |config| config.jobs = 2);
    assert_eq!(
        run.verdicts(),
        BTreeMap::from([("A-01", "fail"), ("A-02", "pass"), ("A-03", "blocked")])
    );
}

#[test]
fn neither_a_known_issue_nor_an_informing_failure_ends_a_run() {
    let informing = Case { level: Level::Informing, ..case("A-02", fails) };
    let cases = [case("A-01", fails), informing, case("A-03", passes)];
    let run = Run::new(&cases, |config| config.expectations = expecting("A-01", "fail"));
    assert_eq!(run.verdicts()["A-01"], "known-issue");
    assert_eq!(run.started().len(), 3);
}

#[test]
fn nobody_expects_that_a_case_does_not_run() {
    let cases = [case("A-01", fails), case("A-02", passes)];
    let run = Run::new(&cases, |config| config.expectations = expecting("A-02", "blocked"));
    assert_eq!(run.verdicts()["A-02"], "blocked", "not a known issue");
    let Some(EventKind::RunFinished { expectations, causes, .. }) =
        run.events.last().map(|event| &*event.event)
    else {
        panic!("the run ends")
    };
    assert_eq!(expectations.entries[0].state, ExpectationState::NotChecked);
    assert_eq!(causes[0].cases, ["A-01"], "the failure comes before what it kept from running");
}

#[test]
fn a_failure_that_facts_show_keeps_every_case_from_running() {
    let fact = Case {
        kind: CaseKind::Static(|_| {
            crate::engine::CheckResult::without_checks(Verdict::fail("no", None))
        }),
        ..case("A-01", passes)
    };
    let run = Run::new(&[fact, case("A-02", passes)], |_| {});
    assert_eq!(run.started().len(), 0);
    assert_eq!(run.verdicts()["A-02"], "blocked");
}

#[test]
fn each_obstacle_says_which_iteration_did_not_begin() {
    let verdict = |obstacle: Obstacle| obstacle.verdict(3, Duration::from_secs(60));
    assert_eq!(verdict(Obstacle::Signal), Verdict::Interrupted);
    assert!(matches!(verdict(Obstacle::Late), Verdict::Error { .. }));
    for obstacle in [Obstacle::Kept, Obstacle::Broken, Obstacle::Late] {
        let verdict = verdict(obstacle);
        let message = verdict.message().unwrap_or_default();
        assert!(message.contains("iteration 3 did not begin"), "{message}");
        assert!(verdict.badness() > Verdict::Pass.badness());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_run_that_ends_early_is_never_greener(kinds in prop::collection::vec(0..3_usize, 1..5)) {
        const IDS: [&str; 4] = ["A-01", "A-02", "A-03", "A-04"];
        const ACTS: [fn(Context) -> CaseFuture; 3] = [passes, fails, breaks];
        let cases: Vec<_> =
            kinds.iter().zip(IDS).map(|(kind, id)| case(id, ACTS[*kind])).collect();

        let whole = Run::new(&cases, |config| config.fail_fast = false);
        let early = Run::new(&cases, |_| {});

        prop_assert_eq!(early.outcome == Outcome::Conformant, whole.outcome == Outcome::Conformant);
        let verdicts = whole.verdicts();
        for (id, verdict) in early.verdicts() {
            prop_assert!(verdict == "blocked" || verdict == verdicts[id]);
        }
    }
}

#[tokio::test]
async fn an_iteration_after_one_that_broke_does_not_begin() {
    let fact = Case {
        kind: CaseKind::Static(|_| {
            crate::engine::CheckResult::without_checks(Verdict::fail("no", None))
        }),
        ..case("A-01", passes)
    };
    let (facts, mut events) = (able(), Vec::new());
    let plan = Plan::new(vec![fact, case("A-02", passes)], &facts, false);
    let mut config = RunConfig::new(None, Vec::new());
    config.repeat = 3;
    let observe = |event: &Event| events.push(event.clone());
    let situation = Situation::new(&facts, Timestamp::now());
    let signals = stream::pending::<u8>();
    let mut dispatcher = Dispatcher::new(observe, signals, Expectations::default(), situation);

    dispatcher.begin(&plan, &config, None, Vec::new());
    dispatcher.evaluate(&plan, &facts);
    dispatcher.execute_all(&Cluster::nowhere(), &facts, &plan, &config).await;
    let outcome = dispatcher.conclude(true);

    let finished = events.iter().filter_map(|event| match &*event.event {
        EventKind::CaseFinished(case) => {
            Some((case.id.as_str(), event.iteration, case.verdict.name()))
        }
        _ => None,
    });
    assert_eq!(
        finished.collect::<Vec<_>>(),
        [("A-01", None, "fail"), ("A-02", Some(1), "error"), ("A-02", Some(2), "blocked")]
    );
    assert_eq!(outcome, Outcome::Leaked, "nobody knows what was created");
}

/// Whether the objects of a run with these cases would be kept.
fn keeps(cases: &[Case], expectations: Expectations) -> bool {
    let facts = able();
    let situation = Situation::new(&facts, Timestamp::now());
    let mut dispatcher =
        Dispatcher::new(|_: &Event| {}, stream::pending::<u8>(), expectations, situation);
    let plan = Plan::new(cases.to_vec(), &facts, false);
    dispatcher.evaluate(&plan, &facts);
    assert!(!dispatcher.keeps(Keep::Never));
    dispatcher.keeps(Keep::OnFailure)
}

#[test]
fn what_decides_nothing_keeps_no_objects_and_so_ends_no_repeated_run() {
    let kind =
        CaseKind::Static(|_| crate::engine::CheckResult::without_checks(Verdict::fail("no", None)));
    let failing = Case { kind, ..case("A-01", passes) };
    let informing = Case { level: Level::Informing, ..failing };

    assert!(keeps(&[failing], Expectations::default()));
    assert!(!keeps(&[informing], Expectations::default()), "an informing failure");
    assert!(!keeps(&[failing], expecting("A-01", "fail")), "one that somebody expects");
}
