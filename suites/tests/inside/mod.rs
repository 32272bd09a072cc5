//! `nestcheck inside` in the nested pod of a run, and `nestcheck run` beside it.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::{collections::BTreeMap, fs, process::Command as Process, time::Duration};

use harness::{
    engine::{Case, CaseKind, Context},
    report::directory::ReportDir,
    verdict::{
        CaseResult, Outcome,
        event::{Event, EventKind},
    },
    workload::Command,
};
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
    // The log of commands is bounded, so only the verdicts.
    let pick = "\"id\": \"[A-Z0-9-]*\"\\|\"verdict\": \"[a-z-]*\"";
    pod.output(&Command::new(["grep", "-o", pick, "/tmp/report/report.json"])).await?;
    let script = "
        podman volume ls --format '{{.Name}}'
        podman images --quiet
        ls -d /tmp/nestcheck-* ~/.local/share/containers/nestcheck-* 2> /dev/null || true
        grep -lsz NESTCHECK_INSIDE /proc/[0-9]*/environ || true
    ";
    let left = pod.output(&Command::shell("look for leftovers", script, [""; 0])).await?;
    cx.check_equal("what is there", "mine", &left)
}

/// The verdicts by case in the report that the command in the pod wrote.
fn verdicts_of(events: &[Event]) -> BTreeMap<String, String> {
    let printed = events.iter().find_map(|event| match &*event.event {
        EventKind::CommandFinished(it) if it.command.first()? == "grep" => Some(&it.stdout),
        _ => None,
    });
    let lines = printed.expect("a report").lines();
    let values = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.trim_matches('"').to_owned(), value.trim_matches('"').to_owned()));
    let (mut verdicts, mut last) = (BTreeMap::new(), String::new());
    for (key, value) in values {
        if key == "id" {
            last = value;
        } else {
            verdicts.insert(std::mem::take(&mut last), value);
        }
    }
    verdicts
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
    let inside = verdicts_of(&events);
    for id in CASES {
        let expected = match id {
            "SCC-01" => "not-applicable",
            _ => of_run.verdict(id).name(),
        };
        assert_eq!(inside.get(id).map(String::as_str), Some(expected), "{id}: {inside:?}");
    }
}
