//! `nestcheck inside` in the nested pod of a run, and `nestcheck run` beside it.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{fs, process::Command as Process, time::Duration};

use harness::{
    engine::{Case, CaseKind, Context},
    report::directory::ReportDir,
    verdict::{
        CaseResult, Outcome,
        event::{Event, EventKind},
    },
    workload::Command,
};
use serde_json::Value;
use suites::fixtures::NESTED_POD;
use test_support::{InProcessRun, Live, TestDir, finished};

/// The cases that both ways run: one of each kind, and one that needs the API.
const CASES: [&str; 10] = [
    "ID-01", "ID-05", "ID-06", "ID-07", "ISO-01", "POD-01", "POD-03", "POD-12A", "CMP-02", "SCC-01",
];

/// Where the program is in the pod.
const PROGRAM: &str = "/tmp/bin/nestcheck";

const RUNS_INSIDE: Case = Case {
    id: "TEST-01",
    suite: "test",
    name: "runs_inside",
    title: "nestcheck runs inside",
    why: "It shows that the cases need no API.",
    fix: "Read the output.",
    pods: &[&NESTED_POD],
    deadline: Duration::from_secs(400),
    kind: CaseKind::Live(|cx| Box::pin(runs_inside(cx))),
    ..Case::DEFAULT
};

/// The program without its symbols: the way into the pod is slow.
#[track_caller]
fn program() -> Vec<u8> {
    let dir = TestDir::new();
    let path = dir.path("nestcheck");
    fs::copy(env!("CARGO_BIN_EXE_nestcheck"), &path).expect("it can be copied");
    let stripped = Process::new("strip").arg(&path).status();
    assert!(stripped.expect("binutils are installed").success());
    fs::read(&path).expect("it can be read")
}

async fn runs_inside(cx: Context) -> CaseResult {
    let pod = cx.pod(&NESTED_POD).await?;
    let script = "mkdir -p /tmp/bin; cat > \"$1\"; chmod 755 \"$1\"";
    let copy = Command::shell("copy nestcheck", script, [PROGRAM]).with_stdin(program());
    pod.output(&copy.within(Duration::from_secs(120))).await?;
    // What the user has must survive.
    pod.output(&Command::new(["podman", "volume", "create", "mine"])).await?;
    let arguments = [PROGRAM, "inside", "--report-dir=/tmp/report"].into_iter().chain(CASES);
    let run = pod.run(&Command::new(arguments).within(Duration::from_secs(300))).await?.exits(0)?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    cx.check("outcome inside", "conformant", &said, said.contains("Conformant as far as asked"))?;
    pod.output(&Command::new(["cat", "/tmp/report/report.json"])).await?;
    let script = "
        podman volume ls --format '{{.Name}}'
        podman images --quiet
        ls -d /tmp/nestcheck-* ~/.local/share/containers/nestcheck-* 2> /dev/null || true
        grep -lsz NESTCHECK_INSIDE /proc/[0-9]*/environ || true
    ";
    let left = pod.output(&Command::shell("look for leftovers", script, [""; 0])).await?;
    cx.check_equal("what is there", "mine", &left)
}

/// The report that the command in the pod wrote.
fn report_of(events: &[Event]) -> Value {
    let printed = events.iter().find_map(|event| match &*event.event {
        EventKind::CommandFinished(it) if it.command.first()? == "cat" => Some(&it.stdout),
        _ => None,
    });
    serde_json::from_str(printed.expect("a report")).expect("it is JSON")
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn what_passes_in_a_run_passes_inside_and_nothing_is_left() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut report = ReportDir::create(&dir.path("report")).expect("a directory");
    let run = InProcessRun::of("inside", vec![RUNS_INSIDE]).within(Duration::from_secs(500));
    let kubeconfig = cluster.kubeconfig().to_owned();
    let made = run.make(kubeconfig.as_ref(), &mut report, |_| {});
    let (outcome, events) = runtime.block_on(made);
    let arguments = ["run", "--kubeconfig", &kubeconfig].into_iter().chain(CASES);
    dir.nestcheck(arguments).exits(0);
    cluster.is_clean();
    let of_run = dir.report();

    let verdict = &finished(&events, "TEST-01").verdict;
    assert_eq!((outcome, verdict.name()), (Outcome::Conformant, "pass"), "{verdict:?}");
    let inside = report_of(&events);
    let cases = inside["cases"].as_array().expect("a list");
    let of = |id: &str| cases.iter().find(|case| case["id"] == id).expect("it has a verdict");
    for id in CASES {
        let expected = match id {
            "SCC-01" => "not-applicable",
            _ => of_run.verdict(id).name(),
        };
        assert_eq!(of(id)["verdict"], expected, "{id}");
    }
}
