//! Several reports as one.

use harness::{
    report::{
        Dialect, JoinError, NamedReport, Report, cases_to_rerun, headline, html, join, json, junit,
        markdown, reasons, summarize,
    },
    verdict::{
        Acceptance, Attribution, Circumstances, ExpectationEntry, ExpectationReport,
        ExpectationResult, ExpectationState, ExpectedVerdict, Level, Outcome, SignatureId, Verdict,
        decide,
        event::{Event, EventKind, RunStarted},
    },
};
use proptest::{prelude::*, sample::select};

use crate::sample;

const IDS: [&str; 6] = ["A-1", "A-2", "A-3", "B-1", "B-2", "C-1"];

/// A run of one profile.
#[derive(Clone, Debug)]
struct Run {
    id: String,
    planned: Vec<String>,
    cases: Vec<(String, Level, Verdict)>,
    outcome: Option<Outcome>,
}

impl Run {
    /// A run of these core cases with the outcome that follows.
    fn of(id: &str, cases: &[(&str, Verdict)]) -> Self {
        let cases: Vec<_> = cases
            .iter()
            .map(|(id, verdict)| ((*id).to_owned(), Level::Core, verdict.clone()))
            .collect();
        let verdicts = cases.iter().map(|(_, level, verdict)| (*level, verdict));
        let outcome = Some(decide(verdicts, Circumstances::default()));
        let planned = cases.iter().map(|(id, ..)| id.clone()).collect();
        Self { id: id.to_owned(), planned, cases, outcome }
    }

    fn started(&self) -> RunStarted {
        let EventKind::RunStarted(run) = sample::run_started(self.planned.len()) else {
            unreachable!("it is the start")
        };
        RunStarted {
            run: self.id.clone(),
            is_part: self.planned.len() < IDS.len(),
            profile_cases: Some(IDS.len()),
            planned: self.planned.clone(),
            ..run
        }
    }

    fn events_with(&self, started: RunStarted) -> Vec<Event> {
        let mut kinds = vec![EventKind::RunStarted(started), sample::step("provision", 1, None)];
        kinds.extend(self.cases.iter().map(|(id, level, verdict)| {
            sample::finished(id, &format!("suite::{id}"), "It works", *level, verdict.clone(), 10)
        }));
        kinds.extend(self.outcome.map(|outcome| sample::run_finished(outcome, 100)));
        sample::at_fixed_times(kinds)
    }

    fn part(&self) -> NamedReport {
        self.part_with(self.started())
    }

    fn part_with(&self, started: RunStarted) -> NamedReport {
        let report = summarize(&self.events_with(started));
        NamedReport { name: format!("reports/{}", self.id), report }
    }
}

fn joined(runs: &[Run]) -> Report {
    join(&runs.iter().map(Run::part).collect::<Vec<_>>()).expect("they fit together")
}

fn fail() -> Verdict {
    Verdict::fail("exit 1", None)
}

fn error() -> Verdict {
    Verdict::Error { message: "the node went away".into() }
}

fn passing(id: &str, cases: &[&str]) -> Run {
    let cases: Vec<_> = cases.iter().map(|case| (*case, Verdict::Pass)).collect();
    Run::of(id, &cases)
}

fn entry(line: usize, state: ExpectationState, cases: &[&str]) -> ExpectationResult {
    ExpectationResult {
        line,
        entry: ExpectationEntry { case: Some(format!("A-{line}")), ..ExpectationEntry::default() },
        state,
        cases: cases.iter().map(|case| (*case).to_owned()).collect(),
        detail: None,
    }
}

#[test]
fn an_expectation_that_one_shard_used_is_of_use() {
    use ExpectationState::{NotChecked, Stale, Used};
    let with = |run: &Run, entries: Vec<ExpectationResult>| {
        let mut part = run.part();
        part.report.expectations = ExpectationReport { strict: true, entries };
        part
    };
    let (first, second) = (passing("s1", &IDS[..3]), passing("s2", &IDS[3..]));
    let entries = vec![entry(2, NotChecked, &[]), entry(3, Used, &["A-3"])];
    let first = with(&first, entries);
    let entries = vec![entry(2, Stale, &[]), entry(3, NotChecked, &[])];
    let second = with(&second, entries);

    let whole = join(&[first, second]).expect("they fit together");

    let states: Vec<_> = whole.expectations.entries.iter().map(|it| (it.line, it.state)).collect();
    assert_eq!(states, [(2, Stale), (3, Used)]);
    assert_eq!(whole.expectations.entries[1].cases, ["A-3"]);
    assert_eq!(whole.outcome, Some(Outcome::NotConformant), "a stale entry fails a strict run");
}

#[test]
fn a_sample_is_never_the_whole() {
    let sample = |id: &str| {
        let run = passing(id, &IDS);
        let started = RunStarted { is_part: true, profile_cases: None, ..run.started() };
        run.part_with(started)
    };
    let whole = join(&[sample("s1"), sample("s2")]).expect("they fit together");
    assert!(whole.run.is_some_and(|run| run.is_part));
}

#[test]
fn a_case_without_a_trace_makes_no_run_green() {
    let run = passing("s1", &IDS[..2]);
    let started = RunStarted { cases: 3, ..run.started() };
    let report = summarize(&run.events_with(started));
    assert_eq!(report.outcome, Some(Outcome::Error));
    assert!(reasons(&report).iter().any(|reason| reason.contains("never began")));
}

#[test]
fn shards_are_the_whole_profile_only_together() {
    let shards = [passing("s1", &IDS[..2]), passing("s2", &IDS[2..4]), passing("s3", &IDS[4..])];

    let whole = joined(&shards);

    assert_eq!(headline(&whole).outcome, "Conformant");
    assert_eq!((whole.cases.len(), whole.unseen()), (6, 0));
    for missing in 0..3 {
        let mut rest = shards.to_vec();
        rest.remove(missing);
        assert_eq!(headline(&joined(&rest)).outcome, "Conformant as far as asked", "{missing}");
    }
}

#[test]
fn a_small_shard_of_static_cases_does_not_spoil_the_others() {
    let elsewhere = Verdict::NotApplicable { reason: "another flavour".into() };
    let small = Run::of("s1", &[("A-1", elsewhere)]);
    assert_eq!(small.outcome, Some(Outcome::Partial));
    let mut only_static = passing("s2", &["A-2"]);
    only_static.outcome = Some(Outcome::Partial);
    let rest = passing("s3", &IDS[2..]);

    assert_eq!(
        joined(&[small.clone(), only_static.clone(), rest]).outcome,
        Some(Outcome::Conformant)
    );
    assert_eq!(joined(&[small, only_static]).outcome, Some(Outcome::Partial), "nothing acted");
}

#[test]
fn a_failure_that_passes_in_a_rerun_stays_and_is_reported_as_such() {
    let mut cases: Vec<_> = IDS.iter().map(|id| (*id, Verdict::Pass)).collect();
    cases[0].1 = fail();
    let runs = [Run::of("first", &cases), passing("again", &IDS[..1])];

    for runs in [runs.clone(), [runs[1].clone(), runs[0].clone()]] {
        let report = joined(&runs);
        assert_eq!(report.outcome, Some(Outcome::NotConformant));
        let flaky = "1 case did not hold every time: A-1";
        assert!(reasons(&report).iter().any(|reason| reason == flaky), "{:?}", reasons(&report));
        let document = json(&report).expect("JSON can be written");
        assert!(document.contains("\"other_results\""), "{document}");
        let xml = junit(&report, Dialect::Jenkins).expect("JUnit can be written");
        let parsed = quick_junit::Report::deserialize_from_str(&xml).expect("JUnit parses");
        let cases = parsed.test_suites.iter().flat_map(|suite| &suite.test_cases);
        let names: Vec<_> = cases.map(|case| case.name.as_str()).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "{names:?}");
        for text in [html(&report), markdown(&report), xml] {
            assert!(text.contains("it did not hold every time: pass in"), "{text}");
            assert!(text.contains("reports/again"), "{text}");
        }
    }
}

#[test]
fn an_error_stays_an_error_and_says_what_another_report_saw() {
    let runs = [Run::of("first", &[("A-1", error())]), passing("again", &["A-1"])];
    let report = joined(&runs);
    assert_eq!(report.outcome, Some(Outcome::Error));
    assert_eq!(report.cases[0].case.verdict.name(), "error");
    assert_eq!(report.cases[0].other_results[0].verdict, "pass");
    assert!(!report.cases[0].is_flaky());
}

#[test]
fn a_case_that_a_log_cut_off_keeps_its_name() {
    let mut first = passing("first", &["A-1"]);
    first.outcome = None;
    let mut events = first.events_with(first.started());
    events.push(sample::at_fixed_times([sample::started("A-2")]).remove(0));
    let died = NamedReport { name: "died".into(), report: summarize(&events) };
    let again = Run::of("again", &[("A-2", fail())]).part();

    let report = join(&[died.clone(), again]).expect("they fit together");

    assert_eq!(report.outcome, None, "a run that died is never more than that");
    assert_eq!(report.cases.iter().map(|case| &*case.case.suite).collect::<Vec<_>>(), ["suite"; 2]);
    assert_eq!(cases_to_rerun(&died.report).into_iter().collect::<Vec<_>>(), ["A-2"]);
}

#[test]
fn reports_that_do_not_fit_together_are_refused_by_name() {
    let first = passing("first", &["A-1"]);
    let second = passing("second", &["A-2"]);
    let refused = |started: RunStarted| {
        let error = join(&[first.part(), second.part_with(started)]).expect_err("they differ");
        let text = error.to_string();
        assert!(text.contains("`reports/second`") && text.contains("`reports/first`"), "{text}");
        assert_eq!(harness::Error::from(error).kind().exit_code(), 2);
        text
    };
    let started = || second.started();
    let text = |text: &str| text.to_owned();
    assert!(refused(RunStarted { cluster_id: Some(text("x")), ..started() }).contains("cluster"));
    assert!(refused(RunStarted { profile: text("x"), ..started() }).contains("profile"));
    assert!(
        refused(RunStarted { version: text("x"), ..started() }).contains("version of nestcheck")
    );
    assert!(refused(RunStarted { image: text("x"), ..started() }).contains("image"));
    assert!(refused(RunStarted { run: text("first"), ..started() }).contains("same run"));
    let server = vec![(text("server"), text("https://elsewhere:6443"))];
    let unread = RunStarted { cluster_id: None, cluster: server, ..started() };
    assert!(refused(unread).contains("https://elsewhere:6443"));
    let nothing = NamedReport { name: text("nothing"), report: summarize(&[]) };
    let error = join(&[first.part(), nothing]).expect_err("it has no start");
    assert_eq!(error, JoinError::NoStart { name: text("nothing") });
}

#[test]
fn another_image_under_the_same_name_is_refused() {
    let with_digest = |id: &str, digest: &str| {
        let mut part = passing(id, &["A-1"]).part();
        let mut events = vec![sample::step("pod workspace", 1, None)];
        if let EventKind::StepFinished(step) = &mut events[0] {
            step.image_id = Some(digest.to_owned());
        }
        part.report.steps = summarize(&sample::at_fixed_times(events)).steps;
        part
    };
    let error = join(&[with_digest("a", "sha256:1"), with_digest("b", "sha256:2")]);
    assert!(error.expect_err("they differ").to_string().contains("image digest"));
    let without = passing("b", &["A-1"]).part();
    assert!(join(&[with_digest("a", "sha256:1"), without]).is_ok(), "no pod became ready");
}

#[test]
fn facts_that_differ_are_shown_with_their_runs() {
    let (first, second) = (passing("first", &["A-1"]), passing("second", &["A-2"]));
    let mut started = second.started();
    started.cluster[3].1 = "UserNamespacesSupport off".to_owned();
    let report = join(&[first.part(), second.part_with(started)]).expect("they fit together");
    let run = report.run.expect("a start");
    assert!(run.cluster[3].1.ends_with("(first); UserNamespacesSupport off (second)"), "{run:?}");
    assert_eq!(run.cluster[1].1, "4.20.3 (Kubernetes 1.33.5)");
    let reports = &run.cluster.last().expect("a fact").1;
    assert!(reports.contains("`reports/first` (run first, conformant)"), "{reports}");
}

#[test]
fn what_passed_or_is_expected_is_not_run_again() {
    let report = summarize(&sample::every_verdict());
    let ids: Vec<_> = cases_to_rerun(&report).into_iter().collect();
    let open = ["CMP-02", "CMP-05", "END-02", "ISO-04", "POD-07", "POD-08", "POD-11", "VOL-01"];
    assert_eq!(ids, open);
    assert!(cases_to_rerun(&summarize(&sample::conformant())).is_empty());
}

fn missing_program() -> Attribution {
    Attribution { signature: Some(SignatureId::F43), ..Attribution::default() }
}

fn lacks_program() -> Verdict {
    let Verdict::Blocked { reason, remedy, .. } = Verdict::blocked("no `nft`", "install it") else {
        unreachable!("it is blocked")
    };
    Verdict::Blocked { reason, remedy, cause: Some(Box::new(missing_program())) }
}

fn lacks_program_as_expected() -> Verdict {
    let acceptance =
        Acceptance { verdict: ExpectedVerdict::Blocked, reason: "known".to_owned(), line: 1 };
    Verdict::expected("no `nft`", missing_program(), acceptance)
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    select(vec![
        Verdict::Pass,
        Verdict::Pass,
        Verdict::Pass,
        fail(),
        error(),
        Verdict::blocked("x", "y"),
        Verdict::NotApplicable { reason: "x".into() },
        Verdict::Interrupted,
        Verdict::known_issue(SignatureId::F28, "x"),
        lacks_program(),
        lacks_program_as_expected(),
    ])
}

/// A run whose outcome follows from its cases and what happened around them.
fn any_run() -> impl Strategy<Value = Run> {
    let level = |id: &str| match &id[..1] {
        "A" => Level::Core,
        "B" => Level::Extended,
        _ => Level::Informing,
    };
    let cases = prop::collection::btree_map(select(IDS.to_vec()), any_verdict(), 0..6);
    let around = (0..20_u8, any::<bool>());
    (cases, around).prop_map(move |(cases, (around, only_evaluated))| {
        let cases: Vec<_> =
            cases.into_iter().map(|(id, verdict)| (id.to_owned(), level(id), verdict)).collect();
        let circumstances = Circumstances {
            signal: (around == 1).then_some(15),
            leaked: around == 2,
            broken: around == 3,
            only_evaluated,
            expectations_fail: around == 5,
        };
        let verdicts = cases.iter().map(|(_, level, verdict)| (*level, verdict));
        let outcome = (around != 4).then(|| decide(verdicts, circumstances));
        let planned = cases.iter().map(|(id, ..)| id.clone()).collect();
        Run { id: String::new(), planned, cases, outcome }
    })
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    prop::collection::vec(any_run(), 1..5).prop_map(|mut runs| {
        for (index, run) in runs.iter_mut().enumerate() {
            run.id = format!("run-{index}");
        }
        runs
    })
}

fn rank(outcome: Option<Outcome>) -> u8 {
    match outcome {
        Some(Outcome::Conformant) => 0,
        Some(Outcome::Partial) => 1,
        Some(Outcome::NotConformant) => 2,
        Some(Outcome::Error) => 3,
        Some(Outcome::Leaked) => 4,
        Some(Outcome::Interrupted { .. }) => 5,
        None => 6,
    }
}

/// How bad a verdict is, as the README orders them.
fn badness(verdict: &Verdict) -> usize {
    let order =
        ["pass", "not-applicable", "known-issue", "blocked", "interrupted", "error", "fail"];
    order.iter().position(|name| *name == verdict.name()).expect("a verdict")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_joined_report_is_never_greener_than_one_of_its_parts(runs in runs()) {
        let report = joined(&runs);
        for run in &runs {
            for (id, _, verdict) in &run.cases {
                let case = report.cases.iter().find(|case| &case.case.id == id);
                let case = case.expect("no case is lost");
                prop_assert!(badness(&case.case.verdict) >= badness(verdict), "{id}");
            }
            // A part in which nothing acted says nothing about the others.
            let lacks_a_pass = run.outcome == Some(Outcome::Partial)
                && !run.cases.iter().any(|(_, level, verdict)| {
                    *level == Level::Core && matches!(verdict, Verdict::Blocked { .. })
                });
            prop_assert!(lacks_a_pass || rank(report.outcome) >= rank(run.outcome), "{run:?}");
        }
        let acted = runs.iter().any(|run| run.outcome == Some(Outcome::Conformant));
        prop_assert!(acted || report.outcome != Some(Outcome::Conformant));
    }

    #[test]
    fn the_order_of_the_reports_decides_nothing(runs in runs()) {
        let report = joined(&runs);
        let mut turned = runs.clone();
        turned.reverse();
        let turned = joined(&turned);
        prop_assert_eq!(turned.outcome.map(Outcome::name), report.outcome.map(Outcome::name));
        prop_assert_eq!(turned.counts, report.counts);
        let is_part = |report: &Report| report.run.as_ref().map(|run| run.is_part);
        prop_assert_eq!(is_part(&turned), is_part(&report));
    }

    #[test]
    fn a_joined_report_is_whole_only_with_every_case(runs in runs()) {
        let report = joined(&runs);
        let run = report.run.as_ref().expect("a start");
        prop_assert_eq!(run.is_part, report.cases.len() < IDS.len());
        prop_assert_eq!(run.cases, report.cases.len());
    }

    #[test]
    fn one_report_alone_keeps_its_verdict(run in any_run()) {
        let part = run.part();
        let report = join(std::slice::from_ref(&part)).expect("it fits itself");
        let alone = run.outcome == Some(Outcome::Conformant);
        prop_assert_eq!(report.outcome == Some(Outcome::Conformant), alone);
        prop_assert!(rank(report.outcome) >= rank(part.report.outcome));
        prop_assert_eq!(report.counts, part.report.counts);
    }
}
