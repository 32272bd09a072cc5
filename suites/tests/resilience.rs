//! Runs that lose their API server or their node, and many runs at once, each on a cluster that the
//! test makes.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use harness::{cluster::exec_error::Lost, verdict::Outcome};
use jiff::SignedDuration;
use test_support::{Finished, LocalCluster, Report, TestDir};

/// How many runs there are at once.
const RUNS: usize = 20;

/// The cases of each: dry runs, one pod and commands in it.
const CASES: [&str; 3] = ["GATE-01", "GATE-02", "ID-01"];

/// The cases of a run that loses components: enough of them to be under way whenever that happens.
const ON_ONE_POD: &[&str] = &[
    "identity",
    "isolation",
    "POD-01",
    "POD-03",
    "POD-04",
    "POD-05A",
    "POD-06",
    "POD-07",
    "POD-08",
    "POD-09",
    "POD-NET-02",
    "POD-NET-04",
];

/// How long all of them may take together: a minute on two idle processors, which may be busy.
const TOGETHER: Duration = Duration::from_secs(240);

/// How much longer a run may take that lost a component of its node for a moment.
const LONGER: SignedDuration = SignedDuration::from_secs(30);

/// The verdict of each case.
fn verdicts(report: &Report) -> BTreeMap<String, String> {
    let cases = report.cases();
    let count = cases.len();
    let verdict = |case: &harness::verdict::event::CaseFinished| {
        (case.id.clone(), case.verdict.name().to_owned())
    };
    let verdicts: BTreeMap<_, _> = cases.into_iter().map(verdict).collect();
    assert_eq!(verdicts.len(), count, "each case has one verdict");
    verdicts
}

/// What a run comes to without a fault.
struct Undisturbed {
    /// The cases that it has; none stands for all.
    filters: &'static [&'static str],
    verdicts: BTreeMap<String, String>,
    duration: SignedDuration,
}

impl Undisturbed {
    fn run(cluster: &LocalCluster, filters: &'static [&'static str]) -> Self {
        let dir = TestDir::new();
        dir.nestcheck(arguments(cluster, filters)).exits(0);
        let report = dir.report();
        assert!(report.disruptions().is_empty(), "{:?}", report.disruptions());
        Self { filters, verdicts: verdicts(&report), duration: duration(&report) }
    }
}

fn arguments<'a>(cluster: &'a LocalCluster, filters: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--kubeconfig", cluster.kubeconfig()], filters].concat()
}

fn duration(report: &Report) -> SignedDuration {
    let (began, ended) = report.times();
    ended.duration_since(began)
}

/// What a run came to that lost components.
struct Disturbed {
    undecided: Vec<String>,
    retried: usize,
    /// Who was lost, as the report has it.
    lost: Vec<Option<Lost>>,
    /// How much longer it took.
    excess: SignedDuration,
    /// What it printed.
    printed: String,
}

/// Kills components when a run has come so far, starts them again, and expects of the run what holds
/// of it without that, or `error`.
fn lose_components(
    cluster: &LocalCluster,
    moment: &str,
    components: &[&str],
    undisturbed: &Undisturbed,
) -> Disturbed {
    let dir = TestDir::new();
    let mut running = dir.start(arguments(cluster, undisturbed.filters));
    running.wait_for(moment);
    let log = dir.path("nestcheck-report").join("events.jsonl");
    let before = fs::read_to_string(&log).expect("the log is there");
    cluster.restart(components);
    let finished = running.finish();
    finished.exits_as_documented();

    let after = fs::read_to_string(&log).expect("the log is there");
    assert!(after.starts_with(&before), "what was told stays told: {finished}");
    let report = dir.report();
    let (found, expected) = (verdicts(&report), &undisturbed.verdicts);
    assert!(found.keys().eq(expected.keys()), "every case has its verdict: {finished}");
    for (id, verdict) in &found {
        let is_right = *verdict == expected[id] || verdict == "error";
        assert!(is_right, "{id} is `{verdict}`, and `{}` undisturbed: {finished}", expected[id]);
    }
    ends_as_reported(&finished, &report, found == *expected);
    // A teardown that came while the server was gone has said so.
    if report.outcome() == Outcome::Leaked {
        let swept = TestDir::new();
        let run = report.run();
        swept.nestcheck(["sweep", "--run", run, "--kubeconfig", cluster.kubeconfig()]).exits(0);
    }
    cluster.is_clean();
    let undecided = found.into_iter().filter(|(_, verdict)| verdict == "error");
    Disturbed {
        undecided: undecided.map(|(id, _)| id).collect(),
        retried: report.retried().len(),
        lost: report.disruptions().into_iter().map(|disruption| disruption.lost).collect(),
        excess: duration(&report) - undisturbed.duration,
        printed: finished.to_string(),
    }
}

/// Expects an exit code that is the outcome's, which is good only where every verdict is right.
#[track_caller]
fn ends_as_reported(finished: &Finished, report: &Report, is_right: bool) {
    finished.exits(i32::from(report.outcome().exit_code()));
    match report.outcome() {
        Outcome::Conformant => assert!(is_right, "{finished}"),
        Outcome::Error => assert!(!is_right, "{finished}"),
        other => assert_eq!(other, Outcome::Leaked, "{finished}"),
    }
    let (_, red, _) = report.junit_counts();
    assert_eq!(red == 0, report.outcome() == Outcome::Conformant, "{finished}");
}

#[test]
#[ignore = "makes its own cluster: run with --ignored --test-threads=1"]
fn a_run_that_loses_its_server_or_its_node_ends_with_right_verdicts() {
    let cluster = LocalCluster::up("loss", &[]);
    let part = Undisturbed::run(&cluster, ON_ONE_POD);
    loses_its_server(&cluster, &part);
    // `ci/chaos/run --node-short` does so to runs of all cases.
    loses_its_node(&cluster, "POD-01", "kubelet", &part);
    loses_its_node(&cluster, "POD-01", "containerd", &part);
}

fn loses_its_server(cluster: &LocalCluster, undisturbed: &Undisturbed) {
    let both = ["etcd", "kube-apiserver"];
    // While pods start, while the first cases run in them, and late.
    lose_components(cluster, "provision", &both, undisturbed);
    let while_starting = lose_components(cluster, "pod workspace", &both, undisturbed);
    let late = lose_components(cluster, "POD-01", &["kube-apiserver"], undisturbed);
    let retried = while_starting.retried + late.retried;
    assert!(retried > 0, "commands were running, and the report shows none retried");
    assert!(late.lost.contains(&Some(Lost::ApiServer)), "{:?}: {}", late.lost, late.printed);
}

fn loses_its_node(
    cluster: &LocalCluster,
    moment: &str,
    component: &str,
    undisturbed: &Undisturbed,
) {
    // The API server calls every command a success that runs then.
    let run = lose_components(cluster, moment, &[component], undisturbed);
    let what = format!("{component} at {moment}: {}", run.printed);
    assert_eq!(run.undecided, [""; 0], "{what}");
    assert!(run.lost.contains(&Some(Lost::Node)), "{:?}: {what}", run.lost);
    assert!(run.excess <= LONGER, "{:?} longer: {what}", run.excess);
}

#[test]
#[ignore = "makes its own cluster: run with --ignored --test-threads=1"]
fn twenty_runs_at_once_do_not_disturb_each_other() {
    let cluster = LocalCluster::up("many", &[]);
    let start = cluster.now();
    let benches: Vec<_> = (0..RUNS).map(|_| TestDir::new()).collect();
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig()];
    let running = benches.iter().map(|dir| dir.start(fixed.iter().chain(&CASES)));
    let running: Vec<_> = running.collect();
    for run in running {
        run.finish().exits(0).within(TOGETHER);
    }
    let reports: Vec<_> = benches.iter().map(TestDir::report).collect();
    for report in &reports {
        assert_eq!(report.outcome(), Outcome::Conformant);
        assert_eq!(report.ids("pass"), CASES);
    }
    let runs: BTreeSet<_> = reports.iter().map(Report::run).collect();
    assert_eq!(runs.len(), RUNS, "each has an id of its own");
    let last_start = reports.iter().map(|report| report.times().0).max();
    let first_end = reports.iter().map(|report| report.times().1).min();
    assert!(last_start < first_end, "all of them were under way at once");
    keep_to_their_own(&cluster, start, &runs);
    cluster.is_clean();
}

/// Expects that what the users of runs did, each did in the namespaces of its own run.
fn keep_to_their_own(cluster: &LocalCluster, start: u64, runs: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    for request in cluster.requests_since(start) {
        let prefix = "system:serviceaccount:nestcheck-";
        let Some(user) = request.user().strip_prefix(prefix) else { continue };
        let run = user.split(':').next().unwrap_or_default();
        assert!(runs.contains(run), "{request:?}");
        seen.insert(run.to_owned());
        if let Some((_, rest)) = request.path().split_once("/namespaces/") {
            assert!(rest.starts_with(&format!("nestcheck-{run}")), "{request:?}");
        }
    }
    assert!(seen.iter().map(String::as_str).eq(runs.iter().copied()), "{seen:?}");
}
