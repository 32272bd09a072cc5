//! Broken workspaces on a cluster on which everything else works (`NESTCHECK_TEST_KUBECONFIG`, made
//! by `ci/test`): each differs from the workspace pod in one thing. Exactly the cases that are about it
//! do not pass, and all of them have the one cause that names it. In workspaces that differ without being
//! broken, all cases pass.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod breakage;
mod cases;
mod evidence;
mod node;
mod restrictions;
mod table;

use std::{collections::BTreeSet, path::Path, time::Duration};

use harness::{
    report::{Dialect, directory::ReportDir},
    verdict::{
        Cause, Verdict,
        event::{CaseFinished, Event, EventKind},
    },
};
use table::{BREAKAGES, Breakage, HEALTHY};
use test_support::{InProcessRun, Live, finished};

/// How long the run may take: many times what it takes.
const DEADLINE: Duration = Duration::from_secs(600);

/// Runs the whole table as one run, on the engine that runs the real cases.
async fn run(kubeconfig: &Path, report: &mut ReportDir) -> Vec<Event> {
    let run = InProcessRun::of("broken", cases::all())
        .with_files(breakage::files())
        .within(DEADLINE)
        .jobs(6);
    run.make(kubeconfig, report, |_| {}).await.1
}

/// The cases of a pod that did not pass.
fn not_passed<'a>(events: &'a [Event], pod: &str) -> Vec<&'a CaseFinished> {
    let of_pod = |case: &&CaseFinished| {
        case.id.strip_prefix(pod).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let cases = events.iter().filter_map(|event| match &*event.event {
        EventKind::CaseFinished(finished) => Some(finished),
        _ => None,
    });
    cases.filter(of_pod).filter(|case| case.verdict != Verdict::Pass).collect()
}

fn causes(events: &[Event]) -> &[Cause] {
    let ends = events.iter().find_map(|event| match &*event.event {
        EventKind::RunFinished { causes, .. } => Some(causes.as_slice()),
        _ => None,
    });
    ends.expect("the run ends")
}

/// How a breakage was reported otherwise than it must be; a line for each case.
fn deviations(events: &[Event], breakage: &Breakage) -> Vec<String> {
    let Breakage { pod, signature, place, words, .. } = breakage;
    let expected: BTreeSet<_> = cases::red(breakage).into_iter().collect();
    let not_passed = not_passed(events, pod.id);
    let observed: BTreeSet<_> = not_passed.iter().map(|case| case.id.clone()).collect();
    let missed = expected.difference(&observed).map(|id| format!("{id} passes"));
    let mut deviations: Vec<_> = missed.collect();
    for case in not_passed {
        let cause = causes(events).iter().find(|cause| cause.cases.contains(&case.id));
        let mut others = breakage.other_causes.iter();
        let other = others.find(|(id, _)| case.id == format!("{}-{id}", pod.id));
        let is_it = cause.is_some_and(|cause| match other {
            Some((_, signature)) => cause.signature == Some(*signature),
            None => {
                cause.signature == Some(*signature)
                    && cause.place == *place
                    && cause.wrong.contains(words)
            }
        });
        let is_decided = matches!(case.verdict, Verdict::Fail { .. } | Verdict::Blocked { .. });
        let is_expected = expected.contains(&case.id);
        if !is_it || !is_decided || !is_expected {
            let cause =
                cause.map(|cause| format!("{} ({:?}): {}", cause.id, cause.place, cause.wrong));
            let (id, verdict) = (&case.id, &case.verdict);
            deviations.push(format!("{id} has the cause {cause:?}, and is {verdict:?}"));
        }
    }
    deviations
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn every_broken_workspace_has_one_cause_and_no_healthy_one_has_any() {
    let cluster = Live::take();
    let devices = node::make_devices(&cluster);
    let class = cluster.create_runtime_class(breakage::CLASS_WITHOUT_USER_NAMESPACES, "runc");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut report = ReportDir::create(directory.path()).expect("the directory can be written to");
    let events = runtime.block_on(run(Path::new(cluster.kubeconfig()), &mut report));
    report.finish(Dialect::default()).expect("the reports can be made");
    drop((class, devices));

    let mut wrong = Vec::new();
    for breakage in BREAKAGES {
        let (pod, red) = (&breakage.pod, cases::red(breakage));
        println!("{} {}: {} explains {}", pod.id, pod.name, breakage.signature, red.join(", "));
        wrong.extend(deviations(&events, breakage));
    }
    for pod in HEALTHY {
        println!("{} {}: all cases pass", pod.id, pod.name);
        let broken = not_passed(&events, pod.id).into_iter();
        wrong.extend(broken.map(|case| format!("{} is {:?}", case.id, case.verdict)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for breakage in BREAKAGES {
        let mut red = cases::red(breakage).into_iter();
        let is_failed = |id: &String| matches!(finished(&events, id).verdict, Verdict::Fail { .. });
        if let Some(id) = red.find(is_failed) {
            evidence::is_there(directory.path(), &events, &id, breakage);
            evidence::is_reported(directory.path(), &id);
        }
    }
    evidence::has_no_secret(directory.path());
    cluster.is_clean();
}
