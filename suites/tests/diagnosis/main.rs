//! Broken workspaces on a cluster on which everything else works (`NESTCHECK_TEST_KUBECONFIG`, made
//! by `ci/test`): each differs from the workspace pod in one thing, and the failure must name
//! exactly that.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod breakage;
mod evidence;
mod node;
mod table;

use std::{path::Path, time::Duration};

use harness::{
    report::directory::ReportDir,
    verdict::{Verdict, event::Event},
};
use node::NodeDevices;
use table::FIXTURES;
use test_support::{InProcessRun, Live, finished};

/// How long the run may take: many times what it takes.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs every fixture as a case of one run, on the engine that runs the real ones.
async fn run(kubeconfig: &Path, report: &mut ReportDir) -> Vec<Event> {
    let cases = FIXTURES.iter().map(|fixture| fixture.case).collect();
    let run =
        InProcessRun::of("broken", cases).with_files(breakage::files()).within(DEADLINE).jobs(6);
    run.make(kubeconfig, report, |_| {}).await.1
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn every_broken_workspace_gets_its_own_diagnosis() {
    let cluster = Live::take();
    let devices = NodeDevices::make(&cluster);
    let class = cluster.create_runtime_class(breakage::CLASS_WITHOUT_USER_NAMESPACES, "runc");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut report = ReportDir::create(directory.path()).expect("the directory can be written to");
    let events = runtime.block_on(run(Path::new(cluster.kubeconfig()), &mut report));
    report.finish().expect("the reports can be made");
    drop((class, devices));

    let mut wrong = Vec::new();
    for fixture in FIXTURES {
        let verdict = &finished(&events, fixture.case.id).verdict;
        let reported = match verdict {
            Verdict::Fail { hint: Some(hint), .. } => {
                hint.ends_with(&format!("({})", fixture.diagnosis)) && hint.contains(fixture.cause)
            }
            Verdict::Blocked { reason, cause: Some(cause), .. } => {
                cause.signature == Some(fixture.diagnosis) && reason.contains(fixture.cause)
            }
            _ => false,
        };
        println!("{} {}: {verdict:?}", fixture.diagnosis, fixture.case.name);
        if !reported {
            wrong.push((fixture.case.name, fixture.diagnosis, fixture.cause, verdict));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let is_failed = |fixture: &&table::Fixture| {
        matches!(finished(&events, fixture.case.id).verdict, Verdict::Fail { .. })
    };
    for fixture in FIXTURES.iter().filter(is_failed) {
        evidence::is_there(directory.path(), &events, fixture);
        evidence::is_reported(directory.path(), fixture);
    }
    evidence::has_no_secret(directory.path());
    cluster.is_clean();
}
